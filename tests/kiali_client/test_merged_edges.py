"""Edges that become one, number by number: rates add, shares are weighted by them, a time is that of who carried more."""

from __future__ import annotations

from typing import Any

import pytest

from kiali_client.istio_metrics import Query, Sample, graph_from_samples
from kiali_client.parse import parse_graph


def node(identifier: str, name: str) -> dict[str, Any]:
    return {"id": identifier, "nodeType": "workload", "cluster": "east", "namespace": "shop", "workload": name}


def merged(*edges: dict[str, Any]) -> Any:
    """The one edge that edges from web to the ids of cart come to."""
    twins = sorted({edge["target"] for edge in edges})
    nodes = [node("0", "web"), *(node(twin, "cart") for twin in twins)]
    document = {
        "timestamp": 1,
        "duration": 60,
        "graphType": "workload",
        "elements": {
            "nodes": [{"data": data} for data in nodes],
            "edges": [{"data": data} for data in edges],
        },
    }
    (found,) = parse_graph(document).edges
    return found


def edge(target: str, protocol: str, rate: str, **more: str) -> dict[str, Any]:
    rates = {protocol: rate} | ({f"{protocol}PercentErr": more.pop("errors")} if "errors" in more else {})
    return {"source": "0", "target": target, "traffic": {"protocol": protocol, "rates": rates}, **more}


QUIET = {"rate": "10.00", "errors": "50.0", "responseTime": "400", "throughput": "7000", "isMTLS": "0"}
BUSY = {"rate": "30.00", "errors": "10.0", "responseTime": "50", "throughput": "900", "isMTLS": "100"}


@pytest.mark.parametrize("order", [(QUIET, BUSY), (BUSY, QUIET)])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_two_edges_of_one_protocol_have_the_time_of_the_busier(order: Any, protocol: str) -> None:
    found = merged(*(edge(str(k + 1), protocol, **values) for k, values in enumerate(order)))
    (traffic,) = found.traffic
    assert traffic.rps == 40.0 and traffic.bytes_per_second == 0.0
    assert traffic.error_share == pytest.approx((10 * 0.5 + 30 * 0.1) / 40)
    assert traffic.mtls_share == pytest.approx(0.75)
    assert traffic.response_time_ms == 50.0 == found.response_time_ms
    assert traffic.throughput_bytes_per_second == 900.0


def test_a_third_edge_is_weighed_against_both_of_the_others() -> None:
    loads = (("1", "20.00", "300", "0"), ("2", "15.00", "70", "100"), ("3", "30.00", "9", "0"))
    found = merged(*(edge(t, "http", rate, responseTime=time, isMTLS=mtls) for t, rate, time, mtls in loads))
    # 20 of 35 first, then 35 against 30: what was busier before stays.
    assert (found.rps, found.response_time_ms) == (65.0, 300.0)
    assert found.mtls_share == pytest.approx(15.0 / 65.0)


def test_bytes_weigh_edges_of_tcp_and_nothing_weighs_silent_ones() -> None:
    found = merged(edge("1", "tcp", "100.00", isMTLS="100"), edge("2", "tcp", "300.00", isMTLS="0"))
    (traffic,) = found.traffic
    assert (traffic.rps, traffic.bytes_per_second, traffic.mtls_share) == (0.0, 400.0, 0.25)
    silent = merged(edge("1", "http", "0", responseTime="3", isMTLS="100"), edge("2", "http", "0", responseTime="8"))
    (traffic,) = silent.traffic
    assert (traffic.rps, traffic.mtls_share, traffic.response_time_ms) == (0.0, 0.5, 3.0)


def labels(service: str, **more: str) -> dict[str, str]:
    return {
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "destination_workload": "cart",
        "destination_workload_namespace": "shop",
        "destination_service_name": service,
        "request_protocol": "http",
        "response_code": "200",
        **more,
    }


def test_what_istio_reports_of_an_edge_adds_up_once() -> None:
    """Two services of one workload, told by both ends: the larger report of the whole edge, its outcomes as the caller saw them."""
    tls = {"connection_security_policy": "mutual_tls"}
    answers = {
        Query("requests", "source"): [
            Sample(labels("a"), 6.0),
            Sample(labels("a", response_code="503"), 2.0),
            Sample(labels("b"), 10.0),
        ],
        Query("requests", "destination"): [
            Sample(labels("a", **tls), 5.0),
            Sample(labels("b", **tls), 9.0),
            Sample(labels("b"), 3.0),
        ],
        Query("latency", "source"): [Sample(labels("b"), 35.0), Sample(labels("a"), 20.0)],
        Query("latency", "destination"): [Sample(labels("a"), 90.0)],
    }
    graph = graph_from_samples(answers, namespaces=["shop"], timestamp=1, duration_seconds=60)
    (found,) = graph.edges
    (traffic,) = found.traffic
    # The callers tell of 6 + 2 + 10, of which 2 failed; the receivers of 5 + 9 + 3, of which 3 are not authenticated.
    assert traffic.rps == pytest.approx(18.0)
    assert traffic.error_share == pytest.approx(2.0 / 18.0)
    assert traffic.mtls_share == pytest.approx(14.0 / 17.0)
    assert traffic.response_time_ms == 35.0  # the callers' slowest, whatever the receivers say
