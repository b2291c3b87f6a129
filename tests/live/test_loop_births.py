"""What the loop does when a service comes, when calls fail, and when the objective is missed again and again."""

from __future__ import annotations

from dataclasses import replace

from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.live.decision import IntervalRecord
from kiali_client import Edge
from tests.live.stage_loop import Stage, call

CALLS = (
    call("gateway.istio-system", "front", 30.0),
    call("front", "cart", 30.0),
    call("cart", "redis", 30.0),
    call("front", "pay", 30.0),
)
FOUR = {"front": 4, "cart": 4, "pay": 4, "redis": 4}
FREE = GuardrailConfig(brake_share=1.0, half_window_seconds=0.0)


def staged(policy: str = "feed_forward_55", **guardrails: object) -> Stage:
    stage = Stage(policy, FOUR, CALLS, config=LiveConfig(guardrails=replace(FREE, **guardrails)))  # type: ignore[arg-type]
    stage.millicores = dict.fromkeys((*FOUR, "new"), 10.0)
    return stage


def hits(record: IntervalRecord, name: str) -> set[str]:
    return {one.service for one in record.services if name in one.guardrails}


def test_after_a_birth_nothing_is_lowered_for_two_minutes_and_the_newborn_has_two_replicas() -> None:
    stage = staged()
    stage.interval()
    assert max(stage.replicas.values()) < 4, "the negative control: everything may be lowered"
    stage.replicas = {**FOUR, "new": 1}
    stage.calls.append(call("front", "new", 3.0))
    record = stage.interval()
    assert stage.replicas == {**FOUR, "new": 2} and hits(record, "newborn") == {"new"}
    assert hits(record, "birth_hold") == set(FOUR)
    for _ in range(7):
        record = stage.interval()
        assert stage.replicas == {**FOUR, "new": 2}
        assert hits(record, "birth_hold") == set(FOUR) and hits(record, "newborn") == {"new"}
    stage.interval()
    assert max(stage.replicas.values()) < 4 and stage.replicas["new"] == 1


def test_a_service_without_metrics_is_never_lowered_and_held_by_name() -> None:
    stage = staged(birth_hold_seconds=0.0, young_seconds=15.0, newborn_replicas=0)
    stage.interval()
    stage.replicas["new"] = 4
    stage.unmeasured.add("new")
    for _ in range(12):
        stage.interval()
    assert stage.replicas["new"] == 4
    stage.unmeasured.clear()
    stage.interval()
    assert stage.replicas["new"] < 4


def failing(edge: Edge, share: float) -> Edge:
    (traffic,) = edge.traffic
    return replace(edge, traffic=(replace(traffic, error_share=share),))


def test_what_stands_behind_failing_calls_is_not_lowered_while_they_fail() -> None:
    stage = staged()
    stage.calls[1] = failing(stage.calls[1], 0.02)  # front -> cart
    record = stage.interval()
    assert hits(record, "errors_hold") == {"cart", "redis"}
    assert {name for name, replicas in stage.replicas.items() if replicas == 4} == {"cart", "redis"}
    stage.calls[1] = failing(stage.calls[1], 0.01)
    record = stage.interval()
    assert not hits(record, "errors_hold") and max(stage.replicas.values()) < 4


def slow(edge: Edge) -> Edge:
    (traffic,) = edge.traffic
    return replace(edge, traffic=(replace(traffic, response_time_ms=900.0),))


def test_a_missed_objective_raises_the_floor_of_a_rule_that_does_not_see_it() -> None:
    for on in (True, False):
        stage = staged("feed_forward_99", slo_integrator=on)
        stage.millicores = dict.fromkeys(FOUR, 150.0)  # 3 replicas' worth of work: 4.2 at a factor of 1.05
        stage.interval()
        assert set(stage.replicas.values()) == {4}
        stage.calls = [slow(edge) for edge in stage.calls]
        record = stage.interval()
        assert hits(record, "slo_integrator") == (set(FOUR) if on else set())
        assert set(stage.replicas.values()) == {5 if on else 4}
