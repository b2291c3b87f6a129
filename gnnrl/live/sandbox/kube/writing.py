"""create, update, patch and delete over the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.bodies import Expected, Sent
from gnnrl.live.sandbox.kube.defaults import with_defaults
from gnnrl.live.sandbox.kube.event_versions import from_events_v1
from gnnrl.live.sandbox.kube.hpa_versions import from_autoscaling_v1
from gnnrl.live.sandbox.kube.manifests import HASH_LETTERS, uid_of
from gnnrl.live.sandbox.kube.notation import timestamp
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject
from gnnrl.live.sandbox.kube.options import DeleteOptions, WriteOptions
from gnnrl.live.sandbox.kube.patching import Patch
from gnnrl.live.sandbox.kube.preconditions import check_deletion, check_name, check_namespace, check_revision, check_uid
from gnnrl.live.sandbox.kube.representation import served
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.validation import check_new, check_update

__all__ = ["ObjectWriter", "Written", "warn_or_refuse"]

KEPT_METADATA = ("creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
"""What an update leaves as it is, whatever it says."""
SYSTEM_METADATA = (*KEPT_METADATA, "uid", "selfLink", "managedFields")
WITHOUT_STATUS = ("Lease", "Event")
WITH_GENERATION = ("ScaledObject", "PodDisruptionBudget")

Scaler = Callable[[str, int], None]
"""(Deployment, replicas): change the world."""


@dataclass(frozen=True)
class Written:
    """What a write has made."""

    stored: StoredObject
    is_new: bool = False
    warnings: tuple[str, ...] = ()


def warn_or_refuse(expected: Expected, sent: Sent, options: WriteOptions) -> tuple[str, ...]:
    """What a writer is told of the fields of a whole object that are unknown or stand there twice.

    Raises:
        ApiError: 400, it asked for them to be refused.
    """
    if sent.complaints and options.validation == "Strict":
        why = ", ".join(sent.complaints)
        raise ApiError(
            400,
            f'{expected.kind} in version "{expected.version}" cannot be handled as a {expected.kind}: '
            f"strict decoding error: {why}",
        )
    return sent.complaints if options.validation == "Warn" else ()


class ObjectWriter:
    """Writes objects as requests ask for it; the caller holds the store's lock.

    Args:
        store: where they live.
        clock: stamps creation.
        scale: called for a change of a Deployment's `spec.replicas`.
    """

    def __init__(self, store: ObjectStore, clock: Clock, scale: Scaler) -> None:
        self._store, self._clock, self._scale = store, clock, scale

    def create(self, kind: ResourceType, namespace: str, sent: Sent, options: WriteOptions) -> Written:
        """Keep a new object.

        Raises:
            ApiError: 400 or 422, it is not one of the kind; 404, no such namespace; 409, the name is taken; 500, it has a revision.
        """
        warnings = warn_or_refuse(Expected.of(kind), sent, options)
        return Written(self._create(kind, namespace, dict(sent.content), options), True, warnings)

    def _create(
        self, kind: ResourceType, namespace: str, content: dict[str, Any], options: WriteOptions
    ) -> StoredObject:
        metadata = content["metadata"] = {
            key: value for key, value in content["metadata"].items() if key not in SYSTEM_METADATA
        }
        check_namespace(metadata, namespace)
        if namespace:
            metadata["namespace"] = namespace
            if self._store.get("namespaces", "", namespace) is None:
                details = {"name": namespace, "kind": "namespaces"}
                raise ApiError(404, f'namespaces "{namespace}" not found', details=details)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{_random_part(self._store.revision)}"
        if kind.kind not in WITHOUT_STATUS:
            content.pop("status", None)
        stored = with_defaults(kind, _stored_form(kind, content))
        check_new(kind, stored)
        name = metadata["name"]
        revision = str(metadata.pop("resourceVersion", ""))
        stored["metadata"].pop("resourceVersion", None)
        if revision.isdigit() and int(revision):
            raise ApiError.internal("resourceVersion should not be set on objects to be created")
        if self._store.get(kind.storage, namespace, name) is not None:
            raise ApiError.already_exists(kind, name)
        stored["metadata"] |= {
            "uid": uid_of(kind.storage, namespace, name, self._store.revision),
            "creationTimestamp": timestamp(self._clock.now()),
        }
        if kind.kind in WITH_GENERATION:
            stored["metadata"]["generation"] = 1
        return self._keep(kind, stored, dry_run=options.dry_run)

    def update(self, kind: ResourceType, namespace: str, name: str, sent: Sent, options: WriteOptions) -> Written:
        """Replace an object, or create it where its kind allows that.

        Raises:
            ApiError: 400, 404, 409 or 422; 500, its revision is no number.
        """
        warnings = warn_or_refuse(Expected.of(kind), sent, options)
        metadata = sent.content["metadata"]
        check_namespace(metadata, namespace)
        check_name(metadata, name)
        current = self._store.get(kind.storage, namespace, name)
        if current is None:
            if not kind.create_on_update:
                raise ApiError.not_found(kind, name)
            check_uid(kind, name, "", metadata)
            content = {**sent.content, "metadata": {k: v for k, v in metadata.items() if k != "resourceVersion"}}
            return Written(self._create(kind, namespace, content, options), True, warnings)
        check_uid(kind, name, current.content["metadata"]["uid"], metadata)
        if not check_revision(kind, name, current.content["metadata"], metadata) and not kind.unconditional_update:
            why = "Invalid value: 0: must be specified for an update"
            raise ApiError.invalid(kind.group, kind.plural, name, "metadata.resourceVersion", why)
        return Written(self._replace(kind, current, sent.content, dry_run=options.dry_run), False, warnings)

    def patch(self, kind: ResourceType, namespace: str, name: str, patch: Patch) -> Written:
        """Change an object; an apply creates it if it is absent.

        Raises:
            ApiError: 400, 404, 409, 422 or 500.
        """
        expected, options = Expected.of(kind), patch.options
        current = self._store.get(kind.storage, namespace, name)
        if current is None and not patch.is_apply:
            raise ApiError.not_found(kind, name)
        document = served(kind, current.content) if current else {}
        head = {"kind": kind.kind, "apiVersion": kind.api_version}
        sent = patch.applied_to({**head, **document} if current else {}, expected)
        warnings = sent.complaints if options.validation == "Warn" else ()
        metadata = sent.content["metadata"]
        check_namespace(metadata, namespace)
        check_name(metadata, name)
        if current is None:
            if metadata.get("uid"):
                why = f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
                raise ApiError.conflict(kind, name, why)
            return Written(self._create(kind, namespace, sent.content, options), True, warnings)
        check_revision(kind, name, current.content["metadata"], metadata)
        return Written(self._replace(kind, current, sent.content, dry_run=options.dry_run), False, warnings)

    def delete(
        self, kind: ResourceType, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[StoredObject, bool]:
        """Remove an object, or mark it where finalizers hold it; whether it is gone.

        Raises:
            ApiError: 404; 409, a precondition of `DeleteOptions` does not hold.
        """
        current = self._store.get(kind.storage, namespace, name)
        if current is None:
            raise ApiError.not_found(kind, name)
        metadata = current.content["metadata"]
        check_deletion(kind, name, metadata, options)
        if metadata.get("finalizers"):
            if "deletionTimestamp" in metadata:
                return current, False
            marks = {"deletionTimestamp": timestamp(self._clock.now()), "deletionGracePeriodSeconds": 0}
            content = {**current.content, "metadata": {**metadata, **marks}}
            return self._keep(kind, content, dry_run=options.dry_run), False
        if not options.dry_run:
            self._store.remove(kind.storage, namespace, name)
        return current, True

    def _replace(
        self, kind: ResourceType, current: StoredObject, content: Mapping[str, Any], *, dry_run: bool
    ) -> StoredObject:
        """Put changed content, in its served version, in the place of an object."""
        before, known = current.content, current.content["metadata"]
        metadata = {key: value for key, value in content["metadata"].items() if key not in KEPT_METADATA}
        metadata |= {key: known[key] for key in KEPT_METADATA if key in known}
        metadata |= {key: known[key] for key in ("name", "namespace", "resourceVersion") if key in known}
        metadata.setdefault("uid", known["uid"])
        for key in ("labels", "annotations", "managedFields", "finalizers", "ownerReferences"):
            if not metadata.get(key) or key == "managedFields":
                metadata.pop(key, None)
        changed = _stored_form(kind, {**content, "metadata": metadata})
        if kind.kind not in WITHOUT_STATUS:
            changed.pop("status", None)
            if before.get("status") is not None:
                changed["status"] = before["status"]
        changed = with_defaults(kind, changed)
        check_update(kind, changed, before)
        if changed == before:
            return current
        if kind.kind == "Deployment":
            return self._replace_deployment(kind, before, changed, dry_run=dry_run)
        if kind.kind == "Namespace":
            changed = {**changed, "spec": before["spec"]}
        if kind.kind in WITH_GENERATION and changed.get("spec") != before.get("spec"):
            changed["metadata"]["generation"] = known["generation"] + 1
        if "deletionTimestamp" in known and not changed["metadata"].get("finalizers") and not dry_run:
            self._store.remove(kind.storage, *current.key)
            return StoredObject(changed, current.revision)
        return self._keep(kind, changed, dry_run=dry_run)

    def _replace_deployment(
        self, kind: ResourceType, before: Mapping[str, Any], content: dict[str, Any], *, dry_run: bool
    ) -> StoredObject:
        name, spec = before["metadata"]["name"], before["spec"]
        wanted = content.get("spec") or {}
        replicas = wanted.get("replicas", 1)
        if {**wanted, "replicas": 0} != {**spec, "replicas": 0}:
            why = "Forbidden: the sandbox's Deployments keep their pod template; change metadata or replicas"
            raise ApiError.invalid(kind.group, kind.kind, name, "spec", why, "FieldValueForbidden")
        if replicas < 0:
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

    def _keep(self, kind: ResourceType, content: Mapping[str, Any], *, dry_run: bool) -> StoredObject:
        return StoredObject(content, 0) if dry_run else self._store.put(kind.storage, content)


def _stored_form(kind: ResourceType, content: Mapping[str, Any]) -> dict[str, Any]:
    """An object of a served version in the fields in which it is stored."""
    if kind.group == "events.k8s.io":
        return from_events_v1(content)
    if kind.api_version == "autoscaling/v1":
        return from_autoscaling_v1(content)
    return {**content, "metadata": dict(content["metadata"])}


def _random_part(seed: int) -> str:
    digest = hashlib.sha256(str(seed).encode()).digest()
    return "".join(HASH_LETTERS[byte % len(HASH_LETTERS)] for byte in digest[:5])
