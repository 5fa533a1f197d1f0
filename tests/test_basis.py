"""Species, GTH pseudopotentials, the radial atom, the orbitals made from it, and the cache."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import simpson

import mlh
from mlh.basis.gth import library
from mlh.basis.gth.atom import AtomSolver, Shell, Wall, ground_state_shells
from mlh.basis.gth.finite_elements import make_elements
from mlh.basis.gth.orbitals import OrbitalSize, Recipe, available_elements, make_species, recipe_for
from mlh.basis.gth.table import GaussianCore, gth_potential, gth_table
from mlh.basis.species import RADIAL_STEP, Basis, RadialFunction, Species, SphereParameters

ELEMENTS = ("H", "O", "Si")

# PySCF 2.14, RKS-PBE with gth-pbe, spherical fractional occupations, 24 (O), 22 (Si) and 20 (H) even-tempered
# Gaussians per l, 200 x 302 grid points: total energy, eigenvalues of s and p. tests/data/make_pyscf_atoms.py
PYSCF_ATOMS = {
    "H": (-0.458840629, [-0.238536970]),
    "O": (-15.783172222, [-0.880570606, -0.331831625]),
    "Si": (-3.738830850, [-0.397296745, -0.149990918]),
}


@pytest.fixture(scope="module")
def basis(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return mlh.load_basis("gth-pbe", elements=ELEMENTS)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(library, "_memory", {})
    return tmp_path


def solver(symbol: str, cutoff: float, wall: bool, degree: int = 14) -> AtomSolver:
    potential = gth_potential(symbol)
    elements = make_elements(cutoff, 1.5, potential.smallest_radius, degree)
    return AtomSolver(potential, elements, Wall(cutoff) if wall else None)


# -- radial functions and species --------------------------------------------------------------------


def gaussian(l: int = 0, decay: float = 1.0, cutoff: float = 6.0) -> RadialFunction:
    r = RADIAL_STEP * np.arange(round(cutoff / RADIAL_STEP) + 1)
    g = np.exp(-decay * r**2) * (1.0 - (r / cutoff) ** 2) ** 3
    norm = RadialFunction(l, g).radial_integral(other=RadialFunction(l, g))
    return RadialFunction(l, g / np.sqrt(norm))


def toy_species(**changes: object) -> Species:
    density = gaussian()
    density = RadialFunction(0, density.g / (4.0 * np.pi * density.radial_integral()))
    values: dict[str, object] = {
        "symbol": "X",
        "valence": 1.0,
        "orbitals": [gaussian(0), gaussian(1)],
        "projectors": [],
        "neutral_potential": gaussian(),
        "density": density,
    }
    return Species(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("l", [0, 1, 2, 3])
def test_from_values_recovers_a_function_given_on_a_logarithmic_mesh(l: int) -> None:
    r = np.exp(np.linspace(np.log(1e-5), np.log(6.0), 800))

    def exact(x: np.ndarray) -> np.ndarray:
        values: np.ndarray = x**l * np.exp(-(x**2)) * np.maximum(0.0, 1.0 - (x / 6.0) ** 2) ** 3
        return values

    function = RadialFunction.from_values(l, r, exact(r))
    points = np.linspace(0.0, 6.5, 1001)
    assert function.cutoff == pytest.approx(6.0, abs=1e-12)
    np.testing.assert_allclose(function(points), exact(points), atol=2e-7)
    assert abs(function.g[0] - 1.0) < 1e-4


def test_radial_function_is_read_only_and_zero_outside() -> None:
    function = gaussian()
    assert np.all(function([6.0, 6.5, 100.0]) == 0.0)
    with pytest.raises(ValueError, match="read-only"):
        function.g[0] = 1.0


def test_spline_is_the_core_s() -> None:
    """Clamped spline: reproduces any cubic with slope zero at both ends exactly."""
    r = RADIAL_STEP * np.arange(101)
    function = RadialFunction(0, 2.0 * r**3 - 3.0 * r**2 + 1.0)
    x = np.linspace(0.0, 0.999, 57)
    np.testing.assert_allclose(function(x), 2.0 * x**3 - 3.0 * x**2 + 1.0, atol=1e-13)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valence": 0.0}, "valence: expected > 0"),
        ({"orbitals": []}, "orbitals: expected at least one"),
        ({"orbitals": [gaussian(1), gaussian(0)]}, r"ascending l, got \[1, 0\]"),
        ({"orbitals": [RadialFunction(0, 2.0 * gaussian().g)]}, "expected norm 1, got 4.0"),
        ({"valence": 2.0}, "density: expected the integral 2, got 1.0"),
        ({"density": gaussian(1)}, "density: expected l = 0, got 1"),
        ({"orbitals": [gaussian(4)]}, "expected l <= 3, got 4"),
    ],
)
def test_a_wrong_species_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy_species(**changes)


@pytest.mark.parametrize(
    ("l", "g", "message"),
    [
        (-1, np.zeros(10), "l: expected an integer >= 0"),
        (0, np.ones(10), "expected 0 at the cutoff 0.09"),
        (0, np.zeros((3, 3)), r"shape \(n,\)"),
        (0, np.array([1.0, np.nan, 1.0, 0.0]), "finite"),
    ],
)
def test_a_wrong_radial_function_is_refused(l: int, g: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RadialFunction(l, g)


def test_a_wrong_sphere_is_refused() -> None:
    with pytest.raises(ValueError, match="center < radius"):
        SphereParameters(center=2.0, sigma=0.3, radius=1.0)


def test_fingerprint_sees_every_number_but_not_the_order() -> None:
    one, two = toy_species(), toy_species(symbol="Y")
    reference = Basis([one, two]).fingerprint
    assert Basis([two, one], name="other").fingerprint == reference
    g = np.array(one.neutral_potential.g)
    g[17] = np.nextafter(g[17], 1.0)
    changed = [
        toy_species(neutral_potential=RadialFunction(0, g)),
        toy_species(orbitals=[gaussian(0), gaussian(1, 1.1)]),
        toy_species(sphere=SphereParameters(1.2, 0.3, 2.35)),
        toy_species(core_density=gaussian()),
    ]
    prints = {Basis([species, two]).fingerprint for species in changed}
    assert len(prints | {reference}) == len(changed) + 1


def test_basis_looks_up_and_restricts(basis: Basis) -> None:
    assert basis.symbols == ELEMENTS
    assert basis["Si"].symbol == "Si"
    assert basis.subset(["Si", "O", "Si"]).symbols == ("O", "Si")
    assert "C" not in basis
    with pytest.raises(KeyError, match="expected one of H, O, Si, got 'C'"):
        basis["C"]
    with pytest.raises(ValueError, match="distinct symbols, got X"):
        Basis([toy_species(), toy_species()])


def test_basis_crosses_to_the_core_and_survives_pickling(basis: Basis) -> None:
    assert basis.to_core() is basis.to_core()
    assert pickle.loads(pickle.dumps(basis)) == basis


# -- pseudopotentials --------------------------------------------------------------------


def test_table_has_the_promised_elements() -> None:
    assert " ".join(gth_table()) == "H B C N O F Na Mg Al Si P S Cl Ti Zn Ga Ge As Zr Hf"
    assert {s: gth_potential(s).valence for s in ("H", "O", "Si", "Na", "Ti", "Zn", "Ga", "Hf")} == {
        "H": 1, "O": 6, "Si": 4, "Na": 9, "Ti": 12, "Zn": 12, "Ga": 13, "Hf": 12,
    }  # fmt: skip


@pytest.mark.parametrize("symbol", list(gth_table()))
def test_diagonal_projectors_give_the_matrix_h(symbol: str) -> None:
    """sum_k beta_k(r) E_k beta_k(r') = sum_ij p_i(r) h_ij p_j(r'), with each p_i normalised."""
    potential = gth_potential(symbol)
    for channel in potential.channels:
        r = np.linspace(0.0, 12.0 * channel.radius, 4001)
        powers = [r ** (channel.l + 2 * i) * np.exp(-(r**2) / (2.0 * channel.radius**2)) for i in range(3)]
        p = [f / np.sqrt(np.trapezoid(f**2 * r**2, r)) for f in powers[: len(channel.h)]]
        expected = sum(
            channel.h[i][j] * np.outer(p[i][::50], p[j][::50]) for i in range(len(p)) for j in range(len(p))
        )
        beta = [b.reduced(r[::50]) * r[::50] ** b.l for b in channel.diagonal()]
        actual = sum(b.energy * np.outer(f, f) for b, f in zip(channel.diagonal(), beta, strict=True))
        np.testing.assert_allclose(actual, expected, atol=1e-9 * np.max(np.abs(expected)))


def test_tabulated_projectors_are_short_and_accurate(basis: Basis) -> None:
    points = np.random.default_rng(0).uniform(0.0, 6.0, 2000)
    for symbol in ELEMENTS:
        formulas = gth_potential(symbol).projectors()
        for projector, formula in zip(basis[symbol].projectors, formulas, strict=True):
            assert projector.radial.cutoff < 9.0 * formula.radius
            exact = formula.reduced(points) * points**formula.l
            np.testing.assert_allclose(projector.radial(points), exact, atol=1e-7)


def test_local_potential_is_smooth_at_the_origin_and_coulombic_outside() -> None:
    local = gth_potential("O").local
    near = local(np.array([0.0, 1e-6, 1e-5, 2.4e-5, 2.5e-5, 1e-3]))
    np.testing.assert_allclose(near, near[0], rtol=2e-5)
    assert np.all(np.diff(near) > 0.0)
    assert local(4.0) == pytest.approx(-6.0 / 4.0, abs=1e-12)


# -- the radial atom --------------------------------------------------------------------


def test_harmonic_oscillator_levels() -> None:
    """e = 2 n + l + 3/2 for V = r^2 / 2: the discretisation alone, for s, p, d and f."""
    free = solver("Si", 9.0, wall=False)
    for l in range(4):
        channel = free.channel(l)
        # The nonlocal potential is another matrix: kinetic and local parts are the oscillator's.
        energies, _ = channel.solve(channel.kinetic + channel.local(0.5 * free.r**2), 3)
        np.testing.assert_allclose(energies, [2 * n + l + 1.5 for n in range(3)], rtol=1e-11)


def test_free_atoms_agree_with_pyscf() -> None:
    for symbol, (total, levels) in PYSCF_ATOMS.items():
        atom = solver(symbol, 18.0, wall=False, degree=12).solve()
        assert atom.total_energy == pytest.approx(total, abs=1e-6)
        assert atom.total_energy <= total + 1e-7  # the Gaussians are the smaller space
        np.testing.assert_allclose([energy for energy, _ in atom.states.values()], levels, atol=1e-6)


@pytest.mark.parametrize("symbol", ["O", "Ti"])
def test_confined_atoms_are_converged(symbol: str) -> None:
    coarse, fine = (solver(symbol, 7.0, True, degree).solve() for degree in (12, 16))
    assert coarse.total_energy == pytest.approx(fine.total_energy, abs=1e-8)
    for shell in fine.shells:
        assert coarse.states[shell][0] == pytest.approx(fine.states[shell][0], abs=1e-8)


def test_levels_are_derivatives_of_the_energy() -> None:
    """Janak: d(E + wall energy)/d(occupation) = eigenvalue. Holds only if V_H and V_xc derive from E."""
    atom = solver("O", 6.0, wall=True, degree=12)
    step = 1e-3

    def energy(change: float, l: int) -> float:
        shells = tuple(
            Shell(s.l, s.n, s.occupation + (change if s.l == l else 0.0)) for s in ground_state_shells((2, 4))
        )
        result = atom.solve(shells)
        return result.total_energy + result.energies["wall"]

    levels = {shell.l: energy for shell, (energy, _) in atom.solve().states.items()}
    # The s shell holds at most two electrons: one-sided three-point difference.
    slope = (3.0 * energy(0.0, 0) - 4.0 * energy(-step, 0) + energy(-2.0 * step, 0)) / (2.0 * step)
    assert slope == pytest.approx(levels[0], abs=2e-6)
    assert (energy(step, 1) - energy(-step, 1)) / (2.0 * step) == pytest.approx(levels[1], abs=2e-6)


def test_the_wall_costs_little() -> None:
    """Confinement energies stay in the range known for s2p2d1 sets (a few mHa for O, below 20 for Si)."""
    for symbol, cutoff, most in (("H", 6.0, 4e-3), ("O", 6.0, 3.5e-3), ("Si", 7.0, 18e-3)):
        confined = solver(symbol, cutoff, wall=True, degree=12).solve().total_energy
        assert 0.0 < confined - PYSCF_ATOMS[symbol][0] < most


# -- orbitals and neutral-atom functions --------------------------------------------------------------------


def test_default_sizes(basis: Basis) -> None:
    assert [(s.symbol, s.cutoff, s.orbital_label, s.n_orbitals) for s in basis] == [
        ("H", 6.0, "s2p1", 5),
        ("O", 6.0, "s2p2d1", 13),
        ("Si", 7.0, "s2p2d1", 13),
    ]


def test_orbitals_are_orthonormal_and_vanish_smoothly(basis: Basis) -> None:
    for species in basis:
        for a in species.orbitals:
            for b in species.orbitals:
                if a.l == b.l:
                    assert a.radial_integral(other=b) == pytest.approx(float(a is b), abs=2e-7)
            # R ~ (r_c - r)^4: four steps from the end it is below 4^4 times the last value, and tiny.
            tail = a(a.cutoff - RADIAL_STEP * np.array([1.0, 2.0, 4.0]))
            np.testing.assert_allclose(tail[1:] / tail[0], [2.0**4, 4.0**4], rtol=0.1)
            assert np.abs(a(a.cutoff - 0.1)) < 1e-4 * np.max(np.abs(a(a.mesh)))


def test_uniform_mesh_represents_the_orbitals() -> None:
    """The tabulated spline against the finite elements between the mesh points."""
    atom = solver("Si", 7.0, wall=True).solve()
    species = make_species(recipe_for("Si"))
    r = np.random.default_rng(1).uniform(0.0, 7.0, 3000)
    for shell, (_, c) in atom.states.items():
        exact = atom.reduced_orbital(c, r) * r**shell.l
        tabulated = next(o for o in species.orbitals if o.l == shell.l)(r)
        np.testing.assert_allclose(np.abs(tabulated), np.abs(exact), atol=1e-8)


def test_neutral_atom_functions(basis: Basis) -> None:
    for species in basis:
        density, potential = species.density, species.neutral_potential
        assert 4.0 * np.pi * density.radial_integral() == pytest.approx(species.valence, abs=1e-12)
        assert density.cutoff == potential.cutoff == pytest.approx(species.cutoff)
        assert abs(potential(potential.cutoff - 0.02)) < 1e-10
        assert np.all(density.g >= 0.0)
        assert species.local_potential is not None
        for r in (0.3, 1.0, 2.5, 4.5):
            # Newton: V_H(r) = Q(r)/r + int_r^rc 4 pi x n dx, on a mesh that has r as a point.
            inner, outer = np.linspace(0.0, r, 20001), np.linspace(r, species.cutoff, 20001)
            hartree = (
                4.0
                * np.pi
                * (simpson(density(inner) * inner**2, x=inner) / r + simpson(density(outer) * outer, x=outer))
            )
            assert potential(r) == pytest.approx(species.local_potential(r) + hartree, abs=3e-7)


def test_first_functions_give_the_neutral_density(basis: Basis) -> None:
    oxygen = basis["O"]
    s, p = oxygen.orbitals[0], oxygen.orbitals[2]
    r = np.linspace(0.0, 6.0, 500)
    np.testing.assert_allclose(
        oxygen.density(r), (2.0 * s(r) ** 2 + 4.0 * p(r) ** 2) / (4.0 * np.pi), atol=1e-6
    )


def test_other_sizes() -> None:
    small = make_species(recipe_for("O", "5.0-s1p1"))
    assert (small.orbital_label, small.cutoff) == ("s1p1", 5.0)
    assert small.digest != make_species(recipe_for("O")).digest


@pytest.mark.parametrize(
    ("symbol", "orbitals", "message"),
    [
        ("Si", "7.0s2p2d1", "such as '7.0-s2p2d1', got '7.0s2p2d1'"),
        ("Si", "7.0-s2d1", "without gaps"),
        ("Si", "7.005-s2p2", "multiples of 0.01"),
        ("Si", "7.0-s9p2", "expected 1 to . functions with l = s, got 9"),
        ("O", "6.0-s2", "functions with l = p, got 0"),
    ],
)
def test_wrong_sizes_are_refused(symbol: str, orbitals: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe_for(symbol, orbitals)


def test_every_pseudopotential_has_a_recipe() -> None:
    assert set(available_elements()) == set(gth_table())
    for symbol in available_elements():
        assert OrbitalSize.parse(f"{recipe_for(symbol).size.cutoff}-s1").cutoff > 4.0


# -- partial cores -------------------------------------------------------------------------------------


def oxygen_with_core() -> AtomSolver:
    potential = dataclasses.replace(gth_potential("O"), core=GaussianCore(0.5, 0.2))
    return AtomSolver(potential, make_elements(6.0, 1.5, potential.smallest_radius), Wall(6.0))


def test_levels_are_derivatives_of_the_energy_with_a_core() -> None:
    """Janak: the eigenvalue of 2p is dE/docc, wall included, so energy and potential see the same core."""
    atoms = oxygen_with_core()
    s, p = Shell(0, 0, 2.0), 4.0
    energy = [
        (lambda e: e.total_energy + e.energies["wall"])(atoms.solve((s, Shell(1, 0, p + step))))
        for step in (-0.003, 0.003)
    ]
    level = atoms.solve().states[Shell(1, 0, p)][0]
    assert (energy[1] - energy[0]) / 0.006 == pytest.approx(level, abs=4e-7)
    assert abs(level - solver("O", 6.0, wall=True).solve().states[Shell(1, 0, p)][0]) > 1e-4


def test_core_density_of_a_species() -> None:
    recipe = recipe_for("O")
    potential = dataclasses.replace(gth_potential("O"), core=GaussianCore(0.5, 0.2))
    species = make_species(dataclasses.replace(recipe, potential=potential))
    assert species.core_density is not None
    assert 4.0 * np.pi * species.core_density.radial_integral() == pytest.approx(0.5, abs=1e-8)
    assert "core" in species.recipe and "core" not in recipe.text
    r = np.linspace(0.01, 2.0, 50)
    change = (potential.core(r + 1e-5) - potential.core(r - 1e-5)) / 2e-5
    np.testing.assert_allclose(potential.core.slope(r), change, atol=1e-8)


# -- load_basis and its cache --------------------------------------------------------------------


def test_load_basis_overrides_and_errors(empty_cache: Path) -> None:
    basis = mlh.load_basis("gth-pbe", orbitals={"H": "5.0-s1"}, elements=["H"])
    assert (basis["H"].orbital_label, basis["H"].cutoff) == ("s1", 5.0)
    with pytest.raises(ValueError, match="expected one of gth-pbe, gth-nlcc-pbe, openmx, files, got 'pbe'"):
        mlh.load_basis("pbe")
    with pytest.raises(KeyError, match="got Xx"):
        mlh.load_basis(elements=["Xx"])


def test_whole_set_is_lazy_and_equal_to_its_parts(empty_cache: Path) -> None:
    whole = mlh.load_basis()
    assert set(ELEMENTS) <= set(whole.symbols)
    assert not list(empty_cache.rglob("*.npz"))
    assert whole.subset(["H", "O"]) == mlh.load_basis(elements=["O", "H"])
    assert len(list(empty_cache.rglob("*.npz"))) == 2


def test_disk_cache_returns_the_same_arrays(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = library.load_species(recipe_for("H"))
    monkeypatch.setattr(library, "_memory", {})
    monkeypatch.setattr(library, "make_species", lambda recipe: pytest.fail("generated instead of read"))
    second = library.load_species(recipe_for("H"))
    assert first is not second
    assert first.digest == second.digest
    for a, b in zip(first.orbitals, second.orbitals, strict=True):
        np.testing.assert_array_equal(a.g, b.g)
    np.testing.assert_array_equal(first.density.g, second.density.g)
    np.testing.assert_array_equal(first.neutral_potential.g, second.neutral_potential.g)
    assert first.sphere == second.sphere


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_corrupt_cache_file_is_generated_again(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    recipe = recipe_for("H")
    good = library.load_species(recipe)
    path = library.cache_file(recipe)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(b"" if damage == "empty" else bytes(content[: 500 if damage == "truncate" else None]))
    monkeypatch.setattr(library, "_memory", {})
    again = library.load_species(recipe)
    np.testing.assert_allclose(again.density.g, good.density.g, atol=1e-12)
    monkeypatch.setattr(library, "_memory", {})
    assert library._from_disk(recipe) is not None


def test_an_unwritable_cache_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MLH_CACHE_DIR", str(blocked))
    monkeypatch.setattr(library, "_memory", {})
    assert library.load_species(recipe_for("H")).symbol == "H"


def _load_digest(symbol: str) -> str:
    return mlh.load_basis("gth-pbe", elements=[symbol]).fingerprint


def test_parallel_processes_share_the_cache(empty_cache: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        digests = pool.map(_load_digest, ["H", "H", "H"])
    assert len(set(digests)) == 1
    assert len(list(empty_cache.rglob("*.npz"))) == 1
    assert not list(empty_cache.rglob("*.tmp"))


def test_recipe_is_the_identity() -> None:
    """Two machines that agree only to rounding must agree on the fingerprint; two recipes must not."""
    recipe = recipe_for("H")
    first, second = make_species(recipe), make_species(recipe)
    assert first.digest == second.digest
    other: Recipe = dataclasses.replace(recipe, wall_width=1.4)
    assert make_species(other).digest != first.digest
