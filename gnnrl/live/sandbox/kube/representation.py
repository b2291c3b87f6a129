"""How objects go out: as JSON, YAML or protobuf, whole, as rows of a table or as their metadata alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import Request, Response
from gnnrl.live.sandbox.kube import protobuf_bodies
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.api_types import struct_of
from gnnrl.live.sandbox.kube.event_versions import to_events_v1
from gnnrl.live.sandbox.kube.hpa_versions import to_autoscaling_v1
from gnnrl.live.sandbox.kube.negotiation import JSON, PARTIAL, PARTIAL_LIST, PROTOBUF, TABLE, YAML, Accepted, negotiate
from gnnrl.live.sandbox.kube.object_store import StoredObject
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.tables import table

__all__ = ["Representation", "encode", "refusal", "served"]

INCLUDED = ("", "Metadata", "None", "Object")


def encode(content: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(content, separators=(",", ":")).encode()


def served(kind: ResourceType, content: Mapping[str, Any]) -> dict[str, Any]:
    """A stored object in the fields of the version in which it is served."""
    if kind.group == "events.k8s.io":
        return to_events_v1(content)
    if kind.api_version == "autoscaling/v1" and kind.kind == "HorizontalPodAutoscaler":
        return to_autoscaling_v1(content)
    return dict(content)


def refusal(request: Request, error: ApiError) -> Response:
    """An error, in the format that the request accepts; JSON if it accepts none."""
    try:
        accepted = negotiate(request, offers_protobuf=True)
    except ApiError:
        accepted = Accepted(JSON)
    answer = _written(accepted.media_type, error.status(), "meta.v1.Status", error.code)
    seconds = (error.details or {}).get("retryAfterSeconds")
    return replace(answer, headers=(("Retry-After", str(seconds)),)) if seconds else answer


def _written(media_type: str, content: Mapping[str, Any], struct: str, status: int = 200) -> Response:
    if media_type == PROTOBUF:
        body = protobuf_bodies.encode(content, struct, content["kind"], content["apiVersion"])
    elif media_type == YAML:
        body = yaml.safe_dump(content, sort_keys=True).encode()
    else:
        body = encode(content)
    return Response(status=status, body=body, content_type=media_type)


@dataclass(frozen=True)
class Representation:
    """What a request accepts of a kind."""

    kind: ResourceType
    accepted: Accepted
    include_object: str
    """What comes with each row of a table."""
    clock: Clock
    """For ages."""

    @classmethod
    def negotiate(cls, request: Request, kind: ResourceType, clock: Clock, *, is_watch: bool = False) -> Representation:
        """What to write.

        Raises:
            ApiError: 406, nothing that is accepted can be served; 400, a table with parts that there are not.
        """
        offers_protobuf = not kind.custom and struct_of(kind) is not None
        accepted = negotiate(request, offers_protobuf=offers_protobuf, is_watch=is_watch)
        include = request.first("includeObject")
        if accepted.transform == TABLE and include not in INCLUDED:
            why = f"includeObject: Invalid value: {json.dumps(include)}: must be 'Metadata', 'Object', 'None', or empty"
            raise ApiError(400, f"Unable to convert to Table as requested: {why}")
        return cls(kind, accepted, include or "Metadata", clock)

    @property
    def stream_type(self) -> str:
        """Media type of a watch."""
        return f"{PROTOBUF};stream=watch" if self.accepted.media_type == PROTOBUF else JSON

    def one(self, stored: StoredObject, status: int = 200) -> Response:
        """A single object."""
        if self.accepted.transform == PARTIAL_LIST:
            raise ApiError(406, f"you requested {PARTIAL_LIST}, but the requested object is not a list")
        if self.accepted.transform == TABLE:
            revision = stored.content["metadata"].get("resourceVersion", "")
            return self._content(self._table([stored], {"resourceVersion": revision}), "", status)
        if self.accepted.media_type == JSON and not self.accepted.transform:
            return Response(status=status, body=self._typed(stored))
        content, struct = self._single(stored)
        return self._content(content, struct, status)

    def status(self, content: Mapping[str, Any]) -> Response:
        """What became of a delete."""
        return self._content(content, "meta.v1.Status")

    def many(self, items: Sequence[StoredObject], metadata: Mapping[str, Any]) -> Response:
        """A list."""
        transform = self.accepted.transform
        if transform == PARTIAL:
            why = f"you requested {PARTIAL}, but the requested object is a list (*{self.kind.kind}List)"
            raise ApiError(406, why)
        if transform == TABLE:
            return self._content(self._table(items, metadata), "")
        head = {"kind": f"{self.kind.kind}List", "apiVersion": self.kind.api_version, "metadata": dict(metadata)}
        if transform == PARTIAL_LIST:
            head |= {"kind": PARTIAL_LIST, "apiVersion": f"meta.k8s.io/{self.accepted.version}"}
            rows = [self._partial(item.content) for item in items]
            return self._list(head, rows, "meta.v1.PartialObjectMetadata")
        if self.accepted.media_type == JSON:
            # Items of built-in kinds come without kind and apiVersion.
            bodies = [self._typed(item) if self.kind.custom else self._bare(item) for item in items]
            return Response(body=encode(head)[:-1] + b',"items":[' + b",".join(bodies) + b"]}")
        named = {"kind": self.kind.kind, "apiVersion": self.kind.api_version} if self.kind.custom else {}
        contents = [{**named, **served(self.kind, item.content)} for item in items]
        return self._list(head, contents, struct_of(self.kind) or "")

    def event(self, name: str, stored: StoredObject, *, is_first: bool) -> bytes:
        """A piece of a watch."""
        if self.accepted.transform == TABLE:
            revision = {"resourceVersion": stored.content["metadata"]["resourceVersion"]}
            return self._piece(name, self._table([stored], revision, with_columns=is_first), "")
        if self.accepted.media_type == JSON and not self.accepted.transform:
            return b'{"type":"%s","object":%s}\n' % (name.encode(), self._typed(stored))
        return self._piece(name, *self._single(stored))

    def bookmark(self, revision: int, *, ends_initial: bool = False) -> bytes:
        """A piece of a watch that says how far it has come."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        content: dict[str, Any] = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}
        if self.accepted.transform == PARTIAL:
            content |= {"kind": PARTIAL, "apiVersion": f"meta.k8s.io/{self.accepted.version}"}
        if self.accepted.transform == TABLE:
            table_of_none = {
                "kind": "Table",
                "apiVersion": f"meta.k8s.io/{self.accepted.version}",
                "metadata": {"resourceVersion": str(revision)},
            }
            content = {**table_of_none, "columnDefinitions": None, "rows": [{"cells": [], "object": content}]}
        return self._piece("BOOKMARK", content, self._struct)

    def error(self, error: ApiError) -> bytes:
        """A piece of a watch that ends it."""
        return self._piece("ERROR", error.status(), "meta.v1.Status")

    @property
    def _struct(self) -> str:
        return "meta.v1.PartialObjectMetadata" if self.accepted.transform else struct_of(self.kind) or ""

    def _piece(self, name: str, content: Mapping[str, Any], struct: str) -> bytes:
        if self.accepted.media_type == PROTOBUF:
            whole = protobuf_bodies.encode(content, struct, content["kind"], content["apiVersion"])
            return protobuf_bodies.watch_event(name, whole)
        return encode({"type": name, "object": content}) + b"\n"

    def _content(self, content: Mapping[str, Any], struct: str, status: int = 200) -> Response:
        return _written(self.accepted.media_type, content, struct, status)

    def _list(self, head: Mapping[str, Any], items: list[dict[str, Any]], struct: str) -> Response:
        if self.accepted.media_type == PROTOBUF:
            body = protobuf_bodies.encode_list(head, items, struct)
            return Response(body=body, content_type=PROTOBUF)
        return self._content({**head, "items": items}, "")

    def _single(self, stored: StoredObject) -> tuple[dict[str, Any], str]:
        if self.accepted.transform:
            return self._partial(stored.content), self._struct
        head = {"kind": self.kind.kind, "apiVersion": self.kind.api_version}
        return {**head, **served(self.kind, stored.content)}, self._struct

    def _partial(self, content: Mapping[str, Any]) -> dict[str, Any]:
        api_version = f"meta.k8s.io/{self.accepted.version}"
        return {"kind": PARTIAL, "apiVersion": api_version, "metadata": content["metadata"]}

    def _bare(self, stored: StoredObject) -> bytes:
        return encode(served(self.kind, stored.content)) if self.kind.translated else stored.encoded

    def _typed(self, stored: StoredObject) -> bytes:
        head = encode({"kind": self.kind.kind, "apiVersion": self.kind.api_version})
        return head[:-1] + b"," + self._bare(stored)[1:]

    def _table(
        self, items: Sequence[StoredObject], metadata: Mapping[str, Any], *, with_columns: bool = True
    ) -> dict[str, Any]:
        rows = table(
            self.kind,
            [item.content for item in items],
            now=self.clock.now(),
            include_object=self.include_object,
            metadata=metadata,
            with_columns=with_columns,
        )
        return {**rows, "apiVersion": f"meta.k8s.io/{self.accepted.version}"}
