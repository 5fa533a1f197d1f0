"""Tables as HTML, for what a notebook shows of a result (`_repr_html_`)."""

from __future__ import annotations

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
