"""How the effective charges and weights of python/mlh/basis/gth/elements.toml were found (needs PySCF).

For molecules with the element, PBE is converged in a large even-tempered Gaussian basis with the same
pseudopotential. With that Hamiltonian F held fixed, the basis-set error of the numerical orbitals is

    error = sum_occ e(C^T F C, C^T S C) - sum_occ e(F, S),

where C expands the numerical orbitals in the Gaussians of their l (least squares); to first order this is
the error of the total energy. Powell's method minimises the sum over molecules of error per atom.
Partner elements (H, O) keep the functions of elements.toml.

Run: python tests/data/optimise_orbitals.py N --molecule "N 0 0 0; N 0 0 1.10" --molecule "N ..."
Coordinates in Angstrom. Molecules are closed-shell.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, gamma, log

import numpy as np
from pyscf import dft, gto
from scipy.linalg import eigh
from scipy.optimize import minimize

from mlh.basis.gth.orbitals import ExtraFunction, Recipe, make_species, occupied_counts, recipe_for
from mlh.basis.gth.table import gth_potential
from mlh.basis.species import RADIAL_STEP, SHELL_LETTERS, RadialFunction

Array = np.ndarray
LARGEST_CHARGE = (6.5, 6.5, 14.0, 14.0)  # per l: harder functions would need a finer grid
SMALLEST_RATIO = 1.6  # of the two charges of one function: closer ones are linearly dependent


def gaussian_exponents(symbol: str) -> dict[int, Array]:
    """Even-tempered exponents per l, up to what the pseudopotential's radii can show."""
    potential = gth_potential(symbol)
    low = 0.035 if len(occupied_counts(potential)) and occupied_counts(potential)[0] > 1 else 0.06
    result = {}
    for l in range(3):
        occupied = l < len(potential.electrons) and potential.electrons[l] > 0
        radius = min([c.radius for c in potential.channels if c.l == l] + [potential.local.radius])
        high = 0.9 / radius**2 if l == 0 or occupied else 4.0
        start = low if l < 2 or occupied else 2.0 * low
        result[l] = np.geomspace(start, high, ceil(log(high / start) / log(2.05)) + 1)
    return result | {3: np.array([0.4, 1.5])}


@dataclass(frozen=True)
class Reference:
    """Converged molecule: Hamiltonian, overlap, and the (atom, l, exponent) of every Gaussian shell."""

    symbols: tuple[str, ...]
    hamiltonian: Array
    overlap: Array
    shells: tuple[tuple[int, int, float], ...]
    n_occupied: int

    def band_energy(self, c: Array | None = None) -> float:
        """Sum of the occupied eigenvalues, in the space of the columns of c."""
        h, s = self.hamiltonian, self.overlap
        if c is not None:
            h, s = c.T @ h @ c, c.T @ s @ c
        return 2.0 * float(np.sum(eigh(h, s, eigvals_only=True)[: self.n_occupied]))


def converge(text: str) -> Reference:
    """PBE of one molecule in the large basis."""
    symbols = {line.split()[0] for line in text.split(";")}
    mol = gto.M(
        atom=text,
        basis={s: [[l, [a, 1.0]] for l, x in gaussian_exponents(s).items() for a in x] for s in symbols},
        pseudo={s: f"gth-pbe-q{gth_potential(s).valence}" for s in symbols},
        verbose=0,
    )
    field = dft.RKS(mol).density_fit()
    field.xc, field.conv_tol = "pbe", 1e-8
    field.kernel()
    if not field.converged:
        raise RuntimeError(f"molecule {text!r}: PBE did not converge")
    shells = [(mol.bas_atom(b), mol.bas_angular(b), float(mol.bas_exp(b)[0])) for b in range(mol.nbas)]
    return Reference(
        symbols=tuple(mol.atom_symbol(i) for i in range(mol.natm)),
        hamiltonian=field.get_fock(),
        overlap=field.get_ovlp(),
        shells=tuple(shells),
        n_occupied=mol.nelectron // 2,
    )


def expansion(orbital: RadialFunction, exponents: Array) -> Array:
    """Coefficients of the orbital in normalised Gaussians of its l, least squares on r^2 dr."""
    l, r = orbital.l, np.linspace(0.0, orbital.cutoff + 6.0, 1500)
    norms = np.sqrt(2.0 * (2.0 * exponents) ** (l + 1.5) / gamma(l + 1.5))
    columns = norms * r[:, None] ** l * np.exp(-exponents * r[:, None] ** 2) * r[:, None]
    return np.linalg.lstsq(columns, orbital(r) * r, rcond=1e-10)[0]


