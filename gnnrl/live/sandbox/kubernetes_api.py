"""The sandbox's Kubernetes API server: what kubectl, the Python client and an autoscaler ask of a cluster, over the simulated world."""

from __future__ import annotations

import hmac
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import FaultHook, HttpError, JsonServer, Request, Response
from gnnrl.live.sandbox.kube import manifests, protobuf_bodies
from gnnrl.live.sandbox.kube.access import AccessRules
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.derived_status import write_derived_status
from gnnrl.live.sandbox.kube.discovery import VERSION, discover
from gnnrl.live.sandbox.kube.mirror import Workloads, WorldMirror
from gnnrl.live.sandbox.kube.notation import timestamp
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.patches import apply_patch
from gnnrl.live.sandbox.kube.pod_metrics import node_metrics, pod_metrics
from gnnrl.live.sandbox.kube.reading import listing, page, watch
from gnnrl.live.sandbox.kube.representation import Representation, encode
from gnnrl.live.sandbox.kube.resource_types import ResourceType, find_type
from gnnrl.live.sandbox.kube.scale import patched_replicas, scale_of, updated_replicas
from gnnrl.live.sandbox.kube.selectors import selector_of
from gnnrl.live.sandbox.kube.writing import ObjectWriter, check_precondition, is_dry_run, patch_media_type

__all__ = ["KubernetesApi"]

HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
SYNC_SECONDS = 0.25
"""How far the objects that a write meets may lag behind the world, which moves once a second."""
EVENT_SECONDS = 3600.0
"""How long the API server keeps Events."""
OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


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
            return Response.of_json(error.status(), error.code)

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
            return Response.of_text("404 page not found\n", 404)
        return self._serve(request, target)

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
        needs_namespace = verb in ("create", "deletecollection") and kind.namespaced
        if verb not in offered or (needs_namespace and not target.namespace):
            raise ApiError.method_not_allowed()
        if kind.group == "authorization.k8s.io":
            return self._review(request, kind)
        shape = Representation.negotiate(request, kind, self.clock)
        if verb == "watch":
            stream = watch(request, kind, target.namespace, self.store, shape, self.sync)
            return Response(stream=stream)
        with self.store.lock:
            # A burst of writes need not look at the whole world before each; a read always does.
            if verb in ("get", "list") or self.clock.now() - self._synced >= SYNC_SECONDS:
                self.sync()
            if target.subresource:
                return Response(body=encode(self._serve_scale(request, target)))
            if not kind.storage:
                return Response(body=self._serve_metrics(request, target, shape))
            if verb == "list":
                return Response(body=listing(request, kind, target.namespace, self.store, shape))
            if verb == "get":
                return Response(body=shape.one(self._stored(target)))
            return self._write(request, target, verb, shape)

    def _write(self, request: Request, target: Target, verb: str, shape: Representation) -> Response:
        kind, namespace, name = target.kind, target.namespace, target.name
        dry_run = is_dry_run(request.query.get("dryRun", []), OPTIONS[request.method])
        if verb == "create":
            created = self._writer.create(kind, namespace, _body(request), dry_run=dry_run)
            return Response(status=201, body=shape.one(created))
        if verb == "update":
            updated, is_new = self._writer.update(kind, namespace, name, _body(request), dry_run=dry_run)
            return Response(status=201 if is_new else 200, body=shape.one(updated))
        if verb == "patch":
            return Response(body=shape.one(self._writer.patch(kind, namespace, name, request, dry_run=dry_run)))
        options = _body(request) if request.body else {}
        if not isinstance(options, dict):
            raise ApiError(400, "the body is no DeleteOptions")
        dry_run = is_dry_run(options.get("dryRun") or [], "DeleteOptions") or dry_run
        if verb == "deletecollection":
            body = listing(request, kind, namespace, self.store, shape)
            selects = selector_of(kind, request.param("labelSelector"), request.param("fieldSelector"))
            for item in self.store.objects(kind.storage, namespace):
                if not dry_run and (selects is None or selects(item.content)):
                    self.store.remove(kind.storage, *item.key)
            return Response(body=body)
        deleted = self._writer.delete(kind, namespace, name, options, dry_run=dry_run)
        details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": deleted.content["metadata"]["uid"]}
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Response.of_json(success)

    def _serve_scale(self, request: Request, target: Target) -> dict[str, object]:
        name = target.name
        deployment = self._stored(target)
        scale = scale_of(deployment.content)
        if request.method == "GET":
            return scale
        dry_run = is_dry_run(request.query.get("dryRun", []), OPTIONS[request.method])
        if request.method == "PATCH":
            wanted = apply_patch(patch_media_type(request, strategic=True), request.json(), scale)
            metadata = _metadata_of(wanted)
            replicas = patched_replicas(wanted)
        else:
            wanted = _body(request)
            metadata = _metadata_of(wanted)
            replicas = updated_replicas(wanted)
        check_precondition(target.kind, name, scale["metadata"], metadata)
        if metadata.get("name", name) != name or metadata.get("namespace", target.namespace) != target.namespace:
            raise ApiError(
                400, f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
            )
        if dry_run:
            return {**scale, "spec": {"replicas": replicas} if replicas else {}}
        if replicas != deployment.content["spec"]["replicas"]:
            self._scale(name, replicas)
        return scale_of(self._stored(target).content)

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

    def _serve_metrics(self, request: Request, target: Target, shape: Representation) -> bytes:
        kind, namespace, now = target.kind, self.world.namespace, self.clock.now()
        usages = self.world.pod_usage()
        if kind.namespaced:
            wanted = target.namespace in ("", namespace)
            items = pod_metrics(usages if wanted else [], self.store, namespace, now)
        else:
            items = node_metrics(usages, self.store, namespace, now)
        if not target.name:
            return page(request, kind, items, self.store.revision, self.store.oldest_revision, shape)
        found = next((item for item in items if item.key[1] == target.name), None)
        if found is None:
            raise ApiError(
                404,
                f'{kind.singular}.{kind.group} "{"/".join(filter(None, (target.namespace, target.name)))}" not found',
                details={"name": target.name, "group": kind.group, "kind": kind.plural},
            )
        return shape.one(found)

    def _review(self, request: Request, kind: ResourceType) -> Response:
        body = _body(request)
        if not isinstance(body, dict):
            raise HttpError(400, f"the body is not a {kind.kind}")
        answer = self.access.review(body) if kind.kind == "SelfSubjectAccessReview" else self.access.rules(body)
        return Response.of_json({"kind": kind.kind, "apiVersion": kind.api_version, **answer}, 201)

    def _stored(self, target: Target) -> StoredObject:
        found = self.store.get(target.kind.storage, target.namespace, target.name)
        if found is None:
            raise ApiError.not_found(target.kind, target.name)
        return found


def _body(request: Request) -> Any:
    """What was sent, as JSON or in Kubernetes' protobuf.

    Raises:
        ApiError: 400 or 415.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media_type == protobuf_bodies.MEDIA_TYPE:
        return protobuf_bodies.decode(request.body)
    if media_type != "application/json":
        raise ApiError.media_type(("application/json", protobuf_bodies.MEDIA_TYPE))
    return request.json()


def _metadata_of(scale: object) -> Mapping[str, str]:
    metadata = scale.get("metadata") if isinstance(scale, dict) else None
    if not isinstance(scale, dict) or not isinstance(metadata if metadata is not None else {}, dict):
        raise ApiError(400, 'Scale in version "v1" cannot be handled as a Scale: not an object')
    if scale.get("kind", "Scale") != "Scale":
        raise ApiError(400, f'{scale["kind"]} in version "v1" cannot be handled as a Scale')
    return metadata or {}


def _verb(request: Request, target: Target) -> str:
    """The verb that RBAC knows."""
    if request.method in ("GET", "HEAD"):
        if target.name:
            return "get"
        return "watch" if request.param("watch") in ("true", "1") else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}[request.method]
