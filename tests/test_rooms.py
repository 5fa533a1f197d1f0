"""The seams of the architecture: nobody inside uses the facade; a basis family is one file and one line."""

import ast
from pathlib import Path

import pytest

import mlh
from mlh.basis import families
from mlh.basis.families import BasisFamily, register_family
from mlh.basis.species import Basis

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
