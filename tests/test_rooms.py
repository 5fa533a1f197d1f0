"""The seams of the architecture: nobody inside uses the facade; a basis family, a solver, a term of the
energy are each added here, in one file, without touching another.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

import mlh
from mlh.basis import families
from mlh.basis.families import BasisFamily, register_family
from mlh.basis.species import Basis
from mlh.calculators.engines import DFTEngine
from mlh.common.units import HARTREE_EV
from mlh.dft import integrations
from mlh.dft.integrations import register_integration
from mlh.dft.terms.contract import Derivative, Discretisation, Geometry, MatrixTerm
from mlh.dft.terms.spheres import SphereDiscretisation, SphereIntegration
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints
from mlh.solver import Dense, Filling, Prepared, State, methods, register_solver
from toy_system import toy_atoms, toy_basis

PACKAGE = Path(mlh.__file__).parent


def facade_imports(source: str) -> list[str]:
    """What a module imports from `mlh` itself: not `import mlh._core as _core`, not `from mlh.x import y`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "mlh" and node.level == 0:
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name == "mlh"]
            found += [a.name for a in node.names if a.name.startswith("mlh.") and a.asname is None]
    return found


def test_the_check_of_imports_sees_them() -> None:
    assert facade_imports("from mlh import System") == ["System"]
    assert facade_imports("import mlh") == ["mlh"]
    assert facade_imports("import mlh._core") == ["mlh._core"]
    assert facade_imports("import mlh._core as _core\nfrom mlh.dft.system import System") == []


def test_nobody_inside_imports_the_facade() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert len(modules) > 150
    guilty = {str(path.relative_to(PACKAGE)): facade_imports(path.read_text()) for path in modules}
    assert {name: imports for name, imports in guilty.items() if imports} == {}


def test_public_names_are_there() -> None:
    for name in mlh.__all__:
        assert getattr(mlh, name) is not None
    assert callable(mlh.scf)


def test_a_toy_basis_family_in_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_registered", dict(families._registered))
    hydrogen = mlh.load_basis("gth-pbe", elements=["H"], orbitals={"H": "5.0-s1"})
    toy = BasisFamily("toy", lambda name, *_: Basis(hydrogen, name), lambda basis: {}, "spheres")
    with pytest.raises(ValueError, match="basis: expected one of"):
        mlh.load_basis("toy small")
    register_family(toy)
    assert mlh.load_basis("toy small") == hydrogen
    with pytest.raises(ValueError, match="family: expected a name other than"):
        register_family(toy)


SHIFT = 0.125


class ConstantPotential:
    """Tr D (SHIFT S): a potential that is the same everywhere."""

    name = "constant_potential"

    def __init__(self, discretisation: Discretisation) -> None:
        self._tables, self._geometry = discretisation.tables, discretisation.geometry

    @cached_property
    def matrix(self) -> BlockMatrix:
        g = self._geometry
        return BlockMatrix(g.pattern, SHIFT * self._tables.overlap(g.structure, g.pattern))

    def derivative(self, D: np.ndarray) -> Derivative:
        g = self._geometry
        atoms, strain = self._tables.overlap_gradient(g.structure, g.pattern, D)
        return Derivative(SHIFT * atoms, SHIFT * strain)


class ShiftedDiscretisation(SphereDiscretisation):
    @cached_property
    def matrix_terms(self) -> Sequence[MatrixTerm]:
        return (*SphereDiscretisation.matrix_terms.func(self), ConstantPotential(self))


@dataclass(frozen=True)
class ShiftedIntegration(SphereIntegration):
    def discretise(self, geometry: Geometry) -> Discretisation:
        return ShiftedDiscretisation(geometry)


def test_a_toy_term_in_one_file_shows_in_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrations, "_registered", dict(integrations._registered))
    register_integration("shifted", ShiftedIntegration())
    plain = mlh.System(toy_atoms(), toy_basis(), cutoff_ry=60.0)
    shifted = mlh.System(toy_atoms(), toy_basis(), cutoff_ry=60.0, integration="shifted")
    state = mlh.solve(plain.harris_hamiltonian(), plain.overlap(), plain.n_electrons)
    D, W = state.D, state.W
    moved = BlockMatrix(shifted.pattern, D.data)
    expected = SHIFT * plain.n_electrons
    assert shifted.energies(moved)["constant_potential"] == pytest.approx(expected, rel=1e-10)
    assert shifted.energies(moved).total - plain.energies(D).total == pytest.approx(expected, rel=1e-9)
    change = (shifted.hamiltonian(moved) - BlockMatrix(shifted.pattern, plain.hamiltonian(D).data)).data
    np.testing.assert_allclose(change, SHIFT * shifted.overlap().data, atol=1e-12)
    forces = shifted.forces(moved, BlockMatrix(shifted.pattern, W.data))
    assert "constant_potential" in forces.as_dict()


class Shifted:
    """A toy solver: the dense one, of H + SHIFT S."""

    name = "shifted"

    def describe(self) -> dict[str, str]:
        return {"method": self.name}

    def check(self, kpts: object, smearing: str) -> None:
        if smearing != "none":
            raise ValueError("smearing: expected none")

    def prepare(self, S: BlockMatrix, kpts: object = None) -> "ShiftedFactor":
        return ShiftedFactor(S, Dense().prepare(S))


@dataclass(frozen=True)
class ShiftedFactor:
    S: BlockMatrix
    dense: Prepared

    @property
    def kpts(self) -> KPoints:
        return self.dense.kpts

    def occupied(self, H: BlockMatrix, filling: Filling) -> State:
        return self.dense.occupied(H + SHIFT * self.S, filling)


def test_a_toy_solver_in_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_SOLVERS", dict(methods._SOLVERS))
    register_solver("shifted", Shifted)
    results = {}
    for solver in ("dense", "shifted"):
        calculator = mlh.DFTCalculator(toy_basis(), cutoff_ry=60.0, solver=solver)
        forces = calculator.get_property("forces", toy_atoms())
        results[solver] = calculator.results["free_energy"], forces, calculator.results["fermi_level"]
    # The state is the same, its levels are moved.
    assert results["shifted"][0] == pytest.approx(results["dense"][0], abs=1e-5)
    np.testing.assert_allclose(results["shifted"][1], results["dense"][1], atol=1e-3)
    assert (results["shifted"][2] - results["dense"][2]) / HARTREE_EV == pytest.approx(SHIFT, abs=1e-4)
    assert DFTEngine(solver=Shifted()).describe()["method"] == "shifted"
    with pytest.raises(ValueError, match="smearing: expected none"):
        mlh.DFTCalculator(toy_basis(), smearing_ev=0.1, solver="shifted")
