"""The loss of `optimise_orbitals.py` over the coefficients of contracted orbitals, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import eigh

from mlh.basis.gth.orbitals import OrbitalSize
from mlh.basis.species import Species

Array = NDArray[np.float64]

METAL_POINTS = 4
"""k points that a smeared system is fitted at."""


@dataclass(frozen=True)
class Geometry:
    """One of a system; options: of DFTCalculator beside basis and cutoff."""

    atoms: Atoms
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """One converged geometry: matrices per k point, and for every function (atom, l, radial index, m)."""

    system: str
    symbols: tuple[str, ...]
    functions: NDArray[np.int64]
    H: NDArray[Any]  # (nspin, nk, n, n)
    S: NDArray[Any]  # (nk, n, n)
    weights: Array  # (nk,)
    electrons: Array  # per spin
    width: float

    def band(self, P: Array | None) -> tuple[float, Array | None]:
        """Free energy of the bands in the space of the columns of P, and its derivative by P; Hartree."""
        nspin, nk = len(self.H), len(self.weights)
        e_all, states = [], []
        for s in range(nspin):
            for k in range(nk):
                H, S = self.H[s, k], self.S[k]
                if P is not None:
                    H, S = P.T @ H @ P, P.T @ S @ P
                e, c = eigh(H, S)
                e_all.append(e)
                states.append(c)
        e = np.array(e_all).reshape(nspin, nk, -1)
        f, energy = self._fill(e)
        if P is None:
            return energy, None
        G = np.zeros_like(P)
        for s in range(nspin):
            for k in range(nk):
                n = int(np.count_nonzero(f[s, k] > 1e-12))
                c, occ, ek = states[s * nk + k][:, :n], f[s, k, :n], e[s, k, :n]
                Pc = P @ c
                G += 2.0 * np.real((self.H[s, k] @ Pc * occ - self.S[k] @ Pc * (occ * ek)) @ c.conj().T)
        return energy, G

    def _fill(self, e: Array) -> tuple[Array, float]:
        """Occupations times weights, and sum f e less the entropy."""
        nspin = len(e)
        degeneracy = 2.0 if nspin == 1 else 1.0
        f = np.zeros_like(e)
        energy = 0.0
        for s in range(nspin):
            wanted = self.electrons[s] / degeneracy
            if self.width == 0.0:
                n = round(wanted)
                f[s, :, :n] = degeneracy * self.weights[:, None]
                energy += float(np.sum(f[s] * e[s]))
                continue
            low, high = e[s].min() - 1.0, e[s].max() + 1.0
            for _ in range(100):
                mu = 0.5 * (low + high)
                x = np.clip((e[s] - mu) / self.width, -500, 500)
                p = 1.0 / (1.0 + np.exp(x))
                low, high = (mu, high) if np.sum(self.weights[:, None] * p) < wanted else (low, mu)
            f[s] = degeneracy * self.weights[:, None] * p
            q = np.clip(p, 1e-300, 1.0)
            r = np.clip(1.0 - p, 1e-300, 1.0)
            entropy = -(p * np.log(q) + (1.0 - p) * np.log(r))
            energy += float(
                np.sum(f[s] * e[s]) - self.width * degeneracy * np.sum(self.weights[:, None] * entropy)
            )
        return f, energy


def _real(matrices: NDArray[Any]) -> NDArray[Any]:
    """Without an imaginary part that is zero."""
    return matrices.real.copy() if np.abs(matrices.imag).max() < 1e-12 else matrices


def load(folder: Path, systems: Mapping[str, list[Geometry]], only: list[str] | None) -> list[Reference]:
    found = []
    for name, geometries in systems.items():
        if only and name not in only:
            continue
        for number, geometry in enumerate(geometries):
            path = folder / f"{name}-{number}.npz"
            if not path.exists():
                print(f"without {path.name}")
                continue
            with np.load(path) as d:
                width = float(d["width"])
                # The error hardly depends on k: the points with the largest weight stand for all.
                best = np.argsort(-d["weights"], kind="stable")[: METAL_POINTS if width else 1]
                found.append(
                    Reference(
                        name,
                        tuple(geometry.atoms.get_chemical_symbols()),
                        d["functions"],
                        _real(d["H"][:, best]),
                        _real(d["S"][best]),
                        d["weights"][best] / d["weights"][best].sum(),
                        d["electrons"],
                        width,
                    )
                )
    return found


class Fit:
    """The loss over the coefficients."""

    def __init__(
        self,
        references: list[Reference],
        species: Mapping[str, Species],
        occupied: Mapping[str, tuple[int, ...]],
        target: Mapping[str, OrbitalSize],
        weight: float,
        importance: Mapping[str, float],
    ) -> None:
        self.weight, self.importance = weight, importance
        self.references, self.species, self.target = references, species, target
        self.occupied = occupied
        self.full = [r.band(None)[0] for r in references]
        # Coefficients per (symbol, l): (large functions, functions of the target); the fixed columns first.
        self.fixed: dict[tuple[str, int], Array] = {}
        self.free: dict[tuple[str, int], int] = {}
        for symbol, size in target.items():
            for l, count in enumerate(size.counts):
                n = sum(o.l == l for o in species[symbol].orbitals)
                occ = occupied[symbol][l] if l < len(occupied[symbol]) else 0
                columns = [np.eye(n)[:, i] for i in range(occ)]
                fixed = np.array(columns[:count]).reshape(-1, n).T
                self.fixed[symbol, l] = fixed
                self.free[symbol, l] = count - fixed.shape[1]

    def start(self, rng: np.random.Generator) -> Array:
        """Free coefficients: the functions in the middle of the ladder, with a little of the others."""
        parts = []
        for (symbol, l), count in self.free.items():
            n = self.fixed[symbol, l].shape[0]
            occ = self.occupied[symbol][l] if l < len(self.occupied[symbol]) else 0
            order = [occ + (n - occ) // 2, occ, n - 1, occ + 1]
            block = 0.05 * rng.standard_normal((n, count))
            for j in range(count):
                block[min(order[j % 4], n - 1), j] += 1.0
            parts.append(block.ravel())
        return np.concatenate(parts) if parts else np.zeros(0)

    def columns(self, x: Array) -> dict[tuple[str, int], Array]:
        found, at = {}, 0
        for key, count in self.free.items():
            n = self.fixed[key].shape[0]
            block = x[at : at + n * count].reshape(n, count)
            at += n * count
            found[key] = np.hstack([self.fixed[key], block])
        return found

    def __call__(self, x: Array) -> tuple[float, Array]:
        columns = self.columns(x)
        errors, gradients = [], []
        for r, full in zip(self.references, self.full, strict=True):
            P, index = self._projection(r, columns)
            energy, G = r.band(P)
            assert G is not None
            errors.append((energy - full) / len(r.symbols))
            gradients.append((G / len(r.symbols), index))
        systems = [r.system for r in self.references]
        loss, weights = 0.0, np.zeros(len(errors))
        for system in dict.fromkeys(systems):
            mine = [i for i, s in enumerate(systems) if s == system]
            e = np.array([errors[i] for i in mine])
            spread = float(np.sqrt(np.mean((e - e.mean()) ** 2) + 1e-12))
            own = self.importance.get(system, 1.0)
            loss += own * (float(e.mean()) + self.weight * spread)
            for i, value in zip(mine, e, strict=True):
                weights[i] = own * (1.0 + self.weight * (value - e.mean()) / spread) / len(mine)
        total = {key: np.zeros_like(c) for key, c in columns.items()}
        for w, (G, index) in zip(weights, gradients, strict=True):
            for key, p, z, row, column in index:
                total[key][p, z] += w * G[row, column].sum()
        self.errors = errors
        flat = [total[key][:, self.fixed[key].shape[1] :].ravel() for key in self.free]
        return loss, np.concatenate(flat)

    def _projection(
        self, r: Reference, columns: Mapping[tuple[str, int], Array]
    ) -> tuple[Array, list[tuple[tuple[str, int], int, int, Any, Any]]]:
        where: dict[tuple[str, int, int, int], list[int]] = {}
        for row, (a, l, p, _) in enumerate(r.functions):
            where.setdefault((r.symbols[a], int(l), int(a), int(p)), []).append(row)
        width = 0
        places: dict[tuple[int, int, int], list[int]] = {}
        for a, symbol in enumerate(r.symbols):
            for l in range(4):
                if (symbol, l) in columns:
                    for z in range(columns[symbol, l].shape[1]):
                        places[a, l, z] = list(range(width, width + 2 * l + 1))
                        width += 2 * l + 1
        P = np.zeros((len(r.functions), width))
        gather: dict[tuple[tuple[str, int], int, int], tuple[list[int], list[int]]] = {}
        for (symbol, l, a, p), rows in where.items():
            if (symbol, l) not in columns:
                continue
            for z in range(columns[symbol, l].shape[1]):
                cols = places[a, l, z]
                P[rows, cols] = columns[symbol, l][p, z]
                at = gather.setdefault(((symbol, l), p, z), ([], []))
                at[0].extend(rows)
                at[1].extend(cols)
        index = [(key, p, z, np.array(rw), np.array(cl)) for (key, p, z), (rw, cl) in gather.items()]
        return P, index
