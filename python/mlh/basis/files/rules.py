"""Orbitals for any element by the name of a size: how many, how far, which functions beyond the atom's own.

R is <r> of the outermost occupied state of the atom in the wall; N_l the occupied states of an l, with
N_p >= 1 in every element but H and He: states of bonds; L the highest such l. Reach: the smallest of REACHES
whose wall costs the atom at most COST. Radial functions per l:

    minimal   N_l                                           O s1p1      Ti s2p1d1    H s1
    standard  N_l + 1 up to d, one of L + 1 up to d         O s2p2d1    Ti s3p2d2    H s2p1
    precise   N_l + 2, two of L + 1, one of L + 2, up to f  O s3p3d2f1  Ti s4p3d3f1  H s3p2d1

Of f there is one beyond the occupied ones. Functions beyond the occupied ones are the node-free states chi(z)
of `gth.orbitals`; z is such that <r> in the wall is what optimised functions of gth-pbe have for that R
(`_radii`, docs/basis.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlh.basis.gth.atom import AtomResult, AtomSolver, Wall
from mlh.basis.gth.finite_elements import make_elements
from mlh.basis.gth.orbitals import (
    SIZES,
    ExtraFunction,
    OrbitalSize,
    Recipe,
    check_counts,
    occupied_counts,
    soft_coulomb_state,
)
from mlh.basis.pseudopotential import Pseudopotential
from mlh.basis.species import SHELL_LETTERS, SphereParameters

Array = NDArray[np.float64]

RULES_VERSION = 2
"""Part of every recipe; to be raised when the rules give other functions."""

REACHES = (6.0, 7.0, 8.0, 9.0, 10.0)
COST = 0.025
"""Hartree that the wall may cost the atom."""

LARGEST = 0.44
"""<r> over the cutoff: a wider state is that of the wall alone."""

COMPACT_D = ("K", "Ca", "Rb", "Sr", "Cs", "Ba", "Fr", "Ra")
"""Elements before the transition metals: their empty d is the shell that fills next, and bonds. In CaO a wide
d instead costs 0.46 eV and 6 % of volume."""

WALL_WIDTH = 1.5
_FREE = 14.0  # Bohr, of the free atom
_SMALLEST_RADIUS = 0.2  # the search for reach and z needs no finer elements
_CHARGES = (0.02, 60.0)


def recipe_by_rules(
    potential: Pseudopotential, size: str, xc: str, sphere: SphereParameters | None = None
) -> Recipe:
    """The recipe of a size: one of SIZES, or as "7.0-s2p2d1" (cutoff in Bohr, radial functions per l)."""
    if size in SIZES:
        label = OrbitalSize(_reach(potential, xc), counts_of_size(potential, size))
    else:
        label = OrbitalSize.parse(size)
    extra = _extra(*_atom(potential, xc, label.cutoff), label.counts)
    recipe = Recipe(potential, label, WALL_WIDTH, extra, sphere, xc)
    check_counts(recipe)
    return recipe


def counts_of_size(potential: Pseudopotential, size: str) -> tuple[int, ...]:
    """Radial functions per l of one of SIZES."""
    used = list(occupied_counts(potential))
    if potential.symbol not in ("H", "He"):
        used = [used[0], max([*used[1:2], 1]), *used[2:]]
    if size == "minimal":
        return tuple(used)
    top, more = len(used) - 1, {"standard": 1, "precise": 2}[size]
    counts = [n + (more if l < 3 else more - 1) for l, n in enumerate(used)]
    beyond = [1] if size == "standard" else [2, 1]
    highest = 2 if size == "standard" else 3
    for l, n in enumerate(beyond, top + 1):
        if l <= highest:
            counts.append(n if l < 3 else 1)
    return tuple(counts)


def _atom(potential: Pseudopotential, xc: str, cutoff: float | None) -> tuple[AtomSolver, AtomResult]:
    """The atom in the wall, or free."""
    radius = max(potential.smallest_radius, _SMALLEST_RADIUS)
    elements = make_elements(cutoff or _FREE, WALL_WIDTH, radius)
    solver = AtomSolver(potential, elements, None if cutoff is None else Wall(cutoff, WALL_WIDTH), xc)
    return solver, solver.solve()


def _reach(potential: Pseudopotential, xc: str) -> float:
    """The smallest cutoff that costs little; the largest where none does."""
    free = _atom(potential, xc, None)[1].total_energy
    for cutoff in REACHES[:-1]:
        if _atom(potential, xc, cutoff)[1].total_energy - free <= COST:
            return cutoff
    return REACHES[-1]


def _extra(
    solver: AtomSolver, atom: AtomResult, counts: tuple[int, ...]
) -> tuple[tuple[ExtraFunction, ...], ...]:
    """Functions beyond the occupied ones, per l."""
    compact = solver.potential.symbol in COMPACT_D
    own = {shell: _mean_radius(solver, shell.l, c) for shell, (_, c) in atom.states.items()}
    outermost = max(own.values())
    top = max(shell.l for shell in own)
    extra = []
    for l in range(len(SHELL_LETTERS)):
        occupied = [radius for shell, radius in own.items() if shell.l == l]
        wanted = counts[l] - len(occupied) if l < len(counts) else 0
        radii = _radii(l, top, max(occupied, default=0.0), outermost, compact)[: max(wanted, 0)]
        within = [min(radius, LARGEST * solver.elements.cutoff) for radius in radii]
        extra.append(tuple(ExtraFunction((_charge(solver, l, radius),)) for radius in within))
    return tuple(extra)


def _radii(l: int, top: int, own: float, R: float, compact: bool) -> tuple[float, ...]:
    """<r> of the functions beyond the occupied ones, Bohr; own: of the outermost occupied one of this l;
    compact: an empty d is as in COMPACT_D.
    """
    if l == 0:
        return (0.6 * R, 1.2 * R) if top == 0 and own < 1.8 else (0.85 + 0.65 * R, 0.6 * R)
    if l == 1 and own > 0.6 * R:  # p of the outer shell
        return 1.7 + 0.55 * R, 0.7 * R
    if l == 1 and top == 0:  # polarises s
        return 0.95 * R, 1.4 * R
    if l == 1:  # bonds where p is empty or deep
        return R, 0.5 * R, 1.5 * R
    if l == 2 and own > 0.0:
        return R, 0.6 * R
    if l == 2 and compact:
        return 0.42 * R, 0.75 + 0.52 * R
    return (0.75 + 0.52 * R, 1.5 + 0.5 * R) if l == 2 else (0.75 + 0.55 * R,)


def _mean_radius(solver: AtomSolver, l: int, c: Array) -> float:
    """<r> of a state."""
    channel = solver.channel(l)
    weight = channel.measure * (channel.functions @ c) ** 2
    return float(weight @ solver.r / weight.sum())


def _charge(solver: AtomSolver, l: int, radius: float) -> float:
    """z of the state whose <r> is nearest to a radius, to three digits: the same on every machine."""
    low, high = np.log(_CHARGES)
    for _ in range(14):
        middle = 0.5 * (low + high)
        if _mean_radius(solver, l, soft_coulomb_state(solver, l, float(np.exp(middle)))) > radius:
            low = middle
        else:
            high = middle
    return float(f"{np.exp(0.5 * (low + high)):.3g}")
