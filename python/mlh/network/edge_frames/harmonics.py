"""Real spherical harmonics, rotations of them, and the frame whose z axis is a given vector.

Y_lm, m = -l..l (sin |m| phi for m < 0, cos m phi for m > 0), no Condon-Shortley phase. "Natural parity": a
feature of order l changes by (-1)^l under inversion, as Y_lm itself does; every hidden feature of the network
is of that kind. In a frame with z along an edge, rotations about z and the reflection y -> -y are what is
left of O(3): m = 0 is invariant, and (m, -m) transforms as (cos m phi, sin m phi), whatever l.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


def associated_legendre(lmax: int, z: Array) -> list[list[Array]]:
    """Q_l^m(z) = P_l^m(z) / sin^m(theta) without Condon-Shortley phase; out[l][m], each of z's shape."""
    table: list[list[Array]] = [[np.ones_like(z)]]
    for l in range(1, lmax + 1):
        row = [
            ((2 * l - 1) * z * table[l - 1][m] - ((l + m - 1) * table[l - 2][m] if m <= l - 2 else 0.0))
            / (l - m)
            for m in range(l)
        ]
        row.append((2 * l - 1) * table[l - 1][l - 1])
        table.append(row)
    return table


def spherical_harmonics(lmax: int, vectors: Array) -> Array:
    """Y_lm of the directions of `vectors` (n, 3): (n, (lmax+1)^2), sum_m Y_lm^2 = (2l+1)/(4 pi)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    x, y, z = unit.T
    legendre = associated_legendre(lmax, z)
    power = [np.ones_like(x) + 0j]
    for _ in range(lmax):
        power.append(power[-1] * (x + 1j * y))
    out = np.empty((len(unit), (lmax + 1) ** 2))
    for l in range(lmax + 1):
        for m in range(l + 1):
            ratio = 1.0
            for k in range(l - m + 1, l + m + 1):
                ratio /= k
            norm = np.sqrt((2 * l + 1) / (4 * np.pi) * ratio * (1.0 if m == 0 else 2.0))
            out[:, l * l + l + m] = norm * legendre[l][m] * power[m].real
            if m > 0:
                out[:, l * l + l - m] = norm * legendre[l][m] * power[m].imag
    return out


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
    out = []
    for l in range(lmax + 1):
        block = slice(l * l, (l + 1) ** 2)
        out.append(np.einsum("p,pa,pb->ab", weights, after[:, block], before[:, block]))
    return out


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


def edge_frames(vectors: torch.Tensor, lmax: int) -> list[torch.Tensor]:
    """D^l, l = 0..lmax, of a rotation that takes z to the direction of each vector: lab = D^l frame.

    vectors: (n, 3), none zero. Returns tensors (n, 2l+1, 2l+1). Column m' = 0 is proportional to Y_l of the
    direction. The turn about the edge itself is arbitrary (it is fixed by the polar angles); nothing physical
    depends on it.
    """
    x, y, z = vectors.unbind(dim=1)
    rho2 = x * x + y * y
    on_axis = rho2 <= (z * z) * torch.finfo(vectors.dtype).eps ** 2
    rho = torch.sqrt(torch.where(on_axis, torch.ones_like(rho2), rho2))
    one, zero = torch.ones_like(rho), torch.zeros_like(rho)
    cos_phi, sin_phi = torch.where(on_axis, one, x / rho), torch.where(on_axis, zero, y / rho)
    r = torch.linalg.vector_norm(vectors, dim=1)
    cos_theta, sin_theta = z / r, torch.where(on_axis, zero, rho) / r
    phi, theta = _multiples(cos_phi, sin_phi, lmax), _multiples(cos_theta, sin_theta, lmax)
    out = []
    for l, quarter in enumerate(_quarter_turns(lmax)):
        a = torch.as_tensor(quarter, dtype=vectors.dtype, device=vectors.device)
        about_y = a @ _turn_about_z(l, *theta) @ a.T
        out.append(_turn_about_z(l, *phi) @ about_y)
    return out


def flip_signs(lmax: int) -> list[torch.Tensor]:
    """Diagonal of D^l, (2l+1,), of the half turn about x: it takes the frame of i -> j to one of j -> i."""
    return [
        torch.tensor([(-1.0) ** (l + abs(m)) * (1.0 if m >= 0 else -1.0) for m in range(-l, l + 1)])
        for l in range(lmax + 1)
    ]
