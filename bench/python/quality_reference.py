"""References for quality.py by PySCF: PBE in large Gaussian bases, with the same pseudopotential and with all
electrons, so that the error of the orbitals and that of the pseudopotential can be told apart.

    python bench/python/quality_reference.py
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from pyscf import dft, gto

HARTREE_EV = 27.211386245988
"""CODATA 2018, as in mlh.common.units; PySCF is independent of mlh here."""


def even_tempered(ranges: list[tuple[float, float, int]]) -> list[list[Any]]:
    """Uncontracted Gaussians: (lowest, highest exponent, number) per l."""
    return [[l, [float(a), 1.0]] for l, (lo, hi, n) in enumerate(ranges) for a in np.geomspace(lo, hi, n)]


LARGE = {
    "O": even_tempered([(0.06, 16.0, 9), (0.06, 16.0, 9), (0.2, 5.0, 5), (0.5, 2.5, 2)]),
    "H": even_tempered([(0.04, 25.0, 9), (0.15, 3.0, 4), (0.4, 1.5, 2)]),
}
SETS: dict[str, dict[str, Any]] = {
    "gth-pbe, large Gaussian basis": {"basis": LARGE, "pseudo": "gth-pbe"},
    "all electrons, aug-cc-pVQZ": {"basis": "aug-cc-pvqz"},
}


def energy(atoms: list[Any], spin: int, settings: dict[str, Any]) -> float:
    """Converged PBE energy, Hartree."""
    mol = gto.M(atom=atoms, spin=spin, verbose=0, **settings)
    field = (dft.UKS(mol) if spin else dft.RKS(mol)).density_fit()
    field.xc, field.conv_tol = "pbe", 1e-9
    field.grids.level = 4
    total = field.kernel()
    if not field.converged:
        raise RuntimeError(f"{atoms}: PBE did not converge")
    return float(total)


def oxygen(settings: dict[str, Any]) -> dict[str, float]:
    """Bond of the triplet, by a parabola, and its binding energy against broken-symmetry atoms."""
    bonds = np.array([1.205, 1.22, 1.235])
    curve = np.polynomial.Polynomial.fit(
        bonds, [energy([("O", (0, 0, 0)), ("O", (0, 0, d))], 2, settings) for d in bonds], 2
    )
    bond = float(curve.deriv().roots()[0])
    atom = energy([("O", (0, 0, 0))], 2, settings)
    return {
        "bond_A": bond,
        "binding_energy_eV": (2.0 * atom - float(curve(bond))) * HARTREE_EV,
        "atom_Ha": atom,
    }


def water(settings: dict[str, Any]) -> dict[str, float]:
    """Bond and angle: minimum of the quadratic form through six points."""
    points = np.array(
        [(0.965, 103.5), (0.975, 103.5), (0.97, 105.0), (0.98, 105.0), (0.97, 104.2), (0.97, 102.5)]
    )
    totals = []
    for bond, angle in points:
        half = np.radians(0.5 * angle)
        y, z = bond * np.sin(half), bond * np.cos(half)
        totals.append(energy([("O", (0, 0, 0)), ("H", (0, y, z)), ("H", (0, -y, z))], 0, settings))
    x, y = (points[:, 0] - 0.97) / 0.01, points[:, 1] - 104.0
    matrix = np.stack([np.ones(6), x, y, x * x, x * y, y * y], axis=1)
    c = np.linalg.solve(matrix, np.array(totals) - totals[0])
    minimum = np.linalg.solve([[2.0 * c[3], c[4]], [c[4], 2.0 * c[5]]], [-c[1], -c[2]])
    return {"bond_A": 0.97 + 0.01 * float(minimum[0]), "angle_degrees": 104.0 + float(minimum[1])}


def main() -> None:
    for name, settings in SETS.items():
        for case in (oxygen, water):
            print(json.dumps({name: {case.__name__: case(settings)}}), flush=True)


if __name__ == "__main__":
    main()
