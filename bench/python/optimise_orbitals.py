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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from orbital_fit import Fit, Geometry, load
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
from mlh.basis.species import RADIAL_STEP, SHELL_LETTERS, Basis
from mlh.calculators import DFTCalculator
from mlh.common.units import HARTREE_EV

Array = NDArray[np.float64]


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
