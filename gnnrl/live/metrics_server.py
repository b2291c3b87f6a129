"""What the live loop tells Prometheus, and whether it is alive and ready, over HTTP."""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gnnrl.live.decision import IntervalRecord

__all__ = ["LiveMetrics", "MetricsServer", "MetricsServerError"]

INFLUENCES_SHOWN = 100
"""Series of `gnnrl_influence`: the largest by magnitude."""

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
"""Up to the usual interval: an interval that is slower than that has missed the next."""

Probe = Callable[[], tuple[bool, str]]
"""`() -> (all is well, what is the matter)`; asked from several threads."""


class MetricsServerError(Exception):
    """The port cannot be listened on."""


class LiveMetrics(Collector):
    """Metrics of the loop, in a registry of their own.

    Gauges are those of the last record, so a service that has vanished has none; its counters go with it. A record without services
    (nothing could be read) says nothing about who vanished, and leaves both as they are.

    Args:
        namespace: that the loop runs.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._last: IntervalRecord | None = None
        self._with_services: IntervalRecord | None = None
        self._last_valid_seconds = 0.0
        self._counted: dict[str, set[tuple[str, ...]]] = {}
        self._guarded: dict[str, set[tuple[str, ...]]] = {}
        self._decisions = Counter(
            "gnnrl_decisions", "Decisions, by what became of them", ["namespace", "service", "outcome"], registry=None
        )
        self._guardrails = Counter(
            "gnnrl_guardrail_hits", "Numbers that a guardrail changed", ["guardrail", "service"], registry=None
        )
        self._api_errors = Counter("gnnrl_api_errors", "Failed calls, by source", ["source"], registry=None)
        self._intervals = Counter(
            "gnnrl_intervals", "Intervals, by whether a decision was made", ["valid"], registry=None
        )
        self._seconds = Histogram(
            "gnnrl_interval_seconds", "Time spent in an interval", ["phase"], buckets=SECONDS_BUCKETS, registry=None
        )
        self.registry.register(self)

    def record(self, record: IntervalRecord) -> None:
        """Count an interval, and show its state from now on."""
        with self._lock:
            self._last = record
            if record.valid:
                self._last_valid_seconds = record.seconds
            self._intervals.labels("true" if record.valid else "false").inc()
            phases = {"read": record.read_seconds, "decide": record.decide_seconds, "write": record.write_seconds}
            for phase, seconds in (phases | {"total": sum(phases.values())}).items():
                self._seconds.labels(phase).observe(seconds)
            for source, count in record.api_errors.items():
                self.api_error(source, count)
            for decision in record.services:
                labels = (self.namespace, decision.service, decision.outcome)
                self._decisions.labels(*labels).inc()
                self._counted.setdefault(decision.service, set()).add(labels)
                for guardrail in decision.guardrails:
                    self._guardrails.labels(guardrail, decision.service).inc()
                    self._guarded.setdefault(decision.service, set()).add((guardrail, decision.service))
                if decision.outcome == "failed":
                    self.api_error("scale")
            if record.services:
                self._with_services = record
                self._forget_all_but({decision.service for decision in record.services})

    def api_error(self, source: str, count: int = 1) -> None:
        """Count failed calls that no record tells of: `events`, `lease`. Sources are a handful of fixed names."""
        self._api_errors.labels(source).inc(count)

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are between two records."""
        with self._lock:
            families = [
                family
                for counted in (self._decisions, self._guardrails, self._api_errors, self._intervals, self._seconds)
                for family in counted.collect()
            ]
            gauges = list(self._gauges())
        for family in families:
            # When a counter was created is a series more for each, and by the machine's clock.
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        yield from families
        yield from gauges

    def _gauges(self) -> Iterator[Metric]:
        last, services = self._last, self._with_services
        yield GaugeMetricFamily(
            "gnnrl_last_valid_decision_timestamp_seconds",
            "Unix time of the last valid decision; 0 = none yet",
            self._last_valid_seconds,
        )
        # With its mode: nobody takes turns at a dry run, so that all its processes lead, and only of live ones two are too many.
        leader = GaugeMetricFamily("gnnrl_leader", "1 = this process may act, in its mode", labels=["mode"])
        leader.add_metric([last.mode if last is not None else ""], float(last is not None and last.is_leader))
        yield leader
        age = GaugeMetricFamily("gnnrl_data_age_seconds", "Age of what the last decision saw", labels=["source"])
        for source, seconds in (last.data_age_seconds if last is not None else {}).items():
            age.add_metric([source], seconds)
        yield age
        replicas = GaugeMetricFamily("gnnrl_replicas", "Replicas, in the last decision", labels=["service", "kind"])
        influence = GaugeMetricFamily(
            "gnnrl_influence", "What weighed most on the wishes, in replicas", labels=["service", "input"]
        )
        if services is not None:
            for decision in services.services:
                for kind in ("current", "wish", "final", "ready"):
                    replicas.add_metric([decision.service, kind], getattr(decision, kind))
            every = ((abs(i.weight), d.service, i.name, i.weight) for d in services.services for i in d.influences)
            for _, service, name, weight in heapq.nlargest(INFLUENCES_SHOWN, every):
                influence.add_metric([service, name], weight)
        yield replicas
        yield influence

    def _forget_all_but(self, services: set[str]) -> None:
        for counter, labels_of in ((self._decisions, self._counted), (self._guardrails, self._guarded)):
            for service in labels_of.keys() - services:
                for labels in labels_of.pop(service):
                    counter.remove(*labels)


class MetricsServer:
    """Serves `/metrics`, `/healthz` (liveness) and `/readyz` (readiness): 200, or 503 with what is the matter.

    Args:
        metrics: what `/metrics` shows.
        port: 0 = any that is free; see `port`.
        readiness: whether it does its work: has read, has decided.
        liveness: whether it needs no restart; None = it answers, so it lives.
        host: address to listen on.

    Raises:
        MetricsServerError: the port cannot be listened on.
    """

    def __init__(
        self,
        metrics: LiveMetrics,
        port: int,
        readiness: Probe,
        liveness: Probe | None = None,
        *,
        host: str = "0.0.0.0",
    ) -> None:
        try:
            self._server = _Server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise MetricsServerError(
                f"cannot serve metrics on {host}:{port}: {error}; choose a free port with --metrics-port"
            ) from error
        self._server.metrics = metrics
        self._server.probes = {"/readyz": readiness, "/healthz": liveness or (lambda: (True, ""))}
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)

    def start(self) -> None:
        """Serve from now on, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    metrics: LiveMetrics
    probes: dict[str, Probe]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is none of our errors; the base class would print a traceback over the screen."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "gnnrl"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 30.0
    """Seconds that an idle connection is kept: a client that sends nothing must not hold a thread for ever."""

    def do_GET(self) -> None:
        """Answer one of the three paths."""
        path = urlsplit(self.path).path
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, self.server.metrics.exposition())
        elif path in self.server.probes:
            well, matter = self.server.probes[path]()
            text = matter or ("ok" if well else "not ready")
            self._answer(200 if well else 503, "text/plain; charset=utf-8", f"{text}\n".encode())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Probes every few seconds are no news."""
