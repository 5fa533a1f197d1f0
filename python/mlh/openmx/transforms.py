"""Bessel transforms as OpenMX computes them, for overlap, kinetic energy and projector overlaps to 1e-10.

    f(k) = int j_l(kr) f(r) r^2 dr   at k = i/15, i < 900, by a trapezoid of 901 nodes on [r_0, r_c + 1/2]

OpenMX integrates over k by the trapezoid rule at k_i = 1e-6 + i (60 - 1e-6)/900 and reads these tables by
its cubic interpolation; the shift by 1e-6 times the error of the interpolated slope is 1e-7 in S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import spherical_jn

from mlh.basis.species import WaveTable
from mlh.openmx.neutral import NeutralAtom
from mlh.openmx.pao import PAO
from mlh.openmx.radial import catmull_rom, hermite
from mlh.openmx.text import Array
from mlh.openmx.vps import VPS

_NODES = 901
_PER_BOHR = 15
_LAST = 60.0
_FIRST = 1e-6

Radial = tuple[int, Callable[[ArrayLike], Array]]


def wave_table(pao: PAO, vps: VPS, neutral: NeutralAtom, counts: Sequence[int]) -> WaveTable:
    """Transforms of the first `counts[l]` orbitals per l, of all projectors and of the valence density."""
    intervals = round(_LAST * _PER_BOHR)
    tabulated = np.arange(intervals) / _PER_BOHR
    step = (_LAST - _FIRST) / intervals
    k = _FIRST + step * np.arange(intervals + 1, dtype=np.float64)
    end = pao.cutoff + 0.5
    orbitals = [(l, hermite(pao.r, pao.orbitals[l][n])) for l, m in enumerate(counts) for n in range(m)]
    projectors = [(p.l, hermite(vps.r, p.beta)) for p in vps.projectors]

    def read(table: Array) -> Array:
        return np.where(k <= tabulated[-1], hermite(tabulated, table)(k), 0.0)

    def columns(functions: Sequence[Radial], first: float) -> Array:
        tables = transforms(functions, first, end, tabulated)
        return np.stack([read(t) for t in tables], axis=1) if tables else np.empty((len(k), 0))

    density = transforms([(0, catmull_rom(pao.r, neutral.density))], pao.r[0], end, k)[0]
    return WaveTable(_FIRST, step, columns(orbitals, pao.r[0]), columns(projectors, vps.r[0]), density)


def transforms(functions: Sequence[Radial], first: float, last: float, k: Array) -> list[Array]:
    """int j_l(kr) f(r) r^2 dr of every (l, f) at wave numbers k, by the trapezoid of 901 nodes."""
    r = np.linspace(first, last, _NODES)
    weights = np.full(_NODES, (last - first) / (_NODES - 1))
    weights[[0, -1]] *= 0.5
    bessel = {l: spherical_jn(l, k[:, None] * r) for l in {l for l, _ in functions}}
    return [bessel[l] @ (weights * r**2 * f(r)) for l, f in functions]
