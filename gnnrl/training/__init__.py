"""The training of an experiment, and the folder that holds it."""

from gnnrl.agents.interruption import TrainingInterrupted
from gnnrl.training.metrics_export import MetricsExporter
from gnnrl.training.run_folder import RunFolder
from gnnrl.training.trainer import Trainer

__all__ = ["MetricsExporter", "RunFolder", "Trainer", "TrainingInterrupted"]
