import math
import re

import numpy as np
import pytest

from gnnrl.agents.attribution import Attribution, attribute
from gnnrl.cluster.guardrails.names import GUARDRAILS
from gnnrl.live.decision import Influence
from gnnrl.live.explanation import MAX_REASON, explain, influences_of, inputs_of
from graph_space.schema import AUTOSCALING, GLOBALS, NODES, autoscaling_schema
from tests.agents.test_attribution import CALLS, CHANGE, make_agent, observation, state_before

CART = {"ready": 4.0, "busy_replicas": 1.8, "busy_trend": 0.4, "latency_p95_over_slo": 420 / 486, "slo_seconds": 0.486}
HEAVY = (
    Influence(kind="service", name="cartservice", weight=1.2),
    Influence(kind="call", name="frontend -> cartservice", weight=-0.6),
    Influence(kind="service", name="redis", weight=0.1),
)
SLOTS = {"a": 0, "b": 1, "c": 2, "d": 3, "e": 5, "f": 6}


def test_the_whole_reason_is_made_of_the_numbers_that_were_seen():
    assert explain(current=4, wish=9, final=6, inputs=CART, guardrails=("rate_up",), influences=HEAVY) == (
        "raise 4 -> 6 (wanted 9): CPU 45 % of the limits on 4, rising (+10 %), P95 420 of 486 ms; "
        "cartservice and frontend -> cartservice weighed most; limited by rate_up"
    )


def test_a_baseline_is_explained_by_its_inputs_alone():
    assert explain(current=4, wish=2, final=2, inputs={**CART, "busy_trend": -0.3}) == (
        "lower 4 -> 2: CPU 45 % of the limits on 4, falling (-8 %), P95 420 of 486 ms"
    )
    basic = {"pods": 3.0, "cpu_millicores": 912.4, "rps_in": 120.04, "rps_out": 7.0}
    assert explain(current=3, wish=3, final=3, inputs=basic) == "hold 3: CPU 912 m on 3, 120 requests/s"
    assert explain(current=3, wish=3, final=3, inputs={}) == "hold 3"


def test_of_a_rule_nothing_is_said_but_what_it_read_itself():
    told = {"current": 11, "wish": 15, "final": 15, "inputs": {**CART, "error_share": 0.5, "starting": 3.0}}
    assert explain(**told, grounds=("CPU 105 % of the requests on 11, target 80 %",)) == (
        "raise 11 -> 15: CPU 105 % of the requests on 11, target 80 %"
    )
    assert explain(**told, grounds=()) == "raise 11 -> 15"


@pytest.mark.parametrize(
    ("inputs", "said", "unsaid"),
    [
        ({"busy_trend": 0.04}, [], ["rising", "falling"]),
        ({"busy_trend": math.nan, "busy_replicas": math.inf}, ["P95 420"], ["nan", "inf", "CPU"]),
        ({"latency_p95_over_slo": 2.0}, ["P95 at least 972 of 486 ms"], []),
        ({"slo_seconds": 0.0, "p95_ms": 31.4}, ["P95 31 ms"], ["of 486"]),
        ({"error_share": 0.021}, ["2 % errors"], []),
        ({"error_share": 0.001}, [], ["errors"]),
        ({"starting": 2.0}, ["2 starting"], []),
        ({"busy_replicas": 240.4}, ["CPU 6010 % of the limits on 4"], []),
        ({"ready": 0.0, "cpu_millicores": 12.0}, ["CPU 12 m on 0"], ["inf", "limits", "rising"]),
    ],
)
def test_what_is_said_of_an_input(inputs, said, unsaid):
    reason = explain(current=4, wish=4, final=4, inputs={**CART, **inputs})
    assert all(part in reason for part in said), reason
    assert not any(part in reason for part in unsaid), reason


