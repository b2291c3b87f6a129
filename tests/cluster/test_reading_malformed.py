"""Objects with any field replaced by anything: a finding at most, never an exception, and never a number out of bounds."""

from __future__ import annotations

import copy
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gnnrl.cluster.budgets import fewest_pods, headroom
from gnnrl.cluster.findings import Findings
from gnnrl.cluster.ownership import owners
from gnnrl.cluster.pod_metrics import attribute, parse_metrics
from gnnrl.cluster.workloads import count_pods, parse_deployments, parse_pods

from .test_reader import NOW, deployment, pod, usage

NAMESPACE: dict[str, Any] = {
    "deployments": [deployment("web", 3), deployment("cart", 1)],
    "pods": [pod("web", 0), pod("web", 1), pod("web", 2, ready=False), pod("cart", 0)],
    "metrics": [usage("web", 0), usage("web", 1), usage("cart", 0)],
    "autoscalers": [{"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}],
    "budgets": [
        {
            "metadata": {"name": "b"},
            "spec": {
                "minAvailable": "50%",
                "selector": {
                    "matchLabels": {"app": "web"},
                    "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}],
                },
            },
        }
    ],
    "quotas": [
        {"spec": {"scopes": []}, "status": {"hard": {"pods": "9", "cpu": "4"}, "used": {"pods": "3", "cpu": "1"}}}
    ],
}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 9),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["NaN", "1_000", "-1", "1e30", "101%", "9" * 400, "2023-11-14T22:13:20+99:99", "0001-01-01T00:00:00Z", "1h" * 99]),
    st.sampled_from([[], {}, [[]], [None], {"a": 1}, [{}], {"": None}]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


PLACES = [place for place in places(NAMESPACE) if len(place) > 1]


def read(namespace: dict[str, Any]) -> tuple[list[Any], list[Any], Any, Findings]:
    findings = Findings()
    declared = parse_deployments(namespace["deployments"], findings)
    pods = parse_pods(namespace["pods"], findings)
    states = count_pods(declared, pods, findings)
    found = attribute(
        parse_metrics(namespace["metrics"], findings),
        {p.name: p for p in pods},
        {s.name for s in states},
        NOW,
        findings,
    )
    owners(namespace["autoscalers"], namespace["autoscalers"], findings)
    fewest = fewest_pods(namespace["budgets"], states, findings)
    quota = headroom(namespace["quotas"], findings)
    assert all(0 <= count <= 2**31 for count in fewest.values())
    return states, found, quota, findings


def test_what_is_whole_has_no_findings() -> None:
    states, found, quota, findings = read(NAMESPACE)
    assert findings.problems() == ()
    assert (len(states), len(found), quota.pods) == (2, 3, 6)


@settings(max_examples=1500, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=4))
def test_anything_in_any_place(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    namespace = copy.deepcopy(NAMESPACE)
    for place, junk in changes:
        parent: Any = namespace
        for key in place[:-1]:
            parent = parent[key] if isinstance(parent, dict | list) and has(parent, key) else None
        # An item of a list is an object always: the API client sees to that.
        if parent is not None and has(parent, place[-1]) and not (len(place) == 2 and not isinstance(junk, dict)):
            parent[place[-1]] = junk
    states, found, quota, findings = read(namespace)
    for state in states:
        counts = (state.desired, state.ready, state.starting, state.pending, state.draining)
        assert all(isinstance(count, int) and 0 <= count <= 2**31 for count in counts)
        assert math.isfinite(state.created_seconds)
        for container in state.containers:
            sizes = [value for name, value in vars(container).items() if name != "name" and value is not None]
            assert all(0.0 <= size < math.inf for size in sizes)
    for each in found:
        assert math.isfinite(each.timestamp_seconds) and 0.0 < each.window_seconds < math.inf
        assert all(
            0 <= one.cpu_nanocores <= 10**15 and 0 <= one.memory_bytes <= 2**60 for one in each.containers.values()
        )
    assert quota.pods is None or 0 <= quota.pods <= 2**31
    assert all(len(problem.message) < 2000 for problem in findings.problems())


def has(parent: Any, key: Any) -> bool:
    return (
        key in parent
        if isinstance(parent, dict)
        else isinstance(parent, list) and isinstance(key, int) and key < len(parent)
    )
