"""Figures that a notebook shows without pyplot, which would keep them and choose a backend."""

from __future__ import annotations

from io import BytesIO

import matplotlib.figure
from matplotlib.backends.backend_agg import FigureCanvasAgg

_DPI = 80


class Figure(matplotlib.figure.Figure):
    """Of matplotlib, with a picture of its own."""

    def _repr_png_(self) -> bytes:
        """What IPython asks for."""
        content = BytesIO()
        FigureCanvasAgg(self).print_figure(content, dpi=_DPI, format="png")
        return content.getvalue()
