"""What every picture of a report shares: its style, its panels, its legend, and how it becomes inline SVG or a file."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.colors

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gnnrl.evaluation.theme import themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

__all__ = [
    "ACCENT",
    "FAINT",
    "INK",
    "REPLICA_COLOURS",
    "STYLE",
    "Panel",
    "Picture",
    "count_ticks",
    "palette",
    "plt",
]

INK, FAINT, ACCENT = "#1f2937", "#e5e7eb", "#2563eb"
BESIDE = ("#7c3aed", "#0891b2", "#db2777", "#4338ca", "#c026d3", "#0284c7", "#be185d", "#6d28d9")
"""Of trained policies beside the one in question."""
REPLICA_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0d9488", "#be185d", "#a16207", "#475569")
EXPORT_DPI = 150
PANEL_WIDTH = 5.0
"""Inches: at this width a panel's text has its own size on a telephone, where panels stand one below the other."""
LARGEST, POINTS = 1.6, 72.0
"""Times its own size a panel may be drawn, or its letters would be posters'; points of an inch, which a page calls pixels."""
LEGEND_COLUMNS = 5
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    # On a page the paper is the page's.
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10.5,
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


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One set of axes of a picture."""

    draw: Callable[[Axes], None]
    """Draws it, wherever it stands. What it gives a label to is in the picture's legend, once."""
    width: float = PANEL_WIDTH
    height: float = 3.0
    """Inches."""


class Picture:
    """Panels with one legend. On a page they stand side by side as far as there is room, in a file in so many columns.

    Args:
        panels: at least one, all of the same size.
        columns: side by side, at most.
    """

    def __init__(self, panels: Sequence[Panel], *, columns: int = 2) -> None:
        self._panels, self._columns = tuple(panels), columns

    @cached_property
    def _figure(self) -> Figure:
        """All panels in one figure."""
        first, columns = self._panels[0], min(self._columns, len(self._panels))
        rows = -(-len(self._panels) // columns)
        with plt.rc_context(STYLE):
            figure = _figure(columns * first.width, rows * first.height)
            grid = figure.subplots(rows, columns, squeeze=False)
            for axis in list(grid.flat)[len(self._panels) :]:
                axis.set_axis_off()
            for panel, axis in zip(self._panels, grid.flat, strict=False):
                panel.draw(axis)
            handles = _labelled(figure.axes)
            if handles:
                figure.legend(
                    handles.values(), handles.keys(), loc="outside upper left", ncols=LEGEND_COLUMNS, fontsize=9
                )
        return figure

    def html(self) -> str:
        """The legend, and an `<svg>` element a panel that fits its container."""
        drawn, handles = [], {}
        for panel in self._panels:
            with plt.rc_context(STYLE):
                figure = _figure(panel.width, panel.height)
                panel.draw(figure.subplots())
                handles.update({name: h for name, h in _labelled(figure.axes).items() if name not in handles})
                drawn.append(_svg(figure))
        legend = "".join(_key(name, handle) for name, handle in handles.items())
        legend = f"<div class='legend'>{legend}</div>" if legend else ""
        share = f"--columns:{min(self._columns, len(drawn))}"
        return f"{legend}<div class='panels' style='{share}'>{''.join(drawn)}</div>"

    def write_png(self, path: Path) -> None:
        """A PNG on white."""
        with plt.rc_context(STYLE):
            self._figure.savefig(path, format="png", dpi=EXPORT_DPI, facecolor="white", metadata={"Software": None})


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Without a date the same comparison gives the same file.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    widest = f"max-width:{LARGEST * POINTS * figure.get_figwidth():.0f}px"
    return themed(text[text.index("<svg") :].replace("<svg ", f'<svg style="{widest}" ', 1))


def _labelled(axes: Iterable[Axes]) -> dict[str, Any]:
    """What has a label, each once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    return found


def _key(name: str, handle: Any) -> str:
    """A legend's entry: a piece of line, or a dot, and the name."""
    line = handle if isinstance(handle, Line2D) else getattr(handle, "lines", (None,))[0]
    assert isinstance(line, Line2D), f"{name}: the legend shows lines and points"
    colour = matplotlib.colors.to_hex(line.get_color())
    if line.get_linestyle() in ("None", "none", "", " "):
        hollow = matplotlib.colors.to_hex(line.get_markerfacecolor()) == "#ffffff"
        look = f"<i class='{'ring' if hollow else 'dot'}' style='color:{themed(colour)}'></i>"
    else:
        dashed = "dashed" if line.is_dashed() else "solid"
        look = f"<i class='line' style='border-top:2px {dashed} {themed(colour)}'></i>"
    return f"<span>{look}{html.escape(name)}</span>"


def count_ticks(side: XAxis | YAxis) -> None:
    """Whole numbers along an axis of counts."""
    side.set_major_locator(MaxNLocator(6, integer=True))


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
