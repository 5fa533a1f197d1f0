"""Options that name defects: which, where, with which charges."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import typer

from mlh.structures import DefectName, PlacedDefect, choose_places


def parse_sites(text: str, option: str = "--sites") -> str | int | list[int]:
    """ "all", "inequivalent", a number ("20") or indices ("index:4,17")."""
    if text in ("all", "inequivalent"):
        return text
    try:
        if text.startswith("index:"):
            return [int(part) for part in text.removeprefix("index:").split(",")]
        return int(text)
    except ValueError:
        raise typer.BadParameter(
            f"expected all, inequivalent, a number or index:4,17, got {text!r}", param_hint=option
        ) from None


def chosen_defects(
    host: ase.Atoms, texts: Sequence[str], selection: str | int | list[int], seed: int
) -> tuple[PlacedDefect, ...]:
    """The places of every NAME, or NAME@SITES where it has sites of its own; each place once."""
    found: dict[PlacedDefect, None] = {}
    for text in texts:
        name, _, own = text.partition("@")
        sites = parse_sites(own, "--defect") if own else selection
        found |= dict.fromkeys(choose_places(host, DefectName.parse(name), sites, seed))
    return tuple(found)


def parse_charges(text: str) -> tuple[int, ...]:
    """-1..2, or 0,1,2: whole charges, each once, in order."""
    try:
        charges: list[int] = []
        for part in text.split(","):
            first, dots, last = part.partition("..")
            charges += range(int(first), int(last) + 1) if dots else [int(first)]
            if dots and int(last) < int(first):
                raise ValueError
    except ValueError:
        raise ValueError(f"--charges: expected a form such as -1..2 or 0,1,2, got {text!r}") from None
    return tuple(sorted(set(charges)))
