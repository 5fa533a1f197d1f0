"""Spheres of the hard elements: the error of the integrals at 200 Ry against (center, sigma, radius).

For one small solid or molecule per element, with a partner that needs no sphere where there is one. The
density matrix of the Harris Hamiltonian is held fixed while the cell is shifted by parts of a grid step:

* egg: largest minus smallest energy of the shifts, meV/atom, and the largest summed force, meV/Angstrom;
* bias: V_na, Hartree and XC energy minus the reference, mHa/atom. The reference has a fine grid
  and, for light elements, small spheres, so that grid and directions of the spheres are both finer. A second
  reference says how good the first is.

    PYTHONPATH=python python bench/python/scan_spheres.py [ELEMENT ...] --out spheres.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from rigid_shifts import shifted_atoms

import mlh
from mlh.basis.species import Basis, SphereParameters
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.energies import Energies
from mlh.dft.system import System
from mlh.dft.terms.spheres import SphereIntegration
from mlh.matrix.block_matrix import BlockMatrix
from mlh.structures.crystals import crystal

LIGHT = (
    None,
    SphereParameters(0.8, 0.2, 1.6),
    SphereParameters(0.9, 0.225, 1.76),
    SphereParameters(1.05, 0.25, 2.0),
    SphereParameters(1.08, 0.25, 2.03),
    SphereParameters(1.2, 0.3, 2.35),
    SphereParameters(1.4, 0.35, 2.75),
)
HEAVY = (*LIGHT[3:], SphereParameters(1.6, 0.4, 3.1))
"""Semicore shells: hopeless without a sphere, and no neighbour comes near."""
REFERENCES = {
    LIGHT: ((SphereParameters(0.8, 0.2, 1.6), 600.0), (SphereParameters(0.7, 0.175, 1.4), 700.0)),
    HEAVY: ((SphereParameters(1.4, 0.35, 2.75), 500.0), (SphereParameters(1.2, 0.3, 2.35), 600.0)),
}
"""Spheres of the scanned element and grid cutoff (Ry); the first is what errors are counted from."""


def boxed(name: str, edge: float) -> Atoms:
    """A molecule in a low-symmetry direction in a small cube (Angstrom)."""
    atoms = molecule(name, cell=[edge] * 3, pbc=True)
    atoms.rotate(35.0, (1.0, 2.0, 3.0))
    atoms.center()
    return atoms


def diboride(metal: str, a: float, c: float) -> Atoms:
    """AlB2 structure, Angstrom."""
    cell = [[a, 0.0, 0.0], [-0.5 * a, 0.75**0.5 * a, 0.0], [0.0, 0.0, c]]
    return Atoms(
        f"{metal}B2",
        scaled_positions=[(0, 0, 0), (1 / 3, 2 / 3, 0.5), (2 / 3, 1 / 3, 0.5)],
        cell=cell,
        pbc=True,
    )


# ELEMENT or ELEMENT-name; experimental lattice constants and bonds, rounded.
SYSTEMS: dict[str, Callable[[], Atoms]] = {
    "H": lambda: boxed("CH4", 4.2),
    "B": lambda: bulk("BP", "zincblende", 4.54),
    "C": lambda: bulk("SiC", "zincblende", 4.36),
    "N": lambda: bulk("BN", "zincblende", 3.62),
    "O": lambda: boxed("H2O", 4.0),
    "O-quartz": lambda: crystal("alpha-quartz"),
    "F": lambda: boxed("HF", 4.0),
    "Na": lambda: bulk("SNa2", "fluorite", 6.54),
    "Mg": lambda: bulk("MgS", "rocksalt", 5.20),
    "Al": lambda: bulk("AlP", "zincblende", 5.46),
    "Si": lambda: bulk("Si", "diamond", 5.43),
    "P": lambda: bulk("AlP", "zincblende", 5.46),
    "S": lambda: bulk("GeS", "rocksalt", 5.4),
    "Cl": lambda: boxed("HCl", 4.2),
    "Ti": lambda: diboride("Ti", 3.03, 3.23),
    "Zn": lambda: bulk("ZnS", "zincblende", 5.41),
    "Ga": lambda: bulk("GaAs", "zincblende", 5.65),
    "Ge": lambda: bulk("Ge", "diamond", 5.66),
    "As": lambda: bulk("AlAs", "zincblende", 5.66),
    "Zr": lambda: diboride("Zr", 3.17, 3.53),
    "Hf": lambda: diboride("Hf", 3.14, 3.47),
}
SOFT = ("Al", "Si", "P", "S", "Ge", "As")
SEMICORE = ("Na", "Mg", "Ti", "Zn", "Ga", "Zr", "Hf")


def with_sphere(basis: Basis, symbol: str, sphere: SphereParameters | None) -> Basis:
    """The basis with another sphere on one element."""
    return Basis([replace(s, sphere=sphere, recipe=None) if s.symbol == symbol else s for s in basis])


def on(system: System, M: BlockMatrix) -> BlockMatrix:
    """The same blocks at the shifted atoms."""
    return BlockMatrix(system.pattern, M.data)


def local_energies(energies: Energies) -> np.ndarray:
    """V_na, Hartree, XC."""
    return np.array([energies.neutral_atom, energies.hartree, energies.xc])


class Scan:
    """One element in its system, with the fixed density matrix."""

    def __init__(self, system_name: str, cutoff: float) -> None:
        symbol = system_name.split("-")[0]
        self.symbol, self.atoms, self.cutoff = symbol, SYSTEMS[system_name](), cutoff
        self.basis = mlh.load_basis("gth-pbe", elements=sorted(set(self.atoms.get_chemical_symbols())))
        system = self._system(self.atoms, self.basis[symbol].sphere, self.cutoff)
        state = mlh.scf(system, max_steps=1, smearing="fermi-dirac", width=0.01)
        self.D, self.W = state.D, state.W
        self.references = [
            local_energies(self._energies(self._system(self.atoms, *reference)))
            for reference in REFERENCES[HEAVY if symbol in SEMICORE else LIGHT]
        ]

    def _system(self, atoms: Atoms, sphere: SphereParameters | None, cutoff: float) -> System:
        basis, method = with_sphere(self.basis, self.symbol, sphere), SphereIntegration(unresolved=True)
        return System(atoms, basis, cutoff, kpts={"size": (2, 2, 2), "gamma": False}, integration=method)

    def _energies(self, system: System) -> Energies:
        return system.energies(on(system, self.D))

    @property
    def reference_error(self) -> list[float]:
        """Difference of the references, mHa/atom."""
        return [float(x) for x in (self.references[1] - self.references[0]) * 1e3 / len(self.atoms)]

    def errors(self, sphere: SphereParameters | None) -> dict[str, Any]:
        """Egg box, net force and bias with this sphere on the element."""
        start, n = time.perf_counter(), len(self.atoms)
        systems = [self._system(a, sphere, self.cutoff) for a in self._moved(sphere)]
        energies, forces = [], []
        for k, system in enumerate(systems):
            energies.append(self._energies(system))
            if k in (1, 4, 7):
                force = system.forces(on(system, self.D), on(system, self.W)).total.sum(axis=0)
                forces.append(np.abs(force).max() * HARTREE_BOHR_EV_ANGSTROM * 1e3)
        egg = float(np.ptp([e.total for e in energies])) * HARTREE_EV * 1e3 / n
        parts = np.ptp([local_energies(e) for e in energies], axis=0) * HARTREE_EV * 1e3 / n
        bias = np.mean([local_energies(e) for e in energies], axis=0) - self.references[0]
        return {
            "sphere": None if sphere is None else [sphere.center, sphere.sigma, sphere.radius],
            "egg_meV_per_atom": egg,
            "egg_by_term_meV_per_atom": [float(x) for x in parts],
            "net_force_meV_per_A": float(max(forces)),
            "bias_mHa_per_atom": [float(x) for x in bias * 1e3 / n],
            "worst_vna_mHa_per_atom": float(
                max(abs(local_energies(e)[0] - self.references[0][0]) for e in energies) * 1e3 / n
            ),
            "seconds": time.perf_counter() - start,
        }

    def _moved(self, sphere: SphereParameters | None) -> list[Atoms]:
        return shifted_atoms(self.atoms, self._system(self.atoms, sphere, self.cutoff), random=2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("elements", nargs="*", help="default: all")
    parser.add_argument("--cutoff", type=float, default=200.0, help="Ry")
    parser.add_argument("--out", type=Path, default=Path("spheres.json"))
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for symbol in options.elements or SYSTEMS:
        scan = Scan(symbol, options.cutoff)
        print(
            f"{symbol} in {scan.atoms.symbols}: reference error V_na, H, XC {scan.reference_error} mHa/atom"
        )
        spheres = (None,) if symbol in SOFT else HEAVY if symbol in SEMICORE else LIGHT
        rows = [scan.errors(s) for s in spheres]
        for row in rows:
            vna, hartree, xc = row["bias_mHa_per_atom"]
            parts = " ".join(f"{x:.3f}" for x in row["egg_by_term_meV_per_atom"])
            print(
                f"  {row['sphere']}: egg {row['egg_meV_per_atom']:.3f} ({parts}) meV/atom, "
                f"net force {row['net_force_meV_per_A']:.2f} meV/A, bias V_na {vna:.4f} "
                f"(worst {row['worst_vna_mHa_per_atom']:.4f}) H {hartree:.4f} XC {xc:.4f} mHa/atom, "
                f"{row['seconds']:.0f} s",
                flush=True,
            )
        entry = {"system": str(scan.atoms.symbols), "reference_error_mHa_per_atom": scan.reference_error}
        results[symbol] = entry | {"rows": rows}
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
