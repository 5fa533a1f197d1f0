"""Finite-size corrections of charged cells by the field's library: extended FNV of Kumagai and Oba
(Phys. Rev. B 89, 195205 (2014)), through pymatgen-analysis-defects and pydefect (`pip install mlh[defects]`).

    E_corr = E_PC - q dV,   dV: mean over the atoms far from the defect of
             V(defect cell) - V(host) - V_PC,

and beside it FNV (Freysoldt, Neugebauer, Van de Walle, Phys. Rev. Lett. 102, 016402 (2009)), with dV from
averages over the planes far from the defect along each cell vector.

E_PC: minus the energy of the point charge with its images and background in the dielectric, V_PC: its
potential. Potentials in V are electrostatic: positive near a positive charge, minus the energy of an electron
per e. Nothing here reads a file or knows an engine.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ase
import numpy as np
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

INSTALL = 'pip install "mlh[defects]" (pymatgen-analysis-defects 2026.10.24 or newer, and pydefect)'
_OLDEST = (2026, 10, 24)
"""Versions before June 2026 swapped the potentials of host and defect."""


class MissingLibraryError(RuntimeError):
    """The library of the corrections is not here, or too old; what to install."""


@dataclass(frozen=True)
class Correction:
    """eV, to be added to the energy of the charged cell; V where potentials are meant.

    alignment: mean difference of the potentials far from the defect less that of the point charge; spread:
    its standard deviation there (FNV: over the three axes), which says how well a point charge in a
    dielectric describes the cell. n_atoms: 0 where planes are meant.
    """

    kind: str
    energy: float
    point_charge: float
    alignment: float
    spread: float
    n_atoms: int

    def describe(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False)
class Potentials:
    """A structure with the electrostatic potential at each of its atoms (natoms,), V."""

    atoms: ase.Atoms
    values: FloatArray

    def __post_init__(self) -> None:
        if np.shape(self.values) != (len(self.atoms),) or not np.isfinite(self.values).all():
            raise ValueError(
                f"potentials: expected {len(self.atoms)} finite numbers, one per atom, got shape "
                f"{np.shape(self.values)}"
            )


def dielectric_tensor(values: ArrayLike) -> FloatArray:
    """(3, 3) from a number, three diagonal elements or nine; ValueError where it is none."""
    given = np.asarray(values, dtype=float).ravel()
    if given.size not in (1, 3, 9):
        raise ValueError(f"dielectric: expected 1, 3 or 9 numbers, got {given.size}")
    tensor = given.reshape(3, 3) if given.size == 9 else np.diag(np.broadcast_to(given, 3))
    symmetric = np.allclose(tensor, tensor.T, atol=1e-6)
    if not (np.isfinite(tensor).all() and symmetric and np.linalg.eigvalsh(tensor).min() >= 1.0):
        raise ValueError(
            "dielectric: expected a symmetric tensor with no eigenvalue below 1 (vacuum), "
            f"got {given.tolist()}"
        )
    return np.asarray(tensor, dtype=np.float64)


def require_library() -> None:
    """MissingLibraryError with what to install."""
    reason = _missing()
    if reason is not None:
        raise MissingLibraryError(f"{reason}; install it with {INSTALL}")


def efnv_correction(
    charge: int, defect: Potentials, host: Potentials, dielectric: ArrayLike, center: ArrayLike | None = None
) -> Correction:
    """Extended FNV. center: of the defect in its cell, Cartesian, Angstrom (default: what the library finds
    from the two structures).

    Atoms of the defect cell are matched to those of the host by the library, by their places.
    """
    tensor = dielectric_tensor(dielectric)
    if not np.allclose(defect.atoms.cell.array, host.atoms.cell.array, atol=5e-5):
        raise ValueError("host: expected the cell of the defect, got another one")
    if charge == 0:
        return Correction("eFNV", 0.0, 0.0, 0.0, 0.0, 0)
    require_library()
    quiet_libraries()
    library = importlib.import_module("pymatgen.analysis.defects.corrections.kumagai")
    place = None if center is None else host.atoms.cell.scaled_positions(np.reshape(center, (1, 3)))[0] % 1.0
    found = library.get_efnv_correction(
        charge=charge,
        defect_structure=_structure(defect, host.atoms.cell.array),
        bulk_structure=_structure(host, host.atoms.cell.array),
        dielectric_tensor=tensor,
        **({} if place is None else {"defect_coords": tuple(float(x) for x in place)}),
    )
    details = found.metadata["efnv_corr"]
    far = [site for site in details.sites if site.distance > details.defect_region_radius]
    differences = np.array([site.potential - site.pc_potential for site in far], dtype=float)
    return Correction(
        "eFNV",
        float(found.correction_energy),
        float(details.point_charge_correction),
        float(differences.mean()),
        float(differences.std()),
        len(far),
    )


def fnv_correction(
    charge: int,
    defect: Sequence[FloatArray],
    host: Sequence[FloatArray],
    cell: FloatArray,
    dielectric: ArrayLike,
    center: ArrayLike,
) -> Correction:
    """FNV of planar averages (V) along the three cell vectors, of as many points in both cells. cell (3, 3)
    and center of the defect: Angstrom."""
    tensor = dielectric_tensor(dielectric)
    if [len(plane) for plane in defect] != [len(plane) for plane in host]:
        raise ValueError(
            f"host: expected planes of {[len(plane) for plane in defect]} points as the defect has, "
            f"got {[len(plane) for plane in host]}"
        )
    if charge == 0:
        return Correction("FNV", 0.0, 0.0, 0.0, 0.0, 0)
    require_library()
    library = importlib.import_module("pymatgen.analysis.defects.corrections.freysoldt")
    core: Any = importlib.import_module("pymatgen.core")
    # As in LOCPOT: energies of an electron.
    planes = [{axis: -np.asarray(values) for axis, values in enumerate(given)} for given in (defect, host)]
    found = library.get_freysoldt_correction(
        q=charge,
        dielectric=tensor,
        defect_locpot=planes[0],
        bulk_locpot=planes[1],
        defect_frac_coords=np.linalg.solve(np.transpose(cell), np.asarray(center, dtype=float)) % 1.0,
        lattice=core.Lattice(cell),
    )
    shifts = np.array([found.metadata["alignments"][axis] for axis in range(3)], dtype=float)
    return Correction(
        *("FNV", float(found.correction_energy), float(found.metadata["electrostatic"])),
        *(-float(shifts.mean()), float(shifts.std()), 0),
    )


def alignment_correction(
    charge: int,
    defect: Potentials,
    host: Potentials,
    pairs: Sequence[tuple[int, int]],
    center: ArrayLike,
    fraction: float = 0.7,
) -> Correction:
    """-q dV with the mean difference of the potentials of the atoms further from the centre (Angstrom) than
    `fraction` of the farthest one: one zero of energy for both cells, nothing for the images of the charge.

    pairs: (atom of the defect cell, atom of the host).
    """
    _, distances = find_mic(
        defect.atoms.positions - np.asarray(center, dtype=float), defect.atoms.cell, defect.atoms.pbc
    )
    limit = fraction * float(np.max(distances))
    far = [(a, b) for a, b in pairs if distances[a] > limit]
    if len(far) < 2:
        raise ValueError(f"host: expected at least two common atoms far from the defect, got {len(far)}")
    differences = np.array([defect.values[a] - host.values[b] for a, b in far])
    mean = float(differences.mean())
    return Correction("alignment", -charge * mean, 0.0, mean, float(differences.std()), len(far))


def quiet_libraries() -> None:
    """Their settings are no news on the terminal of a run."""
    for name in ("vise", "pydefect"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _structure(potentials: Potentials, cell: FloatArray) -> Any:
    """pymatgen's structure with the site property that the library reads."""
    core: Any = importlib.import_module("pymatgen.core")
    fractional = np.linalg.solve(cell.T, potentials.atoms.positions.T).T
    symbols: Sequence[str] = potentials.atoms.get_chemical_symbols()
    values = [float(value) for value in potentials.values]
    return core.Structure(core.Lattice(cell), symbols, fractional, site_properties={"potential": values})


@cache
def _missing() -> str | None:
    """Why the library cannot be used, or None."""
    try:
        found = version("pymatgen-analysis-defects")
    except PackageNotFoundError:
        return "pymatgen-analysis-defects is not installed"
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if numbers < _OLDEST:
        return f"pymatgen-analysis-defects {found} is too old: it takes host and defect for each other"
    quiet_libraries()
    try:
        importlib.import_module("pydefect.cli.vasp.make_efnv_correction")
    except ImportError as error:
        return f"pydefect cannot be used ({error})"
    return None
