"""Two-centre integrals, nonlocal potential, core repulsion: PySCF, analytic cases, central differences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import gamma
from typing import Any

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.special import erf

from mlh import _core

FloatArray = NDArray[np.float64]
STEP: float = _core.RADIAL_STEP


def mesh(count: int) -> FloatArray:
    """r_k = k * STEP."""
    return np.asarray(np.arange(count) * STEP, dtype=np.float64)


def tabulate(function: Callable[[FloatArray], Any], cutoff: float) -> FloatArray:
    """g on the uniform mesh, from 0 to the cutoff."""
    r = mesh(round(cutoff / STEP) + 1)
    return np.ascontiguousarray(function(r), dtype=np.float64)


def gaussian_density(charge: float, exponent: float, cutoff: float) -> FloatArray:
    """Normalised Gaussian charge, electrons/Bohr^3."""
    return tabulate(lambda r: charge * (exponent / np.pi) ** 1.5 * np.exp(-exponent * r * r), cutoff)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


# --- short-ranged species: the geometries of these tests reach into the damping q -------------------


def confined(exponent: float, cutoff: float, scale: float = 1.0) -> FloatArray:
    """c exp(-a r^2) (1 - (r/rc)^2)^4: even in r, smooth at the cutoff."""
    return tabulate(lambda r: scale * np.exp(-exponent * r * r) * (1.0 - (r / cutoff) ** 2) ** 4, cutoff)


def confined_density(charge: float, exponent: float, cutoff: float) -> FloatArray:
    n = confined(exponent, cutoff)
    r = mesh(len(n))
    return n * (charge / float(np.trapezoid(4.0 * np.pi * r**2 * n, r)))


def short_ranged_basis() -> Any:
    """s, p, d, f orbitals up to 3.5 Bohr with s, p, d projectors; 3.0 Bohr; one without projectors."""
    heavy = _core.SpeciesData(
        "X",
        4.0,
        [
            (0, confined(0.1, 3.5, 2.0)),
            (1, confined(0.1, 3.5, 2.0)),
            (2, confined(0.2, 3.2, 2.0)),
            (3, confined(0.2, 3.5, 2.0)),
        ],
        [
            (0, confined(0.5, 2.5, 2.0), 1.3),
            (1, confined(0.5, 2.6, 3.0), -2.7),
            (2, confined(0.6, 2.4, 3.0), 1.4),
        ],
        confined(1.0, 3.0),
        confined_density(4.0, 0.2, 3.5),
    )
    light = _core.SpeciesData(
        "Y",
        6.0,
        [(0, confined(1.2, 3.0, 2.0)), (0, confined(0.1, 3.0, 2.0)), (1, confined(0.2, 3.0, 2.0))],
        [(0, confined(1.0, 2.2, 2.0), 2.0)],
        confined(1.0, 3.0),
        confined_density(6.0, 0.3, 3.0),
    )
    bare = _core.SpeciesData(
        "Z", 1.0, [(0, confined(0.2, 2.5))], [], confined(1.0, 2.5), confined_density(1.0, 0.5, 2.5)
    )
    return _core.BasisData([heavy, light, bare])


CELL = np.array([[5.1, 0.0, 0.3], [1.2, 4.7, 0.0], [-0.6, 0.9, 5.6]])
POSITIONS = np.array([[0.1, 0.2, 0.3], [2.1, 1.7, 0.8], [3.4, 3.9, 2.6], [-7.5, 1.2, 9.9], [1.4, 3.1, 4.0]])
SPECIES = np.array([0, 1, 1, 0, 2], dtype=np.int32)


def small_structure(positions: FloatArray = POSITIONS, cell: FloatArray = CELL) -> Any:
    """Triclinic, several images of every pair, atoms outside the cell."""
    return _core.Structure(np.ascontiguousarray(cell), np.ascontiguousarray(positions), SPECIES)


@pytest.fixture(scope="module")
def short_basis() -> Any:
    return short_ranged_basis()


@pytest.fixture(scope="module")
def short_tables(short_basis: Any) -> Any:
    return _core.TwoCenterTables(short_basis)


TERMS = ("overlap", "kinetic", "nonlocal")


def matrix(tables: Any, term: str, structure: Any, pattern: Any) -> FloatArray:
    name = "nonlocal_potential" if term == "nonlocal" else term
    values: FloatArray = getattr(tables, name)(structure, pattern)
    return values


def central_difference(function: Callable[[float], float], step: float) -> float:
    """Fourth-order central difference."""
    near = function(step) - function(-step)
    far = function(2.0 * step) - function(-2.0 * step)
    return (8.0 * near - far) / (12.0 * step)


EnergyFunction = Callable[[FloatArray, FloatArray], float]


def numeric_gradient(energy: EnergyFunction) -> FloatArray:
    """dE/dtau (n_atoms, 3) of energy(positions, cell)."""
    out = np.zeros_like(POSITIONS)
    for index in np.ndindex(*out.shape):
        shift = np.zeros_like(POSITIONS)
        shift[index] = 1.0

        def shifted(x: float, d: FloatArray = shift) -> float:
            return energy(POSITIONS + x * d, CELL)

        out[index] = central_difference(shifted, 2e-3)
    return out


def numeric_strain(energy: EnergyFunction) -> FloatArray:
    """dE/deps (3, 3) for symmetric strains of energy(positions, cell)."""
    out = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        eps = np.zeros((3, 3))
        eps[a, b] += 0.5
        eps[b, a] += 0.5

        def strained(x: float, e: FloatArray = eps) -> float:
            return energy(POSITIONS @ (np.eye(3) + x * e), CELL @ (np.eye(3) + x * e))

        out[a, b] = central_difference(strained, 5e-4)
    return out


@pytest.mark.parametrize("term", TERMS)
def test_gradient_is_the_derivative(term: str, short_basis: Any, short_tables: Any) -> None:
    pattern = _core.Pattern(small_structure(), short_basis)
    weight = np.random.default_rng(1).normal(size=pattern.nnz)  # not symmetric
    gradient, strain = getattr(short_tables, f"{term}_gradient")(small_structure(), pattern, weight)

    def energy(positions: FloatArray, cell: FloatArray) -> float:
        return float(weight @ matrix(short_tables, term, small_structure(positions, cell), pattern))

    assert np.abs(gradient).max() > 0.1
    assert np.abs(gradient - numeric_gradient(energy)).max() < 1e-8
    assert np.abs(strain - numeric_strain(energy)).max() < 1e-7
    assert np.array_equal(strain, strain.T)
    assert np.abs(gradient.sum(axis=0)).max() < 1e-11


def test_core_repulsion_gradient_is_the_derivative(short_tables: Any) -> None:
    def energy(positions: FloatArray, cell: FloatArray) -> float:
        return float(short_tables.core_repulsion(small_structure(positions, cell))[0])

    _, gradient, strain = short_tables.core_repulsion(small_structure())
    assert np.abs(gradient).max() > 0.1
    assert np.abs(gradient - numeric_gradient(energy)).max() < 1e-8
    assert np.abs(strain - numeric_strain(energy)).max() < 1e-8
    assert np.abs(gradient.sum(axis=0)).max() < 1e-12


@pytest.mark.parametrize("term", TERMS)
def test_blocks_are_symmetric_and_translation_invariant(
    term: str, short_basis: Any, short_tables: Any
) -> None:
    structure = small_structure()
    pattern = _core.Pattern(structure, short_basis)
    values = matrix(short_tables, term, structure, pattern)
    for p in range(pattern.n_pairs):
        n_i, n_j = pattern.n_orbitals[pattern.atom_i[p]], pattern.n_orbitals[pattern.atom_j[p]]
        q = pattern.reverse[p]
        block = values[pattern.offset[p] : pattern.offset[p + 1]].reshape(n_i, n_j)
        reverse = values[pattern.offset[q] : pattern.offset[q + 1]].reshape(n_j, n_i)
        # The self block is one sum over all centres, symmetric up to rounding; the others are copies.
        assert np.abs(block - reverse.T).max() < (1e-13 if p == q else 1e-300)
    moved = small_structure(POSITIONS + np.array([0.31, -0.7, 1.1]))
    assert np.abs(matrix(short_tables, term, moved, pattern) - values).max() < 1e-12


def test_overlap_is_zero_from_the_sum_of_the_cutoffs(short_basis: Any, short_tables: Any) -> None:
    cell = np.eye(3) * 30.0
    species = np.array([0, 1], dtype=np.int32)

    def structure(distance: float) -> Any:
        return _core.Structure(cell, np.array([[0.0, 0.0, 0.0], [0.0, 0.6, 0.8]]) * distance, species)

    pattern = _core.Pattern(structure(6.49), short_basis)  # 3.5 + 3.0 Bohr
    pair = pattern.find(0, 1, (0, 0, 0))
    part = slice(pattern.offset[pair], pattern.offset[pair + 1])
    assert np.abs(short_tables.overlap(structure(6.3), pattern)[part]).max() > 0.0
    for distance in (6.5, 6.7):
        assert not short_tables.overlap(structure(distance), pattern)[part].any()
        assert not short_tables.nonlocal_potential(structure(distance), pattern)[part].any()
    assert short_tables.core_repulsion(structure(6.5))[0] == short_tables.core_repulsion(structure(9.0))[0]


@pytest.mark.parametrize("term", [*TERMS, "core"])
def test_results_do_not_depend_on_threads(
    term: str, short_basis: Any, short_tables: Any, threads: Callable[[int], None]
) -> None:
    structure = small_structure()
    pattern = _core.Pattern(structure, short_basis)
    weight = np.random.default_rng(2).normal(size=pattern.nnz)
    results = []
    for count in (1, 2, 3):
        threads(count)
        if term == "core":
            energy, gradient, strain = short_tables.core_repulsion(structure)
            results.append((np.array(energy), gradient, strain))
        else:
            results.append(
                (
                    matrix(short_tables, term, structure, pattern),
                    *getattr(short_tables, f"{term}_gradient")(structure, pattern, weight),
                )
            )
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert np.array_equal(first, second)


def test_wrong_input_is_named(short_basis: Any, short_tables: Any) -> None:
    structure = small_structure()
    pattern = _core.Pattern(structure, short_basis)
    with pytest.raises(ValueError, match=r"W: expected shape .*got \(3\)"):
        short_tables.overlap_gradient(structure, pattern, np.zeros(3))
    with pytest.raises(TypeError, match="D: expected a C-contiguous array of float64"):
        short_tables.nonlocal_gradient(structure, pattern, np.zeros(pattern.nnz, dtype=np.float32))
    other = _core.Structure(CELL, POSITIONS[:2].copy(), SPECIES[:2].copy())
    with pytest.raises(ValueError, match="pattern: expected 2 atoms, got 5"):
        short_tables.overlap(other, pattern)
    overlapping = small_structure(np.vstack([POSITIONS[:4], POSITIONS[:1] + 0.01]))
    with pytest.raises(ValueError, match="Bohr apart"):
        short_tables.core_repulsion(overlapping)
    density = gaussian_density(3.0, 1.0, 6.0)
    charged = _core.SpeciesData("Q", 4.0, [(0, confined(1.0, 3.0))], [], confined(1.0, 3.0), density)
    with pytest.raises(ValueError, match="density of Q: expected an integral of 4"):
        _core.TwoCenterTables(_core.BasisData([charged]))


# --- analytic cases ----------------------------------------------------------------------------------


def test_core_repulsion_of_gaussian_charges() -> None:
    """J(d) = Z_a Z_b erf(sqrt(p) d)/d, p = a b/(a + b); J(0) = 2 Z_a Z_b sqrt(p/pi)."""
    charges, exponents, cutoff = (4.0, 6.0), (0.6, 0.9), 8.0
    basis = _core.BasisData(
        [
            _core.SpeciesData(
                name, z, [(0, confined(1.0, 3.0))], [], confined(1.0, 3.0), gaussian_density(z, a, cutoff)
            )
            for name, z, a in zip("AB", charges, exponents, strict=True)
        ]
    )
    cell = np.array([[7.0, 0.0, 0.0], [1.0, 8.0, 0.0], [0.5, -0.7, 7.5]])
    positions = np.array([[0.0, 0.0, 0.0], [1.1, 1.4, -0.6], [3.0, 4.0, 5.0]])
    species = np.array([0, 1, 1], dtype=np.int32)
    energy, _, _ = _core.TwoCenterTables(basis).core_repulsion(_core.Structure(cell, positions, species))

    expected = 0.0
    images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for i, a in enumerate(species):
        expected -= charges[a] ** 2 * np.sqrt(exponents[a] / 2.0 / np.pi)
        for j, b in enumerate(species):
            d = np.linalg.norm(positions[j] + images @ cell - positions[i], axis=1)
            d = d[d > 1e-9]
            p = exponents[a] * exponents[b] / (exponents[a] + exponents[b])
            expected += float(np.sum(0.5 * charges[a] * charges[b] * (1.0 - erf(np.sqrt(p) * d)) / d))
    assert energy == pytest.approx(expected, abs=5e-9)


def radial_integral(function: Callable[[FloatArray], FloatArray], cutoff: float) -> float:
    """Integral of f r^2 dr by Gauss-Legendre on every interval of the mesh."""
    x, w = leggauss(7)
    r = (np.arange(round(cutoff / STEP))[:, None] * STEP + STEP * (x + 1.0) / 2.0).ravel()
    return float(np.sum(np.tile(w * STEP / 2.0, round(cutoff / STEP)) * function(r) * r * r))


@pytest.mark.parametrize("l", range(4))
def test_on_site_integrals_equal_radial_quadrature(l: int) -> None:
    """The reciprocal sums against quadrature of the analytic functions; as hard as GTH oxygen."""

    def f(r: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-6.0 * r * r) + 0.1 * np.exp(-0.6 * r * r))

    def df(r: FloatArray) -> FloatArray:
        return np.asarray(-12.0 * r * np.exp(-6.0 * r * r) - 0.12 * r * np.exp(-0.6 * r * r))

    def b(r: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-0.5 * (r / 0.22) ** 2))

    g, beta = tabulate(f, 6.0), tabulate(b, 2.0)
    g[-1] = 0.0
    data = _core.SpeciesData("O", 1.0, [(l, g)], [(l, beta, 18.3)], g, gaussian_density(1.0, 1.0, 6.5))
    basis = _core.BasisData([data])
    structure = _core.Structure(np.eye(3) * 40.0, np.zeros((1, 3)), np.zeros(1, dtype=np.int32))
    pattern = _core.Pattern(structure, basis)
    tables = _core.TwoCenterTables(basis)

    overlap = radial_integral(lambda r: (r**l * f(r)) ** 2, 6.0)
    slope = radial_integral(lambda r: (r**l * df(r) + l * r ** (l - 1.0) * f(r)) ** 2, 6.0)
    kinetic = 0.5 * (slope + l * (l + 1) * radial_integral(lambda r: (r ** (l - 1.0) * f(r)) ** 2, 6.0))
    projection = radial_integral(lambda r: r ** (2 * l) * f(r) * b(r), 2.0)
    unit = np.eye(2 * l + 1)
    shape = unit.shape
    assert np.abs(tables.overlap(structure, pattern).reshape(shape) / overlap - unit).max() < 1e-12
    assert np.abs(tables.kinetic(structure, pattern).reshape(shape) / kinetic - unit).max() < 1e-9
    expected = 18.3 * projection**2
    actual = tables.nonlocal_potential(structure, pattern).reshape(shape)
    assert np.abs(actual / expected - unit).max() < 1e-12


# --- PySCF: the same contracted Gaussians fed as tables ----------------------------------------------

# Exponents up to 1.6: the cubic spline of exp(-a r^2) on the 0.01 Bohr mesh is off by about 2.5e-10 a^2.
PYSCF_BASIS = {
    "Si": [[0, [1.2, 0.3], [0.5, 0.7]], [0, [0.35, 1.0]], [1, [1.0, 0.4], [0.4, 0.8]], [2, [0.6, 1.0]]],
    "O": [[0, [1.6, 0.2], [0.5, 0.6]], [1, [1.5, 0.3], [0.35, 0.5]], [2, [0.9, 1.0]], [3, [0.8, 1.0]]],
}
# PySCF's order of m in mlh's order.
PYSCF_ORDER = {0: [0], 1: [0, 1, 2], 2: [2, 4, 0, 3, 1], 3: [3, 4, 2, 5, 1, 6, 0]}
CUTOFF = 9.0


@dataclass(frozen=True)
class Reference:
    """One cell in both codes; `order` sorts PySCF's functions into mlh's."""

    cell: Any
    order: list[int]
    structure: Any
    pattern: Any
    tables: Any

    def dense(self, values: FloatArray) -> FloatArray:
        """Sum over R: the Gamma-point matrix."""
        sizes = self.pattern.n_orbitals
        start = np.concatenate([[0], np.cumsum(sizes)])
        out = np.zeros((start[-1], start[-1]))
        for p in range(self.pattern.n_pairs):
            i, j = self.pattern.atom_i[p], self.pattern.atom_j[p]
            block = values[self.pattern.offset[p] : self.pattern.offset[p + 1]].reshape(sizes[i], sizes[j])
            out[start[i] : start[i + 1], start[j] : start[j + 1]] += block
        return out

    def pyscf(self, values: FloatArray) -> FloatArray:
        return values[np.ix_(self.order, self.order)]


def gth_projectors(pseudo: list[Any]) -> list[tuple[int, FloatArray, float]]:
    """Diagonal form of the GTH projectors p_i^l (Goedecker, Teter, Hutter, PRB 54, 1703), g = p/r^l."""
    out = []
    for l, (width, count, h) in enumerate(pseudo[5:]):
        if count == 0:
            continue
        energies, vectors = np.linalg.eigh(np.array(h, dtype=float))
        for energy, vector in zip(energies, vectors.T, strict=True):

            def radial(r: FloatArray, v: FloatArray = vector, w: float = width, l: int = l) -> FloatArray:
                total = np.zeros_like(r)
                for i, c in enumerate(v, start=1):
                    norm = np.sqrt(2.0) / (w ** (l + (4 * i - 1) / 2) * np.sqrt(gamma(l + (4 * i - 1) / 2)))
                    total += c * norm * r ** (2 * (i - 1)) * np.exp(-0.5 * (r / w) ** 2)
                return total

            out.append((l, tabulate(radial, 4.5), float(energy)))
    return out


def gaussians(r: FloatArray, exponents: FloatArray, coefficients: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-np.outer(r * r, exponents)) @ coefficients)


def contracted_orbitals(cell: Any, atom: int) -> list[tuple[int, FloatArray]]:
    orbitals = []
    for shell in range(cell.nbas):
        if cell.bas_atom(shell) != atom:
            continue
        exponents, coefficients = cell.bas_exp(shell), cell._libcint_ctr_coeff(shell)
        for k in range(coefficients.shape[1]):
            radial = partial(gaussians, exponents=exponents, coefficients=coefficients[:, k])
            orbitals.append((cell.bas_angular(shell), tabulate(radial, CUTOFF)))
    return orbitals


def make_reference(lattice: list[list[float]], atoms: list[tuple[str, list[float]]]) -> Reference:
    gto = pytest.importorskip("pyscf.pbc.gto")
    cell = gto.Cell(a=lattice, unit="B", atom=atoms, basis=PYSCF_BASIS, pseudo="gth-pbe")
    cell.build(precision=1e-13, verbose=0)
    symbols = [symbol for symbol, _ in atoms]
    kinds = sorted(set(symbols))
    species = []
    for kind in kinds:
        valence = {"Si": 4.0, "O": 6.0}[kind]
        density = gaussian_density(valence, 1.0, 6.0)
        species.append(
            _core.SpeciesData(
                kind,
                valence,
                contracted_orbitals(cell, symbols.index(kind)),
                gth_projectors(cell._pseudo[kind]),
                density,
                density,
            )
        )
    basis = _core.BasisData(species)
    structure = _core.Structure(
        np.array(lattice, dtype=float),
        np.array([x for _, x in atoms], dtype=float),
        np.array([kinds.index(s) for s in symbols], dtype=np.int32),
    )
    order, start = [], 0
    for shell in range(cell.nbas):
        l = cell.bas_angular(shell)
        for _ in range(cell.bas_nctr(shell)):
            order += [start + m for m in PYSCF_ORDER[l]]
            start += 2 * l + 1
    return Reference(cell, order, structure, _core.Pattern(structure, basis), _core.TwoCenterTables(basis))


CELLS = {
    "triclinic": (
        [[9.0, 0.0, 0.0], [1.5, 8.2, 0.0], [-0.8, 1.1, 8.8]],
        [("Si", [0.1, 0.2, 0.3]), ("O", [2.2, 1.9, 0.7]), ("O", [5.0, 4.0, 3.0])],
    ),
    "several images": (
        [[5.0, 0.0, 0.0], [0.5, 4.6, 0.0], [-0.3, 0.6, 5.2]],
        [("O", [0.1, 0.2, 0.3]), ("Si", [2.2, 1.9, 0.7])],
    ),
    "silicon": (
        [[6.0, 0.0, 0.0], [0.5, 5.6, 0.0], [-0.3, 0.6, 6.2]],
        [("Si", [0.1, 0.2, 0.3]), ("Si", [2.2, 1.9, 2.7])],
    ),
}


@pytest.fixture(scope="module", params=list(CELLS))
def reference(request: pytest.FixtureRequest) -> Reference:
    return make_reference(*CELLS[request.param])


def test_overlap_and_kinetic_against_pyscf(reference: Reference) -> None:
    r = reference
    for name, integral in (("overlap", "int1e_ovlp"), ("kinetic", "int1e_kin")):
        ours = r.dense(getattr(r.tables, name)(r.structure, r.pattern))
        theirs = r.pyscf(r.cell.pbc_intor(integral, hermi=1))
        assert np.abs(ours - theirs).max() < 1e-8, name


def test_nonlocal_against_pyscf(reference: Reference) -> None:
    """Orbitals of 9 Bohr: pairs that q damps have overlaps below 1e-9."""
    pp_int = pytest.importorskip("pyscf.pbc.gto.pseudo.pp_int")
    r = reference
    theirs = r.pyscf(pp_int.get_pp_nl(r.cell))
    ours = r.dense(r.tables.nonlocal_potential(r.structure, r.pattern))
    assert np.abs(ours - theirs).max() < 1e-8
