"""What is asked of Istio's metrics, and what an answer consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

__all__ = [
    "LONG_WINDOWS",
    "REPLICA_LABEL",
    "REPORTERS",
    "SECURITY_LABEL",
    "Query",
    "Reporter",
    "Sample",
    "istio_queries",
]

Measure = Literal["requests", "latency", "tcp", "samples", "long_samples"]
Reporter = Literal["destination", "source", "entry", "any"]

REPORTERS: tuple[Reporter, ...] = ("destination", "source")

EDGE_LABELS = (
    "source_cluster",
    "source_workload",
    "source_workload_namespace",
    "destination_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service_name",
)
ANSWER_LABELS = ("request_protocol", "response_code", "grpc_response_status")
SECURITY_LABEL = "connection_security_policy"
REPLICA_LABEL = "prometheus_replica"
"""Of a pair of the same Prometheus: each has a series of everything, and a store that does not know them for a pair shows both."""
WITNESS_LABELS = ("reporter", REPLICA_LABEL)
ROUNDING = "0.001"
"""Of every value, as Kiali has it."""
LONG_WINDOWS = 5
"""Windows over which samples are counted to learn how far apart they are."""


class Query(NamedTuple):
    """What a query measures, and who reports it."""

    measure: Measure
    reporter: Reporter
    """`destination` and `source`: that end of the calls is in the namespace; `entry`: the callers' own reports of calls into it from
    elsewhere; `any`: all reports of calls into it."""


class Sample(NamedTuple):
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float
    seconds: float | None = None
    """Unix seconds that it is the value of; None = not told."""


def istio_queries(namespaces: Sequence[str], duration_seconds: int) -> dict[Query, str]:
    """PromQL for the calls into and out of the namespaces, means over the period.

    Rates are requests/s, and bytes/s for tcp; latency is the 95th percentile in ms. `samples` are the fewest samples that any series of a
    call has in the period, `long_samples` the most that any has in `LONG_WINDOWS` of them.
    """
    one = len(namespaces) == 1
    here = f'="{namespaces[0]}"' if one else f'=~"{"|".join(namespaces)}"'
    elsewhere = f'!="{namespaces[0]}"' if one else f'!~"{"|".join(namespaces)}"'
    queries: dict[Query, str] = {}
    for reporter in REPORTERS:
        selector = f'{{reporter=~"waypoint|{reporter}",{reporter}_workload_namespace{here}}}[{duration_seconds}s]'
        queries[Query("requests", reporter)] = _requests(selector)
        times = _sum(f"istio_request_duration_milliseconds_bucket{selector}", ("le", *EDGE_LABELS, "request_protocol"))
        tcp = _sum(f"istio_tcp_sent_bytes_total{selector}", (*EDGE_LABELS, SECURITY_LABEL, *WITNESS_LABELS))
        queries[Query("latency", reporter)] = f"round(histogram_quantile(0.95,{times}),{ROUNDING})"
        queries[Query("tcp", reporter)] = f"round({tcp},{ROUNDING})"
    # A gateway is in no namespace that is asked for, and the only other witness of what enters.
    queries[Query("requests", "entry")] = _requests(
        f'{{reporter="source",source_workload_namespace{elsewhere},destination_workload_namespace{here}}}[{duration_seconds}s]'
    )
    called = f'istio_requests_total{{reporter=~"destination|source|waypoint",destination_workload_namespace{here}}}'
    by = ",".join((*EDGE_LABELS, *WITNESS_LABELS))
    for measure, least, seconds in (
        ("samples", "min", duration_seconds),
        ("long_samples", "max", LONG_WINDOWS * duration_seconds),
    ):
        queries[Query(measure, "any")] = f"{least}(count_over_time({called}[{seconds}s])) by ({by})"  # type: ignore[arg-type]
    return queries


def _requests(selector: str) -> str:
    labels = (*EDGE_LABELS, *ANSWER_LABELS, SECURITY_LABEL, *WITNESS_LABELS)
    return f"round({_sum(f'istio_requests_total{selector}', labels)},{ROUNDING})"


def _sum(series: str, labels: Sequence[str]) -> str:
    return f"sum(rate({series})) by ({','.join(labels)})"
