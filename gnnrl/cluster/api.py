"""The Kubernetes API as plain JSON, over the official client's configuration, credentials and connections.

The client's own methods turn answers into model objects, which takes seconds for thousands of pods; and they retry. Here
a call is made once, within its time and size, and every way of failing becomes a `ClusterError`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client.rest import RESTClientObject

from gnnrl.cluster.answers import Answer, decode, refused, unreachable
from gnnrl.cluster.credentials import Credentials
from gnnrl.cluster.errors import (
    ClusterAnswerError,
    ClusterError,
    ClusterForbiddenError,
    ClusterNotFoundError,
    ClusterUnavailableError,
)
from gnnrl.cluster.paths import access
from kiali_client.bounded_http import bound_pools, bounded_until

__all__ = ["MERGE_PATCH", "ClusterApi", "Objects"]

Objects = list[dict[str, Any]]
"""Kubernetes objects as they were answered."""
Query = Mapping[str, str]

MERGE_PATCH = "application/merge-patch+json"
PAGE_OBJECTS = 500
MOST_PAGES = 400
READ_BYTES = 64 * 1024
FRESH_DATE_SECONDS = 1.0


class ClusterApi:
    """Calls to a Kubernetes API server. Thread-safe; nothing is retried but a call whose token was replaced meanwhile.

    Args:
        credentials: whom to call, as whom.
        timeout_seconds: for a whole call, all pages of a list together, unless the call says otherwise.
        max_answer_bytes: an answer (of a list: a page) larger than this is refused.
    """

    def __init__(
        self, credentials: Credentials, *, timeout_seconds: float = 5.0, max_answer_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._credentials = credentials
        self.timeout_seconds, self.max_answer_bytes = timeout_seconds, max_answer_bytes
        self.host = credentials.host
        self._base = credentials.configuration.host.rstrip("/")
        self._connections: urllib3.PoolManager = RESTClientObject(credentials.configuration).pool_manager
        bound_pools(self._connections)
        self._date: tuple[float, float] | None = None

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        in_cluster: bool = False,
        timeout_seconds: float = 5.0,
        max_answer_bytes: int = 64 * 1024 * 1024,
    ) -> ClusterApi:
        """Find the cluster as kubectl does. Sends nothing yet.

        Args:
            kubeconfig: its file; None = `KUBECONFIG`, else `~/.kube/config`, else, in a pod, its service account.
            context: a context of it; None = its current one.
            in_cluster: use the service account of the pod that this runs in.
            timeout_seconds: see the class.
            max_answer_bytes: see the class.

        Raises:
            ClusterConfigError: the kubeconfig, the context, a certificate or an exec plugin cannot be used.
        """
        credentials = Credentials.find(kubeconfig, context, in_cluster=in_cluster)
        return cls(credentials, timeout_seconds=timeout_seconds, max_answer_bytes=max_answer_bytes)

    def __repr__(self) -> str:
        return f"ClusterApi({self.host!r})"

    @property
    def trusts_anybody(self) -> bool:
        """Whether the kubeconfig says not to verify the server's certificate."""
        return self.host.startswith("https:") and not self._credentials.configuration.verify_ssl

    @property
    def shows_credentials(self) -> bool:
        """Whether something goes with each request that says who we are."""
        return self._credentials.has_headers

    def close(self) -> None:
        """Close the connections."""
        self._connections.clear()

    def get(self, path: str, query: Query | None = None, *, timeout_seconds: float | None = None) -> dict[str, Any]:
        """One object.

        Raises:
            ClusterError: by what went wrong, see `gnnrl.cluster.errors`; so do all calls.
        """
        return self._call("GET", path, query, timeout_seconds=timeout_seconds)

    def list(self, path: str, query: Query | None = None, *, timeout_seconds: float | None = None) -> Objects:
        """All objects of a list, read in pages."""
        return [item for page in self.pages(path, query, timeout_seconds=timeout_seconds) for item in page]

    def pages(
        self, path: str, query: Query | None = None, *, timeout_seconds: float | None = None
    ) -> Iterator[Objects]:
        """The objects of a list page by page, so that thousands of pods need not be held as they came."""
        deadline = time.monotonic() + self._seconds(timeout_seconds)
        more: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            asked = {"limit": str(PAGE_OBJECTS), **(query or {}), **more}
            answer = self._call("GET", path, asked, timeout_seconds=deadline - time.monotonic())
            items, metadata = answer.get("items"), answer.get("metadata")
            items = [] if items is None else items
            if (
                "items" not in answer
                or not isinstance(items, list)
                or not all(isinstance(item, dict) for item in items)
            ):
                raise ClusterAnswerError(f"{self.host}{path}: the answer is not a list of objects (no `items`)")
            yield items
            token = metadata.get("continue") if isinstance(metadata, dict) else None
            if not token:
                return
            if not isinstance(token, str) or more.get("continue") == token:
                raise ClusterAnswerError(
                    f"{self.host}{path}: the list does not go on after {len(items)} objects of a page"
                )
            more = {"continue": token}
        raise ClusterAnswerError(
            f"{self.host}{path}: more than {MOST_PAGES} pages of {PAGE_OBJECTS}; not a list that ends"
        )

    def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Objects,
        content_type: str = MERGE_PATCH,
        query: Query | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Change an object; the object as it is then."""
        return self._call("PATCH", path, query, body, content_type, timeout_seconds)

    def post(
        self, path: str, body: Mapping[str, Any], query: Query | None = None, *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Create an object; the object as it is then."""
        return self._call("POST", path, query, body, timeout_seconds=timeout_seconds)

    def put(
        self, path: str, body: Mapping[str, Any], query: Query | None = None, *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Replace an object; the object as it is then."""
        return self._call("PUT", path, query, body, timeout_seconds=timeout_seconds)

    def can_i(
        self, verb: str, group: str, resource: str, subresource: str, namespace: str, name: str = ""
    ) -> bool | None:
        """Whether this account may; None = the API server does not tell.

        Asked without a name, it means any object: a rule for certain names (`resourceNames`) is then no yes.

        Source: SelfSubjectAccessReview, authorization.k8s.io/v1. Nothing is changed by asking.
        """
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
        if name:
            attributes["name"] = name
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes | {"namespace": namespace}},
        }
        try:
            answer = self.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        except (ClusterForbiddenError, ClusterNotFoundError):
            return None
        status = answer.get("status")
        allowed = status.get("allowed") if isinstance(status, dict) else None
        return allowed if isinstance(allowed, bool) else None

    def clock_skew_seconds(self, now: float) -> float:
        """How far the API server's clock is ahead of `now`, to about a second (the Date header has no finer time).

        Raises:
            ClusterError: the server cannot be reached, or does not say its time.
        """
        known = self._date
        if known is None or time.monotonic() - known[1] > FRESH_DATE_SECONDS:
            self._date = None
            self._send("GET", "/version", None, None, "", self.timeout_seconds)
            known = self._date
        if known is None:
            raise ClusterAnswerError(f"{self.host}/version: the answer has no Date header; clocks cannot be compared")
        return known[0] - now

    def _seconds(self, timeout_seconds: float | None) -> float:
        return self.timeout_seconds if timeout_seconds is None else timeout_seconds

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | Objects | None = None,
        content_type: str = "application/json",
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        seconds = self._seconds(timeout_seconds)
        deadline = time.monotonic() + seconds
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        answer, sent = self._send(method, path, query, data, content_type, seconds)
        if answer.status == 401 and self._credentials.renewed(sent, deadline - time.monotonic()):
            left = deadline - time.monotonic()
            answer, sent = self._send(method, path, query, data, content_type, left)
        if 200 <= answer.status < 300:
            return decode(answer, self.host + path)
        secrets = [part for value in sent.values() for part in (value, value.split()[-1])]
        raise refused(answer, access(method, path), self.host + path, secrets, self._credentials.origin)

    def _send(
        self, method: str, path: str, query: Query | None, data: bytes | None, content_type: str, seconds: float
    ) -> tuple[Answer, Mapping[str, str]]:
        """One request and its answer, whatever its status; and the headers that said who we are."""
        end = time.monotonic() + seconds
        place = self.host + path
        identity = self._credentials.headers(seconds)
        headers = identity | {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "gnnrl"}
        if data is not None:
            headers["Content-Type"] = content_type
        left = end - time.monotonic()
        if left <= 0.0:
            raise ClusterUnavailableError(f"{place}: no time left of the deadline to ask")
        failure: ClusterError
        try:
            with bounded_until(end):
                response = self._connections.request(
                    method,
                    self._base + path + (f"?{urlencode(query)}" if query else ""),
                    body=data,
                    headers=headers,
                    timeout=urllib3.Timeout(total=left),
                    retries=urllib3.Retry(False),
                    redirect=False,
                    preload_content=False,
                )
                try:
                    self._note_date(response.headers.get("Date"))
                    body = self._read(response, end, place, seconds)
                    return Answer(response.status, response.headers.get("Content-Type", ""), body), identity
                finally:
                    # Of an answer not read to its end, the connection cannot be used again.
                    response.close() if not response.closed else response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            failure = unreachable(error, place, seconds)
        # Outside of the except block, so that the client's exception is not chained.
        raise failure

    def _read(self, response: urllib3.BaseHTTPResponse, end: float, place: str, seconds: float) -> bytes:
        """The body, as it comes in: a server that drips is cut off at the deadline, a flood at the size."""
        parts: list[bytes] = []
        size = 0
        while True:
            part = response.read1(READ_BYTES)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > self.max_answer_bytes:
                raise ClusterAnswerError(
                    f"{place}: the answer is larger than {self.max_answer_bytes} bytes and was refused; raise "
                    "max_answer_bytes if the namespace is that large"
                )
            if time.monotonic() > end:
                raise ClusterUnavailableError(f"{place}: the answer did not end within {seconds:.1f} s")

    def _note_date(self, text: str | None) -> None:
        if not text:
            return
        try:
            date = parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return
        # The header is cut to whole seconds: the middle is the best guess.
        self._date = (date + 0.5, time.monotonic())
