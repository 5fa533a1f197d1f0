"""Rate of block-sparse products beside dense ones in the same run, single and double precision, one thread.

    PYTHONPATH=python OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python \\
        bench/python/bench_block_product.py

The matrix has every block, so that the count of operations is exact; sparse ones go through the same code.
One JSON line per precision: GFlop/s of the two, best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlh._core import BlockSparse, sparse_product
from mlh.dft.system import System
from mlh.structures.files import load_structure


def rate(task: Callable[[], Any], n_orbitals: int, repeats: int) -> float:
    """GFlop/s of a product of square matrices."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        best = min(best, time.perf_counter() - start)
    return round(2e-9 * n_orbitals**3 / best, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, nargs=3, default=[2, 1, 1], help="cells of asio2_96_a")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    system = System(load_structure("asio2_96_a").repeat(options.repeat), "gth-pbe")
    S = system.overlap()
    A = BlockSparse.fold(S.pattern, S.data[0])
    while A.n_blocks < A.n_atoms**2:
        A = sparse_product(A, A, 0.0, 0.0, True)
    n = A.n_orbitals
    for name, matrix, dtype in (("double", A, np.float64), ("single", A.to_single(), np.float32)):
        dense = np.random.default_rng(1).standard_normal((n, n)).astype(dtype)
        line = {
            "precision": name,
            "orbitals": n,
            "blocks": rate(lambda m=matrix: sparse_product(m, m, 0.0, 0.0, False), n, options.repeats),
            "dense": rate(lambda d=dense: d @ d, n, options.repeats),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
