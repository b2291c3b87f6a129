"""What every picture of a report shares: its style, its colours, its panels, and how it becomes an inline SVG or a file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ACCENT", "FAINT", "INK", "REPLICA_COLOURS", "STYLE", "Picture", "palette", "panels", "plt"]

INK, FAINT, ACCENT = "#1f2937", "#e5e7eb", "#2563eb"
BESIDE = ("#7c3aed", "#0891b2", "#db2777", "#4338ca", "#c026d3", "#0284c7", "#be185d", "#6d28d9")
"""Of trained policies beside the one in question."""
REPLICA_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0d9488", "#be185d", "#a16207", "#475569")
EXPORT_DPI = 150
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


class Picture:
    """A finished figure.

    Args:
        figure: drawn, and not drawn into any more.
    """

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        plt.close(figure)

    def svg(self) -> str:
        """An `<svg>` element that fits its container."""
        buffer = io.StringIO()
        # Without a date the same comparison gives the same file.
        with plt.rc_context(STYLE):
            self._figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        return text[text.index("<svg") :]

    def write_png(self, path: Path) -> None:
        """A PNG on white."""
        with plt.rc_context(STYLE):
            self._figure.savefig(
                path, format="png", dpi=EXPORT_DPI, bbox_inches="tight", facecolor="white", metadata={"Software": None}
            )


def palette(names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """A colour for each of `names`: the known one, and for the others, trained policies beside the one in question, one after the other."""
    others = 0
    found: dict[str, str] = {}
    for name in names:
        if name in known:
            found[name] = known[name]
        else:
            found[name] = BESIDE[others % len(BESIDE)]
            others += 1
    return found


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
