"""Knative's Pod Autoscaler, batched: concurrency over a stable and a panic window.

Source: knative/serving `pkg/autoscaler/scaling/autoscaler.go` (newAutoscaler, Scale) with the defaults of `config-autoscaler`: 70 % of
    the target concurrency,
stable window 60 s, panic window 10 % of it, panic threshold 200 %, at most x 1000 up and / 2 down a tick, tick 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import Baseline, ReplicaBounds, Replicas, Telemetry
from gnnrl.domains.autoscaling.observed import AnyMesh

__all__ = ["KnativePodAutoscaler", "PanicState", "scale"]

TICK_SECONDS = 2
STABLE_SECONDS = 60.0
PANIC_SECONDS = 6.0
PANIC_THRESHOLD = 2.0
MAX_SCALE_UP_RATE = 1000.0
MAX_SCALE_DOWN_RATE = 2.0
TARGET_UTILISATION = 0.7
DEFAULT_CONCURRENCY = 1.0
"""Calls one pod of a mesh service is meant to hold at once [cal]. Knative's own 100 is for servers that mostly wait. A
pod here is one processor-sharing CPU holding rho / (1 - rho) calls, so pods(next) = calls / target falls by rho / (1 -
rho) = target
pods for each pod added: a target of 1 or more swings for ever, 70 % of 1.0 settles at about 40 % utilisation."""


@dataclass
class PanicState:
    """Memory of one autoscaler a service; arrays of one shape."""

    panicking: NDArray[np.bool_]
    panic_seconds: NDArray[np.float64]
    """When the panic threshold was last crossed."""
    max_panic_pods: NDArray[np.int64]


def scale(
    state: PanicState,
    ready: NDArray[Any],
    stable_concurrency: NDArray[Any],
    panic_concurrency: NDArray[Any],
    target: ArrayLike,
    now_seconds: float,
) -> Replicas:
    """One tick of `Scale`; updates `state` in place and returns the pods wanted.

    Args:
        state: the panic memory.
        ready: ready pods (at least one is assumed).
        stable_concurrency, panic_concurrency: calls in all pods, mean over either window.
        target: calls wanted per pod (utilisation included).
        now_seconds: time of the tick.
    """
    pods = np.maximum(ready, 1).astype(np.float64)
    most, least = np.ceil(MAX_SCALE_UP_RATE * pods), np.floor(pods / MAX_SCALE_DOWN_RATE)
    raw_stable = np.ceil(stable_concurrency / target)
    raw_panic = np.ceil(panic_concurrency / target)
    stable = np.minimum(np.maximum(raw_stable, least), most).astype(np.int64)
    panic = np.minimum(np.maximum(raw_panic, least), most).astype(np.int64)

    over = raw_panic / pods >= PANIC_THRESHOLD
    calmed = state.panicking & ~over & (state.panic_seconds + STABLE_SECONDS < now_seconds)
    state.panic_seconds[over] = now_seconds
    state.panicking |= over
    state.panicking &= ~calmed
    state.max_panic_pods[calmed] = 0

    highest = np.maximum(state.max_panic_pods, np.maximum(stable, panic))
    state.max_panic_pods[...] = np.where(state.panicking, highest, state.max_panic_pods)
    return np.where(state.panicking, highest, stable)


class KnativePodAutoscaler(Baseline):
    """KPA on the calls in flight, one per service of every mesh, with the metrics lag that everybody has.

    Args:
        bounds, columns: as `Baseline`.
        concurrency: calls one pod is meant to hold, one number or one a mesh [B]; 70 % of it is the target.
        name: as it is reported.
    """

    def __init__(
        self,
        bounds: ReplicaBounds,
        columns: int,
        *,
        concurrency: ArrayLike = DEFAULT_CONCURRENCY,
        name: str = "kpa",
    ) -> None:
        super().__init__(name, bounds, columns, period_seconds=TICK_SECONDS)
        self.target = TARGET_UTILISATION * np.asarray(concurrency, dtype=np.float64).reshape(-1, 1)

    def begin(self, meshes: Sequence[AnyMesh]) -> None:
        """Empty windows; panic begins, if at all, with the first tick."""
        shape = (len(meshes), self.columns)
        self._samples = np.zeros((int(STABLE_SECONDS / TICK_SECONDS), *shape))
        self._count = np.zeros(shape, dtype=np.int64)
        self._tick = 0
        self._in_flight, self._pods = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self._state = PanicState(
            np.zeros(shape, dtype=np.bool_), np.full(shape, -np.inf), np.zeros(shape, dtype=np.int64)
        )

    def service_state(self) -> Sequence[NDArray[Any]]:
        state = self._state
        return (self._samples, self._count, state.panicking, state.panic_seconds, state.max_panic_pods)

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:
        # Knative's starts in panic where it finds several pods: they stay until a stable window has been seen.
        found_mask = (self._count == 0) & (telemetry.ready > 1)
        self._state.panicking |= found_mask
        self._state.panic_seconds[found_mask] = now_seconds
        self._state.max_panic_pods[found_mask] = telemetry.ready[found_mask]
        depth = len(self._samples)
        self._samples[self._tick % depth] = telemetry.concurrency
        recent = (self._tick - np.arange(int(PANIC_SECONDS / TICK_SECONDS))) % depth
        self._tick += 1
        self._count += 1
        # Unfilled entries are 0, so a sum over the samples there are is a mean over what a young service has shown.
        stable = self._samples.sum(axis=0) / np.minimum(self._count, depth)
        panic = self._samples[recent].sum(axis=0) / np.minimum(self._count, len(recent))
        self._in_flight, self._pods = stable, telemetry.ready.astype(np.int64)
        wanted = scale(self._state, telemetry.ready, stable, panic, self.target, now_seconds)
        return self.bounds.clip(wanted, self.table, telemetry.desired.astype(np.int64))

    def grounds(self, b: int, column: int) -> tuple[str, ...]:
        """Calls in flight, against those that a pod is meant to hold."""
        target = np.broadcast_to(self.target[:, 0], len(self._in_flight))[b]
        said = f"{self._in_flight[b, column]:.3g} calls in flight on {self._pods[b, column]}, target {target:.3g} a pod"
        return (said, *(("in panic: not lowered",) if self._state.panicking[b, column] else ()))
