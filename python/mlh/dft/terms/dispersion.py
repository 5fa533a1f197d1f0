"""Dispersion between the atoms, E(tau): D3 with rational damping and D4 by their libraries (extra
`mlh[dispersion]`; LGPL, imported when asked for, docs in third_party/).

S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011); E. Caldeweyher et al., J. Chem. Phys.
150, 154122 (2019). Periodic: E. Caldeweyher et al., Phys. Chem. Chem. Phys. 22, 8499 (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from mlh.basis.species import GHOST
from mlh.dft.terms.pair import PairEnergy

FloatArray = NDArray[np.float64]

DispersionName = Literal["D3BJ", "D4"]

_MODULES: dict[str, str] = {"D3BJ": "dftd3.interface", "D4": "dftd4.interface"}
_PARAMETERS: dict[str, str] = {"PBE": "pbe"}


def check_dispersion(name: str, xc: str) -> None:
    """ValueError for a method or functional without parameters, or a library that is not there."""
    if name not in _MODULES:
        raise ValueError(f"dispersion: expected one of {', '.join(_MODULES)}, got {name!r}")
    if xc not in _PARAMETERS:
        expected = " or ".join(_PARAMETERS)
        raise ValueError(f"dispersion: {name} has parameters for {expected} only, got {xc}")
    _library(name)


def _library(name: str) -> Any:
    try:
        return import_module(_MODULES[name])
    except ImportError as error:
        package = _MODULES[name].partition(".")[0]
        raise ValueError(
            f'dispersion: {name} needs the package {package}, pip install "mlh[dispersion]" ({error})'
        ) from error


def dispersion_term(
    name: str,
    xc: str,
    symbols: Sequence[str],
    positions: FloatArray,
    cell: FloatArray,
    periodic: Sequence[bool],
    charge: float,
) -> PairEnergy:
    """Of atoms at `positions` (Bohr) in a cell (rows); ghosts have none. charge: of the cell, for D4."""
    real = np.array([place for place, symbol in enumerate(symbols) if not symbol.startswith(GHOST)])
    numbers = np.array([atomic_numbers[symbols[place]] for place in real])
    return PairEnergy(
        "dispersion", _evaluation(name, xc, numbers, real, positions, cell, np.array(periodic), charge)
    )


def _evaluation(
    name: str,
    xc: str,
    numbers: NDArray[np.int64],
    real: NDArray[np.int64],
    positions: FloatArray,
    cell: FloatArray,
    periodic: NDArray[np.bool_],
    charge: float,
) -> Callable[[], tuple[float, FloatArray, FloatArray]]:
    def evaluate() -> tuple[float, FloatArray, FloatArray]:
        library = _library(name)
        options = {"charge": charge} if name == "D4" else {}
        model = library.DispersionModel(numbers, positions[real], lattice=cell, periodic=periodic, **options)
        damping = library.RationalDampingParam if name == "D3BJ" else library.DampingParam
        found = model.get_dispersion(damping(method=_PARAMETERS[xc]), grad=True)
        gradient = np.zeros_like(positions)
        gradient[real] = found["gradient"]
        return float(found["energy"]), gradient, np.asarray(found["virial"], dtype=np.float64)

    return evaluate
