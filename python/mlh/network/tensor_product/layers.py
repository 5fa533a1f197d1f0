"""Layers on irreps: linear maps, gates, the weights of a product, the orbital convolution.

Features are flat, (n, dim), in the layout of `mlh.network.tensor_product.product`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import nn

from mlh.network.layers import SILU_GAIN, soft_norm
from mlh.network.memory import made_again
from mlh.network.neighbours import Near, bessel_basis
from mlh.network.sphere import harmonics
from mlh.network.tensor_product.config import TensorProductConfig
from mlh.network.tensor_product.product import EdgeProduct, join_irreps, split_irreps
from mlh.network.topology import Topology

TANH_GAIN = 1.5925  # 1 / rms of tanh of a unit normal


class IrrepsLinear(nn.Module):
    """y_{l p, m} = x_{l p, m} W_{l p}, for each kind of rows; widths[k]: input channels of irrep k."""

    def __init__(self, kinds: int, widths: Sequence[int], channels: Sequence[int], gain: float = 1.0) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            [
                nn.Parameter(gain * torch.randn(kinds, n, m) / max(n, 1) ** 0.5)
                for n, m in zip(widths, channels, strict=True)
            ]
        )

    def forward(self, parts: Sequence[torch.Tensor], kind: int = 0) -> list[torch.Tensor]:
        """parts[k] (n, 2l+1, widths[k]) -> (n, 2l+1, channels[k])."""
        return [part @ weight[kind] for part, weight in zip(parts, self.weights, strict=True)]

    def of_species(self, parts: Sequence[torch.Tensor], slices: Sequence[slice]) -> list[torch.Tensor]:
        """The same with the kind of each atom's element; atoms are sorted by element."""
        rows = [self([part[atoms] for part in parts], s) for s, atoms in enumerate(slices)]
        return [torch.cat(found) for found in zip(*rows, strict=True)]


