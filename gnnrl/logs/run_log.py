"""TensorBoard and a plain line-by-line record of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from gnnrl.whole_file import write_text

__all__ = ["RECORD", "TENSORBOARD", "RunLog"]

RECORD = "training.jsonl"
"""One JSON object a line: `step` and scalars by name. What is said of a step twice holds as it was said last."""
TENSORBOARD = "tensorboard"
"""Folder of the event files."""

COMPARED = ("train/episode_return", "train/episode_length", "train/reward")
"""Scalars that TensorBoard sets beside the hyper-parameters, whatever the training."""


class RunLog:
    """Scalars of one run, as TensorBoard events and as lines of `training.jsonl`.

    Args:
        folder: of the run.
        resume_step: scalars after this step are dropped: they belong to a stretch that is trained again. None = a new record.
        settings: hyper-parameters, nested as they are; TensorBoard shows them by their dotted paths.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, resume_step: int | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self.path = folder / RECORD
        kept = []
        if resume_step is not None and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= resume_step]
        write_text(self.path, "".join(f"{line}\n" for line in kept))
        purge = None if resume_step is None else resume_step + 1
        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=purge)
        events: Any = self._writer.file_writer
        if settings:
            for summary in hparams(dict(_leaves(settings)), dict.fromkeys(COMPARED, 0.0)):
                events.add_summary(summary)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values at an environment step; those that are not finite are left out of the line."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def _step_of(line: str) -> float:
    # A process killed while writing leaves half a line; it is of a stretch that is trained again.
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Dotted path -> value, as the plugin takes it: what is neither a number nor a word is put in words."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, bool | int | float | str) else str(value)
