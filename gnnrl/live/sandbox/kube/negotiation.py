"""What a request's Accept header asks for (k8s.io/apiserver, pkg/endpoints/handlers/negotiation)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.protobuf_bodies import MEDIA_TYPE as PROTOBUF

__all__ = ["JSON", "PROTOBUF", "YAML", "Accepted", "negotiate"]

JSON, YAML = "application/json", "application/yaml"
TABLE = "Table"
PARTIAL, PARTIAL_LIST = "PartialObjectMetadata", "PartialObjectMetadataList"
META_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True)
class Accepted:
    """A format, and what an object is turned into before it is written."""

    media_type: str
    transform: str = ""
    """Empty = nothing, or `Table`, `PartialObjectMetadata`, `PartialObjectMetadataList`."""
    version: str = ""
    """Of meta.k8s.io, in which that is written."""


def negotiate(request: Request, *, offers_protobuf: bool, is_watch: bool = False) -> Accepted:
    """The best of what is accepted: by quality, and of equal ones the first.

    Args:
        request: with its header; none = JSON.
        offers_protobuf: whether the kind is served so (custom resources are not, their metadata is).
        is_watch: streams come as JSON and protobuf only.

    Raises:
        ApiError: 406, nothing that is accepted can be served.
    """
    stream = ";stream=watch" if is_watch else ""
    served = [JSON, *([] if is_watch else [YAML]), PROTOBUF]
    clauses = list(_clauses(request.headers.get("accept") or JSON))
    # The router in front of the built-in kinds looks for a type of its own first, and knows no `application/*`.
    if offers_protobuf and not any(media_range in (JSON, YAML, PROTOBUF, "*/*") for media_range, _ in clauses):
        raise ApiError(406, "406: Not Acceptable", details={})
    for media_range, options in clauses:
        transform = options.get("as", "")
        wants_transform = any(name in options for name in ("as", "g", "v"))
        for media_type in served:
            if media_range not in (media_type, "application/*", "*/*"):
                continue
            if not wants_transform:
                if media_type != PROTOBUF or offers_protobuf:
                    return Accepted(media_type)
            elif options.get("g") == "meta.k8s.io" and options.get("v") in META_VERSIONS:
                in_table = transform == TABLE and media_type != PROTOBUF
                if in_table or transform in (PARTIAL, PARTIAL_LIST):
                    return Accepted(media_type, transform, options["v"])
    offered = [each for each in served if each != PROTOBUF or offers_protobuf]
    shown = ", ".join(f"{each}{stream}" for each in offered)
    raise ApiError(406, f"only the following media types are accepted: {shown}")


def _clauses(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(media range, parameters) by falling quality."""
    clauses = []
    for text in header.split(","):
        media_range, *parameters = [part.strip() for part in text.split(";")]
        options = dict(parameter.partition("=")[::2] for parameter in parameters)
        try:
            quality = float(options.pop("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((quality, media_range.lower(), options))
    for _, media_range, options in sorted(clauses, key=lambda clause: -clause[0]):
        yield media_range, options
