"""Problems as they are found: one per source and service, however many pods have it."""

from __future__ import annotations

from gnnrl.cluster.models import Problem, Source

__all__ = ["Findings"]

SHOWN = 3


class Findings:
    """Collects what could not be read or contradicts itself."""

    def __init__(self) -> None:
        self._messages: dict[tuple[Source, str], dict[str, None]] = {}

    def add(self, source: Source, message: str, service: str = "") -> None:
        """A problem of a source, or of one service in it."""
        self._messages.setdefault((source, service), {})[message] = None

    def extend(self, other: Findings) -> None:
        """Take over what another collected."""
        for (source, service), messages in other._messages.items():
            self._messages.setdefault((source, service), {}).update(messages)

    def problems(self) -> tuple[Problem, ...]:
        """All of them, in the order of their first message."""
        return tuple(
            Problem(source=source, service=service, message=f"{source}: {_joined(list(messages))}")
            for (source, service), messages in self._messages.items()
        )


def _joined(messages: list[str]) -> str:
    more = len(messages) - SHOWN
    return "; ".join(messages[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
