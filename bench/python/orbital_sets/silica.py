"""Silicon, oxygen and hydrogen: quartz with three angles, silicon, dense silica, molecules.

standard: fit silica --size Si=s2p2d1f1 O=s2p2d1f1 H=s2p1
precise:  fit silica --size Si=s3p3d2f1 O=s3p3d2f1 H=s3p2d1 --weight 10 --equal
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read
from ase.spacegroup import crystal

from mlh.verification.acwf import VerificationSystem, systems

FAMILY = "gth-nlcc-pbe"
CUTOFF = 150.0
LARGE = {
    "H": (6.0, {"s": [0.6, 1.8, 3.2], "p": [2.0, 3.6, 6.5], "d": [5.5]}),
    "O": (6.0, {"s": [0.8, 2.2, 4.5], "p": [1.2, 2.8, 6.0], "d": [3.4, 6.5, 12.0], "f": [7.5, 13.0]}),
    "Si": (7.0, {"s": [0.6, 1.6, 3.2], "p": [1.0, 2.2, 4.4], "d": [2.3, 4.5, 8.5], "f": [5.0, 10.0]}),
}
_SITES = [(0.0, 0.477285, 0.833333), (0.160738, 0.745706, 0.037343)]
_HERE = Path(__file__).parent


def _scaled(atoms: Atoms, factor: float) -> Atoms:
    """The same crystal at a volume."""
    found = atoms.copy()
    found.set_cell(atoms.cell * factor ** (1.0 / 3.0), scale_atoms=True)
    return found


def _water(angle: float) -> Atoms:
    half = np.radians(angle) / 2.0
    x, y = 0.969 * np.sin(half), 0.969 * np.cos(half)
    return Atoms("OH2", [[0.0, 0.0, 0.0], [x, y, 0.0], [-x, y, 0.0]])


_fluorite = crystal(
    ["Si", "O"],
    [(0, 0, 0), (0.25, 0.25, 0.25)],
    spacegroup=225,
    cellpar=[4.59] * 3 + [90] * 3,
    primitive_cell=True,
)
_rutile = crystal(
    ["Si", "O"], [(0, 0, 0), (0.306, 0.306, 0)], spacegroup=136, cellpar=[4.23, 4.23, 2.70, 90, 90, 90]
)
_rocksalt = bulk("SiO", "rocksalt", 4.42)


def system(name: str) -> VerificationSystem:
    """Of the verification set."""
    return next(found for found in systems([name.split("-")[0]]) if found.name == name)


_METAL = {"kpts": (6, 6, 6), "smearing_ev": 0.061}
IMPORTANCE = {"quartz": 3.0, "silicon": 2.0, "oxygen": 3.0}
SYSTEMS = {
    "quartz": [
        (read(_HERE / f"quartz-{name}.extxyz"), {"kpts": (2, 2, 2)})
        for name in ("dense", "published", "open")
    ],
    "silicon": [(_scaled(bulk("Si", "diamond", 5.469), v), {"kpts": (4, 4, 4)}) for v in (0.94, 1.0, 1.06)],
    "fluorite": [(_scaled(_fluorite, v), {"kpts": (4, 4, 4)}) for v in (0.94, 1.06)],
    "rutile": [(_rutile, {"kpts": (2, 2, 3)})],
    "rocksalt": [(_scaled(_rocksalt, v), _METAL) for v in (0.94, 1.06)],
    "water": [(_water(angle), {}) for angle in (98.0, 104.0, 112.0)],
    "oxygen": [
        (Atoms("O2", [[0, 0, 0], [0.6, 0.5, d]]), {"spin": True, "total_moment": 2.0}) for d in (0.88, 0.98)
    ],
    "Si-FCC": [(system("Si-X/FCC").at(v), _METAL) for v in (0.94, 1.06)],
    "Si-SC": [(system("Si-X/SC").at(v), _METAL) for v in (0.94, 1.06)],
    "silane": [(molecule("SiH4"), {})],
    "disilane": [(molecule("Si2H6"), {})],
}
