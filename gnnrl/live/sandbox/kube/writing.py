"""create, update, patch and delete over the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.event_versions import from_events_v1, to_events_v1
from gnnrl.live.sandbox.kube.manifests import HASH_LETTERS, uid_of
from gnnrl.live.sandbox.kube.notation import timestamp
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.patches import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.validation import check_object, with_defaults

__all__ = ["ObjectWriter", "check_precondition", "is_dry_run", "patch_media_type"]

SYSTEM_METADATA = ("name", "namespace", "uid", "creationTimestamp", "generation")
WITHOUT_STATUS = ("Lease", "Event")
WITH_GENERATION = ("ScaledObject", "PodDisruptionBudget")

Scaler = Callable[[str, int], None]
"""(Deployment, replicas): change the world."""


def is_dry_run(values: list[str], kind: str) -> bool:
    """Whether `dryRun` was asked for.

    Raises:
        ApiError: 422, something other than `All`.
    """
    for value in values:
        if value != "All":
            why = f'Unsupported value: "{value}": supported values: "All"'
            raise ApiError.invalid("meta.k8s.io", kind, "", "dryRun", why, "FieldValueNotSupported")
    return bool(values)


def patch_media_type(request: Request, *, strategic: bool) -> str:
    """Media type of a patch.

    Raises:
        ApiError: 415, none that the resource takes.
    """
    accepted = (JSON_PATCH, MERGE_PATCH, *([STRATEGIC_PATCH] if strategic else []))
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type not in accepted:
        raise ApiError.media_type(accepted)
    return media_type


def check_precondition(kind: ResourceType, name: str, current: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
    """Whether the object that was read is the one that is there.

    Raises:
        ApiError: 409, another resourceVersion or uid.
    """
    if (uid := sent.get("uid")) and uid != current["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {current['uid']}"
        raise ApiError.conflict(kind, name, why)
    if (revision := sent.get("resourceVersion")) and revision != current["resourceVersion"]:
        raise ApiError.conflict(kind, name)


class ObjectWriter:
    """Writes objects as requests ask for it; the caller holds the store's lock.

    Args:
        store: where they live.
        clock: stamps creation.
        scale: called for a change of a Deployment's `spec.replicas`.
    """

    def __init__(self, store: ObjectStore, clock: Clock, scale: Scaler) -> None:
        self._store, self._clock, self._scale = store, clock, scale

    def create(self, kind: ResourceType, namespace: str, body: Any, *, dry_run: bool) -> StoredObject:
        """Keep a new object.

        Raises:
            ApiError: 400 or 422, it is not one of the kind; 404, no such namespace; 409, the name is taken.
        """
        content = _checked_body(kind, namespace, "", body)
        if namespace and self._store.get("namespaces", "", namespace) is None:
            raise ApiError(
                404, f'namespaces "{namespace}" not found', details={"name": namespace, "kind": "namespaces"}
            )
        metadata = content["metadata"]
        if metadata.pop("resourceVersion", None):
            raise ApiError(400, "resourceVersion should not be set on objects to be created")
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise ApiError.invalid(
                    kind.group, kind.kind, "", "metadata.name", "Required value: name or generateName is required",
                    "FieldValueRequired",
                )  # fmt: skip
            metadata["name"] = f"{metadata['generateName']}{_random_part(self._store.revision)}"
        if kind.kind not in WITHOUT_STATUS:
            content.pop("status", None)
        content = with_defaults(kind, content)
        check_object(kind, content)
        name = metadata["name"]
        if self._store.get(kind.storage, namespace, name) is not None:
            raise ApiError.already_exists(kind, name)
        metadata["uid"] = uid_of(kind.storage, namespace, name, self._store.revision)
        metadata["creationTimestamp"] = timestamp(self._clock.now())
        if kind.kind in WITH_GENERATION:
            metadata["generation"] = 1
        return self._keep(kind, content, dry_run=dry_run)

    def update(
        self, kind: ResourceType, namespace: str, name: str, body: Any, *, dry_run: bool
    ) -> tuple[StoredObject, bool]:
        """Replace an object; True if that created it.

        Raises:
            ApiError: 400, 404, 409 or 422.
        """
        content = _checked_body(kind, namespace, name, body)
        current = self._store.get(kind.storage, namespace, name)
        if current is None:
            if not kind.create_on_update or content["metadata"].get("uid"):
                raise ApiError.not_found(kind, name)
            content["metadata"].pop("resourceVersion", None)
            return self.create(kind, namespace, content, dry_run=dry_run), True
        if not content["metadata"].get("resourceVersion") and not kind.unconditional_update:
            why = "Invalid value: 0x0: must be specified for an update"
            raise ApiError.invalid(kind.group, kind.kind, name, "metadata.resourceVersion", why)
        return self._replace(kind, current, content, dry_run=dry_run), False

    def patch(self, kind: ResourceType, namespace: str, name: str, request: Request, *, dry_run: bool) -> StoredObject:
        """Change an object.

        Raises:
            ApiError: 400, 404, 409, 415 or 422.
        """
        media_type = patch_media_type(request, strategic=not kind.custom)
        current = self._store.get(kind.storage, namespace, name)
        if current is None:
            raise ApiError.not_found(kind, name)
        served = {"kind": kind.kind, "apiVersion": kind.api_version, **_served(kind, current.content)}
        changed = apply_patch(media_type, request.json(), served)
        content = _checked_body(kind, namespace, name, changed)
        return self._replace(kind, current, content, dry_run=dry_run)

    def delete(
        self, kind: ResourceType, namespace: str, name: str, options: Mapping[str, Any], *, dry_run: bool
    ) -> StoredObject:
        """Remove an object.

        Raises:
            ApiError: 404; 409, a precondition of `DeleteOptions` does not hold.
        """
        current = self._store.get(kind.storage, namespace, name)
        if current is None:
            raise ApiError.not_found(kind, name)
        preconditions = options.get("preconditions")
        check_precondition(
            kind, name, current.content["metadata"], preconditions if isinstance(preconditions, dict) else {}
        )
        if not dry_run:
            self._store.remove(kind.storage, namespace, name)
        return current

    def _replace(
        self, kind: ResourceType, current: StoredObject, content: dict[str, Any], *, dry_run: bool
    ) -> StoredObject:
        """Put changed content, in its served version, in the place of an object."""
        before = _served(kind, current.content)
        metadata, known = content["metadata"], before["metadata"]
        check_precondition(kind, known["name"], known, metadata)
        metadata |= {key: known[key] for key in SYSTEM_METADATA if key in known}
        metadata["resourceVersion"] = known["resourceVersion"]
        for key in ("labels", "annotations"):
            if not metadata.get(key):
                metadata.pop(key, None)
        if kind.kind not in WITHOUT_STATUS:
            content["status"] = before.get("status")
            if content["status"] is None:
                del content["status"]
        content = with_defaults(kind, content)
        check_object(kind, content)
        if content == before:
            return current
        if kind.kind == "Deployment":
            return self._replace_deployment(kind, before, content, dry_run=dry_run)
        if kind.kind == "Namespace":
            content = {**content, "spec": before["spec"]}
        if kind.kind in WITH_GENERATION and content.get("spec") != before.get("spec"):
            metadata["generation"] = known["generation"] + 1
        return self._keep(kind, content, dry_run=dry_run)

    def _replace_deployment(
        self, kind: ResourceType, before: Mapping[str, Any], content: dict[str, Any], *, dry_run: bool
    ) -> StoredObject:
        name, spec = before["metadata"]["name"], before["spec"]
        wanted = content.get("spec")
        replicas = wanted.get("replicas", 1) if isinstance(wanted, dict) else None
        if not isinstance(wanted, dict) or {**wanted, "replicas": 0} != {**spec, "replicas": 0}:
            why = "Forbidden: the sandbox's Deployments keep their pod template; change metadata or replicas"
            raise ApiError.invalid(kind.group, kind.kind, name, "spec", why, "FieldValueForbidden")
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
            why = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise ApiError.invalid(kind.group, kind.kind, name, "spec.replicas", why)
        content = {**content, "spec": {**wanted, "replicas": replicas}}
        if dry_run:
            return self._keep(kind, content, dry_run=True)
        if replicas != spec["replicas"]:
            self._scale(name, replicas)
            # The world has its say about spec and status.
            namespace = before["metadata"]["namespace"]
            scaled = self._store.get(kind.storage, namespace, name)
            if scaled is None:
                raise ApiError.not_found(kind, name)
            generation = scaled.content["metadata"]["generation"]
            content = {**scaled.content, "metadata": {**content["metadata"], "generation": generation}}
            if {**content["metadata"], "resourceVersion": ""} == {**scaled.content["metadata"], "resourceVersion": ""}:
                return scaled
        return self._keep(kind, content, dry_run=False)

    def _keep(self, kind: ResourceType, content: dict[str, Any], *, dry_run: bool) -> StoredObject:
        stored = from_events_v1(content) if kind.group == "events.k8s.io" else content
        return StoredObject(stored, 0) if dry_run else self._store.put(kind.storage, stored)


def _served(kind: ResourceType, content: Mapping[str, Any]) -> dict[str, Any]:
    return to_events_v1(content) if kind.group == "events.k8s.io" else dict(content)


def _checked_body(kind: ResourceType, namespace: str, name: str, body: Any) -> dict[str, Any]:
    """The object in a body, without kind and apiVersion, with a metadata of its own."""
    if not isinstance(body, dict):
        raise ApiError(
            400, f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: not an object'
        )
    if body.get("kind", kind.kind) != kind.kind:
        raise ApiError(400, f'{body["kind"]} in version "{kind.version}" cannot be handled as a {kind.kind}')
    if body.get("apiVersion", kind.api_version) != kind.api_version:
        raise ApiError(
            400,
            f"the API version in the data ({body['apiVersion']}) does not match the expected API version "
            f"({kind.api_version})",
        )
    metadata = body.get("metadata")
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict):
        raise ApiError(400, "json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
    metadata = {key: value for key, value in metadata.items() if value is not None and key != "managedFields"}
    if metadata.get("namespace", namespace) != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
    if namespace:
        metadata["namespace"] = namespace
    if name and metadata.get("name", name) != name:
        raise ApiError(400, f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if name:
        metadata["name"] = name
    apart = ("kind", "apiVersion", "metadata")
    return {"metadata": metadata, **_without_nulls({key: value for key, value in body.items() if key not in apart})}


def _without_nulls(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object whose fields that are null are absent, as the API server's decoder reads them."""
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in content.items()
        if value is not None
    }


def _random_part(seed: int) -> str:
    digest = hashlib.sha256(str(seed).encode()).digest()
    return "".join(HASH_LETTERS[byte % len(HASH_LETTERS)] for byte in digest[:5])
