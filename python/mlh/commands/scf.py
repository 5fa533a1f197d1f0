"""`mlh scf`: one self-consistent DFT calculation with energy contributions, levels and forces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from mlh.commands.advice import OWN, PARAMETERS, in_options
from mlh.commands.expand import expanded
from mlh.commands.openmx_calculation import atoms_and_theory
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import SolverOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import say, terminal

if TYPE_CHECKING:
    from mlh.scf.loop import SCFStep

_EXAMPLE = "Example: mlh scf alpha-quartz --cutoff 200 --matrices quartz.h5 --json"
_NAMES = PARAMETERS | OWN["scf"]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("scf", epilog=_EXAMPLE)(expanded(scf_command))


def scf_command(
    structure: Annotated[str, typer.Argument(help="A file, or a crystal such as alpha-quartz:2x2x1.")],
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    energy_tol: Annotated[float, typer.Option(help="Largest energy change, eV.")] = 2.7e-6,
    residual_tol: Annotated[float, typer.Option(help="Largest element of H[D] - H, eV.")] = 2.7e-4,
    max_steps: Annotated[int, typer.Option(min=1, help="Give up after this many steps.")] = 80,
    matrices: Annotated[Path | None, typer.Option(help="Write S, H0, H, D to this HDF5 file.")] = None,
    density: Annotated[Path | None, typer.Option(help="Write the density to this cube file.")] = None,
    extxyz: Annotated[Path | None, typer.Option(help="Write structure, energy, forces to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Self-consistent DFT of STRUCTURE: energy contributions, gap, forces, and matrices on request.

    Progress goes to standard error. Exit status: 0 converged, 1 not converged or not the ground state
    (occupied and empty levels overlap), 2 wrong input.
    """
    from ase.calculators.calculator import SCFError

    from mlh.calculators import DFTCalculator
    from mlh.calculators.engines import DFTEngine
    from mlh.commands.memory import require_memory
    from mlh.common.timing import Stopwatch

    _check_tolerances({"--energy-tol": energy_tol, "--residual-tol": residual_tol})
    refuse_existing([matrices, density, extxyz], overwrite)
    atoms, level = atoms_and_theory(structure, index, theory)
    require_memory(atoms, DFTEngine(level, solver.solver()), solver.beyond_memory)

    calculator = DFTCalculator(
        theory=level,
        energy_tol_ev=energy_tol,
        residual_tol_ev=residual_tol,
        max_scf_steps=max_steps,
        solver=solver.solver(),
        on_scf_step=partial(_show, terminal()),
    )
    atoms.calc = calculator
    watch = Stopwatch()
    with watch("all", told=False):
        try:
            atoms.get_potential_energy()
        except SCFError as error:
            advice = in_options(str(error), _NAMES)
            if as_json:
                typer.echo(json.dumps({"structure": structure, "converged": False, "error": advice}))
            typer.secho(f"mlh: {advice}", fg="red", err=True)
            raise typer.Exit(1) from None
        with watch("forces"):
            atoms.get_forces()
    report = _report(structure, atoms, calculator) | _resources(calculator, watch)
    _write_files(atoms, calculator, matrices, density, extxyz, overwrite)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(report)
    if report["advice"]:  # self-consistent, but not the ground state
        raise typer.Exit(1)


def _show(console: Console, step: SCFStep) -> None:
    """A line for every step of self-consistency."""
    from mlh.common.units import HARTREE_EV

    say(
        console,
        f"{step.step:3d}  E {step.energy * HARTREE_EV:18.7f} eV  "
        f"dE {step.energy_change * HARTREE_EV:10.2e}  "
        f"residual {step.residual * HARTREE_EV:9.2e} eV  {step.seconds:6.2f} s",
    )


def _check_tolerances(given: Mapping[str, float]) -> None:
    for option, tolerance in given.items():
        if not tolerance > 0.0:
            raise ValueError(f"{option}: expected a positive tolerance in eV, got {tolerance}")


def _report(structure: str, atoms: Any, calculator: Any) -> dict[str, Any]:
    from mlh.common.units import HARTREE_EV

    result, forces = calculator.result, calculator.results["forces"]
    spin = {"magmoms": calculator.results["magmoms"].tolist()} if result.solution.nspin == 2 else {}
    dipole = {k: calculator.results[k].tolist() for k in ("dipole",) if k in calculator.results}
    as_openmx = {"utot_hartree": result.energies.internal} if _of_openmx(calculator.system) else {}
    return {
        "structure": structure,
        "symbols": atoms.get_chemical_symbols(),
        "formula": atoms.get_chemical_formula(),
        "n_orbitals": calculator.system.n_orbitals,
        "grid": calculator.system.mesh.describe(),
        "cutoff_ry": calculator.system.cutoff_ry,
        "effective_cutoff_ry": calculator.system.effective_cutoff_ry,
        "converged": result.converged,
        "scf_steps": result.n_steps,
        "energy_ev": calculator.results["energy"],
        "free_energy_ev": calculator.results["free_energy"],
        **as_openmx,
        "contributions_ev": {k: v * HARTREE_EV for k, v in result.energies.as_dict().items()},
        "gap_ev": max(0.0, result.solution.gap) * HARTREE_EV,
        **calculator.solver.describe(),
        "metallic": result.solution.metallic,
        "fermi_level_ev": calculator.results["fermi_level"],
        "advice": in_options(result.advice, _NAMES),
        "note": result.note,
        "magnetic_moment": result.solution.magnetic_moment,
        **spin,
        "charges": calculator.results["charges"].tolist(),
        **dipole,
        "charge": calculator.system.charge,
        **{k: calculator.results[k] for k in ("spin_states",) if k in calculator.results},
        "site_potentials_v": calculator.site_potentials().tolist(),
        "residual_ev": calculator.results["residual"],
        "max_force_ev_per_angstrom": float(np.linalg.norm(forces, axis=1).max()),
        "net_force_ev_per_angstrom": np.linalg.norm(forces.sum(axis=0)).item(),
        "forces_ev_per_angstrom": forces.tolist(),
    }


