"""How objects go out: plain JSON, or a Table for those who ask for one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.event_versions import to_events_v1
from gnnrl.live.sandbox.kube.object_store import StoredObject
from gnnrl.live.sandbox.kube.resource_types import ResourceType
from gnnrl.live.sandbox.kube.tables import table

__all__ = ["Representation", "encode"]

JSON_TYPES = ("application/json", "application/*", "*/*")


def encode(content: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(content, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Representation:
    """What a request accepts."""

    kind: ResourceType
    is_table: bool
    include_object: str
    clock: Clock
    """For ages."""

    @classmethod
    def negotiate(cls, request: Request, kind: ResourceType, clock: Clock) -> Representation:
        """The first acceptable media type wins, as in the API server.

        Raises:
            ApiError: 406, nothing that is accepted can be served.
        """
        for accepted in (request.headers.get("accept") or "*/*").split(","):
            media_type, *parameters = [part.strip() for part in accepted.split(";")]
            options = dict(parameter.partition("=")[::2] for parameter in parameters)
            if media_type not in JSON_TYPES:
                continue
            if "as" not in options:
                return cls(kind, False, "", clock)
            if options["as"] == "Table" and options.get("v") == "v1" and options.get("g") == "meta.k8s.io":
                return cls(kind, True, request.param("includeObject") or "Metadata", clock)
        raise ApiError(
            406,
            "only the following media types are accepted: application/json, "
            "application/json;as=Table;g=meta.k8s.io;v=v1",
        )

    def one(self, stored: StoredObject) -> bytes:
        """A single object."""
        if self.is_table:
            revision = stored.content["metadata"].get("resourceVersion", "")
            return self._table([stored], {"resourceVersion": revision})
        return self._typed(stored)

    def many(self, items: Sequence[StoredObject], metadata: Mapping[str, Any]) -> bytes:
        """A list."""
        if self.is_table:
            return self._table(items, metadata)
        head = {"kind": f"{self.kind.kind}List", "apiVersion": self.kind.api_version, "metadata": metadata}
        # Items of built-in kinds come without kind and apiVersion.
        bodies = [self._typed(item) if self.kind.custom else self._bare(item) for item in items]
        return encode(head)[:-1] + b',"items":[' + b",".join(bodies) + b"]}"

    def event(self, name: str, stored: StoredObject, *, is_first: bool) -> bytes:
        """A line of a watch."""
        if self.is_table:
            revision = {"resourceVersion": stored.content["metadata"]["resourceVersion"]}
            body = self._table([stored], revision, with_columns=is_first)
        else:
            body = self._typed(stored)
        return b'{"type":"%s","object":%s}\n' % (name.encode(), body)

    def bookmark(self, revision: int, *, ends_initial: bool = False) -> bytes:
        """A line of a watch that says how far it has come."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        content: dict[str, Any] = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}
        if self.is_table:
            table_of_none = {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": str(revision)},
            }
            content = {**table_of_none, "columnDefinitions": None, "rows": [{"cells": [], "object": content}]}
        return encode({"type": "BOOKMARK", "object": content}) + b"\n"

    def _bare(self, stored: StoredObject) -> bytes:
        return encode(to_events_v1(stored.content)) if self.kind.group == "events.k8s.io" else stored.encoded

    def _typed(self, stored: StoredObject) -> bytes:
        head = encode({"kind": self.kind.kind, "apiVersion": self.kind.api_version})
        return head[:-1] + b"," + self._bare(stored)[1:]

    def _table(self, items: Sequence[StoredObject], metadata: Mapping[str, Any], *, with_columns: bool = True) -> bytes:
        contents = [item.content for item in items]
        return encode(
            table(
                self.kind,
                contents,
                now=self.clock.now(),
                include_object=self.include_object,
                metadata=metadata,
                with_columns=with_columns,
            )
        )
