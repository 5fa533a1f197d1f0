"""Reference energies of the spherical pseudo-atoms in tests/test_basis.py, from PySCF.

RKS-PBE with gth-pbe, fractional occupations equal within each shell, even-tempered Gaussians.
Run: python tests/data/make_pyscf_atoms.py
"""

from __future__ import annotations

import numpy as np
from pyscf import dft, gto

# element: valence, electrons per l, smallest and largest exponent, number of Gaussians per l
ATOMS = {
    "H": (1, (1,), 0.02, 60.0, 20),
    "O": (6, (2, 4), 0.05, 60.0, 24),
    "Si": (4, (2, 2), 0.02, 20.0, 22),
}


def spherical_atom(symbol: str) -> dft.rks.RKS:
    """The converged mean field of one element of ATOMS."""
    valence, electrons, low, high, n = ATOMS[symbol]
    exponents = low * (high / low) ** (np.arange(n) / (n - 1))
    shells = [[l, [float(a), 1.0]] for l in range(len(electrons)) for a in exponents]
    mol = gto.M(atom=f"{symbol} 0 0 0", basis={symbol: shells}, pseudo="gth-pbe", spin=valence % 2, verbose=0)
    mol.spin, mol.nelec = 0, (valence / 2, valence / 2)
    angular = np.concatenate([[l] * (2 * l + 1) for l in mol._bas[:, 1]])
    overlap = mol.intor("int1e_ovlp")

    def occupations(energies: np.ndarray, orbitals: np.ndarray) -> np.ndarray:
        """The lowest shell of each l holds its electrons, spread over m."""
        weight = [np.einsum("pi,pq,qi->i", c, overlap, c) for c in _by_l(orbitals, angular, len(electrons))]
        character = np.argmax(weight, axis=0)
        result = np.zeros(len(energies))
        for l, total in enumerate(electrons):
            mine = np.flatnonzero(character == l)
            lowest = mine[np.argsort(energies[mine])][: 2 * l + 1]
            result[lowest] = total / (2 * l + 1)
        return result

    field = dft.rks.RKS(mol)
    field.xc, field.conv_tol, field.max_cycle = "pbe", 1e-12, 100
    field.grids.atom_grid, field.grids.prune = (200, 302), None
    field.get_occ = lambda mo_energy=None, mo_coeff=None: occupations(mo_energy, mo_coeff)
    field.kernel(field.get_init_guess(key="1e"))
    return field


def _by_l(orbitals: np.ndarray, angular: np.ndarray, count: int) -> list[np.ndarray]:
    return [np.where((angular == l)[:, None], orbitals, 0.0) for l in range(count)]


if __name__ == "__main__":
    for element in ATOMS:
        result = spherical_atom(element)
        occupied = result.mo_energy[result.mo_occ > 0.0]
        print(element, f"{result.e_tot:.9f}", [f"{e:.9f}" for e in np.unique(occupied.round(9))])
