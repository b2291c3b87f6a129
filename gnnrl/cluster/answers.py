"""What came back from the API server, or did not: as data, or as one of the errors of this room."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from urllib3 import exceptions as urllib3_errors

from gnnrl.cluster.denials import denial_in, is_missing_right
from gnnrl.cluster.errors import (
    ClusterAnswerError,
    ClusterAuthError,
    ClusterConflictError,
    ClusterError,
    ClusterForbiddenError,
    ClusterInvalidError,
    ClusterNotFoundError,
    ClusterUnavailableError,
)
from gnnrl.cluster.paths import Access

__all__ = ["Answer", "decode", "refused", "unreachable"]

SHOWN_CHARACTERS = 300


class Answer(NamedTuple):
    """An answer, read whole."""

    status: int
    content_type: str
    body: bytes


def decode(answer: Answer, url: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ClusterAnswerError: it is something else.
    """
    failure = ""
    try:
        document = json.loads(answer.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        failure = "is empty" if not answer.body.strip() else "is not JSON"
    else:
        if isinstance(document, dict):
            return document
        failure = f"is a JSON {type(document).__name__}, not an object"
    if answer.body.lstrip()[:1] == b"<":
        failure = "is a web page"
    raise ClusterAnswerError(
        f"{url}: the answer {failure} ({len(answer.body)} bytes of {answer.content_type or 'no type'}); is this the URL "
        "of a Kubernetes API server, without a login page in between?"
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def refused(answer: Answer, access: Access, url: str, secrets: Iterable[str], origin: str) -> ClusterError:
    """The error that a status other than 2xx stands for.

    Args:
        answer: the answer.
        access: what was asked.
        url: where.
        secrets: texts that must not be repeated, if the server echoes them.
        origin: where the credentials came from.
    """
    message = _message(answer, secrets)
    said = message if len(message) <= SHOWN_CHARACTERS else message[:SHOWN_CHARACTERS] + "..."
    where = f"{access.verb} {access.resource}" + (f" in namespace {access.namespace!r}" if access.namespace else "")
    match answer.status:
        case 401:
            return ClusterAuthError(
                f"{url}: the API server does not accept the credentials of {origin} (401); the token has run out or is "
                "of another cluster: log in again"
            )
        case 403 if 'User "system:anonymous" cannot' in message:
            return ClusterAuthError(
                f"{url}: the API server takes us for system:anonymous (403): {origin} has no credentials for this context"
            )
        case 403 if is_missing_right(message):
            return ClusterForbiddenError(*access)
        case 400 | 403 | 405 | 406 | 413 | 415 | 422:
            return ClusterInvalidError(f"{url}: {where} was refused{_by(answer.status, message, said, access)}")
        case 404:
            return ClusterNotFoundError(f"{url}: not there (404): {said}")
        case 409:
            return ClusterConflictError(f"{url}: changed by somebody else since it was read (409): {said}")
        case 410:
            return ClusterUnavailableError(f"{url}: the list changed while it was read (410); read it again")
        case 429:
            return ClusterUnavailableError(f"{url}: the API server has too many requests (429): {said}")
        case status if status >= 500:
            return ClusterUnavailableError(
                f"{url}: the API server fails ({status}): {said}; `kubectl get --raw /readyz?verbose` says what ails it"
            )
        case status if 300 <= status < 400:
            return ClusterAnswerError(
                f"{url}: sent elsewhere ({status}); a Kubernetes API does not redirect: correct the server's URL"
            )
    return ClusterAnswerError(f"{url}: status {answer.status} to {where}: {said}")


def unreachable(error: urllib3_errors.HTTPError, url: str, seconds: float) -> ClusterUnavailableError:
    """The error for a request that got no whole answer. Takes nothing but system texts from `error`."""
    cause: BaseException | None = error
    chain: list[BaseException] = []
    while cause is not None and cause not in chain:
        chain.append(cause)
        inner = cause.args[-1] if cause.args else None
        cause = cause.__cause__ or cause.__context__ or (inner if isinstance(inner, BaseException) else None)
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return ClusterUnavailableError(
                f"{url}: the server's certificate is not trusted: {link.verify_message}; put its CA into the kubeconfig "
                "(certificate-authority-data), or correct the server's name"
            )
    for link in chain:
        if isinstance(link, ssl.SSLError):
            reason = (link.reason or "handshake failed").lower().replace("_", " ")
            return ClusterUnavailableError(f"{url}: TLS failed: {reason}; does the port speak https?")
        if isinstance(link, urllib3_errors.NameResolutionError | socket.gaierror):
            return ClusterUnavailableError(f"{url}: the name of the server is not known; correct it in the kubeconfig")
        if isinstance(link, OSError) and link.strerror:
            return ClusterUnavailableError(f"{url}: {link.strerror.lower()}; is the API server up at this address?")
    # Last: urllib3's refused connection is one of its timeouts, by inheritance.
    if any(isinstance(link, urllib3_errors.TimeoutError | TimeoutError) for link in chain):
        return ClusterUnavailableError(f"{url}: no answer within {seconds:.1f} s; is the API server overloaded or far?")
    return ClusterUnavailableError(f"{url}: the connection was cut ({type(error).__name__}); is a proxy in between?")


def _by(status: int, message: str, said: str, access: Access) -> str:
    """By whom, why and the remedy. RBAC's own refusals do not come here."""
    denial = denial_in(message)
    if denial is not None:
        return f" by {denial.who} ({status}): {said}; {denial.remedy.format(namespace=access.namespace)}"
    if status == 403:
        return f" ({status}): {said}; these are not RBAC's words: is a proxy or a gateway in between?"
    return f" ({status}): {said}"


def _message(answer: Answer, secrets: Iterable[str]) -> str:
    """What the server says, in one printable line, with nothing secret in it."""
    text = answer.body[: 64 * 1024].decode("utf-8", errors="replace")
    if answer.content_type.startswith("application/json"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        message = document.get("message") if isinstance(document, dict) else None
        text = message if isinstance(message, str) else "no message"
    elif text.lstrip().startswith("<"):
        return "a web page"
    for secret in secrets:
        text = text.replace(secret, "***")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
