"""What the loop does with readings that something is wrong with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnnrl.cluster.actuator import ScaleResult
from gnnrl.cluster.models import Problem
from gnnrl.config.live import GuardrailConfig, LiveConfig
from tests.live.stage_loop import Stage, call

CALLS = (
    call("gateway.istio-system", "front", 30.0),
    call("front", "cart", 30.0),
    call("front", "pay", 30.0),
)
FOUR = {"front": 4, "cart": 4, "pay": 4}
FREE = GuardrailConfig(brake_share=1.0, half_window_seconds=0.0, start_hold_seconds=0.0)


def test_a_service_that_is_no_longer_measured_is_not_raised_further_and_further() -> None:
    """Shown with as many pods as it has now, the last pod's load would grow with each replica that is added for it."""
    for policy, fallback in (("feed_forward_55", "hpa_80"), ("hpa_80", "hpa_80")):
        stage = Stage(policy, FOUR, CALLS, fallback=fallback, config=LiveConfig(guardrails=FREE))
        for _ in range(4):
            stage.interval()
        # What is there carries it, but for a fifth.
        stage.replicas["cart"], stage.millicores["cart"] = 4, 95.0
        stage.interval()
        most = stage.replicas["cart"] + 2
        stage.unmeasured.add("cart")
        for _ in range(30):
            stage.interval()
            assert "fallback_floor" not in stage.decision("cart").guardrails
        assert stage.replicas["cart"] <= most, policy


def test_a_fallback_that_cannot_decide_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("hpa_80", FOUR, CALLS)
    assert stage.interval().valid
    assert stage.loop.fallback is not None

    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(stage.loop.fallback.controller, "decide", broken)
    record = stage.interval()
    assert record.valid and len(record.services) == 3
    assert record.problems == ("fallback: hpa_80 could not decide (broken); it starts anew",)


def test_past_capacity_everything_is_held_and_then_raised_to_the_fallbacks_floor() -> None:
    stage = Stage("feed_forward_55", FOUR, CALLS, max_nodes=4, config=LiveConfig(guardrails=FREE))
    stage.interval()
    stage.replicas = {**FOUR, "new": 4}
    stage.millicores = dict.fromkeys(stage.replicas, 150.0)
    for k in range(1, 6):
        record = stage.interval()
        assert not record.valid and len(record.services) == 4
        assert "4 Deployments, 1 other nodes and 3 calls" in record.problems[0]
        assert record.api_errors == {}
        held = [one.service for one in record.services if not one.changed]
        assert held == (["cart", "front", "new", "pay"] if k < 4 else held)
    assert all("fallback_floor" in one.guardrails for one in stage.records[4].services)
    assert min(stage.replicas.values()) > 4


def test_what_is_left_out_lowers_nobody_whose_requests_it_made() -> None:
    """Without the gateway's calls no request enters the mesh, and everything behind it seems to be idle."""
    config = LiveConfig(guardrails=FREE, past_capacity="drop_least_active")
    stage = Stage("feed_forward_55", FOUR, CALLS, max_nodes=4, config=config)
    stage.millicores = dict.fromkeys((*FOUR, "new"), 35.0)
    stage.replicas["new"] = 4
    stage.calls.append(call("front", "new", 30.0))
    for _ in range(30):
        record = stage.interval()
        assert record.valid and record.external_rps == 0.0
        assert "graph: calls past capacity are not seen; 4 services are not lowered for it" in record.problems
    assert min(stage.replicas.values()) == 4
    # With room for it they are lowered.
    wide = Stage("feed_forward_55", stage.replicas, stage.calls, max_nodes=5, config=config)
    wide.millicores = stage.millicores
    wide.interval()
    assert max(wide.replicas.values()) < 4


def test_only_those_that_a_left_out_service_called_are_doubted() -> None:
    config = LiveConfig(guardrails=FREE, past_capacity="drop_least_active")
    stage = Stage("feed_forward_55", {**FOUR, "rare": 4}, CALLS, max_nodes=4, config=config)
    stage.calls = [call("front", "cart", 30.0), call("front", "pay", 30.0), call("rare", "pay", 0.1)]
    stage.calls.append(call("pay", "extra", 20.0))
    stage.replicas["extra"] = 4
    stage.interval()
    reading = stage.loop.reading
    assert reading is not None and reading.left_out == ("rare",)
    names = reading.mesh.names
    assert [name for i, name in enumerate(names) if reading.untrusted_mask[i]] == ["pay"]


