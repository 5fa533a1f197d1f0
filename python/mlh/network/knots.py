"""Smooth functions of the distance of a pair, and what is fitted with them to the parts of off-site blocks:

mean(r) = envelope(r) sum_k w_k(r) c_k,   scale(r) = envelope(r) exp(sum_k w_k(r) log s_k)
"""

from __future__ import annotations

import torch
from torch import nn


class KnotFunctions(nn.Module):
    """Smooth functions of the distance: w_k(r) = softmax_k(-(r - r_k)^2 / 2 d^2), sum_k w_k = 1, and an
    envelope.
    """

    def __init__(self, cutoff: float, n_knots: int, shortest: float = 1.0) -> None:
        super().__init__()
        self.cutoff = cutoff
        knots = torch.linspace(shortest, cutoff, n_knots, dtype=torch.float64)
        self.width = float(knots[1] - knots[0])
        self.register_buffer("knots", knots, persistent=False)
        self.knots: torch.Tensor

    def forward(self, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """r (pairs,) -> weights (pairs, n_knots) and the envelope (1 - (r/c)^2)^3, zero beyond."""
        weights = torch.softmax(-((r[:, None] - self.knots) ** 2) / (2 * self.width**2), dim=1)
        return weights, torch.clamp(1 - (r / self.cutoff) ** 2, min=0.0) ** 3


def fit_distances(
    knots: KnotFunctions, invariants: torch.Tensor, r: torch.Tensor, part: torch.Tensor
) -> torch.Tensor:
    """c_k (knots, parts) of the mean of numbers (pairs, parts) that do not turn with the pair, by weighted
    least squares; part (parts,): 0, 1, ..
    """
    weights, envelope = knots(r)
    n0 = invariants.shape[1]
    inside = envelope > 1e-9
    log_size = log_sizes(invariants, weights, envelope, part, n0)
    mean = torch.zeros(weights.shape[1], n0, dtype=weights.dtype)
    for k in range(n0):
        # Unknowns are c_k / s_k, rows are divided by s(r) = exp(sum_k w_k log s_k): all entries are of order
        # one although the blocks fall by many orders of magnitude with distance.
        size = torch.exp(weights[inside] @ log_size[:, k])
        design = weights[inside] * torch.exp(log_size[:, k]) / size[:, None]
        target = invariants[inside, k] / envelope[inside] / size
        gram = design.T @ design
        ridge = 1e-6 * float(inside.sum()) / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
        mean[:, k] = torch.linalg.solve(gram + ridge, design.T @ target) * torch.exp(log_size[:, k])
    return mean


def log_sizes(
    components: torch.Tensor, weights: torch.Tensor, envelope: torch.Tensor, part: torch.Tensor, n_parts: int
) -> torch.Tensor:
    """log s_k per knot and part: s_k^2 = sum_p w_pk y_p^2 / sum_p w_pk envelope_p^2, components pooled."""
    squares = torch.zeros(weights.shape[1], n_parts, dtype=weights.dtype)
    squares.index_add_(1, part, weights.T @ components**2)
    multiplicity = torch.bincount(part, minlength=n_parts).to(weights.dtype)
    norm = weights.T @ envelope**2
    sizes = torch.sqrt(squares / (norm[:, None] * multiplicity).clamp(min=1e-300))
    populated = torch.nonzero(weights.sum(dim=0) > 1.0).flatten()
    nearest = (torch.arange(len(sizes))[:, None] - populated).abs().argmin(dim=1)
    sizes = sizes[populated[nearest]]
    return torch.log(sizes.clamp(min=max(float(sizes.max()) * 1e-6, 1e-14)))
