"""The autoscalers that people use, and bounds: what every policy is compared with. numpy only."""

from gnnrl.domains.autoscaling.baselines.autoscaler import Autoscaler, Baseline, MeshTable, ReplicaBounds, Telemetry
from gnnrl.domains.autoscaling.baselines.feed_forward import FeedForward, teacher
from gnnrl.domains.autoscaling.baselines.hpa import HorizontalPodAutoscaler
from gnnrl.domains.autoscaling.baselines.kpa import KnativePodAutoscaler
from gnnrl.domains.autoscaling.baselines.oracle import Oracle
from gnnrl.domains.autoscaling.baselines.registry import BASELINES, Load, is_baseline, is_calibrated, make, make_with
from gnnrl.domains.autoscaling.baselines.simple import RandomMoves, StaticPeak

__all__ = [
    "BASELINES",
    "Autoscaler",
    "Baseline",
    "FeedForward",
    "HorizontalPodAutoscaler",
    "KnativePodAutoscaler",
    "Load",
    "MeshTable",
    "Oracle",
    "RandomMoves",
    "ReplicaBounds",
    "StaticPeak",
    "Telemetry",
    "is_baseline",
    "is_calibrated",
    "make",
    "make_with",
    "teacher",
]
