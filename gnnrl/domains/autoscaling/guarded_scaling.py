"""Replicas for a namespace, through the guardrails and the actuator: what was wanted goes in, what was sent comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.actuator import Redecide, ScaleRequest, ScaleResult
from gnnrl.cluster.guardrails import Guardrails, Limits, Verdict
from gnnrl.cluster.guardrails.proposal import LARGEST_REPLICAS
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.scaling_proposal import changes_of, limits_in, proposal_of
from gnnrl.domains.autoscaling.sensing import Reading

__all__ = ["GuardedScaling", "Sent", "Writer", "wide_guardrails"]

HARMLESS = ("patched", "unchanged", "dry-run", "shadow")
"""Outcomes that stand in nobody's way."""


def wide_guardrails(min_replicas: int, max_replicas: int) -> GuardrailConfig:
    """Limits, and nothing else that can be set: no rates, windows, brake, holds, cool-down or budget."""
    return GuardrailConfig(
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        max_up_replicas=LARGEST_REPLICAS,
        max_down_replicas=LARGEST_REPLICAS,
        max_down_share=1.0,
        brake_share=1.0,
        half_window_seconds=0.0,
        start_hold_seconds=0.0,
        violation_hold_share=0.0,
        young_seconds=0.0,
        newborn_replicas=0,
        birth_hold_seconds=0.0,
        error_hold_share=1.0,
        cooldown_intervals=0,
        change_budget_replicas=LARGEST_REPLICAS,
    )


class Writer(Protocol):
    """Writes replicas, as `Actuator` does."""

    def apply(self, changes: Mapping[str, ScaleRequest], redecide: Redecide | None = None) -> dict[str, ScaleResult]:
        """Write every target, whatever becomes of the others."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of the wishes."""

    written: Mapping[str, tuple[int, int]]
    """Name -> replicas before and after, of what the cluster has taken."""
    failed: Mapping[str, str]
    """Name -> what stood in the way of a write."""
    held: tuple[str, ...]
    """Services that guardrails gave another number than was wanted."""
    problems: tuple[str, ...]
    """The same for people, with the names of the guardrails, and annotations that cannot be obeyed."""


class GuardedScaling:
    """Sends replicas to the Deployments of a reading.

    Args:
        config: of the guardrails.
        writer: of the namespace.
        columns: S of the readings.
        interval_seconds: between two calls of `apply` or `miss`.

    Attributes:
        touched: names of the Deployments that a write was ever sent to.
    """

    def __init__(self, config: GuardrailConfig, writer: Writer, columns: int, interval_seconds: float) -> None:
        self.config = config
        self.touched: set[str] = set()
        self._writer, self._columns, self._interval_seconds = writer, columns, interval_seconds
        self._names: tuple[str, ...] = ()
        self._write_failed = False
        self.forget()

    def forget(self) -> None:
        """Begin anew: no earlier wishes, no errors."""
        self._guardrails = Guardrails(self.config, 1, self._columns, self._interval_seconds)
        self._names, self._write_failed = (), False

    def limits(self, snapshot: ClusterSnapshot, reading: Reading) -> tuple[Limits, ...]:
        """What each Deployment of the reading may have."""
        return limits_in(snapshot, reading, self.config)

    def miss(self) -> None:
        """An interval passed in which nothing could be decided."""
        self._guardrails.miss()

    def apply(self, snapshot: ClusterSnapshot, reading: Reading, wish: NDArray[np.int64]) -> Sent:
        """Send these wishes [S], as far as the guardrails let them.

        A Deployment that somebody else has changed since it was read is left alone.
        """
        limits = self.limits(snapshot, reading)
        names = tuple(deployment.name for deployment in reading.deployments)
        if names != self._names:
            source = np.full(self._columns, -1, dtype=np.int64)
            column = {name: i for i, name in enumerate(self._names)}
            source[: len(names)] = [column.get(name, -1) for name in names]
            self._guardrails.remesh(0, source)
            self._names = names
        proposal = proposal_of(snapshot, reading, limits, wish, self.config, has_error=self._write_failed)
        return self._send(reading, wish, limits, self._guardrails.apply(proposal))

    def restore(self, snapshot: ClusterSnapshot, reading: Reading, targets: Mapping[str, int]) -> Sent:
        """Bring Deployments to the replicas that they are said to have had, whatever the rates and windows say.

        What has an owner, is paused, is not scalable, was switched off or would break a disruption budget is held; limits give
        way to what was there. Somebody else's change is overwritten, unless it is to 0; nothing is ever scaled to 0.
        """
        wish = reading.window.desired[0].astype(np.int64)
        limits = []
        for i, (deployment, limit) in enumerate(zip(reading.deployments, self.limits(snapshot, reading), strict=True)):
            wish[i] = targets.get(deployment.name) or wish[i]
            low, high = limit.min_replicas, limit.max_replicas
            if low <= high and wish[i] > 0:
                limit = limit._replace(min_replicas=min(low, int(wish[i])), max_replicas=max(high, int(wish[i])))
            limits.append(limit)
        config = wide_guardrails(1, LARGEST_REPLICAS)
        unhurried = Guardrails(config, 1, self._columns, self._interval_seconds)
        verdict = unhurried.apply(proposal_of(snapshot, reading, limits, wish, config, trusted=True))
        wanted = {deployment.name: int(wish[i]) for i, deployment in enumerate(reading.deployments)}
        return self._send(reading, wish, limits, verdict, lambda name, current: wanted[name] if current > 0 else None)

    def _send(
        self,
        reading: Reading,
        wish: NDArray[np.int64],
        limits: Sequence[Limits],
        verdict: Verdict,
        redecide: Redecide | None = None,
    ) -> Sent:
        changes = changes_of(reading, limits, verdict)
        held: list[str] = []
        problems: list[str] = []
        for i, (deployment, limit) in enumerate(zip(reading.deployments, limits, strict=True)):
            name, final = deployment.name, int(verdict.final[0, i])
            problems += [f"{name}: {problem}" for problem in limit.problems]
            if final != wish[i]:
                held.append(name)
                problems.append(f"{name}: wanted {wish[i]}, allowed {final} ({', '.join(verdict.names(0, i))})")
        results = self._writer.apply(changes, redecide) if changes else {}
        self.touched |= {name for name, result in results.items() if result.sent is not None}
        self._write_failed = any(result.outcome == "failed" for result in results.values())
        failed = {name: result.answer for name, result in results.items() if result.outcome not in HARMLESS}
        return Sent(
            written={
                name: (changes[name].expected, changes[name].replicas)
                for name, result in results.items()
                if result.outcome == "patched"
            },
            failed=failed,
            held=tuple(held),
            problems=(*problems, *(f"{name}: {answer}" for name, answer in failed.items())),
        )
