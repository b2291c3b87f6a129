"""TensorBoard and a plain line-by-line record of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from gnnrl.training.run_folder import RunFolder

__all__ = ["RECORD", "RunLog"]

RECORD = "training.jsonl"
"""One JSON object a logged step: `step` and the scalars by name."""


class RunLog:
    """Scalars of one run, as TensorBoard events and as lines of `training.jsonl`.

    Args:
        run: the folder.
        resume_step: scalars after this step are dropped: they belong to a stretch that is trained again.
    """

    def __init__(self, run: RunFolder[Any], resume_step: int | None = None) -> None:
        self.path = run.path / RECORD
        purge = None if resume_step is None else resume_step + 1
        self._writer = SummaryWriter(str(run.tensorboard), purge_step=purge)
        kept = []
        if resume_step is not None and self.path.exists():
            lines = self.path.read_text().splitlines()
            kept = [line for line in lines if _step_of(line) <= resume_step]
        self.path.write_text("".join(f"{line}\n" for line in kept))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values at an environment step; those that are not finite are left out of the line."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        with self.path.open("a") as file:
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
