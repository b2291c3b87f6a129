"""What every picture of a report shares: its style, its panels, and how it becomes an inline SVG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ACCENT", "FAINT", "INK", "STYLE", "panels", "plt", "svg"]

INK, FAINT, ACCENT = "#1f2937", "#e5e7eb", "#2563eb"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "gnnrl",
}


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element that fits its container."""
    buffer = io.StringIO()
    # Without a date the same comparison gives the same file.
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def panels(
    count: int, *, width: float = 10.0, height: float = 2.9, columns: int = 2, gap: float = 0.22
) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes; sizes in inches, `height` of a row."""
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, min(columns, count), figsize=(width, height * rows), squeeze=False)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_axis_off()
    figure.subplots_adjust(hspace=0.5, wspace=gap)
    return figure, flat[:count]
