"""The object in a request's body: its format, its kind, and its fields as the API server's decoder reads them."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube import protobuf_bodies
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.api_types import fields_of, struct_of
from gnnrl.live.sandbox.kube.decoding import DecodeError, Decoder
from gnnrl.live.sandbox.kube.json_text import read_json, read_yaml
from gnnrl.live.sandbox.kube.resource_types import RESOURCE_TYPES, ResourceType

__all__ = ["Expected", "Sent", "decode_object", "media_type_of", "read_object"]

JSON, YAML = "application/json", "application/yaml"
SHOWN = 30
"""Bytes of a body that an error message shows."""


@dataclass(frozen=True)
class Expected:
    """What a body has to be."""

    group: str
    version: str
    kind: str
    struct: str
    is_custom: bool = False
    """A custom resource: as JSON or YAML only, and what does not fit its schema is a matter of validation."""
    in_any_version: bool = False
    """Every group has its own of it, all alike (DeleteOptions)."""

    @classmethod
    def of(cls, kind: ResourceType) -> Expected:
        """An object of a kind."""
        struct = struct_of(kind)
        assert struct is not None, kind
        return cls(kind.group, kind.version, kind.kind, struct, kind.custom)

    @property
    def api_version(self) -> str:
        """As in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True)
class Sent:
    """What was sent."""

    content: dict[str, Any]
    """Without kind and apiVersion; nulls and unknown fields are left out."""
    complaints: tuple[str, ...]
    """Unknown and repeated fields."""


def media_type_of(request: Request) -> str:
    """Of the body, without parameters; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_object(request: Request, expected: Expected) -> Sent:
    """The object of a create or an update.

    Raises:
        ApiError: 400, it cannot be decoded, or is of another kind or version; 415, a format that is not taken.
    """
    media_type = media_type_of(request) or JSON
    accepted = (JSON, YAML) if expected.is_custom else (JSON, YAML, protobuf_bodies.MEDIA_TYPE)
    if media_type not in accepted:
        raise ApiError.media_type(accepted)
    if media_type == protobuf_bodies.MEDIA_TYPE:
        value = protobuf_bodies.decode(request.body, expected.struct)
    else:
        try:
            value = (read_yaml if media_type == YAML else read_json)(request.body)
        except ValueError as error:
            why = f"couldn't get version/kind; json parse error: {error}"
            raise _unrecognized(expected, request.body, why) from error
    return decode_object(value, expected, request.body)


def decode_object(value: Any, expected: Expected, body: bytes = b"") -> Sent:
    """An object as its kind has it.

    Args:
        value: as JSON.
        expected: what it has to be.
        body: that it came from, for messages.

    Raises:
        ApiError: 400, it is not that.
    """
    if value is None:  # Go leaves the object as it was made
        value = {}
    if not isinstance(value, dict):
        why = "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct"
        raise _unrecognized(expected, body, why)
    for field in ("kind", "apiVersion"):
        if not isinstance(value.get(field, ""), str | None):
            why = f"couldn't get version/kind; json parse error: json: cannot unmarshal into Go struct field .{field} of type string"
            raise _unrecognized(expected, body, why)
    kind = value.get("kind") or expected.kind
    api_version = value.get("apiVersion") or expected.api_version
    version = api_version.rpartition("/")[2]
    cannot = f'{kind} in version "{version}" cannot be handled as a {expected.kind}'
    is_known = api_version == expected.api_version or (
        expected.in_any_version and api_version in {each.api_version for each in RESOURCE_TYPES}
    )
    if kind != expected.kind or not is_known:
        if kind == expected.kind and _is_served(kind, api_version):
            raise ApiError(
                400,
                f"the API version in the data ({api_version}) does not match the expected API version "
                f"({expected.api_version})",
            )
        raise ApiError(400, f'{cannot}: no kind "{kind}" is registered for version "{api_version}" in scheme')
    decoder = Decoder()
    try:
        content = decoder.object(expected.struct, value)
    except DecodeError as error:
        if expected.is_custom and not error.path.startswith("metadata"):
            raise _unlike_its_schema(value, expected, error) from error
        raise ApiError(400, f"{cannot}: {error}") from error
    if "metadata" in fields_of(expected.struct):
        content.setdefault("metadata", {})
    return Sent(content, tuple(sorted(decoder.complaints)))


def _unlike_its_schema(value: Mapping[str, Any], expected: Expected, error: DecodeError) -> ApiError:
    """What a CustomResourceDefinition's schema says of a value of the wrong type."""
    name = (value.get("metadata") or {}).get("name", "")
    why = f"Invalid value: {error}: {error.path} in body must be of another type"
    return ApiError.invalid(expected.group, expected.kind, name, error.path, why, "FieldValueTypeInvalid")


def _is_served(kind: str, api_version: str) -> bool:
    return any((each.kind, each.api_version) == (kind, api_version) for each in RESOURCE_TYPES)


def _unrecognized(expected: Expected, body: bytes, why: str) -> ApiError:
    shown = body[:SHOWN]
    text = shown.decode("utf-8", errors="replace") if body[:1] == b"{" else binascii.hexlify(shown).decode()
    if len(body) > SHOWN:
        text += " ..."
    message = f"the object provided is unrecognized (must be of type {expected.kind}): {why} ({text or '<empty>'})"
    return ApiError(400, message)
