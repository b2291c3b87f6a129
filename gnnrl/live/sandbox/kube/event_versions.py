"""Events have two faces, `v1` and `events.k8s.io/v1`, over one storage; they are stored as `v1` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["from_events_v1", "to_events_v1"]

NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""Field of v1 -> field of events.k8s.io/v1; the others have the same name."""

BACK = {new: old for old, new in NAMES.items()}


def to_events_v1(content: Mapping[str, Any]) -> dict[str, Any]:
    """As events.k8s.io/v1 shows it; `eventTime` is there even if null."""
    return {"eventTime": None, **{NAMES.get(key, key): value for key, value in content.items()}}


def from_events_v1(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it is stored."""
    return {BACK.get(key, key): value for key, value in content.items()}