def error(reference: Reference, orbitals: dict[str, tuple[RadialFunction, ...]]) -> float:
    """Basis-set error of the orbitals in one molecule, Hartree."""
    starts = np.concatenate(([0], np.cumsum([2 * l + 1 for _, l, _ in reference.shells])))
    columns = []
    for atom, symbol in enumerate(reference.symbols):
        for orbital in orbitals[symbol]:
            mine = [k for k, (a, l, _) in enumerate(reference.shells) if (a, l) == (atom, orbital.l)]
            weights = expansion(orbital, np.array([reference.shells[k][2] for k in mine]))
            for m in range(2 * orbital.l + 1):
                column = np.zeros(len(reference.overlap))
                column[starts[mine] + m] = weights
                columns.append(column)
    return reference.band_energy(np.array(columns).T) - reference.band_energy()


def with_parameters(recipe: Recipe, x: Array) -> Recipe:
    """The recipe with its charges and weights replaced by x: log charges, then all weights but the first."""
    values, extra = list(x), []
    for functions in recipe.extra:
        row = []
        for f in functions:
            charges = tuple(float(np.exp(values.pop(0))) for _ in f.charges)
            row.append(ExtraFunction(charges, (1.0, *(float(values.pop(0)) for _ in f.weights[1:]))))
        extra.append(tuple(row))
    return replace(recipe, extra=tuple(extra))


def parameters(recipe: Recipe) -> Array:
    """Inverse of `with_parameters`."""
    rows = [[*np.log(f.charges), *f.weights[1:]] for functions in recipe.extra for f in functions]
    return np.array([x for row in rows for x in row])


def penalty(recipe: Recipe) -> float:
    """Keeps the charges apart and within bounds, mHa."""
    total = 0.0
    for l, functions in enumerate(recipe.extra):
        for f in functions:
            logs = np.log(f.charges)
            total += 30.0 * float(np.sum(np.maximum(0.0, logs - log(LARGEST_CHARGE[l])) ** 2))
            total += 30.0 * float(np.sum(np.maximum(0.0, log(0.5) - logs) ** 2))
            total += 100.0 * float(np.sum(np.maximum(0.0, log(SMALLEST_RATIO) - np.diff(logs)) ** 2))
    return total


def objective(symbol: str, references: list[Reference]) -> Callable[[Array], float]:
    """Sum of the errors per atom in mHa as a function of the parameters."""
    recipe = recipe_for(symbol)
    partners = {s for r in references for s in r.symbols} - {symbol}
    fixed = {s: tuple(make_species(recipe_for(s)).orbitals) for s in partners}

    def value(x: Array) -> float:
        changed = with_parameters(recipe, x)
        orbitals = fixed | {symbol: tuple(make_species(changed).orbitals)}
        errors = [1000.0 * error(r, orbitals) / len(r.symbols) for r in references]
        return sum(errors) + penalty(changed)

    return value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("symbol")
    parser.add_argument("--molecule", action="append", required=True, help="PySCF atom text, Angstrom")
    parser.add_argument("--evaluations", type=int, default=0, help="0: only report the present recipe")
    arguments = parser.parse_args()
    references = [converge(text) for text in arguments.molecule]
    function, recipe = objective(arguments.symbol, references), recipe_for(arguments.symbol)
    x = parameters(recipe)
    print(f"{arguments.symbol}, mesh {RADIAL_STEP} Bohr: sum of errors per atom {function(x):.2f} mHa")
    if arguments.evaluations:
        options = {"maxfev": arguments.evaluations, "ftol": 1e-4, "xtol": 1e-2}
        best = minimize(function, x, method="Powell", options=options)
        print(f"after {best.nfev} evaluations {best.fun:.2f} mHa")
        for letter, functions in zip(SHELL_LETTERS, with_parameters(recipe, best.x).extra, strict=True):
            for f in functions:
                z, w = ([round(v, 3) for v in values] for values in (f.charges, f.weights))
                print(f"extra.{letter} = [{{ z = {z}, w = {w} }}]")


if __name__ == "__main__":
    main()
