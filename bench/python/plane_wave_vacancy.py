"""V_O in a primitive cell of quartz beside plane waves and norm-conserving files (ABINIT): docs/basis.md.

    PYTHONPATH=python python bench/python/plane_wave_vacancy.py HOST PSEUDOS OUT [--basis NAME]

HOST: a file of nine atoms; its fourth, an oxygen atom, is removed and nothing relaxed. PSEUDOS: a folder with
Si.psp8 and O.psp8 (/usr/share/abinit/psp/Pseudodojo_nc_sr_04_pbe_standard_psp8, Debian's abinit-data). OUT: a
folder for the runs of ABINIT, which are not repeated. k points 2x2x2; triplet O2 in a box of 8 x 8 x 9 A.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import ase.io
import h5py
import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from mlh.calculators import DFTCalculator

_VALENCE = {"Si": 4, "O": 6}
_REMOVED = 3
Found = tuple[float, NDArray[np.float64]]


def cells(host: Atoms) -> dict[str, Atoms]:
    """What is calculated."""
    vacancy = host.copy()
    del vacancy[_REMOVED]
    oxygen = Atoms("O2", positions=[[4, 4, 3.89], [4, 4, 5.11]], cell=[8, 8, 9], pbc=True)
    return {"o2": oxygen, "host": host, "vacancy": vacancy}


def text(atoms: Atoms, pseudos: Path, ecut: float, kpts: int, moment: int) -> str:
    """ABINIT input of one self-consistent calculation with forces; it refuses long lines."""
    kinds = [s for s in ("Si", "O") if s in set(atoms.symbols)]
    bands = sum(_VALENCE[s] for s in atoms.symbols) // 2 + 6
    lines = [
        f'pp_dirpath "{pseudos}"',
        f'pseudos "{", ".join(f"{s}.psp8" for s in kinds)}"',
        f"natom {len(atoms)} ntypat {len(kinds)}",
        "znucl " + " ".join("14" if s == "Si" else "8" for s in kinds),
        "typat " + " ".join(str(kinds.index(s) + 1) for s in atoms.symbols),
        "acell 3*1.0 rprim",
        *(" ".join(f"{x:.12f}" for x in row) for row in atoms.cell.array / Bohr),
        "xcart",
        *(" ".join(f"{x:.12f}" for x in row) for row in atoms.positions / Bohr),
        f"ecut {ecut} ngkpt 3*{kpts} nshiftk 1 shiftk 0 0 0 kptopt 4 nsym 1",
        f"ixc 11 occopt 1 toldff 2e-5 nstep 80 nband {bands} nbdbuf 4",
        "optforces 1 prtwf 0 prtden 0 prteig 0",
    ]
    if moment:
        starts = [f"0 0 {moment / len(atoms)}" for _ in atoms]
        lines += [f"nsppol 2 spinmagntarget {moment} spinat", *starts]
    return "\n".join(lines) + "\n"


def plane_waves(folder: Path, *given: object) -> Found:
    """Energy (eV) and forces (eV/A)."""
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.abi").write_text(text(*given))  # type: ignore[arg-type]
        with (folder / "log").open("w") as log:
            subprocess.run(["abinit", "run.abi"], cwd=folder, stdout=log, check=True)
        (folder / "done").touch()
    with h5py.File(folder / "runo_GSR.nc") as file:
        forces = np.array(file["cartesian_forces"]) * Hartree / Bohr
        return float(np.array(file["etotal"])) * Hartree, forces


def ours(atoms: Atoms, basis: str, kpts: int, moment: int) -> Found:
    """The same by our engine."""
    spin = {"spin": True, "total_moment": float(moment)} if moment else {}
    atoms.calc = DFTCalculator(basis, kpts=(kpts, kpts, kpts), **spin)
    return float(atoms.get_potential_energy()), np.asarray(atoms.get_forces())


def told(name: str, found: dict[str, Found], reference: dict[str, Found]) -> None:
    """One line."""
    formation = found["vacancy"][0] - found["host"][0] + 0.5 * found["o2"][0]
    difference = np.abs(found["host"][1] - reference["host"][1])
    print(
        f"{name}: E(V_O) - E(host) + E(O2)/2 {formation:.3f} eV; forces of the host {difference.mean():.3f} "
        f"away, at most {difference.max():.3f} eV/A",
        flush=True,
    )


def main(host: Path, pseudos: Path, out: Path, ecut: float, bases: list[str]) -> None:
    """Plane waves, then every basis set."""
    todo = cells(ase.io.read(host))
    mesh = {name: (1, 2) if name == "o2" else (2, 0) for name in todo}
    reference = {n: plane_waves(out / n, a, pseudos, ecut, *mesh[n]) for n, a in todo.items()}
    told(f"{pseudos.name}, {ecut:g} Ha", reference, reference)
    for basis in bases:
        told(basis, {n: ours(a, basis, *mesh[n]) for n, a in todo.items()}, reference)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", type=Path)
    parser.add_argument("pseudos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ecut", type=float, default=40.0)
    parser.add_argument("--basis", nargs="*", default=["gth-nlcc-pbe", "gth-nlcc-pbe precise"])
    given = parser.parse_args()
    main(given.host, given.pseudos, given.out, given.ecut, given.basis)
