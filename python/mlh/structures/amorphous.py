"""Amorphous structures by bond-switching Monte Carlo; theory, parameters and sources: docs/amorphous.md."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.common.files import intact
from mlh.common.npz import write_npz
from mlh.common.units import ANGSTROM, BOHR_ANGSTROM, EV, GIGAPASCAL, HARTREE_EV, KELVIN
from mlh.structures.bond_network import (
    NetworkStructure,
    Shape,
    crystal_network,
    random_network,
    structure_network,
)
from mlh.structures.files import load_structure, structure_hash
from mlh.structures.recipe import Recipe, Relaxation, load_recipe

_CHUNK = 100  # moves between two reports
_CHECKPOINT_SECONDS = 10.0
_CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class Progress:
    """Where a run is; energy in eV per atom, acceptance over the last moves reported."""

    phase: str  # "melt" or "quench"
    moves: int
    total_moves: int
    temperature: float
    energy_per_atom: float
    acceptance: float
    seconds: float


@dataclass(frozen=True)
class AmorphousRun:
    """Relaxed structure (its `info` says how it was made) and the run: energy (eV), acceptance and
    temperature (K) of every move."""

    atoms: ase.Atoms
    energy: float  # eV, of the network potential
    energies: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    temperatures: NDArray[np.float64]
    counters: dict[str, int]


def amorphous(
    recipe: str | os.PathLike[str] | Recipe = "SiO2",
    *,
    atoms: int = 96,
    density: float | None = None,
    seed: int = 0,
    start: str | os.PathLike[str] | ase.Atoms = "crystal",
    shape: Shape = "cubic",
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> AmorphousRun:
    """A disordered network of `atoms` atoms at `density` (g/cm^3; default: that of the recipe, or of
    the structure that it starts from).

    `start` is "crystal" (supercell of the recipe's crystal), "random", a structure or its file. With
    `checkpoint` the run is saved there every ten seconds and on Ctrl-C; `resume` goes on from it, and
    the result is that of an uninterrupted run, bit for bit.
    """
    material = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    first = starting_network(material, atoms, density, seed, start, shape)
    label = "atoms" if isinstance(start, ase.Atoms) else os.fspath(start)
    config = {
        "recipe": material.model_dump(mode="json"),
        "atoms": len(first.atoms),
        "density": density,
        "seed": seed,
        "start": label,
        "start_hash": structure_hash(first.atoms),
        "shape": shape,
    }
    run = _Run(material, first, seed, config, Path(checkpoint) if checkpoint is not None else None)
    if resume:
        run.resume()
    run.advance(on_progress)
    return run.result()


def starting_network(
    recipe: Recipe,
    atoms: int,
    density: float | None,
    seed: int,
    start: str | os.PathLike[str] | ase.Atoms,
    shape: Shape,
) -> NetworkStructure:
    """The network that the first move starts from."""
    if density is not None and not 0.01 < density < 100.0:
        raise ValueError(f"density: expected g/cm^3 between 0.01 and 100, got {density}")
    if isinstance(start, ase.Atoms):
        return structure_network(start, recipe.network, density, shape)
    if os.fspath(start) == "crystal":
        return crystal_network(recipe.network, atoms, density, shape)
    if os.fspath(start) == "random":
        return random_network(recipe.network, atoms, density, seed)
    return structure_network(load_structure(start), recipe.network, density, shape)


def temperatures(recipe: Recipe) -> NDArray[np.float64]:
    """Temperature (K) of every move."""
    schedule = recipe.schedule
    return np.concatenate(
        [
            np.linspace(schedule.melt_from, schedule.melt_to, schedule.melt_moves),
            np.linspace(schedule.quench_from, schedule.quench_to, schedule.quench_moves),
        ]
    )


class _Run:
    """A run in progress; everything that its checkpoint holds."""

    def __init__(
        self,
        recipe: Recipe,
        first: NetworkStructure,
        seed: int,
        config: dict[str, Any],
        checkpoint: Path | None,
    ) -> None:
        self._recipe, self._first, self._config, self._checkpoint = recipe, first, config, checkpoint
        self._potential = recipe.potential.to_core(recipe.network.symbols)
        self._settings = _settings(recipe)
        self._switcher = _core.BondSwitcher(
            first.core_structure(recipe.network),
            first.core_network(recipe.network),
            self._potential,
            self._settings,
            seed,
        )
        self._temperatures = temperatures(recipe)
        self._energies: list[NDArray[np.float64]] = []
        self._accepted: list[NDArray[np.uint8]] = []
        self._saved = time.monotonic()

    @property
    def _moves(self) -> int:
        return int(self._switcher.counters[0])

    def advance(self, on_progress: Callable[[Progress], None] | None) -> None:
        """All moves that are left."""
        begin = time.perf_counter()
        try:
            while self._moves < len(self._temperatures):
                temperature = self._temperatures[self._moves : self._moves + _CHUNK]
                energies, accepted = self._switcher.run(temperature * KELVIN)
                self._energies.append(energies)
                self._accepted.append(accepted)
                if time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
                    self.save()
                if on_progress is not None:
                    on_progress(self._progress(float(accepted.mean()), time.perf_counter() - begin))
        except KeyboardInterrupt:
            self.save()
            raise

    def _progress(self, acceptance: float, seconds: float) -> Progress:
        return Progress(
            phase="melt" if self._moves <= self._recipe.schedule.melt_moves else "quench",
            moves=self._moves,
            total_moves=len(self._temperatures),
            temperature=float(self._temperatures[self._moves - 1]),
            energy_per_atom=self._switcher.energy * HARTREE_EV / len(self._first.atoms),
            acceptance=acceptance,
            seconds=seconds,
        )

    def save(self) -> None:
        """Write the checkpoint, complete or not at all."""
        if self._checkpoint is None:
            return
        switcher = self._switcher
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_npz(
            self._checkpoint,
            {
                "version": _CHECKPOINT_VERSION,
                "config": json.dumps(self._config, sort_keys=True),
                "cell": switcher.cell,
                "positions": switcher.positions,
                "neighbors": switcher.neighbors,
                "random": np.array(switcher.random, dtype=np.uint64),
                "energy": switcher.energy,
                "counters": np.array(switcher.counters, dtype=np.int64),
                "energies": np.concatenate([np.zeros(0), *self._energies]),
                "accepted": np.concatenate([np.zeros(0, dtype=np.uint8), *self._accepted]),
            },
        )
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Continue from the checkpoint, which must be of the same run."""
        if self._checkpoint is None or not self._checkpoint.is_file():
            raise FileNotFoundError(f"checkpoint: expected a file to resume from, got {self._checkpoint}")
        advice = "remove it to start anew"
        with intact(self._checkpoint, advice), np.load(self._checkpoint, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
            version = int(data["version"])
        if version != _CHECKPOINT_VERSION:
            raise ValueError(
                f"checkpoint {self._checkpoint}: expected version {_CHECKPOINT_VERSION}, got {version}"
            )
        _refuse_another_run(json.loads(str(data["config"])), self._config, self._checkpoint)
        elements, first = self._recipe.network, self._first
        species = first.core_structure(elements).species
        moves, accepted, forbidden, given_up, unconverged = (int(count) for count in data["counters"])
        self._switcher = _core.BondSwitcher.restore(
            _core.Structure(data["cell"], data["positions"], species),
            NetworkStructure(first.atoms, first.start, data["neighbors"]).core_network(elements),
            self._potential,
            self._settings,
            random=[int(word) for word in data["random"]],
            energy=float(data["energy"]),
            counters=(moves, accepted, forbidden, given_up, unconverged),
        )
        self._energies, self._accepted = [data["energies"]], [data["accepted"]]

    def result(self) -> AmorphousRun:
        """Relax once more, tightly, and describe."""
        elements, switcher = self._recipe.network, self._switcher
        species = self._first.core_structure(elements).species
        network = NetworkStructure(self._first.atoms, self._first.start, switcher.neighbors)
        tight = _core_relaxation(self._recipe.relaxation, self._recipe.relaxation.final_tolerance, 10000)
        positions, energy, force, steps, converged = _core.relax_network(
            _core.Structure(switcher.cell, switcher.positions, species),
            network.core_network(elements),
            self._potential,
            tight,
        )
        if not converged:
            raise RuntimeError(
                f"amorphous: the final relaxation did not end: largest force "
                f"{force * HARTREE_EV / BOHR_ANGSTROM:.2e} eV/A after {steps} steps"
            )
        atoms = ase.Atoms(
            self._first.atoms.get_chemical_symbols(),
            positions * BOHR_ANGSTROM,
            cell=switcher.cell * BOHR_ANGSTROM,
            pbc=True,
        )
        atoms.wrap()
        atoms.info.update(_description(self._config, energy * HARTREE_EV, self._moves))
        names = ("moves", "accepted", "forbidden", "given_up", "unconverged")
        return AmorphousRun(
            atoms=atoms,
            energy=energy * HARTREE_EV,
            energies=np.concatenate([np.zeros(0), *self._energies]) * HARTREE_EV,
            accepted=np.concatenate([np.zeros(0, dtype=np.uint8), *self._accepted]).astype(np.bool_),
            temperatures=self._temperatures,
            counters=dict(zip(names, (int(count) for count in switcher.counters), strict=True)),
        )


def _settings(recipe: Recipe) -> _core.SwitchingSettings:
    """The recipe's settings in atomic units."""
    relaxation = recipe.relaxation
    return _core.SwitchingSettings(
        relaxation=_core_relaxation(relaxation, relaxation.force_tolerance, relaxation.max_steps),
        give_up_factor=relaxation.give_up_factor * ANGSTROM**2 / EV,
        local_shells=relaxation.local_shells,
        local_steps=relaxation.local_steps,
        penalty_three=recipe.rings.three * EV,
        penalty_four=recipe.rings.four * EV,
        volume_interval=recipe.volume.interval,
        volume_step=recipe.volume.step,
        pressure=recipe.volume.pressure * GIGAPASCAL,
    )


def _core_relaxation(relaxation: Relaxation, tolerance: float, max_steps: int) -> _core.RelaxationSettings:
    return _core.RelaxationSettings(
        force_tolerance=tolerance * EV / ANGSTROM,
        max_steps=max_steps,
        max_displacement=relaxation.max_displacement * ANGSTROM,
        skin=relaxation.skin * ANGSTROM,
    )


def _description(config: dict[str, Any], energy: float, moves: int) -> dict[str, Any]:
    """What the comment line of the structure says."""
    name, atoms, seed = config["recipe"]["name"], config["atoms"], config["seed"]
    return {
        "source": f"amorphous-{name}-{atoms}-seed{seed}",
        "method": "bond switching",
        "recipe": name,
        "seed": seed,
        "start": config["start"],
        "moves": moves,
        "network_energy_ev": energy,
    }


def _refuse_another_run(stored: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """The checkpoint of a run with other settings would silently give another structure."""
    before, now = _flat(stored), _flat(wanted)
    different = [
        f"{key}: {before.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if different:
        raise ValueError(
            f"checkpoint {path}: expected the run that wrote it, got changed {'; '.join(different)}"
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested dicts and lists by their dotted path."""
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, (list, tuple)):
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {prefix: tree}
    return {
        path: leaf
        for key, value in items
        for path, leaf in _flat(value, f"{prefix}.{key}" if prefix else key).items()
    }
