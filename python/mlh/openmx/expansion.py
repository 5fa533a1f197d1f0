"""Projector expansion of the neutral-atom potential, as OpenMX 3.9 sets it up.

    V_NA = sum_L sum_m |V_NA chi_Lm> E_Lm <chi_Lm V_NA|,    E_Lm = 1 / <chi_Lm|V_NA|chi_Lm>

(Ozaki and Kino, PRB 72, 045121 (2005)), L = 0 ... l_max + 6 with the largest l of the basis, 12 radial
functions each, from the orbitals of the PAO file by Gram-Schmidt with the indefinite product <f|V_NA|g>.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import spherical_jn

import mlh._core as _core
from mlh.openmx.basis import OpenMXSpecies, parse_orbitals
from mlh.openmx.radial import hermite
from mlh.openmx.text import Array
from mlh.openmx.transforms import transforms

RADIAL_FUNCTIONS = 12
EXTRA_L = 6
_NODES = 300
_ROOT_NODES = 901
_FIRST_WAVE, _LAST_WAVE = 1e-6, 60.0
_PER_BOHR = 15
_TABULATED = 900


def projector_expansion(species: Sequence[OpenMXSpecies]) -> _core.ProjectorExpansion:
    """Tables of all pairs of species; ValueError where a file has too few functions to expand in."""
    lmax = max(f.l for s in species for f in s.orbitals)
    k, weight = _gauss(_FIRST_WAVE, _LAST_WAVE)
    return _core.ProjectorExpansion([_species(s, lmax, k) for s in species], k, weight)


def _species(species: OpenMXSpecies, lmax: int, k: Array) -> _core.ExpansionSpecies:
    pao, end = species.pao, species.pao.cutoff + 0.5
    if len(pao.orbitals[0]) < RADIAL_FUNCTIONS:
        raise ValueError(
            f"{pao.path}: the expansion of V_NA takes {RADIAL_FUNCTIONS} functions per l, the file has "
            f"{len(pao.orbitals[0])}; choose the integration with V_NA on the grid"
        )
    _, counts = parse_orbitals(species.definition[0])
    shells = [(l, hermite(pao.r, pao.orbitals[l][n])) for l, count in enumerate(counts) for n in range(count)]
    # Read back from OpenMX's table at multiples of 1/15: exact transforms shift the energy by 1e-5 Hartree.
    tabulated = np.arange(_TABULATED) / _PER_BOHR
    tables = transforms(shells, pao.r[0], end, tabulated)
    orbitals = [np.where(k <= tabulated[-1], hermite(tabulated, t)(k), 0.0) for t in tables]
    r, weight = _gauss(pao.r[0], end)
    measure = weight * r**2
    bessel = {l: spherical_jn(l, k[:, None] * r) for l in range(max(lmax + EXTRA_L, 2 * lmax) + 1)}
    projector_l: list[int] = []
    projectors, energies = [], []
    for l in range(lmax + EXTRA_L + 1):
        for energy, f in _projectors(species, l):
            projector_l.append(l)
            energies.append(energy)
            projectors.append(bessel[l] @ (measure * f(r)))
    values = [f(r) for _, f in shells]
    products = [
        bessel[L] @ (measure * values[a] * values[b])
        for a, b, L in _core.product_channels([l for l, _ in shells])
    ]
    return _core.ExpansionSpecies(
        pao.cutoff,
        [l for l, _ in shells],
        _columns(orbitals),
        projector_l,
        _columns(projectors),
        energies,
        _columns(products),
        _potential_transform(species, end, k),
    )


def _columns(functions: Sequence[Array]) -> Array:
    return np.ascontiguousarray(np.stack(functions, axis=1))


def _gauss(low: float, high: float) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = 0.5 * (high - low)
    return half * nodes + 0.5 * (high + low), half * weights


def _projectors(species: OpenMXSpecies, l: int) -> list[tuple[float, Callable[[Array], Array]]]:
    """(E_m, V_NA chi_m) of one angular momentum."""
    vps, v = species.vps, species.neutral.potential
    seeds = _seeds(species, l)
    r, weight = _gauss(vps.r[0], vps.r[-1])
    # f V_NA is tabulated first and then interpolated, not V_NA alone.
    f = np.array([hermite(vps.r, seed)(r) for seed in seeds])
    fv = np.array([hermite(vps.r, seed * v)(r) for seed in seeds])
    gram = f @ (fv * (weight * r**2)).T
    chi = np.eye(len(seeds))
    norms = np.empty(len(seeds))
    for m, seed_products in enumerate(gram.T):
        # With the seed itself, not with what is left of it: interpolation makes `gram` asymmetric by more
        # than its smallest eigenvalue, and the order decides on 5e-6 Hartree in H.
        for j in range(m):
            chi[m] -= chi[j] * (chi[j] @ seed_products) / norms[j]
        norms[m] = chi[m] @ gram @ chi[m]
    return [(1.0 / norm, hermite(vps.r, c @ (seeds * v))) for c, norm in zip(chi, norms, strict=True)]


def _seeds(species: OpenMXSpecies, l: int) -> Array:
    """R_lm, beyond the file's last l the last one times a power of r, on the mesh of the VPS; normalised."""
    pao, r = species.pao, species.vps.r
    last = min(l, len(pao.orbitals) - 1)
    inside = r <= pao.r[-1]
    functions = np.array([hermite(pao.r, f)(r) for f in pao.orbitals[last][:RADIAL_FUNCTIONS]])
    seeds = np.where(inside, functions * np.where(inside, r, 0.0) ** (l - last), 0.0)
    step = np.log(r[-1] / r[0]) / (len(r) - 1)
    norm: Array = np.sqrt(np.sum(seeds**2 * r**3, axis=1) * step)
    return np.asarray(seeds / norm[:, None], dtype=np.float64)


def _potential_transform(species: OpenMXSpecies, end: float, k: Array) -> Array:
    """int j_0(kr) V_NA r^2 dr by the trapezoid in sqrt(r); the tail beyond the cutoff is included."""
    first = species.pao.r[0]
    root = np.linspace(np.sqrt(first), np.sqrt(end), _ROOT_NODES)
    weight = np.full(_ROOT_NODES, root[1] - root[0])
    weight[[0, -1]] *= 0.5
    r = root**2
    v = hermite(species.vps.r, species.neutral.potential)(r)
    return np.asarray(spherical_jn(0, k[:, None] * r) @ (weight * 2.0 * root * r**2 * v), dtype=np.float64)
