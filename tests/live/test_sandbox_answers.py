"""The sandbox answers as a Kubernetes API server does: `api_server_answers.py` row by row, and what the answers hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gnnrl.live.sandbox.kube.json_text import read_yaml
from gnnrl.live.sandbox.kube.protobuf_bodies import MAGIC, decode, encode
from tests.live.api_server_answers import (
    ANSWERS,
    APPLY,
    BUDGET,
    EVENT,
    EVENTS,
    FRONTEND,
    HPA,
    LEASE,
    LEASES,
    OLD_HPAS,
    PARTIAL,
    PARTIAL_LIST,
    PODS,
    PROTOBUF,
    QUOTA,
    SCALE,
    THERE,
    YAML,
    Answer,
)  # fmt: skip
from tests.live.fake_cluster import MERGE, Cluster

KEPT = ("deployments", "replicasets", "pods", "namespaces", "nodes")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.close()


@pytest.fixture
def fresh(cluster: Cluster) -> Cluster:
    """The cluster with the objects that the rows find, and no others."""
    store = cluster.api.store
    for storage in list(store._objects):
        for item in store.objects(storage):
            if storage not in KEPT:
                store.remove(storage, *item.key)
    cluster.world.set_replicas("frontend", 2)
    for collection, body in THERE:
        assert cluster.call("POST", collection, body).status_code == 201
    return cluster


@pytest.mark.parametrize("row", ANSWERS, ids=str)
def test_the_answer_is_the_api_servers(fresh: Cluster, row: Answer) -> None:
    headers = {"Content-Type": row.kind, **({"Accept": row.accept} if row.accept else {})}
    data = row.body if row.body is None or isinstance(row.body, bytes) else json.dumps(row.body)
    url = fresh.api.url + row.path
    answer = fresh.session.request(row.method, url, data=data, params=row.params, headers=headers, timeout=10.0)
    code, reason = row.expected
    assert answer.status_code == code, answer.text
    if code >= 400 and answer.headers["Content-Type"] == "application/json" and row.method != "HEAD":
        status = answer.json()
        assert (status["kind"], status["code"], status.get("reason", "")) == ("Status", code, reason), answer.text


def headers_of(row_kind: str = "application/json", accept: str = "application/json") -> dict[str, str]:
    return {"Content-Type": row_kind, "Accept": accept}


def test_unknown_and_repeated_fields_are_told_and_left_out(fresh: Cluster) -> None:
    body = b'{"metadata":{"name":"new","x":1},"spec":{"holderIdentity":"a","holderIdentity":"b","y":{"z":1}},"w":2}'
    made = fresh.call("POST", LEASES, body)
    assert made.status_code == 201 and made.json()["spec"] == {"holderIdentity": "b"}
    told = 'duplicate field "spec.holderIdentity"', 'unknown field "metadata.x"', 'unknown field "spec.y"'
    warned = made.headers["Warning"]
    assert all(f"299 - {json.dumps(each)}" in warned for each in (*told, 'unknown field "w"')), warned
    assert (
        "Warning" not in fresh.call("POST", f"{LEASES}?fieldValidation=Ignore", body.replace(b"new", b"other")).headers
    )
    refused = fresh.call("POST", LEASES, body.replace(b"new", b"third"), fieldValidation="Strict").json()["message"]
    assert refused.startswith('Lease in version "v1" cannot be handled as a Lease: strict decoding error: duplicate')
    patched = fresh.patch(SCALE, b'{"spec":{"replicas":3,"replicas":2},"a":1}', MERGE)
    assert 'duplicate field \\"spec.replicas\\"' in patched.headers["Warning"]
    assert patched.json()["spec"] == {"replicas": 2}


def test_everything_that_is_wrong_is_named_at_once(fresh: Cluster) -> None:
    body = {"metadata": {"name": "A_b"}, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -2}}
    refused = fresh.call("POST", LEASES, body).json()
    assert [(cause["field"], cause["reason"]) for cause in refused["details"]["causes"]] == [
        ("metadata.name", "FieldValueInvalid"),
        ("spec.leaseDurationSeconds", "FieldValueInvalid"),
        ("spec.leaseTransitions", "FieldValueInvalid"),
    ]
    assert refused["message"].startswith(
        'Lease.coordination.k8s.io "A_b" is invalid: [metadata.name: Invalid value: "A_b": a'
    )
    assert refused["message"].endswith("spec.leaseTransitions: Invalid value: -2: must be greater than or equal to 0]")
    manager = fresh.patch(SCALE, {}, MERGE, fieldManager="x" * 129).json()
    assert manager["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes'
    )
    assert fresh.get(SCALE)["spec"] == {"replicas": 2}


def test_a_list_at_an_older_revision_is_the_old_one(fresh: Cluster) -> None:
    before = fresh.get(PODS)
    leases = fresh.get(LEASES)
    fresh.call("DELETE", LEASE)
    fresh.call("POST", LEASES, {"metadata": {"name": "later"}, "spec": {"holderIdentity": "b"}})
    fresh.patch(SCALE, {"spec": {"replicas": 4}}, MERGE)
    assert len(fresh.get(PODS)["items"]) == len(before["items"]) + 2
    for then, path in ((before, PODS), (leases, LEASES)):
        revision = then["metadata"]["resourceVersion"]
        assert fresh.get(path, resourceVersion=revision, resourceVersionMatch="Exact") == then
        now = fresh.get(path, resourceVersion=revision, resourceVersionMatch="NotOlderThan")
        assert int(now["metadata"]["resourceVersion"]) > int(revision) and now["items"] != then["items"]


def test_pages_are_of_one_moment(fresh: Cluster) -> None:
    whole = fresh.get(PODS)
    first = fresh.get(PODS, limit="1")
    fresh.patch(SCALE, {"spec": {"replicas": 4}}, MERGE)
    fresh.get(PODS)
    rest = fresh.get(PODS, **{"continue": first["metadata"]["continue"]})
    assert first["items"] + rest["items"] == whole["items"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_one_object_in_every_format(fresh: Cluster) -> None:
    plain = fresh.get(BUDGET)
    assert yaml.safe_load(fresh.session.get(fresh.api.url + BUDGET, headers=headers_of(accept=YAML)).text) == plain
    for path, struct in (
        (BUDGET, "policy.v1.PodDisruptionBudget"),
        (LEASE, "coordination.v1.Lease"),
        (FRONTEND, "apps.v1.Deployment"),
        (SCALE, "autoscaling.v1.Scale"),
        (QUOTA, "core.v1.ResourceQuota"),
        (f"{EVENTS}/there", "core.v1.Event"),
        (HPA, "autoscaling.v2.HorizontalPodAutoscaler"),
    ):
        answer = fresh.session.get(fresh.api.url + path, headers=headers_of(accept=PROTOBUF))
        assert answer.headers["Content-Type"] == PROTOBUF
        shown = {key: value for key, value in fresh.get(path).items() if value}
        assert without_empties(decode(answer.content, struct)) == without_empties(shown), path
    partial = fresh.session.get(fresh.api.url + BUDGET, headers=headers_of(accept=PARTIAL)).json()
    assert partial == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": plain["metadata"]}
    listed = fresh.session.get(fresh.api.url + PODS, headers=headers_of(accept=PARTIAL_LIST)).json()
    assert (listed["kind"], {item["kind"] for item in listed["items"]}) == (
        "PartialObjectMetadataList",
        {"PartialObjectMetadata"},
    )
    assert all("spec" not in item for item in listed["items"])
    refused = fresh.session.get(f"{fresh.api.url}{LEASES}/absent", headers=headers_of(accept=YAML))
    assert (refused.status_code, yaml.safe_load(refused.text)["reason"]) == (404, "NotFound")


def without_empties(value: Any) -> Any:
    """What protobuf cannot tell from absent."""
    if isinstance(value, dict):
        kept = {key: without_empties(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", {}, [])}
    return [without_empties(item) for item in value] if isinstance(value, list) else value


@given(st.integers(-(2**31), 2**31 - 1), st.text(max_size=20), st.booleans(), st.sampled_from(["5%", 3, -1]))
def test_what_is_written_in_protobuf_is_read_back(number: int, text: str, flag: bool, share: int | str) -> None:
    content = {
        "metadata": {
            "name": "a",
            "labels": {"b": text},
            "generation": number,
            "ownerReferences": [{"controller": flag}],
        },
        "spec": {"minAvailable": share, "selector": {"matchLabels": {"app": text}}},
        "status": {"expectedPods": number, "disruptedPods": {"p": "2027-01-15T08:00:00Z"}},
    }
    body = encode(content, "policy.v1.PodDisruptionBudget", "PodDisruptionBudget", "policy/v1")
    head = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1"}
    assert without_empties(decode(body, "policy.v1.PodDisruptionBudget")) == without_empties({**head, **content})


def test_a_watch_in_protobuf_comes_in_frames(fresh: Cluster) -> None:
    asked = {"watch": "1", "timeoutSeconds": "-1"}
    answer = fresh.session.get(fresh.api.url + LEASES, params=asked, headers=headers_of(accept=PROTOBUF))
    assert answer.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
    size = int.from_bytes(answer.content[:4], "big")
    assert len(answer.content) == 4 + size
    assert answer.content[4:11] == b"\n\x05ADDED" and MAGIC in answer.content[11:20]


def test_an_apply_creates_changes_and_keeps_what_it_does_not_name(fresh: Cluster) -> None:
    head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "new"}}
    asked = {"fieldManager": "m"}
    made = fresh.patch(f"{LEASES}/new", {**head, "spec": {"holderIdentity": "a"}}, APPLY, **asked)
    assert (made.status_code, made.json()["spec"]) == (201, {"holderIdentity": "a"})
    changed = fresh.patch(f"{LEASES}/new", {**head, "spec": {"leaseDurationSeconds": 5}}, APPLY, **asked)
    assert (changed.status_code, changed.json()["spec"]) == (200, {"holderIdentity": "a", "leaseDurationSeconds": 5})
    scaled = fresh.patch(SCALE, b"{apiVersion: autoscaling/v1, kind: Scale, spec: {replicas: 3}}", APPLY, **asked)
    assert scaled.json()["spec"] == {"replicas": 3} and fresh.world.wanted["frontend"] == 3


def test_both_versions_of_an_autoscaler_are_one_object(fresh: Cluster) -> None:
    old = fresh.get(f"{OLD_HPAS}/there")
    assert (old["apiVersion"], old["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 80)
    old["spec"]["targetCPUUtilizationPercentage"] = 55
    assert fresh.call("PUT", f"{OLD_HPAS}/there", old).json()["spec"]["targetCPUUtilizationPercentage"] == 55
    (metric,) = fresh.get(HPA)["spec"]["metrics"]
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 55}
    memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}
    metrics = [metric, {"type": "Resource", "resource": memory}]
    fresh.patch(HPA, {"spec": {"metrics": metrics}}, MERGE)
    shown = fresh.get(f"{OLD_HPAS}/there")
    assert "memory" in shown["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"]
    assert fresh.call("PUT", f"{OLD_HPAS}/there", shown).status_code == 200
    assert fresh.get(HPA)["spec"]["metrics"] == metrics
    versions = fresh.get("/apis/autoscaling")["versions"]
    assert [each["version"] for each in versions] == ["v2", "v1"]


def test_what_finalizers_hold_goes_with_the_last_of_them(fresh: Cluster) -> None:
    fresh.patch(LEASE, {"metadata": {"finalizers": ["a.io/b"]}}, MERGE)
    held = fresh.call("DELETE", LEASE)
    assert held.status_code == 200 and held.json()["metadata"]["deletionTimestamp"]
    assert fresh.get(LEASE)["metadata"]["deletionGracePeriodSeconds"] == 0
    assert fresh.patch(LEASE, {"metadata": {"finalizers": ["a.io/b", "a.io/c"]}}, MERGE).status_code == 422
    assert fresh.patch(LEASE, {"metadata": {"finalizers": None}}, MERGE).status_code == 200
    assert fresh.call("GET", LEASE).status_code == 404


def test_times_are_written_as_the_api_server_writes_them(fresh: Cluster) -> None:
    spec = {"renewTime": "2027-01-15T10:00:00.123456+02:00", "acquireTime": "0001-01-01T00:00:00.000000Z"}
    made = fresh.call("POST", LEASES, {"metadata": {"name": "new"}, "spec": spec}).json()
    assert made["spec"] == {"renewTime": "2027-01-15T08:00:00.123456Z"}
    event = {**EVENT, "metadata": {"name": "new"}, "lastTimestamp": "2027-01-15T8:00:00.9-05:00"}
    assert fresh.call("POST", EVENTS, event).json()["lastTimestamp"] == "2027-01-15T13:00:00Z"


def test_who_is_too_early_is_told_when_to_come_back(fresh: Cluster) -> None:
    answer = fresh.call("GET", PODS, resourceVersion="999999999")
    assert (answer.status_code, answer.headers["Retry-After"]) == (504, "1")
    assert answer.json()["message"].startswith("Timeout: Too large resource version: 999999999, current: ")


def test_yaml_is_read_as_json() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ValueError, match="excessive aliasing"):
        read_yaml("\n".join(lines).encode())
    assert read_yaml(b"a: 2.0\nb: 2.5\n3: 2027-01-15\ntrue: ~") == {"a": 2, "b": 2.5, "3": "2027-01-15", "true": None}
    assert isinstance(read_yaml(b"2.0"), int)
    assert read_yaml(b"{a: {b: 1, b: 2}}")["a"].duplicates == ("b",)
    for wrong in (b".nan", b"a: .inf", b"a: !!python/object:os.system {}", b"[", b"? [a]\n: b", b"\xff: ["):
        with pytest.raises(ValueError, match="YAML"):
            read_yaml(wrong)
