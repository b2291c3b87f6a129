"""A number of replicas as the external metric from which HPA computes just that number.

HPA computes for an external metric with an `AverageValue` target t, from a value v and r replicas (`GetExternalPerPodMetricReplicas`):

    ratio = v / (t r)
    nothing if 1 - tolerance <= ratio <= 1 + tolerance, else ceil(v / t)

With t = 1 every v in (wish - 1, wish] lands on `wish`; which one of them decides only whether HPA moves at all.

Down, the least of them is best. With the tolerance of 0.1 and v = wish a step of one replica is lost from r = 10 up (9 / 10 = 0.9); with
v = wish - 15/16 it is lost from r = 20 up (18.0625 / 20 > 0.9).

Up, no value helps: landing on `wish` needs v / t <= wish, hence ratio <= wish / r, whatever t is. So from r = 10 up a step of one is lost
unless the tolerance is 0: `behavior.scaleUp.tolerance: 0` of the HPA (Kubernetes 1.35, or 1.33 with the gate HPAConfigurableTolerance;
KEDA 2.18 hands it on), or `--horizontal-pod-autoscaler-tolerance=0` of the controller manager. A target of type `Value` has the same
tolerance, and multiplies by the pods that are ready instead of landing on a number.
"""

from __future__ import annotations

__all__ = ["TARGET", "metric_name", "metric_value"]

TARGET = 1
"""Replicas that one unit of the metric stands for: the HPA's average value."""

_BELOW = 0.9375
"""Taken off a wish to scale down. KEDA hands on whole thousandths, cut off: 1 - 15/16 = 0.0625 becomes 0.062, which is above 0 still."""


def metric_name(deployment: str) -> str:
    """Name of a Deployment's metric; KEDA puts `s0-` before it."""
    return f"gnnrl-{deployment}"


def metric_value(wish: int, current: int) -> float:
    """The metric's value from which HPA lands on `wish` replicas, and moves wherever some value makes it move.

    Args:
        wish: replicas wanted, at least 0.
        current: replicas now; if HPA sees others, it lands on `wish` all the same.
    """
    return wish - _BELOW if wish < current and wish > 0 else float(wish)
