"""What the Events of a Deployment say of an interval."""

from __future__ import annotations

from typing import Any

from gnnrl.live.decision import IntervalRecord, ServiceDecision
from gnnrl.live.deployment_events import DeploymentEvents


class Heard:
    """Takes Events instead of posting them."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def post(self, *event: Any) -> None:
        self.said.append(event)


def decision(**what: Any) -> ServiceDecision:
    told: dict[str, Any] = {
        "service": "cart",
        "current": 4,
        "ready": 4,
        "wish": 8,
        "final": 8,
        "reason": "raise 4 -> 8",
        "outcome": "patched",
    }
    return ServiceDecision(**told | what)


def test_an_event_names_the_number_that_was_sent() -> None:
    heard = Heard()
    events = DeploymentEvents(heard, lambda _: "uid-1")  # type: ignore[arg-type]
    one = decision(sent=8, echoed=8)
    again = decision(service="pay", sent=6, echoed=6)
    refused = decision(service="ads", outcome="failed", sent=8, answer="403")
    events(
        IntervalRecord(
            number=0,
            seconds=0.0,
            policy="p",
            mode="live",
            valid=True,
            data_age_seconds={},
            services=(one, again, refused),
        )
    )
    events._pool.shutdown(wait=True)
    assert heard.said == [
        ("cart", "uid-1", "ScaledUp", "raise 4 -> 8", "Normal"),
        ("pay", "uid-1", "ScaledUp", "raise 4 -> 8; 6 was sent, since somebody else had changed it", "Normal"),
        ("ads", "uid-1", "ScalingFailed", "4 -> 8 was not written: 403", "Warning"),
    ]
