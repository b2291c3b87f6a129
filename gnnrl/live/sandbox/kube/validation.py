"""What the API server checks of an object before it keeps it, as far as a client of the sandbox can run into it."""

from __future__ import annotations

import re
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.field_types import check_field_types
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["check_object", "with_defaults"]

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
MAP_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
MOST_ANNOTATION_BYTES = 256 * 1024
LONGEST_NOTE = 1024
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
NEW_EVENT_FIELDS = ("reportingController", "reportingInstance", "action", "reason")


def with_defaults(kind: ResourceType, content: dict[str, Any]) -> dict[str, Any]:
    """What the API server fills in: an HPA's least replicas, and the status that it alone may set."""
    if kind.kind == "HorizontalPodAutoscaler" and isinstance(content.get("spec"), dict):
        spec = {"minReplicas": 1, **content["spec"]}
        return {
            **content,
            "spec": spec,
            "status": content.get("status") or {"currentMetrics": None, "desiredReplicas": 0},
        }
    if kind.kind == "Event" and not content.get("type"):
        return {**content, "type": "Normal"} if kind.group == "" else content
    return content


def check_object(kind: ResourceType, content: dict[str, Any]) -> None:
    """Check an object that is about to be kept, in the fields of its served version.

    Raises:
        ApiError: 400, a field has the wrong type; 422, a value that is not allowed.
    """
    check_field_types(kind.kind, kind.version, content)
    metadata = content["metadata"]
    name = metadata["name"]

    def refuse(field: str, why: str, reason: str = "FieldValueInvalid") -> ApiError:
        return ApiError.invalid(kind.group, kind.kind, str(name), field, why, reason)

    if len(name) > 253 or not NAME.fullmatch(name):
        raise refuse("metadata.name", f'Invalid value: "{name}": {SUBDOMAIN}')
    for field in ("labels", "annotations"):
        _check_map(field, metadata.get(field), refuse)
    spec = _map(content.get("spec"))
    if kind.kind == "Lease":
        for field, least in (("leaseDurationSeconds", 1), ("leaseTransitions", 0)):
            value = spec.get(field)
            if value is not None and (not _is_int(value) or value < least):
                word = "greater than 0" if least else "greater than or equal to 0"
                raise refuse(f"spec.{field}", f"Invalid value: {value}: must be {word}")
        if spec.get("holderIdentity") == "":
            raise refuse("spec.holderIdentity", 'Invalid value: "": must not be empty')
    elif kind.kind == "HorizontalPodAutoscaler":
        target = _map(spec.get("scaleTargetRef"))
        for field in ("kind", "name"):
            if not target.get(field):
                raise refuse(f"spec.scaleTargetRef.{field}", "Required value", "FieldValueRequired")
        most = spec.get("maxReplicas")
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise refuse("spec.maxReplicas", f"Invalid value: {most}: must be greater than 0")
        least = spec.get("minReplicas", 1)
        if not isinstance(least, int) or isinstance(least, bool) or least < 1:
            raise refuse("spec.minReplicas", f"Invalid value: {least}: must be greater than or equal to 1")
        if most < least:
            raise refuse("spec.maxReplicas", f"Invalid value: {most}: must be greater than or equal to `minReplicas`")
    elif kind.kind == "ScaledObject":
        if not _map(spec.get("scaleTargetRef")).get("name"):
            raise refuse("spec.scaleTargetRef.name", "Required value", "FieldValueRequired")
        if not isinstance(spec.get("triggers"), list):
            raise refuse("spec.triggers", "Required value", "FieldValueRequired")
    elif kind.kind == "PodDisruptionBudget":
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            raise refuse("spec", "Invalid value: minAvailable and maxUnavailable cannot be both set")
    elif kind.kind == "Event":
        _check_event(kind, content, refuse)


def _check_event(kind: ResourceType, content: dict[str, Any], refuse: Any) -> None:
    namespace = content["metadata"].get("namespace", "")
    about = content.get("regarding" if kind.group else "involvedObject")
    about = _map(about)
    # Events of cluster-wide objects live in `default`.
    if (about.get("namespace") or "default") != namespace:
        raise refuse(
            "involvedObject.namespace", f'Invalid value: "{about.get("namespace", "")}": does not match event.namespace'
        )
    if kind.group == "":
        return
    if not content.get("eventTime"):
        raise refuse("eventTime", "Required value", "FieldValueRequired")
    for field in NEW_EVENT_FIELDS:
        if not content.get(field):
            raise refuse(field, "Required value", "FieldValueRequired")
    if content.get("type") not in ("Normal", "Warning"):
        raise refuse("type", f'Invalid value: "{content.get("type", "")}": must be "Normal" or "Warning"')
    if len(content.get("note") or "") > LONGEST_NOTE:
        raise refuse("message", f"Invalid value: can have at most {LONGEST_NOTE} characters")


def _check_map(field: str, values: Any, refuse: Any) -> None:
    if values is None:
        return
    for key, value in values.items():
        if not MAP_KEY.fullmatch(key):
            raise refuse(
                f"metadata.{field}", f'Invalid value: "{key}": name part must consist of alphanumeric characters'
            )
        if field == "labels" and not LABEL_VALUE.fullmatch(value):
            raise refuse(
                "metadata.labels", f'Invalid value: "{value}": a valid label must be at most 63 alphanumeric characters'
            )
    if field == "annotations" and sum(len(key) + len(value) for key, value in values.items()) > MOST_ANNOTATION_BYTES:
        raise refuse(
            "metadata.annotations", f"Too long: may not be more than {MOST_ANNOTATION_BYTES} bytes", "FieldValueTooLong"
        )


def _map(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one: what is missing in it is refused by name."""
    return value if isinstance(value, dict) else {}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
