"""A model of water and its positive ion, from a configuration to energies of both charges."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest

from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.calculators.engines import ModelEngine
from mlh.dataset.store import Dataset, DatasetError
from mlh.labelling.build import build_dataset
from mlh.labelling.config import DatasetConfig
from mlh.labelling.plan import plan
from mlh.model.card import read_card
from mlh.model.domain import OutOfDomainWarning
from mlh.model.model import load_model
from mlh.structures import write_structure
from mlh.training.config import TrainingConfig
from mlh.training.run import train
from test_model_training import quiet

NETWORK = {
    "channels": 6,
    "lmax": 2,
    "layers": 1,
    "message_cutoff": 6.0,
    "n_radial": 4,
    "long_range_channels": 1,
    "pair_widths": (16, 12, 8, 6),
    "n_knots": 10,
    "charge_channels": 1,
}


def water() -> ase.Atoms:
    return ase.Atoms(
        "OH2", [[2.0, 2.0, 2.0], [2.97, 2.0, 2.1], [1.75, 2.95, 2.0]], cell=[4.2, 4.4, 4.0], pbc=True
    )


def configuration(folder: Path, charges: list[int] | None) -> DatasetConfig:
    write_structure(folder / "water.xyz", water())
    source = {"name": "water", "file": str(folder / "water.xyz"), "host": [{"copies": 7, "rattle": 0.05}]}
    more = {} if charges is None else {"charges": charges}
    engine = {"basis": "gth-pbe", "cutoff_ry": 60.0, "orbitals": {"O": "5.0-s2p2", "H": "5.0-s2"}}
    return DatasetConfig.model_validate({"name": "ions", "engine": engine, "sources": [{**source, **more}]})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ions")
    build_dataset(configuration(folder, [0, 1]), folder / "ions.h5", processes=1, threads=1)
    return folder / "ions.h5"


@pytest.fixture(scope="module")
def model(data: Path) -> Path:
    settings = {
        "dataset": data,
        "output": data.parent / "run",
        "network": NETWORK,
        "steps": 120,
        "evaluate_every_steps": 120,
        "threads": 1,
        "split": {"by": "random", "validation": 0.1, "test": 0.15},
        "physics_samples": 2,
        "optimizer": {"learning_rate": 0.01, "batch": 2},
    }
    result = train(TrainingConfig.model_validate(settings), quiet())
    assert result.test is not None and result.test.mae_mev < 0.3 * result.test.zero_mae_mev
    return result.model


def test_every_structure_is_labelled_in_every_charge(tmp_path: Path, data: Path) -> None:
    both, neutral = (plan(configuration(tmp_path, charges)) for charges in ([0, 1], None))
    assert [job.id for job in both][::2] == [job.id for job in neutral]
    assert both[1].id.rsplit("-", 1)[0] == "water-host0.0-q+1"
    assert both[1].engine.spin and both[1].engine.charge == 1.0 and not both[0].engine.spin
    np.testing.assert_array_equal(both[0].atoms.positions, both[1].atoms.positions)
    with Dataset(data) as found:
        assert found.verify() == [] and found.charges() == {0.0: 7, 1.0: 7} and found.polarised() == 7
        assert found._file.attrs["version"] == 2
        charged = next(sample for sample in found if sample.graph.charge)
        assert charged.graph.moment == 1.0 and charged.spins.shape == (2, charged.graph.nnz)
        found.require_trainable(charged=True)
        with pytest.raises(DatasetError, match=r"this network is neutral, got \+1; network.charge_channels"):
            found.require_trainable()


def test_the_model_knows_both_charges(model: Path) -> None:
    assert load_model(str(model)).charged and read_card(model).charges.keys() == {"0", "+1"}
    atoms = water()
    atoms.rattle(0.03, seed=5)
    energies: dict[str, list[float]] = {"model": [], "DFT": []}
    level = load_model(str(model))
    for charge in (0, 1):
        ours = MLHCalculator(level, charge=charge)
        theirs = DFTCalculator(level.basis, cutoff_ry=60.0, charge=charge)
        for name, calculator in (("model", ours), ("DFT", theirs)):
            atoms.calc = calculator
            energies[name].append(atoms.get_potential_energy())
            assert atoms.get_forces().shape == (3, 3)
            assert calculator.results["magmom"] == pytest.approx(charge)
        assert ours.results["forces_exact"] == (charge == 0)
    difference = [values[1] - values[0] for values in energies.values()]
    assert difference[0] == pytest.approx(difference[1], abs=0.1)


def test_what_a_model_does_not_know_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="charge: expected 0 with a model that knows neutral cells"):
        MLHCalculator("sio2-vo", charge=1)
    with pytest.raises(ValueError, match="total_moment: expected 0 with a model that knows neutral"):
        MLHCalculator("sio2-vo", total_moment=2.0)
    engine = ModelEngine(str(model)).charged(1)
    assert engine.describe()["charge"] == 1.0 and "charge" not in ModelEngine(str(model)).describe()
    assert engine.charged(0).charge == 0.0
    with pytest.raises(ValueError, match="neutral cells only"):
        ModelEngine("sio2-vo").charged(1)
    atoms = water()
    atoms.calc = MLHCalculator(str(model), charge=2)
    with pytest.warns(OutOfDomainWarning, match=r"charge \+2; the training set had 0, \+1"):
        atoms.get_potential_energy()
