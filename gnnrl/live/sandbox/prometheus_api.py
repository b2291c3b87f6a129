"""A Prometheus over the sandbox's world: instant queries of Istio's metrics, of the shapes by which a service graph is read.

    round(sum(rate(METRIC{MATCHERS}[Ns])) by (LABELS), 0.001)
    round(histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{MATCHERS}[Ns])) by (le, LABELS)), 0.001)
    min(count_over_time(METRIC{MATCHERS}[Ns])) by (LABELS)        max likewise

with METRIC `istio_requests_total` or `istio_tcp_sent_bytes_total`, `round` optional, and the matchers `=`, `!=`, `=~`, `!~`. Any other
query is a 400. Each call is there twice, as its source and as its destination report it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import FaultHook, HttpError, JsonServer, Request, Response
from gnnrl.live.sandbox.kiali_graph import CLUSTER
from gnnrl.live.sandbox.views import CallView, GraphView
from gnnrl.live.sandbox.world import SandboxWorld

__all__ = ["PrometheusApi"]

VERSION = "3.5.0"
SCRAPE_SECONDS = 15
"""Samples are so far apart where the rates are the simulation's."""
VECTOR = (
    r"(?P<function>rate|count_over_time)\(\s*(?P<metric>\w+)\s*\{(?P<matchers>[^{}]*)\}\s*\[(?P<seconds>\d{1,7})s\]\s*\)\s*\)"
    r"\s*by\s*\((?P<labels>[\w\s,]*)\)"
)
SHAPES = tuple(
    re.compile(rf"\s*{before}\s*{VECTOR}\s*{after}\s*")
    for before, after in (
        (r"round\(\s*sum\(", r",\s*(?P<step>0\.\d{1,6})\s*\)"),
        (r"(?P<over>sum|min|max)\(", ""),
        (r"round\(\s*histogram_quantile\(\s*0\.95\s*,\s*sum\(", r"\)\s*,\s*(?P<step>0\.\d{1,6})\s*\)"),
        (r"histogram_quantile\(\s*0\.95\s*,\s*sum\(", r"\)"),
    )
)
MATCHER = re.compile(r'\s*(?P<label>\w+)\s*(?P<sign>=~|!~|!=|=)\s*"(?P<value>[^"\\]*)"\s*')
SIGNS: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}
REQUESTS, BYTES, BUCKETS = (
    "istio_requests_total",
    "istio_tcp_sent_bytes_total",
    "istio_request_duration_milliseconds_bucket",
)


class _Series(NamedTuple):
    """Labels, rate (requests/s or bytes/s), 95th percentile in ms, and samples in the range."""

    labels: Mapping[str, str]
    rate: float
    p95_ms: float
    samples: int = 0


class _Kind(NamedTuple):
    """Which counter of a proxy."""

    source: str
    target: str
    reporter: str
    failed: bool


class _Query(NamedTuple):
    """A query of a known shape."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    """(label, sign, value)."""
    seconds: int
    labels: tuple[str, ...]
    step: float
    """Values are rounded to multiples of this; 0 = not rounded."""
    over: str = "sum"
    """`min` and `max` are of counts of samples."""


class PrometheusApi(JsonServer):
    """`GET` and `POST /api/v1/query`, `GET /api/v1/status/buildinfo`, `/-/healthy`, `/-/ready`.

    Args:
        world: what it shows.
        clock: whose time it is.
        fault, host, port: see `JsonServer`.
    """

    def __init__(
        self,
        world: SandboxWorld,
        clock: Clock,
        *,
        fault: FaultHook | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__("prometheus", clock=clock, fault=fault, host=host, port=port)
        self.world = world

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.path == "/api/v1/query" and request.method in ("GET", "POST"):
            return self._query(request)
        if request.method == "GET" and request.path in ("/-/healthy", "/-/ready"):
            return Response.of_text("Prometheus Server is Healthy.\n")
        if request.method == "GET" and request.path == "/api/v1/status/buildinfo":
            return Response.of_json({"status": "success", "data": {"version": VERSION, "branch": "HEAD"}})
        return Response.of_text("404 page not found\n", 404)

    def error_response(self, status: int, message: str) -> Response:
        """As Prometheus writes it."""
        kind = "bad_data" if status < 500 else "internal"
        return Response.of_json({"status": "error", "errorType": kind, "error": message}, status)

    def _query(self, request: Request) -> Response:
        asked = {name: values[-1] for name, values in request.query.items()}
        if request.method == "POST":
            asked |= request.form()
        now = self.clock.now()
        query, at = _parsed(asked.get("query", "")), _time(asked.get("time"), now)
        view = self.world.graph_view(query.seconds, at)
        groups: dict[tuple[tuple[str, str], ...], list[_Series]] = defaultdict(list)
        for series in self._series(query, view):
            if all(SIGNS[sign](series.labels.get(label, ""), value) for label, sign, value in query.matchers):
                key = tuple((name, series.labels[name]) for name in query.labels if name in series.labels)
                groups[key].append(series)
        result = [{"metric": dict(key), "value": [at, _written(of, query)]} for key, of in sorted(groups.items())]
        return Response.of_json({"status": "success", "data": {"resultType": "vector", "result": result}})

    def _series(self, query: _Query, view: GraphView) -> Iterator[_Series]:
        """What is there in the range: as the simulation has it, or by the samples that were scraped."""
        scraped = self.world.scraped
        counted: dict[_Kind, list[tuple[float | None, int]]] = defaultdict(list)
        for one, found, samples in scraped.series(view.shown_second, query.seconds) if scraped is not None else ():
            counted[_Kind(*one.call, one.reporter, one.failed)].append((found, samples))
        for call in view.all_calls:
            if (call.protocol == "tcp") != (query.metric == BYTES):
                continue
            for kind, labels, whole, part in _labelled(call, view, self.world.namespace):
                regular = [(whole, query.seconds // SCRAPE_SECONDS)] if scraped is None else counted[kind]
                for value, samples in regular:
                    if value is not None:
                        yield _Series(labels, part * value, call.p95_ms, samples)
                    elif query.over != "sum":
                        yield _Series(labels, 0.0, 0.0, samples)


def _labelled(
    call: CallView, view: GraphView, namespace: str
) -> Iterator[tuple[_Kind, Mapping[str, str], float, float]]:
    """Every series of a call: which counter it is, its labels, that counter's true rate, and the part of it that is this series."""
    labels = {
        "source_cluster": CLUSTER,
        "source_workload": call.source,
        "source_workload_namespace": view.gateway_namespace if call.source == view.gateway else namespace,
        "destination_cluster": CLUSTER,
        "destination_workload": call.target,
        "destination_workload_namespace": namespace,
        "destination_service_name": call.target,
        "destination_service_namespace": namespace,
    }
    secured = (("mutual_tls", call.mtls_share), ("none", 1.0 - call.mtls_share))
    for answer, whole, failed in _answers(call):
        for reporter, parts in (("source", (("unknown", 1.0),)), ("destination", secured)):
            kind = _Kind(call.source, call.target, reporter, failed)
            for policy, part in parts:
                if part > 0.0:
                    told = {**labels, **answer, "reporter": reporter, "connection_security_policy": policy}
                    yield kind, told, whole, part


