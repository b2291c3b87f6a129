"""The same service graph from Prometheus, for a mesh without Kiali."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import requests

from kiali_client.arguments import checked_duration, checked_namespaces
from kiali_client.auth import BearerToken
from kiali_client.document import one_line
from kiali_client.errors import (
    KialiAuthenticationError,
    KialiSchemaError,
    KialiUnavailableError,
)
from kiali_client.istio_metrics import graph_from_samples
from kiali_client.istio_queries import Query, Sample, istio_queries
from kiali_client.models import ServiceGraph
from kiali_client.refusal import Remedies, read_answer, refusal
from kiali_client.sampling import SamplingMemory
from kiali_client.secret import Secret, TokenSource
from kiali_client.transport import Answer, Deadline, NoCredentials, Transport
from kiali_client.vector import read_vector

__all__ = ["PrometheusClient"]

QUERY_PATH = "/api/v1/query"
PARTIAL_HEADERS = ("M3-Results-Limited",)
"""Of an answer that holds a part of the series alone: M3 says so here, and not in the body of an instant query."""
REMEDIES = Remedies(
    forbidden="give its token the right to query",
    not_found="check the URL: what stands before /api/v1/query",
    bad_request="check that this is a Prometheus, and its version",
    unavailable="look at the log of Prometheus",
)


class PrometheusClient:
    """Reads service graphs out of Istio's metrics.

    It knows what had traffic in the period or before, as long as Prometheus keeps the series, and nothing of workloads without any,
    of versions and of Istio's configuration.

    Args:
        base_url: `http(s)://host[:port][/prefix]`, what stands before /api/v1/query.
        token: sent as a bearer token, or
        token_file: where it stands; read again at a 401.
        cluster: as for `KialiClient`, by Istio's labels source_cluster and destination_cluster.
        ca_file, verify, timeout_seconds, retries, max_answer_bytes, session, now, rng: as for `KialiClient`.

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
            "Prometheus",
            base_url,
            ca_file=ca_file,
            verify=verify,
            timeout_seconds=timeout_seconds,
            retries=retries,
            max_answer_bytes=max_answer_bytes,
            session=session,
            rng=rng,
        )
        self._cluster = cluster or ""
        self._sampling = SamplingMemory()
        self._now = now
        self._turn = threading.Lock()
        self._secret: Secret | None = None
        # The last token that the server has seen, and may repeat.
        self._sent: Secret | None = None

    def __repr__(self) -> str:
        return f"PrometheusClient({self._transport.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def fetch_service_graph(
        self,
        namespace: str | Sequence[str],
        *,
        duration_seconds: int = 60,
        at_seconds: float | None = None,
        deadline_seconds: float | None = None,
    ) -> ServiceGraph:
        """The workload graph of a namespace, or of several.

        Args:
            namespace: one name or several.
            duration_seconds: rates are means over this period; at least twice the scrape interval, or there are none.
            at_seconds: end of the period, unix seconds; None = now.
            deadline_seconds: of the whole call, all of its queries; None = as they take.

        Raises:
            KialiError: as `KialiClient.fetch_service_graph`, with Prometheus in place of Kiali.
            ValueError: a name or number that is none.
        """
        namespaces = checked_namespaces(namespace)
        checked_duration(duration_seconds)
        deadline = Deadline(deadline_seconds)
        # The same time for all queries, so that they speak of the same period.
        at = int(self._now() if at_seconds is None else at_seconds)
        if not self._turn.acquire(timeout=max(0.0, deadline.left(threading.TIMEOUT_MAX))):
            raise KialiUnavailableError(
                f"Prometheus at {self._transport.base_url}: another thread was asking it all the time; allow more "
                "(deadline_seconds)"
            )
        try:
            queries = istio_queries(namespaces, duration_seconds)
            answers = {
                query: read_answer(self._ask({"query": text, "time": str(at)}, deadline), read_vector, self._sent)
                for query, text in queries.items()
            }
        finally:
            self._turn.release()
        problems: tuple[str, ...]
        try:
            stated = _stated_seconds(answers, at)
            return graph_from_samples(
                answers,
                namespaces=namespaces,
                timestamp=stated,
                duration_seconds=duration_seconds,
                cluster=self._cluster,
                sampling=self._sampling,
            )
        except KialiSchemaError as error:
            problems = error.problems
        place = f"Prometheus GET {self._transport.base_url}{QUERY_PATH}"
        raise KialiSchemaError([f"{place}: {problem}" for problem in problems])

    def _ask(self, params: dict[str, str], deadline: Deadline) -> Answer:
        for renewed in (False, True):
            if self._tokens and self._secret is None:
                self._secret = self._sent = self._read_token()
            credentials = NoCredentials() if self._secret is None else BearerToken(self._secret)
            answer = self._transport.send("GET", QUERY_PATH, deadline=deadline, credentials=credentials, params=params)
            if answer.status != 401:
                break
            self._secret = None
            if renewed or not self._tokens.may_change:
                origin = (
                    f"refuses {self._tokens.origin}; give a new one" if self._tokens else "asks for a token; give one"
                )
                raise KialiAuthenticationError(f"{answer.place}: {origin}")
        error = refusal(answer, REMEDIES, self._sent)
        if error is not None:
            raise error
        for name in PARTIAL_HEADERS:
            if limit := answer.headers.get(name):
                raise KialiUnavailableError(
                    f"{answer.place}: a part of the data is missing ({name}: {one_line(limit)}); raise that limit"
                )
        return answer

    def _read_token(self) -> Secret:
        problem = ""
        try:
            return self._tokens.read()
        except KialiAuthenticationError as error:
            problem = str(error)
        raise KialiAuthenticationError(f"Prometheus at {self._transport.base_url}{QUERY_PATH}: {problem}")


def _stated_seconds(answers: Mapping[Query, Sequence[Sample]], asked: int) -> int:
    """The time that the answers say they are of. Prometheus repeats the time that it was asked for; where something in between
    answers from a cache, or of another time, the one furthest from that counts."""
    stated = (sample.seconds for samples in answers.values() for sample in samples if sample.seconds is not None)
    return int(max(stated, key=lambda seconds: abs(seconds - asked), default=asked))
