"""The choice of solver: `solve` and what it prepares once per geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, overload

from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec, as_kpoints
from mlh.solver.dense import OverlapFactor, Solution, diagonalise
from mlh.solver.inverse_factor import InverseFactor
from mlh.solver.occupations import Smearing
from mlh.solver.purification import THRESHOLD, PurifiedState, purify
from mlh.solver.state import State

Method = Literal["dense", "purification"]
Factor = OverlapFactor | InverseFactor

METHODS: tuple[Method, ...] = ("dense", "purification")


def as_method(name: str) -> Method:
    """The method of that name."""
    for method in METHODS:
        if name == method:
            return method
    raise ValueError(f"method: expected one of {', '.join(map(repr, METHODS))}, got {name!r}")


def check_method(method: str, kpts: KPointsSpec, smearing: Smearing) -> None:
    """An unknown method, or one that cannot do what is asked for, is an error."""
    if as_method(method) == "dense":
        return
    if smearing != "none":
        raise ValueError(
            "smearing: method='purification' has integer occupations, expected no smearing, "
            f"got {smearing!r}; metals need method='dense'"
        )
    unknown = isinstance(kpts, Mapping) and "spacing" in kpts  # asked again once there is a cell
    if not unknown and not as_kpoints(kpts).gamma_only:
        raise ValueError(
            f"kpts: method='purification' works at Gamma only, got {len(as_kpoints(kpts))} other k points; "
            "use a larger cell or method='dense'"
        )


def factorise(
    S: BlockMatrix, kpts: KPointsSpec = None, method: Method = "dense", threshold: float = THRESHOLD
) -> Factor:
    """What a method makes of the overlap once per geometry."""
    return OverlapFactor.of(S, kpts) if method == "dense" else InverseFactor.of(S, threshold)


@overload
def solve(
    H: BlockMatrix,
    S: BlockMatrix | OverlapFactor,
    n_electrons: float,
    *,
    kpts: KPointsSpec = ...,
    smearing: Smearing = ...,
    width: float = ...,
    spin_moment: float | None = ...,
    method: Literal["dense"] = ...,
    threshold: float = ...,
) -> Solution: ...
@overload
def solve(
    H: BlockMatrix,
    S: BlockMatrix | InverseFactor,
    n_electrons: float,
    *,
    kpts: KPointsSpec = ...,
    smearing: Smearing = ...,
    width: float = ...,
    spin_moment: float | None = ...,
    method: Literal["purification"],
    threshold: float = ...,
) -> PurifiedState: ...
def solve(
    H: BlockMatrix,
    S: BlockMatrix | Factor,
    n_electrons: float,
    *,
    kpts: KPointsSpec = None,
    smearing: Smearing = "none",
    width: float = 0.0,
    spin_moment: float | None = None,
    method: Method = "dense",
    threshold: float = THRESHOLD,
) -> State:
    """Density matrices of the `n_electrons` per cell in the lowest states of H C = S C e.

    H: nspin 1 or 2, Hartree. S: the overlap, or what `factorise` made of it (then `kpts` and `threshold` are
    taken from it). kpts: None (Gamma), (n1, n2, n3), a mapping or KPoints, see `as_kpoints`. width: Hartree.
    spin_moment: N_up - N_down held fixed (nspin 2 only); None lets both spins share one Fermi level.
    method: "dense" diagonalises and gives a `Solution` with the eigenstates, at a cost cubic in the atoms;
    "purification" (insulators at Gamma, fixed moment) gives a `PurifiedState`, at a cost linear in the atoms,
    with errors set by `threshold` (docs/theory.md).
    """
    check_method(method, kpts, smearing)
    expected = OverlapFactor if method == "dense" else InverseFactor
    if not isinstance(S, BlockMatrix | expected):
        raise ValueError(
            f"S: expected a BlockMatrix or {expected.__name__} for method={method!r}, got {type(S).__name__}"
        )
    if isinstance(S, InverseFactor) or method == "purification":
        assert not isinstance(S, OverlapFactor)
        return purify(H, S, n_electrons, spin_moment, threshold)
    return diagonalise(H, S, n_electrons, kpts, smearing, width, spin_moment)
