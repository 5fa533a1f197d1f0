"""Threads on a shared machine."""

import os

import pytest
from threadpoolctl import threadpool_info

from mlh.common import load
from mlh.common.blas import SMALL, blas_threads_for


def blas_threads() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_a_busy_machine_gets_one_thread_of_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    before = blas_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0))
    with blas_threads_for(10 * SMALL):
        assert blas_threads() == before
    with blas_threads_for(SMALL - 1):
        assert blas_threads() == {1}
    monkeypatch.setattr(os, "getloadavg", lambda: (5.0, 0.0, 0.0))
    with blas_threads_for(10 * SMALL):
        assert blas_threads() == {1}
    assert blas_threads() == before


def test_waiting_is_passive_on_a_busy_machine_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for value, chosen, expected in ((1.0, None, None), (5.0, None, "PASSIVE"), (5.0, "ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if chosen:
            monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
        monkeypatch.setattr(os, "getloadavg", lambda value=value: (value, 0.0, 0.0))
        load.wait_passively_when_busy()
        assert os.environ.get("OMP_WAIT_POLICY") == expected
