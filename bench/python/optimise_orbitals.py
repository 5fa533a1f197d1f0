"""Orbitals of `elements_nlcc.toml` from energies of our own engine in molecules and crystals.

For every geometry of a set of systems self-consistency is reached in a large set of orbitals, soft Coulomb
states chi(z) beside the occupied ones. With its Hamiltonian H held fixed, contractions C of these functions
lose

    error = sum_k w_k sum_i f_i e_i(C^T H_k C, C^T S_k C) - sum_k w_k sum_i f_i e_i(H_k, S_k),

to first order the error of the total energy. Minimised over the coefficients of the further functions of each
element and l (the occupied ones stay) is, per atom, the mean over the geometries of a system plus --weight
times their spread, summed over the systems with their IMPORTANCE: what is the same at all volumes and angles
does no harm. The gradient is that of Hellmann and Feynman, dE/dC = 2 (H C D - S C W).

    PYTHONPATH=python python bench/python/optimise_orbitals.py converge SET --out DIR [--only NAME ...]
    PYTHONPATH=python python bench/python/optimise_orbitals.py fit SET --out DIR --size Si=s2p2d1 O=s2p2d1
    PYTHONPATH=python python bench/python/optimise_orbitals.py toml SET --out DIR

SET: a file of orbital_sets/ with FAMILY, LARGE and SYSTEMS, or FILE:ELEMENT where it makes those of one.
`converge` goes on where it was; `fit` writes coefficients (--write), `toml` prints the entries of the table.
"""

from __future__ import annotations

import argparse
import json
import runpy
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize

from mlh.basis.gth.atom import AtomSolver, Wall
from mlh.basis.gth.finite_elements import make_elements
from mlh.basis.gth.orbitals import (
    ExtraFunction,
    OrbitalSize,
    Recipe,
    make_species,
    occupied_counts,
    recipe_for,
    soft_coulomb_state,
)
from mlh.basis.gth.table import gth_potential
from mlh.basis.species import RADIAL_STEP, SHELL_LETTERS, Basis, Species
from mlh.calculators import DFTCalculator
from mlh.common.units import HARTREE_EV

Array = NDArray[np.float64]
METAL_POINTS = 4
"""k points that a smeared system is fitted at."""


@dataclass(frozen=True)
class Geometry:
    """One of a system; options: of DFTCalculator beside basis and cutoff."""

    atoms: Atoms
    options: Mapping[str, Any]


def large_recipe(symbol: str, family: str, cutoff: float, charges: Mapping[str, list[float]]) -> Recipe:
    """The occupied functions and one function for every charge."""
    recipe = replace(recipe_for(symbol), potential=gth_potential(symbol, family))
    occupied = occupied_counts(recipe.potential)
    extra = tuple(tuple(ExtraFunction((z,)) for z in charges.get(letter, ())) for letter in SHELL_LETTERS)
    counts = tuple(
        (occupied[l] if l < len(occupied) else 0) + len(extra[l]) for l in range(len(SHELL_LETTERS))
    )
    while counts and counts[-1] == 0:
        counts = counts[:-1]
    return replace(recipe, extra=extra, size=OrbitalSize(cutoff, counts))


def _recipe(symbol: str, family: str, given: Any) -> Recipe:
    """Of a large set (cutoff, charges), or of a size by name, which stays as it is."""
    if isinstance(given, str):
        return recipe_for(symbol, given, family)
    return large_recipe(symbol, family, *given)


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


def converge(name: str, number: int, geometry: Geometry, basis: Basis, cutoff: float, path: Path) -> None:
    """Self-consistency in the large set; matrices into an npz."""
    atoms = geometry.atoms.copy()
    atoms.calc = DFTCalculator(basis, cutoff_ry=cutoff, **geometry.options)
    began = time.process_time()
    energy = atoms.get_potential_energy()
    state = atoms.calc.result
    solution = state.solution
    kpts = solution.kpts
    S = np.array([state.system.overlap().to_dense(k) for k in kpts.points])
    H = np.array([[state.H.to_dense(k, spin) for k in kpts.points] for spin in range(state.H.nspin)])
    moment = state.solution.magnetic_moment if state.H.nspin == 2 else 0.0
    n = state.system.n_electrons
    electrons = np.array([n]) if state.H.nspin == 1 else np.array([(n + moment) / 2, (n - moment) / 2])
    options = geometry.options
    rows = []
    for a, symbol in enumerate(atoms.get_chemical_symbols()):
        seen = dict.fromkeys(range(4), 0)
        for orbital in basis[symbol].orbitals:
            rows += [(a, orbital.l, seen[orbital.l], m) for m in range(2 * orbital.l + 1)]
            seen[orbital.l] += 1
    np.savez(
        path,
        functions=np.array(rows),
        H=H,
        S=S,
        weights=kpts.weights,
        electrons=electrons,
        width=(options.get("smearing_ev") or 0.0) / HARTREE_EV,
        energy=energy,
        volume=atoms.get_volume() if atoms.cell.rank == 3 else 0.0,
    )
    print(
        f"{name} {number}: {len(rows)} functions, {len(kpts.points)} k, E {energy:.5f} eV, "
        f"{time.process_time() - began:.0f} s",
        flush=True,
    )


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


