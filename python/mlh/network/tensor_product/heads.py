"""Heads: features of an atom -> its on-site block; those of both ends of a pair -> its off-site block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import nn

from mlh.network.knots import KnotFunctions, fit_distances, log_sizes
from mlh.network.layers import SMALL
from mlh.network.neighbours import bessel_basis
from mlh.network.orbitals import OrbitalSet
from mlh.network.site_blocks import SiteBlocks, natural
from mlh.network.sphere import harmonics
from mlh.network.tensor_product.config import TensorProductConfig
from mlh.network.tensor_product.layers import Gate, IrrepsLinear, RadialWeights
from mlh.network.tensor_product.parts import pair_parts
from mlh.network.tensor_product.product import EdgeProduct, join_irreps, split_irreps


class SiteHead(SiteBlocks):
    """On-site blocks of one element: gated linear map to the parts of a local potential."""

    def __init__(self, orbitals: OrbitalSet, features: o3.Irreps) -> None:
        super().__init__(orbitals)
        self.features = features
        irreps = [ir for _, ir in features]
        self.places = [irreps.index(ir) for _, ir in self.irreps]
        channels = [features[k].mul for k in self.places]
        self.mix = IrrepsLinear(1, channels, channels)
        self.gate = Gate(o3.Irreps([features[k] for k in self.places]))
        self.last = IrrepsLinear(1, channels, self.counts, SMALL)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (atoms, dim) -> (atoms, n, n) Hartree."""
        given = split_irreps(x, self.features)
        return self.assemble(self.last(self.gate(self.mix([given[k] for k in self.places]))))


