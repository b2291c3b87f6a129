"""What may be asked for: names that a namespace can have, periods that make sense."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["checked_duration", "checked_namespaces"]

NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 label."""

LONGEST_DURATION_SECONDS = 90 * 24 * 3600


def checked_namespaces(namespace: str | Sequence[str]) -> tuple[str, ...]:
    """Names of namespaces, each of them once.

    Raises:
        ValueError: none at all, or one that no namespace can have (a comma or quote in it would ask for something else).
    """
    names = (namespace,) if isinstance(namespace, str) else tuple(dict.fromkeys(namespace))
    wrong: list[Any] = [name for name in names if not isinstance(name, str) or not NAMESPACE.fullmatch(name)]
    if wrong or not names:
        raise ValueError(f"namespace {wrong[0]!r}: is no name of a namespace" if wrong else "no namespace is given")
    return names


def checked_duration(duration_seconds: int) -> None:
    """Raises ValueError if it is no whole number of seconds that can be asked for."""
    if isinstance(duration_seconds, bool) or not isinstance(duration_seconds, int):
        raise ValueError(f"duration_seconds {duration_seconds!r}: is no whole number")
    if not 1 <= duration_seconds <= LONGEST_DURATION_SECONDS:
        raise ValueError(f"duration_seconds {duration_seconds}: is not between 1 and {LONGEST_DURATION_SECONDS}")
