"""The level of theory: one frozen value that systems, calculators, engines, labels and files are told by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from ase import Atoms

from mlh.basis.families import DEFAULT_BASIS, load_basis
from mlh.basis.ghosts import species_names
from mlh.basis.species import Basis
from mlh.common.units import EV
from mlh.dft.integrations import as_integration, integration_name
from mlh.dft.mesh import GridMesh, as_mesh
from mlh.dft.terms.contract import Integration
from mlh.dft.terms.dispersion import DispersionName, check_dispersion
from mlh.matrix.kpoints import KPointsSpec, as_kpoints, kpoints_record, with_cell
from mlh.solver.occupations import SMEARINGS, Smearing

Functional = Literal["PBE", "PW92", "PZ"]
FUNCTIONALS: dict[str, str] = {"PBE": "GGA", "PW92": "LDA", "PZ": "LDA"}
"""Exchange-correlation functionals of the core, and of which kind they are."""


def check_functional(basis: Basis, xc: str) -> None:
    """ValueError for pseudopotentials that say that they were made with the other kind of functional."""
    other = [s.symbol for s in basis if s.xc_kind not in (None, FUNCTIONALS[xc])]
    if other:
        kind = "LDA" if FUNCTIONALS[xc] == "GGA" else "GGA"
        fit = " or ".join(name for name, of in FUNCTIONALS.items() if of == kind)
        raise ValueError(
            f"xc: expected {fit}, with whose kind ({kind}) the pseudopotentials of {', '.join(other)} were "
            f"made, got {xc} ({FUNCTIONALS[xc]})"
        )


def count_electrons(basis: Basis, symbols: Sequence[str], charge: float = 0.0) -> float:
    """Valence electrons of atoms with a charge; ValueError for a charge beyond their electrons or states."""
    valence = float(sum(basis[symbol].valence for symbol in symbols))
    least, most = 0.0, 2.0 * sum(basis[symbol].n_orbitals for symbol in symbols)
    if not least < valence - charge <= most:
        raise ValueError(
            f"charge: expected less than +{valence:g} (the valence electrons) and no less than "
            f"{valence - most:g} (2 electrons in every orbital), got {charge:+g}"
        )
    return valence - charge


@dataclass(frozen=True, eq=False)
class Theory:
    """What a Kohn-Sham calculation is, apart from its atoms and from how it is solved.

    basis: a Basis or the name of a set (`mlh.load_basis`). cutoff_ry: grid cutoff in Rydberg. kpts: a mesh
    (n1, n2, n3) with Gamma; {"size": (n1, n2, n3), "gamma": False}, Monkhorst-Pack; {"spacing": 0.2}
    (1/Angstrom, 2 pi included), a mesh for the cell at hand; or KPoints. xc: "PBE"; local: "PW92" (Perdew and
    Wang) or "PZ" (Perdew and Zunger). spin: collinear spin; None: polarised with an odd number of electrons
    (but for smeared k meshes, which are metals), with initial moments and with a total moment. total_moment:
    N_up - N_down held fixed; None: free. spin_states: moments that are compared at the first geometry of a
    calculation, each held fixed; the lowest state is kept and followed. Those that the number of electrons
    cannot have are passed over. dispersion: "D3BJ" or "D4", by their libraries (extra `mlh[dispersion]`).
    smearing_ev: width of `smearing`, "fermi-dirac" or "gaussian"; None: integer occupations.
    charge: of the cell in e, electrons removed from the neutral atoms, over a uniform background that makes
    the cell neutral (docs/theory.md).
    integration: how the integrals are done (`mlh.dft.integrations`); None: as belongs to the basis.
    grid_shape: points of the grid along the cell vectors, or a `GridMesh`, in place of those of the cutoff.
    symmetry: a k mesh is reduced to its irreducible points where the crystal (with its initial moments) has
    symmetry; False: never.

    ValueError in words where a value is out of its range.
    """

    basis: Basis | str = DEFAULT_BASIS
    cutoff_ry: float = 200.0
    kpts: KPointsSpec = (1, 1, 1)
    xc: str = "PBE"
    spin: bool | None = None
    total_moment: float | None = None
    smearing_ev: float | None = None
    smearing: Smearing = "fermi-dirac"
    integration: Integration | str | None = None
    grid_shape: Sequence[int] | GridMesh | None = None
    symmetry: bool = True
    charge: float = 0.0
    spin_states: Sequence[float] = ()
    dispersion: DispersionName | None = None

    def __post_init__(self) -> None:
        if not 20.0 <= self.cutoff_ry <= 5000.0:
            raise ValueError(
                f"cutoff_ry: expected a grid cutoff between 20 and 5000 Ry, got {self.cutoff_ry}"
            )
        if self.xc not in FUNCTIONALS:
            raise ValueError(f"xc: expected one of {', '.join(FUNCTIONALS)}, got {self.xc!r}")
        if self.total_moment is not None and self.spin is False:
            raise ValueError(f"total_moment: expected None without spin, got {self.total_moment}")
        object.__setattr__(self, "spin_states", tuple(float(moment) for moment in self.spin_states))
        if self.spin_states and (self.spin is False or self.total_moment is not None):
            raise ValueError(
                f"spin_states: expected none without spin or beside total_moment, got {self.spin_states}"
            )
        if len(set(self.spin_states)) < len(self.spin_states) or not all(
            map(math.isfinite, self.spin_states)
        ):
            raise ValueError(f"spin_states: expected different finite moments, got {self.spin_states}")
        if self.smearing_ev is not None and not self.smearing_ev > 0.0:
            raise ValueError(f"smearing_ev: expected None or a positive width in eV, got {self.smearing_ev}")
        if self.smearing not in SMEARINGS:
            raise ValueError(
                f"smearing: expected {' or '.join(map(repr, SMEARINGS))}, got {self.smearing!r}; "
                "integer occupations are smearing_ev=None"
            )
        if not math.isfinite(self.charge):
            raise ValueError(f"charge: expected a finite number of electrons removed, got {self.charge}")
        if self.grid_shape is not None:
            as_mesh(self.grid_shape)
        if self.integration is not None:
            as_integration(self.integration)
        if self.dispersion is not None:
            check_dispersion(self.dispersion, self.xc)

    @property
    def occupations(self) -> Smearing:
        """The occupation function for solvers: `smearing`, or "none" without a width."""
        return "none" if self.smearing_ev is None else self.smearing

    @property
    def width(self) -> float:
        """Width of the occupation function, Hartree; 0 for integer occupations."""
        return 0.0 if self.smearing_ev is None else self.smearing_ev * EV

    def loaded_basis(self) -> Basis:
        """The basis."""
        return load_basis(self.basis) if isinstance(self.basis, str) else self.basis

    def nspin(self, atoms: Atoms) -> int:
        """Spin components for these atoms: as asked for, else 2 with odd electrons or moments."""
        if self.spin is not None:
            return 2 if self.spin else 1
        if self.spin_states or self.total_moment is not None or atoms.get_initial_magnetic_moments().any():
            return 2
        names = species_names(atoms)
        electrons = count_electrons(self.loaded_basis().subset(names), names, self.charge)
        kpts = as_kpoints(with_cell(self.kpts, atoms.cell.array, atoms.pbc))
        metal = self.smearing_ev is not None and not kpts.gamma_only
        return 2 if round(electrons) % 2 == 1 and not metal else 1

    def describe(self) -> dict[str, Any]:
        """Plain JSON values: the identity for summaries, resumed runs, caches and cards.

        A basis stands by its name, or by its fingerprint where no name makes it; what has its default is left
        out (but for basis, cutoff, k points and functional), so that descriptions of before stay equal.
        """
        values = self.basis if isinstance(self.basis, str) else self.basis.fingerprint
        content: dict[str, Any] = {
            "basis": values,
            "cutoff_ry": self.cutoff_ry,
            "kpts": kpoints_record(self.kpts),
            "xc": self.xc,
        }
        for name in ("spin", "total_moment", "smearing_ev"):
            if getattr(self, name) is not None:
                content[name] = getattr(self, name)
        if self.charge:
            content["charge"] = self.charge
        if self.dispersion is not None:
            content["dispersion"] = self.dispersion
        if self.spin_states:
            content["spin_states"] = list(self.spin_states)
        if self.smearing_ev is not None:
            content["smearing"] = self.smearing
        method = integration_name(as_integration(self.integration, self._known_basis()))
        if method != integration_name(as_integration(None)):
            content["integration"] = method
        if not self.symmetry:
            content["symmetry"] = False
        if self.grid_shape is not None:
            content["grid"] = as_mesh(self.grid_shape).describe()
        return content

    def _known_basis(self) -> Basis | None:
        return None if isinstance(self.basis, str) and self.basis == DEFAULT_BASIS else self.loaded_basis()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Theory) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash(repr(self.describe()))


FIELDS = tuple(field.name for field in fields(Theory))
"""Names of the fields, which are also keyword arguments of the calculators."""