class PairHead(nn.Module):
    """Off-site blocks of one pair of elements (a, b): the pair interaction.

        f_ij = gate(B w(r) (A_a x_i + A_b x_j) x Y(r_ij)),   parts = scale(r) W f_ij + mean(r) Y(r_ij)

    For equal elements the block is the mean of both directions, H_ij = H_ji^T.
    """

    def __init__(
        self, a: OrbitalSet, b: OrbitalSet, features: o3.Irreps, config: TensorProductConfig
    ) -> None:
        super().__init__()
        self.a, self.b, self.config = a, b, config
        self.cutoff = a.cutoff + b.cutoff
        parts = pair_parts(a, b)
        self.irreps = parts.irreps
        channels = [mul for mul, _ in features]
        self.up = IrrepsLinear(2, channels, channels)
        wanted = o3.Irreps([(mul, ir) for mul, ir in features if ir in self.irreps or ir == o3.Irrep("0e")])
        self.product = EdgeProduct(features, config.edge_lmax, wanted)
        self.radial = RadialWeights(1, config.n_radial, config.radial_width, self.product.n_weights)
        hidden = [mul for mul, _ in wanted]
        self.collect = IrrepsLinear(1, self.product.widths, hidden)
        self.gate = Gate(wanted)
        irreps = [ir for _, ir in wanted]
        self.places = [irreps.index(ir) for _, ir in self.irreps]
        counts = [mul for mul, _ in self.irreps]
        self.last = IrrepsLinear(1, [hidden[k] for k in self.places], counts, SMALL)
        self.knots = KnotFunctions(self.cutoff, config.n_knots)
        n_means = sum(mul for mul, ir in self.irreps if ir == natural(ir.l))
        zeros = torch.zeros(config.n_knots, n_means, dtype=torch.float64)
        self.register_buffer("mean", zeros)
        self.register_buffer("log_scale", zeros.new_zeros(config.n_knots, sum(counts)))
        basis = torch.from_numpy(parts.basis)
        self.register_buffer("basis", basis.flatten(1), persistent=False)
        self.register_buffer("part", torch.from_numpy(parts.part), persistent=False)
        self.mean: torch.Tensor
        self.log_scale: torch.Tensor
        self.basis: torch.Tensor
        self.part: torch.Tensor

    def ends(self, x_a: torch.Tensor, x_b: torch.Tensor, features: o3.Irreps) -> tuple[torch.Tensor, ...]:
        """What an atom adds as first and as second of a pair: (atoms of a, dim), (atoms of b, dim)."""
        first = join_irreps(self.up(split_irreps(x_a, features), 0))
        return first, join_irreps(self.up(split_irreps(x_b, features), 1))

    def forward(self, sums: Sequence[torch.Tensor], v: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """sums: first end of i plus second end of j, (pairs, dim), for equal elements also the other way
        round; vectors v (pairs, 3); scale of the radial functions -> blocks (pairs, n_a, n_b), Hartree.
        """
        r = torch.linalg.vector_norm(v, dim=1)
        y = harmonics(self.config.edge_lmax, v)
        hidden = self.radial.hidden(bessel_basis(r, self.cutoff, self.config.n_radial) * scale, 0)
        weights = [self.radial(hidden)] * len(sums)
        products = self.product(self.product.kernels(y), sums, weights)
        knots, envelope = self.knots(r)
        sizes = torch.exp(knots @ self.log_scale)[:, self.part]
        blocks = [self._block(found, sizes, envelope) for found in products]
        block = blocks[0] if len(blocks) == 1 else 0.5 * (blocks[0] + blocks[1].mT)
        return block + self.mean_block(v)

    def _block(
        self, found: Sequence[torch.Tensor], sizes: torch.Tensor, envelope: torch.Tensor
    ) -> torch.Tensor:
        """Blocks without their means, of one direction."""
        parts = self.gate(self.collect(found))
        components = join_irreps(self.last([parts[k] for k in self.places]))
        block = (components * sizes * envelope[:, None]) @ self.basis
        return block.reshape(-1, self.a.size, self.b.size)

    def mean_block(self, v: torch.Tensor) -> torch.Tensor:
        """The fitted two-centre mean alone, (pairs, n_a, n_b) Hartree; of equal elements both ways."""
        knots, envelope = self.knots(torch.linalg.vector_norm(v, dim=1))
        mean = self._along(v, (knots @ self.mean) * envelope[:, None]) @ self.basis
        block = mean.reshape(-1, self.a.size, self.b.size)
        if self.a != self.b:
            return block
        back = self._along(-v, (knots @ self.mean) * envelope[:, None]) @ self.basis
        return 0.5 * (block + back.reshape(-1, self.b.size, self.a.size).mT)

    def _along(self, v: torch.Tensor, invariants: torch.Tensor) -> torch.Tensor:
        """Numbers (pairs, means) times Y_L of the pair: components (pairs, dim of the irreps)."""
        y = harmonics(self.irreps.lmax, v, normalization="norm")
        out, first = [], 0
        for mul, ir in self.irreps:
            if ir != natural(ir.l):
                out.append(v.new_zeros(len(v), ir.dim * mul))
                continue
            turned = y[:, ir.l**2 : (ir.l + 1) ** 2, None] * invariants[:, None, first : first + mul]
            out.append(turned.flatten(1))
            first += mul
        return torch.cat(out, dim=1)

    def fit(self, blocks: torch.Tensor, v: torch.Tensor) -> None:
        """Means and sizes from blocks (pairs, n_a, n_b) and vectors (pairs, 3)."""
        if len(v) == 0:
            return
        basis, knots = self.basis.double(), self.knots.double()
        components = blocks.double().flatten(1) @ basis.T
        y = harmonics(self.irreps.lmax, v.double(), normalization="norm")
        found = [
            torch.einsum("pmk,pm->pk", part, y[:, ir.l**2 : (ir.l + 1) ** 2])
            for part, (_, ir) in zip(split_irreps(components, self.irreps), self.irreps, strict=True)
            if ir == natural(ir.l)
        ]
        invariants = torch.cat(found, dim=1)
        r = torch.linalg.vector_norm(v.double(), dim=1)
        self.mean.copy_(fit_distances(knots, invariants, r, torch.arange(invariants.shape[1])))
        rest = components - self.mean_block(v.double()).flatten(1) @ basis.T
        weights, envelope = knots(r)
        self.log_scale.copy_(log_sizes(rest, weights, envelope, self.part, self.log_scale.shape[1]))
