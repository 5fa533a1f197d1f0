"""`mlh dataset export`: energies and forces of a data set for codes that train force fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlh.common.files import refuse_existing
from mlh.common.terminal import say, terminal

EXPORT_EXAMPLE = "Example: mlh dataset export sio2.h5 --free-atoms --out sio2.extxyz"


def export_command(
    path: Annotated[Path, typer.Argument(help="HDF5 data set.")],
    out: Annotated[Path | None, typer.Option(help="Extended-xyz file; default: NAME.extxyz here.")] = None,
    charge: Annotated[
        float | None, typer.Option(help="Only samples of this charge (e); default: all, with their charges.")
    ] = None,
    free_atoms: Annotated[
        bool,
        typer.Option(
            "--free-atoms", help="Also calculate the free atoms, which energies can be counted from."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write structures, energies (REF_energy, eV) and forces (REF_forces, eV/Angstrom) as extended xyz.

    As MACE and others read them: the comment lines have the kind (config_type: host, vacancy, IsolatedAtom),
    the host (group) and the part of a split. The Hamiltonians stay where they are.
    """
    from ase.data import chemical_symbols

    from mlh.dataset.export import free_atom_frame, labelled_frames  # late: it loads torch
    from mlh.dataset.store import Dataset
    from mlh.labelling.free_atoms import free_atom_energies, settings_of
    from mlh.structures import write_structure

    target = out or Path(f"{path.stem}.extxyz")
    refuse_existing([target], overwrite)
    with Dataset(path) as data:
        energies: dict[str, float] = {}
        if free_atoms:
            elements = [chemical_symbols[z] for z in data.elements]
            energies = free_atom_energies(settings_of(data.settings), elements)
        frames = list(labelled_frames(data, charge))
        charges = ", ".join(f"{value:+g}" for value in data.charges())
    if not frames:
        raise ValueError(f"--charge: expected a charge of {path} ({charges}), got {charge:g}")
    atoms = [free_atom_frame(element, energy) for element, energy in energies.items()]
    write_structure(target, [*atoms, *frames])
    console = terminal()
    for element, energy in energies.items():
        say(console, f"free atom {element}: {energy:.4f} eV")
    charged = sum("charge" in frame.info for frame in frames)
    if charged and charge is None:
        say(
            console,
            f"warning: {charged} of {len(frames)} samples are charged, which force fields do not know; "
            "--charge 0 leaves them out",
            style="yellow",
        )
    if as_json:
        content = {"path": str(target), "frames": len(frames), "charged": charged, "free_atoms_ev": energies}
        typer.echo(json.dumps(content, indent=2))
    else:
        typer.echo(f"{len(frames)} samples in {target}")
