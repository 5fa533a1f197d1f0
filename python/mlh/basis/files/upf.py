"""UPF version 2, the format of Quantum ESPRESSO.

Rydberg: V_loc / 2, D_ij / 2. PP_BETA holds r beta(r), PP_NLCC the core density, PP_CHI the states with their
occupations; V_nl = sum_ij |beta_i> D_ij <beta_j|. Read by its tags rather than as XML: texts that files quote
in it are often no XML.
"""

from __future__ import annotations

import re

import numpy as np

from mlh.basis.files.configuration import oncvpsp_valence
from mlh.basis.files.content import Array, Channel, FileContent, SourceText, Table, electrons_by_l

_FUNCTIONALS: dict[tuple[str, ...], str] = {
    **{("PBE",): "PBE", ("PZ",): "PZ", ("LDA",): "PZ", ("PW",): "PW92", ("PW92",): "PW92"},
    **{("SLA", "PW", "PBX", "PBC"): "PBE", ("SLA", "PW", "PBE", "PBE"): "PBE"},
    **{("SLA", "PZ", "NOGX", "NOGC"): "PZ", ("SLA", "PW", "NOGX", "NOGC"): "PW92"},
    **{("SLA", "PZ"): "PZ", ("SLA", "PW"): "PW92"},
}


def is_upf(source: SourceText) -> bool:
    """Whether the text is of this format, of either version."""
    return "<UPF version" in source.text[:4096] or "<PP_HEADER" in source.text[:65536]


def read_upf(source: SourceText) -> FileContent:
    """The content of a UPF file."""
    if "<UPF version" not in source.text[:4096]:
        raise source.wrong("in UPF version 2, got version 1; upfconv of Quantum ESPRESSO converts it")
    if "</UPF>" not in source.text:
        raise source.damaged("no </UPF>: the file ends early")
    return _Reader(source).content()


class _Reader:
    """The tags of one file."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.header = self.attributes("PP_HEADER")

    def content(self) -> FileContent:
        """Everything, checked."""
        self.refuse_other_kinds()
        head = self.header
        valence = float(self.source.numbers(head.get("z_valence", ""), "z_valence", 1)[0])
        r = self.source.mesh(self.table("PP_R"))
        said = head.get("functional", "")
        name = _FUNCTIONALS.get(tuple(said.upper().replace("+", " ").replace("-", " ").split()))
        core = self.table("PP_NLCC", r.size) if self.flag("core_correction") else None
        return FileContent(
            symbol=head.get("element", "").strip().capitalize(),
            valence=valence,
            xc=self.source.functional(name, said.strip() or "an unnamed functional"),
            local=Table(r, 0.5 * self.table("PP_LOCAL", r.size)),
            channels=[(r, channel) for channel in self.channels(r)],
            core=None if core is None else Table(r, core),
            configuration=self.configuration(valence),
        )

    def refuse_other_kinds(self) -> None:
        """Ultrasoft, PAW, Coulomb and spin-orbit files, in words."""
        kind = self.header.get("pseudo_type", "").upper()
        if self.flag("is_paw") or kind == "PAW":
            raise self.source.wrong("got a PAW data set")
        if self.flag("is_ultrasoft") or kind in ("US", "USPP"):
            raise self.source.wrong("got an ultrasoft one")
        if self.flag("is_coulomb") or kind == "1/R":
            raise self.source.wrong("got the bare Coulomb potential")
        if self.flag("has_so") or self.header.get("relativistic", "").lower() == "full":
            raise self.source.wrong("without spin-orbit coupling, got one with it (has_so)")
        if kind not in ("NC", "SL"):
            raise self.source.wrong(f"(pseudo_type NC), got {kind or 'none'}")

    def attributes(self, tag: str) -> dict[str, str]:
        """The attributes of the first tag of a name."""
        found = re.search(rf"<{re.escape(tag)}\b([^>]*)>", self.source.text)
        if found is None:
            raise self.source.damaged(f"no <{tag}>")
        return {k.lower(): v for k, v in re.findall(r'([\w.]+)\s*=\s*"([^"]*)"', found[1])}

    def flag(self, name: str) -> bool:
        """A logical attribute of the header."""
        return self.header.get(name, "F").strip().strip(".").upper().startswith("T")

    def table(self, tag: str, count: int | None = None) -> Array:
        """The numbers between a tag and its end."""
        found = re.search(rf"<{re.escape(tag)}\b[^>]*>(.*?)</{re.escape(tag)}>", self.source.text, re.DOTALL)
        if found is None:
            raise self.source.damaged(f"no <{tag}> with its end")
        return self.source.numbers(found[1], tag, count)

    def whole(self, attributes: dict[str, str], name: str) -> int:
        """An attribute that is a whole number."""
        return int(self.source.numbers(attributes.get(name, ""), name, 1)[0])

    def channels(self, r: Array) -> list[Channel]:
        """Projectors by l with their blocks of D_ij."""
        count = self.whole(self.header, "number_of_proj")
        if count == 0:
            return []
        l = np.array(
            [self.whole(self.attributes(f"PP_BETA.{k + 1}"), "angular_momentum") for k in range(count)]
        )
        betas = np.stack([self.table(f"PP_BETA.{k + 1}", r.size) for k in range(count)])
        matrix = 0.5 * self.table("PP_DIJ", count**2).reshape(count, count)
        scale = float(np.abs(matrix).max())
        mixed = matrix[l[:, None] != l[None, :]]
        if np.abs(matrix - matrix.T).max() > 1e-6 * scale or np.any(np.abs(mixed) > 1e-10 * scale):
            raise self.source.damaged("PP_DIJ: expected a symmetric matrix that does not mix l")
        matrix = 0.5 * (matrix + matrix.T)
        return [
            Channel(int(value), betas[l == value], matrix[np.ix_(l == value, l == value)])
            for value in sorted(set(l.tolist()))
        ]

    def configuration(self, valence: float) -> tuple[float, ...] | None:
        """Electrons per l of the states, else of the input of ONCVPSP that the file quotes."""
        shells: dict[int, float] = {}
        for k in range(self.whole(self.header, "number_of_wfc")):
            state = self.attributes(f"PP_CHI.{k + 1}")
            occupation = float(self.source.numbers(state.get("occupation", ""), "occupation", 1)[0])
            l = self.whole(state, "l")
            shells[l] = shells.get(l, 0.0) + max(occupation, 0.0)
        return electrons_by_l(shells, valence) or oncvpsp_valence(self.source.text, valence)
