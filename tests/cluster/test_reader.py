"""Reading a namespace over a real socket: what it comes to, and every source failing without the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gnnrl.cluster import paths
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.models import ClusterSnapshot, ContainerUsage, Problem, Quota, Source
from gnnrl.cluster.reader import ClusterReader
from kiali_client import KialiPayloadError, ServiceGraph

from .fake_api import TOKEN, FakeApi, Reply, kubeconfig, rbac, rfc3339, serving, status

NOW = 1_700_000_000.0
NAMESPACE = "shop"
LISTS = {
    "deployments": paths.deployments_path(NAMESPACE),
    "pods": paths.pods_path(NAMESPACE),
    "metrics": paths.pod_metrics_path(NAMESPACE),
    "autoscalers": paths.pod_autoscalers_path(NAMESPACE),
    "budgets": paths.budgets_path(NAMESPACE),
    "quotas": paths.quotas_path(NAMESPACE),
}


def graph_at(seconds: float) -> ServiceGraph:
    return ServiceGraph(timestamp=int(seconds), duration_seconds=60, graph_type="workload", nodes=(), edges=())


class FakeGraph:
    """A source of graphs that gives `answer`, raises it, or waits for `gate`."""

    def __init__(self) -> None:
        self.answer: ServiceGraph | Exception = graph_at(NOW)
        self.gate: threading.Event | None = None
        self.asked: list[dict[str, Any]] = []

    def fetch_service_graph(self, namespace: str, **arguments: Any) -> ServiceGraph:
        self.asked.append({"namespace": namespace, **arguments})
        answer = self.answer
        if self.gate is not None:
            self.gate.wait(60.0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def deployment(name: str, replicas: int | None = 1, **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "generation": 2,
            "creationTimestamp": rfc3339(NOW - 3600),
            "annotations": {
                "gnnrl.io/min": "2",
                "kubectl.kubernetes.io/last-applied-configuration": "PASSWORD=hunter2",
            },
        },
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "template": {
                "metadata": {"labels": {"app": name, "tier": "web"}},
                "spec": {"containers": [{"name": "server", "resources": resources}]},
            },
            **spec,
        },
        "status": {"observedGeneration": 2},
    }


def pod(owner: str, number: int, ready: bool = True, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{owner}-5f7d9c6b8-{number}",
            "creationTimestamp": rfc3339(NOW - 600),
            "labels": {"app": owner, "pod-template-hash": "5f7d9c6b8"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{owner}-5f7d9c6b8", "controller": True}],
            **metadata,
        },
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
            ],
        },
    }


def usage(owner: str, number: int, cpu: Any = "95m", memory: Any = "50Mi", age: float = 15.0) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{owner}-5f7d9c6b8-{number}"},
        "timestamp": rfc3339(NOW - age),
        "window": "15.5s",
        "containers": [
            {"name": "server", "usage": {"cpu": cpu, "memory": memory}},
            {"name": "istio-proxy", "usage": {"cpu": "1234567n", "memory": "51204Ki"}},
        ],
    }


@pytest.fixture
def server() -> Iterator[FakeApi]:
    """Two services, `web` (3 pods) and `cart` (1 pod)."""
    with serving() as fake:
        fake.objects[paths.namespace_path(NAMESPACE)] = {
            "metadata": {"name": NAMESPACE, "annotations": {"gnnrl.io/slo-ms": "486"}},
            "status": {"phase": "Active"},
        }
        fake.lists = {path: [] for path in LISTS.values()}
        fake.lists[LISTS["deployments"]] = [deployment("web", 3), deployment("cart", 1)]
        fake.lists[LISTS["pods"]] = [*(pod("web", i) for i in range(3)), pod("cart", 0)]
        fake.lists[LISTS["metrics"]] = [*(usage("web", i) for i in range(3)), usage("cart", 0)]
        yield fake


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def reader(server: FakeApi, graph: FakeGraph, tmp_path: Path) -> Iterator[ClusterReader]:
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url))
    reader = ClusterReader(api, graph, NAMESPACE, SteppedClock(NOW), deadline_seconds=120.0)
    yield reader
    reader.close()
    api.close()


def only_problem(snapshot: ClusterSnapshot) -> Problem:
    (problem,) = snapshot.problems
    return problem


def test_a_whole_namespace(reader: ClusterReader, graph: FakeGraph) -> None:
    snapshot = reader.read()
    assert snapshot.problems == ()
    assert (snapshot.namespace, snapshot.taken_seconds) == (NAMESPACE, NOW)
    assert snapshot.namespace_annotations == {"gnnrl.io/slo-ms": "486"}
    assert snapshot.quota == Quota()
    assert snapshot.graph == graph.answer
    assert graph.asked == [
        {"namespace": NAMESPACE, "duration_seconds": 60, "at_seconds": NOW, "deadline_seconds": 120.0},
    ]
    assert [each.name for each in snapshot.deployments] == ["cart", "web"]
    web = snapshot.by_name["web"]
    assert (web.uid, web.resource_version, web.desired) == ("uid-web", "7", 3)
    assert (web.ready, web.starting, web.pending, web.draining) == (3, 0, 0, 0)
    assert (web.cpu_request_millicores, web.cpu_limit_millicores) == (100.0, 200.0)
    assert (web.containers[0].memory_request_mib, web.containers[0].memory_limit_mib) == (64.0, 128.0)
    assert web.labels == {"app": "web", "tier": "web"}
    assert web.created_seconds == NOW - 3600
    assert (web.owner, web.min_available) == ("", 0)
    measured = snapshot.usage_of["web"][0]
    assert (measured.timestamp_seconds, measured.window_seconds) == (NOW - 15, 15.5)
    assert measured.containers == {
        "server": ContainerUsage(cpu_nanocores=95_000_000, memory_bytes=50 * 2**20),
        "istio-proxy": ContainerUsage(cpu_nanocores=1_234_567, memory_bytes=51204 * 1024),
    }
    assert {name: len(each) for name, each in snapshot.usage_of.items()} == {"web": 3, "cart": 1}


def test_the_manifest_that_was_applied_is_not_kept(reader: ClusterReader) -> None:
    snapshot = reader.read()
    assert snapshot.by_name["web"].annotations == {"gnnrl.io/min": "2"}
    assert "hunter2" not in repr(snapshot)


def test_pods_count_by_what_they_are(server: FakeApi, reader: ClusterReader) -> None:
    gone = rfc3339(NOW + 30)
    server.lists[LISTS["pods"]] = [
        pod("web", 0),
        pod("web", 1, ready=False, creationTimestamp=rfc3339(NOW - 90)),
        pod("web", 2, phase="Pending", ready=False),
        pod("web", 3, deletionTimestamp=gone, creationTimestamp=rfc3339(NOW - 40)),
        pod("web", 4, ready=False, deletionTimestamp=gone),
        pod("web", 5, phase="Failed"),
        pod("web", 6, phase="Succeeded", ready=False),
        pod("web", 7, phase="Unknown"),
        # Of nobody, of a StatefulSet, of a ReplicaSet that no Deployment made, of a Job.
        pod("web", 8, ownerReferences=[]),
        pod("web", 9, ownerReferences=[{"kind": "StatefulSet", "name": "web-5f7d9c6b8"}]),
        pod("web", 10, labels={"app": "web"}),
        pod("web", 11, ownerReferences=[{"kind": "Job", "name": "web-5f7d9c6b8"}]),
        pod("web", 12, ownerReferences=[{"kind": "ReplicaSet", "name": "web-other"}]),
    ]
    server.lists[LISTS["deployments"]] = [deployment("web", 7), deployment("cart", None), deployment("idle", 0)]
    snapshot = reader.read()
    web = snapshot.by_name["web"]
    # 7 wanted, 4 alive: 1 ready, 1 starting, 2 not running, and 3 without a pod.
    assert (web.ready, web.starting, web.pending, web.draining) == (1, 1, 5, 2)
    assert web.newest_pod_seconds == NOW - 90, "a pod that goes says nothing of the last raise"
    cart, idle = snapshot.by_name["cart"], snapshot.by_name["idle"]
    assert cart.newest_pod_seconds is None
    assert (cart.desired, cart.pending) == (1, 1)
    assert (idle.desired, idle.ready, idle.pending) == (0, 0, 0)
    assert snapshot.problems == ()


def test_a_name_with_a_dash_is_not_mistaken_for_another(server: FakeApi, reader: ClusterReader) -> None:
    server.lists[LISTS["deployments"]] = [deployment("web", 1), deployment("web-canary", 2)]
    server.lists[LISTS["pods"]] = [pod("web", 0), pod("web-canary", 0), pod("web-canary", 1)]
    server.lists[LISTS["metrics"]] = []
    snapshot = reader.read()
    assert {each.name: each.ready for each in snapshot.deployments} == {"web": 1, "web-canary": 2}


def test_a_deployment_that_is_being_deleted_is_gone(server: FakeApi, reader: ClusterReader) -> None:
    server.lists[LISTS["deployments"]][0]["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    snapshot = reader.read()
    assert list(snapshot.by_name) == ["cart"]
    assert list(snapshot.usage_of) == ["cart"]
    assert snapshot.problems == ()


def test_sidecars_count_and_what_is_not_stated_is_none(server: FakeApi, reader: ClusterReader) -> None:
    spec = server.lists[LISTS["deployments"]][0]["spec"]["template"]["spec"]
    sidecar = {"name": "cache", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1500u"}}}
    spec["initContainers"] = [{"name": "migrate", "resources": {"requests": {"cpu": "4"}}}, sidecar]
    web = reader.read().by_name["web"]
    assert [each.name for each in web.containers] == ["server", "cache"]
    assert web.cpu_request_millicores == 101.5
    assert web.cpu_limit_millicores is None


def test_owners(server: FakeApi, reader: ClusterReader) -> None:
    def scaler(name: str, target: dict[str, str], made_by: str = "") -> dict[str, Any]:
        references = [{"kind": "ScaledObject", "name": made_by}] if made_by else []
        return {"metadata": {"name": name, "ownerReferences": references}, "spec": {"scaleTargetRef": target}}

    server.lists[LISTS["deployments"]] += [deployment("ad"), deployment("email"), deployment("free")]
    server.lists[LISTS["autoscalers"]] = [
        scaler("web-hpa", {"kind": "Deployment", "name": "web"}),
        scaler("keda-hpa-cart", {"kind": "Deployment", "name": "cart"}, made_by="cart-scaler"),
        scaler("free-hpa", {"kind": "StatefulSet", "name": "free"}),
    ]
    server.lists[paths.scaled_objects_path(NAMESPACE)] = [
        scaler("ad-scaler", {"name": "ad"}),
        scaler("email-scaler", {"kind": "Deployment", "name": "email"}),
        scaler("free-scaler", {"kind": "Rollout", "name": "free"}),
    ]
    snapshot = reader.read()
    assert {each.name: each.owner for each in snapshot.deployments} == {
        "ad": "ScaledObject/ad-scaler",
        "cart": "ScaledObject/cart-scaler",
        "email": "ScaledObject/email-scaler",
        "free": "",
        "web": "HorizontalPodAutoscaler/web-hpa",
    }
    assert snapshot.problems == ()
    server.forget_pages()
    server.lists[LISTS["autoscalers"]].append({"metadata": {"name": "x"}, "spec": {}})
    assert reader.read().failed("owners")


def test_autoscalers_of_an_old_cluster(server: FakeApi, reader: ClusterReader) -> None:
    del server.lists[LISTS["autoscalers"]]
    old = {"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
    server.lists[paths.pod_autoscalers_path(NAMESPACE, "v1")] = [old]
    snapshot = reader.read()
    assert snapshot.by_name["web"].owner == "HorizontalPodAutoscaler/hpa"
    assert snapshot.problems == ()


@pytest.mark.parametrize(
    ("spec", "fewest"),
    [
        ({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 2}, {"web": 2, "cart": 0}),
        ({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": "50%"}, {"web": 4, "cart": 0}),
        ({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": "0%"}, {"web": 0, "cart": 0}),
        ({"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 2}, {"web": 5, "cart": 0}),
        # Rounded up, as the disruption controller does: 34 % of 7 are 3 that may be missing.
        ({"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": "34%"}, {"web": 4, "cart": 0}),
        ({"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 99}, {"web": 0, "cart": 0}),
        ({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 10}, {"web": 10, "cart": 0}),
        ({"selector": {"matchLabels": {"app": "web"}}}, {"web": 0, "cart": 0}),
        ({"minAvailable": 2}, {"web": 0, "cart": 0}),
        # Over both, 7 and 2 replicas: 5 of 9 are shared out as 4 and 2.
        ({"selector": {}, "minAvailable": 5}, {"web": 4, "cart": 2}),
        ({"selector": {"matchLabels": {"app": "web", "tier": "db"}}, "minAvailable": 2}, {"web": 0, "cart": 0}),
        *(
            ({"selector": {"matchExpressions": [expression]}, "minAvailable": "100%"}, fewest)
            for expression, fewest in [
                ({"key": "app", "operator": "In", "values": ["web", "ad"]}, {"web": 7, "cart": 0}),
                ({"key": "app", "operator": "NotIn", "values": ["web"]}, {"web": 0, "cart": 2}),
                ({"key": "tier", "operator": "Exists"}, {"web": 7, "cart": 2}),
                ({"key": "tier", "operator": "DoesNotExist"}, {"web": 0, "cart": 0}),
                ({"key": "absent", "operator": "NotIn", "values": ["a"]}, {"web": 7, "cart": 2}),
                ({"key": "absent", "operator": "In", "values": ["a"]}, {"web": 0, "cart": 0}),
            ]
        ),
    ],
)
def test_budgets(server: FakeApi, reader: ClusterReader, spec: dict[str, Any], fewest: dict[str, int]) -> None:
    server.lists[LISTS["deployments"]] = [deployment("web", 7), deployment("cart", 2)]
    server.lists[LISTS["budgets"]] = [{"metadata": {"name": "budget"}, "spec": spec}]
    snapshot = reader.read()
    assert {each.name: each.min_available for each in snapshot.deployments} == fewest
    assert snapshot.problems == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {}, "minAvailable": "half"},
        {"selector": {}, "maxUnavailable": -1},
        {"selector": {}, "minAvailable": True},
        {"selector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}, "minAvailable": 1},
        {"selector": [], "minAvailable": 1},
    ],
)
def test_a_budget_that_cannot_be_understood_is_told(server: FakeApi, reader: ClusterReader, spec: Any) -> None:
    good = {"metadata": {"name": "good"}, "spec": {"selector": {}, "minAvailable": "100%"}}
    server.lists[LISTS["budgets"]] = [{"metadata": {"name": "bad"}, "spec": spec}, good]
    snapshot = reader.read()
    assert only_problem(snapshot).source == "budgets"
    assert snapshot.by_name["web"].min_available == 3


def test_the_least_that_quotas_leave(server: FakeApi, reader: ClusterReader) -> None:
    def quota(hard: dict[str, str], used: dict[str, str], **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": {"hard": hard, "used": used}}

    server.lists[LISTS["quotas"]] = [
        quota({"pods": "10", "requests.cpu": "4", "limits.memory": "1Gi"}, {"pods": "4", "requests.cpu": "1500m"}),
        quota({"count/pods": "1k", "cpu": "3"}, {"count/pods": "995", "cpu": "1"}),
        quota({"requests.memory": "64Mi", "services": "1"}, {"requests.memory": "100Mi", "services": "5"}),
        quota({"pods": "0"}, {}, scopes=["Terminating"]),
        quota(
            {"pods": "0"}, {}, scopeSelector={"matchExpressions": [{"scopeName": "BestEffort", "operator": "Exists"}]}
        ),
    ]
    snapshot = reader.read()
    assert snapshot.quota == Quota(
        pods=5, cpu_request_millicores=2000.0, memory_request_mib=0.0, memory_limit_mib=1024.0
    )
    assert snapshot.problems == ()
    server.forget_pages()
    server.lists[LISTS["quotas"]].append(quota({"pods": "NaN"}, {}))
    assert only_problem(reader.read()).source == "quota"


@pytest.mark.parametrize(
    "bad",
    [
        usage("web", 1, cpu="NaN"),
        usage("web", 1, cpu="-95m"),
        usage("web", 1, memory="Infinity"),
        usage("web", 1, memory="1_000"),
        usage("web", 1, memory=None),
        usage("web", 1, cpu=1.5),
        usage("web", 1, cpu="99999999999"),
        usage("web", 1) | {"containers": []},
        usage("web", 1) | {"containers": None},
        usage("web", 1) | {"containers": "x"},
        usage("web", 1) | {"timestamp": "yesterday"},
        usage("web", 1) | {"timestamp": "2023-11-14T22:13:05"},
        usage("web", 1) | {"timestamp": None},
        usage("web", 1) | {"window": "15"},
        usage("web", 1) | {"window": "0s"},
        usage("web", 1) | {"window": "-15s"},
        usage("web", 1, age=-6.0),
        usage("web", 1, age=600.0),
        usage("web", 1, age=900.0),
    ],
)
def test_a_measurement_that_is_none_blames_its_service_alone(
    server: FakeApi, reader: ClusterReader, bad: dict[str, Any]
) -> None:
    server.lists[LISTS["metrics"]][1] = bad
    snapshot = reader.read()
    problem = only_problem(snapshot)
    assert (problem.source, problem.service) == ("metrics", "web")
    assert "web-5f7d9c6b8-1" in problem.message
    assert {name: len(each) for name, each in snapshot.usage_of.items()} == {"web": 2, "cart": 1}
    assert not snapshot.failed("metrics")


def test_a_measurement_a_little_ahead_is_taken(server: FakeApi, reader: ClusterReader) -> None:
    server.lists[LISTS["metrics"]][1] = usage("web", 1, age=-4.0)
    snapshot = reader.read()
    assert snapshot.problems == ()
    assert len(snapshot.usage_of["web"]) == 3


def test_measurements_of_pods_that_are_gone_or_of_others_are_left_out(server: FakeApi, reader: ClusterReader) -> None:
    server.lists[LISTS["metrics"]] += [usage("web", 77), usage("other", 0, cpu="NaN")]
    server.lists[LISTS["pods"]].append(pod("other", 0))
    snapshot = reader.read()
    assert snapshot.problems == ()
    assert len(snapshot.usage) == 4


def test_contradictions(server: FakeApi, reader: ClusterReader) -> None:
    server.lists[LISTS["deployments"]] += [deployment("web", 9), deployment("late", 1), deployment("old", 1)]
    server.lists[LISTS["deployments"]][3]["status"]["readyReplicas"] = 2
    server.lists[LISTS["deployments"]][4]["status"] = {"observedGeneration": 1, "readyReplicas": 2}
    server.lists[LISTS["pods"]] += [pod("web", 1), pod("late", 0)]
    server.lists[LISTS["metrics"]].append(usage("web", 2, cpu="1"))
    snapshot = reader.read()
    found = {(problem.source, problem.service): problem.message for problem in snapshot.problems}
    assert set(found) == {("deployments", "web"), ("pods", "web"), ("metrics", "web"), ("pods", "late")}
    assert "2 ready, there are 1 pods" in found["pods", "late"]
    assert (snapshot.by_name["web"].desired, snapshot.by_name["web"].ready) == (3, 3)
    assert [each.containers["server"].cpu_nanocores for each in snapshot.usage_of["web"]] == [95_000_000] * 3


def test_many_faults_of_a_service_are_one_problem(server: FakeApi, reader: ClusterReader) -> None:
    server.lists[LISTS["pods"]] = [pod("web", i) for i in range(400)]
    server.lists[LISTS["metrics"]] = [usage("web", i, cpu="NaN") for i in range(400)]
    problem = only_problem(reader.read())
    assert "and 397 more" in problem.message
    assert len(problem.message) < 1000


@pytest.mark.parametrize(
    ("path", "broken", "source"),
    [
        ("deployments", {"metadata": {"name": "web"}}, "deployments"),
        ("deployments", {"metadata": None}, "deployments"),
        ("deployments", {"metadata": [], "spec": 1}, "deployments"),
        ("deployments", deployment("web", -1), "deployments"),
        ("deployments", deployment("web", True), "deployments"),
        ("deployments", deployment("web", "3"), "deployments"),  # type: ignore[arg-type]
        ("deployments", deployment("web", template="x"), "deployments"),
        ("pods", pod("web", 0, creationTimestamp="never"), "pods"),
        ("pods", pod("web", 0, labels={"pod-template-hash": 5}), "pods"),
        ("pods", pod("web", 0) | {"status": "Running"}, "pods"),
        ("metrics", {"metadata": {}}, "metrics"),
    ],
)
def test_an_object_that_is_malformed_does_not_stop_the_others(
    server: FakeApi, reader: ClusterReader, path: str, broken: Any, source: Source
) -> None:
    server.lists[LISTS[path]][0] = broken
    snapshot = reader.read()
    problem = only_problem(snapshot)
    assert problem.source == source
    assert snapshot.by_name["cart"].ready == 1
    assert len(snapshot.usage_of["cart"]) == 1


@pytest.mark.parametrize("seconds", [NOW + 60.0, 0.0, -5.0])
def test_a_graph_of_another_time_is_none(reader: ClusterReader, graph: FakeGraph, seconds: float) -> None:
    graph.answer = graph_at(seconds)
    snapshot = reader.read()
    assert snapshot.graph is None
    assert snapshot.failed("graph")
    graph.answer = graph_at(NOW + 4.0)
    assert reader.read().problems == ()


FORBIDDEN = status(403, rbac("list", "pods", ""))


@pytest.mark.parametrize(
    ("path", "reply", "source", "said"),
    [
        (paths.namespace_path(NAMESPACE), status(404, "no"), "namespace", "namespace 'shop' does not exist"),
        (LISTS["deployments"], FORBIDDEN, "deployments", "not allowed to list deployments in namespace 'shop'"),
        (LISTS["pods"], FORBIDDEN, "pods", "not allowed to list pods in"),
        (LISTS["metrics"], Reply(404, b"404 page not found\n", "text/plain"), "metrics", "install metrics-server"),
        (LISTS["metrics"], Reply(503, b"service unavailable", "text/plain"), "metrics", "get apiservice"),
        (LISTS["metrics"], FORBIDDEN, "metrics", "list pods.metrics.k8s.io"),
        (LISTS["autoscalers"], FORBIDDEN, "owners", "list horizontalpodautoscalers"),
        (paths.scaled_objects_path(NAMESPACE), FORBIDDEN, "owners", "list scaledobjects.keda.sh"),
        (LISTS["budgets"], status(500, "etcd"), "budgets", "etcd"),
        (LISTS["quotas"], Reply(200, b"<html>", "text/html"), "quota", "a web page"),
    ],
)
def test_each_source_fails_alone(
    server: FakeApi, reader: ClusterReader, path: str, reply: Reply, source: Source, said: str
) -> None:
    server.rules.append(lambda seen: reply if seen.path == path else None)
    snapshot = reader.read()
    problem = only_problem(snapshot)
    assert (problem.source, problem.service) == (source, "")
    assert said in problem.message
    assert snapshot.failed(source)
    assert snapshot.graph is not None
    assert bool(snapshot.deployments) is (source != "deployments")
    assert bool(snapshot.usage) is (source not in ("deployments", "pods", "metrics"))


def test_without_keda_or_budgets_there_are_none(server: FakeApi, reader: ClusterReader) -> None:
    """Negative control of the failures: an API that is not installed is no problem where it need not be."""
    del server.lists[LISTS["budgets"]]
    assert paths.scaled_objects_path(NAMESPACE) not in server.lists
    assert reader.read().problems == ()


def test_without_pods_the_deployments_own_counts_are_shown(server: FakeApi, reader: ClusterReader) -> None:
    server.rules.append(lambda seen: status(500, "no") if seen.path == LISTS["pods"] else None)
    server.lists[LISTS["deployments"]] = [deployment("web", 5)]
    server.lists[LISTS["deployments"]][0]["status"] |= {"replicas": 4, "readyReplicas": 3}
    snapshot = reader.read()
    web = snapshot.by_name["web"]
    assert (web.ready, web.starting, web.pending) == (3, 1, 1)
    assert only_problem(snapshot).source == "pods"


def test_a_graph_that_fails_is_told_in_its_own_words(reader: ClusterReader, graph: FakeGraph) -> None:
    graph.answer = KialiPayloadError("Kiali's answer is a web page")
    snapshot = reader.read()
    assert snapshot.problems == (Problem(source="graph", message="graph: Kiali's answer is a web page"),)
    assert snapshot.graph is None
    assert len(snapshot.deployments) == 2


def test_a_pause_does_not_end_because_the_namespace_could_not_be_read(server: FakeApi, reader: ClusterReader) -> None:
    path = paths.namespace_path(NAMESPACE)
    stated = {"gnnrl.io/pause": "true", "gnnrl.io/max": "5"}
    server.objects[path]["metadata"]["annotations"] = stated
    assert reader.read().namespace_annotations == stated
    server.rules.append(lambda seen: status(503, "back in a moment") if seen.path == path else None)
    snapshot = reader.read()
    assert snapshot.failed("namespace") and snapshot.namespace_annotations == stated
    server.rules.clear()
    del server.objects[path]["metadata"]["annotations"]
    assert reader.read().namespace_annotations == {}


def test_a_namespace_that_is_being_deleted(server: FakeApi, reader: ClusterReader) -> None:
    server.objects[paths.namespace_path(NAMESPACE)]["status"]["phase"] = "Terminating"
    assert "being deleted" in only_problem(reader.read()).message


def test_with_no_server_at_all_everything_is_a_problem(server: FakeApi, reader: ClusterReader) -> None:
    server.server.shutdown()
    server.server.server_close()
    snapshot = reader.read()
    assert {problem.source for problem in snapshot.problems} == {
        *("namespace", "deployments", "pods", "metrics", "owners", "budgets", "quota")
    }
    assert snapshot.deployments == ()
    assert snapshot.graph is not None


def test_one_slow_source_costs_the_deadline_and_nothing_else(server: FakeApi, graph: FakeGraph, tmp_path: Path) -> None:
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url))
    reader = ClusterReader(api, graph, NAMESPACE, SteppedClock(NOW), deadline_seconds=4.0)
    graph.gate = threading.Event()
    threads = []
    for interval in range(4):
        graph.answer = graph_at(NOW - 100 + interval)
        snapshot = reader.read()
        # The gate is shut: the first interval waits for it up to the deadline; while it hangs, the others do not, and it is not
        # asked again.
        assert only_problem(snapshot).source == "graph"
        said = "graph: no answer within 4.0 s" if interval == 0 else "graph: still waiting"
        assert only_problem(snapshot).message.startswith(said), "its source is named once"
        assert len(snapshot.deployments) == 2 and len(snapshot.usage) == 4
        threads.append(sum(thread.name.startswith("read") for thread in threading.enumerate()))
    assert len(graph.asked) == 1
    assert max(threads) <= 9
    graph.gate.set()
    deadline = time.monotonic() + 60.0
    while reader._late and not all(late.done() for late in reader._late.values()) and time.monotonic() < deadline:
        time.sleep(0.01)
    graph.gate = None
    graph.answer = graph_at(NOW)
    snapshot = reader.read()
    assert snapshot.problems == ()
    assert snapshot.graph == graph_at(NOW), "the answer of an earlier interval was taken"
    reader.close()


def test_a_slow_list_of_the_cluster_is_cut_at_the_deadline(server: FakeApi, graph: FakeGraph, tmp_path: Path) -> None:
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url))
    reader = ClusterReader(api, graph, NAMESPACE, SteppedClock(NOW), deadline_seconds=4.0)
    server.fail("metrics.k8s.io", Reply(delay_seconds=60.0))
    snapshot = reader.read()
    assert only_problem(snapshot).source == "metrics"
    assert snapshot.graph is not None and snapshot.by_name["web"].ready == 3 and snapshot.usage == ()
    server.rules.clear()
    time.sleep(0.1)
    assert reader.read().problems == ()
    reader.close()


def test_all_sources_are_asked_at_once(server: FakeApi, reader: ClusterReader) -> None:
    """None is answered before all have been asked."""
    assert reader.read().problems == ()
    together = threading.Barrier(len({seen.path for seen in server.seen}), timeout=30.0)

    def meet(_: Any) -> None:
        together.wait()

    server.rules.append(meet)
    assert reader.read().problems == ()


def test_no_token_in_any_problem(server: FakeApi, reader: ClusterReader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    server.rules.append(lambda seen: status(500, f"you sent {seen.headers['Authorization']}"))
    snapshot = reader.read()
    assert len(snapshot.problems) == 7
    assert TOKEN not in repr(snapshot) + caplog.text


def fill(server: FakeApi, services: int, pods: int) -> None:
    server.lists[LISTS["deployments"]] = [deployment(f"service-{i}", pods // services) for i in range(services)]
    # About as large as a pod is that a real cluster answers: managed fields, status of every container.
    padding = {"managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:{i}": {} for i in range(600)}}]}
    numbered = [(f"service-{i % services}", i) for i in range(pods)]
    server.lists[LISTS["pods"]] = [pod(name, i, **padding) for name, i in numbered]
    server.lists[LISTS["metrics"]] = [usage(name, i) for name, i in numbered]
    server.forget_pages()


def test_a_hundred_services(server: FakeApi, reader: ClusterReader) -> None:
    fill(server, 100, 500)
    snapshot = reader.read()
    assert snapshot.problems == ()
    assert len(snapshot.deployments) == 100
    assert len(snapshot.usage) == 500
    assert all(each.ready == 5 and each.pending == 0 for each in snapshot.deployments)


def test_a_thousand_services_in_pages(server: FakeApi, reader: ClusterReader, record_property: Any) -> None:
    fill(server, 1000, 5000)
    reader.deadline_seconds = 300.0
    reader.read()  # packs the server's pages, so that its time is not counted twice below
    cpu, wall = time.process_time(), time.monotonic()
    snapshot = reader.read()
    # Both sides, server and reader, in this process.
    record_property("cpu_seconds", round(time.process_time() - cpu, 3))
    record_property("wall_seconds", round(time.monotonic() - wall, 3))
    assert snapshot.problems == ()
    assert len(snapshot.usage) == 5000
    assert sum(each.ready for each in snapshot.deployments) == 5000
    assert sum(seen.path == LISTS["pods"] for seen in server.seen) == 20
