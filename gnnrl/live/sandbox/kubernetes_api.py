"""The sandbox's Kubernetes API server: what kubectl, the Python client and an autoscaler ask of a cluster, over the simulated world."""

from __future__ import annotations

import hmac
import json
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import FaultHook, JsonServer, Request, Response
from gnnrl.live.sandbox.kube import manifests
from gnnrl.live.sandbox.kube.access import AccessRules
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.bodies import Expected, read_object
from gnnrl.live.sandbox.kube.derived_status import write_derived_status
from gnnrl.live.sandbox.kube.discovery import VERSION, discover
from gnnrl.live.sandbox.kube.mirror import Workloads, WorldMirror
from gnnrl.live.sandbox.kube.notation import timestamp
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.options import read_delete_options, read_list_options, read_write_options
from gnnrl.live.sandbox.kube.patching import read_patch
from gnnrl.live.sandbox.kube.pod_metrics import node_metrics, pod_metrics
from gnnrl.live.sandbox.kube.preconditions import (
    asked_revision,
    check_name,
    check_namespace,
    check_revision,
    check_uid,
)
from gnnrl.live.sandbox.kube.reading import check_not_older, listing, page
from gnnrl.live.sandbox.kube.representation import Representation, refusal
from gnnrl.live.sandbox.kube.resource_types import GROUP_VERSIONS, SCALE, ResourceType, find_type
from gnnrl.live.sandbox.kube.scale import check_scale, scale_of
from gnnrl.live.sandbox.kube.selectors import selector_of
from gnnrl.live.sandbox.kube.watching import watch
from gnnrl.live.sandbox.kube.writing import ObjectWriter, Written, warn_or_refuse

__all__ = ["KubernetesApi"]

HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
SYNC_SECONDS = 0.25
"""How far the objects that a write meets may lag behind the world, which moves once a second."""
EVENT_SECONDS = 3600.0
"""How long the API server keeps Events."""


@dataclass(frozen=True)
class Target:
    """What a request's path names."""

    kind: ResourceType
    namespace: str
    """Empty = all, or the kind has none."""
    name: str
    """Empty = the collection."""
    subresource: str


