"""What several reporters say of the calls along one edge, as one: each call is told by its source, by its destination, by a waypoint
between them, and by every Prometheus of a pair, and may be named differently by each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["EdgeReports", "Flow", "Witness"]

TELL_OUTCOMES = ("source", "waypoint", "destination")
"""Who waits for an answer knows best what came of the call: what the destination answered too late is a failure."""
TELL_SECURITY = ("destination", "waypoint", "source")
"""Who was authenticated is known to the receiver."""


class Witness(NamedTuple):
    """Who reports."""

    reporter: str
    """`source`, `destination` or `waypoint`."""
    replica: str
    """Of a pair of Prometheus; empty = there is only one."""


@dataclass
class Flow:
    """Calls of one protocol; rates in requests/s, or bytes/s for tcp."""

    rate: float = 0.0
    failed_rate: float = 0.0
    mutual_tls_rate: float = 0.0


@dataclass
class EdgeReports:
    """All that is said of the calls of one kind, requests or tcp, along an edge."""

    by_witness: dict[Witness, dict[str, Flow]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Flow)))
    """Flows by protocol. Those of one witness add up; those of two are the same calls."""

    def add(self, witness: Witness, protocol: str, rate: float, *, failed: bool, mutual_tls: bool) -> None:
        """A series of one witness."""
        flow = self.by_witness[witness][protocol]
        flow.rate += rate
        flow.failed_rate += rate if failed else 0.0
        flow.mutual_tls_rate += rate if mutual_tls else 0.0

    def merged(self) -> dict[str, Flow]:
        """The flows by protocol.

        As many calls as the witness says that saw most: a call that never arrived is known to its source alone, one that was retried to
        its destination. Their protocols and outcomes are divided as the caller saw them.
        """
        total = max(_total(flows) for flows in self.by_witness.values())
        outcomes = self._told_by(TELL_OUTCOMES)
        security = self._told_by(TELL_SECURITY)
        secured = sum(flow.mutual_tls_rate for flow in security.values())
        secured_share = secured / _total(security) if secured else 0.0
        scale = total / _total(outcomes) if total else 0.0
        merged = {}
        for protocol, flow in outcomes.items():
            there = security.get(protocol)
            share = there.mutual_tls_rate / there.rate if there is not None and there.rate else secured_share
            merged[protocol] = Flow(flow.rate * scale, flow.failed_rate * scale, flow.rate * scale * share)
        return merged

    def _told_by(self, reporters: tuple[str, ...]) -> dict[str, Flow]:
        """The flows of the first of these reporters who saw any call, or of the last who is there at all."""

        def place(witness: Witness) -> tuple[bool, int, float]:
            total = _total(self.by_witness[witness])
            return (total > 0.0, -reporters.index(witness.reporter), total)

        return self.by_witness[max(sorted(self.by_witness), key=place)]


def _total(flows: dict[str, Flow]) -> float:
    return sum(flow.rate for flow in flows.values())
