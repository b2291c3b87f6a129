"""How far a training is: a bar where a person looks on, a plain line now and then where a file or a cluster's log does."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from gnnrl.printable import escaped, raw

__all__ = ["TrainingProgress"]

SHOWN: Mapping[str, str] = {"violating_share": "violating {:.1%}", "latency_s": "latency {:.3g} s"}
"""Metrics of the environments that are worth a place on the line, and how they are put."""

LINE_SECONDS = 10.0
"""Between two lines of a log."""


class TrainingProgress:
    """Steps, steps/s, reward, what the environment says of itself and time left.

    On a terminal one line that is rewritten; elsewhere a line at the first update, at the last, and every `LINE_SECONDS` between,
    flushed. Who reads it may go away (a closed terminal, `| head`): the training goes on and says no more.

    Args:
        total: environment steps of the whole training.
        start: steps done already.
        console: where to; None = standard error.
        enabled: False prints nothing.
        clock: seconds.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        console: Console | None = None,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(file=raw(sys.stderr))
        self._total, self._start, self._enabled, self._clock = total, start, enabled, clock
        self._began: float | None = None
        self._last = 0.0
        watched = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._bar = _bar(self._console) if enabled and watched else None
        if self._bar is not None:
            self._task = self._bar.add_task(
                "", total=total, completed=start, phase="training", rate="", reward="", metrics=""
            )

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):  # the terminal has been closed
                self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line: above the bar, or among the others."""
        if self._bar is not None:
            self._bar.console.print(Text(escaped(line)))
        else:
            self._print(line)

    def advance_to(self, steps: int, statistics: Mapping[str, float], metrics: Mapping[str, float]) -> None:
        """Show where the training stands."""
        rate = f"{statistics['steps_per_second']:,.0f} steps/s"
        reward = f"reward {statistics['reward']:.4g}"
        shown = [text.format(metrics[name]) for name, text in SHOWN.items() if name in metrics]
        if self._bar is not None:
            self._bar.update(self._task, completed=steps, rate=rate, reward=reward, metrics=" ".join(shown))
            return
        now = self._clock()
        first = self._began is None
        if self._began is None:
            self._began = now - (steps - self._start) / statistics["steps_per_second"]
        if first or now - self._last >= LINE_SECONDS or steps >= self._total:
            self._last = now
            left = (self._total - steps) * (now - self._began) / max(steps - self._start, 1)
            done = f"{steps:,} of {self._total:,} steps ({100 * steps / self._total:.0f} %)"
            self._print(", ".join([done, reward, *shown, rate, f"{_in_words(max(left, 0.0))} left"]))

    def _print(self, line: str) -> None:
        if not self._enabled:
            return
        try:
            print(escaped(line), file=self._console.file, flush=True)
        except OSError:
            self._enabled = False


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[phase]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[reward]}"),
        TextColumn("{task.fields[metrics]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _in_words(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