def test_without_a_decision_the_cause_is_said_and_cut_where_it_is_long():
    cause = "graph: 90 s old, more than 75 s"
    assert explain(current=4, wish=4, final=4, inputs={}, guardrails=("cooldown",), undecided=cause) == (
        "hold 4: no decision (graph: 90 s old, more than 75 s); held by cooldown (an error just happened)"
    )
    reason = explain(current=4, wish=4, final=6, inputs={}, guardrails=("fallback_floor",), undecided="x" * 500)
    assert len(reason) <= MAX_REASON and "xxx...)" in reason and "raised by fallback_floor" in reason


@pytest.mark.parametrize(
    ("current", "wish", "final", "start", "did"),
    [
        (4, 9, 6, "raise 4 -> 6 (wanted 9)", "limited by"),
        (6, 1, 3, "lower 6 -> 3 (wanted 1)", "limited by"),
        (4, 9, 4, "hold 4 (wanted 9)", "held by"),
        (4, 4, 4, "hold 4", "held by"),
        (4, 2, 6, "raise 4 -> 6 (wanted 2)", "raised by"),
        (4, 4, 6, "raise 4 -> 6 (wanted 4)", "raised by"),
        (4, 5, 6, "raise 4 -> 6 (wanted 5)", "raised by"),
        (30, 33, 20, "lower 30 -> 20 (wanted 33)", "lowered by"),
        (30, 25, 20, "lower 30 -> 20 (wanted 25)", "lowered by"),
        (4, 6, 6, "raise 4 -> 6", "passed"),
    ],
)
def test_the_verb_says_what_the_guardrails_did_to_the_wish(current, wish, final, start, did):
    reason = explain(current=current, wish=wish, final=final, inputs={}, guardrails=("rate_up", "min_max"))
    assert reason == f"{start}: {did} rate_up, min_max (brought within its replica limits)"


@pytest.mark.parametrize("name", GUARDRAILS)
def test_every_guardrail_is_named_and_what_it_means_is_said(name):
    reason = explain(current=4, wish=9, final=4, inputs=CART, guardrails=(name,))
    cause = GUARDRAILS[name].partition(": ")[0]
    assert reason.endswith(f"; held by {name} ({cause})")
    assert len(reason) <= MAX_REASON
    assert len(cause) >= 10
    crowded = explain(current=4, wish=9, final=4, inputs=CART, guardrails=(name,), influences=HEAVY)
    assert f"held by {name}" in crowded and "cartservice" in crowded and len(crowded) <= MAX_REASON


def test_an_unknown_guardrail_is_named_without_a_meaning():
    assert explain(current=4, wish=9, final=4, inputs={}, guardrails=("own",)) == "hold 4 (wanted 9): held by own"


@pytest.mark.parametrize("length", [10, 40, 63, 120, 253])
def test_a_reason_is_never_longer_than_its_limit_and_keeps_change_and_guardrails(length):
    name = "x" * length
    influences = (
        Influence(kind="service", name=name, weight=1.0),
        Influence(kind="call", name=f"{name} -> {name}", weight=0.9),
    )
    crowd = {**CART, "error_share": 0.5, "starting": 3.0}
    reason = explain(current=4, wish=9, final=6, inputs=crowd, guardrails=("rate_up", "quota"), influences=influences)
    assert len(reason) <= MAX_REASON
    assert reason.startswith("raise 4 -> 6 (wanted 9): CPU 45 %") and "limited by rate_up, quota" in reason
    assert ("weighed most" in reason) == (length <= 40)
    assert len(explain(current=1, wish=2, final=1, inputs=crowd, guardrails=tuple(GUARDRAILS))) <= MAX_REASON


def test_the_inputs_are_the_columns_of_one_service_and_of_the_graph_by_name():
    rng = np.random.default_rng(2)
    nodes = rng.normal(size=(3, len(AUTOSCALING.nodes))).astype(np.float32)
    obs = {NODES: nodes, GLOBALS: rng.normal(size=len(AUTOSCALING.globals)).astype(np.float32)}
    found = inputs_of(obs, 1, AUTOSCALING)
    assert list(found) == [*AUTOSCALING.names(NODES), *AUTOSCALING.names(GLOBALS)]
    assert found["busy_replicas"] == nodes[1, AUTOSCALING.index(NODES, "busy_replicas")]
    assert found["slo_seconds"] == obs[GLOBALS][-1]
    assert found == inputs_of({key: value[None] for key, value in obs.items()}, 1, AUTOSCALING)
    assert all(type(value) is float for value in found.values())
    with pytest.raises(ValueError):
        inputs_of(obs, 1, autoscaling_schema("basic"))


