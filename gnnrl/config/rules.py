"""Checks that span several fields.

Each rule names the fields it reads, and is skipped while one of them is wrong by itself. A domain adds its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Generic, TypeVar

from gnnrl.config.checked import unchecked
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, Experiment, ExperimentConfig, RandomisationConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.config.queue_routing import QueueRoutingConfig, QueueRoutingExperiment

__all__ = [
    "COMMON_RULES",
    "LIVE_RULES",
    "ONE_REWARD",
    "QUEUE_ROUTING_RULES",
    "RULES",
    "Faults",
    "Rule",
    "nearest",
    "ordered",
    "rules_within",
    "unknown_names",
    "unknown_teacher",
]

Config = TypeVar("Config", contravariant=True)

Faults = Iterable[tuple[str, str]]
"""Dotted path of the field to mend, and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Rule(Generic[Config]):
    """One cross-field check of a `Config`."""

    paths: tuple[str, ...]
    """Dotted paths of the fields it reads."""
    check: Callable[[Config], Faults]
    """Yields a fault for each field to mend."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known."""
    names = list(known)
    found = get_close_matches(name, names, n=1)
    return f"did you mean {found[0]}?" if found else f"known: {', '.join(names)}"


def unknown_names(path: str, names: Iterable[str], known: Iterable[str], what: str) -> Faults:
    """A fault for each of the names that is none of the known ones; `what` says what they are, with its article."""
    known = list(known)
    for name in names:
        if name not in known:
            yield path, f"{name!r} is not {what}; {nearest(name, known)}"


def unknown_teacher(config: Experiment, teachers: Iterable[str]) -> Faults:
    """A fault where `warm_start.teacher` names none of them."""
    name, known = config.warm_start.teacher, list(teachers)
    if name and name not in known:
        yield "warm_start.teacher", f"{name!r} is not a teacher; {nearest(name, known)}, or '' for none"


def ordered(path: str, low_and_high: tuple[float, float]) -> Iterator[tuple[str, str]]:
    """A fault where a range is upside down."""
    low, high = low_and_high
    if low > high:
        yield path, f"[{low}, {high}] is not a range, its low end is above its high end"


def _ranges(config: ExperimentConfig) -> Faults:
    environment = config.environment
    yield from ordered("environment.peak_replicas", environment.peak_replicas)
    yield from ordered("environment.violation_weight", environment.violation_weight)
    yield from ordered("environment.slo_factor", environment.slo_factor)


def _factors(config: ExperimentConfig) -> Faults:
    for name in (
        "cpu_cost_factor",
        "class_mix_factor",
        "startup_factor",
        "sidecar_factor",
        "metrics_lag_added_seconds",
    ):
        yield from ordered(f"environment.randomisation.{name}", getattr(config.environment.randomisation, name))


def _ramp(config: ExperimentConfig) -> Faults:
    ramp = config.environment.churn.ramp
    if any(later <= earlier for earlier, later in pairwise(ramp)):
        yield "environment.churn.ramp", f"{list(ramp)} does not rise from one share to the next"


def _replica_limits(config: ExperimentConfig) -> Faults:
    low, high = config.environment.min_replicas, config.environment.max_replicas
    if low > high:
        yield "environment.max_replicas", f"{high} is below environment.min_replicas, which is {low}"


def _metrics_lag(config: ExperimentConfig) -> Faults:
    lag, decision = config.environment.metrics_lag_seconds, config.environment.decision_seconds
    if lag % decision:
        yield (
            "environment.metrics_lag_seconds",
            f"{lag} is not a multiple of environment.decision_seconds, which is {decision}",
        )
    added = config.environment.randomisation.metrics_lag_added_seconds
    if any(seconds % decision for seconds in added):
        yield (
            "environment.randomisation.metrics_lag_added_seconds",
            f"{list(added)} are no multiples of environment.decision_seconds, which is {decision}",
        )


def _chunks(config: Experiment) -> Faults:
    chunk, rollout = config.ppo.chunk_length, config.ppo.rollout_length
    if rollout % chunk:
        yield "ppo.chunk_length", f"{chunk} does not divide ppo.rollout_length, which is {rollout}"


