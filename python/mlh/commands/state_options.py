"""The options that every command about electrons has: which structure, which engine, which k points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from mlh.analysis.state import ElectronicState
    from mlh.calculators.engines import KPoints
    from mlh.scf.loop import SCFStep

Structure = Annotated[
    str,
    typer.Argument(help="A file, a crystal such as alpha-quartz:2x2x1, or a matrix file of mlh scf (.h5)."),
]
Model = Annotated[str | None, typer.Option(help="Model file or shipped name.")]
Dft = Annotated[bool, typer.Option("--dft", help="Use the embedded DFT engine.")]
Refine = Annotated[int, typer.Option(help="Self-consistency steps after the prediction.")]
BasisName = Annotated[str, typer.Option(help="Basis of --dft and of a matrix file.")]
Cutoff = Annotated[float, typer.Option(help="Grid cutoff of --dft and of a matrix file, Ry.")]
Kpts = Annotated[tuple[int, int, int] | None, typer.Option(help="k mesh with Gamma; default: 1 1 1.")]
KSpacing = Annotated[
    float | None, typer.Option(help="k mesh of this spacing (1/Angstrom, 2 pi included) instead of --kpts.")
]
MonkhorstPack = Annotated[
    bool,
    typer.Option("--monkhorst-pack", help="Monkhorst-Pack's mesh: without Gamma where a number is even."),
]
Gamma = Annotated[bool, typer.Option("--gamma", hidden=True, help="No effect: every mesh contains Gamma.")]
Xc = Annotated[str, typer.Option(help="Functional of --dft.")]
Spin = Annotated[bool, typer.Option("--spin", help="Collinear spin (--dft).")]
TotalMoment = Annotated[float | None, typer.Option(help="Fixed N_up - N_down (with --spin).")]
Smearing = Annotated[float | None, typer.Option(help="Fermi-Dirac width, eV; default: none.")]
Out = Annotated[Path | None, typer.Option(help="Files are PREFIX.json, ...; default: after the structure.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def mesh_of(kpts: tuple[int, int, int] | None, kspacing: float | None, monkhorst_pack: bool) -> KPoints:
    """What the three options ask for; None when they are silent."""
    if kpts is not None and kspacing is not None:
        raise ValueError(f"--kpts, --kspacing: expected one of them, got {kpts} and {kspacing}")
    if kpts is None and kspacing is None:
        if monkhorst_pack:
            raise ValueError("--monkhorst-pack: expected together with --kpts or --kspacing")
        return None
    if kspacing is not None:
        return {"spacing": kspacing, "gamma": False} if monkhorst_pack else {"spacing": kspacing}
    return {"size": kpts, "gamma": False} if monkhorst_pack else kpts


def state_of(
    console: Console,
    structure: str,
    model: str | None,
    dft: bool,
    refine: int,
    basis: str,
    cutoff: float,
    kpts: KPoints,
    xc: str,
    spin: bool,
    total_moment: float | None,
    smearing: float | None,
) -> ElectronicState:
    """The state of a structure by the engine that the options name, with progress on the console."""
    from mlh.calculators.electronic import electronic_state, state_of_file
    from mlh.calculators.engines import choose_engine
    from mlh.common.units import HARTREE_EV
    from mlh.structures import load_structure

    if structure.endswith(".h5"):
        if model is not None or dft:
            raise ValueError("structure: expected no --model and no --dft with a matrix file, which holds H")
        return state_of_file(
            structure,
            basis,
            cutoff_ry=cutoff,
            kpts=kpts or (1, 1, 1),
            xc=xc,
            total_moment=total_moment,
            smearing_ev=smearing,
        )
    engine = choose_engine(model, dft, refine=refine, basis=basis, cutoff_ry=cutoff, kpts=kpts, xc=xc)

    def show(step: SCFStep) -> None:
        console.print(
            f"{step.step:3d}  E {step.energy * HARTREE_EV:18.7f} eV  "
            f"residual {step.residual * HARTREE_EV:9.2e} eV  {step.seconds:6.2f} s",
            highlight=False,
        )

    atoms = load_structure(structure)
    state = electronic_state(
        atoms, engine, spin=spin, total_moment=total_moment, smearing_ev=smearing, on_scf_step=show
    )
    if model is not None and state.residual is not None:
        console.print(f"{model}: residual max |H[D] - H| {state.residual * HARTREE_EV:.2e} eV")
    return state


def prefix_of(structure: str, out: Path | None, suffix: str) -> Path:
    """PREFIX of the files: as given, or the name of the structure with a suffix, here."""
    return out if out is not None else Path(f"{Path(structure.replace(':', '-')).stem}-{suffix}")


def beside(prefix: Path, ending: str) -> Path:
    """PREFIX + ending; a dot in the prefix is kept."""
    return prefix.with_name(prefix.name + ending)


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Before the work, not after it."""
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: exists; choose another --out or --overwrite")
