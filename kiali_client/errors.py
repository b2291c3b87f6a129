"""What can go wrong with Kiali (or the Prometheus in its place), as one tree of exceptions.

KialiError
    KialiAuthenticationError   401: no token, a rejected or expired one, a login that a program cannot do
    KialiAuthorizationError    403: a namespace that is unknown, or that this user may not see
    KialiNotFoundError         404 or a redirect: a wrong URL or web root
    KialiUnavailableError      connection, TLS, timeout, 5xx, or the Prometheus behind it
    KialiPayloadError          the answer is no JSON object: empty, cut off, too large, a web page, or an error message
    KialiSchemaError           the answer is JSON, but not the graph it should be

Every message has the URL (without user, password and query) and the remedy. None has a token, and none hangs on to an
exception of the HTTP library, whose request would.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "KialiAuthenticationError",
    "KialiAuthorizationError",
    "KialiError",
    "KialiNotFoundError",
    "KialiPayloadError",
    "KialiSchemaError",
    "KialiUnavailableError",
]


class KialiError(Exception):
    """Anything that keeps a service graph from being read. The message says what, where and the remedy."""


class KialiAuthenticationError(KialiError):
    """The server does not know who asks: no token, a rejected one, or a strategy that needs a browser."""


class KialiAuthorizationError(KialiError):
    """The server knows who asks and does not show this namespace, which may not exist."""


class KialiNotFoundError(KialiError):
    """There is nothing at this URL: the host, port or web root is another one."""


class KialiUnavailableError(KialiError):
    """No answer in time: not reachable, not trusted (TLS), overloaded, or without its own source of data."""


class KialiPayloadError(KialiError):
    """The answer is not a JSON object, is too large, or is an error message."""


class KialiSchemaError(KialiError):
    """The answer is JSON but not a graph: `problems` lists the faults with their places, the first of them if they are many."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"Kiali graph: {problem}" for problem in self.problems))
