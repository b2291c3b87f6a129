"""Checks that span several fields.

Each rule names the fields it reads, and is skipped while one of them is wrong by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gnnrl.config.experiment import ExperimentConfig

__all__ = ["RULES", "Rule", "known_names"]

Faults = Iterable[tuple[str, str]]
"""Dotted path of the field to mend, and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One cross-field check."""

    paths: tuple[str, ...]
    """Dotted paths of the fields it reads."""
    check: Callable[[ExperimentConfig], Faults]
    """Yields a fault for each field to mend."""


def known_names(
    *,
    workloads: Iterable[str],
    baselines: Iterable[str],
    meshes: Iterable[str],
    is_baseline: Callable[[str], bool] = lambda _: False,
) -> tuple[Rule, ...]:
    """The rules that every workload, baseline and mesh is one of these names, or a file that exists.

    Args:
        workloads: families.
        baselines: those with a name of their own.
        meshes: built in.
        is_baseline: says whether another name, such as `hpa_70`, means a baseline as well.
    """
    families, policies, builtin = tuple(workloads), tuple(baselines), tuple(meshes)

    def workload(path: str, names: tuple[str, ...]) -> Faults:
        for name in names:
            yield from _named(path, name, families, "workload", file_suffixes=(".csv",))

    def mesh(config: ExperimentConfig) -> Faults:
        for name in config.environment.mesh:
            if name.startswith("random:"):
                yield from _random_mesh(name)
            else:
                yield from _named("environment.mesh", name, builtin, "mesh", file_suffixes=(".yaml", ".yml"))

    def against(config: ExperimentConfig) -> Faults:
        for name in config.evaluation.against:
            if not is_baseline(name):
                yield from _named("evaluation.against", name, policies, "baseline")

    def teacher(config: ExperimentConfig) -> Faults:
        if config.warm_start.teacher and not is_baseline(config.warm_start.teacher):
            yield from _named("warm_start.teacher", config.warm_start.teacher, policies, "baseline")

    return (
        Rule(
            paths=("environment.workloads",),
            check=lambda config: workload("environment.workloads", config.environment.workloads),
        ),
        Rule(
            paths=("evaluation.workloads",),
            check=lambda config: workload("evaluation.workloads", config.evaluation.workloads),
        ),
        Rule(paths=("environment.mesh",), check=mesh),
        Rule(paths=("evaluation.against",), check=against),
        Rule(paths=("warm_start.teacher",), check=teacher),
    )


def _named(path: str, name: str, known: tuple[str, ...], kind: str, file_suffixes: tuple[str, ...] = ()) -> Faults:
    if name in known:
        return
    if name.endswith(file_suffixes) and file_suffixes:
        if not Path(name).is_file():
            yield path, f"{name}: no such file (from {Path.cwd()})"
        return
    nearest = get_close_matches(name, known, n=1)
    files = f", or a {file_suffixes[0]} file" if file_suffixes else ""
    yield (
        path,
        f"{name!r} is not a {kind}; "
        + (f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}{files}"),
    )


def _random_mesh(name: str) -> Faults:
    low, dash, high = name.removeprefix("random:").partition("-")
    if not (dash and low.isdecimal() and high.isdecimal() and 2 <= int(low) <= int(high)):
        yield "environment.mesh", f"{name!r} is not random:LOW-HIGH with 2 <= LOW <= HIGH services, such as random:5-60"


def _ordered(path: str, low_and_high: tuple[float, float]) -> Iterator[tuple[str, str]]:
    low, high = low_and_high
    if low > high:
        yield path, f"[{low}, {high}] is not a range, its low end is above its high end"


def _ranges(config: ExperimentConfig) -> Faults:
    environment = config.environment
    yield from _ordered("environment.peak_replicas", environment.peak_replicas)
    yield from _ordered("environment.violation_weight", environment.violation_weight)
    for name in ("cpu_cost_factor", "class_mix_factor", "startup_factor"):
        yield from _ordered(f"environment.randomisation.{name}", getattr(environment.randomisation, name))


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


def _chunks(config: ExperimentConfig) -> Faults:
    chunk, rollout = config.ppo.chunk_length, config.ppo.rollout_length
    if rollout % chunk:
        yield "ppo.chunk_length", f"{chunk} does not divide ppo.rollout_length, which is {rollout}"


def _attention_heads(config: ExperimentConfig) -> Faults:
    hidden, heads = config.encoder.hidden, config.encoder.heads
    if hidden % heads:
        yield "encoder.heads", f"{heads} does not divide encoder.hidden, which is {hidden}"


def _one_rollout(config: ExperimentConfig) -> Faults:
    rollout = config.ppo.rollout_length * config.training.num_envs
    if config.training.total_steps < rollout:
        yield (
            "training.total_steps",
            f"{config.training.total_steps} is less than one rollout, "
            f"ppo.rollout_length x training.num_envs = {rollout}",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        paths=("environment.peak_replicas", "environment.violation_weight", "environment.randomisation"),
        check=_ranges,
    ),
    Rule(paths=("environment.min_replicas", "environment.max_replicas"), check=_replica_limits),
    Rule(paths=("environment.metrics_lag_seconds", "environment.decision_seconds"), check=_metrics_lag),
    Rule(paths=("ppo.chunk_length", "ppo.rollout_length"), check=_chunks),
    Rule(paths=("encoder.hidden", "encoder.heads"), check=_attention_heads),
    Rule(paths=("training.total_steps", "ppo.rollout_length", "training.num_envs"), check=_one_rollout),
)
