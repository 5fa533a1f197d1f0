"""The electrons of relaxed vacancies: FOLDER/vO12/levels.json, and pictures beside it that reports show.

levels.png       levels between the band edges of the host, participation ratio
occupied.png, empty.png    the two states of the defect on the plane through it
difference.png   electron density minus that of the neutral atoms on the same plane
"""

from __future__ import annotations

from pathlib import Path

from mlh.analysis.defect_levels import DefectLevels, defect_levels, defect_site, describe_levels
from mlh.analysis.density import density_field
from mlh.analysis.orbitals import orbitals
from mlh.analysis.slices import plane_of_site
from mlh.analysis.state import ElectronicState
from mlh.calculators.electronic import electronic_state
from mlh.calculators.engines import Engine
from mlh.common.files import write_json
from mlh.defects.run import DefectRun, Vacancy, vacancy_name

LEVELS = "levels.json"
_MARGIN = 3.0  # Angstrom around the atoms of a plane


def draw_vacancies(run: DefectRun, engine: Engine, folder: Path) -> dict[str, str]:
    """Levels and pictures of every vacancy of a run in the folders of its relaxations.

    Returns why there are none, by name of the vacancy: a defect without a gap, a cell so small that no atom
    is far from the defect, no self-consistency from a fresh start, a solver without eigenstates: a large
    cell is not diagonalised behind the back of who chose purification.
    """
    names = {vacancy.site: vacancy_name(run.host_start, vacancy.site) for vacancy in run.vacancies}
    try:
        host = electronic_state(run.host.atoms, engine)
    except (ValueError, RuntimeError) as error:  # ASE's SCFError is one
        return {name: f"host: {error}" for name in names.values()}
    reasons = {}
    for vacancy in run.vacancies:
        name = names[vacancy.site]
        try:
            _draw(vacancy, host, engine, folder / name, name)
        except (ValueError, RuntimeError) as error:
            reasons[name] = str(error)
    return reasons


def _draw(vacancy: Vacancy, host: ElectronicState, engine: Engine, folder: Path, name: str) -> None:
    from mlh.report.electronic import defect_figure  # late: it loads matplotlib
    from mlh.report.plots import save_figure

    state = electronic_state(vacancy.relaxed, engine)
    levels = defect_levels(state, defect_site(state.atoms), host)
    save_figure(defect_figure(levels, name), folder / "levels.png")
    _draw_planes(state, levels, folder, name)
    write_json(folder / LEVELS, describe_levels(state, levels))


def _draw_planes(state: ElectronicState, levels: DefectLevels, folder: Path, name: str) -> None:
    from mlh.report.volumetric import plane_picture

    plane = plane_of_site(state.atoms, levels.site.atoms)
    if plane is None:  # fewer than three atoms, or all on a line
        return
    for which, level in (("occupied", levels.occupied), ("empty", levels.empty)):
        (orbital,) = orbitals(state, [level.index])
        title = f"{name}, {which} state, {level.energy:.2f} eV"
        if orbital.imaginary is None:
            values, label = orbital.real, "ψ (Bohr$^{-3/2}$)"
        else:
            values, label = orbital.density, "|ψ|² (Bohr⁻³)"
        plane_picture(folder / f"{which}.png", state.atoms, values, plane, _MARGIN, label, title)
    difference = density_field(state, "difference").function
    label, title = "density - neutral atoms (e/Bohr³)", name
    plane_picture(folder / "difference.png", state.atoms, difference, plane, _MARGIN, label, title)
