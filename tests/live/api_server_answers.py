"""What a Kubernetes API server answers: requests with their status and reason, and where in its source that is decided.

`by` names the file or function of Kubernetes 1.36 that decides, where it is not obvious. Objects that the rows find: Deployments
`frontend` and `cartservice` with two replicas, a Lease, a ScaledObject, a PodDisruptionBudget, a ResourceQuota, an Event and a
HorizontalPodAutoscaler, each called `there`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.live.fake_cluster import JSON, MERGE, NS, STRATEGIC

APPLY = "application/apply-patch+yaml"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
NAMESPACED = f"namespaces/{NS}"
PODS = f"/api/v1/{NAMESPACED}/pods"
EVENTS = f"/api/v1/{NAMESPACED}/events"
NEW_EVENTS = f"/apis/events.k8s.io/v1/{NAMESPACED}/events"
QUOTAS = f"/api/v1/{NAMESPACED}/resourcequotas"
LEASES = f"/apis/coordination.k8s.io/v1/{NAMESPACED}/leases"
DEPLOYMENTS = f"/apis/apps/v1/{NAMESPACED}/deployments"
FRONTEND = f"{DEPLOYMENTS}/frontend"
SCALE = f"{FRONTEND}/scale"
HPAS = f"/apis/autoscaling/v2/{NAMESPACED}/horizontalpodautoscalers"
OLD_HPAS = f"/apis/autoscaling/v1/{NAMESPACED}/horizontalpodautoscalers"
BUDGETS = f"/apis/policy/v1/{NAMESPACED}/poddisruptionbudgets"
SCALED = f"/apis/keda.sh/v1alpha1/{NAMESPACED}/scaledobjects"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

OK, CREATED = (200, ""), (201, "")
BAD = (400, "BadRequest")
NOT_FOUND = (404, "NotFound")
NOT_ALLOWED = (405, "MethodNotAllowed")
NOT_ACCEPTABLE = (406, "NotAcceptable")
CONFLICT = (409, "Conflict")
EXISTS = (409, "AlreadyExists")
EXPIRED = (410, "Expired")
MEDIA = (415, "UnsupportedMediaType")
INVALID = (422, "Invalid")
UNKNOWN = (500, "")
TIMEOUT = (504, "Timeout")


@dataclass(frozen=True)
class Answer:
    """A request and its answer."""

    expected: tuple[int, str]
    """Status and reason."""
    method: str
    path: str
    body: Any = None
    """Bytes as they are, anything else as JSON."""
    kind: str = "application/json"
    """Content type."""
    params: dict[str, Any] = field(default_factory=dict)
    accept: str = ""
    by: str = ""

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path.rpartition('/')[2]} {str(self.body)[:60]} {self.params or ''}{self.accept[:40]}"
        )


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more}}


def lease(**spec: Any) -> dict[str, Any]:
    return {**named("new"), "spec": spec}


def budget(**spec: Any) -> dict[str, Any]:
    return {**named("new"), "spec": {"selector": {"matchLabels": {"app": "frontend"}}, **spec}}


def quota(**hard: Any) -> dict[str, Any]:
    return {**named("new"), "spec": {"hard": hard}}


def autoscaler(**spec: Any) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "frontend"}
    return {**named("new"), "spec": {"scaleTargetRef": target, "maxReplicas": 3, **spec}}


def scaled(**spec: Any) -> dict[str, Any]:
    return {**named("new"), "spec": {"scaleTargetRef": {"name": "frontend"}, "triggers": [], **spec}}


def event(name: str = "new", **fields: Any) -> dict[str, Any]:
    about = {"kind": "Deployment", "name": "frontend", "namespace": NS}
    return {**named(name), "involvedObject": about, "reason": "Scaled", "message": "m", "type": "Normal", **fields}


def new_event(name: str = "new", **fields: Any) -> dict[str, Any]:
    about = {"kind": "Deployment", "name": "frontend", "namespace": NS}
    told = {"reason": "Scaled", "note": "n", "type": "Normal", "action": "Scale"}
    by = {"reportingController": "gnnrl.io/gnnrl", "reportingInstance": "gnnrl-0"}
    return {**named(name), "regarding": about, "eventTime": "2027-01-15T08:00:00.000000Z", **told, **by, **fields}


def metric(**parts: Any) -> dict[str, Any]:
    return autoscaler(metrics=[parts])


def review(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def scale_to(replicas: Any) -> dict[str, Any]:
    return {"spec": {"replicas": replicas}}


EVENT = event("there")
THERE: tuple[tuple[str, dict[str, Any]], ...] = (
    (LEASES, {**lease(holderIdentity="a", leaseDurationSeconds=15), **named("there")}),
    (SCALED, {**scaled(), **named("there")}),
    (BUDGETS, {**budget(minAvailable=1), **named("there")}),
    (QUOTAS, {**quota(pods="50"), **named("there")}),
    (EVENTS, EVENT),
    (HPAS, {**autoscaler(), **named("there")}),
)
"""(collection, object) to be created before the rows are asked."""

LEASE, BUDGET, QUOTA, HPA = f"{LEASES}/there", f"{BUDGETS}/there", f"{QUOTAS}/there", f"{HPAS}/there"

TO_MAP = "apimachinery runtime/converter.go fromUnstructured: from a map, numbers are converted as Go converts them"
TO_TEXT = "endpoints/handlers/patch.go applyPatchToCurrentObject: what cannot be decoded is an invalid patch"
DECODE = "endpoints/handlers/rest.go transformDecodeError"
LIST_OPTIONS = "apimachinery meta/internalversion/validation ValidateListOptions"
WRITE_OPTIONS = "apimachinery meta/v1/validation"
MEDIA_TYPES = "endpoints/handlers/negotiation/negotiate.go"
ROUTES = "endpoints/installer.go: no such route"
PARAMETERS = "apimachinery runtime/conversion.go: query parameters"

NUMBERS = [
    *(
        Answer(INVALID, "PATCH", SCALE, scale_to(value), MERGE, by=TO_TEXT)
        for value in (2**32 + 2, 2**31, -(2**31) - 1, 2.0, 2.5, 1e3, "2", True, [], {})
    ),
    *(
        Answer(INVALID, "PATCH", SCALE, [{"op": "replace", "path": "/spec/replicas", "value": value}], JSON, by=TO_TEXT)
        for value in (2**32 + 2, 2.0, "2", False, -1)
    ),
    Answer(OK, "PATCH", SCALE, b'{"spec":{"replicas":-0}}', MERGE),
    Answer(INVALID, "PATCH", SCALE, b'{"spec":{"replicas":2e0}}', MERGE, by=TO_TEXT),
    Answer(OK, "PATCH", SCALE, scale_to(2**32 + 2), STRATEGIC, by=TO_MAP),
    Answer(OK, "PATCH", SCALE, scale_to(2.0), STRATEGIC, by=TO_MAP),
    *(Answer(INVALID, "PATCH", SCALE, scale_to(value), STRATEGIC, by=TO_MAP) for value in (2.5, "2", True, [], -1)),
    *(
        Answer(BAD, "PUT", SCALE, {**named("frontend"), **scale_to(value)}, by=DECODE)
        for value in (2**32 + 2, 2.0, "2", True)
    ),
    Answer(INVALID, "PUT", SCALE, {**named("frontend"), **scale_to(-1)}, by="registry/apps/deployment scale"),
    Answer(OK, "PUT", SCALE, {**named("frontend"), **scale_to(2)}),
    *(
        Answer(INVALID, "PATCH", FRONTEND, scale_to(value), MERGE, by=TO_TEXT)
        for value in (2**32 + 2, 2.0, "2", True, -1)
    ),
    *(Answer(BAD, "POST", LEASES, lease(leaseDurationSeconds=value), by=DECODE) for value in (2**31, 15.0, "15", True)),
    *(Answer(BAD, "POST", HPAS, autoscaler(maxReplicas=value), by=DECODE) for value in (2**32 + 3, 3.0, "3", False)),
    *(Answer(BAD, "POST", EVENTS, event(count=value), by=DECODE) for value in (2**31, 1.0, "1")),
    Answer(BAD, "POST", BUDGETS, budget(minAvailable=1.0), by="apimachinery util/intstr UnmarshalJSON"),
    Answer(BAD, "POST", BUDGETS, budget(minAvailable=2**31), by="apimachinery util/intstr UnmarshalJSON"),
    Answer(BAD, "POST", BUDGETS, budget(minAvailable=True), by="apimachinery util/intstr UnmarshalJSON"),
    Answer(INVALID, "PATCH", LEASE, {"spec": {"leaseTransitions": 1.0}}, MERGE, by=TO_TEXT),
    Answer(OK, "PATCH", LEASE, {"spec": {"leaseTransitions": 1.0}}, STRATEGIC, by=TO_MAP),
    Answer(INVALID, "POST", SCALED, scaled(maxReplicaCount="3"), by="apiextensions validation: custom resources"),
    Answer(INVALID, "POST", SCALED, scaled(maxReplicaCount=2.5), by="apiextensions validation: custom resources"),
    Answer(CREATED, "POST", QUOTAS, quota(pods=10)),
    Answer(CREATED, "POST", QUOTAS, quota(**{"requests.cpu": 0.5})),
    Answer(CREATED, "POST", QUOTAS, quota(**{"requests.memory": "1e3"})),
    *(
        Answer(BAD, "POST", QUOTAS, quota(pods=value), by="apimachinery resource/quantity.go UnmarshalJSON")
        for value in ("ten", "", "1 0", "1KB", True, [], {})
    ),
]

REVISIONS = [
    Answer(
        UNKNOWN, "PATCH", SCALE, named("frontend", resourceVersion="abc"), MERGE, by="storage ObjectResourceVersion"
    ),
    Answer(UNKNOWN, "PATCH", SCALE, named("frontend", resourceVersion="-1"), MERGE, by="storage ObjectResourceVersion"),
    Answer(UNKNOWN, "PATCH", FRONTEND, named("frontend", resourceVersion="abc"), MERGE, by="ObjectResourceVersion"),
    Answer(UNKNOWN, "PUT", LEASE, {**lease(), **named("there", resourceVersion="abc")}, by="ObjectResourceVersion"),
    Answer(INVALID, "PATCH", SCALE, named("frontend", resourceVersion=5), MERGE, by=TO_TEXT),
    Answer(INVALID, "PATCH", SCALE, named("frontend", resourceVersion=5), STRATEGIC, by=TO_MAP),
    Answer(BAD, "PUT", LEASE, {**lease(), **named("there", resourceVersion=5)}, by=DECODE),
    Answer(CONFLICT, "PATCH", SCALE, named("frontend", resourceVersion="1"), MERGE),
    Answer(CONFLICT, "PATCH", LEASE, named("there", resourceVersion="1"), STRATEGIC),
    Answer(OK, "PATCH", SCALE, named("frontend", resourceVersion="0"), MERGE, by="0 is none"),
    Answer(OK, "PATCH", SCALE, named("frontend", resourceVersion=""), MERGE),
    Answer(INVALID, "PUT", LEASE, {**lease(), **named("there")}, by="registry/generic store.go Update: none named"),
    Answer(INVALID, "PUT", BUDGET, {**budget(), **named("there")}, by="store.go Update: none named"),
    Answer(OK, "PUT", QUOTA, {**quota(pods="9"), **named("there")}, by="AllowUnconditionalUpdate"),
    Answer(OK, "PUT", HPA, {**autoscaler(), **named("there")}, by="AllowUnconditionalUpdate"),
    Answer(UNKNOWN, "POST", LEASES, {**lease(), **named("new", resourceVersion="1")}, by="etcd3 store.go Create"),
    Answer(CREATED, "POST", LEASES, {**lease(), **named("new", resourceVersion="abc")}, by="etcd3 store.go Create"),
    Answer(CONFLICT, "PUT", QUOTA, {**quota(pods="9"), **named("there", uid="x")}, by="Preconditions of the update"),
    Answer(INVALID, "PATCH", LEASE, named("there", uid="x"), MERGE, by="ValidateObjectMetaUpdate: immutable"),
    Answer(CONFLICT, "PATCH", SCALE, named("frontend", uid="x"), MERGE, by="registry/apps/deployment scale"),
    Answer(CONFLICT, "DELETE", LEASE, {"preconditions": {"resourceVersion": "1"}}),
    Answer(CONFLICT, "DELETE", LEASE, {"preconditions": {"uid": "x"}}),
    Answer(BAD, "GET", PODS, params={"resourceVersion": "abc"}, by="storage/interfaces.go ValidateListOptions"),
    Answer(TIMEOUT, "GET", PODS, params={"resourceVersion": "999999999"}),
    Answer(OK, "GET", PODS, params={"resourceVersion": "0"}),
    Answer(OK, "GET", PODS, params={"resourceVersion": "1"}),
    Answer(EXPIRED, "GET", PODS, params={"resourceVersion": "1", "resourceVersionMatch": "Exact"}),
    Answer(EXPIRED, "GET", PODS, params={"resourceVersion": "1", "limit": "1"}, by="interfaces.go: the legacy case"),
    Answer(OK, "GET", PODS, params={"resourceVersion": "1", "resourceVersionMatch": "NotOlderThan"}),
    Answer(BAD, "GET", PODS, params={"continue": "garbage"}, by="storage/continue.go"),
    Answer(BAD, "GET", PODS, params={"continue": "e30"}, by="storage/continue.go"),
]

QUERIES = [
    *(
        Answer(INVALID, method, path, body, kind, params={"fieldManager": "x" * 129}, by=WRITE_OPTIONS)
        for method, path, body, kind in (
            ("PATCH", SCALE, scale_to(2), MERGE),
            ("PUT", SCALE, {**named("frontend"), **scale_to(2)}, "application/json"),
            ("POST", LEASES, lease(), "application/json"),
            ("POST", REVIEWS, review(resourceAttributes={"verb": "get"}), "application/json"),
        )
    ),
    Answer(OK, "PATCH", SCALE, scale_to(2), MERGE, params={"fieldManager": "x" * 128}),
    Answer(INVALID, "PATCH", SCALE, scale_to(2), MERGE, params={"fieldManager": "a\nb"}, by=WRITE_OPTIONS),
    Answer(OK, "PATCH", SCALE, scale_to(2), MERGE, params={"fieldManager": "a b"}),
    *(
        Answer(INVALID, "PATCH", SCALE, scale_to(2), kind, params={"force": force}, by=WRITE_OPTIONS)
        for kind, force in ((MERGE, "true"), (MERGE, "false"), (STRATEGIC, "true"))
    ),
    *(
        Answer(INVALID, method, path, body, kind, params={"dryRun": value}, by=WRITE_OPTIONS)
        for value in ("Some", "all", "")
        for method, path, body, kind in (
            ("PATCH", SCALE, scale_to(2), MERGE),
            ("POST", LEASES, lease(), "application/json"),
            ("DELETE", LEASE, None, "application/json"),
        )
    ),
    Answer(OK, "PATCH", SCALE, scale_to(5), MERGE, params={"dryRun": "All"}),
    Answer(CREATED, "POST", LEASES, lease(), params={"dryRun": "All"}),
    Answer(INVALID, "PATCH", SCALE, scale_to(2), MERGE, params={"fieldValidation": "strict"}, by=WRITE_OPTIONS),
    Answer(INVALID, "POST", LEASES, lease(), params={"fieldValidation": "Loud"}, by=WRITE_OPTIONS),
    *(
        Answer(INVALID, "PATCH", SCALE, body, kind, params={"fieldValidation": "Strict"}, by=TO_TEXT)
        for body, kind in (
            ({"spec": {"replicas": 2, "x": 1}}, MERGE),
            ({"spec": {"replicas": 2, "x": 1}}, STRATEGIC),
            ([{"op": "add", "path": "/spec/x", "value": 1}], JSON),
            (b'{"spec":{"replicas":2,"replicas":2}}', MERGE),
            (b'{"spec":{"replicas":2,"replicas":2}}', STRATEGIC),
            (b'[{"op":"test","path":"/spec/replicas","value":2,"value":2}]', JSON),
        )
    ),
    Answer(OK, "PATCH", SCALE, {"spec": {"replicas": 2, "x": 1}}, MERGE, params={"fieldValidation": "Ignore"}),
    Answer(OK, "PATCH", SCALE, {"spec": {"replicas": 2, "x": 1}}, MERGE, by="a warning"),
    Answer(OK, "PATCH", SCALE, b'{"spec":{"replicas":2,"replicas":2}}', MERGE, by="a warning"),
    Answer(BAD, "POST", LEASES, lease(x=1), params={"fieldValidation": "Strict"}, by=DECODE),
    Answer(BAD, "POST", LEASES, {**lease(), "x": 1}, params={"fieldValidation": "Strict"}, by=DECODE),
    Answer(
        BAD, "PUT", QUOTA, {**quota(pods="9"), **named("there", x=1)}, params={"fieldValidation": "Strict"}, by=DECODE
    ),
    Answer(
        BAD, "POST", LEASES, b'{"metadata":{"name":"new"},"spec":{},"spec":{}}', params={"fieldValidation": "Strict"}
    ),
    Answer(CREATED, "POST", LEASES, lease(x=1), by="a warning"),
    Answer(CREATED, "POST", LEASES, lease(Holderidentity="x"), by="names are case-sensitive: unknown, a warning"),
    *(
        Answer(BAD, "GET", PODS, params={"labelSelector": text}, by="apimachinery labels/selector.go")
        for text in (
            "a===",
            "a b",
            "a in b",
            "a in (b",
            "=x",
            "a=b,",
            "a,,b",
            "!",
            "!a=b",
            "a>x",
            "a in ()c",
            "-a",
            "a=-b",
            "a=b=c",
            f"a={'x' * 64}",
            "a/b/c",
            "a!==b",
        )
    ),
    *(
        Answer(OK, "GET", PODS, params={"labelSelector": text}, by="apimachinery labels/selector.go")
        for text in (
            "",
            "a=",
            "a==b",
            "a!=b",
            "a in (b,c)",
            "a notin (b)",
            "!a",
            "a",
            "a>1",
            "a<1",
            "x.io/a=b",
            "a in ()",
            "a in (,)",
            "in in (in)",
            " a = b ",
        )
    ),
    *(
        Answer(BAD, "GET", PODS, params={"fieldSelector": text}, by="apimachinery fields/selector.go")
        for text in ("metadata.name", "spec.containers=x", "a=b", "metadata.name=a=b", "metadata.name=a\\b", "=b")
    ),
    *(
        Answer(OK, "GET", PODS, params={"fieldSelector": text}, by="apimachinery fields/selector.go")
        for text in (
            "",
            "metadata.name=x",
            "metadata.name!=x",
            "status.phase==Running",
            ",",
            "=",
            "metadata.name=a\\,b",
        )
    ),
    Answer(BAD, "GET", LEASES, params={"fieldSelector": "spec.holderIdentity=a"}),
    *(
        Answer(BAD, "GET", PODS, params={name: text}, by=PARAMETERS)
        for name in ("limit", "timeoutSeconds")
        for text in ("many", "1.5", "", "1e3", str(2**63))
    ),
    Answer(OK, "GET", PODS, params={"limit": "-1"}, by="no limit"),
    Answer(OK, "GET", PODS, params={"watch": "false"}, by=PARAMETERS),
    Answer(OK, "GET", PODS, params={"watch": "0"}, by=PARAMETERS),
    *(
        Answer(INVALID, "GET", PODS, params=params, by=LIST_OPTIONS)
        for params in (
            {"resourceVersionMatch": "Exact"},
            {"resourceVersionMatch": "NotOlderThan"},
            {"resourceVersionMatch": "Newer", "resourceVersion": "1"},
            {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
            {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "1", "continue": "x"},
            {"sendInitialEvents": "true"},
            {"sendInitialEvents": "false"},
            {"watch": "1", "sendInitialEvents": "true"},
            {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "Exact", "resourceVersion": "1"},
            {"watch": "1", "resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"},
        )
    ),
    Answer(INVALID, "DELETE", LEASES, params={"resourceVersionMatch": "Exact"}, by=LIST_OPTIONS),
    Answer(BAD, "DELETE", LEASES, params={"labelSelector": "a==="}),
    Answer(INVALID, "DELETE", LEASE, params={"propagationPolicy": "Sometimes"}, by="ValidateDeleteOptions"),
    Answer(INVALID, "DELETE", LEASE, params={"propagationPolicy": "Orphan", "orphanDependents": "true"}),
    Answer(INVALID, "DELETE", LEASE, {"propagationPolicy": "Sometimes"}, by="ValidateDeleteOptions"),
    Answer(INVALID, "DELETE", LEASE, {"dryRun": ["Some"]}, by="ValidateDeleteOptions"),
    Answer(BAD, "DELETE", LEASE, params={"gracePeriodSeconds": "soon"}, by=PARAMETERS),
    Answer(BAD, "DELETE", LEASE, {"gracePeriodSeconds": "soon"}),
    Answer(BAD, "DELETE", LEASE, {"kind": "Pod"}),
    Answer(BAD, "DELETE", LEASE, b"{"),
    Answer(MEDIA, "DELETE", LEASE, {}, "text/plain"),
    Answer(OK, "DELETE", LEASE, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
    Answer(OK, "DELETE", LEASE, params={"dryRun": "All"}),
]

BODIES = [
    Answer(INVALID, "PATCH", SCALE, {"apiVersion": "autoscaling/v9"}, MERGE, by=TO_TEXT),
    Answer(INVALID, "PATCH", SCALE, {"apiVersion": "apps/v1"}, MERGE, by=TO_TEXT),
    Answer(INVALID, "PATCH", SCALE, {"kind": "Deployment"}, MERGE, by=TO_TEXT),
    Answer(OK, "PATCH", SCALE, {"apiVersion": "autoscaling/v9"}, STRATEGIC, by="the type is that of the object"),
    Answer(INVALID, "PATCH", FRONTEND, {"apiVersion": "apps/v9"}, MERGE, by=TO_TEXT),
    Answer(INVALID, "PATCH", LEASE, {"apiVersion": "coordination.k8s.io/v9"}, MERGE, by=TO_TEXT),
    Answer(BAD, "POST", LEASES, {**lease(), "apiVersion": "coordination.k8s.io/v9"}, by=DECODE),
    Answer(BAD, "POST", LEASES, {**lease(), "kind": "Pod"}, by=DECODE),
    Answer(BAD, "POST", HPAS, {**autoscaler(), "apiVersion": "autoscaling/v1"}, by="create.go: another version"),
    Answer(BAD, "POST", EVENTS, {**event(), "apiVersion": "events.k8s.io/v1"}, by="create.go: another version"),
    Answer(CREATED, "POST", LEASES, {**lease(), "kind": "Lease"}),
    Answer(BAD, "PUT", LEASE, {**lease(), "metadata": {}}, by="rest.go checkName"),
    Answer(BAD, "PUT", SCALE, scale_to(2), by="rest.go checkName"),
    Answer(BAD, "PUT", SCALE, {**named("other"), **scale_to(2)}, by="rest.go checkName"),
    Answer(BAD, "PATCH", LEASE, named("other"), MERGE, by="rest.go checkName"),
    Answer(BAD, "PATCH", SCALE, named("other"), MERGE, by="rest.go checkName"),
    Answer(BAD, "POST", LEASES, {**lease(), **named("new", namespace="default")}),
    Answer(BAD, "PATCH", SCALE, named("frontend", namespace="default"), MERGE),
    Answer(NOT_FOUND, "POST", LEASES.replace(NS, "nowhere"), lease(), by="admission NamespaceLifecycle"),
    Answer(EXISTS, "POST", LEASES, {**lease(), **named("there")}),
    Answer(CREATED, "PUT", f"{LEASES}/new", lease(), by="AllowCreateOnUpdate"),
    Answer(NOT_FOUND, "PUT", f"{QUOTAS}/new", quota(pods="1")),
    Answer(NOT_FOUND, "PATCH", f"{LEASES}/new", {}, MERGE),
    Answer(NOT_FOUND, "DELETE", f"{LEASES}/new"),
    *(Answer(BAD, "POST", LEASES, body, by=DECODE) for body in (b"", b"{", b"[]", b"5", b"{} {}", b'{"a":NaN}')),
    *(Answer(BAD, "PATCH", SCALE, body, MERGE) for body in (b"", b"{", b"[]", b"5", b'"a"')),
    *(Answer(BAD, "PATCH", SCALE, body, STRATEGIC) for body in (b"{", b"[]")),
    *(Answer(BAD, "PATCH", SCALE, body, JSON) for body in (b"{", b"{}", b"5")),
    *(
        Answer(INVALID, "PATCH", SCALE, [operation], JSON, by="handlers/patch.go applyJSPatch")
        for operation in (
            {"op": "test", "path": "/spec/replicas", "value": 9},
            {"op": "remove", "path": "/absent"},
            {"op": "replace", "path": "/spec/absent", "value": 1},
            {"op": "frob", "path": "/spec"},
        )
    ),
    Answer(OK, "PATCH", SCALE, [], JSON),
    *(
        Answer(BAD, "POST", LEASES, body, by=DECODE)
        for body in (
            {"metadata": []},
            {"metadata": {"name": 5}},
            {"metadata": {"name": "new", "labels": {"a": 1}}},
            {"metadata": {"name": "new", "labels": []}},
            {"metadata": {"name": "new"}, "spec": []},
            {"metadata": {"name": "new", "finalizers": "a"}},
            {"metadata": {"name": "new"}, "spec": {"holderIdentity": 5}},
        )
    ),
    Answer(MEDIA, "POST", LEASES, lease(), "text/plain", by=MEDIA_TYPES),
    Answer(MEDIA, "POST", LEASES, lease(), MERGE, by=MEDIA_TYPES),
    Answer(MEDIA, "PUT", SCALE, {**named("frontend"), **scale_to(2)}, "application/xml", by=MEDIA_TYPES),
    Answer(MEDIA, "PATCH", SCALE, scale_to(2), "application/json", by="handlers/patch.go PatchResource"),
    Answer(MEDIA, "PATCH", f"{SCALED}/there", {}, STRATEGIC, by="custom resources take none"),
    Answer(CREATED, "POST", LEASES, lease(), "application/json; charset=utf-8"),
    Answer(CREATED, "POST", LEASES, b"metadata:\n  name: new\nspec:\n  holderIdentity: a\n", YAML),
    Answer(CREATED, "POST", SCALED, b"metadata: {name: new}\nspec: {scaleTargetRef: {name: a}, triggers: []}\n", YAML),
    Answer(BAD, "POST", LEASES, b"metadata: {name: new}\nspec: {leaseDurationSeconds: 1.5}\n", YAML, by=DECODE),
    Answer(
        CREATED, "POST", LEASES, b"metadata: {name: new}\nspec: {leaseDurationSeconds: 2.0}\n", YAML, by="to JSON: 2"
    ),
    Answer(BAD, "POST", LEASES, b"a: [", YAML, by=DECODE),
    Answer(
        BAD,
        "POST",
        LEASES,
        b"metadata: {name: new, name: new}\n",
        YAML,
        params={"fieldValidation": "Strict"},
        by=DECODE,
    ),
    Answer(OK, "PUT", SCALE, b"metadata: {name: frontend}\nspec: {replicas: 2}\n", YAML),
    Answer(OK, "DELETE", LEASE, b"gracePeriodSeconds: 0\n", YAML),
    Answer(BAD, "POST", LEASES, b"{}", PROTOBUF, by="runtime/serializer/protobuf: no magic"),
    Answer(MEDIA, "POST", SCALED, b"k8s\x00", PROTOBUF, by="custom resources have none"),
]

APPLIES = [
    Answer(OK, "PATCH", SCALE, {"apiVersion": "autoscaling/v1", "kind": "Scale", **scale_to(2)}, APPLY, {"fieldManager": "m"}),
    Answer(
        OK, "PATCH", SCALE, b"apiVersion: autoscaling/v1\nkind: Scale\nspec: {replicas: 2}\n", APPLY,
        {"fieldManager": "m", "force": "true"},
    ),
    Answer(INVALID, "PATCH", SCALE, {"apiVersion": "autoscaling/v1", "kind": "Scale"}, APPLY, by="a manager is required"),
    Answer(BAD, "PATCH", SCALE, scale_to(2), APPLY, {"fieldManager": "m"}, by="kind and version are required"),
    Answer(BAD, "PATCH", SCALE, b"a: [", APPLY, {"fieldManager": "m"}),
    Answer(
        UNKNOWN, "PATCH", SCALE, {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"x": 1}}, APPLY,
        {"fieldManager": "m"}, by="managedfields: failed to create typed patch object",
    ),
    Answer(
        CREATED, "PATCH", f"{LEASES}/new", {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease()}, APPLY,
        {"fieldManager": "m"}, by="an apply creates",
    ),
    Answer(
        NOT_FOUND, "PATCH", f"{DEPLOYMENTS}/absent/scale", {"apiVersion": "autoscaling/v1", "kind": "Scale"}, APPLY,
        {"fieldManager": "m"},
    ),
    Answer(
        BAD, "PATCH", LEASE, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **named("other")}, APPLY,
        {"fieldManager": "m"}, by="rest.go checkName",
    ),
]  # fmt: skip

TIMES = [
    *(
        Answer(BAD, "POST", LEASES, lease(renewTime=text), by="apimachinery meta/v1/micro_time.go: six digits")
        for text in (
            "2027-01-15T08:00:00Z",
            "2027-01-15T08:00:00.123Z",
            "2027-01-15T08:00:00.1234567Z",
            "2027-01-15",
            "soon",
            "",
            "2027-02-30T08:00:00.000000Z",
            "2027-01-15 08:00:00.000000Z",
            "2027-01-15t08:00:00.000000z",
            "2027-01-15T08:00:00.000000",
            "2027-01-15T08:00:60.000000Z",
            1800000000,
            1.5,
            True,
        )
    ),
    *(
        Answer(CREATED, "POST", LEASES, lease(renewTime=text), by="apimachinery meta/v1/micro_time.go")
        for text in (
            "2027-01-15T08:00:00.123456Z",
            "2027-01-15T08:00:00.123456+02:00",
            "0001-01-01T00:00:00.000000Z",
            None,
        )
    ),
    *(
        Answer(CREATED, "POST", EVENTS, event(lastTimestamp=text), by="apimachinery meta/v1/time.go: any fraction")
        for text in ("2027-01-15T08:00:00Z", "2027-01-15T08:00:00.123Z", "2027-01-15T08:00:00-05:00", None)
    ),
    *(
        Answer(BAD, "POST", EVENTS, event(lastTimestamp=text), by="apimachinery meta/v1/time.go")
        for text in ("2027-01-15T08:00:00", "2027-01-15", "2027-13-15T08:00:00Z", 5)
    ),
    Answer(BAD, "POST", EVENTS, event(eventTime="2027-01-15T08:00:00Z"), by="a MicroTime"),
    Answer(INVALID, "PATCH", LEASE, {"spec": {"renewTime": "2027-01-15T08:00:00Z"}}, MERGE, by=TO_TEXT),
    Answer(INVALID, "PATCH", LEASE, {"spec": {"renewTime": "2027-01-15T08:00:00Z"}}, STRATEGIC, by=TO_MAP),
]

RULES = [
    Answer(CREATED, "POST", LEASES, lease(holderIdentity=""), by="coordination/validation ValidateLeaseSpec"),
    Answer(INVALID, "POST", LEASES, lease(leaseDurationSeconds=0), by="ValidateLeaseSpec"),
    Answer(INVALID, "POST", LEASES, lease(leaseDurationSeconds=-1), by="ValidateLeaseSpec"),
    Answer(INVALID, "POST", LEASES, lease(leaseTransitions=-1), by="ValidateLeaseSpec"),
    Answer(INVALID, "PATCH", LEASE, {"spec": {"leaseDurationSeconds": 0}}, MERGE, by="ValidateLeaseSpec"),
    Answer(INVALID, "POST", LEASES, lease(preferredHolder="a"), by="ValidateLeaseSpec"),
    Answer(INVALID, "POST", LEASES, lease(strategy="Newest"), by="ValidateCoordinatedLeaseStrategy"),
    *(
        Answer(INVALID, "POST", path, {**body, **named(name)}, by="NameIsDNSSubdomain")
        for path, body in ((LEASES, lease()), (HPAS, autoscaler()), (QUOTAS, quota(pods="1")), (SCALED, scaled()))
        for name in ("A_b", "a_b", "-a", "a-", "a..b", "x" * 254)
    ),
    Answer(CREATED, "POST", LEASES, {**lease(), **named("a.b-1")}),
    Answer(CREATED, "POST", EVENTS, event("A_b"), by="events.go legacyValidateEvent: no rule for names"),
    Answer(CREATED, "POST", BUDGETS, {**budget(), **named("A_b")}, by="policy/validation: no rule for names"),
    Answer(INVALID, "POST", EVENTS, event("a/b"), by="rest/create.go validatePathSegment"),
    Answer(INVALID, "POST", EVENTS, event("a%b"), by="rest/create.go validatePathSegment"),
    Answer(INVALID, "POST", EVENTS, event(".."), by="rest/create.go validatePathSegment"),
    Answer(INVALID, "POST", NEW_EVENTS, new_event("A_b"), by="events.go ValidateEventCreate"),
    Answer(INVALID, "POST", LEASES, {"spec": {}}, by="a name is required"),
    Answer(INVALID, "POST", LEASES, b"null", by="an empty object: a name is required"),
    Answer(CREATED, "POST", LEASES, {"metadata": {"generateName": "new-"}}),
    Answer(INVALID, "POST", LEASES, {"metadata": {"generateName": "New-"}}),
    *(
        Answer(INVALID, "POST", LEASES, {**lease(), **named("new", **more)}, by="ValidateObjectMeta")
        for more in (
            {"labels": {"a b": "c"}}, {"labels": {"a": "no spaces"}}, {"labels": {"a": "x" * 64}}, {"labels": {"/a": "b"}},
            {"labels": {"A.io/a": "b"}}, {"annotations": {"a b": "c"}}, {"annotations": {"a": "x" * 262145}},
            {"finalizers": ["a b"]}, {"ownerReferences": [{"kind": "Deployment", "name": "a", "uid": "b"}]},
        )
    ),
    Answer(CREATED, "POST", LEASES, {**lease(), **named("new", annotations={"A.io/b": "anything at all"})}),
    Answer(INVALID, "PATCH", FRONTEND, {"metadata": {"labels": {"a": "no spaces"}}}, STRATEGIC),
    Answer(INVALID, "POST", EVENTS, event(eventTime="2027-01-15T08:00:00.000000Z"), by="legacyValidateEvent: no action"),
    Answer(
        CREATED, "POST", EVENTS,
        event(
            eventTime="2027-01-15T08:00:00.000000Z", action="Scale", reportingComponent="gnnrl.io/g", reportingInstance="g-0"
        ),
    ),
    Answer(INVALID, "POST", EVENTS, event(involvedObject={"kind": "Deployment", "name": "a", "namespace": "default"})),
    Answer(INVALID, "POST", EVENTS, event(involvedObject={"kind": "Node", "name": "a"}), by="legacyValidateEvent"),
    Answer(CREATED, "POST", EVENTS, event(type="Loud"), by="legacyValidateEvent: no rule for the type"),
    Answer(CREATED, "POST", EVENTS, event(reason=""), by="legacyValidateEvent: nothing is required"),
    Answer(CREATED, "POST", EVENTS, event(message="x" * 2000), by="legacyValidateEvent: the old API has no limit"),
    Answer(CREATED, "POST", NEW_EVENTS, new_event()),
    *(
        Answer(INVALID, "POST", NEW_EVENTS, new_event(**fields), by="events.go ValidateEventCreate")
        for fields in (
            {"eventTime": None}, {"action": ""}, {"reason": ""}, {"reportingController": ""}, {"reportingInstance": ""},
            {"reportingController": "not a name"}, {"type": "Loud"}, {"type": ""}, {"note": "x" * 1025},
            {"action": "x" * 129}, {"reason": "x" * 129}, {"reportingInstance": "x" * 129}, {"deprecatedCount": 1},
            {"deprecatedFirstTimestamp": "2027-01-15T08:00:00Z"}, {"deprecatedSource": {"component": "a"}},
            {"series": {"count": 1, "lastObservedTime": "2027-01-15T08:00:00.000000Z"}}, {"series": {"count": 2}},
        )
    ),
    *(
        Answer(INVALID, "POST", QUOTAS, quota(**hard), by="core/validation ValidateResourceQuotaSpec")
        for hard in ({"pods": "-1"}, {"pods": "1.5"}, {"pods": "1m"}, {"cpu": "-1m"}, {"apples": "1"}, {"a b": "1"})
    ),
    *(
        Answer(CREATED, "POST", QUOTAS, quota(**hard), by="ValidateResourceQuotaSpec")
        for hard in ({"pods": "0"}, {"count/deployments.apps": "5"}, {"limits.cpu": "1500m"}, {"requests.nvidia.com/gpu": "1"})
    ),
    Answer(INVALID, "PATCH", QUOTA, {"spec": {"hard": {"pods": "-1"}}}, MERGE),
    *(
        Answer(INVALID, "POST", BUDGETS, budget(**spec), by="policy/validation ValidatePodDisruptionBudgetSpec")
        for spec in (
            {"minAvailable": "x%"}, {"minAvailable": "50"}, {"minAvailable": "101%"}, {"minAvailable": -1},
            {"minAvailable": "-5%"}, {"maxUnavailable": "1.5%"}, {"minAvailable": 1, "maxUnavailable": 1},
            {"unhealthyPodEvictionPolicy": "Never"}, {"selector": {"matchLabels": {"a": "no spaces"}}},
            {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        )
    ),
    *(
        Answer(CREATED, "POST", BUDGETS, budget(**spec))
        for spec in ({}, {"minAvailable": 0}, {"minAvailable": "100%"}, {"maxUnavailable": "0%"}, {"minAvailable": 500})
    ),
    *(
        Answer(INVALID, "POST", HPAS, autoscaler(**spec), by="autoscaling/validation")
        for spec in (
            {"maxReplicas": 0}, {"maxReplicas": -1}, {"minReplicas": 0}, {"minReplicas": 5}, {"scaleTargetRef": {}},
            {"scaleTargetRef": {"kind": "Deployment", "name": "a/b"}},
            {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "policies": [
                {"type": "Pods", "value": 1, "periodSeconds": 15}]}}},
            {"behavior": {"scaleDown": {"policies": [{"type": "Some", "value": 1, "periodSeconds": 15}]}}},
            {"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 15}]}}},
        )
    ),
    Answer(INVALID, "POST", HPAS, metric(type="Some"), by="autoscaling/validation validateMetricSpec"),
    Answer(INVALID, "POST", HPAS, metric(type="Resource"), by="validateMetricSpec"),
    Answer(INVALID, "POST", HPAS, metric(type="Resource", resource={"name": "cpu", "target": {"type": "Utilization"}})),
    Answer(
        INVALID, "POST", HPAS,
        metric(type="Resource", resource={"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}),
    ),
    Answer(
        CREATED, "POST", HPAS,
        metric(type="Resource", resource={"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}),
    ),
    Answer(CREATED, "POST", OLD_HPAS, autoscaler(targetCPUUtilizationPercentage=50)),
    Answer(INVALID, "POST", OLD_HPAS, autoscaler(targetCPUUtilizationPercentage=0)),
    Answer(INVALID, "POST", SCALED, {**named("new"), "spec": {"triggers": []}}, by="KEDA's schema"),
    Answer(INVALID, "POST", SCALED, {**named("new"), "spec": {"scaleTargetRef": {"name": "a"}}}, by="KEDA's schema"),
    Answer(CREATED, "POST", REVIEWS, review(resourceAttributes={"verb": "get", "resource": "pods"})),
    Answer(INVALID, "POST", REVIEWS, review(), by="authorization/validation"),
    Answer(BAD, "POST", REVIEWS, {"spec": []}, by=DECODE),
]  # fmt: skip

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
FORMATS = [
    *(
        Answer(OK, "GET", path, accept=accept, by=MEDIA_TYPES)
        for path in (PODS, LEASE, SCALE, FRONTEND, HPAS)
        for accept in ("", "*/*", YAML, PROTOBUF, TABLE, TABLE.replace("v=v1;", "v=v1beta1;"))
    ),
    *(
        Answer(NOT_ACCEPTABLE, "GET", path, accept=accept, by=MEDIA_TYPES)
        for path in (PODS, LEASE, SCALE)
        for accept in ("text/html", "application/xml", f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io", TABLE.replace("v1", "v2"),
                       "application/json;as=List;v=v1;g=meta.k8s.io",
                       "application/*")
    ),
    Answer(OK, "GET", PODS, accept="application/*, application/json"),
    Answer(OK, "GET", SCALED, accept="application/*", by="no router in front of custom resources"),
    Answer(OK, "GET", PODS, accept=PARTIAL_LIST),
    Answer(OK, "GET", LEASE, accept=PARTIAL),
    Answer(OK, "GET", f"{SCALED}/there", accept=PARTIAL.replace("application/json", PROTOBUF), by="metadata always has it"),
    Answer(NOT_ACCEPTABLE, "GET", PODS, accept=PARTIAL, by="handlers/response.go asPartialObjectMetadata"),
    Answer(NOT_ACCEPTABLE, "GET", LEASE, accept=PARTIAL_LIST, by="handlers/response.go"),
    Answer(NOT_ACCEPTABLE, "GET", SCALED, accept=PROTOBUF, by="custom resources have none"),
    Answer(OK, "GET", SCALED, accept=f"{PROTOBUF},application/json"),
    Answer(OK, "GET", PODS, accept="text/html, application/json;q=0.5"),
    Answer(BAD, "GET", PODS, accept=TABLE, params={"includeObject": "Some"}, by="handlers/response.go optionsForTransform"),
    Answer(OK, "GET", PODS, params={"includeObject": "Some"}, by="of tables alone"),
    Answer(NOT_ACCEPTABLE, "GET", PODS, params={"watch": "1", "timeoutSeconds": "1"}, accept=YAML, by="no stream of it"),
    Answer(OK, "PATCH", SCALE, scale_to(2), MERGE, accept=YAML),
    Answer(NOT_ACCEPTABLE, "PATCH", SCALE, scale_to(2), MERGE, accept="text/html"),
    Answer(CREATED, "POST", LEASES, lease(), accept=PROTOBUF),
]  # fmt: skip

ROUTING = [
    *(
        Answer(NOT_ALLOWED, method, path, by=ROUTES)
        for method, path in (
            ("PUT", LEASES),
            ("PATCH", LEASES),
            ("POST", LEASE),
            ("PUT", PODS),
            ("HEAD", PODS),
            ("HEAD", LEASE),
            ("HEAD", SCALE),
            ("POST", SCALE),
            ("DELETE", SCALE),
            ("PUT", HPAS),
            ("POST", "/api/v1/pods"),
            ("DELETE", "/api/v1/events"),
            ("PUT", "/api/v1/events"),
            ("GET", REVIEWS),
            ("DELETE", REVIEWS),
        )
    ),
    Answer(OK, "GET", OLD_HPAS),
    Answer(OK, "GET", f"{OLD_HPAS}/there"),
    Answer(OK, "GET", "/apis/autoscaling/v1"),
    Answer(OK, "GET", "/apis/autoscaling/v1/horizontalpodautoscalers"),
    Answer(OK, "GET", "/api/v1/pods"),
    Answer(OK, "GET", "/api/v1/namespaces/nowhere/pods"),
    Answer(NOT_FOUND, "GET", "/api/v1/namespaces/nowhere"),
    Answer(NOT_FOUND, "GET", f"{PODS}/nobody"),
    Answer(NOT_FOUND, "GET", f"{DEPLOYMENTS}/nobody/scale"),
    *(
        Answer(NOT_FOUND, "GET", path, by="go-restful's router of a group")
        for path in (
            "/api/v1/nothings",
            "/api/v2/pods",
            "/apis/apps/v2/deployments",
            "/apis/apps/v1/nothings",
            f"{FRONTEND}/nothing",
            f"{FRONTEND}/a/b/c",
            "/apis/apps/v1/namespaces/x",
            "/apis/apps/v1/deployments/x",
            f"/api/v1/{NAMESPACED}/namespaces/x",
            "/api/v1//pods",
        )
    ),
    Answer(NOT_FOUND, "POST", "/apis/apps/v1/nothings", {}),
    Answer((404, ""), "GET", "/apis/nothing.example/v1/nothings", by="no such group: a plain page"),
    Answer(UNKNOWN, "GET", LEASE, params={"resourceVersion": "abc"}, by="cacher/delegator.go Get"),
    Answer(TIMEOUT, "GET", LEASE, params={"resourceVersion": "999999999"}, by="cacher.go Get"),
    Answer(UNKNOWN, "GET", PODS, params={"watch": "1", "resourceVersion": "abc"}, by="cacher.go Watch"),
    Answer(OK, "GET", PODS, params={"watch": "1", "timeoutSeconds": "-1"}, by="get.go handleWatch: ends at once"),
    Answer(OK, "GET", PODS, params={"watch": "yes", "timeoutSeconds": "-1"}, by=PARAMETERS),
    Answer(BAD, "GET", PODS, params={"watch": "1", "labelSelector": "a==="}),
]

ANSWERS: list[Answer] = [
    *NUMBERS, *REVISIONS, *QUERIES, *BODIES, *APPLIES, *TIMES, *RULES, *FORMATS, *ROUTING,
]  # fmt: skip
