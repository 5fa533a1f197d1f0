"""What is let go of in large cells: the same numbers, made again."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlh.dft.system import System
from mlh.matrix import block_matrix
from mlh.matrix.block_matrix import BlockMatrix
from mlh.structures import load_structure


@pytest.fixture(scope="module")
def quartz() -> Atoms:
    return load_structure("alpha-quartz")


def numbers(system: System) -> list[np.ndarray]:
    H0, S = system.harris_hamiltonian(), system.overlap()
    D = 0.1 * S
    found = system.evaluate(D)
    forces, stress = system.forces_and_stress(D, S, [system.harris.trace(S.data[0])])
    return [H0.data, found.H.data, np.array(found.energies.total), forces.total, stress.total]


def test_large_cells_have_the_same_numbers_and_keep_no_matrix(
    quartz: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = System(quartz, cutoff_ry=80.0)
    kept = numbers(small)
    assert small.harris_hamiltonian() is small.harris_hamiltonian()
    monkeypatch.setattr(block_matrix, "LARGE", 0)
    large = System(quartz, cutoff_ry=80.0)
    for one, other in zip(kept, numbers(large), strict=True):
        np.testing.assert_array_equal(one, other)
    assert large.harris_hamiltonian() is not large.harris_hamiltonian()
    assert large.overlap() is not large.overlap()
    assert "fixed_matrix" not in vars(large.discretisation)


def test_the_last_density_is_found_by_its_numbers(quartz: Atoms) -> None:
    system = System(quartz, cutoff_ry=80.0)
    data = 0.1 * system.overlap().data
    D = BlockMatrix(system.pattern, data)
    first = system.energies(D).total
    assert system._last_fields.find(BlockMatrix(system.pattern, data.copy())) is not None
    data *= 1.01  # the array behind D is somebody else's
    assert system._last_fields.find(D) is None
    assert system.energies(D).total != first


def test_rms_and_largest_element(quartz: Atoms) -> None:
    S = System(quartz, cutoff_ry=80.0).overlap()
    assert S.rms() == pytest.approx(float(np.sqrt(np.mean(S.data**2))), rel=1e-14)
    assert (-3.0 * S).max_abs() == 3.0 * float(np.abs(S.data).max())
    assert S.spin_sum() is S
