"""The sandbox's Kubernetes API over real sockets: objects of the world, `/scale` with its traps, metrics, access."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kubernetes as k8s
import pytest
import requests

from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from tests.live.fake_cluster import JSON, MERGE, NS, ORIGIN, STRATEGIC, TOKEN, Cluster, assert_status

SCALE = f"/apis/apps/v1/namespaces/{NS}/deployments/frontend/scale"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NS}/deployments/frontend"
PODS = f"/api/v1/namespaces/{NS}/pods"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.close()


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path) -> Iterator[k8s.client.ApiClient]:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, cluster.api.url, TOKEN, NS)
    with k8s.config.new_client_from_config(str(path)) as api_client:
        yield api_client


def test_a_deployment_follows_the_worlds_pods(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    apps = k8s.client.AppsV1Api(client)
    before = apps.read_namespaced_deployment("frontend", NS)
    assert (before.spec.replicas, before.status.ready_replicas, before.status.unavailable_replicas) == (2, 2, None)
    apps.patch_namespaced_deployment_scale("frontend", NS, {"spec": {"replicas": 5}})
    starting = apps.read_namespaced_deployment("frontend", NS)
    assert (starting.spec.replicas, starting.status.replicas) == (5, 5)
    assert (starting.status.ready_replicas, starting.status.unavailable_replicas) == (2, 3)
    assert {each.type: each.status for each in starting.status.conditions}["Available"] == "False"
    cluster.pass_seconds(10.0)
    ready = apps.read_namespaced_deployment("frontend", NS)
    assert (ready.status.ready_replicas, ready.status.unavailable_replicas) == (5, None)
    conditions = {each.type: each for each in ready.status.conditions}
    assert conditions["Available"].status == "True"
    assert conditions["Available"].last_transition_time.timestamp() == ORIGIN + 10.0
    assert conditions["Progressing"].last_transition_time.timestamp() == ORIGIN
    assert (before.metadata.generation, ready.metadata.generation) == (1, 2)
    assert ready.status.observed_generation == 2
    revisions = [int(each.metadata.resource_version) for each in (before, starting, ready)]
    assert revisions == sorted(set(revisions))


def test_reading_changes_nothing(cluster: Cluster) -> None:
    first = cluster.get(DEPLOYMENT)
    assert cluster.get(DEPLOYMENT) == first
    cluster.pass_seconds(1000.0)
    assert cluster.get(DEPLOYMENT) == first


def test_pods_belong_to_a_replica_set_of_the_deployment(client: k8s.client.ApiClient) -> None:
    apps, core = k8s.client.AppsV1Api(client), k8s.client.CoreV1Api(client)
    deployments = {each.metadata.uid: each for each in apps.list_namespaced_deployment(NS).items}
    sets = {each.metadata.uid: each for each in apps.list_namespaced_replica_set(NS).items}
    pods = core.list_namespaced_pod(NS).items
    assert (len(deployments), len(sets), len(pods)) == (2, 2, 4)
    for pod in pods:
        (by_set,) = pod.metadata.owner_references
        replica_set = sets[by_set.uid]
        (by_deployment,) = replica_set.metadata.owner_references
        deployment = deployments[by_deployment.uid]
        assert (by_set.kind, by_set.name, by_set.controller) == ("ReplicaSet", replica_set.metadata.name, True)
        assert (by_deployment.kind, by_deployment.name) == ("Deployment", deployment.metadata.name)
        assert pod.metadata.name.startswith(f"{replica_set.metadata.name}-")
        assert pod.metadata.labels == {"app": deployment.metadata.name, "pod-template-hash": "abcdef1234"}
        assert pod.metadata.labels.items() >= deployment.spec.selector.match_labels.items()
        resources = {each.name: each.resources for each in pod.spec.containers}
        assert resources["server"].requests == {"cpu": "100m", "memory": "64Mi"}
        assert resources["istio-proxy"].requests == {"cpu": "12500u"}
        assert [(each.name, each.ready) for each in pod.status.container_statuses] == [
            ("server", True),
            ("istio-proxy", True),
        ]


def test_a_pod_from_its_creation_to_its_end(cluster: Cluster) -> None:
    cluster.world.unschedulable.add("cartservice")
    cluster.world.set_replicas("cartservice", 3)
    waiting = next(pod for pod in cluster.get(PODS)["items"] if pod["status"]["phase"] == "Pending")
    assert "nodeName" not in waiting["spec"]
    assert "containerStatuses" not in waiting["status"]
    (scheduled,) = waiting["status"]["conditions"]
    assert (scheduled["type"], scheduled["status"], scheduled["reason"]) == ("PodScheduled", "False", "Unschedulable")

    def conditions(name: str) -> dict[str, tuple[str, str]]:
        pod = cluster.get(f"{PODS}/{name}")
        return {each["type"]: (each["status"], each["lastTransitionTime"]) for each in pod["status"]["conditions"]}

    known = {pod["metadata"]["name"] for pod in cluster.get(PODS)["items"]}
    cluster.world.set_replicas("frontend", 3)
    (name,) = {pod["metadata"]["name"] for pod in cluster.get(PODS)["items"]} - known
    assert conditions(name)["Ready"] == ("False", "2027-01-15T08:00:00Z")
    cluster.pass_seconds(10.0)
    assert conditions(name)["Ready"] == ("True", "2027-01-15T08:00:10Z")
    assert conditions(name)["PodScheduled"] == ("True", "2027-01-15T08:00:00Z")
    uid = cluster.get(f"{PODS}/{name}")["metadata"]["uid"]
    cluster.world.set_replicas("frontend", 2)
    going = cluster.get(f"{PODS}/{name}")
    assert going["metadata"]["uid"] == uid
    assert going["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:40Z"
    assert cluster.get(DEPLOYMENT)["status"]["replicas"] == 2
    cluster.pass_seconds(3.0)
    assert cluster.get(f"{PODS}/{name}")["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:40Z"
    cluster.pass_seconds(3.0)
    assert_status(cluster.call("GET", f"{PODS}/{name}"), 404, "NotFound")


def test_deployments_come_go_and_come_back(cluster: Cluster) -> None:
    first = cluster.get(DEPLOYMENT)["metadata"]["uid"]
    cluster.world.add("adservice")
    names = [each["metadata"]["name"] for each in cluster.get(DEPLOYMENT.rpartition("/")[0])["items"]]
    assert names == ["adservice", "cartservice", "frontend"]
    cluster.world.remove("frontend")
    assert_status(cluster.call("GET", DEPLOYMENT), 404, "NotFound")
    assert {pod["metadata"]["labels"]["app"] for pod in cluster.get(PODS)["items"]} == {"adservice", "cartservice"}
    assert_status(cluster.patch(SCALE, {"spec": {"replicas": 1}}), 404, "NotFound")
    cluster.world.origin_seconds += 60.0
    cluster.world.add("frontend")
    assert cluster.get(DEPLOYMENT)["metadata"]["uid"] != first


def test_zero_replicas_are_left_out(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    apps = k8s.client.AppsV1Api(client)
    assert cluster.get(SCALE)["spec"] == {"replicas": 2}
    assert cluster.patch(SCALE, {"spec": {"replicas": 0}}).json()["spec"] == {}
    assert cluster.get(SCALE)["status"] == {"replicas": 0, "selector": "app=frontend"}
    scale = apps.read_namespaced_deployment_scale("frontend", NS)
    assert (scale.spec.replicas, scale.status.replicas) == (None, 0)
    assert apps.read_namespaced_deployment("frontend", NS).spec.replicas == 0
    # A JSON patch finds nothing to replace there.
    replace = [{"op": "replace", "path": "/spec/replicas", "value": 1}]
    assert_status(cluster.patch(SCALE, replace, JSON), 422, "Invalid")
    add = [{"op": "add", "path": "/spec/replicas", "value": 1}]
    assert cluster.patch(SCALE, add, JSON).json()["spec"] == {"replicas": 1}


@pytest.mark.parametrize("kind", [STRATEGIC, MERGE, JSON])
@pytest.mark.parametrize(("sent", "kept"), [(7, 7), (None, 0), (2**31 - 1, None)])
def test_what_a_patch_accepts(cluster: Cluster, kind: str, sent: Any, kept: int | None) -> None:
    body = [{"op": "add", "path": "/spec/replicas", "value": sent}] if kind == JSON else {"spec": {"replicas": sent}}
    if kept is None:  # allowed, and nothing to try on a fake that makes a pod of each
        cluster.world.set_replicas = lambda name, replicas: cluster.world.calls.append((name, replicas))  # type: ignore[method-assign]
        assert cluster.patch(SCALE, body, kind).status_code == 200
        assert cluster.world.calls == [("frontend", sent)]
        return
    assert cluster.patch(SCALE, body, kind).json()["spec"] == ({"replicas": kept} if kept else {})
    assert cluster.world.calls == [("frontend", kept)]
    assert cluster.world.wanted == {"frontend": kept, "cartservice": 2}


@pytest.mark.parametrize(("sent", "kept"), [(2**32 + 3, 3), (3.0, 3)])
def test_only_a_strategic_patch_never_becomes_text(cluster: Cluster, sent: Any, kept: int) -> None:
    # It is turned from a map into the type, which wraps around; the other formats go through the decoder, which refuses.
    assert cluster.patch(SCALE, {"spec": {"replicas": sent}}, STRATEGIC).json()["spec"] == {"replicas": kept}
    for body, kind in (
        ({"spec": {"replicas": sent}}, MERGE),
        ([{"op": "add", "path": "/spec/replicas", "value": sent}], JSON),
    ):
        assert_status(cluster.patch(SCALE, body, kind), 422, "Invalid")
    assert cluster.world.calls == [("frontend", kept)]


@pytest.mark.parametrize("kind", [STRATEGIC, MERGE, JSON])
@pytest.mark.parametrize("sent", [-1, 2.5, "3", True, [], {}, 2**31, 2**64, 1e300])
def test_what_a_patch_refuses(cluster: Cluster, kind: str, sent: Any) -> None:
    body = [{"op": "add", "path": "/spec/replicas", "value": sent}] if kind == JSON else {"spec": {"replicas": sent}}
    before = cluster.get(SCALE)
    for params in ({}, {"dryRun": "All"}):
        assert_status(cluster.patch(SCALE, body, kind, **params), 422, "Invalid")
    assert cluster.get(SCALE) == before
    assert cluster.world.calls == []


def test_replace_is_stricter_than_patch(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    scale = cluster.get(SCALE)
    for wrong in ("3", 2.5, 2**32 + 3):
        message = assert_status(cluster.call("PUT", SCALE, {**scale, "spec": {"replicas": wrong}}), 400, "BadRequest")
        assert "ScaleSpec.spec.replicas of type int32" in message
    assert_status(cluster.call("PUT", SCALE, {**scale, "spec": {"replicas": -1}}), 422, "Invalid")
    assert cluster.world.calls == []
    read = k8s.client.AppsV1Api(client).read_namespaced_deployment_scale("frontend", NS)
    read.spec.replicas = 4
    written = k8s.client.AppsV1Api(client).replace_namespaced_deployment_scale("frontend", NS, read)
    assert written.spec.replicas == 4
    with pytest.raises(k8s.client.ApiException) as refused:
        k8s.client.AppsV1Api(client).replace_namespaced_deployment_scale("frontend", NS, read)
    assert (refused.value.status, json.loads(refused.value.body)["reason"]) == (409, "Conflict")


def test_a_stale_resource_version_is_a_conflict(cluster: Cluster) -> None:
    seen = cluster.get(SCALE)["metadata"]["resourceVersion"]
    assert cluster.patch(SCALE, {"metadata": {"resourceVersion": seen}, "spec": {"replicas": 3}}).status_code == 200
    stale = {"metadata": {"resourceVersion": seen}, "spec": {"replicas": 9}}
    for params in ({}, {"dryRun": "All"}):
        message = assert_status(cluster.patch(SCALE, stale, **params), 409, "Conflict")
        assert message == (
            'Operation cannot be fulfilled on deployments.apps "frontend": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
    assert cluster.world.wanted["frontend"] == 3
    # Without one the last write wins; pods that change are a change too.
    assert cluster.patch(SCALE, {"spec": {"replicas": 4}}).status_code == 200
    seen = cluster.get(SCALE)["metadata"]["resourceVersion"]
    cluster.pass_seconds(10.0)
    assert_status(
        cluster.patch(SCALE, {"metadata": {"resourceVersion": seen}, "spec": {"replicas": 5}}), 409, "Conflict"
    )
    other = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "spec": {"replicas": 5}}
    assert "Precondition failed: UID" in assert_status(cluster.patch(SCALE, other), 409, "Conflict")


def test_of_racing_writers_one_wins_each_revision(cluster: Cluster) -> None:
    def race(_: int) -> tuple[int, int]:
        with requests.Session() as session:
            session.headers.update({"Authorization": f"Bearer {TOKEN}", "Content-Type": MERGE})
            url = cluster.api.url + SCALE
            won = lost = 0
            for _ in range(10):
                seen = session.get(url).json()
                body = {"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}}
                body["spec"] = {"replicas": seen["spec"]["replicas"] + 1}
                status = session.patch(url, data=json.dumps(body)).status_code
                assert status in (200, 409)
                won, lost = won + (status == 200), lost + (status == 409)
            return won, lost

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(race, range(4)))
    won = sum(each[0] for each in results)
    assert cluster.world.wanted["frontend"] == 2 + won  # no increment is lost
    assert [replicas for _, replicas in cluster.world.calls] == list(range(3, 3 + won))


def test_a_patch_that_changes_nothing_changes_nothing(cluster: Cluster) -> None:
    before = cluster.get(DEPLOYMENT)
    for body, kind in (({"spec": {"replicas": 2}}, STRATEGIC), ({}, MERGE), ([], JSON)):
        assert cluster.patch(SCALE, body, kind).status_code == 200
    assert cluster.patch(DEPLOYMENT, {"metadata": {"annotations": {"absent": None}}}).status_code == 200
    assert cluster.get(DEPLOYMENT) == before
    assert cluster.world.calls == []


def test_a_dry_run_answers_and_keeps_nothing(cluster: Cluster) -> None:
    before = cluster.get(DEPLOYMENT)
    answer = cluster.patch(SCALE, {"spec": {"replicas": 7}}, dryRun="All").json()
    assert answer["spec"] == {"replicas": 7}
    assert answer["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert cluster.patch(DEPLOYMENT, {"spec": {"replicas": 7}}, dryRun="All").json()["spec"]["replicas"] == 7
    labelled = cluster.patch(DEPLOYMENT, {"metadata": {"labels": {"a": "b"}}}, dryRun="All").json()
    assert labelled["metadata"]["labels"] == {"app": "frontend", "a": "b"}
    message = assert_status(cluster.patch(SCALE, {"spec": {"replicas": 7}}, dryRun="Some"), 422, "Invalid")
    assert (
        message
        == 'PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
    )
    assert cluster.get(DEPLOYMENT) == before
    assert cluster.world.calls == []


def test_a_patch_needs_a_known_format_and_target(cluster: Cluster) -> None:
    assert_status(cluster.patch(SCALE, {}, "application/json"), 415, "UnsupportedMediaType")
    assert_status(cluster.patch(SCALE, b"{", MERGE), 400, "BadRequest")
    assert_status(cluster.patch(SCALE, [], MERGE), 400, "BadRequest")
    assert_status(cluster.patch(SCALE.replace("frontend", "nobody"), {}), 404, "NotFound")
    assert_status(cluster.patch(SCALE.replace(NS, "elsewhere"), {}), 404, "NotFound")
    assert_status(cluster.call("DELETE", SCALE), 405, "MethodNotAllowed")
    assert_status(cluster.call("DELETE", DEPLOYMENT), 405, "MethodNotAllowed")
    assert_status(cluster.call("POST", PODS, {}), 405, "MethodNotAllowed")


def test_the_world_can_refuse(cluster: Cluster) -> None:
    cluster.world.stateful.add("frontend")
    message = assert_status(cluster.patch(SCALE, {"spec": {"replicas": 3}}), 422, "Invalid")
    assert message == "Deployment.apps \"frontend\" is invalid: spec.replicas: Invalid value: 3: 'frontend' is stateful"
    assert cluster.world.wanted["frontend"] == 2
    assert cluster.patch(SCALE, {"spec": {"replicas": 2}}).status_code == 200


@pytest.mark.parametrize("kind", [STRATEGIC, MERGE])
def test_annotations_are_their_users(cluster: Cluster, kind: str) -> None:
    before = cluster.get(DEPLOYMENT)
    patch = {"metadata": {"annotations": {"gnnrl.io/min": "2"}, "labels": {"team": "a"}}}
    patched = cluster.patch(DEPLOYMENT, patch, kind).json()
    assert patched["metadata"]["annotations"]["gnnrl.io/min"] == "2"
    assert patched["metadata"]["labels"] == {"app": "frontend", "team": "a"}
    assert patched["metadata"]["generation"] == before["metadata"]["generation"]
    assert int(patched["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    cluster.patch(SCALE, {"spec": {"replicas": 5}})
    cluster.pass_seconds(30.0)
    assert cluster.get(DEPLOYMENT)["metadata"]["annotations"]["gnnrl.io/min"] == "2"
    cluster.patch(DEPLOYMENT, {"metadata": {"annotations": {"gnnrl.io/min": None}}}, kind)
    assert "gnnrl.io/min" not in cluster.get(DEPLOYMENT)["metadata"]["annotations"]
    assert_status(cluster.patch(DEPLOYMENT, {"metadata": {"annotations": {"a": 1}}}, kind), 422, "Invalid")
    assert_status(cluster.patch(DEPLOYMENT, {"metadata": {"labels": {"a": "no spaces"}}}, kind), 422, "Invalid")


def test_a_deployment_patch_may_scale_and_nothing_else(cluster: Cluster) -> None:
    both = {"spec": {"replicas": 4}, "metadata": {"annotations": {"why": "both"}}}
    scaled = cluster.patch(DEPLOYMENT, both).json()
    assert (scaled["spec"]["replicas"], scaled["metadata"]["annotations"]["why"]) == (4, "both")
    assert scaled["metadata"]["generation"] == 2
    assert cluster.world.calls == [("frontend", 4)]
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    assert "keep their pod template" in assert_status(cluster.patch(DEPLOYMENT, template), 422, "Invalid")
    assert cluster.patch(DEPLOYMENT, {"status": {"readyReplicas": 99}}).json()["status"]["readyReplicas"] == 2


def test_pod_metrics_in_every_notation(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    custom = k8s.client.CustomObjectsApi(client)
    items = custom.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", NS, "pods")["items"]
    pods = [pod["metadata"]["name"] for pod in cluster.get(PODS)["items"]]
    assert [item["metadata"]["name"] for item in items] == pods  # the one that is gone is not measured
    assert items[0]["containers"] == [
        {"name": "server", "usage": {"cpu": "1234567n", "memory": "50Mi"}},
        {"name": "istio-proxy", "usage": {"cpu": "95m", "memory": "51204Ki"}},
    ]
    assert (items[0]["timestamp"], items[0]["window"]) == ("2027-01-15T07:59:45Z", "15s")
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NS}/pods"
    assert [item["metadata"]["name"] for item in cluster.get(path, labelSelector="app=frontend")["items"]] == pods[2:]
    assert cluster.get(f"{path}/{pods[0]}")["kind"] == "PodMetrics"
    assert_status(cluster.call("GET", f"{path}/nobody"), 404, "NotFound")
    assert cluster.get(path.replace(NS, "default"))["items"] == []
    cluster.patch(SCALE, {"spec": {"replicas": 3}})
    assert len(cluster.get(path)["items"]) == 4  # the new one is not ready yet
    (node,) = cluster.get("/apis/metrics.k8s.io/v1beta1/nodes")["items"]
    assert node["usage"]["cpu"] == "384938268n"  # 4 pods


def test_a_cluster_can_lack_an_api(cluster: Cluster) -> None:
    groups = {group["name"] for group in cluster.get("/apis")["groups"]}
    assert {"metrics.k8s.io", "keda.sh", "apps", "coordination.k8s.io"} <= groups
    cluster.api.absent_groups.add("metrics.k8s.io")
    assert {group["name"] for group in cluster.get("/apis")["groups"]} == groups - {"metrics.k8s.io"}
    answer = cluster.call("GET", f"/apis/metrics.k8s.io/v1beta1/namespaces/{NS}/pods")
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (404, "text/plain")


@pytest.mark.parametrize("path", ["/apis/nosuch/v1/things", "/nosuch"])
def test_paths_of_no_group_are_plain_text(cluster: Cluster, path: str) -> None:
    answer = cluster.call("GET", path)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


@pytest.mark.parametrize("path", ["/api/v2/pods", f"{DEPLOYMENT}/status"])
def test_unknown_paths_of_a_group_are_a_status(cluster: Cluster, path: str) -> None:
    message = assert_status(cluster.call("GET", path), 404, "NotFound")
    assert message == "the server could not find the requested resource"


def test_credentials() -> None:
    cluster = Cluster(anonymous=False)
    try:
        for header in (None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN} "[:-2], "Bearer ", "Bearer \xe9"):
            cluster.session.headers["Authorization"] = header  # type: ignore[assignment]
            assert assert_status(cluster.call("GET", PODS), 401, "Unauthorized") == "Unauthorized"
        for open_path in ("/version", "/healthz", "/readyz", "/livez"):
            assert cluster.call("GET", open_path).status_code == 200
        cluster.session.headers["Authorization"] = f"Bearer {TOKEN}"
        assert cluster.call("GET", PODS).status_code == 200
        cluster.api.token = "another"
        assert_status(cluster.call("GET", PODS), 401, "Unauthorized")
        cluster.session.headers["Authorization"] = "Bearer another"
        assert cluster.call("GET", PODS).status_code == 200
    finally:
        cluster.close()


def test_over_plain_http_no_credentials_are_let_in_but_wrong_ones_never(cluster: Cluster) -> None:
    assert requests.get(cluster.api.url + PODS).status_code == 200
    assert requests.get(cluster.api.url + PODS, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_denied_verb_is_named_as_the_api_server_names_it(client: k8s.client.ApiClient, cluster: Cluster) -> None:
    cluster.api.deny |= {("patch", "deployments/scale"), ("list", "pods.metrics.k8s.io"), ("*", "leases")}
    account = f"system:serviceaccount:{NS}:gnnrl"
    assert assert_status(cluster.patch(SCALE, {}), 403, "Forbidden") == (
        f'deployments.apps "frontend" is forbidden: User "{account}" cannot patch resource "deployments/scale" '
        f'in API group "apps" in the namespace "{NS}"'
    )
    answer = cluster.call("GET", f"/apis/metrics.k8s.io/v1beta1/namespaces/{NS}/pods")
    assert assert_status(answer, 403, "Forbidden") == (
        f'pods.metrics.k8s.io is forbidden: User "{account}" cannot list resource "pods" '
        f'in API group "metrics.k8s.io" in the namespace "{NS}"'
    )
    assert cluster.call("GET", PODS).status_code == 200
    assert cluster.get(SCALE)["spec"] == {"replicas": 2}
    assert_status(cluster.call("GET", "/apis/coordination.k8s.io/v1/leases"), 403, "Forbidden")

    def can_i(verb: str, group: str, resource: str, subresource: str = "") -> bool:
        attributes = k8s.client.V1ResourceAttributes(
            verb=verb, group=group, resource=resource, subresource=subresource, namespace=NS
        )
        spec = k8s.client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        review = k8s.client.V1SelfSubjectAccessReview(spec=spec)
        answer = k8s.client.AuthorizationV1Api(client).create_self_subject_access_review(review)
        return bool(answer.status.allowed)

    assert not can_i("patch", "apps", "deployments", "scale")
    assert can_i("get", "apps", "deployments", "scale")
    assert can_i("patch", "apps", "deployments")
    assert can_i("list", "", "pods")
    assert not can_i("list", "metrics.k8s.io", "pods")
    assert not can_i("update", "coordination.k8s.io", "leases")
    cluster.api.deny.clear()
    assert can_i("patch", "apps", "deployments", "scale")


@pytest.mark.parametrize("error", [RuntimeError("broken"), TimeoutError("late"), KeyError("gone"), ValueError("odd")])
def test_a_faulty_world_is_a_500_and_not_the_end(
    cluster: Cluster, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.world.broken = error
    with caplog.at_level(logging.ERROR):
        message = assert_status(cluster.call("GET", PODS), 500, "InternalError")
    assert "internal error at GET" in message
    assert TOKEN not in caplog.text
    assert "Traceback" in caplog.text
    cluster.world.broken = None
    assert cluster.call("GET", PODS).status_code == 200


def test_what_is_asked_for_as_a_table(cluster: Cluster) -> None:
    cluster.session.headers["Accept"] = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = cluster.get(DEPLOYMENT.rpartition("/")[0])
    columns = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert (table["kind"], columns) == ("Table", ["Name", "Ready", "Up-to-date", "Available", "Age"])
    assert [row["cells"][:5] for row in table["rows"]] == [
        ["cartservice", "2/2", 2, 2, "60m"],
        ["frontend", "2/2", 2, 2, "60m"],
    ]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    cluster.pass_seconds(3600.0 * 7)
    assert cluster.get(DEPLOYMENT)["rows"][0]["cells"][4] == "8h"
    assert cluster.get(DEPLOYMENT, includeObject="Object")["rows"][0]["object"]["kind"] == "Deployment"
    cluster.session.headers["Accept"] = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io"
    assert_status(cluster.call("GET", PODS), 406, "NotAcceptable")


def test_a_kubeconfig_is_its_owners_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "kubeconfig"
    for namespace in ("first", "second"):
        write_kubeconfig(path, "http://127.0.0.1:1", TOKEN, namespace, context="here")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["kubeconfig"]
    contexts, current = k8s.config.list_kube_config_contexts(str(path))
    assert (len(contexts), current["name"], current["context"]["namespace"]) == (1, "here", "second")


def test_many_readers_and_writers_at_once(cluster: Cluster) -> None:
    for number in range(6):
        cluster.world.add(f"service-{number}")
    stop = threading.Event()

    def read() -> int:
        with requests.Session() as session:
            count = 0
            while not stop.is_set():
                for pod in session.get(cluster.api.url + PODS).json()["items"]:
                    assert pod["status"]["phase"] == "Running"
                count += 1
            return count

    def write(number: int) -> None:
        with requests.Session() as session:
            for replicas in range(2, 12):
                url = cluster.api.url + SCALE.replace("frontend", f"service-{number}")
                body = json.dumps({"spec": {"replicas": replicas}})
                assert session.patch(url, data=body, headers={"Content-Type": MERGE}).status_code == 200

    with ThreadPoolExecutor(9) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        list(pool.map(write, range(6)))
        stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert all(cluster.world.wanted[f"service-{number}"] == 11 for number in range(6))
    assert len(cluster.get(PODS)["items"]) == 6 * 11 + 4
