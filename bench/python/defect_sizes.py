"""V_O(2+) in quartz in cells of three sizes, with and without the correction for the size of the cell.

The geometry is the same in all: two silicon atoms 0.5 A outward, everything else as in the crystal, so that
the electrons alone screen the charge. Needs the extra `mlh[defects]`; results are kept in FOLDER.

    python bench/python/defect_sizes.py FOLDER [CELL ...]        # CELL: 221 222 332
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ase
import numpy as np
from ase.geometry import find_mic

from mlh.calculators import DFTCalculator
from mlh.defects.corrections import Potentials, alignment_correction, efnv_correction
from mlh.structures import crystal, placed_defect, vacancy_at

OUTWARD, CUTOFF, CHARGE = 0.5, 120.0, 2
K_MESH = {"221": (1, 1, 2)}


def cells(name: str) -> tuple[ase.Atoms, ase.Atoms]:
    """Host and vacancy."""
    host = crystal("alpha-quartz", (int(name[0]), int(name[1]), int(name[2])))
    site = int(np.flatnonzero(host.symbols == "O")[0])
    vacancy = placed_defect(host, vacancy_at(host, site))
    vectors, distances = find_mic(vacancy.positions - host.positions[site], host.cell, host.pbc)
    for atom in np.argsort(distances)[:2]:
        vacancy.positions[atom] += OUTWARD * vectors[atom] / distances[atom]
    return host, vacancy


def calculated(path: Path, atoms: ase.Atoms, charge: float, kpts: tuple[int, int, int]) -> dict[str, object]:
    """Energy (eV) and potentials (V), from the file where it is there."""
    if not path.exists():
        work = atoms.copy()
        work.calc = DFTCalculator(cutoff_ry=CUTOFF, kpts=kpts, charge=charge)
        energy = work.get_potential_energy()
        path.write_text(json.dumps({"e": energy, "v": work.calc.site_potentials().tolist()}))
    return dict(json.loads(path.read_text()))


def main(folder: Path, names: list[str]) -> None:
    """A line per cell: E(2+) - E(host), and what the correction makes of it for some dielectric constants."""
    folder.mkdir(parents=True, exist_ok=True)
    unit = crystal("alpha-quartz")
    small, _ = cells("221")
    bulk = calculated(folder / "host.json", small, 0.0, K_MESH["221"])
    for name in names:
        host, vacancy = cells(name)
        units = len(host) // len(unit)
        charged = calculated(folder / f"{name}.json", vacancy, CHARGE, K_MESH.get(name, (1, 1, 1)))
        raw = float(charged["e"]) - float(bulk["e"]) * units / 4.0
        potentials = np.tile(np.asarray(bulk["v"])[: len(unit)], units)
        pair = Potentials(vacancy, np.asarray(charged["v"])), Potentials(host, potentials)
        center = vacancy.info["defect_position"]
        matched = list(enumerate(int(i) for i in vacancy.arrays["host_index"]))
        aligned = alignment_correction(CHARGE, *pair, matched, center)
        texts = [f"{name} {len(vacancy)} atoms: {raw:.3f}, aligned {raw + aligned.energy:.3f}"]
        for constant in (2.2, 2.4, 2.6):
            found = efnv_correction(CHARGE, *pair, constant, center)
            texts.append(f"{constant}: {raw + found.energy:.3f} (spread {found.spread:.3f} V)")
        print(", ".join(texts), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["221", "222", "332"])
