"""What a training logged, read back and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.evaluation.canvas import ACCENT, INK, STYLE, Picture, panels, plt

__all__ = ["learning_curve", "read_training_log", "smoothed_curve"]

Floats = NDArray[np.float64]


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
    with plt.rc_context(STYLE):
        figure, axes = panels(len(found), height=2.4, columns=min(3, len(found)))
        for axis, (name, points) in zip(axes, found.items(), strict=True):
            steps, values = np.array(points, dtype=np.float64).T
            axis.plot(steps / 1e3, values, color="#93c5fd", linewidth=0.8)
            axis.plot(steps / 1e3, smoothed_curve(points)[1], color=ACCENT, linewidth=1.6)
            if bounds and name in bounds:
                axis.axhline(bounds[name], color=INK, linewidth=0.9, linestyle=":")
            axis.set_title(wanted[name])
            axis.set_xlabel("thousand environment steps")
        return Picture(figure)


def smoothed_curve(points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """(steps, values) of a logged scalar, values as running means over a twentieth of the curve."""
    steps, values = np.array(points, dtype=np.float64).T
    kernel = np.ones(max(1, len(values) // 20))
    return steps, np.convolve(values, kernel, mode="same") / np.convolve(np.ones(len(values)), kernel, mode="same")
