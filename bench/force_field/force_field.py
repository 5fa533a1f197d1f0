"""MACE on the energies and forces of a data set, in three ways, and the table of its errors.

    build/force_field/bin/python bench/force_field/force_field.py train.extxyz --test test.extxyz --out runs

train.extxyz, test.extxyz: of `mlh dataset export --free-atoms --charge 0` (README.md). Frames whose `split`
is test are tested on wherever they are, those of validation are MACE's validation; charged ones are left out.

    mean    vacancies only, the mean energy per atom of the training for every element
    atoms   vacancies only, energies counted from the free atoms
    hosts   vacancies and hosts, counted from the free atoms

Writes OUT/table.md and OUT/table.json. Trainings go on from their last checkpoint, tests from the last frame;
what is finished is not done again.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

WAYS = ("mean", "atoms", "hosts")
FREE_ATOM = "IsolatedAtom"
VALIDATION = 20
"""Every n-th training frame of hosts and of defects, where the files name none."""


@dataclass(frozen=True)
class Frames:
    """Of all files; free: energy of the free atoms by atomic number, eV."""

    train: list[Atoms]
    validation: list[Atoms]
    test: list[Atoms]
    free: dict[int, float]


def is_host(atoms: Atoms) -> bool:
    """Without a defect."""
    return str(atoms.info["config_type"]) == "host"


def read_frames(data: Sequence[Path], test: Sequence[Path]) -> Frames:
    """Divided as the files say."""
    parts: dict[str, list[Atoms]] = {"train": [], "validation": [], "test": []}
    free: dict[int, float] = {}
    for path in (*data, *test):
        for atoms in ase.io.read(path, index=":", format="extxyz"):
            if atoms.info.get("config_type") == FREE_ATOM:
                free[int(atoms.numbers[0])] = float(atoms.info["REF_energy"])
            elif not atoms.info.get("charge"):
                part = "test" if path in test else str(atoms.info.get("split", "train"))
                parts[part].append(atoms)
    train, validation = parts["train"], parts["validation"]
    if not validation:
        ordered = [atoms for kind in (True, False) for atoms in train if is_host(atoms) == kind]
        n_hosts = sum(map(is_host, train))
        places = [k if k < n_hosts else k - n_hosts for k in range(len(ordered))]
        validation = [atoms for k, atoms in zip(places, ordered, strict=True) if k % VALIDATION == 0]
        train = [atoms for k, atoms in zip(places, ordered, strict=True) if k % VALIDATION]
    if not train or not parts["test"]:
        raise SystemExit(f"expected frames to train and to test, got {len(train)} and {len(parts['test'])}")
    return Frames(train, validation, parts["test"], free)


def of_way(frames: Sequence[Atoms], way: str) -> list[Atoms]:
    """What a way of training sees."""
    return [atoms for atoms in frames if way == "hosts" or not is_host(atoms)]


def references(way: str, train: Sequence[Atoms], free: dict[int, float]) -> dict[int, float]:
    """Energy of every element that a force field counts from, eV."""
    elements = sorted({int(z) for atoms in train for z in atoms.numbers})
    if way == "mean":
        mean = float(np.mean([atoms.info["REF_energy"] / len(atoms) for atoms in train]))
        return dict.fromkeys(elements, mean)
    missing = [z for z in elements if z not in free]
    if missing:
        raise SystemExit(f"no free atoms of {missing} in the files: mlh dataset export --free-atoms")
    return {z: free[z] for z in elements}


def train(way: str, frames: Frames, folder: Path, options: argparse.Namespace) -> Path:
    """The model of one way; a training that is there is gone on with."""
    final = [folder / f"{way}_stagetwo.model", folder / f"{way}.model"]
    done = folder / "finished.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        mine, validation = of_way(frames.train, way), of_way(frames.validation, way)
        if not mine or not validation:
            raise SystemExit(
                f"{way}: expected frames to train and to validate, got {len(mine)}, {len(validation)}"
            )
        ase.io.write(folder / "train.extxyz", [bare(atoms) for atoms in mine], format="extxyz")
        ase.io.write(folder / "validation.extxyz", [bare(atoms) for atoms in validation], format="extxyz")
        arguments = mace_arguments(way, references(way, mine, frames.free), folder, options)
        start, used = time.perf_counter(), cpu_of_children()
        print(f"{way}: {len(mine)} frames to train, {len(validation)} to validate", flush=True)
        command = [sys.executable, "-m", "mace.cli.run_train", *arguments]
        status = run(command, folder / "train.log", options.threads)
        with open(folder / "times.jsonl", "a", encoding="utf-8") as stream:
            stream.write(
                json.dumps({"wall": time.perf_counter() - start, "cpu": cpu_of_children() - used}) + "\n"
            )
        if status != 0:
            raise SystemExit(
                f"{way}: MACE ended with {status}, see {folder / 'train.log'}; the same command goes on"
            )
        write(done, {"frames": len(mine), "validation": len(validation)})
    for path in final:
        if path.exists():
            return path
    raise SystemExit(f"{way}: expected {final[1]} after the training, there is none")


def mace_arguments(
    way: str, energies: dict[int, float], folder: Path, options: argparse.Namespace
) -> list[str]:
    """Of mace_run_train: its usual ways, two interactions, many-body order 3."""
    values = {
        "name": way,
        "train_file": folder / "train.extxyz",
        "valid_file": folder / "validation.extxyz",
        "work_dir": folder,
        "model_dir": folder,
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "E0s": str(energies),
        "model": "MACE",
        "num_channels": options.channels,
        "max_L": options.max_l,
        "r_max": options.cutoff,
        "batch_size": options.batch,
        "valid_batch_size": options.batch,
        "max_num_epochs": options.epochs,
        "patience": options.epochs,
        "eval_interval": options.every,
        "lr": options.learning_rate,
        "start_swa": max(1, math.ceil(0.75 * options.epochs)),
        "default_dtype": "float32",
        "device": "cpu",
        "seed": options.seed,
        "num_workers": 0,
        "error_table": "PerAtomMAE",
    }
    flags = ("--ema", "--swa", "--restart_latest", "--save_cpu")
    return [*(f"--{key}={value}" for key, value in values.items()), *flags]


def bare(atoms: Atoms) -> Atoms:
    """What MACE needs of a frame."""
    result = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell[:], pbc=True)
    result.info["REF_energy"] = float(atoms.info["REF_energy"])
    result.set_array("REF_forces", atoms.arrays["REF_forces"])
    return result


def run(command: Sequence[str], log: Path, threads: int) -> int:
    """A process that ends with this one; its output goes to the log."""
    variables = {
        name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    with open(log, "ab") as stream:
        child = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            preexec_fn=end_with_parent,
        )
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise SystemExit("interrupted; the same command goes on from here") from None


def end_with_parent() -> None:
    """Also where the parent is killed (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def cpu_of_children() -> float:
    """Processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def predictions(model: Path, test: Sequence[Atoms], folder: Path) -> list[dict[str, float]]:
    """Errors of every test frame: energy (eV, of the cell), mean absolute force (eV/A)."""
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:10]
    path = folder / f"test-{digest}.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    sums = [checksum(atoms) for atoms in test]
    rows = [json.loads(line) for line in lines]
    found = {r["frame"]: r for r in rows if sums[r["frame"] : r["frame"] + 1] == [r["sum"]]}
    missing = [k for k in range(len(test)) if k not in found]
    if missing:
        from mace.calculators import MACECalculator  # late: it takes seconds

        calculator = MACECalculator(model_paths=str(model), device="cpu", default_dtype="float64")
        # Whole lines only: the last one may be cut.
        path.write_text("".join(f"{json.dumps(row)}\n" for row in found.values()), encoding="utf-8")
    for k in missing:
        atoms = bare(test[k])
        start = time.process_time()
        calculator.calculate(atoms, ["energy", "forces"])
        difference = calculator.results["forces"] - test[k].arrays["REF_forces"]
        found[k] = {
            "frame": k,
            "sum": sums[k],
            "energy": float(calculator.results["energy"] - test[k].info["REF_energy"]),
            "force": float(np.abs(difference).mean()),
            "seconds": time.process_time() - start,
        }
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(found[k]) + "\n")
    return [found[k] for k in range(len(test))]


def checksum(atoms: Atoms) -> str:
    """Of a frame and its label."""
    text = f"{atoms.info['REF_energy']!r}".encode() + atoms.positions.tobytes()
    return hashlib.sha256(text).hexdigest()[:10]


def row(way: str, kind: str, test: Sequence[Atoms], found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Errors of the hosts or of the defects.

    mean, spread: of the error of the energy per atom. An undetermined energy of the elements shows as a mean
    that is large beside its spread, and as one error in eV for cells of all sizes.
    """
    chosen = [(a, f) for a, f in zip(test, found, strict=True) if is_host(a) == (kind == "hosts")]
    if not chosen:
        return {"way": way, "kind": kind, "frames": 0}
    per_atom = np.array([1e3 * f["energy"] / len(a) for a, f in chosen])
    cells = np.array([f["energy"] for _, f in chosen])
    weights = np.array([len(a) for a, _ in chosen], dtype=float)
    forces = np.array([f["force"] for _, f in chosen])
    return {
        "way": way,
        "kind": kind,
        "frames": len(chosen),
        "energy_mae_mev_per_atom": float(np.abs(per_atom).mean()),
        "energy_mean_mev_per_atom": float(per_atom.mean()),
        "energy_spread_mev_per_atom": float(per_atom.std()),
        "cell_mean_ev": float(cells.mean()),
        "cell_spread_ev": float(cells.std()),
        "force_mae_mev_per_a": float(1e3 * (weights * forces).sum() / weights.sum()),
        "core_seconds": float(np.mean([f["seconds"] for _, f in chosen])),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    head = (
        "way",
        "tested on",
        "frames",
        "energy MAE",
        "mean",
        "spread",
        "of the cell, eV",
        "force MAE",
        "core s",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in rows:
        if not r["frames"]:
            continue
        energies = [f"{r[f'energy_{name}_mev_per_atom']:.2f}" for name in ("mae", "mean", "spread")]
        cell = f"{r['cell_mean_ev']:.3f} ± {r['cell_spread_ev']:.3f}"
        last = (cell, f"{r['force_mae_mev_per_a']:.1f}", f"{r['core_seconds']:.2f}")
        lines.append("| " + " | ".join([r["way"], r["kind"], str(r["frames"]), *energies, *last]) + " |")
    return "\n".join([*lines, "", "Energies: meV/atom, force field - DFT; forces: meV/A.", ""])


def write(path: Path, content: Any) -> None:
    """JSON in one move."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.rename(path)


def require_same(out: Path, options: argparse.Namespace, frames: Frames) -> None:
    """Trainings of other settings or data do not belong into this folder."""
    parts = {name: [checksum(a) for a in getattr(frames, name)] for name in ("train", "validation")}
    names = ("epochs", "channels", "max_l", "cutoff", "batch", "learning_rate", "seed")
    data = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    now = {**{name: getattr(options, name) for name in names}, "data": data}
    path = out / "settings.json"
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != now:
        changed = ", ".join(key for key in now if before.get(key) != now[key])
        raise SystemExit(f"{out}: has trainings with other {changed}; choose another --out")
    write(path, now)


def options() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--test", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--every", type=int, default=1, help="epochs between checkpoints")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max-l", type=int, default=1, help="of the messages")
    parser.add_argument("--cutoff", type=float, default=5.0, help="A")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train what is missing, test, write the table after each."""
    given = options()
    os.environ.setdefault("OMP_NUM_THREADS", str(given.threads))
    frames = read_frames(given.data, given.test)
    given.out.mkdir(parents=True, exist_ok=True)
    require_same(given.out, given, frames)
    rows: list[dict[str, Any]] = []
    for way in given.ways:
        folder = given.out / way
        found = predictions(train(way, frames, folder, given), frames.test, folder)
        rows += [row(way, kind, frames.test, found) for kind in ("hosts", "vacancies")]
        write(given.out / "table.json", {"rows": rows})
        (given.out / "table.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