def _answers(call: CallView) -> list[tuple[dict[str, str], float, bool]]:
    """Labels of each kind of answer, with its rate and whether it is a failure."""
    if call.protocol == "tcp":
        return [({}, call.bytes_per_second, False)]
    # Whole thousandths, so that the parts, which are rounded to them, add up to the rate.
    failed = round(call.rps * call.error_share, 3)
    kinds = [(call.rps - failed, "200", "0", False)]
    if failed > 0.0:
        kinds.append((failed, "503", "14", True))
    if call.protocol == "http":
        return [({"request_protocol": "http", "response_code": code}, rate, bad) for rate, code, _, bad in kinds]
    return [
        ({"request_protocol": "grpc", "response_code": "200", "grpc_response_status": status}, rate, bad)
        for rate, _, status, bad in kinds
    ]


def _parsed(text: str) -> _Query:
    """Raises `HttpError` 400 for a query of another shape."""
    for shape in SHAPES:
        found = shape.fullmatch(text)
        if found is None:
            continue
        metric = found["metric"]
        is_quantile = "histogram_quantile" in text
        labels = tuple(name for label in found["labels"].split(",") if (name := label.strip()))
        if metric not in (REQUESTS, BYTES, BUCKETS) or (metric == BUCKETS) != is_quantile:
            break
        if is_quantile and "le" not in labels:
            break
        step = float(found.groupdict().get("step") or 0.0)
        over = found.groupdict().get("over") or "sum"
        if (over == "sum") != (found["function"] == "rate"):
            break
        return _Query(metric, _matchers(found["matchers"]), int(found["seconds"]), labels, step, over)
    raise HttpError(
        400,
        'invalid parameter "query": 1:1: parse error: this sandbox answers sum(rate(METRIC{...}[Ns])) by (...) of '
        f"{REQUESTS} and {BYTES}, and histogram_quantile(0.95, ...) of {BUCKETS}; not {text[:200]!r}",
    )


def _matchers(text: str) -> tuple[tuple[str, str, str], ...]:
    found = []
    for part in re.findall(r'[^,"]*"[^"]*"|[^,]+', text):
        matcher = MATCHER.fullmatch(part.lstrip(", "))
        if matcher is None:
            raise HttpError(
                400, f'invalid parameter "query": 1:1: parse error: unexpected {part.strip()!r} in matchers'
            )
        if matcher["sign"] in ("=~", "!~"):
            try:
                re.compile(matcher["value"])
            except re.error as error:
                raise HttpError(400, f'invalid parameter "query": error parsing regexp: {error}') from error
        found.append((matcher["label"], matcher["sign"], matcher["value"]))
    return tuple(found)


def _time(text: str | None, now: float) -> float:
    if text is None:
        return now
    try:
        at = float(text)
    except ValueError:
        at = math.nan
    if not math.isfinite(at):
        raise HttpError(400, f'invalid parameter "time": cannot parse {text!r} to a valid timestamp (unix seconds)')
    return at


def _written(group: list[_Series], query: _Query) -> str:
    """The value of a group. A quantile of no requests is not a number; of groups of calls, it is the mean over their requests."""
    if query.over != "sum":
        return str((min if query.over == "min" else max)(series.samples for series in group))
    value = rate = sum(series.rate for series in group)
    if query.metric == BUCKETS:
        value = sum(series.rate * series.p95_ms for series in group) / rate if rate > 0.0 else math.nan
    if math.isnan(value):
        return "NaN"
    if query.step:
        value = round(value / query.step) * query.step
    return f"{value:.6f}".rstrip("0").rstrip(".")
