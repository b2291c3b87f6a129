"""Whether a write means the object that is there: its name, namespace, uid and revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.options import DeleteOptions
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = [
    "asked_revision",
    "check_deletion",
    "check_name",
    "check_namespace",
    "check_revision",
    "check_uid",
    "revision_number",
]


def check_namespace(metadata: Mapping[str, Any], namespace: str) -> None:
    """Raises `ApiError` 400 if an object names another namespace than its path."""
    if metadata.get("namespace") and metadata["namespace"] != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")


def check_name(metadata: Mapping[str, Any], name: str) -> None:
    """Raises `ApiError` 400 if an object names itself other than its path, or not at all."""
    sent = metadata.get("name")
    if not sent:
        why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise ApiError(400, why)
    if sent != name:
        raise ApiError(400, f"the name of the object ({sent}) does not match the name on the URL ({name})")


def check_uid(kind: ResourceType, name: str, uid: str, metadata: Mapping[str, Any]) -> None:
    """Raises `ApiError` 409 if an update means an object with another uid; `uid` empty = there is no object."""
    if (sent := metadata.get("uid")) and sent != uid:
        why = f"Precondition failed: UID in precondition: {sent}, UID in object meta: {uid}"
        raise ApiError.conflict(kind, name, why)


def check_revision(kind: ResourceType, name: str, current: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a write names the revision that it has read.

    Raises:
        ApiError: 409, another one than the present; 500, it is no number, which nobody in the API server takes for a caller's error.
    """
    number = revision_number(metadata.get("resourceVersion", ""))
    if number and number != int(current["resourceVersion"]):
        raise ApiError.conflict(kind, name)
    return bool(number)


def asked_revision(text: str) -> int:
    """The `resourceVersion` of a get or a watch; 0 = any.

    Raises:
        ApiError: 500, it is no number, which nobody in the API server takes for a caller's error.
    """
    try:
        return revision_number(text)
    except ApiError as error:
        raise ApiError.internal(f"resourceVersion: Invalid value: {json.dumps(text)}: {error.message}") from error


def revision_number(text: str) -> int:
    """A revision as Go's strconv.ParseUint reads it; 0 = none.

    Raises:
        ApiError: 500, it is no number.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ApiError.internal(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) >= 2**64:
        raise ApiError.internal(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def check_deletion(kind: ResourceType, name: str, current: Mapping[str, Any], options: DeleteOptions) -> None:
    """Raises `ApiError` 409 if the preconditions of a delete do not hold."""
    if options.uid is not None and options.uid != current["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({current['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise ApiError.conflict(kind, name, why)
    if options.revision is not None and options.revision != current["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in record "
            f"({current['resourceVersion']}). The object might have been modified"
        )
        raise ApiError.conflict(kind, name, why)
