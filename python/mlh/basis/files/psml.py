"""PSML, an XML format: A. Garcia et al., Comput. Phys. Commun. 227, 51 (2018).

Hartree and Bohr; V_loc and beta(r) themselves; densities times 4 pi. A function lies on the first points of
the nearest <grid>: its own, that of an element around it, that of the file.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np

from mlh.basis.files.content import LIBXC, Array, Channel, FileContent, SourceText, Table, electrons_by_l

_SCALAR = ("scalar_relativistic", "non_relativistic")


def is_psml(source: SourceText) -> bool:
    """Whether the text is XML of this kind."""
    return "<psml" in source.text[:4096]


def read_psml(source: SourceText) -> FileContent:
    """The content of a PSML file."""
    try:
        # Bytes, so that the declared encoding counts; namespaces are left out of the names.
        root = ElementTree.fromstring(source.text.encode("latin-1"))
    except ElementTree.ParseError as error:
        raise source.damaged(str(error)) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return _Reader(source, root).content()


class _Reader:
    """One parsed file."""

    def __init__(self, source: SourceText, root: ElementTree.Element) -> None:
        self.source = source
        self.root = root
        self.parents = {child: parent for parent in root.iter() for child in parent}

    def content(self) -> FileContent:
        """Everything, checked."""
        for name, unit in (("energy_unit", "hartree"), ("length_unit", "bohr")):
            if self.root.get(name, unit).lower() != unit:
                raise self.source.damaged(f"{name}: expected {unit}, got {self.root.get(name)}")
        atom = self.element(self.root, "pseudo-atom-spec")
        if atom.get("relativity") == "dirac":
            raise self.source.wrong("without spin-orbit coupling, got one with it (relativity: dirac)")
        valence = self.number(atom, "z-pseudo")
        core = self.root.find("pseudocore-charge")
        core_table = None if core is None else self.function(core)
        return FileContent(
            symbol=atom.get("atomic-label", "").strip(),
            valence=valence,
            xc=self.functional(atom),
            local=self.function(self.element(self.root, "local-potential")),
            channels=self.channels(),
            core=None if core_table is None else Table(core_table.r, core_table.values / (4.0 * np.pi)),
            configuration=self.configuration(atom, valence),
        )

    def element(self, parent: ElementTree.Element, name: str) -> ElementTree.Element:
        """The one child of a name."""
        found = parent.find(f".//{name}")
        if found is None and name in ("local-potential", "nonlocal-projectors"):
            raise self.source.wrong("with a local potential and projectors, got semilocal potentials only")
        if found is None:
            raise self.source.damaged(f"no <{name}>")
        return found

    def number(self, element: ElementTree.Element, name: str) -> float:
        """An attribute that is a number."""
        return float(self.source.numbers(element.get(name, ""), name, 1)[0])

    def functional(self, atom: ElementTree.Element) -> str:
        """The name in the core of what libxc's numbers stand for."""
        found = self.element(atom, "libxc-info").findall("functional")
        numbers = tuple(sorted(int(self.number(f, "id")) for f in found))
        said = ", ".join(f.get("name", f.get("id", "?")) for f in found)
        return self.source.functional(LIBXC.get(numbers), said)

    def configuration(self, atom: ElementTree.Element, valence: float) -> tuple[float, ...] | None:
        """Electrons per l."""
        shells: dict[int, float] = {}
        for shell in atom.iter("shell"):
            l = "spdf".find(shell.get("l", "?"))
            shells[l] = shells.get(l, 0.0) + self.number(shell, "occupation")
        return None if -1 in shells else electrons_by_l(shells, valence)

    def function(self, owner: ElementTree.Element) -> Table:
        """The <radfunc> of an element on its mesh."""
        radial = self.element(owner, "radfunc")
        values = self.source.numbers(self.element(radial, "data").text or "", owner.tag)
        mesh = self.mesh(radial)
        if not 50 <= values.size <= mesh.size:
            raise self.source.damaged(f"<{owner.tag}>: {values.size} values on {mesh.size} radii")
        return Table(mesh[: values.size], values)

    def mesh(self, radial: ElementTree.Element) -> Array:
        """Radii of the nearest <grid>."""
        place: ElementTree.Element | None = radial
        while place is not None:
            grid = place.find("grid")
            if grid is not None:
                text = self.element(grid, "grid-data").text or ""
                return self.source.mesh(self.source.numbers(text, "grid"))
            place = self.parents.get(place)
        raise self.source.damaged("no <grid>")

    def channels(self) -> list[tuple[Array, Channel]]:
        """All projectors, each as its own channel: the format has them in diagonal form."""
        found = self.root.findall("nonlocal-projectors")
        usable = [group for group in found if group.get("set", _SCALAR[0]) in _SCALAR]
        if found and not usable:
            raise self.source.wrong(f"without spin-orbit coupling, got the set {found[0].get('set')}")
        if not usable:
            self.element(self.root, "nonlocal-projectors")
        return [self.channel(proj) for proj in usable[0].findall("proj")]

    def channel(self, proj: ElementTree.Element) -> tuple[Array, Channel]:
        """One projector."""
        l = "spdf".find(proj.get("l", "?"))
        if l < 0:
            raise self.source.damaged(f"<proj>: expected l = s, p, d or f, got {proj.get('l')}")
        table = self.function(proj)
        energy = np.array([[self.number(proj, "ekb")]])
        return table.r, Channel(l, (table.r * table.values)[None, :], energy)
