"""One HTTP request and its answer as data, and what can go wrong with them on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

__all__ = ["Fault", "FaultHook", "HttpError", "Request", "Response"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request. The delay comes first; then `cut` or `reset`, else `status`, else the usual answer, rewritten."""

    delay_seconds: float = 0.0
    """Of the machine's clock, whatever the sandbox's speed."""
    status: int = 0
    """Answered instead of the usual; 0 = the usual answer."""
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    """Close the connection without an answer."""
    reset: bool = False
    """Reset the connection without an answer."""
    half: bool = False
    """Send half of the answer's body, then close the connection."""
    rewrite: Callable[[Request, Response], Response] | None = None
    """What becomes of the usual answer, unless it is a stream."""


FaultHook = Callable[[str, str, str], Fault | None]
"""(server name, method, path without query) -> what goes wrong, or None."""


class HttpError(Exception):
    """Raised by a route to answer with an error.

    Args:
        status: HTTP status.
        message: what was wrong, for the caller.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: Mapping[str, list[str]]
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name; never shown, they hold credentials."""
    body: bytes = field(repr=False, default=b"")

    def param(self, name: str, default: str = "") -> str:
        """Last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default

    def first(self, name: str) -> str:
        """First value of a query parameter, the one that Go's servers look at; empty without one."""
        return self.query.get(name, [""])[0]

    def has_param(self, name: str) -> bool:
        """Whether a query parameter was given, empty or not."""
        return name in self.query

    def form(self) -> dict[str, str]:
        """Body as `application/x-www-form-urlencoded`, last value of each field."""
        text = self.body.decode("utf-8", errors="replace")
        return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}

    def json(self) -> Any:
        """Body as JSON.

        Raises:
            HttpError: 400, it is not.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f"the body is not JSON: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Response:
    """One answer: a body, or a stream of pieces."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: Iterator[bytes] | None = None
    """Pieces, each sent at once (chunked); an empty piece sends nothing and lets the server see that the peer is gone."""

    @classmethod
    def of_json(cls, content: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
        """JSON answer; a NaN is written as `NaN`, which the caller is to avoid."""
        return cls(status=status, body=json.dumps(content, separators=(",", ":")).encode(), headers=headers)

    @classmethod
    def of_text(cls, content: str, status: int = 200) -> Response:
        """Plain text answer."""
        return cls(status=status, body=content.encode(), content_type="text/plain; charset=utf-8")
