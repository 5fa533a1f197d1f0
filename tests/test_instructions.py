"""Instruction sets of the core: which is chosen, and that each gives the same numbers to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlh._core as _core
from mlh.common import instructions
from mlh.common.instructions import chosen_level, compiled_levels, processor_levels
from mlh.dft.system import System
from mlh.solver import Purification, solve
from test_purification import blocks, insulator
from toy_system import positive_matrix, toy_atoms, toy_basis

FOLDER = Path(instructions.__file__).parents[1]
ALL = ("x86-64-v4", "x86-64-v3", "x86-64-v2")
V2 = "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2"
V3 = V2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse sse2", ()),
        (V2, ("x86-64-v2",)),
        (V3, ("x86-64-v2", "x86-64-v3")),
        (V4, ("x86-64-v2", "x86-64-v3", "x86-64-v4")),
        (V4.replace(" fma", ""), ("x86-64-v2",)),  # a level has all of the one below
        (None, ("x86-64-v2",)),  # nothing said
    ],
)
def test_levels_follow_from_the_flags(tmp_path, monkeypatch, flags, expected):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"processor\t: 0\nmodel name\t: any\nflags\t\t: {flags}\nbugs\t\t: fma\n")
    assert processor_levels(path) == expected


def test_another_architecture_has_no_levels(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert processor_levels() == ()
    assert chosen_level(("plain",), (), None) == "plain"


def test_the_best_is_chosen_and_the_variable_names_another():
    assert chosen_level(ALL, ("x86-64-v2", "x86-64-v3"), None) == "x86-64-v3"
    assert chosen_level(ALL, ("x86-64-v2", "x86-64-v3"), "") == "x86-64-v3"
    assert chosen_level(ALL, ("x86-64-v2", "x86-64-v3"), "x86-64-v2") == "x86-64-v2"
    assert chosen_level(("native", *ALL), ("x86-64-v2",), None) == "native"
    with pytest.raises(ValueError, match=r"one of x86-64-v2, got x86-64-v4 \(this processor"):
        chosen_level(ALL, ("x86-64-v2",), "x86-64-v4")
    with pytest.raises(ValueError, match=r"expected one of x86-64-v4, .* got avx \(not compiled\)"):
        chosen_level(ALL, ("x86-64-v2", "x86-64-v3", "x86-64-v4"), "avx")
    with pytest.raises(ImportError, match="none of the instruction sets"):
        chosen_level(ALL, (), None)
    with pytest.raises(ImportError, match="compiled core is missing"):
        chosen_level((), ("x86-64-v2",), None)


def test_the_module_is_the_compiled_one():
    level = chosen_level(compiled_levels(FOLDER), processor_levels(), os.environ.get("MLH_ISA"))
    assert _core.compile_info()["instructions"] == level
    assert f"_core.{level}." in str(_core.__file__)
    assert _core.__name__ == _core.Grid.__module__ == "mlh._core"  # the same in a pickle of any machine


def test_a_wrong_name_is_one_line_of_the_command():
    command = [sys.executable, "-m", "mlh", "info"]
    done = subprocess.run(command, env={**os.environ, "MLH_ISA": "avx9"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("mlh: MLH_ISA: expected one of ") and "Traceback" not in done.stderr


def kernel_values() -> list[float]:
    """Norms and random projections of what every kernel makes of small systems."""
    random = np.random.default_rng(0)
    values: list[float] = []

    def take(*arrays: object) -> None:
        for array in arrays:
            a = np.asarray(array, np.float64)
            values.extend((float(np.sqrt(np.sum(a * a))), float(np.sum(a * random.normal(size=a.shape)))))

    for nspin in (1, 2):
        system = System(toy_atoms(), toy_basis(), 60.0, xc="PBE", nspin=nspin)
        D = positive_matrix(system, 3)
        evaluation = system.evaluate(D)
        forces, stress = system.forces_and_stress(D, D)
        take(system.overlap().data, system.kinetic().data, system.nonlocal_potential().data)
        take(list(evaluation.energies.as_dict().values()), evaluation.H.data)
        take(forces.total, stress.total)
    H, S, occupied = insulator()
    state = solve(H, S, 2 * occupied, solver=Purification(1e-9))
    take(state.D.data, state.W.data, blocks(H.pattern, 7, 1e-3).dot(state.D))
    return values


PROGRAM = "import json, test_instructions as t; print(json.dumps(t.kernel_values()))"


@pytest.fixture(scope="module")
def reference() -> list[float]:
    return kernel_values()


@pytest.mark.parametrize("level", [name for name in compiled_levels(FOLDER) if name in processor_levels()])
def test_levels_agree_to_rounding(level, reference):
    """Sums in another order, with or without fused multiplication: a few ulp of the largest terms."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "MLH_ISA": level, "PYTHONPATH": path}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), reference, rtol=1e-11, atol=1e-11)
