"""One element in crystals of the verification set, beside the precise oxygen of silica.py."""

from typing import Any

from mlh.basis.gth.orbitals import recipe_for
from mlh.verification.acwf import systems

FAMILY = "gth-nlcc-pbe"
CUTOFF = 200.0
_CRYSTALS = ("X/FCC", "X/Diamond", "X2O", "XO", "XO2")
# z of the functions of the large set by the reach (Bohr) of the element: where the states of the wall end.
_LADDERS = {
    6.0: {"s": [0.8, 2.2, 4.5], "p": [1.2, 2.8, 6.0], "d": [3.4, 6.5, 12.0], "f": [7.5, 13.0]},
    7.0: {"s": [0.6, 1.6, 3.2], "p": [1.0, 2.2, 4.4], "d": [2.3, 4.5, 8.5], "f": [5.0, 10.0]},
    8.0: {"s": [0.5, 1.4, 3.0], "p": [0.9, 2.0, 4.2], "d": [1.9, 3.8, 7.5], "f": [4.5, 9.0]},
    9.0: {"s": [0.4, 1.2, 2.8], "p": [0.8, 1.9, 4.0], "d": [1.7, 3.4, 7.0], "f": [4.0, 8.0]},
}


def make(symbol: str) -> dict[str, Any]:
    """FAMILY, CUTOFF, LARGE, SYSTEMS of an element."""
    reach = recipe_for(symbol).size.cutoff
    options = {"kpts": {"spacing": 0.3}, "smearing_ev": 0.0612, "spin": False}
    chosen = [s for s in systems([symbol]) if s.name.split("-", 1)[1] in _CRYSTALS]
    return {
        "FAMILY": FAMILY,
        "CUTOFF": CUTOFF,
        "LARGE": {symbol: (reach, _LADDERS[reach]), "O": "precise"},
        "SYSTEMS": {s.name.replace("/", "-"): [(s.at(v), options) for v in (0.94, 1.06)] for s in chosen},
    }
