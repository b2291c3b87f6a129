"""An answer that is not what was asked for, as the exception that says why and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from kiali_client.document import one_line, read_document
from kiali_client.errors import (
    KialiAuthorizationError,
    KialiError,
    KialiNotFoundError,
    KialiPayloadError,
    KialiSchemaError,
    KialiUnavailableError,
)
from kiali_client.secret import Secret
from kiali_client.transport import Answer

__all__ = ["Remedies", "read_answer", "refusal"]

T = TypeVar("T")

TLS_WANTED = "HTTP request to an HTTPS server"
"""What Go's server answers to plain http at a TLS port."""

MESH_DENIED = "RBAC: access denied"
"""What Istio's proxy answers for an AuthorizationPolicy."""


class Remedies(NamedTuple):
    """What to do, by server."""

    forbidden: str
    not_found: str
    bad_request: str
    unavailable: str


def refusal(answer: Answer, remedies: Remedies, secret: Secret | None) -> KialiError | None:
    """The exception for an answer other than 200 (and 401, which depends on how the login went); None for 200."""
    status, place = answer.status, answer.place
    if status == 200:
        return None
    text = _text(_without(secret, answer.body))
    said = f" and says: {text}" if text else ""
    if 300 <= status < 400:
        return KialiNotFoundError(
            f"{place}: leads to {one_line(answer.location) or 'another place'} (HTTP {status}); {remedies.not_found}"
        )
    if TLS_WANTED in text:
        return KialiUnavailableError(f"{place}: it speaks TLS at this port; write https:// in the URL")
    if status == 403 and MESH_DENIED in text:
        return KialiAuthorizationError(
            f"{place}: the mesh denies it (HTTP 403); allow this workload in the AuthorizationPolicy in front of it"
        )
    if status == 403:
        return KialiAuthorizationError(f"{place}: answers HTTP 403{said}; {remedies.forbidden}")
    if status in (404, 405, 410):
        return KialiNotFoundError(f"{place}: answers HTTP {status}{said}; {remedies.not_found}")
    if status >= 500 or status in (408, 429):
        return KialiUnavailableError(f"{place}: answers HTTP {status}{said}; {remedies.unavailable}")
    return KialiPayloadError(f"{place}: answers HTTP {status}{said}; {remedies.bad_request}")


def read_answer(answer: Answer, read: Callable[[bytes], T], secret: Secret | None) -> T:
    """What `read` makes of the body; its errors get the place, and are told from a body without the token.

    (To take the token out of their messages would be too late: they are cut short, and may have a part of it.)
    """
    try:
        return read(answer.body)
    except (KialiPayloadError, KialiSchemaError, KialiUnavailableError):
        pass
    found: KialiError
    try:
        read(_without(secret, answer.body))
    except KialiSchemaError as error:
        found = KialiSchemaError([f"{answer.place}: {problem}" for problem in error.problems])
    except (KialiPayloadError, KialiUnavailableError) as error:
        found = type(error)(f"{answer.place}: {error}")
    else:
        found = KialiPayloadError(
            f"{answer.place}: the answer repeats the token, and is none without it; ask its operator"
        )
    raise found


def _without(secret: Secret | None, body: bytes) -> bytes:
    return body if secret is None else secret.hidden_in(body)


def _text(body: bytes) -> str:
    """What the server says: `{"error": ..., "detail": ...}`, Prometheus's `{"error": ..., "errorType": ...}` or plain text."""
    try:
        document = read_document(body)
    except KialiPayloadError:
        text = body.decode("utf-8", errors="replace").strip()
        return "a web page" if text.startswith("<") else one_line(text)
    return " - ".join(one_line(document[name]) for name in ("error", "detail", "errorType") if document.get(name))
