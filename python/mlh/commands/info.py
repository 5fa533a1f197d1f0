"""`mlh info`: what this installation is, what a matrix file holds, or what a structure looks like."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from mlh.commands.completion import model_names
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.common.files import refuse_picture
from mlh.common.terminal import terminal

_EXAMPLE = (
    "Example: mlh info; mlh info quartz.h5; mlh info host.xyz --plot host.png; "
    "mlh info --basis gth-nlcc-pbe; mlh info --estimate host.xyz --model sio2-vo"
)
_PACKAGES = ("numpy", "scipy", "ase", "h5py", "torch")


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("info", epilog=_EXAMPLE)(expanded(info_command))


def info_command(
    source: Annotated[
        str | None,
        typer.Argument(help="Matrix file, structure file or crystal name; default: the installation."),
    ] = None,
    basis: Annotated[
        str | None,
        typer.Option(help='Resolution of a basis set: gth-nlcc-pbe, "openmx DFT_DATA19", "files FOLDER".'),
    ] = None,
    element: Annotated[
        list[str] | None,
        typer.Option(
            help="Of --basis: these elements only; as O=6.0-s2p2d1, O=ORBITALS,POTENTIAL, O=precise,FILE."
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Memory and time of energy and forces, by DFT and by --model."),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Of --estimate: model file or shipped name.", autocompletion=model_names),
    ] = None,
    cutoff: Annotated[
        float | None, typer.Option(help="Of --estimate: grid cutoff, Ry; default: 200, or the model's.")
    ] = None,
    kpts: Annotated[tuple[int, int, int] | None, typer.Option(help="Of --estimate: k mesh.")] = None,
    index: Index = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of a structure (PNG).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """This installation, the contents of a matrix file, the quality of a structure, or a basis set.

    With --estimate what energy and forces of a structure will need, before the run.

    Of a structure: coordination, bonds, angles, rings and density, beside measured values. Of a basis set:
    the cutoff that its species need on the grid, from their potential, core and density.
    """
    refuse_picture(plot, overwrite)
    if estimate:
        _estimate(source, index, basis, model, cutoff, kpts, as_json)
        return
    if model is not None or cutoff is not None or kpts is not None:
        given = ", ".join(str(value) for value in (model, cutoff, kpts) if value is not None)
        raise ValueError(f"--model, --cutoff, --kpts: expected together with --estimate, got {given}")
    if basis is not None:
        if source is not None:
            raise typer.BadParameter(f"expected none together with --basis, got {source}")
        _basis(basis, element, as_json)
        return
    if element:
        raise typer.BadParameter("expected together with --basis", param_hint="--element")
    if source is not None and not _is_hdf5(source):
        _structure(source, index, plot, as_json)
        return
    if plot is not None:
        raise typer.BadParameter("expected a structure to plot", param_hint="--plot")
    content = installation() if source is None else matrix_file(Path(source))
    typer.echo(json.dumps(content, indent=2) if as_json else "\n".join(_lines(content)))


def _is_hdf5(source: str) -> bool:
    import h5py

    return Path(source).suffix in (".h5", ".hdf5") or (Path(source).is_file() and h5py.is_hdf5(source))


def _basis(name: str, elements: list[str] | None, as_json: bool) -> None:
    """What cutoffs a basis set needs."""
    from mlh.report.basis_table import basis_rows, basis_table

    rows, integration = basis_rows(name, elements)
    if as_json:
        typer.echo(json.dumps({"basis": name, "integration": integration, "species": rows}, indent=2))
    else:
        terminal(stderr=False).print(basis_table(name, rows, integration))


def _estimate(
    source: str | None,
    index: int | None,
    basis: str | None,
    model: str | None,
    cutoff: float | None,
    kpts: tuple[int, int, int] | None,
    as_json: bool,
) -> None:
    """What a calculation of a structure will need."""
    from mlh.commands.info_estimate import estimates
    from mlh.report.estimate_table import estimate_table
    from mlh.structures import load_structure

    if source is None:
        raise ValueError("--estimate: expected a structure")
    if model is not None and basis is not None:
        raise ValueError(f"--basis: expected none beside --model, which has its own, got {basis}")
    found = estimates(load_structure(source, index), model, basis, cutoff, kpts)
    if as_json:
        typer.echo(json.dumps({"structure": source, **found}, indent=2))
        return
    table = estimate_table(source, found["counts"], found["calculations"], found["machine"])
    terminal(stderr=False).print(table)


def _structure(source: str, index: int | None, plot: Path | None, as_json: bool) -> None:
    """The quality report of a structure."""
    from mlh.analysis.glass import glass_report
    from mlh.report.glass_plots import glass_figure
    from mlh.report.glass_table import glass_table
    from mlh.report.plots import save_figure
    from mlh.structures import load_structure

    report = glass_report(load_structure(source, index))
    if plot is not None:
        save_figure(glass_figure(report), plot)
    if as_json:
        typer.echo(json.dumps({"structure": source, **report.to_dict()}, indent=2))
    else:
        terminal(stderr=False).print(glass_table(report))


def installation() -> dict[str, Any]:
    """Everything that a bug report needs."""
    import mlh._core as _core
    from mlh.basis.gth.orbitals import available_elements
    from mlh.common.instructions import compiled_levels, processor_levels
    from mlh.common.version import VERSION as __version__

    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "mlh": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": _core.get_num_threads(),
        "core": {
            **_core.compile_info(),
            "compiled for": " ".join(compiled_levels(Path(str(_core.__file__)).parent)),
            "processor has": " ".join(processor_levels()) or "no levels of x86-64",
        },
        "packages": packages,
        "basis gth-pbe": " ".join(available_elements()),
    }


def matrix_file(path: Path) -> dict[str, Any]:
    """What `mlh.io.write_matrices` wrote, without building anything from it."""
    import h5py
    from ase.formula import Formula

    from mlh.common.files import intact

    with intact(path), h5py.File(path, "r") as file:
        if "format" not in file.attrs or "matrices" not in file:
            raise ValueError(f"{path}: expected a matrix file written by mlh, got another HDF5 file")
        symbols = [s.decode() for s in file["structure/symbols"][()]]
        return {
            "path": str(path),
            "format": f"{file.attrs['format']} {file.attrs['version']}",
            "formula": str(Formula.from_list(symbols).convert("hill")),
            "atoms": len(symbols),
            "orbitals": int(file["pattern/n_orbitals"][()].sum()),
            "pairs": len(file["pattern/atom_i"]),
            "basis": {
                "name": str(file["basis"].attrs["name"]),
                "fingerprint": str(file["basis"].attrs["fingerprint"]),
                "species": ", ".join(label.decode() for label in file["basis/labels"][()]),
            },
            "theory": json.loads(file["theory"].attrs["json"]) if "theory" in file else "not in the file",
            "k points": len(file["kpoints/weights"]) if "kpoints" in file else "not in the file",
            "matrices": {
                name: f"nspin {data.shape[0]}, {data.shape[1]} elements, unit {data.attrs['unit']}"
                for name, data in file["matrices"].items()
            },
            "scalars (Hartree)": {name: float(value) for name, value in file["scalars"].attrs.items()},
        }


def _lines(content: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in content.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines
