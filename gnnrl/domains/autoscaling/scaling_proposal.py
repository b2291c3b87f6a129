"""From a reading and what is wished to what the guardrails judge, and from their verdict to what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.actuator import ScaleRequest
from gnnrl.cluster.guardrails import NO_FLOOR, UNLIMITED, Limits, Proposal, Verdict, limits_of
from gnnrl.cluster.guardrails.annotations import SLO_MS, objective_ms
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
    *,
    floor: NDArray[np.int64] | None = None,
    has_error: bool = False,
    trusted: bool = False,
    violation_hold_share: float = 0.0,
) -> Proposal:
    """What the guardrails judge, as a batch of one.

    Args:
        snapshot, reading: what was read.
        limits: of each Deployment.
        wish: replicas wanted, [S]; not-a-number = none.
        floor: the fallback's, [S]; None = it has none.
        has_error: something failed in this interval.
        trusted: whatever the data, they are not what the wish rests on (a restoration).
        violation_hold_share: of an objective, above which it counts as violated; 0 = nothing does.
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
        violated_mask=_violated_mask(reading, violation_hold_share, columns)[None],
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
