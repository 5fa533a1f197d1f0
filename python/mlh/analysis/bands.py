"""Bands along a path in the Brillouin zone, and the band edges of any set of levels.

H(k) c = e S(k) c,   k fractional in the reciprocal vectors of the cell
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.dft.kpoints import BandPath, parse_path_string
from ase.spectrum.band_structure import BandStructure
from numpy.typing import NDArray

from mlh.analysis.state import ElectronicState, eigenvalues_at
from mlh.common.units import HARTREE_EV
from mlh.solver import Solution
from mlh.structures.cell import require_cell

FloatArray = NDArray[np.float64]

_LETTERS = re.compile(r"^[A-Z][a-z0-9]*(,?[A-Z][a-z0-9]*)*$")


@dataclass(frozen=True, slots=True)
class BandEdge:
    """One extremum: level (eV), k point (its number in the set and fractional), spin (0 up, 1 down)."""

    energy: float
    k_index: int
    k: tuple[float, float, float]
    spin: int


@dataclass(frozen=True, slots=True)
class BandEdges:
    """Edges of the gap of a set of levels, eV. `valence` and `conduction` are None for a metal.

    reference: the energy that levels are given relative to, the top of the valence band or, in a metal, the
    Fermi level. direct_gap: smallest difference at one k point.
    """

    reference: float
    fermi_level: float
    valence: BandEdge | None = None
    conduction: BandEdge | None = None
    direct_gap: float = 0.0
    direct_k_index: int | None = None

    @property
    def metallic(self) -> bool:
        """True without a gap."""
        return self.valence is None

    @property
    def gap(self) -> float:
        """Smallest difference between conduction and valence levels, 0 for a metal (eV)."""
        if self.valence is None or self.conduction is None:
            return 0.0
        return self.conduction.energy - self.valence.energy

    @property
    def is_direct(self) -> bool:
        """True when both edges are at one k point (or the gap is as small at another)."""
        return not self.metallic and self.direct_gap - self.gap < 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """`structure`: ASE's BandStructure, eV, absolute; its reference is that of `edges` (of the path)."""

    structure: BandStructure
    edges: BandEdges

    @property
    def energies(self) -> FloatArray:
        """(nspin, nk, nbands) relative to the reference, eV."""
        return np.asarray(self.structure.energies - self.structure.reference)


def band_structure(
    state: ElectronicState,
    path: str | BandPath | None = None,
    n_points: int = 100,
    special_points: Mapping[str, Sequence[float]] | None = None,
    on_point: Callable[[int], Any] | None = None,
) -> Bands:
    """Bands of a state along a path: letters as in ASE ("GXWK,UX"), a BandPath, or None for the default path
    of the lattice. `special_points` (fractional) names further points or other ones.

    The default is refused for a supercell: its lattice is not that of the crystal.
    """
    chosen = path if isinstance(path, BandPath) else band_path(state.atoms, path, n_points, special_points)
    points = np.asarray(chosen.kpts, dtype=np.float64)
    levels = eigenvalues_at(state, points, on_point)
    edges = band_edges(levels, points, state.solution)
    structure = BandStructure(chosen, levels * HARTREE_EV, reference=edges.reference)
    return Bands(structure, edges)


def band_path(
    atoms: Atoms,
    path: str | None = None,
    n_points: int = 100,
    special_points: Mapping[str, Sequence[float]] | None = None,
) -> BandPath:
    """ASE's path for a cell, with the errors in words, of about `n_points` k points.

    Every segment has a point inside: two special points next to each other are a jump to ASE, which would
    draw a short segment as one.
    """
    if n_points < 2:
        raise ValueError(f"n_points: expected at least 2, got {n_points}")
    require_cell(atoms, "bands")
    if path is None:
        primitive = primitive_size(atoms)
        if primitive != len(atoms):
            raise ValueError(
                f"path: expected letters such as GXWK for this supercell of {len(atoms)} atoms (the "
                f"primitive cell has {primitive}); only a primitive cell has a default path"
            )
    lattice = atoms.cell.bandpath(npoints=0)
    known = {name: np.asarray(k) for name, k in lattice.special_points.items()}
    known.update({name: np.asarray(k, dtype=float) for name, k in (special_points or {}).items()})
    wanted = lattice.path if path is None else path.replace(" ", "")
    pieces = parse_path_string(wanted) if _LETTERS.match(wanted) else []
    if not pieces or any(len(piece) < 2 or not set(piece) <= set(known) for piece in pieces):
        raise ValueError(
            f"path: expected at least two of the points {', '.join(sorted(known))} (a comma jumps), "
            f"got {path!r}"
        )
    kpts = _points_along(pieces, known, atoms.cell.reciprocal(), n_points)
    return BandPath(atoms.cell, kpts=kpts, path=wanted, special_points=known)


