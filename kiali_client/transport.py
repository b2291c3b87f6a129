"""One HTTP server, asked with a deadline: bounded retries, bounded answers, errors that say what to mend."""

from __future__ import annotations

import logging
import os
import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from kiali_client.bounded_http import bound_session, bounded_until
from kiali_client.errors import KialiNotFoundError, KialiPayloadError, KialiUnavailableError
from kiali_client.failures import TOO_SLOW, Failure, explain

__all__ = ["Answer", "Deadline", "NoCredentials", "Transport"]

CHUNK_BYTES = 64 * 1024
RETRIED_STATUSES = (502, 503, 504)
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Deadline:
    """A point in time, after which nobody waits for the answer any more.

    Args:
        seconds: from now; None = never.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self, at_most: float) -> float:
        """Seconds until it, at most `at_most`; 0 or less when it has passed."""
        return at_most if self._end is None else min(at_most, self._end - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    place: str
    """Who was asked for what, for messages: `Kiali GET http://host:20001/kiali/api/status`."""
    body: bytes = field(repr=False)
    location: str = ""
    """Where a redirect leads, without its query."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name, in any case."""


class NoCredentials(AuthBase):
    """Sends nothing, whatever stands in .netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Transport:
    """A `requests.Session` for one server.

    TLS is verified, redirects are not followed (they would lead a token elsewhere), and a `timeout_seconds` is the time of a whole
    attempt, from connecting to the last byte. Connection errors and 502, 503 and 504 are tried again, after a time drawn from an
    exponentially growing range (full jitter), as long as the deadline allows.

    Args:
        server: its name in messages.
        base_url: `http(s)://host[:port][/web_root]`.
        ca_file: certificates (PEM) to trust instead of the system's.
        verify: False = trust any certificate.
        timeout_seconds: of one attempt.
        retries: attempts after the first.
        max_answer_bytes: of one answer, unpacked.
        session: to use instead of one of its own.
        rng: draws the waiting times.

    Raises:
        KialiNotFoundError: `base_url` is no such URL.
        KialiUnavailableError: `ca_file` cannot be read.
    """

    def __init__(
        self,
        server: str,
        base_url: str,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        verify: bool = True,
        timeout_seconds: float = 5.0,
        retries: int = 2,
        max_answer_bytes: int = 64 * 1024 * 1024,
        session: requests.Session | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if timeout_seconds <= 0.0 or retries < 0 or max_answer_bytes < 1:
            raise ValueError("timeout_seconds and max_answer_bytes are above 0, retries is at least 0")
        self.server = server
        self.base_url = _checked_url(server, base_url)
        self.is_plain_http = self.base_url.startswith("http://")
        self.timeout_seconds = timeout_seconds
        self._retries = retries
        self._max_answer_bytes = max_answer_bytes
        # Given with each request: the environment (REQUESTS_CA_BUNDLE) would override the session's.
        self._verify: bool | str = _checked_ca_file(server, ca_file) if verify and ca_file is not None else verify
        self._session = bound_session(session or requests.Session())
        self._rng = rng or random.Random()

    def __repr__(self) -> str:
        return f"Transport({self.server}, {self.base_url})"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @property
    def cookies(self) -> requests.cookies.RequestsCookieJar:
        """What the server wants to see again."""
        return self._session.cookies

    def send(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        deadline: Deadline,
        credentials: AuthBase,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask, and ask again if that may help.

        Raises:
            KialiUnavailableError: no answer, after all attempts.
            KialiPayloadError: the answer is too large.
        """
        place = f"{self.server} {method} {self.base_url}{path}"
        for attempt in range(self._retries + 1):
            if (left := deadline.left(self.timeout_seconds)) <= 0.0:
                raise KialiUnavailableError(f"{place}: no time is left to ask; allow more (deadline_seconds)")
            outcome = self._attempt(method, path, place, left, credentials, params)
            if isinstance(outcome, Answer) and outcome.status not in RETRIED_STATUSES:
                return outcome
            if isinstance(outcome, Failure) and not outcome.passing:
                break
            backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0**attempt)
            pause = self._rng.uniform(0.0, backoff)
            if attempt == self._retries or deadline.left(pause) < pause:
                break
            _log.debug("%s: attempt %d failed, again in %.2f s", place, attempt + 1, pause)
            time.sleep(pause)
        if isinstance(outcome, Answer):
            return outcome
        attempts = f" ({attempt + 1} attempts)" if attempt else ""
        raise KialiUnavailableError(f"{place}: {outcome.text}{attempts}")

    def _attempt(
        self,
        method: str,
        path: str,
        place: str,
        seconds: float,
        credentials: AuthBase,
        params: Mapping[str, str] | None,
    ) -> Answer | Failure:
        end = time.monotonic() + seconds
        timeout: Any = urllib3.Timeout(total=seconds)
        try:
            with bounded_until(end):
                response = self._session.request(
                    method,
                    f"{self.base_url}{path}",
                    params=params,
                    headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
                    auth=credentials,
                    timeout=timeout,
                    allow_redirects=False,
                    stream=True,
                    verify=self._verify,
                )
                try:
                    body = self._body(response, end)
                finally:
                    response.close()
        # Told in words, and raised by the caller: these exceptions hold the request, and so the token.
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return explain(error)
        if isinstance(body, Failure):
            return body
        if len(body) > self._max_answer_bytes:
            raise KialiPayloadError(
                f"{place}: the answer is larger than {self._max_answer_bytes} bytes; ask for fewer namespaces, or allow more "
                "(max_answer_bytes)"
            )
        location = urlsplit(response.headers.get("Location", ""))._replace(query="", fragment="")
        netloc = location.netloc.rpartition("@")[2]
        return Answer(
            status=response.status_code,
            place=place,
            body=body,
            location=location._replace(netloc=netloc).geturl(),
            headers=response.headers,
        )

    def _body(self, response: requests.Response, end: float) -> bytes | Failure:
        """At most one byte more than is allowed, unpacked as it arrives."""
        limit = self._max_answer_bytes + 1
        body = bytearray()
        while len(body) < limit:
            # Not every chunk waits for the socket: some are unpacked from what came before.
            if time.monotonic() >= end:
                return TOO_SLOW
            # One read of the socket: a server that sends a byte at a time is stopped by the clock.
            chunk = response.raw.read1(min(CHUNK_BYTES, limit - len(body)), decode_content=True)
            if not chunk:
                break
            body += chunk
        return bytes(body)


def _checked_url(server: str, base_url: str) -> str:
    remedy = f"give {server}'s URL as http(s)://host[:port][/web_root]"
    problem = ""
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
    except ValueError:
        problem = "is no URL"
    else:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "has no http:// or https:// with a host"
        elif parts.username is not None or parts.password is not None:
            problem = "has a user or password in it; take them out, and give a token"
        elif parts.query or parts.fragment:
            problem = "has a query or fragment; take it off"
    # What stands in a URL that is none may be a password; it is not repeated.
    if problem:
        raise KialiNotFoundError(f"the URL of {server} {problem}; {remedy}")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _checked_ca_file(server: str, ca_file: str | os.PathLike[str]) -> str:
    path, problem = os.fspath(ca_file), ""
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        problem = "has no certificate in it; give certificates in PEM"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; check the path and its mode"
    if problem:
        raise KialiUnavailableError(f"ca_file {path} for {server} {problem}")
    return path
