"""psp8, ABINIT's format of ONCVPSP: pspcod 8.

    title / zatom zion pspd / pspcod pspxc lmax lloc mmax r2well / rchrg fchrg qchrg / nproj(0:4) /
    extension_switch
    for each l <= lmax with projectors: "l ekb_1 .. ekb_n" and rows "i r chi_1 .. chi_n",  chi = r beta
    "lloc" and rows "i r V_loc";  with fchrg > 0 rows "i r 4pi n_core" and four derivatives

Hartree; V_nl = sum |beta_i> ekb_i <beta_i|. extension_switch: 1 valence density, 2 and 3 spin-orbit.
"""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols

from mlh.basis.files.configuration import oncvpsp_valence
from mlh.basis.files.content import LIBXC, Array, Channel, FileContent, SourceText, Table

_ABINIT = {1: "PW92", 2: "PZ", 7: "PW92", 11: "PBE"}
"""pspxc; 1, Teter's LDA, is a fit of PW92. Negative numbers are libxc's, -(exchange * 1000 + correlation)."""


def is_psp8(source: SourceText) -> bool:
    """Whether the third line begins with the code of the format, as "8 11 2 4 600 0 pspcod,pspxc,...\"."""
    lines = source.text.split("\n", 3)
    return len(lines) > 3 and "pspcod" in lines[2]


def read_psp8(source: SourceText) -> FileContent:
    """The content of a psp8 file."""
    rows = _Rows(source)
    number, valence = (float(x) for x in rows.head(1, "zatom, zion", 2))
    code, xc, lmax, lloc, points = (int(x) for x in rows.head(2, "pspcod, pspxc, lmax, lloc, mmax", 5))
    if code != 8:
        raise source.wrong(f"of kind psp8 (pspcod 8), got pspcod {code}")
    core_size = rows.head(3, "rchrg, fchrg", 2)[1]
    counts = [int(n) for n in rows.head(4, "nproj", lmax + 1)]
    if rows.head(5, "extension_switch", 1)[0] not in (0.0, 1.0):
        raise source.wrong("without spin-orbit coupling, got one with it (extension_switch 2 or 3)")
    if not (
        0 < number < len(chemical_symbols) and 0.0 < valence <= number and 0 <= lmax <= 3 and points >= 50
    ):
        raise source.damaged(f"zatom {number:g}, zion {valence:g}, lmax {lmax}, mmax {points}")
    rows.at = 6
    channels = [rows.channel(l, n, points) for l, n in enumerate(counts) if n > 0]
    rows.marker(lloc)
    local = rows.table(points, 1, "V_loc")
    core = rows.table(points, 1, "core density") if core_size > 0.0 else None
    return FileContent(
        symbol=chemical_symbols[round(number)],
        valence=valence,
        xc=source.functional(_functional(xc), f"pspxc {xc}"),
        local=Table(local[:, 0], local[:, 1]),
        channels=channels,
        core=None if core is None else Table(core[:, 0], core[:, 1] / (4.0 * np.pi)),
        configuration=oncvpsp_valence(rows.rest(), valence),
    )


def _functional(code: int) -> str | None:
    if code >= 0:
        return _ABINIT.get(code)
    both = (-code // 1000, -code % 1000)
    return LIBXC.get(tuple(n for n in both if n))


class _Rows:
    """The lines of the file and the place that was read last."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.lines = source.text.splitlines()
        self.at = 0

    def head(self, line: int, name: str, count: int) -> Array:
        """The first numbers of a line of the head, which a comment may follow."""
        if line >= len(self.lines):
            raise self.source.damaged(f"{name}: the file ends before")
        words = self.lines[line].split()[:count]
        return self.source.numbers(" ".join(words), name, count)

    def marker(self, l: int) -> list[str]:
        """The line that begins a block: its l, and what follows."""
        words = self.lines[self.at].split() if self.at < len(self.lines) else []
        if not words or words[0] != str(l):
            raise self.source.damaged(f"line {self.at + 1}: expected the block of l = {l}")
        self.at += 1
        return words[1:]

    def table(self, points: int, columns: int, name: str) -> Array:
        """Rows "i r f_1 ..": r and the first functions, shape (points, 1 + columns)."""
        lines = [line.split() for line in self.lines[self.at : self.at + points]]
        self.at += points
        if len(lines) < points or any(len(words) < 2 + columns for words in lines):
            raise self.source.damaged(f"{name}: expected {points} rows of {2 + columns} numbers")
        text = " ".join(word for words in lines for word in words[1 : 2 + columns])
        values = self.source.numbers(text, name).reshape(points, 1 + columns)
        self.source.mesh(values[:, 0])
        return values

    def channel(self, l: int, count: int, points: int) -> tuple[Array, Channel]:
        """The projectors of one l."""
        energies = self.source.numbers(" ".join(self.marker(l)), f"energies of l = {l}", count)
        values = self.table(points, count, f"projectors of l = {l}")
        return values[:, 0], Channel(l, values[:, 1:].T, np.diag(energies))

    def rest(self) -> str:
        """What follows the tables."""
        return "\n".join(self.lines[self.at :])
