"""What a training logged, read back and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from gnnrl.evaluation.canvas import ACCENT, INK, Panel, Picture, count_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["learning_curve", "read_training_log", "rises", "smoothed_curve"]

Floats = NDArray[np.float64]

PARTS = 10
"""Of a curve, of which the means are compared."""
CLEAR = 3.5
"""Deviations by which a curve's second half must be above its first tenth. Of curves that do not rise at all two in a hundred pass,
whether or not a value resembles the one before."""


def read_training_log(run: Path) -> list[dict[str, Any]]:
    """The scalars of `training.jsonl` in a run's folder, one mapping a logged step; empty where there is none."""
    log = run / "training.jsonl"
    if not log.is_file():
        return []
    lines = log.read_text(encoding="utf-8").splitlines()
    # The last line is half written where a training was killed.
    return [json.loads(line) for line in lines if line.endswith("}")]


def learning_curve(
    log: Sequence[Mapping[str, Any]], wanted: Mapping[str, str], bounds: Mapping[str, float] | None = None
) -> Picture | None:
    """Scalars over environment steps, a panel each; None where none of them was logged twice.

    Args:
        log: one mapping a logged step.
        wanted: name of a scalar -> title of its panel.
        bounds: name of a scalar -> the best it can be, a dotted line.
    """
    found = {name: [(row["step"], row[name]) for row in log if name in row] for name in wanted}
    found = {name: points for name, points in found.items() if len(points) > 1}
    if not found:
        return None
    panels = [
        Panel(draw=partial(_draw, points, wanted[name], (bounds or {}).get(name)), width=4.2, height=2.5)
        for name, points in found.items()
    ]
    return Picture(panels, columns=min(3, len(panels)))


def _draw(points: Sequence[tuple[float, float]], title: str, bound: float | None, axis: Axes) -> None:
    steps, values = np.array(points, dtype=np.float64).T
    axis.plot(steps, values, color="#93c5fd", linewidth=0.8)
    axis.plot(steps, smoothed_curve(points)[1], color=ACCENT, linewidth=1.6)
    if bound is not None:
        axis.axhline(bound, color=INK, linewidth=0.9, linestyle=":")
    axis.set_title(title)
    axis.set_xlabel("environment steps")
    count_ticks(axis.xaxis)
    axis.xaxis.set_major_formatter(FuncFormatter(_steps))


def _steps(value: float, _: object) -> str:
    """A number of steps, as short as it is exact."""
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def smoothed_curve(points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """(steps, values) of a logged scalar, values as running means over a twentieth of the curve."""
    steps, values = np.array(points, dtype=np.float64).T
    kernel = np.ones(max(1, len(values) // 20))
    return steps, np.convolve(values, kernel, mode="same") / np.convolve(np.ones(len(values)), kernel, mode="same")


def rises(values: Floats) -> bool:
    """Whether a logged scalar [n] rose by more than its noise: the mean of its second half over that of its first tenth, in deviations as
    the tenths of the second half differ from one to the next."""
    tenths = np.array([part.mean() for part in np.array_split(values, min(PARTS, len(values)))])
    late = tenths[len(tenths) // 2 :]
    rise = float(late.mean() - tenths[0])
    noise = float(np.sqrt(np.mean(np.diff(late) ** 2) / 2.0 * (1.0 + 1.0 / len(late)))) if len(late) > 1 else np.inf
    return rise > CLEAR * noise and rise > 0.0
