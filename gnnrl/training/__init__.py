"""The training loop, its folder, its checkpoints and its logs."""

from gnnrl.training.metrics_export import MetricsExporter
from gnnrl.training.run_folder import RunFolder
from gnnrl.training.trainer import Trainer, TrainingInterrupted

__all__ = ["MetricsExporter", "RunFolder", "Trainer", "TrainingInterrupted"]
