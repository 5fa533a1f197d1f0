"""Predictions: a model file and a System -> dH (and H = H_Harris + dH) on the System's Pattern."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.common.choices import Precision, check_choice
from mlh.dft.integrations import DEFAULT_INTEGRATION
from mlh.dft.terms.contract import Derivative
from mlh.matrix.kpoints import KPointsSpec
from mlh.model.card import ModelCard, ModelError, read_model
from mlh.model.domain import OutOfDomainWarning, charge_notes, domain_notes
from mlh.model.mesh import mesh_of_card
from mlh.model.term import PredictedTerm
from mlh.network.blocks import Blocks, data_from_blocks
from mlh.network.contract import HamiltonianNetwork, prepare
from mlh.network.devices import Ranks, pick_device
from mlh.network.gradient import network_gradient
from mlh.network.graph import GraphInput, graph_from_system
from mlh.network.topology import Topology

if TYPE_CHECKING:
    from mlh.basis.species import Basis
    from mlh.dft.system import System
    from mlh.matrix.block_matrix import BlockMatrix


KAPPA = 0.55
"""Share of the estimated energy error that is error, of models whose card does not tell: that of sio2-vo on
unseen glasses and vacancies (docs/accuracy.md)."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """dH (nnz,) in Hartree, the mean of both spins, and half of up minus down, None without spin; notes: what
    the training set did not have of the structure; wall time."""

    dh: NDArray[np.float64]
    notes: tuple[str, ...]
    seconds: float = 0.0
    spin_dh: NDArray[np.float64] | None = None

    @property
    def spins(self) -> NDArray[np.float64]:
        """dH by spin, (1 or 2, nnz)."""
        if self.spin_dh is None:
            return self.dh[None]
        return np.stack([self.dh + self.spin_dh, self.dh - self.spin_dh])


class Model:
    """A trained network with its card: what `mlh.MLHCalculator` uses."""

    def __init__(self, network: HamiltonianNetwork, card: ModelCard, source: str = "") -> None:
        self.network, self.card, self.source = network, card, source
        self.last: Prediction | None = None

    def __repr__(self) -> str:
        error = self.card.metrics.get("mae_mev")
        return f"Model({self.source!r}, {', '.join(self.card.basis.species)}, test MAE {error} meV)"

    def _repr_html_(self) -> str:
        return self.card._repr_html_()

    @property
    def cutoff_ry(self) -> float:
        """Grid cutoff of the labels, Rydberg."""
        return float(self.card.settings["cutoff_ry"])

    @property
    def xc(self) -> str:
        """Functional of the labels."""
        return str(self.card.settings["xc"])

    @property
    def kpts(self) -> KPointsSpec:
        """k points of the labels, a spacing for the cell at hand where they are more than Gamma.

        ModelError where the card, one of before, does not say in which cells its labels had theirs.
        """
        mesh = mesh_of_card(self.card.settings, self.card.k_mesh)
        if mesh is None:
            labels = self.card.settings.get("kpts", "unknown")
            raise ModelError(
                f"kpts: the labels of the model have the k points {labels}, and its card does not say in "
                "which cells: give a mesh (kpts)"
            )
        return mesh

    @property
    def smearing_ev(self) -> float | None:
        """Width of the occupations of the labels, eV; None: integer ones."""
        width = self.card.settings.get("smearing_ev")
        return None if width is None else float(width)

    @property
    def smearing(self) -> str:
        """Occupation function of the labels."""
        return str(self.card.settings.get("smearing", "fermi-dirac"))

    @property
    def usual_residual(self) -> float | None:
        """Largest rms of H[D] - H_predicted (eV) on samples of the test set; None for models without."""
        physics = self.card.metrics.get("physics") or {}
        value = physics.get("residual_rms_largest_ev")
        return None if value is None else float(value)

    @property
    def kappa(self) -> float:
        """Share of `energy_error` that is error, on samples of the test set: what corrects the energy."""
        physics = self.card.metrics.get("physics") or {}
        return float(physics.get("kappa", KAPPA))

    @property
    def integration(self) -> str:
        """Integration method of the labels (`mlh.dft.integrations`)."""
        return str(self.card.settings.get("integration", DEFAULT_INTEGRATION))

    @cached_property
    def basis(self) -> Basis:
        """The Basis of the labels, loaded by name; refused when its radial functions are others."""
        from mlh.basis.families import load_basis

        record = self.card.basis
        basis = load_basis(record.name, record.orbitals).subset(record.species)
        self.check_basis(basis)
        return basis

    def check_basis(self, basis: Basis) -> None:
        """Raise ModelError unless every species of `basis` has exactly the radial functions of the labels."""
        for species in basis.species:
            known = self.card.basis.species.get(species.symbol)
            if known is None:
                raise ModelError(
                    f"basis: the model knows {', '.join(self.card.basis.species)}, got {species.symbol} too"
                )
            if known.digest != species.digest:
                raise ModelError(
                    f"basis: {species.symbol} has other radial functions ({species.orbital_label}, "
                    f"{species.digest[:12]}) than the model was trained with (basis {self.card.basis.name}, "
                    f"{known.digest[:12]}): use model.basis"
                )

    @property
    def charged(self) -> bool:
        """Whether it knows the charge and the moment of a cell."""
        return self.network.charged

    def predict(self, system: System, moment: float = 0.0) -> BlockMatrix:
        """dH = H - H_Harris as a BlockMatrix on system.pattern; warns outside the domain of training.

        moment: N_up - N_down of a system of two spins.
        """
        from mlh.matrix.block_matrix import BlockMatrix

        self.check_basis(system.basis)
        if system.nspin != 1 and not self.charged:
            raise ModelError(f"system: expected nspin = 1 (spin-unpolarised model), got {system.nspin}")
        if system.charge and not self.charged:
            raise ModelError(f"system: expected charge 0 (the model is neutral), got {system.charge:+g}")
        if moment and system.nspin == 1:
            raise ModelError(f"moment: expected 0 in a system of one spin, got {moment:g}")
        if system.xc != self.xc:
            raise ModelError(f"system: expected the functional of the labels, {self.xc}, got {system.xc}")
        self.last = self.predict_graph(graph_from_system(system, moment))
        notes = (*self.last.notes, *charge_notes(system.charge, self.card.charges))
        for note in notes:
            warnings.warn(note, OutOfDomainWarning, stacklevel=2)
        spins = np.broadcast_to(self.last.spins, (system.nspin, system.pattern.nnz))
        return BlockMatrix(system.pattern, np.ascontiguousarray(spins))

    @property
    def differentiable(self) -> bool:
        """Always: `term` has the derivative."""
        return True

    def term(self, system: System) -> PredictedTerm:
        """The prediction without spin as a term of the Hamiltonian, differentiated by back-propagation."""
        graph = graph_from_system(system)
        return PredictedTerm(
            self.predict(system), lambda Z: Derivative(*network_gradient(self.network, graph, Z))
        )

    def predict_graph(self, graph: GraphInput) -> Prediction:
        """dH of a graph, without gradients; pairs are processed in chunks."""
        start = time.perf_counter()
        weight = next(self.network.parameters())
        with torch.no_grad():
            topology, geometry = prepare(self.network, graph, weight.dtype, keep_frames=False)
            topology, geometry = topology.to(weight.device), geometry.to(weight.device)
            blocks = self.network(topology, geometry)
            data = self._flat(topology, blocks)
            half = None if blocks.spin is None else self._flat(topology, blocks.spin)
        seconds = time.perf_counter() - start
        return Prediction(data, tuple(domain_notes(graph, self.card.closest)), seconds, half)

    def _flat(self, topology: Topology, blocks: Blocks) -> NDArray[np.float64]:
        data: NDArray[np.float64] = (
            data_from_blocks(topology, blocks, self.network.orbitals).double().cpu().numpy()
        )
        return data


def load_model(name: str | os.PathLike[str], device: str = "cpu", precision: Precision = "float64") -> Model:
    """Model by path or shipped name. device: "cpu", "cuda", "cuda:N"; precision: "float64" (default) or
    "float32".
    """
    check_choice("precision", precision, Precision)
    target = pick_device(device, Ranks())
    network, card = read_model(name, torch.float32 if precision == "float32" else torch.float64)
    return Model(network.to(target), card, str(name))


def predict(model: Model, system: System) -> BlockMatrix:
    """H = H_Harris + dH of a System."""
    return system.harris_hamiltonian() + model.predict(system)
