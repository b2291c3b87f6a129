"""Fields of Kubernetes objects as they come in JSON, checked on the way out: an API server's word is not taken for its types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gnnrl.cluster.errors import ClusterAnswerError

__all__ = [
    "INT32_MOST",
    "INT64_MOST",
    "children",
    "duration_seconds",
    "mapping",
    "name_of",
    "strings",
    "text",
    "timestamp_seconds",
    "whole",
]

Object = Mapping[str, Any]

DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SHOWN_CHARACTERS = 60
INT32_MOST = 2**31 - 1
"""Replicas are int32 in the API."""
INT64_MOST = 2**63 - 1
"""Generations are int64."""


def mapping(parent: Object, field: str) -> Object:
    """An object; absent and null are empty.

    Raises:
        ClusterAnswerError: it is something else; so do all functions here.
    """
    value = parent.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(field, value, "an object")
    return value


def children(parent: Object, field: str) -> Sequence[Object]:
    """A list of objects; absent and null are empty."""
    value = parent.get(field)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _wrong(field, value, "a list of objects")
    return value


def strings(parent: Object, field: str) -> dict[str, str]:
    """Labels or annotations; absent and null are empty."""
    value = mapping(parent, field)
    if not all(isinstance(each, str) for each in value.values()):
        raise _wrong(field, value, "an object of texts")
    return dict(value)


def text(parent: Object, field: str, default: str | None = None) -> str:
    """A text; without a default it must be there."""
    value = parent.get(field, default)
    if value is None:
        value = default
    if not isinstance(value, str) or (default is None and not value):
        raise _wrong(field, value, "a text")
    return value


def whole(parent: Object, field: str, default: int | None = None, *, most: int = INT32_MOST) -> int:
    """A whole number from 0 to `most`; without a default it must be there."""
    value = parent.get(field)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _wrong(field, value, f"a whole number from 0 to {most}")
    return value


def timestamp_seconds(parent: Object, field: str) -> float:
    """An RFC 3339 time as unix seconds."""
    value = text(parent, field)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _wrong(field, value, "a time like 2026-01-31T12:00:00Z")
    return moment.timestamp()


def duration_seconds(parent: Object, field: str) -> float:
    """A duration as Go writes it (`30s`, `1m0.5s`), above 0."""
    value = text(parent, field)
    parts = DURATION_PART.findall(value)
    seconds = sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != value or not 0.0 < seconds < float("inf"):
        raise _wrong(field, value, "a duration like 30s")
    return seconds


def name_of(item: Object) -> str:
    """`metadata.name`."""
    return text(mapping(item, "metadata"), "name")


def _wrong(field: str, value: object, right: str) -> ClusterAnswerError:
    shown = repr(value)
    if len(shown) > SHOWN_CHARACTERS:
        shown = shown[:SHOWN_CHARACTERS] + "..."
    return ClusterAnswerError(f"{field} is {'missing' if value is None else shown}, not {right}")
