"""The electrons of relaxed defects: FOLDER/V_O-12_0/levels.json, and pictures beside it that reports show.

levels.png       levels between the band edges of the host, participation ratio
occupied.png, empty.png    the two states of the defect on the plane through it
difference.png   electron density minus that of the neutral atoms on the same plane
levels-down.png, spin.png, spin.cube    of spin-polarised defects: the other spin, the spin density
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase

from mlh.analysis.defect_levels import DefectLevels, defect_levels, defect_site, describe_levels
from mlh.analysis.density import density_field
from mlh.analysis.orbitals import orbitals
from mlh.analysis.slices import plane_of_site
from mlh.analysis.state import ElectronicState
from mlh.calculators.electronic import held_levels, levels_state
from mlh.calculators.engines import DFTEngine, Engine
from mlh.common.files import write_json
from mlh.defects.run import DefectRun
from mlh.defects.starts import with_start_moments
from mlh.io import write_cube
from mlh.relaxation.jobs import RelaxJob

LEVELS = "levels.json"
_MARGIN = 3.0  # Angstrom around the atoms of a plane


class DefectPictures:
    """Levels and pictures of every vacancy in the folders of its relaxation, drawn when it ends.

    The states are those that the relaxation just had; where it ran in another process or was finished before,
    they are calculated again by `finish`. The state of the host is kept meanwhile.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._host: ElectronicState | str | None = None
        self._reasons: dict[str, str | None] = {}

    def __call__(self, job: RelaxJob, atoms: ase.Atoms, calculator: Any) -> None:
        """A relaxation of this process has ended (`mlh.relaxation.jobs.Ended`)."""
        if job.title == "host":
            self._host = self._state(atoms, self._engine, calculator)
        elif self._host is not None:
            engine = job.engine if isinstance(job.engine, DFTEngine) else self._engine
            self._reasons[job.title] = self._draw(job.title, job.folder, atoms, engine, calculator)

    def finish(self, run: DefectRun) -> dict[str, str]:
        """Draw what is left; why there are no pictures, by name of the vacancy.

        A defect without a gap, a cell so small that no atom is far from the defect, no self-consistency from
        a fresh start, a solver without states: a large cell is not diagonalised behind the back of who chose
        purification. With localized functions the states are those next to the gap.
        """
        for defect in run.defects:
            name, folder = str(defect.case), defect.case.folder(self._folder)
            if name not in self._reasons:
                if self._host is None:
                    self._host = self._state(run.host.atoms, self._engine)
                charge = defect.case.charge
                engine = self._engine.charged(charge) if charge else self._engine
                atoms = with_start_moments(defect.calculated, engine)
                self._reasons[name] = self._draw(name, folder, atoms, engine)
        return {name: reason for name, reason in self._reasons.items() if reason is not None}

    def _draw(
        self, name: str, folder: Path, atoms: ase.Atoms, engine: Engine, calculator: Any = None
    ) -> str | None:
        """Files of one defect, or why there are none."""
        if isinstance(self._host, str):
            return f"host: {self._host}"
        state = self._state(atoms, engine, calculator)
        if isinstance(state, str) or self._host is None:
            return str(state)
        try:
            _draw(state, self._host, folder, name)
        except (ValueError, RuntimeError) as error:
            return str(error)
        return None

    def _state(self, atoms: ase.Atoms, engine: Engine, calculator: Any = None) -> ElectronicState | str:
        """The state that the calculator has of these atoms, else a new one, or why there is none."""
        try:
            held = None if calculator is None else held_levels(calculator, atoms)
            return levels_state(atoms, engine) if held is None else held
        except (ValueError, RuntimeError) as error:  # ASE's SCFError is one
            return str(error)


def draw_defects(run: DefectRun, engine: Engine, folder: Path) -> dict[str, str]:
    """Levels and pictures of every vacancy of a finished run; why there are none, by name of the vacancy."""
    return DefectPictures(engine, folder).finish(run)


def _draw(state: ElectronicState, host: ElectronicState, folder: Path, name: str) -> None:
    from mlh.report.electronic import defect_figure  # late: it loads matplotlib
    from mlh.report.plots import save_figure

    site = defect_site(state.atoms)
    levels = defect_levels(state, site, host)
    content = describe_levels(state, levels)
    polarised = state.solution.nspin == 2
    save_figure(defect_figure(levels, f"{name}, spin up" if polarised else name), folder / "levels.png")
    if polarised:
        down = defect_levels(state, site, host, spin=1)
        save_figure(defect_figure(down, f"{name}, spin down"), folder / "levels-down.png")
        content["spin_down"] = describe_levels(state, down)
        _draw_spin(state, levels, folder, name)
    _draw_planes(state, levels, folder, name)
    write_json(folder / LEVELS, content)


def _draw_spin(state: ElectronicState, levels: DefectLevels, folder: Path, name: str) -> None:
    """The spin density: on the plane through the defect, and whole."""
    from mlh.report.volumetric import plane_picture

    field = density_field(state, "spin").function
    plane = plane_of_site(state.atoms, levels.site.atoms)
    if plane is not None:
        label = "spin density (e/Bohr³)"
        plane_picture(folder / "spin.png", state.atoms, field, plane, _MARGIN, label, name)
    write_cube(folder / "spin.cube", state.atoms, field, f"spin density of {name}, e/Bohr^3", overwrite=True)


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
