"""Real spherical harmonics (e3nn's), rotations of them, and the frame whose z axis is a given vector.

Y_lm as in `mlh.network.sphere`. "Natural parity": a feature of order l changes by (-1)^l under
inversion, as Y_lm itself does; every hidden feature of the network is of that kind, "0e + 1o + 2e + ..". In a
frame with z along an edge, rotations about z and the reflection y -> -y are what is left of O(3): m = 0 is
invariant, and (m, -m) transforms as (cos m phi, sin m phi), whatever l.

Not e3nn's, because measured (e3nn 0.6.0, FP64):
* the frames of edges: `o3.wigner_D` of their polar angles takes 381 ms for 8,192 edges, l <= 4, instead of
  26 and agrees to 1e-6 only, because its constants are of single precision;
* `rotation_matrices`: `D_from_matrix` has the same constants;
* the quadrature: `o3.s2_grid` needs 306 points to be exact up to l = 16, Gauss and Legendre 153.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.sphere import harmonics, rows

Array = NDArray[np.float64]


@cache
def degree_sizes(lmax: int) -> list[int]:
    """Rows of each l = 0..lmax."""
    return [ir.dim for _, ir in rows(lmax)]


def spherical_harmonics(lmax: int, vectors: Array) -> Array:
    """Y_lm of the directions of `vectors` (n, 3): (n, (lmax+1)^2), orthonormal on the sphere."""
    given = torch.from_numpy(np.asarray(vectors, dtype=np.float64))
    return harmonics(lmax, given, normalization="integral").numpy()


@cache
def sphere_quadrature(degree: int) -> tuple[Array, Array]:
    """Points (n, 3) and weights (sum 4 pi) that integrate every polynomial up to `degree` exactly on the
    sphere.
    """
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    n_phi = degree + 1
    phi = 2 * np.pi * np.arange(n_phi) / n_phi
    rho = np.sqrt(1 - nodes**2)
    points = np.stack(
        [rho[:, None] * np.cos(phi), rho[:, None] * np.sin(phi), nodes[:, None] + 0 * phi], axis=-1
    )
    return points.reshape(-1, 3), np.repeat(weights * 2 * np.pi / n_phi, n_phi)


def rotation_matrices(lmax: int, rotation: Array) -> list[Array]:
    """D^l with Y_l(Q v) = D^l Y_l(v) for one orthogonal 3x3 matrix Q (improper ones included), by exact
    quadrature.
    """
    points, weights = sphere_quadrature(2 * lmax)
    before = spherical_harmonics(lmax, points)
    after = spherical_harmonics(lmax, points @ rotation.T)
    return [
        np.einsum("p,pa,pb->ab", weights, after[:, block], before[:, block]) for block in rows(lmax).slices()
    ]


@cache
def _quarter_turns(lmax: int) -> tuple[Array, ...]:
    """D^l of the rotation about x that takes z to y; it turns a rotation about z into one about y."""
    return tuple(rotation_matrices(lmax, np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])))


def _turn_about_z(l: int, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """D^l of a rotation about z; cosines, sines (n, >= l+1) of m times the angle. (n, 2l+1, 2l+1)."""
    out = cosines.new_zeros(cosines.shape[0], 2 * l + 1, 2 * l + 1)
    out[:, l, l] = 1.0
    for m in range(1, l + 1):
        out[:, l + m, l + m] = cosines[:, m]
        out[:, l - m, l - m] = cosines[:, m]
        out[:, l + m, l - m] = -sines[:, m]
        out[:, l - m, l + m] = sines[:, m]
    return out


def _multiples(cosine: torch.Tensor, sine: torch.Tensor, m_max: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos(m a), sin(m a) for m = 0..m_max from cos a, sin a: two tensors (n, m_max+1)."""
    cosines, sines = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for _ in range(m_max):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    return torch.stack(cosines, dim=1), torch.stack(sines, dim=1)


NEAR_AXIS = 1e-3
"""sin(theta) below which an edge is turned away from the z axis first: on the axis the angle phi, and with it
the derivative of the frame, is not defined."""


def edge_frames(vectors: torch.Tensor, lmax: int) -> list[torch.Tensor]:
    """D^l, l = 0..lmax, of a rotation that takes z to the direction of each vector: lab = D^l frame.

    vectors: (n, 3), none zero. Returns tensors (n, 2l+1, 2l+1), differentiable in every direction. Column
    m' = 0 is proportional to Y_l of the direction. The turn about the edge itself is arbitrary (it is fixed
    by polar angles); nothing physical depends on it.
    """
    x, y, z = vectors.unbind(dim=1)
    near = (x * x + y * y) < NEAR_AXIS**2 * (z * z)
    some_near = bool(near.any())
    if some_near:  # a quarter turn about x, (x, y, z) -> (x, z, -y), which is undone below
        y, z = torch.where(near, z, y), torch.where(near, -y, z)
    rho2 = x * x + y * y
    rho, r = torch.sqrt(rho2), torch.sqrt(rho2 + z * z)
    phi, theta = _multiples(x / rho, y / rho, lmax), _multiples(z / r, rho / r, lmax)
    out = []
    for l, quarter in enumerate(_quarter_turns(lmax)):
        a = torch.as_tensor(quarter, dtype=vectors.dtype, device=vectors.device)
        frame = _turn_about_z(l, *phi) @ (a @ _turn_about_z(l, *theta) @ a.T)
        out.append(torch.where(near[:, None, None], a.T @ frame, frame) if some_near else frame)
    return out


def flip_signs(lmax: int) -> list[torch.Tensor]:
    """Diagonal of D^l, (2l+1,), of the half turn about x: it takes the frame of i -> j to one of j -> i."""
    return [
        torch.tensor([(-1.0) ** (l + abs(m)) * (1.0 if m >= 0 else -1.0) for m in range(-l, l + 1)])
        for l in range(lmax + 1)
    ]
