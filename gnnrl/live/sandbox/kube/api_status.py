"""Refusals as the Kubernetes API server writes them: `Status` objects with its reasons and messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gnnrl.live.sandbox.kube.request_info import RequestInfo
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["ApiError"]

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

NO_REASON = "-"


class ApiError(Exception):
    """A request that is refused.

    Args:
        code: HTTP status.
        message: as the API server words it.
        reason: machine-readable; empty = the usual one of the code.
        details: what it is about.
        metadata: of a list that can be gone on with.
    """

    def __init__(
        self,
        code: int,
        message: str,
        reason: str = "",
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.code, self.message = code, message
        self.reason = "" if reason == NO_REASON else reason or REASONS.get(code, "")
        self.details, self.metadata = details, metadata or {}
        super().__init__(message)

    def status(self) -> dict[str, Any]:
        """The `Status` object."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "code": self.code,
        }
        if self.details is not None:
            body["details"] = self.details
        return body

    @classmethod
    def not_found(cls, kind: ResourceType, name: str) -> ApiError:
        """404: no such object."""
        return cls(404, f'{kind.qualified} "{name}" not found', details=_details(kind, name))

    @classmethod
    def no_resource(cls) -> ApiError:
        """404: a path that a group's router does not know."""
        return cls(404, "the server could not find the requested resource", details={})

    @classmethod
    def already_exists(cls, kind: ResourceType, name: str) -> ApiError:
        """409: the name is taken."""
        return cls(409, f'{kind.qualified} "{name}" already exists', "AlreadyExists", _details(kind, name))

    @classmethod
    def conflict(cls, kind: ResourceType, name: str, why: str = "") -> ApiError:
        """409: the object is not the one that the caller has read."""
        why = why or "the object has been modified; please apply your changes to the latest version and try again"
        message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
        return cls(409, message, details=_details(kind, name))

    @classmethod
    def invalid(
        cls, group: str, kind: str, name: str, field: str, why: str, reason: str = "FieldValueInvalid"
    ) -> ApiError:
        """422: a field has a value that is not allowed."""
        return cls.invalid_fields(group, kind, name, [(reason, why, field)])

    @classmethod
    def invalid_fields(cls, group: str, kind: str, name: str, causes: Sequence[tuple[str, str, str]]) -> ApiError:
        """422: fields have values that are not allowed; each cause is a reason, a message and the field's path."""
        qualified = f"{kind}.{group}" if group else kind
        details: dict[str, Any] = {"name": name, "group": group, "kind": kind}
        details["causes"] = [{"reason": reason, "message": why, "field": field} for reason, why, field in causes]
        details = {key: value for key, value in details.items() if value}
        told = list(dict.fromkeys(f"{field}: {why}" for _, why, field in causes))
        text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
        return cls(422, f'{qualified} "{name}" is invalid: {text}', details=details)

    @classmethod
    def bad_patch(cls, sent: str, why: str) -> ApiError:
        """422: the outcome of a patch is not an object of the kind."""
        return cls.invalid("", "", "", "patch", f"Invalid value: {json.dumps(sent)}: {why}")

    @classmethod
    def unapplicable_patch(cls) -> ApiError:
        """422: a JSON patch does not fit the object; the API server does not say where."""
        return cls(422, "the server rejected our request due to an error in our request", details={})

    @classmethod
    def internal(cls, message: str) -> ApiError:
        """500 without a reason: an error that the API server does not know as one of a caller."""
        return cls(500, message, reason=NO_REASON)

    @classmethod
    def forbidden(cls, user: str, asked: RequestInfo) -> ApiError:
        """403: RBAC does not grant the verb."""
        qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        what = f'{qualified} "{asked.name}"' if asked.name else qualified
        details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
        return cls(
            403,
            f'{what} is forbidden: User "{user}" {asked.refusal}',
            details={key: value for key, value in details.items() if value},
        )

    @classmethod
    def method_not_allowed(cls) -> ApiError:
        """405: the resource has no such verb."""
        return cls(405, "the server does not allow this method on the requested resource", details={})

    @classmethod
    def media_type(cls, accepted: tuple[str, ...]) -> ApiError:
        """415: the body is in a format that the resource does not take."""
        message = (
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        )
        return cls(415, message)


def _details(kind: ResourceType, name: str) -> dict[str, Any]:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in details.items() if value}
