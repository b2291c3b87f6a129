"""The cases that routers are compared on: a fleet, a load, and what happens to the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gnnrl.domains.llm_routing.model import Change, Replica
from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, LengthHint, Requests, WorkloadError, draw_requests

__all__ = ["SCENARIOS", "Scenario", "ScheduledChange", "scenario_named"]


@dataclass(frozen=True, kw_only=True)
class ScheduledChange:
    """A change at a share of the time in which the requests come."""

    share: float
    kind: str
    replica: int
    time_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A case, of any length."""

    description: str
    replicas: tuple[Replica, ...]
    arrivals: Arrivals
    lengths: str = "conversation"
    """Name in `LENGTHS`."""
    changes: tuple[ScheduledChange, ...] = ()

    def __post_init__(self) -> None:
        if self.lengths not in LENGTHS:
            raise WorkloadError(f"lengths {self.lengths!r} are not known; there are {', '.join(LENGTHS)}")

    def requests(self, count: int, seed: int, hint: LengthHint | None = None) -> Requests:
        """The requests of an episode; the same seed gives the same ones."""
        return draw_requests(count, self.arrivals, LENGTHS[self.lengths], seed, hint)

    def timed_changes(self, requests: Requests) -> list[Change]:
        """What happens to the fleet while these requests come."""
        last = float(requests.arrived_at[-1])
        return [
            Change(
                at_seconds=change.share * last, kind=change.kind, replica=change.replica, time_factor=change.time_factor
            )
            for change in self.changes
        ]


def _factors(*factors: float) -> tuple[Replica, ...]:
    return tuple(Replica(time_factor=factor) for factor in factors)


_SCENARIOS: dict[str, Scenario] = {
    "fixed": Scenario(
        description="identical replicas, every request alike: nothing to win over round robin",
        replicas=_factors(1, 1, 1, 1),
        arrivals=Arrivals(qps=16.0),
        lengths="fixed",
    ),
    "A": Scenario(
        description="identical replicas near capacity", replicas=_factors(1, 1, 1, 1), arrivals=Arrivals(qps=20.0)
    ),
    "B": Scenario(description="two replicas half as fast", replicas=_factors(1, 1, 2, 2), arrivals=Arrivals(qps=13.0)),
    "E": Scenario(
        description="three speeds, conversations and code, bursts",
        replicas=_factors(1, 1, 2, 4),
        arrivals=Arrivals(kind="gamma", qps=8.0, cv=3.0),
        lengths="mixed",
    ),
    "elastic": Scenario(
        description="one of four replicas fails, and a fifth one joins later",
        replicas=(*_factors(1, 1, 1, 1), Replica(up=False)),
        arrivals=Arrivals(qps=13.0),
        changes=(
            ScheduledChange(share=0.4, kind="fail", replica=1),
            ScheduledChange(share=0.6, kind="join", replica=4),
        ),
    ),
}


def _twice(name: str) -> Scenario:
    """A scenario with every replica twice and twice the requests; what happens to a replica happens to both."""
    one = _SCENARIOS[name]
    count = len(one.replicas)
    return replace(
        one,
        description=f"{name} with every replica twice and twice the load",
        replicas=one.replicas + one.replicas,
        arrivals=replace(one.arrivals, qps=2.0 * one.arrivals.qps),
        changes=(*one.changes, *(replace(change, replica=change.replica + count) for change in one.changes)),
    )


SCENARIOS: Mapping[str, Scenario] = _SCENARIOS | {
    "A8": _twice("A"),
    "B8": _twice("B"),
    "E8": _twice("E"),
    "elastic8": _twice("elastic"),
}
"""By name; a number is that of the replicas that are up at first, where it is not 4."""


def scenario_named(name: str) -> Scenario:
    """A scenario by name.

    Raises:
        WorkloadError: there is none of this name.
    """
    if name not in SCENARIOS:
        raise WorkloadError(f"scenario {name!r} is not known; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