def _attention_heads(config: Experiment) -> Faults:
    hidden, heads = config.encoder.hidden, config.encoder.heads
    if hidden % heads:
        yield "encoder.heads", f"{heads} does not divide encoder.hidden, which is {hidden}"


def _value_per_node(config: Experiment) -> Faults:
    if config.encoder.kind == "gru" and config.ppo.credit == "node":
        yield "ppo.credit", "encoder.kind gru has one value a graph and none a node; set ppo.credit to graph"


def _one_rollout(config: Experiment) -> Faults:
    rollout = config.ppo.rollout_length * config.training.num_envs
    if config.training.total_steps < rollout:
        yield (
            "training.total_steps",
            f"{config.training.total_steps} is less than one rollout, "
            f"ppo.rollout_length x training.num_envs = {rollout}",
        )


def _temperature(config: Experiment) -> Faults:
    use = config.ppo.temperature
    if not use.lowest <= use.base <= use.highest:
        yield "ppo.temperature.base", f"{use.base} is not in [lowest, highest], which is [{use.lowest}, {use.highest}]"


def _unsaid_signals(config: Experiment) -> Faults:
    if config.ppo.temperature.enabled:
        yield (
            "ppo.temperature.enabled",
            f"environments of {config.domain} do not say throughput, mean latency and load balance; set it to false",
        )


def _one_reward(config: Experiment) -> Faults:
    if config.ppo.credit != "graph":
        yield "ppo.credit", f"{config.ppo.credit!r} needs a reward a node; one choice has one reward: graph"


COMMON_RULES: tuple[Rule[Experiment], ...] = (
    Rule(paths=("ppo.chunk_length", "ppo.rollout_length"), check=_chunks),
    Rule(paths=("encoder.hidden", "encoder.heads"), check=_attention_heads),
    Rule(paths=("ppo.temperature",), check=_temperature),
    Rule(paths=("encoder.kind", "ppo.credit"), check=_value_per_node),
    Rule(paths=("training.total_steps", "ppo.rollout_length", "training.num_envs"), check=_one_rollout),
)
"""For experiments of every domain."""

UNTEMPERED: Rule[Experiment] = Rule(paths=("ppo.temperature.enabled",), check=_unsaid_signals)
"""For domains whose environments give the temperature controller nothing to go by."""

ONE_REWARD: Rule[Experiment] = Rule(paths=("ppo.credit",), check=_one_reward)
"""For domains in which one choice is made for the whole graph."""

RULES: tuple[Rule[ExperimentConfig], ...] = (
    Rule(paths=("environment.peak_replicas", "environment.violation_weight", "environment.slo_factor"), check=_ranges),
    Rule(paths=("environment.randomisation",), check=_factors),
    Rule(paths=("environment.churn.ramp",), check=_ramp),
    Rule(paths=("environment.min_replicas", "environment.max_replicas"), check=_replica_limits),
    Rule(
        paths=("environment.metrics_lag_seconds", "environment.decision_seconds", "environment.randomisation"),
        check=_metrics_lag,
    ),
    UNTEMPERED,
)


def _queue_shapes(config: QueueRoutingExperiment) -> Faults:
    environment = config.environment
    types, replicas = len(environment.types), len(environment.service_rates)
    if len(environment.arrival_rates) != types:
        yield "environment.arrival_rates", f"{len(environment.arrival_rates)} rates for {types} types"
    for r, rates in enumerate(environment.service_rates):
        if len(rates) != types:
            yield "environment.service_rates", f"replica {r} has {len(rates)} rates for {types} types"
    low, high = environment.drawn_replicas
    yield from _room(environment.max_replicas, replicas if high == 0 else high)
    if low > high or (low == 0) != (high == 0):
        yield "environment.drawn_replicas", f"[{low}, {high}] is neither [0, 0] nor a range of replicas"
    yield from ordered("environment.drawn_rates", environment.drawn_rates)
    yield from ordered("environment.drawn_load", environment.drawn_load)


def _room(slots: int, replicas: int) -> Faults:
    if slots < replicas:
        yield "environment.max_replicas", f"{slots} is too few for {replicas} replicas"


def _evaluated_replicas(config: QueueRoutingExperiment) -> Faults:
    yield from _room(config.environment.max_replicas, max(config.evaluation.replicas, default=0))


