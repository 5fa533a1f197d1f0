"""What a model is, in words for a person: its card, and the description that lies beside its file.

    sio2-vo.npz     weights and card
    sio2-vo.toml    title, licence, structures, perturbations, errors by size, limits (optional)

A description of one's own model is read too: quartz.toml beside quartz.npz.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from mlh.common.html import Section, page
from mlh.common.units import BOHR_ANGSTROM
from mlh.model.card import SHIPPED, ModelCard, ModelError, find_model, read_card

NOT_SAID = "not said"


@dataclass(frozen=True)
class ErrorRow:
    """Mean absolute errors against DFT at equal geometries of structures that the model has not seen."""

    structures: str
    atoms: int
    refine: int
    h_mev: float
    density_e_a3: float
    energy_mev_per_atom: float
    force_mev_a: float


@dataclass(frozen=True)
class ModelDescription:
    """A model by name, with what its card and the file beside it say."""

    name: str
    path: Path
    card: ModelCard
    title: str = ""
    licence: str = ""
    structures: Sequence[str] = ()
    perturbations: Sequence[str] = ()
    limits: Sequence[str] = ()
    examples: Sequence[str] = ()
    errors: Sequence[ErrorRow] = ()

    @property
    def elements(self) -> str:
        """Symbols: O Si."""
        return " ".join(chemical_symbols[z] for z in self.card.elements)

    def plain(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        words = ("title", "licence", "structures", "perturbations", "limits", "examples")
        return {
            "name": self.name,
            "path": str(self.path),
            **{word: getattr(self, word) for word in words},
            "errors": [asdict(row) for row in self.errors],
            "card": json.loads(self.card.as_json()),
        }

    def sections(self) -> list[Section]:
        """The same as tables."""
        said = [
            (word, "; ".join(getattr(self, word)) or NOT_SAID) for word in ("structures", "perturbations")
        ]
        head = Section(
            f"{self.name}: {self.title}" if self.title else self.name,
            [
                ("elements", self.elements),
                ("licence", self.licence or NOT_SAID),
                *said,
                *_limits(self.limits),
            ],
        )
        return [head, *card_sections(self.card), *_errors(self.errors)]

    def _repr_html_(self) -> str:
        return page(self.sections())


def shipped_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.npz"))


def described_model(name: str | os.PathLike[str]) -> ModelDescription:
    """A shipped model by its name, or a model file."""
    path = find_model(name)
    words = path.with_suffix(".toml")
    try:
        said = tomllib.loads(words.read_text(encoding="utf-8")) if words.is_file() else {}
        rows = tuple(ErrorRow(**row) for row in said.pop("errors", ()))
        return ModelDescription(str(name), path, read_card(path), errors=rows, **said)
    except (tomllib.TOMLDecodeError, TypeError, UnicodeDecodeError) as error:
        raise ModelError(f"{words}: {error}") from error


def card_sections(card: ModelCard) -> list[Section]:
    """Labels, training, network and errors on the test set, as the card has them."""
    pairs = [(_symbols(pair), f"{r * BOHR_ANGSTROM:.2f}") for pair, r in card.closest.items()]
    near = [("closest atoms in the data, A", ", ".join(f"{a} {r}" for a, r in pairs))] if pairs else []
    return [
        Section("labels", _labels(card)),
        Section("training", [*_training(card), *near]),
        Section("errors on the test set", _test_rows(card.metrics)),
    ]


def card_html(card: ModelCard) -> str:
    """A card without a file."""
    elements = " ".join(chemical_symbols[z] for z in card.elements)
    return page([Section(f"model of {elements}", [("basis", card.basis.name)]), *card_sections(card)])


def _labels(card: ModelCard) -> list[tuple[str, str]]:
    """The protocol of the calculations that were learned."""
    settings = card.settings
    orbitals = [
        f"{symbol} {record.cutoff:g} Bohr, shells {' '.join('spdf'[l] for l in record.shells)}"
        for symbol, record in card.basis.species.items()
    ]
    smearing = settings.get("smearing_ev")
    return [
        ("basis", f"{card.basis.name}: {'; '.join(orbitals)}"),
        ("functional", str(settings.get("xc", NOT_SAID))),
        ("grid cutoff, Ry", _number(settings.get("cutoff_ry"))),
        ("k points", _k_points(card)),
        *([("charges", _charges(card))] if card.charges else []),
        ("occupations", "integer" if smearing is None else f"{settings.get('smearing')}, {smearing} eV"),
        ("energy converged to, Ha", _number(settings.get("energy_tol"))),
        ("Hamiltonian converged to, Ha", _number(settings.get("residual_tol"))),
    ]


def _charges(card: ModelCard) -> str:
    """Numbers of training structures by charge."""
    return ", ".join(f"{charge}: {number}" for charge, number in card.charges.items())


def _k_points(card: ModelCard) -> str:
    if card.k_mesh:
        kind = "" if card.k_mesh.get("gamma", True) else ", Monkhorst-Pack"
        return f"spacing {card.k_mesh['spacing']:g} 1/A{kind}"
    size = card.settings.get("kpts", (1, 1, 1))
    return "Gamma" if list(size) == [1, 1, 1] else str(size)


def _training(card: ModelCard) -> list[tuple[str, str]]:
    metrics = card.metrics
    network = card.network.model_dump(mode="json")
    shown = ("features", "channels", "lmax", "layers", "message_cutoff", "density_cutoff")
    sizes = ", ".join(f"{name} {network[name]}" for name in shown if network.get(name) is not None)
    return [
        ("network", f"{card.network.architecture}: {sizes}" if sizes else card.network.architecture),
        ("structures of the last training", _number(metrics.get("n_train"))),
        ("steps", _number(metrics.get("steps"))),
        ("minutes", _number(metrics.get("minutes"))),
        ("data set", card.dataset[:12]),
        ("made", f"{card.created or NOT_SAID}, mlh {card.versions.get('mlh', NOT_SAID)}"),
    ]


def _test_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Matrix elements by the number of atoms, and what follows from them."""
    test, physics = metrics.get("test") or {}, metrics.get("physics") or {}
    rows = [("structures", _number(test.get("n_samples"))), ("H, meV", _number(test.get("mae_mev")))]
    rows += [(f"H of {n} atoms, meV", _number(e)) for n, e in (test.get("by_size") or {}).items()]
    names = {
        "energy_mae_mev_per_atom": "energy, meV/atom",
        "force_mae_mev_a": "forces, meV/A",
        "density_mae_e_a3": "density, e/A^3",
        "gap_mae_mev": "gap, meV",
        "residual_rms_ev": "residual (rms), eV",
    }
    return rows + [(text, _number(physics[key])) for key, text in names.items() if key in physics]


def _errors(rows: Sequence[ErrorRow]) -> list[Section]:
    if not rows:
        return []
    head = (
        "unseen structures",
        "atoms",
        "refine",
        "H meV",
        "density e/A^3",
        "energy meV/atom",
        "force meV/A",
    )
    body = [
        (
            *(row.structures, str(row.atoms), str(row.refine), f"{row.h_mev:.3f}", f"{row.density_e_a3:.1e}"),
            *(f"{row.energy_mev_per_atom:.3f}", f"{row.force_mev_a:.1f}"),
        )
        for row in rows
    ]
    note = "Mean absolute errors against DFT at equal geometries; energies E[D], plain forces."
    return [Section("errors by size", body, head, note)]


def _limits(limits: Sequence[str]) -> list[tuple[str, str]]:
    return [("limits", "; ".join(limits))] if limits else []


def _symbols(pair: str) -> str:
    """O-Si of "8-14"."""
    return "-".join(chemical_symbols[int(z)] for z in pair.split("-"))


def _number(value: Any) -> str:
    return NOT_SAID if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
