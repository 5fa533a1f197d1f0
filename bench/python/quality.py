"""How good the embedded basis is: silicon, O2, H2O and alpha-quartz at their minima of energy.

PBE, 200 Ry, --basis (default: gth-pbe). References are in docs/basis.md; the same
molecules in a large Gaussian basis with the same pseudopotential: quality_reference.py.

    PYTHONPATH=python python bench/python/quality.py [silicon|oxygen|water|quartz ...] --out quality.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal as build_crystal
from ase.units import GPa

from mlh.calculators import DFTCalculator
from mlh.structures.crystals import crystal

CUTOFF = 200.0
BASIS = "gth-pbe"


def silicon() -> dict[str, float]:
    """Birch-Murnaghan fit to seven volumes of the primitive cell, 6x6x6 k points, at a fixed grid shape."""
    volumes, energies = [], []
    for a in np.linspace(5.46 * 0.97, 5.46 * 1.03, 7):
        atoms = bulk("Si", "diamond", a)
        atoms.calc = DFTCalculator(
            BASIS, cutoff_ry=CUTOFF, kpts={"size": (6, 6, 6), "gamma": False}, grid_shape=(36, 36, 36)
        )
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    volume, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    return {"lattice_constant_A": (4.0 * volume) ** (1.0 / 3.0), "bulk_modulus_GPa": modulus / GPa}


def relaxed(atoms: Atoms, fmax: float = 0.005) -> Atoms:
    """The atoms at zero force (eV/Angstrom)."""
    optimizer = BFGS(atoms, logfile="-")
    if not optimizer.run(fmax=fmax, steps=60):
        raise RuntimeError(f"{atoms.symbols}: forces above {fmax} eV/A after 60 steps")
    return atoms


def oxygen() -> dict[str, float]:
    """Triplet molecule and atom. The box of the atom has three different edges, so that one p orbital of the
    minority spin is filled and two are empty: the broken-symmetry ground state of PBE."""
    pair = Atoms("O2", [[0.0, 0.0, 0.0], [0.5, 0.6, 0.93]])
    pair.calc = DFTCalculator(BASIS, cutoff_ry=CUTOFF, spin=True, total_moment=2.0)
    relaxed(pair)
    atom = Atoms("O", cell=[7.2, 7.6, 8.0], pbc=True)
    atom.center()
    atom.calc = DFTCalculator(BASIS, cutoff_ry=CUTOFF, spin=True, total_moment=2.0)
    single = atom.get_potential_energy()
    return {
        "bond_A": pair.get_distance(0, 1),
        "binding_energy_eV": 2.0 * single - pair.get_potential_energy(),
        "atom_eV": single,
        "molecule_eV": pair.get_potential_energy(),
    }


def water() -> dict[str, float]:
    """One molecule in a cube: in other boxes the field of the images turns it."""
    atoms = molecule("H2O", cell=[8.0] * 3, pbc=True)
    atoms.rotate(35.0, (1.0, 2.0, 3.0))
    atoms.center()
    atoms.calc = DFTCalculator(BASIS, cutoff_ry=CUTOFF)
    relaxed(atoms, 0.01)
    bonds = atoms.get_distances(0, [1, 2])
    return {
        "bond_A": float(np.mean(bonds)),
        "bond_difference_A": float(np.ptp(bonds)),
        "angle_degrees": atoms.get_angle(1, 0, 2),
    }


def quartz() -> dict[str, float]:
    """Cell and atoms relaxed, 2x2x2 k points, fixed number of grid points."""
    atoms = crystal("alpha-quartz")
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    atoms.calc = quartz_calculator()
    optimizer = BFGS(FrechetCellFilter(atoms), logfile="-")
    if not optimizer.run(fmax=0.01, steps=80):
        raise RuntimeError("quartz: forces or stress above 0.01 eV/A after 80 steps")
    return quartz_geometry(atoms)


def quartz_in_published_cell() -> dict[str, float]:
    """Atoms relaxed in the PBE cell of the Materials Project (mp-7000)."""
    sites = [(0.0, 0.477285, 0.833333), (0.160738, 0.745706, 0.037343)]
    cell = [5.02778179, 5.02778179, 5.51891759, 90.0, 90.0, 120.0]
    unit = build_crystal(["Si", "O"], sites, spacegroup=154, cellpar=cell)
    atoms = Atoms(unit.get_chemical_symbols(), unit.get_positions(), cell=unit.cell[:], pbc=True)
    atoms.calc = quartz_calculator()
    return quartz_geometry(relaxed(atoms, 0.02))


def quartz_calculator() -> DFTCalculator:
    """The same number of grid points for every cell."""
    return DFTCalculator(
        BASIS, cutoff_ry=CUTOFF, kpts={"size": (2, 2, 2), "gamma": False}, grid_shape=(40, 40, 48)
    )


def quartz_geometry(atoms: Atoms) -> dict[str, float]:
    """Lattice constants, two Si-O bonds, Si-O-Si angle, energy; silicon comes first."""
    a, b, c = atoms.cell.lengths()
    distances = np.sort(atoms.get_all_distances(mic=True)[:3], axis=1)[:, 1:5]
    return {
        "a_A": float(0.5 * (a + b)),
        "c_A": float(c),
        "volume_A3": atoms.get_volume(),
        "bond_short_A": float(distances[:, :2].mean()),
        "bond_long_A": float(distances[:, 2:].mean()),
        "angle_SiOSi_degrees": float(np.mean([_oxygen_angle(atoms, i) for i in range(3, 9)])),
        "energy_eV": atoms.get_potential_energy(),
    }


def _oxygen_angle(atoms: Atoms, oxygen: int) -> float:
    """Si-O-Si at one oxygen."""
    near = np.argsort(atoms.get_distances(oxygen, range(3), mic=True))[:2]
    return float(atoms.get_angle(int(near[0]), oxygen, int(near[1]), mic=True))


CASES: dict[str, Callable[[], dict[str, float]]] = {
    "silicon": silicon,
    "oxygen": oxygen,
    "water": water,
    "quartz": quartz,
    "quartz-published-cell": quartz_in_published_cell,
}


def main() -> None:
    global BASIS
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--basis", default=BASIS)
    parser.add_argument("--out", type=Path, default=Path("quality.json"))
    options = parser.parse_args()
    BASIS = options.basis
    results: dict[str, dict[str, float]] = {}
    for name in options.cases or CASES:
        start = time.perf_counter()
        results[name] = CASES[name]() | {"seconds": time.perf_counter() - start}
        print(name, json.dumps(results[name]), flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
