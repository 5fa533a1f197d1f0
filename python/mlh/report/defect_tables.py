"""Tables of charged defects for the terminal, from the plain values of defects.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlh.report.fitted_table import NO_VALUE, FittedTable, value_text


def conditions_table(
    conditions: Sequence[Mapping[str, Any]], references: Mapping[str, Any]
) -> RenderableType:
    """Chemical potentials of every condition."""
    elements = sorted({e for c in conditions for e in c["chemical_potentials"]})
    table = Table("conditions", *(f"mu {e} eV" for e in elements), title="chemical potentials")
    for c in conditions:
        table.add_row(c["name"], *(value_text(c["chemical_potentials"].get(e), 3) for e in elements))
    phases = ", ".join(f"{e} {references[e]['phase']}" for e in elements if e in references)
    return Group(table, Text(f"zero: {phases}", style="dim"))


def states_table(charged: Mapping[str, Any]) -> RenderableType:
    """Formation energies of every place and charge at the valence edge and in the middle of the gap."""
    more = [c["name"] for c in charged["conditions"][1:]]
    head = (
        *("defect", "E_f eV, E_F at the valence edge", "in mid-gap"),
        *(f"{name}, valence edge" for name in more),
        *("correction eV", "of it alignment", "spread V", "by planes (FNV) eV", "moment"),
    )
    rows = []
    for state in charged["states"]:
        energy, correction = state["energy"], state["correction"] or {}
        planar = state.get("correction_by_planes") or {}
        middle = None if energy is None else energy + state["charge"] * 0.5 * charged["gap"]
        others = [c["energies"].get(state["folder"]) for c in charged["conditions"][1:]]
        alignment = correction.get("alignment")
        rows.append(
            (
                str(state["folder"]),
                *(value_text(value, 3) for value in (energy, middle, *others)),
                value_text(correction.get("energy"), 3) if state["charge"] else NO_VALUE,
                value_text(None if alignment is None else -state["charge"] * alignment, 3),
                value_text(correction.get("spread"), 3),
                value_text(planar.get("energy"), 3) if state["charge"] else NO_VALUE,
                value_text(state["magnetic_moment"], 2),
            )
        )
    table = FittedTable(head, rows, f"charged defects, gap {charged['gap']:.3f} eV{uncorrected(charged)}")
    notes = [Text(note, style="red") for note in charged["notes"]]
    return Group(table, *notes, Text(charged["convention"], style="dim"))


def levels_table(charged: Mapping[str, Any]) -> RenderableType:
    """Transition levels of every place, and their spread over the places of a defect."""
    levels = Table("defect", "level", "eV above the valence edge", "", title="transition levels")
    for level in charged["levels"]:
        words = [] if level["stable"] else ["another charge is lower there"]
        words += [] if 0.0 <= level["level"] <= charged["gap"] else ["outside the gap"]
        levels.add_row(level["place"], level["name"], value_text(level["level"], 3), ", ".join(words))
    several = [spread for spread in charged["spreads"] if spread["number"] > 1]
    if not several:
        return levels
    table = Table("defect", "level", "places", "mean eV", "deviation", "from", "to", title="over the places")
    for s in several:
        values = (value_text(s[key], 3) for key in ("mean", "deviation", "smallest", "largest"))
        table.add_row(s["defect"], s["name"], str(s["number"]), *values)
    return Group(levels, table)


def coupling_table(coupling: Mapping[str, Any]) -> RenderableType:
    """W_if of the states around the gap, of the values of `mlh.defects.coupling`."""
    table = Table(
        *("band", "eV above the level of the defect", "electrons", "participation", "W_if", "of H and S"),
        title=f"W_if, {coupling['units']['W_if']}, band {coupling['band']} {coupling['spin']} with",
    )
    for state in coupling["states"]:
        values = (state[name] for name in ("energy", "occupation", "ratio", "w_if", "w_if_perturbation"))
        table.add_row(str(state["band"]), *(value_text(value, 4) for value in values))
    note = coupling["note"]
    return Group(table, *([] if note is None else [Text(note, style="red")]))


def uncorrected(charged: Mapping[str, Any]) -> str:
    """In titles, where a correction is missing."""
    return "" if charged["corrected"] else ", NOT CORRECTED for the size of the cell"
