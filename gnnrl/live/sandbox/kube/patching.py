"""A PATCH request: its format, and what it makes of an object (k8s.io/apiserver, pkg/endpoints/handlers/patch.go)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.bodies import Expected, Sent, decode_object, media_type_of
from gnnrl.live.sandbox.kube.decoding import DecodeError, Decoder
from gnnrl.live.sandbox.kube.json_text import read_json, read_yaml
from gnnrl.live.sandbox.kube.options import WriteOptions, read_write_options
from gnnrl.live.sandbox.kube.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch

__all__ = ["Patch", "read_patch"]


@dataclass(frozen=True)
class Patch:
    """A patch that was read."""

    media_type: str
    content: Any
    options: WriteOptions

    @property
    def is_apply(self) -> bool:
        """Whether it is a server-side apply, which creates what is absent."""
        return self.media_type == APPLY_PATCH

    def applied_to(self, document: Mapping[str, Any], expected: Expected) -> Sent:
        """The object with the patch applied.

        Args:
            document: as it is served, with kind and apiVersion; empty if there is none yet.
            expected: what the outcome has to be.

        Raises:
            ApiError: 400, it is no patch; 422, it does not apply, or its outcome is not of the kind; 500, an apply with fields that the
                kind does not have.
        """
        if self.is_apply:
            return self._merged(document, expected)
        changed = apply_patch(self.media_type, self.content, document)
        if self.media_type == STRATEGIC_PATCH:
            return self._converted(changed, expected)
        try:
            sent = decode_object(changed, expected)
        except ApiError as error:
            if error.code != 400:  # a custom resource that is unlike its schema
                raise
            raise ApiError.bad_patch(json.dumps(changed, separators=(",", ":")), error.message) from error
        complaints = sorted({*sent.complaints, *self._repeated()})
        if complaints and self.options.validation == "Strict":
            why = f"strict decoding error: {', '.join(complaints)}"
            raise ApiError.bad_patch(json.dumps(changed, separators=(",", ":")), why)
        return Sent(sent.content, tuple(complaints))

    def _converted(self, changed: Mapping[str, Any], expected: Expected) -> Sent:
        """The outcome of a strategic patch, which never becomes text: kind and apiVersion are those of the object."""
        decoder = Decoder(from_map=True)
        try:
            content = decoder.object(expected.struct, changed)
        except DecodeError as error:
            raise ApiError.bad_patch(json.dumps(self.content), str(error)) from error
        complaints = sorted({*decoder.complaints, *self._repeated()})
        if complaints and self.options.validation == "Strict":
            raise ApiError.bad_patch(json.dumps(self.content), f"strict decoding error: {', '.join(complaints)}")
        return Sent(content, tuple(complaints))

    def _merged(self, document: Mapping[str, Any], expected: Expected) -> Sent:
        """The outcome of an apply."""
        named = self.content.get("kind"), self.content.get("apiVersion")
        if named != (expected.kind, expected.api_version):
            raise ApiError(
                400,
                f"invalid object type: {named[1]}, Kind={named[0]}, expected {expected.api_version}, Kind={expected.kind}",
            )
        if (self.content.get("metadata") or {}).get("managedFields") is not None:
            raise ApiError(400, "metadata.managedFields must be nil")
        decoder = Decoder(from_map=True)
        try:
            decoder.object(expected.struct, self.content)
            if unknown := [each for each in decoder.complaints if each.startswith("unknown")]:
                field = unknown[0].split('"')[1]
                raise DecodeError(f".{field}: field not declared in schema")
        except DecodeError as error:
            name = (self.content.get("metadata") or {}).get("name", "")
            kind = f"{expected.api_version}, Kind={expected.kind}"
            raise ApiError.internal(f"failed to create typed patch object ({name}; {kind}): {error}") from error
        repeated = self._repeated()
        if repeated and self.options.validation == "Strict":
            raise ApiError(400, f"error strict decoding patch: {', '.join(repeated)}")
        merged = apply_patch(STRATEGIC_PATCH, self.content, document)
        return Sent(Decoder(from_map=True).object(expected.struct, merged), tuple(repeated))

    def _repeated(self) -> list[str]:
        """Fields that stand in the patch itself twice."""
        found: list[str] = []
        _find_repeated(self.content, "", found)
        return sorted(found)


def _find_repeated(value: Any, path: str, found: list[str]) -> None:
    items: Any = ()
    if isinstance(value, dict):
        items = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
        found += [
            f'duplicate field "{path}.{key}"' if path else f'duplicate field "{key}"'
            for key in getattr(value, "duplicates", ())
        ]
    elif isinstance(value, list):
        items = [(f"{path}[{place}]", item) for place, item in enumerate(value)]
    for where, item in items:
        _find_repeated(item, where, found)


def read_patch(request: Request, *, strategic: bool) -> Patch:
    """The patch that a request sends.

    Args:
        request: a PATCH.
        strategic: whether the kind takes strategic merge patches.

    Raises:
        ApiError: 400, it cannot be decoded; 415, a format that is not taken; 422, options that are not allowed.
    """
    accepted = (JSON_PATCH, MERGE_PATCH, *([STRATEGIC_PATCH] if strategic else []), APPLY_PATCH)
    media_type = media_type_of(request)
    if media_type not in accepted:
        raise ApiError.media_type(accepted)
    options = read_write_options(request, media_type)
    try:
        content = (read_yaml if media_type == APPLY_PATCH else read_json)(request.body)
    except ValueError as error:
        raise ApiError(400, f"error decoding patch: {error}") from error
    if media_type == APPLY_PATCH and not isinstance(content, dict):
        raise ApiError(400, "error decoding patch: cannot unmarshal into Go value of type map[string]interface {}")
    if isinstance(content, dict) and not isinstance(content.get("metadata"), dict | None):
        # It is looked into before it is decoded.
        code = 500 if media_type == APPLY_PATCH else 422
        raise ApiError(code, "metadata: cannot restore struct from: string")
    return Patch(media_type, content, options)
