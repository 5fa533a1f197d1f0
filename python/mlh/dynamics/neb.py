"""Nudged elastic band between two minima: ASE's forces of the band (improved tangents, climbing image), from
an interpolation of all distances (IDPP).

    F_i = F(tau_i) - (F . t) t + k (|tau_i+1 - tau_i| - |tau_i - tau_i-1|) t,   climbing: F - 2 (F . t) t
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate
from ase.utils.forcecurve import fit_raw
from numpy.typing import NDArray

Array = NDArray[np.float64]

MEETING = 0.5
"""Angstrom. Atoms that are this near on the straight line between the ends would pass through each other."""


@dataclass(frozen=True)
class NEBSettings:
    """images: that move, between the ends. fmax: largest force on the band at the end, eV/Angstrom. spring:
    eV/Angstrom^2. The highest image climbs once the band is below climb_from, eV/Angstrom."""

    images: int = 5
    fmax: float = 0.05
    max_steps: int = 200
    spring: float = 0.1
    climb: bool = True
    climb_from: float = 0.5

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images: expected at least 1, got {self.images}")
        if self.max_steps < 0:
            raise ValueError(f"max_steps: expected 0 or more, got {self.max_steps}")
        for name in ("fmax", "spring", "climb_from"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name}: expected a positive number, got {value}")


def first_path(start: ase.Atoms, end: ase.Atoms, settings: NEBSettings) -> list[ase.Atoms]:
    """The ends with the images between them; `end` is matched (`mlh.dynamics.ends`)."""
    images = [start.copy() for _ in range(settings.images + 1)] + [end.copy()]
    neb = NEB(images, method="improvedtangent")
    neb.interpolate(apply_constraint=True)
    nearest = min(_nearest(image) for image in images)
    if nearest < MEETING:  # a direction in which atoms that meet on the straight line go round each other
        aside = np.random.Generator(np.random.PCG64(0)).normal(0.0, 0.1, (len(start), 3))
        for image in images[1:-1]:
            image.set_positions(image.positions + aside)
    idpp_interpolate(neb, traj=None, log=None, mic=bool(start.pbc.any()))
    for image in images:
        image.calc = None
    return images


def _nearest(atoms: ase.Atoms) -> float:
    """Smallest distance of two atoms, Angstrom."""
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    return float(distances[~np.eye(len(atoms), dtype=bool)].min()) if len(atoms) > 1 else math.inf


@dataclass(frozen=True, eq=False)
class Band:
    """Energies (n + 2,), eV, and forces (n + 2, natoms, 3) of the images of a path, and what ASE makes of
    them: forces of the moving images on the band (n, natoms, 3)."""

    images: Sequence[ase.Atoms]
    energies: Array
    forces: Array
    on_band: Array

    @classmethod
    def of(
        cls, images: Sequence[ase.Atoms], energies: Array, forces: Array, spring: float, climb: bool
    ) -> Band:
        """From energies and unconstrained forces."""
        known = [image.copy() for image in images]
        for image, energy, force in zip(known, energies, forces, strict=True):
            image.calc = SinglePointCalculator(image, energy=energy, free_energy=energy, forces=force)
        neb = NEB(known, k=spring, climb=climb, method="improvedtangent")
        on_band = neb.get_forces().reshape(len(images) - 2, -1, 3)
        return cls(images, np.array(energies), np.array(forces), on_band)

    @property
    def fmax(self) -> float:
        """Largest force on the band, eV/Angstrom."""
        return float(np.linalg.norm(self.on_band, axis=2).max())

    @property
    def highest(self) -> int:
        """The highest of all images; an end where there is no barrier."""
        return int(np.argmax(self.energies))

    def coordinate(self) -> Array:
        """Length of the path up to each image (n + 2,), Angstrom in the space of all atoms."""
        lengths = [0.0]
        for a, b in zip(self.images[:-1], self.images[1:], strict=True):
            step = find_mic(b.positions - a.positions, a.cell, a.pbc)[0]
            lengths.append(lengths[-1] + float(np.linalg.norm(step)))
        return np.array(lengths)

    def curve(self) -> tuple[Array, Array]:
        """Coordinate and energy (eV, above the first) of a line through all images with their slopes."""
        first = self.images[0]
        positions = [image.positions for image in self.images]
        fit = fit_raw(self.energies, self.forces, positions, first.cell, first.pbc)
        return np.asarray(fit.fit_path), np.asarray(fit.fit_energies)

    def table(self) -> list[dict[str, Any]]:
        """One row per image: coordinate, energy above the first, largest force of atoms and on the band."""
        own = np.linalg.norm(self.forces, axis=2).max(axis=1)
        rows = []
        for k, x in enumerate(self.coordinate()):
            moving = 0 < k < len(self.images) - 1
            band = float(np.linalg.norm(self.on_band[k - 1], axis=1).max()) if moving else None
            energy = float(self.energies[k] - self.energies[0])
            rows.append(
                {
                    "image": k,
                    "coordinate": float(x),
                    "energy": energy,
                    "fmax": float(own[k]),
                    "fmax_band": band,
                }
            )
        return rows
