"""The sandbox's Kubernetes API over real sockets: lists, watches, and the objects that clients create."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes as k8s
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.notation import age, cpu_quantity, go_duration, memory_quantity
from gnnrl.live.sandbox.kube.patches import apply_patch
from gnnrl.live.sandbox.kube.protobuf_bodies import MAGIC, decode
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from tests.live.fake_cluster import JSON, MERGE, NS, STRATEGIC, TOKEN, Cluster, assert_status

PODS = f"/api/v1/namespaces/{NS}/pods"
SCALE = f"/apis/apps/v1/namespaces/{NS}/deployments/frontend/scale"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases"
EVENTS = f"/api/v1/namespaces/{NS}/events"
NEW_EVENTS = f"/apis/events.k8s.io/v1/namespaces/{NS}/events"
HPAS = f"/apis/autoscaling/v2/namespaces/{NS}/horizontalpodautoscalers"
SCALED_OBJECTS = f"/apis/keda.sh/v1alpha1/namespaces/{NS}/scaledobjects"
LEASE = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster(history=200)
    yield started
    started.close()


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path) -> Iterator[k8s.client.ApiClient]:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, cluster.api.url, TOKEN, NS)
    with k8s.config.new_client_from_config(str(path)) as api_client:
        yield api_client


def names(answer: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


@pytest.mark.parametrize(
    ("labels", "fields", "expected"),
    [
        ("", "", 5),
        ("app=frontend", "", 3),
        ("app==frontend", "", 3),
        ("app!=frontend", "", 2),
        ("app in (frontend, adservice)", "", 3),
        ("app notin (frontend),pod-template-hash", "", 2),
        ("absent notin (x)", "", 5),
        ("!absent,app", "", 5),
        ("absent", "", 0),
        ("app=frontend,pod-template-hash!=abcdef1234", "", 0),
        ("", "status.phase=Running", 5),
        ("", "status.phase!=Running", 0),
        ("", "spec.nodeName=sandbox-node,metadata.namespace=onlineboutique", 5),
        ("app=frontend", "metadata.name=frontend-abcdef1234-00003", 1),
    ],
)
def test_selectors(cluster: Cluster, labels: str, fields: str, expected: int) -> None:
    cluster.world.set_replicas("frontend", 3)
    assert len(cluster.get(PODS, labelSelector=labels, fieldSelector=fields)["items"]) == expected


@pytest.mark.parametrize(
    "params",
    [
        {"fieldSelector": "spec.containers=x"},
        {"fieldSelector": "metadata.name"},
        {"labelSelector": "a b"},
        {"labelSelector": "app in frontend"},
        {"labelSelector": "=x"},
        {"limit": "many"},
        {"continue": "garbage"},
        {"resourceVersion": "x"},
        {"watch": "true", "timeoutSeconds": ""},
    ],
)
def test_parameters_that_make_no_sense(cluster: Cluster, params: dict[str, str]) -> None:
    assert_status(cluster.call("GET", PODS, **params), 400, "BadRequest")


def test_pages_hold_everything_once(cluster: Cluster) -> None:
    cluster.world.set_replicas("frontend", 9)
    everything = names(cluster.get(PODS))
    assert len(everything) == 11
    found, token, left = [], "", []
    while True:
        page = cluster.get(PODS, limit="4", **({"continue": token} if token else {}))
        found += names(page)
        left.append(page["metadata"].get("remainingItemCount"))
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert found == everything
    assert left == [7, 3, None]
    token = cluster.get(PODS, limit="4")["metadata"]["continue"]
    for number in range(300):
        cluster.patch(f"/api/v1/namespaces/{NS}", {"metadata": {"annotations": {"n": str(number)}}})
    assert_status(cluster.call("GET", PODS, limit="4", **{"continue": token}), 410, "Expired")
    assert_status(cluster.call("GET", PODS, resourceVersion="999999"), 504, "Timeout")


def events_of(cluster: Cluster, path: str, **params: str) -> list[dict[str, Any]]:
    """What a watch with a time limit tells."""
    answer = cluster.call("GET", path, watch="true", timeoutSeconds="1", **params)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_watch_goes_on_where_a_list_ended(cluster: Cluster) -> None:
    before = cluster.get(PODS)
    cluster.patch(SCALE, {"spec": {"replicas": 3}})
    cluster.get(PODS)
    cluster.pass_seconds(10.0)
    cluster.get(PODS)
    cluster.patch(SCALE, {"spec": {"replicas": 2}})
    cluster.get(PODS)
    cluster.pass_seconds(5.0)
    told = events_of(cluster, PODS, resourceVersion=before["metadata"]["resourceVersion"], allowWatchBookmarks="true")
    assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED", "BOOKMARK"]
    assert len({event["object"]["metadata"].get("name") for event in told[:4]}) == 1
    ready = [
        next(each["status"] for each in event["object"]["status"]["conditions"] if each["type"] == "Ready")
        for event in told[:4]
    ]
    assert ready == ["False", "True", "False", "False"]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in told]
    assert revisions[:4] == sorted(set(revisions[:4]))
    assert revisions[4] >= revisions[3]


def test_a_watch_without_a_revision_begins_with_what_there_is(cluster: Cluster) -> None:
    told = events_of(cluster, PODS)
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in told] == [
        ("ADDED", name) for name in names(cluster.get(PODS))
    ]
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": "5"}
    initial = events_of(cluster, PODS, allowWatchBookmarks="true", **asked)
    assert [event["type"] for event in initial[:5]] == ["ADDED"] * 4 + ["BOOKMARK"]
    assert initial[4]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_what_leaves_a_selection_is_deleted_to_its_watcher(cluster: Cluster) -> None:
    path = f"/apis/apps/v1/namespaces/{NS}/deployments"
    start = cluster.get(path)["metadata"]["resourceVersion"]
    for labels in ({"team": "a"}, {"other": "1"}, {"team": "b"}):
        cluster.patch(f"{path}/frontend", {"metadata": {"labels": labels}})
    told = events_of(cluster, path, resourceVersion=start, labelSelector="team=a")
    assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "DELETED"]
    assert told[2]["object"]["metadata"]["labels"]["team"] == "a"
    assert events_of(cluster, path, resourceVersion=start, fieldSelector="metadata.name=cartservice") == []


def test_a_watch_from_too_long_ago_is_gone(cluster: Cluster) -> None:
    start = cluster.get(PODS)["metadata"]["resourceVersion"]
    for number in range(300):
        cluster.patch(f"/api/v1/namespaces/{NS}", {"metadata": {"annotations": {"n": str(number)}}})
    (told,) = events_of(cluster, PODS, resourceVersion=start)
    assert (told["type"], told["object"]["code"], told["object"]["reason"]) == ("ERROR", 410, "Expired")
    watched = cluster.get(PODS)["metadata"]["resourceVersion"]
    assert events_of(cluster, PODS, resourceVersion=watched) == []


def test_the_python_client_watches(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    core = k8s.client.CoreV1Api(client)
    start = core.list_namespaced_pod(NS).metadata.resource_version
    threading.Timer(0.3, cluster.world.set_replicas, ("frontend", 4)).start()
    told = [
        (event["type"], event["object"].metadata.labels["app"])
        for event in k8s.watch.Watch().stream(
            core.list_namespaced_pod, NS, resource_version=start, timeout_seconds=1, label_selector="app=frontend"
        )
    ]
    assert told == [("ADDED", "frontend")] * 2


def test_a_lease_is_taken_renewed_and_lost(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    leases = k8s.client.CoordinationV1Api(client)
    made = leases.create_namespaced_lease(NS, LEASE)
    assert (made.spec.holder_identity, made.metadata.creation_timestamp.timestamp()) == ("a", cluster.clock.now())
    assert_status(cluster.call("POST", LEASES, LEASE), 409, "AlreadyExists")
    mine = cluster.get(f"{LEASES}/leader")
    mine["spec"]["renewTime"] = "2027-01-15T08:00:00.123456Z"
    renewed = cluster.call("PUT", f"{LEASES}/leader", mine).json()
    assert renewed["spec"]["renewTime"] == "2027-01-15T08:00:00.123456Z"
    assert renewed["metadata"]["uid"] == mine["metadata"]["uid"]
    assert_status(cluster.call("PUT", f"{LEASES}/leader", mine), 409, "Conflict")
    del mine["metadata"]["resourceVersion"]
    message = assert_status(cluster.call("PUT", f"{LEASES}/leader", mine), 422, "Invalid")
    assert message.endswith("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    stale = {"preconditions": {"resourceVersion": "1"}}
    assert_status(cluster.call("DELETE", f"{LEASES}/leader", stale), 409, "Conflict")
    assert cluster.call("DELETE", f"{LEASES}/leader").json()["status"] == "Success"
    assert_status(cluster.call("GET", f"{LEASES}/leader"), 404, "NotFound")
    assert cluster.call("PUT", f"{LEASES}/leader", LEASE).status_code == 201  # a Lease may be created by an update
    assert cluster.get(f"{LEASES}/leader")["metadata"]["uid"] != renewed["metadata"]["uid"]


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ({**LEASE, "spec": {"leaseDurationSeconds": 0}}, 422, "Invalid"),
        ({**LEASE, "metadata": {"name": "No_Name"}}, 422, "Invalid"),
        ({**LEASE, "metadata": {}}, 422, "Invalid"),
        ({**LEASE, "metadata": {"name": "a", "namespace": "default"}}, 400, "BadRequest"),
        ({**LEASE, "kind": "Pod"}, 400, "BadRequest"),
        ({**LEASE, "apiVersion": "coordination.k8s.io/v2"}, 400, "BadRequest"),
        ([], 400, "BadRequest"),
        (b"{", 400, "BadRequest"),
    ],
)
def test_what_is_no_lease(cluster: Cluster, body: Any, code: int, reason: str) -> None:
    assert_status(cluster.call("POST", LEASES, body), code, reason)
    assert cluster.get(LEASES)["items"] == []


def test_names_are_made_where_a_prefix_is_given(cluster: Cluster) -> None:
    made = [
        cluster.call("POST", LEASES, {**LEASE, "metadata": {"generateName": "leader-"}}).json()["metadata"]["name"]
        for _ in range(3)
    ]
    assert len(set(made)) == 3
    assert all(name.startswith("leader-") and len(name) == 12 for name in made)
    dry = cluster.call("POST", LEASES, LEASE, dryRun="All")
    assert (dry.status_code, names(cluster.get(LEASES))) == (201, sorted(made))
    assert_status(cluster.call("POST", LEASES.replace(NS, "nowhere"), LEASE), 404, "NotFound")
    assert cluster.call("DELETE", LEASES).status_code == 200
    assert cluster.get(LEASES)["items"] == []


def event(name: str = "frontend.1", **fields: Any) -> dict[str, Any]:
    about = {"kind": "Deployment", "name": "frontend", "namespace": NS, "uid": "u"}
    return {"metadata": {"name": name, "namespace": NS}, "involvedObject": about, "reason": "Scaled", **fields}


def test_events_have_two_faces(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    assert cluster.call("POST", EVENTS, event(message="2 -> 3", count=1)).status_code == 201
    new = {
        "metadata": {"name": "frontend.2"},
        "regarding": event()["involvedObject"],
        "eventTime": "2027-01-15T08:00:00.000000Z",
        "reportingController": "gnnrl",
        "reportingInstance": "one",
        "action": "Scale",
        "reason": "Held",
        "type": "Normal",
        "note": "stale",
    }
    assert cluster.call("POST", NEW_EVENTS, new).status_code == 201
    read = k8s.client.CoreV1Api(client).list_namespaced_event(
        NS, field_selector="involvedObject.name=frontend,involvedObject.kind=Deployment"
    )
    assert [(each.reason, each.message, each.type) for each in read.items] == [
        ("Scaled", "2 -> 3", "Normal"),
        ("Held", "stale", "Normal"),
    ]
    assert [each["note"] for each in cluster.get(NEW_EVENTS, fieldSelector="regarding.name=frontend")["items"]] == [
        "2 -> 3",
        "stale",
    ]
    assert cluster.get(EVENTS, fieldSelector="reason=Held")["items"][0]["reportingComponent"] == "gnnrl"
    patched = cluster.patch(f"{EVENTS}/frontend.1", {"count": 2}).json()
    assert (patched["count"], patched["message"]) == (2, "2 -> 3")
    assert_status(cluster.patch(f"{EVENTS}/absent", {"count": 2}), 404, "NotFound")
    for missing in ("eventTime", "reportingController", "reportingInstance", "action", "reason", "type"):
        bad = {**new, "metadata": {"name": "bad"}, missing: None}
        assert missing in assert_status(cluster.call("POST", NEW_EVENTS, bad), 422, "Invalid")
    elsewhere = event("frontend.3", involvedObject={"kind": "Deployment", "name": "x", "namespace": "default"})
    assert "does not match event.namespace" in assert_status(cluster.call("POST", EVENTS, elsewhere), 422, "Invalid")


def test_events_last_an_hour(cluster: Cluster) -> None:
    cluster.call("POST", EVENTS, event("old"))
    cluster.pass_seconds(3000.0)
    cluster.call("POST", EVENTS, event("new"))
    assert names(cluster.get(EVENTS)) == ["new", "old"]
    cluster.pass_seconds(700.0)
    assert names(cluster.get(EVENTS)) == ["new"]


def test_owners_quotas_and_budgets(cluster: Cluster, client: k8s.client.ApiClient) -> None:
    hpa = {
        "metadata": {"name": "frontend"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "frontend"},
            "maxReplicas": 4,
        },
    }
    assert cluster.call("POST", HPAS, hpa).json()["spec"]["minReplicas"] == 1
    (read,) = k8s.client.AutoscalingV2Api(client).list_namespaced_horizontal_pod_autoscaler(NS).items
    assert (read.spec.scale_target_ref.name, read.spec.max_replicas) == ("frontend", 4)
    assert_status(cluster.patch(f"{HPAS}/frontend", {"spec": {"maxReplicas": 0}}), 422, "Invalid")
    scaled = {"metadata": {"name": "cart"}, "spec": {"scaleTargetRef": {"name": "cartservice"}, "triggers": []}}
    assert cluster.call("POST", SCALED_OBJECTS, scaled).status_code == 201
    custom = k8s.client.CustomObjectsApi(client)
    (item,) = custom.list_namespaced_custom_object("keda.sh", "v1alpha1", NS, "scaledobjects")["items"]
    assert (item["kind"], item["spec"]["scaleTargetRef"]["name"]) == ("ScaledObject", "cartservice")
    assert_status(cluster.patch(f"{SCALED_OBJECTS}/cart", {}, STRATEGIC), 415, "UnsupportedMediaType")
    changed = cluster.patch(f"{SCALED_OBJECTS}/cart", {"spec": {"maxReplicaCount": 3}}, MERGE).json()
    assert (changed["metadata"]["generation"], changed["spec"]["maxReplicaCount"]) == (2, 3)

    core, policy = k8s.client.CoreV1Api(client), k8s.client.PolicyV1Api(client)
    hard = {"pods": "10", "requests.cpu": "2", "limits.memory": "4Gi", "count/deployments.apps": "5"}
    core.create_namespaced_resource_quota(NS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    used = core.read_namespaced_resource_quota("q", NS).status.used
    assert used == {"pods": "4", "requests.cpu": "450m", "limits.memory": "512Mi", "count/deployments.apps": "2"}
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": "50%"}}
    budget["spec"]["selector"] = {"matchLabels": {"app": "frontend"}}  # type: ignore[index]
    policy.create_namespaced_pod_disruption_budget(NS, budget)
    cluster.patch(SCALE, {"spec": {"replicas": 5}})
    status = policy.read_namespaced_pod_disruption_budget("b", NS).status
    assert (status.expected_pods, status.current_healthy, status.desired_healthy) == (5, 2, 3)
    assert status.disruptions_allowed == 0
    cluster.pass_seconds(10.0)
    assert policy.read_namespaced_pod_disruption_budget("b", NS).status.disruptions_allowed == 2
    assert core.read_namespaced_resource_quota("q", NS).status.used["pods"] == "7"


def test_namespaces_take_annotations(cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{NS}"
    cluster.patch(path, {"metadata": {"annotations": {"gnnrl.io/pause": "true"}}})
    assert cluster.get(path)["metadata"]["annotations"] == {"gnnrl.io/pause": "true"}
    assert names(cluster.get("/api/v1/namespaces")) == ["default", "kube-system", NS]
    assert_status(cluster.call("GET", "/api/v1/namespaces/absent"), 404, "NotFound")
    assert cluster.get("/api/v1/namespaces/absent/pods")["items"] == []


def test_null_fields_are_absent_fields(cluster: Cluster) -> None:
    budgets = f"/apis/policy/v1/namespaces/{NS}/poddisruptionbudgets"
    spec = {"minAvailable": None, "maxUnavailable": None, "selector": {"matchLabels": {"app": "frontend"}}}
    created = cluster.call("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
    assert created.status_code == 201
    assert created.json()["spec"] == {"selector": {"matchLabels": {"app": "frontend"}}}
    assert cluster.get(f"{budgets}/b")["status"]["desiredHealthy"] == 1
    # Replicas of a Deployment default to 1, which is then written out.
    deployment = SCALE.removesuffix("/scale")
    for wanted in (3, None, None):
        assert cluster.patch(deployment, {"spec": {"replicas": wanted}}).json()["spec"]["replicas"] == (wanted or 1)
    assert cluster.get(SCALE)["spec"] == {"replicas": 1}


PATHS = (
    HPAS.replace("v2", "v1"), f"{HPAS.replace('v2', 'v1')}/leader", f"{HPAS}/leader", f"{EVENTS}/leader", f"{SCALED_OBJECTS}/leader",
    LEASES, f"{LEASES}/leader", EVENTS, NEW_EVENTS, HPAS, SCALED_OBJECTS, SCALE, SCALE.removesuffix("/scale"),
    f"/apis/policy/v1/namespaces/{NS}/poddisruptionbudgets", f"/api/v1/namespaces/{NS}/resourcequotas",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
)  # fmt: skip
KEYS = st.sampled_from(
    ["metadata", "name", "spec", "replicas", "annotations", "labels", "resourceVersion", "scaleTargetRef", "hard",
     "minAvailable", "selector", "matchLabels", "involvedObject", "namespace", "op", "path", "value", "uid", "triggers",
     "pods", "requests.cpu", "resourceAttributes", "maxReplicas", "status", "conditions", "kind"]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", NS, "/spec/x", "add"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    how=st.sampled_from(
        [
            *((method, "application/json") for method in ("POST", "PUT", "DELETE")),
            *(("PATCH", kind) for kind in (JSON, MERGE, STRATEGIC, "application/apply-patch+yaml")),
        ]
    ),
    body=VALUES
    | st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"name": st.just("leader")}), "spec": VALUES}),
)
def test_no_body_breaks_the_server(shared: Cluster, path: str, how: tuple[str, str], body: Any) -> None:
    if (
        isinstance(body, dict)
        and isinstance(body.get("spec"), dict)
        and isinstance(body["spec"].get("replicas"), int | float)
    ):
        body["spec"]["replicas"] = min(body["spec"]["replicas"], 50)  # the fake world makes a pod of each
    answer = shared.call(how[0], path, body, how[1], fieldManager="fuzz")
    # A 500 of the API server's own (a revision that is no number) is an answer, one of a fault in the sandbox is not.
    assert "internal error at" not in answer.text, (how, path, body, answer.text)
    if answer.status_code >= 400 and answer.headers["Content-Type"] == "application/json":
        assert answer.json()["code"] == answer.status_code
    assert shared.get(SCALE)["kind"] == "Scale"
    for listed in PATHS:
        if not listed.endswith(("/leader", "/scale")) and "selfsubject" not in listed:
            assert shared.call("GET", listed).status_code == 200


@given(st.binary(max_size=60))
def test_no_bytes_break_the_protobuf_reader(data: bytes) -> None:
    for body in (data, MAGIC + data, MAGIC + b"\x0a\x04\x12\x02" + data):
        refused = None
        try:
            found = decode(body, "policy.v1.PodDisruptionBudget")
        except ApiError as error:
            refused = error.code
        assert refused == 400 if refused else isinstance(found, dict)


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ([{"op": "add", "path": "/list/-", "value": 3}], {"list": [1, 2, 3], "map": {"a/b": 1}}),
        ([{"op": "add", "path": "/list/0", "value": 0}], {"list": [0, 1, 2], "map": {"a/b": 1}}),
        ([{"op": "remove", "path": "/list/1"}], {"list": [1], "map": {"a/b": 1}}),
        ([{"op": "replace", "path": "/map/a~1b", "value": 2}], {"list": [1, 2], "map": {"a/b": 2}}),
        ([{"op": "move", "from": "/list", "path": "/map/l"}], {"map": {"a/b": 1, "l": [1, 2]}}),
        ([{"op": "copy", "from": "/map", "path": "/m"}], {"list": [1, 2], "map": {"a/b": 1}, "m": {"a/b": 1}}),
        ([{"op": "test", "path": "/list", "value": [1, 2]}], {"list": [1, 2], "map": {"a/b": 1}}),
        ([{"op": "test", "path": "/list", "value": [True, 2]}], None),
        ([{"op": "remove", "path": "/absent"}], None),
        ([{"op": "replace", "path": "/map/absent", "value": 1}], None),
        ([{"op": "add", "path": "/list/5", "value": 1}], None),
        ([{"op": "add", "path": "list"}], None),
        ([{"op": "frob", "path": "/list"}], None),
    ],
)
def test_json_patches_follow_rfc_6902(patch: Any, expected: Any) -> None:
    document = {"list": [1, 2], "map": {"a/b": 1}}
    if expected is None:
        with pytest.raises(ApiError) as refused:
            apply_patch(JSON, patch, document)
        assert refused.value.code == 422
    else:
        assert apply_patch(JSON, patch, document) == expected
    assert document == {"list": [1, 2], "map": {"a/b": 1}}


def test_merge_patches_follow_rfc_7386() -> None:
    document = {"a": {"b": 1, "c": [1]}, "d": 1}
    assert apply_patch(MERGE, {"a": {"b": None, "c": [2]}, "d": {"e": {"f": None}}}, document) == {
        "a": {"c": [2]},
        "d": {"e": {}},
    }


def test_notation() -> None:
    assert [cpu_quantity(n) for n in (0, 95_000_000, 1_234_567, 1_500_000, 2_000_000_000, 1)] == [
        "0", "95m", "1234567n", "1500u", "2", "1n",
    ]  # fmt: skip
    assert [memory_quantity(n) for n in (0, 1, 1024, 50 * 2**20, 51_204 * 1024, 2**40, 1000)] == [
        "0", "1", "1Ki", "50Mi", "51204Ki", "1Ti", "1000",
    ]  # fmt: skip
    assert [age(s) for s in (-5, 0, 119, 120, 125, 600, 10_799, 10_800, 11_000, 28_800, 172_800, 180_000, 800_000)] == [
        "<invalid>", "0s", "119s", "2m", "2m5s", "10m", "179m", "3h", "3h3m", "8h", "2d", "2d2h", "9d",
    ]  # fmt: skip
    assert [age(86_400 * days) for days in (729, 730, 800, 3000)] == ["729d", "2y", "2y70d", "8y"]
    assert [go_duration(s) for s in (15.0, 15.023, 60.0, 90.5, 3600.0)] == [
        "15s",
        "15.023s",
        "1m0s",
        "1m30.5s",
        "1h0m0s",
    ]
