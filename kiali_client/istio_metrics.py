"""The service graph in Istio's own metrics: the queries, and what their answers add up to. Pure: no network, no clock.

Every proxy reports what it sent (`reporter="source"`) and what it received (`destination`, or `waypoint` in an ambient mesh),
so that a call inside the namespace is reported twice. Of the two the larger rate is taken, per edge and kind of answer: they
agree where both saw the call, and a call that never arrived is known to its source alone. Response times are the callers'
where they have them, as in Kiali; who was authenticated is known to the receiver alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kiali_client.errors import KialiSchemaError
from kiali_client.models import Edge, Node, NodeKey, ServiceGraph, Traffic
from kiali_client.parse import LARGEST_RATE, SHOWN_PROBLEMS

__all__ = ["Query", "Sample", "graph_from_samples", "istio_queries"]

Measure = Literal["requests", "latency", "tcp"]
Reporter = Literal["destination", "source"]

REPORTERS: tuple[Reporter, ...] = ("destination", "source")

EDGE_LABELS = (
    "source_workload",
    "source_workload_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service_name",
)
ANSWER_LABELS = ("request_protocol", "response_code", "grpc_response_status")
SECURITY_LABEL = "connection_security_policy"
MUTUAL_TLS = "mutual_tls"

UNKNOWN = "unknown"
ROUNDING = "0.001"
"""Of every value, as Kiali has it."""


class Query(NamedTuple):
    """What a query measures, and which of the two ends of a call reports it."""

    measure: Measure
    reporter: Reporter


class Sample(NamedTuple):
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float
    seconds: float | None = None
    """Unix seconds that it is the value of; None = not told."""


def istio_queries(namespaces: Sequence[str], duration_seconds: int) -> dict[Query, str]:
    """PromQL for the calls into and out of the namespaces, means over the period.

    Rates are requests/s, and bytes/s for tcp; latency is the 95th percentile in ms.
    """
    one = len(namespaces) == 1
    namespace = f'="{namespaces[0]}"' if one else f'=~"{"|".join(namespaces)}"'
    queries: dict[Query, str] = {}
    for reporter in REPORTERS:
        selector = f'{{reporter=~"waypoint|{reporter}",{reporter}_workload_namespace{namespace}}}[{duration_seconds}s]'
        requests = _sum(f"istio_requests_total{selector}", (*EDGE_LABELS, *ANSWER_LABELS, SECURITY_LABEL))
        buckets = _sum(
            f"istio_request_duration_milliseconds_bucket{selector}", ("le", *EDGE_LABELS, "request_protocol")
        )
        tcp = _sum(f"istio_tcp_sent_bytes_total{selector}", (*EDGE_LABELS, SECURITY_LABEL))
        queries[Query("requests", reporter)] = f"round({requests},{ROUNDING})"
        queries[Query("latency", reporter)] = f"round(histogram_quantile(0.95,{buckets}),{ROUNDING})"
        queries[Query("tcp", reporter)] = f"round({tcp},{ROUNDING})"
    return queries


def _sum(series: str, labels: Sequence[str]) -> str:
    return f"sum(rate({series})) by ({','.join(labels)})"


class _Pair(NamedTuple):
    source: NodeKey
    target: NodeKey


class _Flow(NamedTuple):
    """One kind of answer along an edge; its two reports are one fact."""

    pair: _Pair
    protocol: str
    failed: bool
    answer: str


@dataclass
class _Reported:
    """What one end says of a flow."""

    rate: float = 0.0
    mutual_tls_rate: float = 0.0


@dataclass
class _Traffic:
    """Sums over the flows of a protocol along an edge."""

    rate: float = 0.0
    failed_rate: float = 0.0
    mutual_tls_rate: float = 0.0
    times: dict[Reporter, float] = field(default_factory=dict)


def graph_from_samples(
    answers: Mapping[Query, Sequence[Sample]], *, namespaces: Sequence[str], timestamp: int, duration_seconds: int
) -> ServiceGraph:
    """The workload graph that the answers to `istio_queries` add up to.

    Raises:
        KialiSchemaError: a rate is no finite number or negative; all of these at once.
    """
    problems: list[str] = []
    flows: dict[_Flow, dict[Reporter, _Reported]] = defaultdict(lambda: defaultdict(_Reported))
    for query, samples in answers.items():
        if query.measure == "latency":
            continue
        for sample in samples:
            if not (0.0 <= sample.value <= LARGEST_RATE):
                source, target = _pair(sample.labels)
                problems.append(
                    f"{query.measure}, {source} to {target}: a rate of {sample.value} is no finite number >= 0"
                )
                continue
            reported = flows[_flow(query.measure, sample.labels)][query.reporter]
            reported.rate += sample.value
            if sample.labels.get(SECURITY_LABEL) == MUTUAL_TLS:
                reported.mutual_tls_rate += sample.value
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        raise KialiSchemaError(problems[:SHOWN_PROBLEMS] + ([f"and {more} more problems"] if more > 0 else []))
    pairs: dict[_Pair, dict[str, _Traffic]] = {}
    for flow, reports in flows.items():
        traffic = pairs.setdefault(flow.pair, {}).setdefault(flow.protocol, _Traffic())
        rate = max(report.rate for report in reports.values())
        traffic.rate += rate
        traffic.failed_rate += rate if flow.failed else 0.0
        judge = reports.get("destination") or reports["source"]
        traffic.mutual_tls_rate += rate * judge.mutual_tls_rate / judge.rate if judge.rate else 0.0
    for query, samples in answers.items():
        if query.measure == "latency":
            for sample in samples:
                _add_time(pairs, query.reporter, sample)
    edges = tuple(
        Edge(source=pair.source, target=pair.target, traffic=tuple(_as_traffic(p, t) for p, t in by_protocol.items()))
        for pair, by_protocol in pairs.items()
    )
    return ServiceGraph(
        timestamp=timestamp,
        duration_seconds=duration_seconds,
        graph_type="workload",
        nodes=_nodes(edges, namespaces),
        edges=edges,
    )


def _add_time(pairs: Mapping[_Pair, Mapping[str, _Traffic]], reporter: Reporter, sample: Sample) -> None:
    """Of several services of one workload, the slowest counts. NaN (no request in the period) and +Inf are no times."""
    traffic = pairs.get(_pair(sample.labels), {}).get(_protocol(sample.labels))
    if traffic is not None and 0.0 <= sample.value <= LARGEST_RATE:
        traffic.times[reporter] = max(sample.value, traffic.times.get(reporter, 0.0))


def _as_traffic(protocol: str, traffic: _Traffic) -> Traffic:
    is_tcp = protocol == "tcp"
    return Traffic(
        protocol=protocol,
        rps=0.0 if is_tcp else traffic.rate,
        bytes_per_second=traffic.rate if is_tcp else 0.0,
        error_share=traffic.failed_rate / traffic.rate if traffic.rate else 0.0,
        response_time_ms=traffic.times.get("source", traffic.times.get("destination")),
        mtls_share=traffic.mutual_tls_rate / traffic.rate if traffic.rate else 0.0,
    )


def _nodes(edges: Sequence[Edge], namespaces: Sequence[str]) -> tuple[Node, ...]:
    called = {edge.target for edge in edges}
    keys = dict.fromkeys(key for edge in edges for key in (edge.source, edge.target))
    return tuple(
        Node(
            key=key,
            is_root=key not in called,
            is_outside=key.namespace not in (*namespaces, UNKNOWN),
            is_inaccessible=key.kind != "workload",
        )
        for key in keys
    )


def _flow(measure: Measure, labels: Mapping[str, str]) -> _Flow:
    if measure == "tcp":
        return _Flow(_pair(labels), "tcp", failed=False, answer="")
    protocol, code = _protocol(labels), labels.get("response_code", "")
    # Proxies answer gRPC calls that they cannot pass on with 200 and a status; older ones with an HTTP code and none.
    status = labels.get("grpc_response_status", "") if protocol == "grpc" else ""
    failed = (status.isdigit() and int(status) != 0) or code[:1] in ("4", "5") or code == "0"
    service = labels.get("destination_service_name", "")
    return _Flow(_pair(labels), protocol, failed, f"{code}/{status}/{service}")


def _protocol(labels: Mapping[str, str]) -> str:
    return "grpc" if labels.get("request_protocol") == "grpc" else "http"


def _pair(labels: Mapping[str, str]) -> _Pair:
    return _Pair(_end(labels, "source"), _end(labels, "destination"))


def _end(labels: Mapping[str, str], side: str) -> NodeKey:
    """A workload; or, for a target that is none, the service that was called (an outside host, PassthroughCluster)."""
    namespace = labels.get(f"{side}_workload_namespace") or UNKNOWN
    workload = labels.get(f"{side}_workload") or UNKNOWN
    service = (labels.get("destination_service_name") or UNKNOWN) if side == "destination" else UNKNOWN
    if workload != UNKNOWN:
        return NodeKey("", namespace, workload, "workload")
    if service != UNKNOWN:
        return NodeKey("", namespace, service, "service")
    return NodeKey("", UNKNOWN, UNKNOWN, "unknown")
