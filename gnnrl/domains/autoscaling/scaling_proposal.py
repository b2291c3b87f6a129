"""From a reading and what is wished to what the guardrails judge, and from their verdict to what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.actuator import ScaleRequest
from gnnrl.cluster.guardrails import NO_FLOOR, UNLIMITED, Limits, Proposal, Verdict, limits_of
from gnnrl.cluster.guardrails.annotations import SLO_MS, objective_ms
from gnnrl.cluster.guardrails.upstream import behind_errors_mask
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.sensing import Reading

__all__ = ["changes_of", "limits_in", "proposal_of"]


def limits_in(snapshot: ClusterSnapshot, reading: Reading, config: GuardrailConfig) -> tuple[Limits, ...]:
    """What each Deployment of the reading may have."""
    return tuple(
        limits_of(deployment.annotations, snapshot.namespace_annotations, config) for deployment in reading.deployments
    )


def proposal_of(
    snapshot: ClusterSnapshot,
    reading: Reading,
    limits: Sequence[Limits],
    wish: NDArray[np.number[Any]],
    config: GuardrailConfig,
    *,
    floor: NDArray[np.int64] | None = None,
    has_error: bool = False,
    trusted: bool = False,
) -> Proposal:
    """What the guardrails judge, as a batch of one.

    Args:
        snapshot, reading: what was read.
        limits: of each Deployment.
        wish: replicas wanted, [S]; not-a-number = none.
        config: from which share on an objective counts as violated, and calls as failing.
        floor: the fallback's, [S]; None = it has none.
        has_error: something failed in this interval.
        trusted: whatever the data, they are not what the wish rests on (a restoration).
    """
    columns, count = len(wish), len(reading.deployments)
    current, low, high, available = np.zeros((4, 1, columns), dtype=np.int64)
    mask, scalable_mask, owned_mask, paused_mask, nowhere_mask = np.zeros((5, 1, columns), dtype=np.bool_)
    low[:], high[:] = 1, 1
    mask[0, :count] = True
    for i, (deployment, limit) in enumerate(zip(reading.deployments, limits, strict=True)):
        # While owners cannot be read, everything may have one.
        owned = bool(deployment.owner) or snapshot.failed("owners")
        current[0, i], available[0, i] = deployment.desired, deployment.min_available
        low[0, i], high[0, i] = limit.min_replicas, limit.max_replicas
        scalable_mask[0, i] = owned or not reading.mesh.services[i].stateful
        owned_mask[0, i], paused_mask[0, i] = owned, limit.paused
    return Proposal(
        current=current,
        wish=wish[None].astype(np.float64),
        mask=mask,
        scalable_mask=scalable_mask,
        owned_mask=owned_mask,
        paused_mask=paused_mask,
        untrusted_mask=nowhere_mask if trusted else reading.untrusted_mask[None],
        half_window_mask=nowhere_mask if trusted else reading.half_window_mask[None],
        violated_mask=_violated_mask(reading, config.violation_hold_share, columns)[None],
        age_seconds=reading.service_age_seconds[None],
        measured_mask=reading.measured_mask[None],
        behind_errors_mask=_behind_errors_mask(reading, config.error_hold_share),
        busy=_busy(reading)[None],
        violating_share=np.array([_violating_share(reading)]),
        min_replicas=low,
        max_replicas=high,
        min_available=available,
        error_mask=np.array([has_error]),
        floor=np.full((1, columns), NO_FLOOR, dtype=np.int64) if floor is None else floor[None],
        quota_headroom=np.array([UNLIMITED if snapshot.quota.pods is None else snapshot.quota.pods]),
    )


def _violated_mask(reading: Reading, share: float, columns: int) -> NDArray[np.bool_]:
    """[S] services whose own objective is shown violated, or all where that of the mesh is."""
    mask = np.zeros(columns, dtype=np.bool_)
    if share > 0.0:
        mask[:] = reading.window.latency_p95_ms[0] > share * reading.slo_ms
        for i, deployment in enumerate(reading.deployments):
            own_ms = objective_ms(deployment.annotations.get(SLO_MS, ""))
            if own_ms is not None:
                mask[i] |= reading.window.p95_ms[0, i] > share * own_ms
    return mask


def _behind_errors_mask(reading: Reading, share: float) -> NDArray[np.bool_]:
    """[1, S] services that calls fail to, or on the way to."""
    calls, column = reading.mesh.calls, {name: i for i, name in enumerate(reading.mesh.names)}
    source, target = np.zeros((2, 1, len(calls)), dtype=np.int64)
    source[0], target[0] = [column[call.source] for call in calls], [column[call.target] for call in calls]
    return behind_errors_mask(reading.window.error_share, source, target, np.array([len(calls)]), share)


def _busy(reading: Reading) -> NDArray[np.float64]:
    """[S] replicas' worth of work of each Deployment; not-a-number where nothing can rest on its CPU."""
    busy = np.full(len(reading.unmeasured_mask), np.nan)
    if not reading.blocking:
        count = len(reading.deployments)
        limits = [service.cpu_limit_millicores for service in reading.mesh.services[:count]]
        busy[:count] = reading.window.app_cpu_millicores[0, :count] / np.array(limits)
        busy[reading.unmeasured_mask] = np.nan
    return busy


def _violating_share(reading: Reading) -> float:
    """Share of violating seconds in the window; not-a-number where none is known."""
    seconds = float(reading.window.seconds[0])
    return float(reading.window.violating_seconds[0]) / seconds if seconds > 0.0 and not reading.blocking else np.nan


def changes_of(reading: Reading, limits: Sequence[Limits], verdict: Verdict) -> dict[str, ScaleRequest]:
    """What is to be written, by Deployment: where the verdict differs from what is there."""
    return {
        deployment.name: ScaleRequest(
            replicas=final,
            expected=deployment.desired,
            minimum=limit.min_replicas,
            maximum=limit.max_replicas,
            # The API server takes an empty one for none, and overwrites whatever is there.
            resource_version=deployment.resource_version or None,
        )
        for deployment, limit, final in zip(
            reading.deployments, limits, verdict.final[0, : len(reading.deployments)].tolist(), strict=True
        )
        if final != deployment.desired
    }
