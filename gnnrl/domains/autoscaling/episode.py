"""An episode as data: which mesh, which load, which churn, from which start. Drawn from a seed, the same for everybody who plays it.

The trainer, the validation and the held-out comparison draw from disjoint streams (`Split`), so that no held-out episode can be met in
training whatever its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.churn import ChurnSchedule, draw_schedule, randomise
from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms
from gnnrl.domains.autoscaling.load_file import recording
from gnnrl.domains.autoscaling.mesh import Mesh, peak_rps, replicas_needed
from gnnrl.domains.autoscaling.mesh_file import load_mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import LARGEST_RATE
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from gnnrl.domains.autoscaling.workloads import workload as workload_named

__all__ = ["Episode", "Split", "draw_episode", "most_classes", "warm_up_seconds"]

RANDOM_MESH_CLASSES = 6
"""`random_mesh` draws up to this many request classes."""
START_UTILISATION = 0.6
"""Every policy starts from the replicas that put the first second's load at this share of the limit."""


class Split(IntEnum):
    """Disjoint streams of episodes."""

    TRAIN = 0
    VALIDATION = 1
    HELD_OUT = 2


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode of one mesh.

    Raises:
        ValueError: a load that is not in [0, `LARGEST_RATE`], or an SLO or a weight that is not positive.
    """

    mesh: Mesh
    """The mesh at the start; `Service.replicas` are the replicas everybody starts with."""
    workload: str
    """Family or CSV file of the load."""
    rps: NDArray[np.float32]
    """External requests/s by second, the warm-up first: [warm_up_seconds + episode seconds]."""
    churn: ChurnSchedule
    """Topology changes, in seconds after the warm-up."""
    slo_ms: float
    violation_weight: float
    seed: int
    metrics_lag_seconds: int = 0
    """How old the newest metrics are when they are read."""
    load_factor: float | None = None
    """What the requests/s of a recorded load were multiplied with; None = it is no recording."""

    def __post_init__(self) -> None:
        load = self.rps
        if not isinstance(load, np.ndarray) or load.ndim != 1 or load.dtype.kind not in "iuf" or not load.size:
            raise ValueError(f"episode: rps is {load!r:.80}, expected an array of requests/s by second")
        if not (load.min() >= 0 and load.max() <= LARGEST_RATE):  # a comparison with NaN is false
            second = int(np.flatnonzero(~((load >= 0) & (load <= LARGEST_RATE)))[0])
            raise ValueError(f"episode: rps[{second}] = {load[second]} is not in [0, {LARGEST_RATE:g}]")
        for name in ("slo_ms", "violation_weight"):
            value = getattr(self, name)
            if not 0.0 < value < np.inf:
                raise ValueError(f"episode: {name} {value} is not a positive number")


def warm_up_seconds(config: AutoscalingConfig) -> int:
    """Seconds simulated before the first observation, so that lagged metrics exist when it is made."""
    return config.longest_lag_seconds + config.decision_seconds


def draw_episode(
    config: AutoscalingConfig,
    split: Split,
    seed: int,
    *,
    workload: str | None = None,
    violation_weight: float | None = None,
    decisions: int | None = None,
    mesh: Mesh | None = None,
) -> Episode:
    """Draw an episode; equal arguments give equal episodes.

    Args:
        config: the environment's configuration.
        split: the stream.
        seed: number of the episode within the stream.
        workload: family or CSV file; None = drawn from `config.workloads`. The mesh does not depend on it, so that all workloads of one
            seed meet the same mesh.
        violation_weight: None = drawn log-uniformly from `config.violation_weight`.
        decisions: length; None = `config.episode_decisions`.
        mesh: played as it is, under the load of this seed; None = drawn from `config.mesh`.
    """
    mesh_rng, load_rng, churn_rng, condition_rng = (
        np.random.default_rng(sequence) for sequence in np.random.SeedSequence([int(split), seed]).spawn(4)
    )
    ranges = config.randomisation
    mesh = _drawn_mesh(config, mesh_rng) if mesh is None else mesh
    drawn_workload = config.workloads[int(load_rng.integers(len(config.workloads)))]
    drawn_weight = float(np.exp(load_rng.uniform(*np.log(config.violation_weight))))
    peak = peak_rps(mesh, float(load_rng.uniform(*config.peak_replicas)))
    seconds = (decisions or config.episode_decisions) * config.decision_seconds
    chosen = workload or drawn_workload
    rps, factor = workload_named(chosen).scaled(seconds + warm_up_seconds(config), peak, load_rng)
    low, high = np.log(np.asarray(config.slo_factor) - 1.0)
    slo_factor = 1.0 + float(np.exp(condition_rng.uniform(low, high)))
    fewest, most = (seconds // config.decision_seconds for seconds in ranges.metrics_lag_added_seconds)
    added = int(condition_rng.integers(fewest, most + 1))
    needed = replicas_needed(mesh, float(rps[0]), START_UTILISATION)
    start = np.clip(needed, config.min_replicas, config.max_replicas)
    mesh = replace(
        mesh,
        services=tuple(
            service if service.stateful else replace(service, replicas=int(count))
            for service, count in zip(mesh.services, start, strict=True)
        ),
    )
    return Episode(
        mesh=mesh,
        workload=chosen,
        rps=rps,
        churn=draw_schedule(config.churn, seconds, churn_rng),
        slo_ms=mesh.slo_ms if mesh.slo_ms is not None else slo_factor * idle_p95_ms(mesh),
        violation_weight=drawn_weight if violation_weight is None else violation_weight,
        seed=seed,
        metrics_lag_seconds=config.metrics_lag_seconds + added * config.decision_seconds,
        load_factor=factor if recording(chosen) else None,
    )


def _drawn_mesh(config: AutoscalingConfig, rng: np.random.Generator) -> Mesh:
    """One of the configured meshes, its costs, mix, start-up times and proxies drawn around what it says."""
    ranges = config.randomisation
    return randomise(
        _mesh_of(config.mesh[int(rng.integers(len(config.mesh)))], rng),
        rng,
        cpu_cost_factor=ranges.cpu_cost_factor,
        class_mix_factor=ranges.class_mix_factor,
        startup_factor=ranges.startup_factor,
        sidecar_factor=ranges.sidecar_factor,
    )


def _mesh_of(source: str, rng: np.random.Generator) -> Mesh:
    if source.startswith("random:"):
        low, _, high = source.removeprefix("random:").partition("-")
        services = int(rng.integers(int(low), int(high or low) + 1))
        return random_mesh(services, seed=int(rng.integers(2**31)))
    return _fixed_mesh(source)


def most_classes(config: AutoscalingConfig) -> int:
    """Request classes of the configured mesh that has most."""
    return max(
        RANDOM_MESH_CLASSES if source.startswith("random:") else len(_fixed_mesh(source).classes)
        for source in config.mesh
    )


@lru_cache(maxsize=64)
def _fixed_mesh(source: str) -> Mesh:
    return online_boutique() if source == "online_boutique" else load_mesh(Path(source))
