"""Tables as HTML, for what a notebook shows of a result (`_repr_html_`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_CELL = "padding: 0.1em 0.8em; border: none;"


@dataclass(frozen=True)
class Section:
    """A table with a title; without `head`, pairs of a name and what there is to say of it."""

    title: str
    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    note: str = ""

    def as_html(self) -> str:
        """The table as HTML; numbers stand at the right."""
        head = "".join(f'<th style="{_CELL} text-align: left;">{escape(name)}</th>' for name in self.head)
        body = "".join(f"<tr>{_cells(row)}</tr>" for row in self.rows)
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        table = f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
        return f"<p><b>{escape(self.title)}</b></p>{table}{note}"


def page(sections: Iterable[Section]) -> str:
    """Several tables under each other."""
    return f"<div>{''.join(section.as_html() for section in sections)}</div>"


def _cells(row: Sequence[str]) -> str:
    aligned = (f"text-align: {'right' if _is_number(text) else 'left'};" for text in row)
    return "".join(f'<td style="{_CELL} {side}">{escape(text)}</td>' for side, text in zip(aligned, row))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def curve(title: str, values: Sequence[float], log: bool = False) -> str:
    """A small picture (SVG) of values over their numbers, with the first and the last one told."""
    heights = [math.log10(max(value, 1e-12)) if log else value for value in values]
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    x = [4 + 232 * k / max(1, len(heights) - 1) for k in range(len(heights))]
    points = " ".join(f"{px:.1f},{64 - 56 * (h - low) / span:.1f}" for px, h in zip(x, heights))
    scale = ", logarithmic" if log else ""
    text = f"{escape(title)}{scale}: {values[0]:.3g} to {values[-1]:.3g}"
    return (
        f'<figure style="display: inline-block; margin: 0.5em 1em 0 0;"><svg width="240" height="72" '
        f'style="border: 1px solid #bbb;"><polyline points="{points}" fill="none" stroke="#1f77b4" '
        f'stroke-width="1.5"/></svg><figcaption style="font-size: 85%;">{text}</figcaption></figure>'
    )
