"""Finished OpenMX calculations become a data set: H, energies and forces with the OpenMX basis.

A run is a ``.scfout`` with the ``.out`` of the same name beside it. dH = H - H0 with H of the file and H0 the
Harris Hamiltonian of `System` in the same basis and with OpenMX's integration, so that H0 + dH is OpenMX's H.
Contributions of the energy: kinetic Ukin, nonlocal Unl, neutral_atom Una, hartree UH1, xc Uxc0 + Uxc1,
core_repulsion Ucore + UH0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlh.basis.families import recorded_orbitals
from mlh.basis.species import Basis
from mlh.common.files import complete_or_absent, refuse_existing
from mlh.common.units import BOHR_ANGSTROM, OPENMX_BOHR_ANGSTROM
from mlh.dataset.sample import BasisRecord, Sample
from mlh.dataset.store import DatasetWriter
from mlh.dft.energies import Energies
from mlh.dft.system import System
from mlh.matrix.kpoints import kpoints_record
from mlh.openmx import ScfOut, load_openmx_basis, read_scfout
from mlh.openmx.inputfile import keyword
from mlh.openmx.outfile import OutFile, read_out
from mlh.openmx.scfout import read_scfout_input

_UNSUPPORTED = ("Uhub", "Ucs", "Uzs", "Uzo", "Uef", "UvdW", "Uch")


class RunError(ValueError):
    """A calculation that cannot become a label, with the reason."""


@dataclass(frozen=True)
class Run:
    """A calculation and the argument it was found under, which becomes its group."""

    scfout: Path
    group: str

    @property
    def out(self) -> Path:
        """The text output beside it."""
        return self.scfout.with_suffix(".out")


@dataclass(frozen=True)
class Level:
    """What all samples of a data set share."""

    cutoff_ry: float
    xc: str
    integration: str
    """Name in `mlh.dft.integrations`."""


@dataclass(frozen=True)
class ImportReport:
    """samples: how many were stored. set_aside: reason by file."""

    path: str
    samples: int
    basis: str
    basis_fingerprint: str
    set_aside: dict[str, str]


def find_runs(arguments: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """All ``.scfout`` files named or below the named folders, sorted; each once."""
    runs: dict[Path, Run] = {}
    for argument in arguments:
        path = Path(argument)
        found = [path] if path.is_file() else sorted(path.rglob("*.scfout"))
        if not found:
            raise FileNotFoundError(f"{path}: expected a .scfout file or a folder with some, found none")
        for file in found:
            runs.setdefault(file.resolve(), Run(file, path.name or path.resolve().name))
    return list(runs.values())


def import_runs(
    runs: Sequence[Run],
    target: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_run: Callable[[int, Run], None] = lambda index, run: None,
) -> ImportReport:
    """Write the data set under another name and move it to `target` when complete.

    Runs that cannot be labels (damaged, not converged, spin-polarised, of another level of theory than the
    first) are set aside with the reason; RunError when none is left.
    """
    path = Path(target)
    refuse_existing([path], overwrite)
    set_aside: dict[str, str] = {}
    readable, basis = _common_basis(runs, data_dir, set_aside)
    level: Level | None = None
    writer: DatasetWriter | None = None
    samples = 0
    with complete_or_absent(path) as temporary:
        for index, run in enumerate(readable):
            on_run(index, run)
            try:
                own_level, sample = _label(run, basis)
                if level is not None and own_level != level:
                    raise RunError(f"expected {level} as in the first run, got {own_level}")
            except (ValueError, OSError) as error:
                set_aside[str(run.scfout)] = str(error)
                continue
            level = own_level
            if writer is None:
                record = BasisRecord.of(basis, recorded_orbitals(basis))
                writer = DatasetWriter(temporary, record, _settings(level, basis))
            writer.append(sample)
            samples += 1
        if not samples:
            reasons = "; ".join(f"{file}: {reason}" for file, reason in list(set_aside.items())[:3])
            raise RunError(f"expected at least one usable run of {len(runs)}, got none ({reasons})")
    return ImportReport(str(path), samples, basis.name, basis.fingerprint, set_aside)


def _common_basis(
    runs: Sequence[Run], data_dir: str | os.PathLike[str] | None, set_aside: dict[str, str]
) -> tuple[list[Run], Basis]:
    """The runs whose species agree with those before them, and the basis of all of these."""
    species: dict[str, tuple[str, str]] = {}
    readable = []
    for run in runs:
        try:
            own = read_scfout_input(run.scfout)[0].species
        except (ValueError, OSError) as error:
            set_aside[str(run.scfout)] = str(error)
            continue
        other = {s: d for s, d in own.items() if species.get(s, d) != d}
        if other:
            set_aside[str(run.scfout)] = f"expected {species} as in the first runs, got {other}"
            continue
        species.update(own)
        readable.append(run)
    if not readable:
        reasons = "; ".join(list(set_aside.values())[:3])
        raise RunError(f"expected at least one usable run of {len(runs)}, got none ({reasons})")
    return readable, load_openmx_basis(data_dir, dict(sorted(species.items())))


def _settings(level: Level, basis: Basis) -> dict[str, Any]:
    return {
        "source": "OpenMX 3.9",
        "basis": basis.name,
        "orbitals": recorded_orbitals(basis),
        "cutoff_ry": level.cutoff_ry,
        "xc": level.xc,
        "integration": level.integration,
    }


def _label(run: Run, basis: Basis) -> tuple[Level, Sample]:
    out = read_scfout(run.scfout, basis)
    text = read_out(run.out)
    level = _check(out, text, run)
    kpts = {"size": _kpts(out.input_lines), "gamma": False}
    system = System(out.atoms, basis, level.cutoff_ry, kpts, level.xc, integration=level.integration)
    dh = (out.H - system.harris_hamiltonian()).symmetrised()
    info = {
        "kpts": kpoints_record(kpts),
        "temperature_kelvin": out.temperature,
        "scf_steps": text.scf_steps,
        "residual": text.residual,
        "source": str(run.scfout),
    }
    energies = energies_of(text.energies).as_dict()
    origin = str(run.scfout.with_suffix(""))
    return level, Sample.from_system(
        system, dh.data[0], energies, text.forces, origin=origin, group=run.group, info=info
    )


def energies_of(contributions: Mapping[str, float]) -> Energies:
    """OpenMX's contributions under mlh's names; the sum is Utot."""
    u = contributions
    return Energies(
        kinetic=u["Ukin"],
        nonlocal_=u["Unl"],
        neutral_atom=u["Una"],
        hartree=u["UH1"],
        xc=u["Uxc0"] + u["Uxc1"],
        core_repulsion=u["Ucore"] + u["UH0"],
    )


def _check(out: ScfOut, text: OutFile, run: Run) -> Level:
    """Raise RunError for what a data set cannot hold or what does not belong together."""
    lines = out.input_lines
    if out.H.nspin != 1:
        raise RunError("spin-polarised: data sets are spin-unpolarised")
    functional = keyword(lines, "scf.XcType", "LDA")
    if functional.upper() != "GGA-PBE":
        raise RunError(f"scf.XcType: expected GGA-PBE, got {functional}")
    extra = [name for name in _UNSUPPORTED if abs(text.energies[name]) > 1e-9]
    if extra:
        raise RunError(f"{run.out}: expected no contributions {', '.join(extra)}: they are not terms of mlh")
    criterion = _number(lines, "scf.criterion", "1.0e-6")
    if text.residual > criterion:
        raise RunError(f"not converged: NormRD {text.residual:g}, scf.criterion {criterion:g}")
    printed = np.asarray(out.atoms.positions) * (OPENMX_BOHR_ANGSTROM / BOHR_ANGSTROM)
    if text.positions.shape != printed.shape or np.max(np.abs(text.positions - printed)) > 2e-5:
        raise RunError(f"{run.out}: expected the geometry of {run.scfout}, got another one")
    if keyword(lines, "scf.fixed.grid", ""):
        raise RunError("scf.fixed.grid: expected a grid that follows the atoms, got a fixed one")
    expanded = keyword(lines, "scf.ProExpn.VNA", "on").lower() == "on"
    integration = "openmx" if expanded else "openmx-grid-vna"
    return Level(_number(lines, "scf.energycutoff", "150.0"), "PBE", integration)


def _number(lines: Sequence[str], name: str, default: str) -> float:
    word = keyword(lines, name, default)
    try:
        return float(word)
    except ValueError:
        raise RunError(f"{name}: expected a number, got {word!r}") from None


def _kpts(lines: Sequence[str]) -> tuple[int, int, int]:
    words = next((w for w in map(str.split, lines) if w and w[0].lower() == "scf.kgrid"), None)
    if words is None:
        return (1, 1, 1)
    if len(words) < 4 or not all(word.isdigit() and int(word) > 0 for word in words[1:4]):
        raise RunError(f"scf.Kgrid: expected three numbers, got {' '.join(words[1:])!r}")
    return int(words[1]), int(words[2]), int(words[3])