def raw_weights(recipe: Recipe, l: int, coefficients: Array) -> Array:
    """Weights of the states chi(z) in a function that is given over the orthonormal functions of `recipe`.

    What it has of the occupied functions is left out: the generator removes it.
    """
    potential, cutoff = recipe.potential, recipe.size.cutoff
    elements = make_elements(cutoff, recipe.wall_width, potential.smallest_radius)
    solver = AtomSolver(potential, elements, Wall(cutoff, recipe.wall_width), recipe.xc)
    atom = solver.solve()
    occupied = [c for shell, (_, c) in atom.states.items() if shell.l == l]
    raw = occupied + [soft_coulomb_state(solver, l, f.charges[0]) for f in recipe.extra[l]]
    overlap = solver.channel(l).overlap
    done: list[Array] = []  # as the generator does it, signs included
    mesh = RADIAL_STEP * np.arange(round(cutoff / RADIAL_STEP) + 1)
    for orbital, function in zip((o for o in make_species(recipe).orbitals if o.l == l), raw, strict=True):
        c = function
        for _ in range(2):
            for other in done:
                c = c - other * float(other @ overlap @ c)
            c = c / np.sqrt(float(c @ overlap @ c))
        values = atom.reduced_orbital(c, np.minimum(mesh, cutoff))
        done.append(c if float(values @ orbital.g) > 0.0 else -c)
    wanted = np.array(done).T @ coefficients
    weights = np.linalg.lstsq(np.array(raw).T, wanted, rcond=None)[0]
    return np.asarray(weights[len(occupied) :])


def label(size: OrbitalSize) -> str:
    """7.0-s2p2d1."""
    return f"{size.cutoff:.1f}-" + "".join(f"{SHELL_LETTERS[l]}{n}" for l, n in enumerate(size.counts))


def toml_lines(recipe: Recipe, size: OrbitalSize, coefficients: Mapping[str, Any]) -> list[str]:
    """An entry of elements*.toml."""
    occupied = occupied_counts(recipe.potential)
    lines = [f'orbitals = "{label(size)}"']
    for l in range(len(size.counts)):
        occ = occupied[l] if l < len(occupied) else 0
        functions = []
        for row in coefficients[SHELL_LETTERS[l]]:
            full = np.array(row)
            full[:occ] = 0.0
            full /= np.linalg.norm(full)
            weights = raw_weights(recipe, l, full)
            charges = [f.charges[0] for f in recipe.extra[l]]
            functions.append(f"{{ z = {charges}, w = [{', '.join(f'{w:.5g}' for w in weights)}] }}")
        if functions:
            lines.append(f"extra.{SHELL_LETTERS[l]} = [")
            lines += [f"    {text}," for text in functions]
            lines.append("]")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("converge", "fit", "toml"))
    parser.add_argument("set")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--size", nargs="*", help="Si=s2p2d1 O=s2p2d1 ...")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--weight", type=float, default=20.0, help="of the spread against the mean")
    parser.add_argument("--equal", action="store_true", help="all systems are equally important")
    parser.add_argument("--write", type=Path, default=Path("coefficients.json"))
    options = parser.parse_args()
    file, _, symbol = options.set.partition(":")
    recipe = runpy.run_path(str(Path(__file__).parent / "orbital_sets" / f"{file}.py"))
    recipe = recipe["make"](symbol) if symbol else recipe
    options.out.mkdir(parents=True, exist_ok=True)
    recipes = {s: _recipe(s, recipe["FAMILY"], given) for s, given in recipe["LARGE"].items()}
    species = {s: make_species(r) for s, r in recipes.items()}
    if options.action == "toml":
        given = json.loads(options.write.read_text())
        for symbol, text in given["sizes"].items():
            size = OrbitalSize.parse(text)
            print(f"[{symbol}]", *toml_lines(recipes[symbol], size, given["coefficients"][symbol]), sep="\n")
        return
    systems: Mapping[str, list[Geometry]] = {
        name: [Geometry(*g) for g in geometries] for name, geometries in recipe["SYSTEMS"].items()
    }
    if options.action == "converge":
        basis = Basis(species.values(), "large")
        for name, geometries in systems.items():
            for number, geometry in enumerate(geometries):
                path = options.out / f"{name}-{number}.npz"
                if not path.exists() and (not options.only or name in options.only):
                    converge(name, number, geometry, basis, recipe["CUTOFF"], path)
        return
    references = load(options.out, systems, options.only)
    target = {
        s: OrbitalSize.parse(f"{recipes[s].size.cutoff:g}-{z}")
        for s, z in (x.split("=") for x in options.size)
    }
    target |= {s: recipes[s].size for s, given in recipe["LARGE"].items() if isinstance(given, str)}
    occupied = {
        s: recipes[s].size.counts if isinstance(recipe["LARGE"][s], str) else occupied_counts(r.potential)
        for s, r in recipes.items()
    }
    fit = Fit(
        references,
        species,
        occupied,
        target,
        options.weight,
        {} if options.equal else recipe.get("IMPORTANCE", {}),
    )
    x = fit.start(np.random.default_rng(0))
    found = minimize(
        fit, x, jac=True, method="L-BFGS-B", options={"maxiter": options.steps, "gtol": 1e-8, "ftol": 1e-12}
    )
    fit(found.x)
    for r, e in zip(references, fit.errors, strict=True):
        print(f"{r.system:24s} {1e3 * e:8.3f} mHa/atom")
    print("loss", found.fun, found.message, found.nit)
    columns = fit.columns(found.x)
    coefficients: dict[str, dict[str, Any]] = {}
    for (symbol, l), c in columns.items():
        occ = occupied[symbol][l] if l < len(occupied[symbol]) else 0
        coefficients.setdefault(symbol, {})[SHELL_LETTERS[l]] = c[:, occ:].T.tolist()  # over all functions
    sizes = {symbol: label(size) for symbol, size in target.items()}
    options.write.write_text(json.dumps({"coefficients": coefficients, "sizes": sizes}, indent=1))


if __name__ == "__main__":
    main()