def weighed(**changes):
    zero = {
        "expected_change": np.zeros(1),
        "node_weight": np.zeros((1, 8)),
        "node_column_weight": np.zeros((1, 4)),
        "edge_weight": np.zeros((1, 12)),
        "global_weight": np.zeros((1, 2)),
        "memory_weight": np.zeros((1, 8)),
    }
    return Attribution(nodes=np.array([3]), **{**zero, **changes})


def test_the_largest_are_kept_in_order_of_size_whatever_their_sign():
    node_weight, memory_weight, edge_weight = np.zeros((1, 8)), np.zeros((1, 8)), np.zeros((1, 12))
    node_weight[0, [0, 2, 3]] = 0.5, 0.1, -2.0
    memory_weight[0, [0, 1, 2]] = 0.25, 0.004, -0.1
    edge_weight[0, [0, 3, 4]] = -1.0, 0.3, 0.3
    found = influences_of(
        weighed(node_weight=node_weight, memory_weight=memory_weight, edge_weight=edge_weight), observation(), SLOTS
    )
    assert found == {
        "d": (
            Influence(kind="service", name="d", weight=-2.0),
            Influence(kind="call", name="e -> c", weight=-1.0),
            Influence(kind="service", name="a", weight=0.75),
            Influence(kind="call", name="a -> d", weight=0.3),
            Influence(kind="call", name="f -> b", weight=0.3),
        )
    }
    limited = influences_of(weighed(node_weight=node_weight), observation(), SLOTS, limit=1)
    assert [one.name for one in limited["d"]] == ["d"]


def test_parallel_calls_of_a_pair_weigh_together_and_may_cancel():
    obs = observation()
    obs["edge_index"][:, 1] = obs["edge_index"][:, 0]
    edge_weight = np.zeros((1, 12))
    edge_weight[0, [0, 1]] = 0.5, 0.25
    assert influences_of(weighed(edge_weight=edge_weight), obs, SLOTS)["d"] == (
        Influence(kind="call", name="e -> c", weight=0.75),
    )
    edge_weight[0, [0, 1]] = 0.5, -0.5
    assert influences_of(weighed(edge_weight=edge_weight), obs, SLOTS)["d"] == ()


def test_slots_without_a_name_are_refused():
    with pytest.raises(ValueError, match=re.escape("slots [5] have no name")):
        influences_of(weighed(), observation(), {name: slot for name, slot in SLOTS.items() if slot != 5})


def test_a_real_decision_names_only_services_and_calls_of_its_own_component():
    agent, obs = make_agent(), observation()
    attribution = attribute(agent, obs, state_before(agent), None, [SLOTS["d"], SLOTS["f"]], CHANGE)
    found = influences_of(attribution, obs, SLOTS)
    again = influences_of(attribution, {key: np.asarray(value)[None] for key, value in obs.items()}, SLOTS)
    assert found == again and list(found) == ["d", "f"]
    assert {one.name for one in found["f"]} == {"b", "f", "f -> b"}
    assert len(found["d"]) == 5
    own = {name for name in SLOTS if name not in "bf"}
    assert all(set(one.name.split(" -> ")) <= own for one in found["d"])
    assert all(one.weight == pytest.approx(attribution.edge_weight[0, CALLS.index((SLOTS[a], SLOTS[b]))])
               for one in found["d"] if one.kind == "call" for a, b in [one.name.split(" -> ")])  # fmt: skip
    sizes = [abs(one.weight) for one in found["d"]]
    assert sizes == sorted(sizes, reverse=True)