QUEUE_ROUTING_RULES: tuple[Rule[QueueRoutingExperiment], ...] = (
    Rule(paths=("environment",), check=_queue_shapes),
    Rule(paths=("environment.max_replicas", "evaluation.replicas"), check=_evaluated_replicas),
    UNTEMPERED,
)


def _live_replica_limits(config: LiveConfig) -> Faults:
    low, high = config.guardrails.min_replicas, config.guardrails.max_replicas
    if low > high:
        yield "guardrails.max_replicas", f"{high} is below guardrails.min_replicas, which is {low}"


def _read_in_time(config: LiveConfig) -> Faults:
    if config.read_deadline_seconds >= config.interval_seconds:
        yield (
            "read_deadline_seconds",
            f"{config.read_deadline_seconds:g} leaves nothing of interval_seconds, which is {config.interval_seconds}, to decide and write",
        )


def _whole_windows(config: LiveConfig) -> Faults:
    if config.graph_window_seconds % config.interval_seconds:
        yield (
            "graph_window_seconds",
            f"{config.graph_window_seconds} is not a multiple of interval_seconds, which is {config.interval_seconds}",
        )


def _whole_hold(config: LiveConfig) -> Faults:
    hold = config.guardrails.half_window_seconds
    if 0.0 < hold < config.graph_window_seconds:
        yield (
            "guardrails.half_window_seconds",
            f"{hold:g} is shorter than graph_window_seconds, which is {config.graph_window_seconds}: it would still be half filled; "
            f"{1.5 * config.graph_window_seconds:g}, or 0 for none",
        )


LIVE_RULES: tuple[Rule[LiveConfig], ...] = (
    Rule(paths=("guardrails.min_replicas", "guardrails.max_replicas"), check=_live_replica_limits),
    Rule(paths=("read_deadline_seconds", "interval_seconds"), check=_read_in_time),
    Rule(paths=("graph_window_seconds", "interval_seconds"), check=_whole_windows),
    Rule(paths=("guardrails.half_window_seconds", "graph_window_seconds"), check=_whole_hold),
)


_HOMES: Mapping[type, tuple[type[Any], tuple[Rule[Any], ...]]] = {
    AutoscalingConfig: (ExperimentConfig, RULES),
    RandomisationConfig: (ExperimentConfig, RULES),
    ChurnConfig: (ExperimentConfig, RULES),
    QueueRoutingConfig: (QueueRoutingExperiment, QUEUE_ROUTING_RULES),
    LLMRoutingConfig: (LLMRoutingExperiment, ()),
    GuardrailConfig: (LiveConfig, LIVE_RULES),
    ExperimentConfig: (ExperimentConfig, (*COMMON_RULES, *RULES)),
    QueueRoutingExperiment: (QueueRoutingExperiment, (*COMMON_RULES, *QUEUE_ROUTING_RULES)),
    LLMRoutingExperiment: (LLMRoutingExperiment, COMMON_RULES),
    LiveConfig: (LiveConfig, LIVE_RULES),
}
"""By the class of a configuration: what it is, or is a section of, and the rules for that. Sections of every experiment are not here."""


def rules_within(config: Any, rules: Iterable[Rule[Any]] | None = None) -> tuple[Any, list[Rule[Any]]]:
    """A whole configuration that holds `config`, which may be a section, and those rules that read nothing else.

    Args:
        config: an experiment, a live configuration, or a section of one.
        rules: to choose from; None = those of this module.
    """
    section: str = config.section
    home, own = _HOMES.get(type(config), (Experiment, COMMON_RULES if section else ()))
    if not section:
        return config, list(own if rules is None else rules)
    with unchecked():
        whole = _holding(home(), section.split("."), config)
    within = [
        rule
        for rule in (own if rules is None else rules)
        if all(path == section or path.startswith(section + ".") for path in rule.paths)
    ]
    return whole, within


def _holding(whole: Any, path: list[str], part: Any) -> Any:
    name, *further = path
    if not hasattr(whole, name):  # a section of another domain's environment, about which these rules say nothing
        return whole
    return replace(whole, **{name: _holding(getattr(whole, name), further, part) if further else part})
