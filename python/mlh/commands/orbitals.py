"""`mlh orbitals`: one-electron states as files and pictures, and the levels of a defect."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from mlh.commands import state_options as options
from mlh.commands.density import atom_triple
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import terminal

if TYPE_CHECKING:
    from ase import Atoms

    from mlh.analysis.defect_levels import DefectLevels
    from mlh.analysis.orbitals import Orbital, StateIndex
    from mlh.analysis.state import ElectronicState
    from mlh.dft.system import System

Channel = Literal["up", "down"]
_AT_ONCE = 8  # states in memory together
_EXAMPLE = "Example: mlh orbitals vacancy.xyz --model sio2-vo --refine 1 --defect"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("orbitals", epilog=_EXAMPLE)(expanded(orbitals_command))


def orbitals_command(
    structure: options.Structure,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    states: Annotated[
        str | None,
        typer.Option(
            help="homo, lumo, homo-1, lumo+2, a band number from 0, window:-1..0.5 (eV from the homo)."
        ),
    ] = None,
    defect: Annotated[
        bool, typer.Option("--defect", help="The occupied and empty state of a defect.")
    ] = False,
    site: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Where the defect is, Angstrom; default: as mlh vacancies wrote it."),
    ] = None,
    around: Annotated[str | None, typer.Option(help="The atoms around the defect instead: 4,6.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Perfect structure whose band edges are carried over.")
    ] = None,
    k: Annotated[int, typer.Option(help="Number of the k point of the mesh, from 0.")] = 0,
    channel: Annotated[Channel, typer.Option(help="With --spin.")] = "up",
    squared: Annotated[bool, typer.Option("--squared", help="Write |psi|^2 instead of psi.")] = False,
    format: options.Format = "cube",
    plane: Annotated[
        str | None, typer.Option(help="Pictures of the plane through three atoms: 4,6,24, or none.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0.0, help="Space around the atoms of the plane, Angstrom.")
    ] = 3.0,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """States of STRUCTURE on the uniform grid (Bohr^-3/2): PREFIX-b57.cube, PREFIX.json.

    With --defect: the states of a defect in the gap, their localisation (PREFIX-levels.png), and the occupied
    and empty one as files and pictures; at an oxygen vacancy the bonding and antibonding state of the dimer.
    """
    from mlh.common.files import write_json

    about = _about(defect, site, around, host)
    indices = None if plane == "none" else atom_triple(plane, "--plane")
    prefix = prefix_of(structure, out, "orbitals")
    summary_file, levels_file = options.beside(prefix, ".json"), options.beside(prefix, "-levels.png")
    refuse_existing([summary_file, *([levels_file] if defect else [])], overwrite)
    wanted = _Wanted(
        states if states is not None or defect else "homo,lumo", get_args(Channel).index(channel), k
    )
    check = _check(wanted, about, indices, margin)
    state = options.state_of(terminal(), structure, engine, theory, solver, index, check=check)
    chosen = wanted.select(state)
    content: dict[str, Any] = {"structure": structure}
    levels = None
    if about is not None:
        levels, content["defect"] = _levels(state, about, wanted, engine, theory, solver)
        chosen += [level.index for level in (levels.occupied, levels.empty) if level.index not in chosen]
        indices = indices if plane is not None else _plane_of(state, levels)
    drawing = _Drawing(prefix, state, format, squared, indices, margin)
    refuse_existing([file for index in chosen for file in drawing.files(index)], overwrite)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    if levels is not None:
        _draw_levels(levels_file, levels, structure)
        if not as_json:
            _print_levels(state, levels)
    content["orbitals"] = drawing.write_all(chosen)
    write_json(summary_file, content)
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    _print_orbitals(content["orbitals"])
    typer.echo(f"summary: {summary_file}" + (f", picture: {levels_file}" if defect else ""))


def _about(
    defect: bool, site: tuple[float, float, float] | None, around: str | None, host: str | None
) -> _Defect | None:
    """Of --defect; its options without it are an error."""
    if defect:
        return _Defect(site, _members(around), host)
    if site is not None or around is not None or host is not None:
        raise typer.BadParameter("expected together with --defect", param_hint="--site, --around, --host")
    return None


@dataclass(frozen=True)
class _Wanted:
    """Names of states, spin channel and k point."""

    names: str | None
    spin: int
    k: int

    def select(self, state: ElectronicState) -> list[StateIndex]:
        """The states of these names."""
        from mlh.analysis.orbitals import select_states

        return [] if self.names is None else select_states(state, self.names, self.spin, self.k)


@dataclass(frozen=True)
class _Defect:
    """Where a defect is (by place or by atoms), and the perfect host."""

    site: tuple[float, float, float] | None
    members: list[int] | None
    host: str | None


def _check(
    wanted: _Wanted, about: _Defect | None, plane: tuple[int, int, int] | None, margin: float
) -> Callable[[System, Atoms], None]:
    """What can be refused before the calculation."""
    from mlh.analysis.alignment import check_host
    from mlh.analysis.defect_levels import defect_site
    from mlh.analysis.orbitals import check_states
    from mlh.analysis.slices import plane_through
    from mlh.matrix.kpoints import as_kpoints

    host = None if about is None or about.host is None else options.atoms_of(about.host)

    def check(system: System, atoms: Atoms) -> None:
        shape = (system.nspin, len(as_kpoints(system.kpts)), system.n_orbitals)
        check_states(() if wanted.names is None else wanted.names, shape, wanted.spin, wanted.k)
        if plane is not None:
            plane_through(atoms, plane, margin)
        if about is not None:
            defect_site(atoms, about.site, about.members)
        if host is not None:
            check_host(atoms, host)

    return check


def _levels(
    state: ElectronicState,
    about: _Defect,
    wanted: _Wanted,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
) -> tuple[DefectLevels, dict[str, Any]]:
    """Levels of the defect, with the band edges of the host where one is given, and as plain values."""
    from mlh.analysis.defect_levels import defect_levels, defect_site, describe_levels

    host = about.host
    perfect = None if host is None else options.state_of(terminal(), host, engine, theory, solver)
    place = defect_site(state.atoms, about.site, about.members)
    levels = defect_levels(state, place, perfect, wanted.spin, wanted.k)
    return levels, describe_levels(state, levels)


def _members(around: str | None) -> list[int] | None:
    """--around 4,6."""
    try:
        return None if around is None else [int(part) for part in around.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"expected atoms such as 4,6, got {around!r}", param_hint="--around"
        ) from None


def _plane_of(state: ElectronicState, levels: DefectLevels) -> tuple[int, int, int] | None:
    """Two atoms of the site and the nearest third atom that is not on their line."""
    from mlh.analysis.slices import plane_of_site

    return plane_of_site(state.atoms, levels.site.atoms)


def _draw_levels(path: Path, levels: DefectLevels, title: str) -> None:
    from mlh.report.electronic import defect_figure
    from mlh.report.plots import save_figure

    save_figure(defect_figure(levels, title), path)


@dataclass(frozen=True)
class _Drawing:
    """What is made of every state: files of psi (real and imaginary part away from Gamma) or |psi|^2, and
    their pictures on a plane through three atoms."""

    prefix: Path
    state: ElectronicState
    format: str
    squared: bool
    plane: tuple[int, int, int] | None
    margin: float

    def files(self, index: StateIndex) -> list[Path]:
        """Names of the files of one state, in the order in which they are written."""
        name = "".join(
            [
                f"-{get_args(Channel)[index.spin]}" if self.state.solution.nspin == 2 else "",
                f"-k{index.k}" if len(self.state.kpts) > 1 else "",
                f"-b{index.band}",
            ]
        )
        if self.squared:
            parts = ["-squared"]
        else:
            parts = ["-re", "-im"] if self.state.kpts.points[index.k].any() else [""]
        kinds = [self.format] * (self.format != "none") + ["png"] * (self.plane is not None)
        return [options.beside(self.prefix, f"{name}{part}.{kind}") for part in parts for kind in kinds]

    def write_all(self, chosen: list[StateIndex]) -> list[dict[str, Any]]:
        """Write the files of all states, some in memory at a time; what each is, and its files."""
        from mlh.analysis.orbitals import orbitals

        rows = []
        for start in range(0, len(chosen), _AT_ONCE):
            for orbital in orbitals(self.state, chosen[start : start + _AT_ONCE]):
                files = [str(file) for file in self.write(orbital)]
                rows.append(describe_orbital(self.state, orbital) | {"files": files})
        return rows

    def write(self, orbital: Orbital) -> list[Path]:
        """Write the files of one state; what is there may be replaced."""
        from mlh.io import write_volumetric
        from mlh.report.volumetric import plane_picture

        if self.squared:
            parts = [(orbital.density, "|psi|^2 (Bohr^-3)")]
        elif orbital.imaginary is None:
            parts = [(orbital.real, "psi (Bohr^-3/2)")]
        else:
            parts = [(orbital.real, "Re psi (Bohr^-3/2)"), (orbital.imaginary, "Im psi (Bohr^-3/2)")]
        title, files = f"{self.prefix.name}, band {orbital.index.band}", self.files(orbital.index)
        remaining = iter(files)
        for function, label in parts:
            if self.format != "none":
                write_volumetric(
                    next(remaining), self.state.atoms, function, f"{title}, {label}", overwrite=True
                )
            if self.plane is not None:
                place = (self.plane, self.margin)
                plane_picture(next(remaining), self.state.atoms, function, *place, _in_picture(label), title)
        return files


def _in_picture(label: str) -> str:
    """The label of a file, which is ASCII, as a picture shows it."""
    return label.replace("psi", "ψ").replace("^2", "²").replace("^-3/2", "$^{-3/2}$").replace("^-3", "⁻³")


def describe_orbital(state: ElectronicState, orbital: Orbital) -> dict[str, Any]:
    """Plain values; the energy relative to the highest filled level of the same spin and k point."""
    from mlh.analysis.orbitals import homo_index
    from mlh.common.units import HARTREE_EV

    index = orbital.index
    top = state.solution.eigenvalues[index.spin, index.k, homo_index(state, index.spin, index.k)]
    return {
        "band": index.band,
        "spin": index.spin,
        "k": state.kpts.points[index.k].tolist(),
        "energy_ev": orbital.energy * HARTREE_EV,
        "energy_above_homo_ev": (orbital.energy - float(top)) * HARTREE_EV,
        "occupation": orbital.occupation,
        "norm_on_grid": orbital.norm,
    }


def _print_levels(state: ElectronicState, levels: DefectLevels) -> None:
    atoms = ", ".join(f"{state.system.symbols[a]}{a}" for a in levels.site.atoms)
    typer.echo(f"site: {atoms}; gap {levels.gap:.3f} eV between the edges, energies from the valence edge")
    if levels.alignment is not None:
        a = levels.alignment
        typer.echo(
            f"edges of the host, shifted by {a.shift:.3f} eV (spread {a.spread:.3f}, {a.n_atoms} far atoms)"
        )
    typer.echo(f"{'band':>6s} {'eV':>8s} {'filled':>7s} {'IPR':>7s} {'on site':>8s} {'overlap':>8s}  atoms")
    chosen = {levels.occupied.index: "occupied", levels.empty.index: "empty"}
    shown = {level.index: level for level in (*levels.in_gap, levels.occupied, levels.empty)}
    for level in sorted(shown.values(), key=lambda level: level.energy):
        main = " ".join(f"{state.system.symbols[a]}{a}:{share:.2f}" for a, share in level.main_atoms[:3])
        typer.echo(
            f"{level.index.band:6d} {level.energy:8.3f} {level.occupation:7.2f} {level.ipr:7.3f} "
            f"{level.site_share:8.3f} {level.overlap_population:8.3f}  {main}  {chosen.get(level.index, '')}"
        )


def _print_orbitals(rows: list[dict[str, Any]]) -> None:
    typer.echo(f"{'band':>6s} {'eV':>10s} {'from homo':>10s} {'filled':>7s} {'norm':>9s}  files")
    for row in rows:
        typer.echo(
            f"{row['band']:6d} {row['energy_ev']:10.4f} {row['energy_above_homo_ev']:10.4f} "
            f"{row['occupation']:7.2f} {row['norm_on_grid']:9.6f}  {', '.join(row['files'])}"
        )
