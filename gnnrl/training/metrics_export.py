"""What a training logged, as one table: a row a step, a column a series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from gnnrl.column_files import write_csv, write_parquet
from gnnrl.logs.run_log import RECORD
from gnnrl.training.run_folder import RunError

__all__ = ["MetricsExporter"]

STEP = "step"

Scalars = dict[str, float]


class MetricsExporter:
    """The scalars of a run that has been trained, is being trained, or was cut off.

    Args:
        run: its folder, or a file in it.

    Attributes:
        steps: environment steps at which something was logged, rising.
        series: names of the scalars, in the order in which they first appear.

    Raises:
        RunError: there is nothing of this name, nothing was logged there, or a line is not what a training writes.
    """

    def __init__(self, run: Path) -> None:
        if not run.exists():
            raise RunError(f"{run}: no such run or checkpoint")
        self.path = (run if run.is_dir() else run.parent) / RECORD
        if not self.path.is_file():
            raise RunError(f"{run}: has no {RECORD}; name the folder of a run, as gnnrl train makes it")
        self._rows = _rows(self.path)
        self.steps = sorted(self._rows)
        self.series = list(dict.fromkeys(name for step in self.steps for name in self._rows[step]))

    def columns(self, patterns: Sequence[str] = ("*",)) -> dict[str, list[int] | list[float | None]]:
        """`step` and the series that match a pattern, name -> values; None at steps that have none.

        Args:
            patterns: such as `train/*`, with `*`, `?` and `[...]`, or whole names. Steps at which none of them was logged are left out.

        Raises:
            RunError: a pattern that matches nothing.
        """
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self.series):
                raise RunError(
                    f"{self.path}: no series matches {pattern!r}; there are {', '.join(self.series) or 'none'}"
                )
        wanted = [name for name in self.series if any(fnmatchcase(name, pattern) for pattern in patterns)]
        steps = [step for step in self.steps if any(name in self._rows[step] for name in wanted)]
        return {STEP: steps} | {name: [self._rows[step].get(name) for step in steps] for name in wanted}

    def write_csv(self, path: Path, patterns: Sequence[str] = ("*",)) -> None:
        """Writes `columns` as CSV; empty where there is no value."""
        write_csv(path, self.columns(patterns))

    def write_parquet(self, path: Path, patterns: Sequence[str] = ("*",)) -> None:
        """Writes `columns` as Parquet; null where there is no value.

        Raises:
            ParquetMissingError: pyarrow is not installed.
        """
        write_parquet(path, self.columns(patterns))


def _rows(path: Path) -> dict[int, Scalars]:
    """Step -> scalars. Validation and training log the same step in lines of their own; what is said twice holds as said last."""
    rows: dict[int, Scalars] = {}
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    # Without its newline a line is still being written, or its writer was killed.
    if last and last.endswith("}"):
        lines.append(last)
    for number, line in enumerate(lines, start=1):
        try:
            scalars = json.loads(line)
            step = int(scalars.pop(STEP))
            rows.setdefault(step, {}).update((str(name), float(value)) for name, value in scalars.items())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path}: line {number} is no logged step ({error or type(error).__name__})") from error
    return rows
