"""The service graph in Istio's own metrics: what the answers to `istio_queries` add up to. Pure: no network, no clock.

Every proxy reports what it sent (`reporter="source"`) and what it received (`destination`, or `waypoint` in an ambient mesh), so that a
call inside the namespace is reported twice, and the two need not name it alike: the caller gave up (504) where the callee answered late
(200) or saw the connection go (0). So the reporters are compared by edge, and only then divided by protocol and outcome (`EdgeReports`).
Response times are the callers' where they have them, as in Kiali.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from kiali_client.errors import KialiSchemaError
from kiali_client.flow_reports import EdgeReports, Flow, Witness
from kiali_client.identity import UNNAMED_CLUSTERS
from kiali_client.istio_queries import REPLICA_LABEL, SECURITY_LABEL, Query, Sample, istio_queries
from kiali_client.models import Edge, Node, NodeKey, ServiceGraph, Traffic
from kiali_client.parse import LARGEST_RATE, SHOWN_PROBLEMS
from kiali_client.sampling import SamplingMemory

__all__ = ["Query", "Sample", "graph_from_samples", "istio_queries"]

MUTUAL_TLS = "mutual_tls"
UNKNOWN = "unknown"
WITNESSES = ("source", "destination", "waypoint")

Times = dict[tuple["_Pair", str], dict[str, float]]


class _Pair(NamedTuple):
    source: NodeKey
    target: NodeKey


def graph_from_samples(
    answers: Mapping[Query, Sequence[Sample]],
    *,
    namespaces: Sequence[str],
    timestamp: int,
    duration_seconds: int,
    cluster: str = "",
    sampling: SamplingMemory | None = None,
) -> ServiceGraph:
    """The workload graph that the answers to `istio_queries` add up to.

    Args:
        answers: by query.
        namespaces: that were asked for.
        timestamp: unix seconds at the end of the period.
        duration_seconds: the period.
        cluster: whose workloads are `scalable`; the others' are marked as outside.
        sampling: what was seen of the series before; None = nothing.

    Raises:
        KialiSchemaError: a rate is no finite number or negative; all of these at once.
    """
    _check(answers)
    names = _Names((sample.labels for samples in answers.values() for sample in samples), cluster)
    requests, tcp = _reports(answers, "requests", names), _reports(answers, "tcp", names)
    times = _times(answers, names)
    thin = _thin_pairs(answers, names, float(timestamp), sampling or SamplingMemory())
    pairs = dict.fromkeys((*requests, *tcp, *sorted(thin)))
    edges = tuple(
        Edge(
            source=pair.source,
            target=pair.target,
            traffic=tuple(
                _traffic(protocol, flow, times.get((pair, protocol), {}))
                for reports in (requests.get(pair), tcp.get(pair))
                if reports is not None
                for protocol, flow in reports.merged().items()
            ),
            is_thinly_sampled=pair in thin,
        )
        for pair in pairs
    )
    return ServiceGraph(
        timestamp=timestamp,
        duration_seconds=duration_seconds,
        graph_type="workload",
        nodes=_nodes(edges, namespaces, cluster),
        edges=edges,
    )


def _check(answers: Mapping[Query, Sequence[Sample]]) -> None:
    problems = []
    for query, samples in answers.items():
        for sample in samples if query.measure != "latency" else ():
            if not (0.0 <= sample.value <= LARGEST_RATE):
                source, target = _Names((), "").pair(sample.labels)
                what = f"{query.measure}, {source} to {target}: a rate of {sample.value}"
                problems.append(f"{what} is no finite number >= 0")
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        raise KialiSchemaError(problems[:SHOWN_PROBLEMS] + ([f"and {more} more problems"] if more > 0 else []))


class _Names:
    """Which node a series means.

    A proxy that could not learn of its peer leaves the peer's cluster unknown: it is that in which the workload is known otherwise.
    """

    def __init__(self, labels: Iterable[Mapping[str, str]], cluster: str) -> None:
        clusters: dict[tuple[str, str], set[str]] = defaultdict(set)
        for each in labels:
            for side in ("source", "destination"):
                found = each.get(f"{side}_cluster", "")
                if found not in UNNAMED_CLUSTERS:
                    clusters[_workload(each, side)].add(found)
        self._cluster_of = {
            name: cluster if cluster in found else next(iter(found)) if len(found) == 1 else ""
            for name, found in clusters.items()
        }

    def pair(self, labels: Mapping[str, str]) -> _Pair:
        return _Pair(self._end(labels, "source"), self._end(labels, "destination"))

    def _end(self, labels: Mapping[str, str], side: str) -> NodeKey:
        """A workload; or, for a target that is none, the service that was called (an outside host, PassthroughCluster)."""
        namespace, workload = _workload(labels, side)
        service = (labels.get("destination_service_name") or UNKNOWN) if side == "destination" else UNKNOWN
        if workload != UNKNOWN:
            told = labels.get(f"{side}_cluster", "")
            cluster = self._cluster_of.get((namespace, workload), "") if told in UNNAMED_CLUSTERS else told
            return NodeKey(cluster, namespace, workload, "workload")
        if service != UNKNOWN:
            return NodeKey("", namespace, service, "service")
        return NodeKey("", UNKNOWN, UNKNOWN, "unknown")


def _workload(labels: Mapping[str, str], side: str) -> tuple[str, str]:
    return labels.get(f"{side}_workload_namespace") or UNKNOWN, labels.get(f"{side}_workload") or UNKNOWN


def _witness(query: Query, labels: Mapping[str, str]) -> Witness:
    asked = "source" if query.reporter == "entry" else query.reporter
    told = labels.get("reporter", asked)
    return Witness(told if told in WITNESSES else asked, labels.get(REPLICA_LABEL, ""))


def _reports(answers: Mapping[Query, Sequence[Sample]], measure: str, names: _Names) -> dict[_Pair, EdgeReports]:
    found: dict[_Pair, EdgeReports] = defaultdict(EdgeReports)
    told: dict[Hashable, Query] = {}
    for query, samples in answers.items():
        for sample in samples if query.measure == measure else ():
            labels, witness = sample.labels, _witness(query, sample.labels)
            # Two queries may select the same series (a waypoint's); within one answer each stands once.
            if told.setdefault((witness, *sorted(labels.items())), query) != query:
                continue
            protocol = "tcp" if measure == "tcp" else _protocol(labels)
            secured = labels.get(SECURITY_LABEL) == MUTUAL_TLS
            failed = measure != "tcp" and _failed(labels)
            found[names.pair(labels)].add(witness, protocol, sample.value, failed=failed, mutual_tls=secured)
    return found


def _times(answers: Mapping[Query, Sequence[Sample]], names: _Names) -> Times:
    """Of several services of one workload, the slowest counts. NaN (no request in the period) and +Inf are no times."""
    times: Times = defaultdict(dict)
    for query, samples in answers.items():
        for sample in samples if query.measure == "latency" else ():
            if 0.0 <= sample.value <= LARGEST_RATE:
                known = times[names.pair(sample.labels), _protocol(sample.labels)]
                known[query.reporter] = max(sample.value, known.get(query.reporter, 0.0))
    return times


def _thin_pairs(
    answers: Mapping[Query, Sequence[Sample]], names: _Names, now: float, sampling: SamplingMemory
) -> set[_Pair]:
    """Calls of which no witness has all the samples that the period must hold: one that has is enough, the largest report counts."""
    counted: dict[str, dict[tuple[_Pair, Witness], float]] = {"samples": {}, "long_samples": {}}
    for query, samples in answers.items():
        if query.measure in counted:
            least = min if query.measure == "samples" else max
            into = counted[query.measure]
            for sample in samples:
                key = (names.pair(sample.labels), _witness(query, sample.labels))
                into[key] = least(sample.value, into.get(key, sample.value))
    thin = sampling.thin(now, counted["samples"], counted["long_samples"])
    whole = {pair for (pair, _), is_thin in thin.items() if not is_thin}
    return {pair for pair, _ in thin} - whole


def _traffic(protocol: str, flow: Flow, times: Mapping[str, float]) -> Traffic:
    is_tcp = protocol == "tcp"
    return Traffic(
        protocol=protocol,
        rps=0.0 if is_tcp else flow.rate,
        bytes_per_second=flow.rate if is_tcp else 0.0,
        error_share=flow.failed_rate / flow.rate if flow.rate else 0.0,
        response_time_ms=times.get("source", times.get("destination")),
        mtls_share=flow.mutual_tls_rate / flow.rate if flow.rate else 0.0,
    )


def _nodes(edges: Sequence[Edge], namespaces: Sequence[str], cluster: str) -> tuple[Node, ...]:
    called = {edge.target for edge in edges}
    keys = dict.fromkeys(key for edge in edges for key in (edge.source, edge.target))
    return tuple(
        Node(
            key=key,
            is_root=key not in called,
            is_outside=key.namespace not in (*namespaces, UNKNOWN)
            or (cluster != "" and key.cluster not in (*UNNAMED_CLUSTERS, cluster)),
            is_inaccessible=key.kind != "workload",
        )
        for key in keys
    )


def _failed(labels: Mapping[str, str]) -> bool:
    """Proxies answer gRPC calls that they cannot pass on with 200 and a status; older ones with an HTTP code and none."""
    code = labels.get("response_code", "")
    status = labels.get("grpc_response_status", "") if _protocol(labels) == "grpc" else ""
    return (status.isdigit() and int(status) != 0) or code[:1] in ("4", "5") or code == "0"


def _protocol(labels: Mapping[str, str]) -> str:
    return "grpc" if labels.get("request_protocol") == "grpc" else "http"
