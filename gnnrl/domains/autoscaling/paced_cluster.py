"""A namespace read, waited for and put back in the time of a clock: what an environment does between two observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from gnnrl.cluster.clock import Clock
from gnnrl.cluster.errors import ClusterUnavailableError
from gnnrl.cluster.models import ClusterSnapshot, Source
from gnnrl.domains.autoscaling.guarded_scaling import GuardedScaling, Sent
from gnnrl.domains.autoscaling.sensing import Reading, Sensing

__all__ = ["PacedCluster", "Reader", "Seen", "cannot_decide", "cannot_restore", "note_written"]

TO_RESTORE: tuple[Source, ...] = ("deployments", "owners", "namespace", "budgets")
"""What must be known before replicas are put back: how many there are, and whether they may be touched."""


class Reader(Protocol):
    """Reads the cluster, as `ClusterReader` does."""

    def read(self) -> ClusterSnapshot:
        """One snapshot; what failed is a problem in it."""


class Seen(NamedTuple):
    """A reading, and what it was made of."""

    snapshot: ClusterSnapshot
    reading: Reading


class PacedCluster:
    """Reads one after the other, an interval apart.

    Args:
        reader, sensing, scaling: in and out.
        clock: when.
        interval_seconds: between two readings.
        patience_intervals: most intervals in a row that are waited for something usable.

    Attributes:
        initial_replicas: by Deployment, as they were when it was first seen.
    """

    def __init__(
        self,
        reader: Reader,
        sensing: Sensing,
        scaling: GuardedScaling,
        clock: Clock,
        *,
        interval_seconds: float,
        patience_intervals: int,
    ) -> None:
        self.sensing, self.scaling = sensing, scaling
        self.interval_seconds, self.patience_intervals = interval_seconds, patience_intervals
        self.initial_replicas: dict[str, int] = {}
        self._reader, self._clock = reader, clock
        self._tick = clock.now()

    def begin(self) -> None:
        """The intervals are counted from now on."""
        self._tick = self._clock.now()

    def read(self) -> Seen:
        """What there is now.

        Raises:
            CapacityExceeded: more services or calls than fit.
        """
        return self.take(self._reader.read())

    def take(self, snapshot: ClusterSnapshot) -> Seen:
        """The same of a snapshot that has been read."""
        for deployment in snapshot.deployments:
            self.initial_replicas.setdefault(deployment.name, deployment.desired)
        return Seen(snapshot, self.sensing.read(snapshot))

    def wait(self) -> None:
        """Until the next interval; if an action or an update took most of this one, until the one after it."""
        late = (self._clock.now() - self._tick) / self.interval_seconds
        self._tick += math.ceil(late + 0.5) * self.interval_seconds
        self._clock.sleep_until(self._tick)

    def patiently(self, lacking: Callable[[Seen], tuple[str, ...]], seen: Seen | None = None) -> tuple[Seen, int]:
        """Read until nothing is lacking, beginning with `seen`; returns that reading and the intervals that were waited.

        Raises:
            ClusterUnavailableError: patience is at its end; with everything that is lacking.
        """
        seen = seen or self.read()
        waited = 0
        while reasons := lacking(seen):
            if waited >= self.patience_intervals:
                raise ClusterUnavailableError(
                    f"namespace {seen.snapshot.namespace!r}: {waited + 1} readings, {self.interval_seconds:g} s apart, that nothing "
                    f"can rest on; the last one: {'; '.join(reasons)}; mend that (`gnnrl live --once --dry-run` shows it) and "
                    "call reset()"
                )
            waited += 1
            self.scaling.miss()
            self.wait()
            seen = self.read()
        return seen, waited

    def chosen(self, options: Mapping[str, Any], seen: Seen) -> dict[str, int]:
        """The replicas that a reset was told to start from.

        Raises:
            ValueError: unknown options or Deployments, or replicas outside a Deployment's limits.
        """
        if unknown := set(options) - {"replicas"}:
            raise ValueError(f"reset(options=...): {sorted(unknown)} unknown; there is `replicas`, by Deployment")
        chosen: dict[str, int] = dict(options.get("replicas", {}))
        limits = self.scaling.limits(seen.snapshot, seen.reading)
        limit_of = {d.name: limit for d, limit in zip(seen.reading.deployments, limits, strict=True)}
        for name, replicas in chosen.items():
            if name not in limit_of:
                raise ValueError(f"reset(options=...): there is no Deployment {name!r}; there are {sorted(limit_of)}")
            low, high = limit_of[name].min_replicas, limit_of[name].max_replicas
            if type(replicas) is not int or not low <= replicas <= high:
                raise ValueError(f"reset(options=...): {name}: {replicas!r} is no whole number from {low} to {high}")
        return chosen

    def restore(self, seen: Seen, targets: Mapping[str, int]) -> tuple[Sent, Seen, int]:
        """Put replicas back, again where a write fails; returns all that was written, a reading from after that, and the intervals
        that were waited.

        Raises:
            ClusterUnavailableError: a write failed each time, or the cluster cannot be read any more.
        """
        waited = 0
        written: dict[str, tuple[int, int]] = {}
        while True:
            sent = self.scaling.restore(seen.snapshot, seen.reading, targets)
            written |= sent.written
            if not sent.failed:
                break
            if waited >= self.patience_intervals:
                reasons = "; ".join(f"{name} to {targets[name]}: {answer}" for name, answer in sent.failed.items())
                error = ClusterUnavailableError(f"not put back, in {waited + 1} attempts: {reasons}")
                note_written(error, replace(sent, written=written))
                raise error
            waited += 1
            self.wait()
            seen, more = self.patiently(cannot_restore)
            waited += more
        return replace(sent, written=written), self.read() if written else seen, waited

    def settled(self, seen: Seen, since: float | None, seconds: float) -> Seen:
        """Wait for pods, and, where replicas were changed at `since`, for a graph of what came after; no longer than `seconds`."""
        until = self._clock.now() + seconds
        while self._clock.now() < until and not (_is_ready(seen) and (since is None or _graph_began(seen) >= since)):
            self.wait()
            seen = self.read()
        return seen


def cannot_restore(seen: Seen) -> tuple[str, ...]:
    """Why replicas cannot be put back."""
    problems = seen.snapshot.problems
    return tuple(problem.message for problem in problems if not problem.service and problem.source in TO_RESTORE)


def cannot_decide(seen: Seen) -> tuple[str, ...]:
    """Why no decision can rest on this."""
    return seen.reading.blocking


def _is_ready(seen: Seen) -> bool:
    return all(d.ready == d.desired and d.starting == d.pending == d.draining == 0 for d in seen.reading.deployments)


def _graph_began(seen: Seen) -> float:
    """Unix seconds from which on the graph's means are taken."""
    graph = seen.snapshot.graph
    return -math.inf if graph is None else graph.timestamp - graph.duration_seconds


def note_written(error: Exception, sent: Sent) -> None:
    """Say what stands although the call did not end well."""
    changes = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in sent.written.items())
    error.add_note(f"written before, and left so: {changes or 'nothing'}")