def _points_along(
    pieces: list[list[str]], known: Mapping[str, FloatArray], reciprocal: Any, n_points: int
) -> FloatArray:
    """Evenly dense points, at least two intervals per segment."""
    segments = [[(known[a], known[b]) for a, b in pairwise(piece)] for piece in pieces]
    length = sum(float(np.linalg.norm((b - a) @ reciprocal)) for piece in segments for a, b in piece)
    intervals = n_points - len(pieces)
    out: list[FloatArray] = []
    for piece in segments:
        for a, b in piece:
            share = float(np.linalg.norm((b - a) @ reciprocal)) / max(length, 1e-12)
            count = max(2, round(intervals * share))
            out += [a + (b - a) * step / count for step in range(count)]
        out.append(piece[-1][1])
    return np.array(out)


def primitive_size(atoms: Atoms, symprec: float = 1e-3) -> int:
    """Atoms in the primitive cell of the structure, by spglib (symprec in Angstrom)."""
    found = spglib.find_primitive(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec
    )
    return len(atoms) if found is None else len(found[2])


def band_edges(levels: FloatArray, points: FloatArray, solution: Solution) -> BandEdges:
    """Edges of levels (nspin, nk, nbands), Hartree, with the bands that a solution fills; results in eV.

    An insulator has the same number of filled bands at every k point of the solution, none of which reaches
    above an empty one, nor does it on `points`; anything else is a metal.
    """
    fermi = solution.fermi_level * HARTREE_EV
    counts = solution.filled_bands
    nbands = levels.shape[2]
    if counts is None or (counts >= nbands).all() or not counts.any():
        return BandEdges(fermi, fermi)
    nk = len(points)
    top, bottom = np.full((len(levels), nk), -np.inf), np.full((len(levels), nk), np.inf)
    for spin, count in enumerate(counts):
        if count > 0:
            top[spin] = levels[spin, :, count - 1]
        if count < nbands:
            bottom[spin] = levels[spin, :, count]
    if top.max() >= bottom.min():
        return BandEdges(fermi, fermi)
    valence, conduction = _edge(top, top.argmax(), points), _edge(bottom, bottom.argmin(), points)
    direct = (bottom.min(axis=0) - top.max(axis=0)) * HARTREE_EV
    return BandEdges(
        reference=valence.energy,
        fermi_level=fermi,
        valence=valence,
        conduction=conduction,
        direct_gap=float(direct.min()),
        direct_k_index=int(direct.argmin()),
    )


def _edge(levels: FloatArray, flat: Any, points: FloatArray) -> BandEdge:
    spin, k = np.unravel_index(int(flat), levels.shape)
    kpt = np.asarray(points[k], dtype=float).tolist()
    return BandEdge(float(levels[spin, k]) * HARTREE_EV, int(k), (kpt[0], kpt[1], kpt[2]), int(spin))


def describe_edges(edges: BandEdges) -> dict[str, Any]:
    """Plain values for JSON."""

    def describe(edge: BandEdge | None) -> dict[str, Any] | None:
        return None if edge is None else {"energy_ev": edge.energy, "k": list(edge.k), "spin": edge.spin}

    return {
        "metallic": edges.metallic,
        "gap_ev": edges.gap,
        "gap_is_direct": edges.is_direct,
        "smallest_direct_gap_ev": edges.direct_gap,
        "valence_top": describe(edges.valence),
        "conduction_bottom": describe(edges.conduction),
        "fermi_level_ev": edges.fermi_level,
        "reference_ev": edges.reference,
        "reference": "Fermi level" if edges.metallic else "valence top",
    }
