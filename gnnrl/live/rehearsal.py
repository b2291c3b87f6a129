"""A policy or a baseline on the sandbox, through the real readers, guardrails and writers, as fast as they go; scored as evaluation scores.

The clock stands while the loop works, so that nothing depends on the machine: what differs from `gnnrl evaluate` is what a cluster makes
different.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.guardrails import GUARDRAILS
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.episode import Episode, warm_up_seconds
from gnnrl.evaluation.runner import METRICS, Playback
from gnnrl.evaluation.scenarios import ScenarioSet
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from gnnrl.live.sandbox.server import Sandbox
from gnnrl.live.sandbox.world import SandboxWorld
from gnnrl.live.session import LiveOptions, LiveSession

__all__ = ["Rehearsal", "in_listing_order", "rehearse", "rehearse_all"]

ORIGIN_SECONDS = 1_700_000_000.0
"""Unix seconds at which every rehearsal begins, so that two of them are alike."""


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What came of one episode."""

    records: tuple[IntervalRecord, ...]
    world: SandboxWorld


def in_listing_order(episode: Episode) -> Episode:
    """The same episode with services by name and calls by their ends, the order in which a cluster lists them.

    Sums over calls and draws over slots depend on the order: with it, a rehearsal and an evaluation are equal to the last bit.
    """
    mesh = episode.mesh
    services = tuple(sorted(mesh.services, key=lambda service: service.name))
    place = {service.name: i for i, service in enumerate(services)}
    order = sorted(range(len(mesh.calls)), key=lambda e: (place[mesh.calls[e].source], place[mesh.calls[e].target]))
    classes = tuple(replace(request, calls=tuple(request.calls[e] for e in order)) for request in mesh.classes)
    calls = tuple(mesh.calls[e] for e in order)
    return replace(episode, mesh=replace(mesh, services=services, calls=calls, classes=classes))


def rehearse(
    options: LiveOptions, environment: AutoscalingConfig, episode: Episode, faults: Sequence[FaultSpec] = ()
) -> Rehearsal:
    """Play an episode to its end.

    Args:
        options: who decides and how; URLs, namespace and kubeconfig are the sandbox's.
        environment: that the episode was drawn for.
        episode: what happens.
        faults: what goes wrong, in seconds after the start.

    Raises:
        LiveSetupError, LivePolicyError, RunError, ConfigError, CheckpointError: as `LiveSession`.
    """
    clock = SteppedClock(ORIGIN_SECONDS)
    interval = options.config.interval_seconds
    with (
        tempfile.TemporaryDirectory(prefix="gnnrl-rehearsal-") as folder,
        Sandbox(environment, episode, clock=clock, faults=faults) as sandbox,
    ):
        kubeconfig = Path(folder) / "kubeconfig"
        write_kubeconfig(kubeconfig, sandbox.urls["kubernetes"], sandbox.token, sandbox.world.namespace)
        here = replace(
            options,
            namespace=sandbox.world.namespace,
            kiali_url=sandbox.urls["kiali"],
            prometheus_url=None,
            kubeconfig=kubeconfig,
        )
        records: list[IntervalRecord] = []
        with LiveSession(here, clock) as session:
            clock.sleep_until(ORIGIN_SECONDS + warm_up_seconds(environment))
            session.build(session.snapshot(), (records.append,))
            session.run(threading.Event(), (len(episode.rps) - warm_up_seconds(environment)) // interval)
        clock.sleep_until(ORIGIN_SECONDS + len(episode.rps))
        sandbox.world.advance()
    return Rehearsal(tuple(records), sandbox.world)


def rehearse_all(
    name: str,
    options: LiveOptions,
    scenarios: ScenarioSet,
    faults: Sequence[FaultSpec] = (),
    told: Callable[[str], None] = lambda _: None,
) -> tuple[Playback, list[Rehearsal]]:
    """Play every scenario, one after the other, and put them side by side as `evaluation.runner.play` does.

    `told` is called with a line before each.
    """
    played = []
    for i, episode in enumerate(scenarios.episodes):
        told(f"{name}: scenario {i + 1} of {len(scenarios.episodes)}")
        played.append(rehearse(options, scenarios.config, episode, faults))
    scores = [rehearsal.world.score() for rehearsal in played]
    windows = np.array([rehearsal.world.scored.windows for rehearsal in played], dtype=np.float32)  # [B, W, 4]
    metrics = {
        metric: np.array([np.nan if score.get(metric) is None else score[metric] for score in scores], dtype=np.float64)
        for metric in METRICS
    }
    metrics["peak_replicas"] = windows[:, :, 0].max(axis=1).astype(np.float64)
    playback = Playback(
        name=name,
        period_seconds=options.config.interval_seconds,
        metrics=metrics,
        latency_histogram=np.concatenate([rehearsal.world.scored.histogram for rehearsal in played]),
        replicas=windows[:, :, 0],
        external_rps=windows[:, :, 1],
        latency_p95_ms=windows[:, :, 2],
        violating_seconds=windows[:, :, 3],
        guardrails={guardrail: np.array([_hits(one, guardrail) for one in played]) for guardrail in GUARDRAILS},
    )
    return playback, played


def _hits(rehearsal: Rehearsal, guardrail: str) -> float:
    """Decisions for a service that this guardrail acted on."""
    return float(sum(guardrail in one.guardrails for record in rehearsal.records for one in record.services))
