"""Kiali's HTTP API, 1.0 to 2.x, as far as a program needs it that reads service graphs."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Self, get_args

import requests
from requests.auth import AuthBase

from kiali_client.arguments import checked_duration, checked_namespaces
from kiali_client.auth import AuthStrategy, BearerToken, TokenForm, checked_strategy
from kiali_client.document import read_document
from kiali_client.errors import (
    KialiAuthenticationError,
    KialiNotFoundError,
    KialiPayloadError,
    KialiUnavailableError,
)
from kiali_client.identity import UNNAMED_CLUSTERS
from kiali_client.models import GraphType, ServiceGraph
from kiali_client.parse import parse_graph
from kiali_client.refusal import Remedies, read_answer, refusal
from kiali_client.secret import Secret, TokenSource
from kiali_client.transport import Answer, Deadline, NoCredentials, Transport
from kiali_client.versions import Status, Version, graph_parameters, read_status

__all__ = ["KialiClient"]

SESSION_COOKIE = "kiali-token"
"""And `kiali-token-<cluster>`, `kiali-token-chunks`."""

REMEDIES = Remedies(
    forbidden="check the name of the namespace, and that this user may see it (kubectl auth can-i get namespace)",
    not_found="check the URL: it ends with Kiali's web root, which is /kiali unless server.web_root says otherwise",
    bad_request="check that this is a Kiali, and its version",
    unavailable="look at Kiali's log and at the Prometheus behind it",
)


class KialiClient:
    """Reads service graphs.

    One thread at a time asks; others wait for it, at most until their deadline. What is learnt of the server (strategy, login,
    version) is kept, and learnt again after a 401 and after an outage, as the server may be another one then.

    Args:
        base_url: `http(s)://host[:port]/<web_root>`.
        token: for the strategies token, header and openshift, or
        token_file: where it stands; read again at a 401, as service-account tokens rotate.
        ca_file: certificates (PEM) to trust instead of the system's.
        verify: False = trust any certificate.
        timeout_seconds: of one attempt, from connecting to the last byte.
        retries: attempts after the first, for connection errors and 502, 503 and 504 only.
        max_answer_bytes: a larger answer is refused.
        cluster: in a mesh of several clusters, the one whose workloads are `scalable`; the others' are marked as outside.
        session: to use instead of one of its own.
        now: unix seconds at which graphs are asked for.
        rng: draws the waiting times between attempts.

    Raises:
        KialiNotFoundError: `base_url` is no URL, or has a password in it.
        KialiUnavailableError: `ca_file` cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | Secret | None = None,
        token_file: str | os.PathLike[str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        verify: bool = True,
        timeout_seconds: float = 5.0,
        retries: int = 2,
        max_answer_bytes: int = 64 * 1024 * 1024,
        cluster: str | None = None,
        session: requests.Session | None = None,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._tokens = TokenSource(token, token_file)
        self._transport = Transport(
            "Kiali",
            base_url,
            ca_file=ca_file,
            verify=verify,
            timeout_seconds=timeout_seconds,
            retries=retries,
            max_answer_bytes=max_answer_bytes,
            session=session,
            rng=rng,
        )
        self._cluster = cluster
        self._now = now
        self._turn = threading.Lock()
        self._strategy: AuthStrategy | None = None
        self._secret: Secret | None = None
        # The last token that the server has seen, and may repeat.
        self._sent: Secret | None = None
        self._logged_in = False
        self._version: Version | None = None

    def __repr__(self) -> str:
        return f"KialiClient({self._transport.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def auth_strategy(self) -> AuthStrategy:
        """The strategy that Kiali is set to.

        Raises:
            KialiError: no answer, or a strategy that a program cannot use.
        """
        with self._asking(None) as deadline:
            return self._known_strategy(deadline)

    def status(self) -> Status:
        """Version, state and warnings.

        Raises:
            KialiError: as `fetch_service_graph`.
        """
        with self._asking(None) as deadline:
            return self._fetch_status(deadline)

    def version(self) -> Version:
        """The version, asked for once.

        Raises:
            KialiError: as `fetch_service_graph`.
        """
        with self._asking(None) as deadline:
            return self._known_version(deadline)

    def fetch_service_graph(
        self,
        namespace: str | Sequence[str],
        *,
        duration_seconds: int = 60,
        graph_type: GraphType = "workload",
        at_seconds: float | None = None,
        deadline_seconds: float | None = None,
    ) -> ServiceGraph:
        """The service graph of a namespace, or of several.

        Args:
            namespace: one name or several.
            duration_seconds: rates are means over this period.
            graph_type: what the nodes stand for.
            at_seconds: end of the period, unix seconds; None = now.
            deadline_seconds: of the whole call, login and retries included; None = as the attempts take.

        Raises:
            KialiAuthenticationError: no token, a rejected one, or a strategy that a program cannot use.
            KialiAuthorizationError: the namespace is unknown or may not be seen.
            KialiNotFoundError: there is no Kiali at this URL.
            KialiUnavailableError: no answer in time.
            KialiPayloadError: the answer is no JSON object or too large, or Kiali refuses the request.
            KialiSchemaError: the answer is no graph.
            ValueError: a name or number that is none.
        """
        namespaces = checked_namespaces(namespace)
        checked_duration(duration_seconds)
        if graph_type not in get_args(GraphType):
            raise ValueError(f"graph_type {graph_type!r}: is none of {', '.join(get_args(GraphType))}")
        with self._asking(deadline_seconds) as deadline:
            parameters = graph_parameters(
                self._known_version(deadline),
                namespaces=namespaces,
                graph_type=graph_type,
                duration_seconds=duration_seconds,
                query_seconds=int(self._now() if at_seconds is None else at_seconds),
            )
            answer = self._get("/api/namespaces/graph", deadline, parameters)
            return self._in_cluster(read_answer(answer, parse_graph, self._sent))

    @contextmanager
    def _asking(self, deadline_seconds: float | None) -> Iterator[Deadline]:
        deadline = Deadline(deadline_seconds)
        if not self._turn.acquire(timeout=max(0.0, deadline.left(threading.TIMEOUT_MAX))):
            raise KialiUnavailableError(
                f"Kiali at {self._transport.base_url}: another thread was asking it all the time; allow more (deadline_seconds)"
            )
        try:
            yield deadline
        except (KialiNotFoundError, KialiPayloadError, KialiUnavailableError):
            # It may come back as another version, which refuses the parameters of this one.
            self._version = None
            raise
        finally:
            self._turn.release()

    def _known_version(self, deadline: Deadline) -> Version:
        if self._version is None:
            self._version = self._fetch_status(deadline).version
        return self._version

    def _fetch_status(self, deadline: Deadline) -> Status:
        answer = self._get("/api/status", deadline)
        return read_answer(answer, lambda body: read_status(read_document(body)), self._sent)

    def _known_strategy(self, deadline: Deadline) -> AuthStrategy:
        if self._strategy is None:
            answer = self._transport.send("GET", "/api/auth/info", deadline=deadline, credentials=NoCredentials())
            self._raise_refusal(answer)
            self._strategy = checked_strategy(
                read_answer(answer, read_document, self._sent).get("strategy"), answer.place
            )
        return self._strategy

    def _get(self, path: str, deadline: Deadline, parameters: Mapping[str, str] | None = None) -> Answer:
        for renewed in (False, True):
            credentials = self._credentials(deadline)
            answer = self._transport.send("GET", path, deadline=deadline, credentials=credentials, params=parameters)
            if answer.status != 401 or renewed:
                break
            self._forget_login()
        if answer.status == 401:
            self._forget_login()
        self._raise_refusal(answer)
        return answer

    def _credentials(self, deadline: Deadline) -> AuthBase:
        """What goes with a request, after a login where the strategy has one."""
        strategy = self._known_strategy(deadline)
        if strategy == "anonymous":
            return NoCredentials()
        if self._secret is None:
            self._secret = self._sent = self._read_token(strategy)
        if strategy != "token":
            return BearerToken(self._secret)
        if not self._logged_in:
            self._log_in(self._secret, deadline)
            self._logged_in = True
        return NoCredentials()

    def _read_token(self, strategy: AuthStrategy) -> Secret:
        problem = ""
        try:
            return self._tokens.read()
        except KialiAuthenticationError as error:
            problem = str(error)
        raise KialiAuthenticationError(
            f"Kiali at {self._transport.base_url}/api asks for a token (strategy {strategy}): {problem}"
        )

    def _log_in(self, secret: Secret, deadline: Deadline) -> None:
        """Trade the token for a cookie, which the session keeps."""
        answer = self._transport.send("POST", "/api/authenticate", deadline=deadline, credentials=TokenForm(secret))
        if answer.status == 401:
            self._forget_login()
        self._raise_refusal(answer)
        cookies = [cookie for cookie in self._transport.cookies if cookie.name.startswith(SESSION_COOKIE)]
        if not cookies:
            raise KialiAuthenticationError(
                f"{answer.place}: the login set no cookie; check that no proxy in between removes it"
            )
        if self._transport.is_plain_http and all(cookie.secure for cookie in cookies):
            raise KialiAuthenticationError(
                f"{answer.place}: the login's cookie is Secure, so it is not sent over plain http; write https:// in the URL"
            )

    def _forget_login(self) -> None:
        self._strategy, self._secret, self._logged_in = None, None, False
        cookies = self._transport.cookies
        for cookie in [cookie for cookie in cookies if cookie.name.startswith(SESSION_COOKIE)]:
            cookies.clear(cookie.domain, cookie.path, cookie.name)

    def _raise_refusal(self, answer: Answer) -> None:
        if answer.status == 401:
            if not self._tokens:
                raise KialiAuthenticationError(f"{answer.place}: asks for a login; give token or token_file")
            raise KialiAuthenticationError(
                f"{answer.place}: refuses {self._tokens.origin}: it has expired, is for another cluster, or may see no "
                "namespace; make a new one (kubectl create token)"
            )
        error = refusal(answer, REMEDIES, self._sent)
        if error is not None:
            raise error

    def _in_cluster(self, graph: ServiceGraph) -> ServiceGraph:
        if not self._cluster:
            return graph
        elsewhere = {node.key for node in graph.nodes if node.key.cluster not in (*UNNAMED_CLUSTERS, self._cluster)}
        nodes = (replace(node, is_outside=True) if node.key in elsewhere else node for node in graph.nodes)
        return replace(graph, nodes=tuple(nodes))
