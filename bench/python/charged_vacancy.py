"""Charge states of V_O in quartz against plane waves: the table of docs/theory.md, "Charged cells".

    PYTHONPATH=python python bench/python/charged_vacancy.py REFERENCE.json [--basis NAME] [--ghost]

REFERENCE.json: geometries, energies, bands and forces of an independent code, as in gpaw_quartz_vo.json
(`host`, `vacancy`, `o2`, `vacancy_outward` with `charges` and `bands_q2_eV`). --ghost: with the orbitals of
oxygen at the vacancy. First the neutral formation energy, E(vacancy) - E(host) + E(O2)/2, and forces.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlh.basis.ghosts import with_ghost
from mlh.calculators import DFTCalculator
from mlh.common.units import HARTREE_EV

VACANCY_BAND = 92


def neutral(data: dict[str, Any], basis: str) -> None:
    """Formation energy and forces of the neutral cells."""
    energies = {}
    for name in ("host", "vacancy", "o2"):
        case = data[name]
        atoms = Atoms(case["symbols"], positions=case["positions_A"], cell=case["cell_A"], pbc=True)
        molecule = {"spin": True, "total_moment": 2.0} if name == "o2" else {"kpts": (1, 1, 2)}
        atoms.calc = DFTCalculator(basis, **molecule)
        energies[name] = atoms.get_potential_energy()
        difference = np.abs(atoms.get_forces() - np.array(case["forces_eV_A"]))
        print(f"{name}: forces, mean difference {difference.mean():.4f}, largest {difference.max():.4f} eV/A")
    formation = energies["vacancy"] - energies["host"] + 0.5 * energies["o2"]
    expected = data["formation_energy_neutral_eV"]
    print(f"E(V_O) - E(host) + E(O2)/2 {formation:.3f} eV, plane waves {expected:.3f}", flush=True)


def main(path: Path, basis: str, ghost: bool) -> None:
    """All charges, one after the other."""
    data = json.loads(path.read_text())
    neutral(data, basis)
    case = data["vacancy_outward"]
    atoms = Atoms(case["symbols"], positions=case["positions_A"], cell=case["cell_A"], pbc=True)
    if ghost:
        kept = np.array(data["vacancy"]["positions_A"])
        host = np.array(data["host"]["positions_A"])
        removed = max(host, key=lambda place: np.linalg.norm(kept - place, axis=1).min())
        atoms = with_ghost(atoms, "O", removed)
    energies: dict[int, float] = {}
    homo = 0.0
    for charge in (0, 1, 2):
        calculator = DFTCalculator(basis, charge=charge, kpts=(1, 1, 2))
        cell = atoms.copy()
        cell.calc = calculator
        energies[charge] = cell.get_potential_energy()
        result = calculator.result
        assert result is not None
        states = result.eigenstates
        levels = states.eigenvalues[0] * HARTREE_EV
        homo = homo if charge else states.homo * HARTREE_EV
        theirs = case["charges"][str(charge)]
        ours = energies[charge] - energies[0] + charge * homo
        expected = theirs["E_q_minus_E_0_plus_q_e_HOMO_0_eV"]
        print(f"{charge:+d}: E(q) - E(0) + q e_HOMO(0) {ours:.3f} eV, plane waves {expected:.3f}")
        difference = np.abs(cell.get_forces()[: len(case["symbols"])] - np.array(theirs["forces_eV_A"]))
        print(f"    forces: mean difference {difference.mean():.3f}, largest {difference.max():.3f} eV/A")
        if charge == 2:
            above = levels[:, VACANCY_BAND] - levels[:, VACANCY_BAND - 1]
            bands = case["bands_q2_eV"]
            reference = [bands[k][4] - bands[k][3] for k in ("k0", "k1")]
            print(
                f"    emptied level, from the valence edge {above.round(3)}, theirs {np.round(reference, 3)}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--basis", default="gth-pbe")
    parser.add_argument("--ghost", action="store_true")
    given = parser.parse_args()
    main(given.reference, given.basis, given.ghost)