def test_an_interval_in_which_something_could_not_be_read_is_followed_by_a_cool_down() -> None:
    stage = Stage("feed_forward_55", FOUR, CALLS, config=LiveConfig(guardrails=replace(FREE, cooldown_intervals=2)))
    stage.millicores = dict.fromkeys(FOUR, 10.0)
    stage.problems = [Problem(source="budgets", message="503")]
    stage.interval()
    stage.problems = []
    for _ in range(2):
        stage.interval()
        assert "cooldown" in stage.decision("cart").guardrails
        assert stage.replicas == FOUR
    stage.interval()
    assert stage.replicas["cart"] < 4
    # A quota that cannot be read forbids raises only.
    stage.problems = [Problem(source="quota", message="503")]
    stage.replicas = dict(FOUR)
    stage.interval()
    assert stage.replicas["cart"] < 4


def test_a_deployment_that_was_made_anew_has_no_earlier_wishes() -> None:
    guardrails = replace(FREE, stabilise_down_seconds=60.0, young_seconds=0.0, birth_hold_seconds=0.0)
    stage = Stage("feed_forward_55", FOUR, CALLS, config=LiveConfig(guardrails=guardrails))
    stage.millicores = dict.fromkeys(FOUR, 10.0)
    for _ in range(6):
        stage.interval()
    lowered = stage.replicas["cart"]
    assert lowered < 4
    stage.replicas |= {"cart": 4, "pay": 4}
    stage.uids["cart"] = "another"
    stage.interval()
    assert stage.replicas["cart"] == 4 and "stabilise_down" in stage.decision("cart").guardrails
    assert stage.replicas["pay"] < 4, "scaled by hand, but the same"


def test_nothing_is_written_without_a_version_to_hold_it_against() -> None:
    stage = Stage("hpa_80", FOUR, CALLS)
    stage.millicores = dict.fromkeys(FOUR, 150.0)
    read = stage.read

    def unversioned() -> object:
        snapshot = read()
        return replace(snapshot, deployments=tuple(replace(d, resource_version="") for d in snapshot.deployments))

    stage.read = unversioned  # type: ignore[assignment,method-assign]
    stage.interval()
    assert stage.sent and all(request.resource_version is None for request in stage.sent[0].values())


def test_what_was_sent_and_what_came_back_is_recorded() -> None:
    stage = Stage("hpa_80", FOUR, CALLS)
    stage.millicores = {"cart": 150.0}

    def decided_again(changes: object, redecide: object = None) -> dict[str, ScaleResult]:  # noqa: ARG001
        return {"cart": ScaleResult(outcome="patched", sent=6, echoed=6)}

    stage.apply = decided_again  # type: ignore[method-assign]
    stage.interval()
    one = stage.decision("cart")
    assert (one.final, one.sent, one.echoed, one.outcome) == (8, 6, 6, "patched")
    assert (stage.decision("pay").sent, stage.decision("pay").outcome) == (None, "none")


def test_a_gateway_that_vanished_from_the_graph_lowers_nobody_behind_it() -> None:
    """Its scrape was lost: the first service contradicts itself, those that it calls do not."""
    stage = Stage("feed_forward_55", FOUR, CALLS, config=LiveConfig(guardrails=FREE))
    stage.millicores = dict.fromkeys(FOUR, 100.0)
    for _ in range(4):
        stage.interval()
    assert stage.replicas == FOUR
    stage.calls = stage.calls[1:]
    for _ in range(8):
        record = stage.interval()
        assert record.external_rps == 0.0 and stage.decision("cart").wish == 1
        assert min(stage.replicas.values()) >= 4, "raised by the fallback, if anything"
        assert (
            "graph: no requests enter the mesh, though its pods are busy; is the gateway still scraped?"
            in record.problems
        )
    # Traffic that did end is no such thing.
    stage.millicores = dict.fromkeys(FOUR, 5.0)
    for _ in range(6):
        stage.interval()
    assert stage.replicas["cart"] < 4
