"""`checkpoints.csv` of a run: a row a checkpoint, with the reward of its rollout and the newest validation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from gnnrl.whole_file import write_text

__all__ = ["TABLE", "CheckpointTable"]

TABLE = "checkpoints.csv"
"""Columns: step, reward, then the metrics of validation as they are named in the logs without `eval/`."""


class CheckpointTable:
    """The rows of one run; the file is replaced as a whole, so that a reader never meets half of it.

    Args:
        folder: of the run.
        resume_step: rows after this step are dropped: they belong to a stretch that is trained again. None = a new table.

    Attributes:
        newest: what the next row says, by column; a checkpoint keeps it, so that a row after a resumption says the same.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        self.path = folder / TABLE
        self._rows: list[dict[str, str]] = []
        if resume_step is not None and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= resume_step]
        self.newest: dict[str, str] = {} if not self._rows else {k: v for k, v in self._rows[-1].items() if k != "step"}

    def has(self, step: int) -> bool:
        """Whether the checkpoint of this step has its row."""
        return any(int(row["step"]) == step for row in self._rows)

    def note(self, values: Mapping[str, float]) -> None:
        """What the next row says, until it is said anew."""
        self.newest |= {name: f"{value:.8g}" for name, value in values.items()}

    def add(self, step: int) -> None:
        """Write the row of a checkpoint."""
        self._rows = [row for row in self._rows if int(row["step"]) < step]
        self._rows.append({"step": str(step), **self.newest})
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self._rows for name in row)
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())
