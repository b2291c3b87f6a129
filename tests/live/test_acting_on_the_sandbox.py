"""Actuator, election and Events against the sandbox's Kubernetes API, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gnnrl.cluster.actuator import Actuator, ScaleRequest
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.events import EventPoster
from gnnrl.cluster.lease import LeaderElector
from gnnrl.cluster.paths import deployment_path, deployments_path, events_path, lease_path, scale_path
from gnnrl.live.sandbox.kubernetes_api import KubernetesApi
from tests.cluster.fake_api import TOKEN, kubeconfig
from tests.live.sandbox_worlds import world_at

NAMESPACE = "onlineboutique"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[tuple[KubernetesApi, SteppedClock]]:
    world, clock = world_at(0.0)
    with KubernetesApi(world, clock, TOKEN) as server:
        assert isinstance(server, KubernetesApi)
        yield server, clock


@pytest.fixture
def clock(sandbox: tuple[KubernetesApi, SteppedClock]) -> SteppedClock:
    return sandbox[1]


@pytest.fixture
def api(sandbox: tuple[KubernetesApi, SteppedClock], tmp_path: Path) -> Iterator[ClusterApi]:
    sandbox[0].deny.clear()
    found = ClusterApi.connect(kubeconfig(tmp_path, sandbox[0].url))
    yield found
    found.close()


def request(api: ClusterApi, name: str, change: int) -> ScaleRequest:
    found = api.get(deployment_path(NAMESPACE, name))
    current = found["spec"]["replicas"]
    return ScaleRequest(
        replicas=current + change,
        expected=current,
        maximum=30,
        resource_version=found["metadata"]["resourceVersion"],
    )


def replicas(api: ClusterApi, name: str) -> int:
    return int(api.get(scale_path(NAMESPACE, name))["spec"]["replicas"])


def test_every_deployment_is_scaled_on_the_version_of_its_own_list(api: ClusterApi, clock: SteppedClock) -> None:
    actuator = Actuator(api, NAMESPACE, clock, mode="live", may_act=lambda: True)
    before = {item["metadata"]["name"]: item for item in api.list(deployments_path(NAMESPACE))}
    requests = {
        name: ScaleRequest(
            replicas=item["spec"]["replicas"] + 2,
            expected=item["spec"]["replicas"],
            resource_version=item["metadata"]["resourceVersion"],
        )
        for name, item in before.items()
        if name != "redis-cart"
    }
    results = actuator.apply(requests)
    assert len(results) >= 10 and {result.outcome for result in results.values()} == {"patched"}
    assert all(replicas(api, name) == asked.replicas for name, asked in requests.items())
    again = {name: ScaleRequest(replicas=one.replicas, expected=one.replicas) for name, one in requests.items()}
    assert {result.outcome for result in actuator.apply(again).values()} == {"unchanged"}
    actuator.close()


def test_kubectl_scale_in_between_is_a_conflict_that_is_decided_again(api: ClusterApi, clock: SteppedClock) -> None:
    actuator = Actuator(api, NAMESPACE, clock, mode="live", may_act=lambda: True)
    stale = request(api, "frontend", 3)
    api.patch(scale_path(NAMESPACE, "frontend"), {"spec": {"replicas": stale.expected + 1}})
    assert actuator.apply({"frontend": stale})["frontend"].outcome == "conflict"
    assert replicas(api, "frontend") == stale.expected + 1
    seen = []
    result = actuator.apply({"frontend": stale}, lambda name, now: seen.append((name, now)) or now + 2)["frontend"]
    assert (result.outcome, seen) == ("patched", [("frontend", stale.expected + 1)])
    assert replicas(api, "frontend") == stale.expected + 3
    actuator.close()


def test_a_dry_run_is_checked_by_the_server_and_changes_nothing(api: ClusterApi, clock: SteppedClock) -> None:
    actuator = Actuator(api, NAMESPACE, clock, mode="dry-run", may_act=lambda: True)
    asked = request(api, "adservice", 4)
    result = actuator.apply({"adservice": asked})["adservice"]
    assert (result.outcome, result.echoed, replicas(api, "adservice")) == ("dry-run", asked.replicas, asked.expected)
    stale = request(api, "adservice", 4)
    api.patch(scale_path(NAMESPACE, "adservice"), {"spec": {"replicas": stale.expected + 1}})
    assert actuator.apply({"adservice": stale})["adservice"].outcome == "conflict"
    actuator.close()


def test_a_missing_right_is_named(
    sandbox: tuple[KubernetesApi, SteppedClock], api: ClusterApi, clock: SteppedClock
) -> None:
    sandbox[0].deny.add(("patch", "deployments/scale"))
    actuator = Actuator(api, NAMESPACE, clock, mode="live", may_act=lambda: True)
    asked = request(api, "cartservice", 1)
    result = actuator.apply({"cartservice": asked})["cartservice"]
    actuator.close()
    assert result.outcome == "failed" and "not allowed to patch deployments/scale" in result.answer
    assert replicas(api, "cartservice") == asked.expected and TOKEN not in result.answer


def test_zero_is_read_as_zero(api: ClusterApi, clock: SteppedClock) -> None:
    api.patch(scale_path(NAMESPACE, "emailservice"), {"spec": {"replicas": 0}})
    actuator = Actuator(api, NAMESPACE, clock, mode="live", may_act=lambda: True)
    result = actuator.apply({"emailservice": ScaleRequest(replicas=2, expected=0)})["emailservice"]
    actuator.close()
    assert result.outcome == "patched" and replicas(api, "emailservice") == 2


def test_an_election(api: ClusterApi, clock: SteppedClock) -> None:
    a, b = (LeaderElector(api, NAMESPACE, "gnnrl-live", name, clock) for name in "ab")
    a.tick()
    b.tick()
    assert a.is_leader() and not b.is_leader() and b.holder == a.identity
    for _ in range(4):
        clock.sleep_until(clock.now() + 5.0)
        a.tick()
        b.tick()
    assert a.is_leader() and not b.is_leader() and a.last_error is b.last_error is None
    clock.sleep_until(clock.now() + 15.0)
    b.tick()
    assert b.is_leader() and not a.is_leader()
    b.stop()
    assert b.last_error is None
    spec = api.get(lease_path(NAMESPACE, "gnnrl-live"))["spec"]
    assert not spec.get("holderIdentity") and spec["leaseTransitions"] == 1


def test_a_right_to_leases_that_is_missing_makes_no_leader(
    sandbox: tuple[KubernetesApi, SteppedClock], api: ClusterApi, clock: SteppedClock
) -> None:
    sandbox[0].deny.add(("create", "leases"))
    one = LeaderElector(api, NAMESPACE, "another", "a", clock)
    one.tick()
    assert not one.is_leader() and "not allowed to create leases" in str(one.last_error)


def test_events_are_found_at_the_deployment(api: ClusterApi, clock: SteppedClock) -> None:
    uid = api.get(deployment_path(NAMESPACE, "frontend"))["metadata"]["uid"]
    poster = EventPoster(api, NAMESPACE, clock, identity="gnnrl-0")
    for text in ("3 -> 5", "5 -> 8"):
        assert poster.post("frontend", uid, "ScaledUp", text) is None
    assert poster.post("frontend", uid, "ScalingFailed", "m" * 2000, "Warning") is None
    found = {item["reason"]: item for item in api.list(events_path(NAMESPACE)) if item["involvedObject"]["uid"] == uid}
    assert (found["ScaledUp"]["count"], found["ScaledUp"]["message"]) == (2, "5 -> 8")
    assert (found["ScalingFailed"]["type"], len(found["ScalingFailed"]["message"])) == ("Warning", 1024)