def _of_openmx(system: Any) -> bool:
    from mlh.openmx.integration import OpenMXIntegration

    return isinstance(system.integration, OpenMXIntegration)


def _resources(calculator: Any, watch: Any) -> dict[str, Any]:
    """Wall time by phase and peak memory; "other" is the basis, the grid and what is not listed."""
    from mlh.common.timing import peak_memory_mb

    phases = {**calculator.result.seconds, "forces": watch.seconds["forces"]}
    phases["other"] = watch.seconds["all"] - sum(phases.values())
    return {"seconds": {**phases, "all": watch.seconds["all"]}, "peak_memory_mb": peak_memory_mb()}


def _print(report: dict[str, Any]) -> None:
    from mlh.common.units import DEBYE_ANGSTROM

    typer.echo(f"{report['structure']}: {report['formula']}, {report['n_orbitals']} orbitals")
    typer.echo(f"grid carries {report['effective_cutoff_ry']:.0f} Ry (cutoff {report['cutoff_ry']:g} Ry)")
    for name, value in report["contributions_ev"].items():
        typer.echo(f"{name:>16s} {value:18.6f} eV")
    typer.echo(f"{'energy':>16s} {report['energy_ev']:18.6f} eV")
    if "utot_hartree" in report:
        typer.echo(f"{'Utot of OpenMX':>16s} {report['utot_hartree']:18.9f} Ha (without entropy)")
    gap = "none: a metal" if report["metallic"] else f"{report['gap_ev']:.6f}"
    name = "gap, at least" if report.get("method") == "purification" else "gap"
    typer.echo(f"{name:>16s} {gap:>18s}{'' if report['metallic'] else ' eV'}")
    typer.echo(f"{'largest force':>16s} {report['max_force_ev_per_angstrom']:18.6f} eV/A")
    typer.echo(f"{'net force':>16s} {report['net_force_ev_per_angstrom']:18.6f} eV/A")
    if "magmoms" in report:
        typer.echo(f"{'magnetic moment':>16s} {report['magnetic_moment']:18.6f} (total, N_up - N_down)")
        for number, (charge, moment) in enumerate(zip(report["charges"], report["magmoms"])):
            atom = f"{report['symbols'][number]} {number}"
            typer.echo(f"{atom:>16s} {moment:18.6f} charge {charge:9.4f} e (Mulliken)")
    if "dipole" in report:
        size = float(np.linalg.norm(report["dipole"])) / DEBYE_ANGSTROM
        vector = " ".join(f"{x:.4f}" for x in report["dipole"])
        typer.echo(f"{'dipole':>16s} {size:18.6f} Debye ({vector} e A)")
    if report["note"]:
        typer.echo(report["note"])
    typer.echo(f"converged in {report['scf_steps']} steps, residual {report['residual_ev']:.1e} eV")
    if report["advice"]:
        typer.secho(f"but {report['advice']}", fg="red")
    typer.echo("\nwall time")
    for phase, seconds in report["seconds"].items():
        typer.echo(f"{phase:>20s} {seconds:10.2f} s")
    typer.echo(f"peak memory {report['peak_memory_mb']:.0f} MB")


def _write_files(
    atoms: Any,
    calculator: Any,
    matrices: Path | None,
    density: Path | None,
    extxyz: Path | None,
    overwrite: bool,
) -> None:
    from mlh.dft.potentials import planar_potentials, site_potentials
    from mlh.dft.theory_record import theory_record
    from mlh.io import write_cube, write_matrices
    from mlh.structures.extxyz import write_extxyz

    system, result, periodic = calculator.system, calculator.result, calculator.periodic_atoms
    if matrices is not None:
        stored = {"S": system.overlap(), "H0": system.harris_hamiltonian(), "H": result.H, "D": result.D}
        levels = {"total": result.energies.total, "fermi_level": result.fermi_level}
        scalars = {**result.energies.as_dict(), **levels}
        level = theory_record(calculator.state_theory, system)
        profiles = planar_potentials(system, result.D)
        potentials = {"sites": site_potentials(system, result.D)}
        potentials |= {f"axis{axis + 1}": profile for axis, profile in enumerate(profiles)}
        write_matrices(
            matrices,
            periodic,
            system.basis,
            stored,
            scalars,
            overwrite,
            theory=level,
            state=result.solution,
            potentials=potentials,
        )
    if density is not None:
        write_cube(density, periodic, system.density(result.D), "electron density, e/Bohr^3", overwrite)
    if extxyz is not None:
        write_extxyz(extxyz, atoms, overwrite)
