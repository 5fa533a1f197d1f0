"""`mlh info`: what this installation is, or what a file holds."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

_EXAMPLE = "Example: mlh info; mlh info quartz.h5 --json"
_PACKAGES = ("numpy", "scipy", "ase", "h5py", "torch")


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("info", epilog=_EXAMPLE)(info_command)


def info_command(
    path: Annotated[Path | None, typer.Argument(help="Matrix file; default: the installation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Versions, compiler, threads and elements of this installation, or the contents of a matrix file."""
    content = installation() if path is None else matrix_file(path)
    typer.echo(json.dumps(content, indent=2) if as_json else "\n".join(_lines(content)))


def installation() -> dict[str, Any]:
    """Everything that a bug report needs."""
    from mlh import __version__, _core
    from mlh.pseudo.orbitals import available_elements

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
        "core": _core.compile_info(),
        "packages": packages,
        "basis gth-pbe": " ".join(available_elements()),
    }


def matrix_file(path: Path) -> dict[str, Any]:
    """What `mlh.io.write_matrices` wrote, without building anything from it."""
    import h5py
    from ase.formula import Formula

    with h5py.File(path, "r") as file:
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
