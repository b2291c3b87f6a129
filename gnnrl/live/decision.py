"""What one interval decided, as data: the record that the journal, the screen, the metrics and the Events all show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gnnrl.cluster.actuator import Outcome, WriteMode

__all__ = ["Influence", "IntervalRecord", "Outcome", "ServiceDecision"]


@dataclass(frozen=True, kw_only=True)
class Influence:
    """How much an input weighed on a service's wish: gradient x input of the expected change of replicas."""

    kind: Literal["service", "call"]
    name: str
    """Service, or `source -> target`."""
    weight: float
    """Replicas; above 0 it argued for more."""


@dataclass(frozen=True, kw_only=True)
class ServiceDecision:
    """What was decided for one service, and why."""

    service: str
    current: int
    """Replicas it had (`spec.replicas`)."""
    ready: int
    wish: int
    """What the policy or the baseline wanted."""
    final: int
    """What the guardrails made of it."""
    guardrails: tuple[str, ...] = ()
    """Names of those that changed the number, in order."""
    reason: str = ""
    """One line for people."""
    inputs: Mapping[str, float] = field(default_factory=dict)
    """Observation columns by name, as the policy saw them."""
    influences: tuple[Influence, ...] = ()
    outcome: Outcome = "none"
    sent: int | None = None
    """Replicas of the last write that left the process: not `final` where somebody else's change made it decide again."""
    echoed: int | None = None
    """Replicas in the API server's answer to that."""
    answer: str = ""
    """What the API server said, where it failed."""

    @property
    def changed(self) -> bool:
        """Whether replicas are to change."""
        return self.final != self.current


@dataclass(frozen=True, kw_only=True)
class IntervalRecord:
    """One interval of the loop, whole."""

    number: int
    seconds: float
    """Unix seconds when it began."""
    policy: str
    mode: WriteMode
    valid: bool
    """Whether a decision was made; otherwise everything was held, or raised to the fallback's floor."""
    data_age_seconds: Mapping[str, float]
    """By source, `graph` and `metrics`; a source without data is missing."""
    problems: tuple[str, ...] = ()
    api_errors: Mapping[str, int] = field(default_factory=dict)
    """Failed reads by source (`Source` of the snapshot); failed writes are told by the outcomes."""
    services: tuple[ServiceDecision, ...] = ()
    external_rps: float = 0.0
    """Of the mesh; not-a-number = no graph could be read, as for the next one."""
    latency_p95_ms: float = 0.0
    slo_ms: float = 0.0
    read_seconds: float = 0.0
    decide_seconds: float = 0.0
    write_seconds: float = 0.0
    is_leader: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the journal writes them."""
        return asdict(self)
