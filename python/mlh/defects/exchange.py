"""Charged defects for other codes, from the files of a run: entries of doped, CalcResults of pydefect.

Signs and names are theirs at this edge: doped counts atoms removed as negative and calls the vacancy v_O,
pydefect Va_O; site potentials of both are electrostatic, V, as ours (minus those of VASP's OUTCAR).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np

from mlh.basis.ghosts import without_ghosts
from mlh.common.files import read_json, refuse_existing, write_json
from mlh.defects.corrections import quiet_libraries
from mlh.defects.electrons import Electrons, planes_of, read_electrons
from mlh.defects.record import SUMMARY, entries_of
from mlh.relaxation.files import RELAXED
from mlh.structures.defect_names import DefectName, charge_text
from mlh.structures.files import read_frames

INSTALL_DOPED = 'pip install "mlh[doped]" (doped 3.2.1 or newer)'
INSTALL_PYDEFECT = 'pip install "mlh[defects]" (pydefect 0.10.1 or newer)'


@dataclass(frozen=True, eq=False)
class Cell:
    """A relaxed cell with its energy (eV) and its electrons."""

    atoms: ase.Atoms
    energy: float
    electrons: Electrons


@dataclass(frozen=True, eq=False)
class DefectCell(Cell):
    """position: of the defect, Cartesian, Angstrom; site: its atom in the host, -1 for an interstitial."""

    name: DefectName
    label: str
    charge: int
    site: int
    position: np.ndarray[Any, np.dtype[np.float64]]

    def title(self, vacancy: str) -> str:
        """v_O_12_+1 with "v" for the vacancy; the number keeps places apart."""
        (member,) = self.name.members
        what = vacancy if member.added is None else member.added
        number = self.label.rpartition("-")[2]
        return f"{what}_{member.site or 'i'}_{number}_{charge_text(self.charge)}"


@dataclass(frozen=True, eq=False)
class ChargedFiles:
    """What the files of a run hold. chempots: energy of an atom by condition and element, E_i + mu_i (eV)."""

    host: Cell
    defects: tuple[DefectCell, ...]
    valence_edge: float
    gap: float
    dielectric: np.ndarray[Any, np.dtype[np.float64]] | None
    references: Mapping[str, float]
    chempots: Mapping[str, Mapping[str, float]]
    left_out: tuple[str, ...]


def read_charged(folder: Path) -> ChargedFiles:
    """The charged run in a folder of `mlh defect`; ValueError where there is none."""
    content = read_json(folder / SUMMARY)
    if "charged" not in content:
        raise ValueError(f"{folder}: expected a run of defects with charges, got another one")
    charged = content["charged"]
    part = "run" if charged["relaxations"] == "." else "verification"
    place = folder / charged["relaxations"]
    found, left_out = [], []
    for entry in entries_of(content[part]):
        name = DefectName.parse(entry["name"])
        if len(name.members) > 1:
            left_out.append(f"{entry['folder']}: a complex, for which these formats have no entry")
            continue
        cell = _cell(place / entry["folder"], entry["energy"])
        if isinstance(cell, str) or entry["status"] != "converged":
            left_out.append(f"{entry['folder']}: {cell if isinstance(cell, str) else 'not converged'}")
            continue
        label = f"{name}-{entry['site']}"
        site = -1 if name.members[0].site is None else int(entry["site"])
        position = np.asarray(entry["position"], dtype=float)
        found.append(
            DefectCell(
                *(cell.atoms, cell.energy, cell.electrons, name, label, entry["charge"], site, position)
            )
        )
    host = _cell(place / "host", content[part]["host"]["energy"])
    if isinstance(host, str):
        raise ValueError(f"host: {host}")
    tensor = charged["dielectric"]
    return ChargedFiles(
        host,
        tuple(found),
        charged["valence_edge"],
        charged["gap"],
        None if tensor is None else np.asarray(tensor, dtype=float),
        {element: reference["energy"] for element, reference in content["references"].items()},
        _chempots(content),
        tuple(left_out),
    )


def export_doped(files: ChargedFiles, out: Path, overwrite: bool = False) -> list[Path]:
    """OUT/v_O_12_+1.json, ...: `DefectEntry.from_json` of doped opens them, corrected by doped from the same
    potentials; OUT/chempots.json: chemical potentials as its `DefectThermodynamics` takes them."""
    core = _library("doped.core", INSTALL_DOPED)
    paths = [out / f"{cell.title('v')}.json" for cell in files.defects] + [out / "chempots.json"]
    refuse_existing(paths, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    for cell, path in zip(files.defects, paths[:-1], strict=True):
        entry = _doped_entry(core, files, cell)
        if cell.charge and files.dielectric is not None and _has_potentials(files, cell):
            entry.get_kumagai_correction(verbose=False)
        entry.to_json(str(path))
    relative = {
        name: {e: value - files.references[e] for e, value in values.items()}
        for name, values in files.chempots.items()
    }
    chempots = {
        "limits": {name: dict(values) for name, values in files.chempots.items()},
        "elemental_refs": dict(files.references),
        "limits_wrt_el_refs": relative,
    }
    write_json(paths[-1], chempots)
    return paths


def export_pydefect(files: ChargedFiles, out: Path, overwrite: bool = False) -> list[Path]:
    """OUT/perfect/calc_results.json and OUT/Va_O_12_1/calc_results.json, ...: pydefect's CalcResults."""
    library = _library("pydefect.analyzer.calc_results", INSTALL_PYDEFECT)
    cells: dict[str, Cell] = {"perfect": files.host}
    for cell in files.defects:
        title, _, _ = cell.title("Va").rpartition("_")
        cells[f"{title}_{cell.charge}"] = cell
    paths = [out / name / "calc_results.json" for name in cells]
    refuse_existing(paths, overwrite)
    for cell_of, path in zip(cells.values(), paths, strict=True):
        potentials = cell_of.electrons.site_potentials
        results = library.CalcResults(
            structure=_structure(cell_of.atoms),
            energy=cell_of.energy,
            magnetization=cell_of.electrons.magnetic_moment,
            potentials=[] if potentials is None else list(potentials),
            electronic_conv=True,
            ionic_conv=True,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, json.loads(results.to_json()))
    return paths


