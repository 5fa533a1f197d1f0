"""Electrostatics of the neutral atoms and the reference functional on fine meshes, as in OpenMX 3.9.

    E_scc = 1/2 sum'_ij [Z_i Z_j / R - (s_ij J_ij + s_ji J_ji) / 2] - 1/2 sum_i J_ii(0)
    J_ij(R) = int n_i(r) V_H,j(|r - R|),    s_ij = Z_i Z_j / [(r_c,i + r_c,j) J_ij(r_c,i + r_c,j)]

(Ucore + UH0 of OpenMX; pairs within r_c,i + r_c,j, beyond which the two cancel), J by a quadrature on a
cylinder around atom i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.integrate import lebedev_rule

import mlh._core as _core
from mlh.openmx.basis import OpenMXSpecies
from mlh.openmx.radial import catmull_rom
from mlh.openmx.text import Array

_RADIAL_NODES = 150
_AXIAL_CUTOFF = 9600.0
"""Rydberg; sets the step along the axis of the cylinder."""

_LEBEDEV_ORDER = 41
"""590 directions."""


def core_tables(species: Sequence[OpenMXSpecies]) -> _core.CoreTables:
    """Pair functions F(d) = Z Z - d (s_ij J_ij + s_ji J_ji) / 2 of all pairs of species."""
    potentials = [_core.LogTable(s.vps.r, s.neutral.hartree, s.valence) for s in species]
    integrals = [[_scaled(a, b, v) for b, v in zip(species, potentials, strict=True)] for a in species]
    pairs = [
        [
            (_pair_function(a, b, integrals[i][j][0], integrals[j][i][0]), integrals[i][j][1])
            for j, b in enumerate(species)
        ]
        for i, a in enumerate(species)
    ]
    return _core.CoreTables(pairs, [s.pao.cutoff for s in species])


def _distances(a: OpenMXSpecies, b: OpenMXSpecies) -> Array:
    reach = a.pao.cutoff + b.pao.cutoff
    return np.linspace(0.0, reach, _core.distance_nodes(reach))


def _scaled(a: OpenMXSpecies, b: OpenMXSpecies, potential: _core.LogTable) -> tuple[Array, float]:
    """s J, s J', s J'' (n, 3) at the nodes of the pair's table, and J(0) without s."""
    rc = a.pao.cutoff
    n_z = 2 * int(rc * np.sqrt(_AXIAL_CUTOFF) / np.pi) + 1
    z = np.linspace(-rc, rc, n_z)
    nodes, weights = np.polynomial.legendre.leggauss(_RADIAL_NODES)
    x = 0.5 * rc * (nodes + 1.0)
    ring = np.pi * rc * weights * x * (2.0 * rc / (n_z - 1))
    density = catmull_rom(a.pao.r, a.neutral.density)(np.hypot(x, z[:, None]))
    J = _core.cylinder_integrals(potential, z, x, density * ring, _distances(a, b))
    s = a.valence * b.valence / ((rc + b.pao.cutoff) * J[-1, 0])
    return s * J, float(J[0, 0])


def _pair_function(a: OpenMXSpecies, b: OpenMXSpecies, J_ab: Array, J_ba: Array) -> Array:
    d, J = _distances(a, b), 0.5 * (J_ab + J_ba)
    value = a.valence * b.valence - d * J[:, 0]
    first = -(J[:, 0] + d * J[:, 1])
    second = -(2.0 * J[:, 1] + d * J[:, 2])
    return np.ascontiguousarray(np.stack([value, first, second], axis=1))


class FineMesh:
    """E_0 = sum_i int rho_i eps(sum_j rho_j), rho = n_atom + n_core: 150 radii x 590 directions per atom."""

    def __init__(self, species: Sequence[OpenMXSpecies]) -> None:
        self._density = [(_table(s), s.pao.cutoff) for s in species]
        nodes, weights = np.polynomial.legendre.leggauss(_RADIAL_NODES)
        self._radii = [(0.5 * s.pao.cutoff * (nodes + 1.0), 0.5 * s.pao.cutoff * weights) for s in species]
        points, angular = lebedev_rule(_LEBEDEV_ORDER)
        self._directions = np.ascontiguousarray(points.T)
        self._weights = np.ascontiguousarray(angular / (4.0 * np.pi))

    def energy(self, structure: _core.Structure) -> tuple[float, Array, Array]:
        """E_0, dE_0/dtau, dE_0/deps; every mesh rides with its atom."""
        return _core.fine_reference_energy(
            self._density, self._radii, self._directions, self._weights, structure
        )


def _table(species: OpenMXSpecies) -> _core.LogTable:
    """n_atom + n_core, both on the mesh of the PAO, as one interpolant."""
    pao, core = species.pao, species.vps.core_density
    density = species.neutral.density
    if core is not None:
        density = density + catmull_rom(species.vps.r, core)(pao.r)
    return _core.LogTable(pao.r, density)
