"""What a training writes while it goes on: scalars by step, a row a checkpoint, and where it stands."""

from gnnrl.logs.checkpoint_table import CheckpointTable
from gnnrl.logs.progress import TrainingProgress
from gnnrl.logs.run_log import RunLog

__all__ = ["CheckpointTable", "RunLog", "TrainingProgress"]