def _doped_entry(core: Any, files: ChargedFiles, cell: DefectCell) -> Any:
    entries = importlib.import_module("pymatgen.entries.computed_entries")
    pymatgen: Any = importlib.import_module("pymatgen.core")
    host, defect = _structure(files.host.atoms), _structure(cell.atoms)
    (member,) = cell.name.members
    fractional = files.host.atoms.cell.scaled_positions(cell.position[None])[0] % 1.0
    element = member.added or member.site
    site = pymatgen.PeriodicSite(element, fractional, host.lattice)
    own = {"site": site, "structure": host}
    if member.site is None:
        kind = core.Interstitial(**own)
    elif member.added is None:
        kind = core.Vacancy(structure=host, site=host[cell.site])
    else:
        kind = core.Substitution(**own)
    metadata: dict[str, Any] = {"vbm": files.valence_edge, "band_gap": files.gap}
    if files.dielectric is not None:
        metadata["dielectric"] = files.dielectric
    if _has_potentials(files, cell):
        metadata["bulk_site_potentials"] = np.asarray(files.host.electrons.site_potentials)
        metadata["defect_site_potentials"] = np.asarray(cell.electrons.site_potentials)
    for which, electrons in (("bulk", files.host.electrons), ("defect", cell.electrons)):
        planes = planes_of(electrons)
        if planes is not None:  # energies of an electron, as in LOCPOT
            metadata[f"{which}_locpot_dict"] = {str(axis): -plane for axis, plane in enumerate(planes)}
    return core.DefectEntry(
        defect=kind,
        charge_state=cell.charge,
        sc_entry=entries.ComputedStructureEntry(defect, cell.energy),
        bulk_entry=entries.ComputedStructureEntry(host, files.host.energy),
        sc_defect_frac_coords=tuple(float(x) for x in fractional),
        name=cell.title("v"),
        defect_supercell=defect,
        defect_supercell_site=site,
        bulk_supercell=host,
        calculation_metadata=metadata,
    )


def _has_potentials(files: ChargedFiles, cell: DefectCell) -> bool:
    return cell.electrons.site_potentials is not None and files.host.electrons.site_potentials is not None


def _chempots(content: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """E_i + mu_i of every condition; without conditions those of the formation energies."""
    energies = {element: reference["energy"] for element, reference in content["references"].items()}
    given = {"given": content["chemical_potentials"]}
    named = {c["name"]: c["chemical_potentials"] for c in content.get("conditions", [])} or given
    return {
        name: {element: energy + potentials.get(element, 0.0) for element, energy in energies.items()}
        for name, potentials in named.items()
    }


def _cell(folder: Path, energy: float) -> Cell | str:
    electrons = read_electrons(folder)
    if isinstance(electrons, str):
        return electrons
    return Cell(without_ghosts(read_frames(folder / RELAXED)[-1]), energy, electrons)


def _structure(atoms: ase.Atoms) -> Any:
    core: Any = importlib.import_module("pymatgen.core")
    fractional = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    return core.Structure(core.Lattice(atoms.cell.array), atoms.get_chemical_symbols(), fractional)


def _library(module: str, install: str) -> Any:
    quiet_libraries()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{module.partition('.')[0]}: {error}; install it with {install}") from None
