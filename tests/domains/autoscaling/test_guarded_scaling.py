"""What is sent for wishes and for a restoration, with a writer that keeps what it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnnrl.cluster.actuator import Outcome, Redecide, ScaleRequest, ScaleResult
from gnnrl.cluster.models import ClusterSnapshot, Container, DeploymentState
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.guarded_scaling import GuardedScaling, wide_guardrails
from gnnrl.domains.autoscaling.sensing import Reading, Sensing

COLUMNS = 6


class Kept:
    """Answers every request with one outcome."""

    def __init__(self, outcome: Outcome = "patched") -> None:
        self.outcome: Outcome = outcome
        self.requests: dict[str, ScaleRequest] = {}
        self.redecide: Redecide | None = None

    def apply(self, changes: dict[str, ScaleRequest], redecide: Redecide | None = None) -> dict[str, ScaleResult]:
        self.requests, self.redecide = dict(changes), redecide
        return {
            name: ScaleResult(outcome=self.outcome, answer="no", sent=one.replicas) for name, one in changes.items()
        }

    @property
    def replicas(self) -> dict[str, int]:
        return {name: one.replicas for name, one in self.requests.items()}


def deployment(name: str, desired: int, **fields: Any) -> DeploymentState:
    return DeploymentState(
        name=name,
        uid=name,
        resource_version=f"version of {name}",
        desired=desired,
        ready=desired,
        starting=0,
        pending=0,
        containers=(Container(name="server", cpu_request_millicores=100.0, cpu_limit_millicores=200.0),),
        created_seconds=0.0,
        **fields,
    )


def seen(*deployments: DeploymentState, **fields: Any) -> tuple[ClusterSnapshot, Reading]:
    snapshot = ClusterSnapshot(namespace="shop", taken_seconds=100.0, deployments=deployments, **fields)
    sensing = Sensing(max_nodes=COLUMNS, max_edges=4, interval_seconds=15.0, stale_after_seconds=75.0, slo_ms=100.0)
    reading = sensing.read(snapshot)
    return snapshot, replace(reading, untrusted_mask=np.zeros(COLUMNS, np.bool_))


def scaling(writer: Kept, config: GuardrailConfig | None = None) -> GuardedScaling:
    return GuardedScaling(config or wide_guardrails(1, 20), writer, COLUMNS, 15.0)


def wishes(*replicas: int) -> np.ndarray:
    return np.array([*replicas, *[0] * (COLUMNS - len(replicas))])


def test_a_request_rests_on_the_number_and_version_that_were_read() -> None:
    writer = Kept()
    sent = scaling(writer).apply(*seen(deployment("a", 3), deployment("b", 2)), wishes(5, 2))
    assert writer.requests == {
        "a": ScaleRequest(replicas=5, expected=3, minimum=1, maximum=20, resource_version="version of a")
    }
    assert writer.redecide is None, "somebody else's number is left"
    assert (sent.written, sent.failed, sent.held, sent.problems) == ({"a": (3, 5)}, {}, (), ())


def test_wide_guardrails_let_everything_within_the_limits_through_at_once() -> None:
    writer = Kept()
    guarded = scaling(writer)
    many = [deployment(name, 20) for name in "abcdef"]
    assert guarded.apply(*seen(*many), wishes(*[1] * 6)).held == ()
    assert writer.replicas == dict.fromkeys("abcdef", 1)
    assert guarded.apply(*seen(*[deployment(name, 1) for name in "abcdef"]), wishes(*[20] * 6)).held == ()
    assert writer.replicas == dict.fromkeys("abcdef", 20)


def test_after_a_write_that_failed_nothing_is_lowered_once() -> None:
    writer = Kept("failed")
    guarded = scaling(writer)
    there = seen(deployment("a", 4), deployment("b", 4))
    sent = guarded.apply(*there, wishes(5, 4))
    assert sent.written == {} and sent.failed == {"a": "no"} and sent.problems == ("a: no",)
    writer.outcome = "patched"
    sent = guarded.apply(*there, wishes(5, 3))
    assert writer.replicas == {"a": 5} and sent.problems == ("b: wanted 3, allowed 4 (cooldown)",)
    guarded.apply(*there, wishes(5, 3))
    assert writer.replicas == {"a": 5, "b": 3}


def test_memory_of_earlier_wishes_follows_the_names() -> None:
    """A window of two intervals: `b` was wished high, and moves to the first column."""
    writer = Kept()
    guarded = scaling(writer, replace(wide_guardrails(1, 20), stabilise_down_seconds=30.0))
    guarded.apply(*seen(deployment("a", 4), deployment("b", 4)), wishes(4, 8))
    assert writer.replicas == {"b": 8}
    writer.requests = {}
    sent = guarded.apply(*seen(deployment("b", 8), deployment("c", 4)), wishes(2, 4))
    assert writer.replicas == {} and sent.problems == ("b: wanted 2, allowed 8 (stabilise_down)",)
    guarded.apply(*seen(deployment("b", 8), deployment("c", 4)), wishes(2, 4))
    assert writer.replicas == {"b": 2}


def test_a_restoration_is_not_hurried_by_rates_and_gives_way_to_what_was_there() -> None:
    writer = Kept()
    slow = GuardrailConfig(
        max_up_replicas=1, max_up_share=0.1, max_down_replicas=1, max_down_share=0.0, max_replicas=10
    )
    there = [
        deployment("above", 10),
        deployment("down", 9),
        deployment("off", 0),
        deployment("once-off", 2),
        deployment("other", 15),
        deployment("up", 1),
    ]
    targets = {"above": 14, "down": 1, "off": 3, "once-off": 0, "up": 9, "gone": 5}
    sent = scaling(writer, slow).restore(*seen(*there), targets)
    assert writer.replicas == {"above": 14, "down": 1, "up": 9}
    assert writer.requests["above"].maximum == 14 and writer.requests["down"].maximum == 10
    assert sent.held == ("off",) and sent.problems == ("off: wanted 3, allowed 0 (scaled_to_zero)",)
    # Whatever somebody made of it in the meantime, unless it was switched off.
    assert writer.redecide is not None
    assert (writer.redecide("up", 5), writer.redecide("up", 0)) == (9, None)


@pytest.mark.parametrize(
    ("fields", "annotations", "reason"),
    [
        ({"owner": "HorizontalPodAutoscaler/a"}, {}, "owned"),
        ({"annotations": {"gnnrl.io/pause": "true"}}, {}, "paused"),
        ({}, {"gnnrl.io/pause": "true"}, "paused"),
        ({"annotations": {"gnnrl.io/stateful": "true"}}, {}, "not_scalable"),
        ({"annotations": {"gnnrl.io/min": "9", "gnnrl.io/max": "8"}}, {}, "contradictory"),
        ({"min_available": 6}, {}, "disruption_budget"),
    ],
)
def test_neither_a_wish_nor_a_restoration_touches_what_is_not_to_be_touched(
    fields: dict[str, Any], annotations: dict[str, str], reason: str
) -> None:
    there = seen(deployment("a", 6, **fields), namespace_annotations=annotations)
    for act in ("apply", "restore"):
        writer = Kept()
        guarded = scaling(writer)
        sent = guarded.apply(*there, wishes(4)) if act == "apply" else guarded.restore(*there, {"a": 4})
        assert writer.requests == {} and sent.held == ("a",) and guarded.touched == set()
        assert f"({reason}" in sent.problems[-1]
