"""The neutral atom as OpenMX defines it: valence density, its Hartree potential, and V_NA.

n(r)    = n_file(r) Z / I,  I = 4 pi dx sum_i n_i r_i^3           (the files integrate to other charges)
V_H(r)  = 4 pi [ (1/r) int_0^r n s^2 ds + int_r^inf n s ds ]      scaled by 1 + 1e-7 so that V_loc + V_H
                                                                  vanishes at the cutoff
V_NA(r) = [V_loc(r) + V_H(r)] / (1 + exp(20 (r - r_c))),          cut off at r_c by those who use it
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlh.openmx.pao import PAO
from mlh.openmx.radial import catmull_rom_log
from mlh.openmx.text import Array
from mlh.openmx.vps import VPS

_NODES = 1500


@dataclass(frozen=True, eq=False)
class NeutralAtom:
    """density on the mesh of the PAO; hartree and potential (V_NA, Hartree) on the mesh of the VPS."""

    density: Array
    hartree: Array
    potential: Array


def neutral_atom(pao: PAO, vps: VPS) -> NeutralAtom:
    """The neutral-atom functions of a pair of files, as OpenMX 3.9 computes them."""
    x = np.log(pao.r)
    integral = 4.0 * np.pi * (x[-1] - x[0]) / (len(x) - 1) * np.sum(pao.density * pao.r**3)
    density = pao.density * (vps.valence / integral)
    hartree = _hartree(pao.r, density, vps.r)
    nearest = int(np.argmin(np.abs(vps.r - pao.cutoff)))
    hartree *= -vps.local[nearest] / hartree[nearest]
    step = np.exp(np.minimum(20.0 * (vps.r - pao.cutoff), 700.0))
    potential = (vps.local + hartree) / (1.0 + step)
    for array in (density, hartree, potential):
        array.setflags(write=False)
    return NeutralAtom(density, hartree, potential)


def _hartree(r: Array, density: Array, radii: Array) -> Array:
    """V_H at `radii`; both integrals by Gauss-Legendre quadrature in ln s."""
    n = catmull_rom_log(r, density)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # To the end of the potential's mesh although the density ends before: with 1500 nodes over the longer
    # range the charge seen from afar depends on the radius by 1e-8, which adds up to 1e-5 Ha in quartz.
    low, high = np.log(r[0]), np.log(radii[-1])

    def integral(a: float, b: float, power: int) -> float:
        x = 0.5 * (b - a) * nodes + 0.5 * (b + a)
        return 0.5 * (b - a) * float(np.dot(weights, n(x) * np.exp((power + 1) * x)))

    out = np.empty_like(radii)
    for k, radius in enumerate(radii):
        middle = min(max(float(np.log(radius)), low), high)
        out[k] = 4.0 * np.pi * (integral(low, middle, 2) / radius + integral(middle, high, 1))
    return out
