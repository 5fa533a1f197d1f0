"""`mlh compare`: a model against DFT at one geometry, two structures, or two runs with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from mlh.accuracy.points import compare_at
from mlh.accuracy.runs import compare_runs
from mlh.analysis import cell_strain, configuration_coordinate, coordinate_mae, displacements, in_cell_of
from mlh.calculators.engines import ModelEngine, dft_engine_of
from mlh.commands.expand import expanded
from mlh.commands.memory import require_memory
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import MeshOptions, SolverOptions
from mlh.common.files import refuse_existing, write_json
from mlh.common.terminal import terminal, working
from mlh.report.tables import runs_table, two_column_table
from mlh.structures import load_structure

_EXAMPLE = (
    "Examples: mlh compare host.xyz --model sio2-vo;  mlh compare relaxed.xyz dft-relaxed.xyz;  "
    "mlh compare vo-model vo-dft"
)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("compare", epilog=_EXAMPLE)(expanded(compare_command))


def compare_command(
    structure: Annotated[
        str, typer.Argument(help="Structure file, crystal, shipped structure, or folder of a run.")
    ],
    mesh: MeshOptions,
    solver: SolverOptions,
    index: Index = None,
    reference: Annotated[
        str | None, typer.Argument(help="What to compare it with: a structure, or another run.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model file or shipped name.")] = None,
    other: Annotated[str | None, typer.Option("--with", help="The same as the second argument.")] = None,
    center: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Centre of the coordinate MAE, Angstrom.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """With --model: Hamiltonian, energy and forces of the model against DFT at the geometry of STRUCTURE.

    With a second structure: dQ and coordinate errors between two structures of the same atoms.

    With two folders of mlh relax or mlh defect: energies, formation energies, structures, steps and time of
    every relaxation that has the same name in both; differences are the first minus the second. Where the
    cells differ, volumes, the strain between them, and coordinates in fractions of the second cell.
    """
    if reference is not None and other is not None:
        raise typer.BadParameter("expected a second argument or --with, got both")
    other = other if other is not None else reference
    if (model is None) == (other is None):
        raise typer.BadParameter("expected exactly one of --model and something to compare with")
    method = solver.solver()
    if model is None and (mesh.mesh() is not None or solver != SolverOptions()):
        raise ValueError("--kpts, --kspacing, --method: expected together with --model")
    refuse_existing([out], overwrite)
    if model is not None:
        title, result = (
            f"{structure}: {model} - DFT",
            _against_dft(
                structure, ModelEngine(model, kpts=mesh.mesh(), solver=method), index, solver.beyond_memory
            ),
        )
    elif Path(structure).is_dir() and Path(str(other)).is_dir():
        title, result = f"{structure} - {other}", compare_runs(Path(structure), Path(str(other)))
    elif Path(structure).is_dir() or Path(str(other)).is_dir():
        raise ValueError(f"expected two folders of a run or two structures, got {structure} and {other}")
    else:
        title, result = f"{structure} - {other}", _structures(structure, str(other), center, index)
    if out is not None:
        write_json(out, result)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    elif "relaxations" in result:
        terminal(stderr=False).print(runs_table(title, result))
    else:
        terminal(stderr=False).print(
            two_column_table(title, [(name, _text(value)) for name, value in _flat(result)])
        )


def _against_dft(structure: str, engine: ModelEngine, index: int | None, beyond: bool) -> dict[str, Any]:
    atoms = load_structure(structure, index)
    require_memory(atoms, engine, beyond)
    with working(terminal(), f"model and DFT, {atoms.get_chemical_formula()}"):
        return compare_at(
            atoms, engine.calculator(), dft_engine_of(engine).calculator(), structure
        ).describe()


def _structures(
    first: str, second: str, center: tuple[float, float, float] | None, index: int | None
) -> dict[str, Any]:
    given, reference = load_structure(first, index), load_structure(second, index)
    atoms = in_cell_of(given, reference)
    vectors = displacements(atoms, reference, remove_translation=True)
    result: dict[str, Any] = {
        "dQ (sqrt(amu) A)": configuration_coordinate(atoms, reference, remove_translation=True),
        "largest displacement (A)": float(np.linalg.norm(vectors, axis=1).max()),
        "coordinate MAE (A)": float(np.abs(vectors).mean()),
    }
    strain = cell_strain(given, reference)
    if strain:
        result = {
            "volume (A^3)": given.cell.volume,
            "volume of the second (A^3)": reference.cell.volume,
            "strain of the cell (%), coordinates are fractional ones in the second": 100.0 * strain,
            **result,
        }
    point = center
    if point is None and "defect_position" in reference.info:
        point = tuple(reference.info["defect_position"])
    if point is not None:
        errors = coordinate_mae(atoms, reference, point, remove_translation=True)
        result["coordinate MAE around the centre (A)"] = {f"{r:g} A": value for r, value in errors.items()}
    return result


def _flat(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in content.items():
        if isinstance(value, dict):
            rows.extend(_flat(value, f"{prefix}{name} "))
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
