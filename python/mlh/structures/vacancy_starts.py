"""Geometries that the relaxation of a vacancy may start from."""

from __future__ import annotations

from typing import Literal

import ase
import numpy as np
from ase.geometry import find_mic

from mlh.structures.shell import first_shell

VacancyStart = Literal["cut", "puckered"]

BACK_BOND = 1.8  # Angstrom: Si of the puckered E' centre to the oxygen behind it


def opened(vacancy: ase.Atoms, distance: float) -> ase.Atoms:
    """Its neighbours further out by `distance` (Angstrom), as far as constraints let them.

    vacancy: with `defect_position` in its info, as all functions that make vacancies leave it.
    """
    around, away = first_shell(vacancy, vacancy.info["defect_position"])
    moved = vacancy.copy()
    positions = vacancy.positions.copy()
    positions[around] += distance * away / np.linalg.norm(away, axis=1, keepdims=True)
    moved.set_positions(positions)
    return moved


def puckered(vacancy: ase.Atoms) -> ase.Atoms:
    """One of the two neighbours of a vacancy of a bridge mirrored in the plane of its three other neighbours:
    the start that ends in the puckered or the back-projected geometry of E' (V_O(+) in SiO2), where it holds.

    Of the two the one that finds the better place behind: an atom of the removed element nearest to 1.8 A.
    ValueError: the place does not have two neighbours with three others each.
    """
    around, away = first_shell(vacancy, vacancy.info["defect_position"])
    if len(around) != 2:
        raise ValueError(f"puckered: expected a vacancy with two neighbours, got {len(around)}")
    found = [_mirrored(vacancy, index, vector) for index, vector in zip(around, away, strict=True)]
    index, place, _ = min(found, key=lambda side: side[2])
    moved = vacancy.copy()
    positions = vacancy.positions.copy()
    positions[index] = place
    moved.set_positions(positions)
    return moved


def _mirrored(vacancy: ase.Atoms, index: int, away: np.ndarray) -> tuple[int, np.ndarray, float]:
    """The neighbour, its place behind the plane, and how far the best back bond there is from its length."""
    vectors, distances = find_mic(vacancy.positions - vacancy.positions[index], vacancy.cell, vacancy.pbc)
    distances[index] = np.inf
    distances[vacancy.numbers == vacancy.numbers[index]] = np.inf  # not the neighbour across the vacancy
    three = np.argsort(distances, kind="stable")[:4]
    if not distances[three[2]] < 0.8 * distances[three[3]]:
        raise ValueError(f"puckered: expected three neighbours of atom {index}, got another number")
    plane = vectors[three[:3]]
    normal = np.cross(plane[1] - plane[0], plane[2] - plane[0])
    normal /= np.linalg.norm(normal)
    height = float(plane.mean(axis=0) @ normal)
    if height * float(away @ normal) <= 0.0:
        raise ValueError(f"puckered: expected atom {index} before the plane of its neighbours, got it behind")
    step = 2.0 * height * normal
    others = np.linalg.norm(np.delete(vectors, [index, *three[:3]], axis=0) - step, axis=1)
    return index, vacancy.positions[index] + step, float(np.abs(others - BACK_BOND).min())
