"""Experiments on routing requests to LLM inference replicas: one choice a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len

from gnnrl.config.checked import Checked
from gnnrl.config.experiment import Experiment

__all__ = ["DocumentedRewardConfig", "LLMRoutingConfig", "LLMRoutingEvaluation", "LLMRoutingExperiment"]

Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]


@dataclass(frozen=True, kw_only=True)
class DocumentedRewardConfig(Checked, section="environment.documented_reward"):
    """The three documented rewards, each the sum of its terms:

        delta    throughput change - latency_weight x latency change - balance - threshold
        instant  throughput - latency_weight x latency - balance - threshold
        hybrid   absolute + delta - balance - penalty

    The documents give the formulas, and the numbers marked "documented" below. What they leave open is decided so: throughput and mean
    latency are over the last 10 decisions, and the latency is 0 where nothing was completed in them; a change is against the last decision,
    0 at the first one; "normalised" is over target or threshold, for the changes of both; the queue lengths are those of the requests that
    wait in the replicas that are up, as reported; `delta` and `instant` are not normalised. Numbers not marked are this package's guesses.
    """

    throughput_target: Positive = 0.05
    """Completions/s that count as 1; documented."""
    latency_threshold: Positive = 6.0
    """Mean latency, seconds, that counts as 1 and above which is a penalty; documented."""
    latency_weight: NonNegative = 1.0
    """`delta`, `instant`: weight of the latency, or of its change, per second."""
    balance_weight: NonNegative = 0.1
    """All modes: weight of the coefficient of variation of the queue lengths, 0 where all are empty. The documents take it off without a
    weight, which would be 1."""
    threshold_scale: NonNegative = 1.0
    """`delta`, `instant`: largest penalty above the threshold, scale x (1 - exp(threshold - latency)); nothing below it."""
    absolute_weight: NonNegative = 0.8
    """`hybrid`: of throughput / target - alpha x latency / threshold; documented."""
    delta_weight: NonNegative = 0.2
    """`hybrid`: of beta x throughput change / target - gamma x latency change / threshold; documented."""
    alpha: NonNegative = 0.1
    """`hybrid`: of the latency in the absolute part; documented."""
    beta: NonNegative = 1.0
    """`hybrid`: of the throughput's change."""
    gamma: NonNegative = 1.0
    """`hybrid`: of the latency's change."""
    kappa: NonNegative = 1.0
    """`hybrid`: largest penalty, kappa / (1 + exp((threshold - latency) / sigma)); half of it at the threshold."""
    sigma: Positive = 1.0
    """`hybrid`: width of that penalty's edge, seconds."""


@dataclass(frozen=True, kw_only=True)
class LLMRoutingConfig(Checked, section="environment"):
    """The routing environment."""

    scenarios: tuple[str, ...] = ("B",)
    """Named cases, one of which each episode plays; none = the fleet and load of the next five fields."""
    time_factors: Annotated[tuple[Positive, ...], Len(1)] = (1.0, 1.0, 2.0, 2.0)
    """An iteration of each replica takes this many times the calibrated time."""
    arrivals: Literal["poisson", "gamma", "vidur_poisson"] = "poisson"
    """Arrival process."""
    qps: Positive = 13.0
    """Requests/s."""
    cv: Positive = 1.0
    """Coefficient of variation of `gamma` gaps; 1 is Poisson, more is bursts."""
    lengths: Literal["conversation", "code", "mixed", "vidur", "fixed"] = "conversation"
    """Law of prompt and answer lengths."""
    scheduler: Literal["sarathi", "vllm", "orca", "faster_transformer"] = "sarathi"
    """How replicas form their batches."""
    length_hint: Literal["absent", "predicted", "true"] = "absent"
    """What is told of an answer's length before it is there."""
    hint_sigma: NonNegative = 0.5
    """`predicted`: standard deviation of the logarithm of predicted over true."""
    show_speeds: bool = False
    """Whether the time factors are told; otherwise they must be inferred."""
    report_seconds: NonNegative = 0.0
    """Replicas report of themselves at multiples of this; 0 = at each decision."""
    changes_per_1000: NonNegative = 0.0
    """Replicas that fail, come back or change their speed, per 1,000 requests; a scenario's own changes are beside them. One is always
    left."""
    slow_factor: tuple[Positive, Positive] = (1.0, 3.0)
    """Range of the log-uniform factor by which a replica that changes its speed is then slower than at first."""
    max_replicas: Annotated[int, Ge(1)] = 4
    """Replica slots of the observation."""
    episode_requests: Annotated[int, Ge(1)] = 2_000
    """Choices an episode."""
    features: Literal["compact", "documented"] = "compact"
    """`compact`: what a choice needs, with inferred speeds; `documented`: all documented columns of replicas and cluster."""
    reward: Literal["minus_latency", "delta", "instant", "hybrid"] = "minus_latency"
    """`minus_latency`: unfinished and unanswered requests over time, taken off; the others as documented."""
    e2e_weight: NonNegative = 1.0
    """`minus_latency`: per request-second without the last token; the mean a choice is the mean latency."""
    ttft_weight: NonNegative = 1.0
    """`minus_latency`: per request-second without the first token; the mean a choice is the mean time to it."""
    slow_start_weight: NonNegative = 0.0
    """`minus_latency`: per squared second to the first token; long waits count more than many short ones."""
    slow_end_weight: NonNegative = 0.0
    """`minus_latency`: per squared second to the last token."""
    charge_ahead: bool = False
    """`minus_latency`: the seconds that a request is expected to take, and to take from others, are charged when it is routed and not when
    they pass, by the true lengths and speeds; what differs from that is charged when it shows. The sum over an episode that is played
    until all are served is the same, the credit nearer to the choice; one that is cut has paid for what is outstanding. Nothing of it is
    shown."""
    documented_reward: DocumentedRewardConfig = field(default_factory=DocumentedRewardConfig)


@dataclass(frozen=True, kw_only=True)
class LLMRoutingEvaluation(Checked, section="evaluation"):
    """Held-out comparison with the routers people use."""

    seeds: Annotated[int, Ge(1)] = 5
    """Request streams, the same for every router."""
    requests: Annotated[int, Ge(100), Le(1_000_000)] = 20_000
    """Requests a stream, played until all are served."""
    scenarios: tuple[str, ...] = ()
    """Named cases that are played one after the other; none = what the environment's episodes are drawn from. A fleet may be larger than
    in training."""
    changes_per_1000: NonNegative = 0.0
    """In place of the environment's: over a long stream, what makes training varied overloads the fleet. A scenario's own changes stay."""
    against: tuple[str, ...] = (
        "random", "round_robin", "least_outstanding", "power_of_two", "least_pending_prefill",
        "speed_weighted_outstanding", "speed_weighted_prefill", "multiplicative", "paced_multiplicative",
    )  # fmt: skip
    """Routers run beside the policy."""


@dataclass(frozen=True, kw_only=True)
class LLMRoutingExperiment(Experiment):
    """An LLM-routing experiment, whole."""

    domain: Literal["llm_routing"] = "llm_routing"
    """Which system is controlled."""
    environment: LLMRoutingConfig = field(default_factory=LLMRoutingConfig)
    evaluation: LLMRoutingEvaluation = field(default_factory=LLMRoutingEvaluation)
