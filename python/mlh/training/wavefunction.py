"""Errors of H where they change the density: between occupied and virtual states of the reference.

To first order the density matrix changes by C_ab / (e_a - e_b), C_ab = <a| H_pred - H_ref |b>, a occupied, b
virtual, and the energy of the predicted density lies 2 sum_ab |C_ab|^2 / (e_b - e_a) above the minimum (per
closed-shell cell, k points weighted). The rest of an error (occupied-occupied, virtual-virtual, H + c S)
changes neither. Loss:

    sqrt( sum_kab w_k |C_ab|^2 g_ab / sum_kab w_k g_ab ),   g_ab = gap / (e_b - e_a) <= 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.dataset.sample import BasisRecord, Sample
from mlh.network.blocks import Blocks, data_from_blocks
from mlh.network.graph import GraphInput
from mlh.network.orbitals import OrbitalSet
from mlh.network.topology import Topology
from mlh.training.prepared import PreparedSamples


@dataclass(frozen=True, eq=False)
class PointStates:
    """One k point: weight; phases (P,) real and imaginary part or None at Gamma; occupied (norb, no), virtual
    (norb, nv), importance g (no, nv).
    """

    weight: float
    phases: torch.Tensor | None
    occupied: torch.Tensor
    virtual: torch.Tensor
    importance: torch.Tensor


@dataclass(frozen=True, eq=False)
class ReferenceStates:
    """Eigenstates of the labelled H of one structure, and where each element of the flat data goes."""

    topology: Topology
    orbitals: Sequence[OrbitalSet]
    place: torch.Tensor
    pair: torch.Tensor
    n_orbitals: int
    points: tuple[PointStates, ...]

    def coupling(self, predicted: Blocks, reference: Blocks) -> torch.Tensor:
        """The loss above, Hartree."""
        error = Blocks(
            [p - r for p, r in zip(predicted.sites, reference.sites, strict=True)],
            [p - r for p, r in zip(predicted.pairs, reference.pairs, strict=True)],
        )
        data = data_from_blocks(self.topology, error, self.orbitals)
        total, norm = data.new_zeros(()), 0.0
        for point in self.points:
            coupled = point.occupied.mH @ self._dense(data, point) @ point.virtual
            square = coupled.real**2 + coupled.imag**2 if coupled.is_complex() else coupled**2
            total = total + point.weight * (square * point.importance).sum()
            norm += point.weight * float(point.importance.sum())
        return torch.sqrt(total / norm + 1e-30)

    def _dense(self, data: torch.Tensor, point: PointStates) -> torch.Tensor:
        """sum_R exp(2 pi i k.R) M(R), (norb, norb)."""
        values = data if point.phases is None else data * point.phases[self.pair]
        flat = values.new_zeros(self.n_orbitals**2).index_add(0, self.place, values)
        return flat.reshape(self.n_orbitals, self.n_orbitals)


def reference_states(
    sample: Sample,
    record: BasisRecord,
    settings: Mapping[str, Any],
    topology: Topology,
    orbitals: Sequence[OrbitalSet],
    dtype: torch.dtype,
    device: torch.device,
) -> ReferenceStates:
    """Diagonalise H_Harris + dH of a sample at its own k points (compiled core; once per structure).

    Raises ValueError when the label has no gap: then occupied and virtual states are not defined.
    """
    from mlh.accuracy.metrics import system_of_sample
    from mlh.matrix.block_matrix import BlockMatrix
    from mlh.solver import solve

    system = system_of_sample(sample, record, settings)
    dh = BlockMatrix(system.pattern, sample.dh[None])
    harris = (
        system.harris_hamiltonian() if sample.h0 is None else BlockMatrix(system.pattern, sample.h0[None])
    )
    solution = solve(harris + dh, system.overlap(), system.n_electrons, kpts=system.kpts)
    if not 1e-4 < solution.gap < np.inf:
        raise ValueError(
            f"loss.wavefunction: expected a gap above 1e-4 Hartree, got {solution.gap:.1e} ({sample.origin})"
        )
    place, pair, n_orbitals = _layout(sample.graph, {o.number: o.size for o in orbitals})
    points = []
    for k, (coordinates, weight) in enumerate(zip(solution.kpts.points, solution.kpts.weights, strict=True)):
        phase = np.exp(2j * np.pi * (sample.graph.pair_cell @ coordinates)) if coordinates.any() else None
        energies = solution.eigenvalues[0, k]
        filled = solution.occupations[0, k] > 0.5 * solution.degeneracy
        difference = energies[~filled][None, :] - energies[filled][:, None]
        states = torch.from_numpy(np.ascontiguousarray(solution.coefficients[0][k]))
        kind = dtype if phase is None else dtype.to_complex()
        states = states.to(kind).to(device)
        mask = torch.from_numpy(filled).to(device)
        points.append(
            PointStates(
                float(weight),
                None if phase is None else torch.from_numpy(phase).to(kind).to(device),
                states[:, mask],
                states[:, ~mask],
                torch.from_numpy(solution.gap / difference).to(dtype).to(device),
            )
        )
    return ReferenceStates(
        topology,
        orbitals,
        torch.from_numpy(place).to(device),
        torch.from_numpy(pair).to(device),
        n_orbitals,
        tuple(points),
    )


class StatesOfSamples:
    """Reference states of training samples, each made once."""

    def __init__(self, samples: PreparedSamples) -> None:
        self.samples = samples
        self._known: dict[int, ReferenceStates] = {}

    def __getitem__(self, index: int) -> ReferenceStates:
        if index not in self._known:
            s = self.samples
            self._known[index] = reference_states(
                s.dataset[s.indices[index]],
                s.dataset.basis,
                s.dataset.settings,
                s[index][0],
                s.network.orbitals,
                s.dtype,
                s.device,
            )
        return self._known[index]


def _layout(graph: GraphInput, size: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Position in the flattened dense matrix and pair of every element of the flat data."""
    per_atom = np.array([size[int(z)] for z in graph.numbers], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(per_atom)])
    count = np.diff(graph.offset)
    pair = np.repeat(np.arange(graph.n_pairs), count)
    local = np.arange(graph.nnz) - graph.offset[pair]
    width = per_atom[graph.atom_j[pair]]
    row = start[graph.atom_i[pair]] + local // width
    column = start[graph.atom_j[pair]] + local % width
    return row * start[-1] + column, pair, int(start[-1])
