"""The progress bar of a training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from gnnrl.printable import escaped, raw

__all__ = ["TrainingProgress"]


SHOWN: Mapping[str, str] = {"violating_share": "violating {:.1%}", "latency_s": "latency {:.3g} s"}
"""Metrics of the environments that are worth a place on the line, and how they are put."""


class TrainingProgress:
    """Steps, steps/s, reward, what the environment says of itself and time left, on one line that is rewritten.

    Args:
        total: environment steps of the whole training.
        start: steps done already.
        console: where to; None = standard error.
        enabled: False prints nothing.
    """

    def __init__(self, total: int, start: int = 0, console: Console | None = None, enabled: bool = True) -> None:
        self._console = console or Console(file=raw(sys.stderr))
        self._progress = Progress(
            TextColumn("{task.fields[phase]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[reward]}"),
            TextColumn("{task.fields[metrics]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not enabled,
        )
        self._task: TaskID = self._progress.add_task(
            "", total=total, completed=start, phase="training", rate="", reward="", metrics=""
        )

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self._progress.disable:
            self._progress.console.print(Text(escaped(line)))

    def advance_to(self, steps: int, statistics: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """Show where the training stands."""
        shown = [text.format(metrics[name]) for name, text in SHOWN.items() if name in metrics]
        self._progress.update(
            self._task,
            completed=steps,
            rate=f"{statistics['steps_per_second']:,.0f} steps/s",
            reward=f"reward {statistics['reward']:.4g}",
            metrics=" ".join(shown),
        )
