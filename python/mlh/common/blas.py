"""Threads of the linear algebra below NumPy and SciPy."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

from threadpoolctl import ThreadpoolController

from mlh.common.load import busy

SMALL = 200
"""Order of a matrix below which the threads of BLAS cost more than they bring: on a machine that does
something else as well, ten times the whole diagonalisation."""


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def blas_threads_for(order: int) -> AbstractContextManager[object]:
    """While it lasts, one BLAS thread for matrices that are small, or on a machine that is busy already."""
    alone = order < SMALL or busy()
    return _controller().limit(limits=1, user_api="blas") if alone else nullcontext()