class Gate(nn.Module):
    """silu of 0e, tanh of 0o, and every other irrep times sigmoids of what a linear map makes of the 0e."""

    def __init__(self, irreps: o3.Irreps) -> None:
        super().__init__()
        self.irreps = irreps
        self.scalar = [ir for _, ir in irreps].index(o3.Irrep("0e"))
        self.widths = [mul if ir.l else 0 for mul, ir in irreps]
        self.gates = nn.Linear(irreps[self.scalar].mul, sum(self.widths))
        self.bias = nn.Parameter(torch.zeros(irreps[self.scalar].mul))

    def forward(self, parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of each irrep (n, 2l+1, channels) -> the same shapes."""
        scalars = parts[self.scalar] + self.bias
        gates = torch.split(2 * torch.sigmoid(self.gates(scalars)), self.widths, dim=2)
        out = []
        for part, gate, (_, ir) in zip(parts, gates, self.irreps, strict=True):
            if ir.l:
                out.append(part * gate)
            elif ir.p == -1:
                out.append(torch.tanh(part) * TANH_GAIN)
            else:
                out.append(nn.functional.silu(scalars) * SILU_GAIN)
        return out


class RadialWeights(nn.Module):
    """Weights of a product from the distance: Bessel functions, a hidden layer, a linear map. They end at the
    cutoff with two continuous derivatives. kinds: pairs of elements, in order.
    """

    def __init__(self, kinds: int, n_radial: int, width: int, n_weights: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(kinds, n_radial, width) / n_radial**0.5)
        self.last = nn.Parameter(torch.randn(width, n_weights) / width**0.5)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(E, width) -> (E, n_weights)."""
        return hidden @ self.last

    def hidden(self, radial: torch.Tensor, kind: int) -> torch.Tensor:
        """Radial functions (E, n_radial) of order one -> (E, width)."""
        return nn.functional.silu(radial @ self.first[kind]) * SILU_GAIN


class OrbitalConvolution(nn.Module):
    """x_i + U gate(A x_i + B sum_j w(r_ij) (C x_j) x Y(r_ij)), matrices per element, see `EdgeProduct`."""

    def __init__(self, n_species: int, given: o3.Irreps, config: TensorProductConfig) -> None:
        super().__init__()
        self.config, self.given, self.features = config, given, o3.Irreps(config.features)
        self.n_species = n_species
        channels = [mul for mul, _ in self.features]
        before = [mul for mul, _ in given]
        self.up = IrrepsLinear(n_species, before, before)
        self.product = EdgeProduct(given, config.edge_lmax, self.features)
        sizes = config.n_radial, config.radial_width, self.product.n_weights
        self.radial = RadialWeights(n_species**2, *sizes)
        self.collect = IrrepsLinear(n_species, self.product.widths, channels)
        same = {ir: mul for mul, ir in given}
        self.own = IrrepsLinear(n_species, [same.get(ir, 0) for _, ir in self.features], channels)
        self.gate = Gate(self.features)
        self.update = IrrepsLinear(n_species, channels, channels)

    def messages(
        self,
        source: torch.Tensor,
        topology: Topology,
        near: Near,
        rows: slice,
        vectors: torch.Tensor,
        cutoffs: torch.Tensor,
        scale: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Messages to i and to j, (E, product dim) each, of the edges `rows`; source (n, dim given)."""
        edges = near.index[rows]
        v = vectors[edges]
        r = torch.linalg.vector_norm(v, dim=1)
        weights = [self.radial(hidden) for hidden in self._hidden(r, near, rows, cutoffs, scale)]
        kernels = self.product.kernels(harmonics(self.config.edge_lmax, v))
        ends = topology.j[edges], topology.i[edges]  # who sends: to i, then to j
        forward, backward = self.product(kernels, [source.index_select(0, e) for e in ends], weights)
        return join_irreps(forward), join_irreps(backward)

    def _hidden(
        self, r: torch.Tensor, near: Near, rows: slice, cutoffs: torch.Tensor, scale: torch.Tensor
    ) -> list[torch.Tensor]:
        """Hidden numbers of both directions, (E, width) each."""
        out: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for a, b, start, stop in near.groups:
            lo, hi = max(start, rows.start) - rows.start, min(stop, rows.stop) - rows.start
            if lo >= hi:
                continue
            radial = bessel_basis(r[lo:hi], float(cutoffs[a, b]), self.config.n_radial) * scale
            for found, (receiver, sender) in zip(out, ((a, b), (b, a)), strict=True):
                found.append(self.radial.hidden(radial, receiver * self.n_species + sender))
        return [torch.cat(found) for found in out]

    def forward(
        self,
        x: torch.Tensor,
        topology: Topology,
        near: Near,
        vectors: torch.Tensor,
        cutoffs: torch.Tensor,
        scale: torch.Tensor,
        inverse_root: torch.Tensor,
        again: bool,
    ) -> torch.Tensor:
        """x (n, dim given) -> (n, dim of the features). vectors (P, 3): of the pairs; scale: of the radial
        functions; again: make the messages again on the way back.
        """
        slices = topology.species_slices()
        given = split_irreps(soft_norm(x), self.given)
        source = join_irreps(self.up.of_species(given, slices))
        total = x.new_zeros(len(x), self.product.dim)
        for first in range(0, len(near), self.config.chunk):
            rows = slice(first, min(first + self.config.chunk, len(near)))
            inputs = source, topology, near, rows, vectors, cutoffs, scale
            to_i, to_j = made_again(self.messages, *inputs) if again else self.messages(*inputs)
            edges = near.index[rows]
            total = total.index_add(0, topology.i[edges], to_i).index_add(0, topology.j[edges], to_j)
        arrived = o3.Irreps(list(zip(self.product.widths, self.product.targets, strict=True)))
        messages = self.collect.of_species(split_irreps(total * inverse_root, arrived), slices)
        by_irrep = {ir: part for (_, ir), part in zip(self.given, given, strict=True)}
        same = [by_irrep.get(ir, x.new_zeros(len(x), ir.dim, 0)) for _, ir in self.features]
        mixed = [0.5**0.5 * (p + q) for p, q in zip(messages, self.own.of_species(same, slices), strict=True)]
        update = join_irreps(self.update.of_species(self.gate(mixed), slices))
        return update if self.given != self.features else x + update
