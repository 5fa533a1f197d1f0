"""Valence electrons per l: from the input of ONCVPSP that files quote, else of the neutral atom.

Of its ground state the core is taken away in the order 1s 2s 2p 3s 3p 3d 4s ... (by n, then l).
"""

from __future__ import annotations

import re

from mlh.basis.files.content import electrons_by_l

_FILLING = (
    *("1s", "2s", "2p", "3s", "3p", "4s", "3d", "4p", "5s", "4d", "5p", "6s", "4f", "5d", "6p"),
    *("7s", "5f", "6d", "7p"),
)

_OTHERS = {
    **{
        24: "3d5 4s1",
        29: "3d10 4s1",
        41: "4d4 5s1",
        42: "4d5 5s1",
        44: "4d7 5s1",
        45: "4d8 5s1",
        46: "4d10 5s0",
    },
    **{47: "4d10 5s1", 57: "4f0 5d1", 58: "4f1 5d1", 64: "4f7 5d1", 78: "5d9 6s1", 79: "5d10 6s1"},
    **{89: "5f0 6d1", 90: "5f0 6d2", 91: "5f2 6d1", 92: "5f3 6d1", 93: "5f4 6d1", 96: "5f7 6d1"},
}
"""Elements whose ground state does not follow the filling order (NIST)."""


def _capacity(shell: str) -> int:
    return 2 * (2 * "spdf".index(shell[1]) + 1)


def ground_state(number: int) -> dict[str, int]:
    """Electrons per shell ("3d") of the neutral atom with this atomic number."""
    shells, left = {}, number
    for shell in _FILLING:
        shells[shell] = min(left, _capacity(shell))
        left -= shells[shell]
    for text in _OTHERS.get(number, "").split():
        shells[text[:2]] = int(text[2:])
    return {shell: n for shell, n in sorted(shells.items(), key=_order) if n > 0}


def _order(item: tuple[str, int]) -> tuple[int, int]:
    return int(item[0][0]), "spdf".index(item[0][1])


def neutral_valence(number: int, valence: float) -> tuple[float, ...]:
    """Electrons per l outside the core; ValueError where the core would end within a shell."""
    core, outside = number - valence, dict[int, float]()
    for shell, n in ground_state(number).items():
        if core > 1e-6:
            core -= n
            if core < -1e-6:
                raise ValueError(
                    f"valence: expected a core of closed shells, got {valence:g} of {number} electrons "
                    "outside it"
                )
            continue
        l = "spdf".index(shell[1])
        outside[l] = outside.get(l, 0.0) + n
    electrons = electrons_by_l(outside, valence)
    if electrons is None:
        raise ValueError(f"valence: expected 1 to {number} electrons, got {valence:g}")
    return electrons


def oncvpsp_valence(text: str, valence: float) -> tuple[float, ...] | None:
    """Electrons per l of the reference atom in an input of ONCVPSP within a text; None without one.

    After "# atsym z nc nv iexc psfile" and its values come nc core and nv valence rows "n l f".
    """
    start = re.search(r"^\s*#\s*atsym\b.*$", text, re.MULTILINE)
    if start is None:
        return None
    rows = [line.split() for line in text[start.end() :].splitlines()]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    try:
        cores, valences = int(rows[0][2]), int(rows[0][3])
        shells: dict[int, float] = {}
        for row in rows[1 + cores : 1 + cores + valences]:
            shells[int(row[1])] = shells.get(int(row[1]), 0.0) + float(row[2])
    except (IndexError, ValueError):
        return None
    return electrons_by_l(shells, valence)
