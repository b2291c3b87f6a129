"""Where two sets of settings differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differences"]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, ours, theirs) of every field that differs; None stands for a field that one side does not have."""
    for key in dict.fromkeys((*ours, *theirs)):
        value, other = ours.get(key), theirs.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", value, other