class KubernetesApi(JsonServer):
    """The API server. Start it with `start()` or `with`; then `url` leads to it.

    Args:
        world: the simulated cluster.
        clock: its time.
        token: the bearer token that is accepted; the attribute may be changed (an expired token is one that was replaced).
        fault: called before each request, as server `kubernetes`.
        port: where to listen on loopback; 0 = any free port.
        deny: (verb, resource) pairs answered with 403; see `AccessRules`. The set may be changed at any time.
        absent_groups: API groups that this cluster does not have, as `metrics.k8s.io` or `keda.sh`. May be changed at any time.
        namespace_annotations: of the world's namespace.
        tls: TLS context; None = plain HTTP.
        anonymous: whether requests without credentials are let in (wrong ones never are); None = over plain HTTP, since kubectl
            sends its token over TLS only.
        history: changes kept for watches.
    """

    def __init__(
        self,
        world: Workloads,
        clock: Clock,
        token: str,
        fault: FaultHook | None = None,
        port: int = 0,
        *,
        deny: set[tuple[str, str]] | None = None,
        absent_groups: set[str] | None = None,
        namespace_annotations: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        anonymous: bool | None = None,
        history: int = 4096,
    ) -> None:
        super().__init__("kubernetes", clock=clock, fault=fault, port=port, tls=tls)
        self.world, self.token = world, token
        self.anonymous = tls is None if anonymous is None else anonymous
        self.deny = deny if deny is not None else set()
        self.absent_groups = absent_groups if absent_groups is not None else set()
        self.store = ObjectStore(history=history)
        self.access = AccessRules(f"system:serviceaccount:{world.namespace}:gnnrl", self.deny)
        self._mirror = WorldMirror(world, self.store, clock)
        self._writer = ObjectWriter(self.store, clock, self._scale)
        self._synced = -math.inf
        self._derived_revision = 0
        self._events_checked = clock.now()
        for name in ("default", "kube-system", world.namespace):
            annotations = namespace_annotations if name == world.namespace else None
            self._add_namespace(name, annotations or {})
        self.store.put("nodes", manifests.node(clock.now()))

    def _add_namespace(self, name: str, annotations: Mapping[str, str]) -> None:
        metadata = {
            "name": name,
            "uid": manifests.uid_of("namespace", name),
            "creationTimestamp": timestamp(self.clock.now()),
            "labels": {"kubernetes.io/metadata.name": name},
        }
        if annotations:
            metadata["annotations"] = dict(annotations)
        content = {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        self.store.put("namespaces", content)

    def sync(self) -> None:
        """Bring objects up to the world as it is now."""
        with self.store.lock:
            self._mirror.sync()
            now = self._synced = self.clock.now()
            if self.store.revision != self._derived_revision:
                write_derived_status(self.store)
                self._derived_revision = self.store.revision
            if now - self._events_checked >= EVENT_SECONDS / 60.0:
                self._events_checked = now
                oldest = timestamp(now - EVENT_SECONDS)
                for event in self.store.objects("events"):
                    if event.content["metadata"]["creationTimestamp"] < oldest:
                        self.store.remove("events", *event.key)

    def error_response(self, status: int, message: str) -> Response:
        """Every error is a `Status` object."""
        return Response.of_json(ApiError(status, message).status(), status)

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            return self._answer(request)
        except ApiError as error:
            return refusal(request, error)

    def _answer(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if path in HEALTH_PATHS:
            return Response.of_text("ok")
        if path == "/version":
            return Response.of_json(VERSION)
        self._authenticate(request)
        self.access.check(request)
        if request.method == "GET" and (found := discover(request, self.absent_groups)) is not None:
            return found
        target = self._target(path)
        if target is None:
            if self._has_router(path):
                raise ApiError.no_resource()
            return Response.of_text("404 page not found\n", 404)
        return self._serve(request, target)

    def _has_router(self, path: str) -> bool:
        """Whether a path lies under a group that there is."""
        root, group, *_ = (*path.strip("/").split("/"), "")
        known = {group for group, _ in GROUP_VERSIONS} - self.absent_groups
        return (root == "api" and bool(group)) or (root == "apis" and group in known)

    def _authenticate(self, request: Request) -> None:
        offered = request.headers.get("authorization")
        if offered is None and self.anonymous:
            return
        if not hmac.compare_digest((offered or "").encode(), f"Bearer {self.token}".encode()):
            raise ApiError(401, "Unauthorized")

    def _target(self, path: str) -> Target | None:
        root, *parts = path.strip("/").split("/")
        if root == "api" and parts:
            group, version, *rest = ["", *parts]
        elif root == "apis" and len(parts) >= 2:
            group, version, *rest = parts
        else:
            return None
        namespace = ""
        if len(rest) >= 3 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        if group in self.absent_groups or not 1 <= len(rest) <= 3:
            return None
        plural, name, subresource = (*rest, "", "")[:3]
        kind = find_type(group, version, plural)
        if kind is None or bool(namespace) > kind.namespaced or (name and kind.namespaced and not namespace):
            return None
        if subresource and (kind.kind, subresource) != ("Deployment", "scale"):
            return None
        return Target(kind, namespace, name, subresource)

    def _serve(self, request: Request, target: Target) -> Response:
        kind = target.kind
        verb = _verb(request, target)
        offered = ("get", "update", "patch") if target.subresource else kind.verbs
        if verb not in offered or not _is_routed(request, target):
            raise ApiError.method_not_allowed()
        shape = Representation.negotiate(
            request, SCALE if target.subresource else kind, self.clock, is_watch=verb == "watch"
        )
        if kind.group == "authorization.k8s.io":
            return self._review(request, kind, shape)
        if verb == "watch":
            options = read_list_options(request)
            stream = watch(options, kind, target.namespace, self.store, shape, self.sync)
            return Response(stream=stream, content_type=shape.stream_type)
        with self.store.lock:
            # A burst of writes need not look at the whole world before each; a read always does.
            if verb in ("get", "list") or self.clock.now() - self._synced >= SYNC_SECONDS:
                self.sync()
            if target.subresource:
                return self._serve_scale(request, target, shape)
            if not kind.storage:
                return self._serve_metrics(request, target, shape)
            if verb == "list":
                return listing(read_list_options(request), kind, target.namespace, self.store, shape)
            if verb == "get":
                check_not_older(asked_revision(request.first("resourceVersion")), self.store)
                return shape.one(self._stored(target))
            return self._write(request, target, verb, shape)

    def _write(self, request: Request, target: Target, verb: str, shape: Representation) -> Response:
        kind, namespace, name = target.kind, target.namespace, target.name
        if verb in ("delete", "deletecollection"):
            return self._delete(request, target, shape)
        if verb == "patch":
            return _answered(
                shape, self._writer.patch(kind, namespace, name, read_patch(request, strategic=not kind.custom))
            )
        options = read_write_options(request)
        sent = read_object(request, Expected.of(kind))
        if verb == "create":
            return _answered(shape, self._writer.create(kind, namespace, sent, options))
        return _answered(shape, self._writer.update(kind, namespace, name, sent, options))

    def _delete(self, request: Request, target: Target, shape: Representation) -> Response:
        kind, namespace = target.kind, target.namespace
        if not target.name:
            chosen = read_list_options(request)
            options = read_delete_options(request)
            answer = listing(chosen, kind, namespace, self.store, shape)
            selects = selector_of(kind, chosen.labels, chosen.fields)
            for item in self.store.objects(kind.storage, namespace):
                if selects is None or selects(item.content):
                    self._writer.delete(kind, namespace, item.key[1], options)
            return answer
        options = read_delete_options(request)
        deleted, is_gone = self._writer.delete(kind, namespace, target.name, options)
        if not is_gone:
            return shape.one(deleted)
        uid = deleted.content["metadata"]["uid"]
        details = {"name": target.name, "group": kind.group, "kind": kind.plural, "uid": uid}
        details = {key: value for key, value in details.items() if value}
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return shape.status(success)

    def _serve_scale(self, request: Request, target: Target, shape: Representation) -> Response:
        name = target.name
        deployment = self.store.get(target.kind.storage, target.namespace, name)
        if deployment is None:
            where = replace(target.kind, plural="deployments/scale") if request.method == "GET" else target.kind
            raise ApiError.not_found(where, name)
        scale = StoredObject(scale_of(deployment.content), deployment.revision)
        if request.method == "GET":
            check_not_older(asked_revision(request.first("resourceVersion")), self.store)
            return shape.one(scale)
        expected = Expected.of(SCALE)
        if request.method == "PATCH":
            patch = read_patch(request, strategic=True)
            options = patch.options
            sent = patch.applied_to({"kind": "Scale", "apiVersion": "autoscaling/v1", **scale.content}, expected)
            warnings = sent.complaints if options.validation == "Warn" else ()
        else:
            options = read_write_options(request)
            sent = read_object(request, expected)
            warnings = warn_or_refuse(expected, sent, options)
        metadata = sent.content["metadata"]
        check_namespace(metadata, target.namespace)
        check_name(metadata, name)
        replicas = check_scale(name, sent.content)
        check_uid(target.kind, name, scale.content["metadata"]["uid"], metadata)
        check_revision(target.kind, name, scale.content["metadata"], metadata)
        if options.dry_run:
            wanted = {**scale.content, "spec": {"replicas": replicas} if replicas else {}}
            return _answered(shape, Written(StoredObject(wanted, 0), False, warnings))
        if replicas != deployment.content["spec"]["replicas"]:
            self._scale(name, replicas)
        changed = self._stored(target)
        return _answered(shape, Written(StoredObject(scale_of(changed.content), changed.revision), False, warnings))

    def _scale(self, name: str, replicas: int) -> None:
        """Tell the world, and see what it makes of it.

        Raises:
            ApiError: 404 or 422, the world refuses.
        """
        kind = find_type("apps", "v1", "deployments")
        assert kind is not None
        try:
            self.world.set_replicas(name, replicas)
        except KeyError as error:
            raise ApiError.not_found(kind, name) from error
        except ValueError as error:
            why = f"Invalid value: {replicas}: {error}"
            raise ApiError.invalid("apps", "Deployment", name, "spec.replicas", why) from error
        self._mirror.show_replicas(name, replicas)

    def _serve_metrics(self, request: Request, target: Target, shape: Representation) -> Response:
        kind, namespace, now = target.kind, self.world.namespace, self.clock.now()
        usages = self.world.pod_usage()
        if kind.namespaced:
            wanted = target.namespace in ("", namespace)
            items = pod_metrics(usages if wanted else [], self.store, namespace, now)
        else:
            items = node_metrics(usages, self.store, namespace, now)
        if not target.name:
            options = read_list_options(request)
            selector = selector_of(kind, options.labels, options.fields)
            return page(options, items, selector, self.store.revision, shape)
        found = next((item for item in items if item.key[1] == target.name), None)
        if found is None:
            raise ApiError(
                404,
                f'{kind.singular}.{kind.group} "{"/".join(filter(None, (target.namespace, target.name)))}" not found',
                details={"name": target.name, "group": kind.group, "kind": kind.plural},
            )
        return shape.one(found)

    def _review(self, request: Request, kind: ResourceType, shape: Representation) -> Response:
        options = read_write_options(request)
        expected = Expected.of(kind)
        sent = read_object(request, expected)
        warnings = warn_or_refuse(expected, sent, options)
        by_name = kind.kind == "SelfSubjectAccessReview"
        answer = self.access.review(sent.content) if by_name else self.access.rules(sent.content)
        return _answered(shape, Written(StoredObject(answer, 0), True, warnings))

    def _stored(self, target: Target) -> StoredObject:
        found = self.store.get(target.kind.storage, target.namespace, target.name)
        if found is None:
            raise ApiError.not_found(target.kind, target.name)
        return found


def _answered(shape: Representation, written: Written) -> Response:
    """The answer to a write, with its warnings."""
    answer = shape.one(written.stored, 201 if written.is_new else 200)
    warnings = tuple(("Warning", f"299 - {json.dumps(each)}") for each in written.warnings)
    return replace(answer, headers=(*answer.headers, *warnings))


def _is_routed(request: Request, target: Target) -> bool:
    """Whether the API server has a route for the method at this path."""
    if request.method in ("GET", "POST"):
        on_collection = request.method == "POST"
        return (request.method == "GET" or not target.name) and (
            not on_collection or bool(target.namespace) == target.kind.namespaced
        )
    if request.method in ("PUT", "PATCH"):
        return bool(target.name)
    # All objects of all namespaces cannot be deleted at once.
    return request.method == "DELETE" and (bool(target.name) or bool(target.namespace) == target.kind.namespaced)


def _verb(request: Request, target: Target) -> str:
    """The verb that RBAC knows."""
    if request.method in ("GET", "HEAD"):
        if target.name:
            return "get"
        is_watch = "watch" in request.query and request.first("watch").lower() not in ("0", "false")
        return "watch" if is_watch else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}[request.method]
