"""Experiments on the queue-routing model: typed requests, replicas with queues, one choice an arrival."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len

from gnnrl.config.checked import Checked
from gnnrl.config.experiment import Experiment

__all__ = ["QueueRoutingConfig", "QueueRoutingEvaluation", "QueueRoutingExperiment"]

Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]
Probability = Annotated[float, Ge(0.0), Le(1.0)]


@dataclass(frozen=True, kw_only=True)
class QueueRoutingConfig(Checked, section="environment"):
    """The routing environment."""

    types: Annotated[tuple[str, ...], Len(1)] = ("A", "B")
    """Types of requests."""
    arrival_rates: Annotated[tuple[Positive, ...], Len(1)] = (6.0, 6.0)
    """Requests/s of each type."""
    service_rates: Annotated[tuple[tuple[Positive, ...], ...], Len(1)] = ((10.0, 5.0), (5.0, 10.0))
    """Requests/s that each replica serves of each type, a list per replica."""
    drawn_replicas: tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]] = (0, 0)
    """[low, high]: each episode has a system of its own with so many replicas, drawn rates and load; [0, 0] = always the one above."""
    drawn_rates: tuple[Positive, Positive] = (4.0, 12.0)
    """Range of the log-uniform service rates of drawn systems, requests/s."""
    drawn_load: tuple[Positive, Positive] = (0.4, 0.8)
    """Range of the load of drawn systems, as a share of what its fast replicas could serve together."""
    replica_changes_per_1000: NonNegative = 0.0
    """Replicas lost or added per 1,000 arrivals; one is always left."""
    max_replicas: Annotated[int, Ge(1)] = 2
    """Replica slots of the observation."""
    episode_arrivals: Annotated[int, Ge(1)] = 10_000
    """Choices an episode."""
    queue_weight: NonNegative = 1.0
    """Reward per request-second in the system, taken off."""
    routing_bonus: NonNegative = 0.1
    """Reward for a replica that is fastest for the request's type."""
    show_work: bool = False
    """Whether the expected work in each queue is shown, beside its length: the types in it are known then."""


@dataclass(frozen=True, kw_only=True)
class QueueRoutingEvaluation(Checked, section="evaluation"):
    """Held-out comparison with the routers people use."""

    seeds: Annotated[int, Ge(1)] = 64
    """Arrival streams, the same for every router."""
    arrivals: Annotated[int, Ge(1)] = 10_000
    """Requests a stream, after `warm_up` ones that are not measured."""
    warm_up: Annotated[int, Ge(0)] = 2_000
    """Requests routed before measuring begins."""
    against: tuple[str, ...] = ("random", "round_robin", "jsq", "sed", "sed_own_rate", "affinity", "oracle")
    """Routers run beside the policy."""
    replicas: tuple[Annotated[int, Ge(1)], ...] = ()
    """Also on drawn systems of so many replicas, never seen in training; none = on the configured one alone."""


@dataclass(frozen=True, kw_only=True)
class QueueRoutingExperiment(Experiment):
    """A queue-routing experiment, whole."""

    domain: Literal["queue_routing"] = "queue_routing"
    """Which system is controlled."""
    environment: QueueRoutingConfig = field(default_factory=QueueRoutingConfig)
    evaluation: QueueRoutingEvaluation = field(default_factory=QueueRoutingEvaluation)
