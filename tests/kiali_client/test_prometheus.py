"""The graph from Istio's metrics: what two reporters say of one call, what the queries ask, and answers that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kiali_client import (
    KialiAuthenticationError,
    KialiAuthorizationError,
    KialiError,
    KialiNotFoundError,
    KialiPayloadError,
    KialiSchemaError,
    KialiUnavailableError,
    NodeKey,
    PrometheusClient,
    ServiceGraph,
    istio_queries,
)
from tests.kiali_client.fake_kiali import RENEWED, TOKEN, as_json

AT = 1700000042
INGRESS = NodeKey("", "istio-system", "ingress", "workload")
WEB = NodeKey("", "shop", "web", "workload")
CART = NodeKey("", "shop", "cart", "workload")


def workloads(source: NodeKey, target: NodeKey, **labels: str) -> dict[str, str]:
    return {
        "source_workload": source.name,
        "source_workload_namespace": source.namespace,
        "destination_workload": target.name,
        "destination_workload_namespace": target.namespace,
        "destination_service_name": target.name,
    } | labels


def http(source: NodeKey, target: NodeKey, code: str = "200", **labels: str) -> dict[str, str]:
    return workloads(source, target, **({"request_protocol": "http", "response_code": code} | labels))


def grpc(source: NodeKey, target: NodeKey, status: str = "0", code: str = "200", **labels: str) -> dict[str, str]:
    return http(source, target, code, request_protocol="grpc", grpc_response_status=status, **labels)


class FakePrometheus:
    """Answers each query by its metric and reporter; series are (labels, value)."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/prom")
        self.series: dict[tuple[str, str], list[tuple[dict[str, str], str]]] = {}
        self.stamp = float(AT)
        self.asked: list[Request] = []
        self.answers: list[Response] = []
        self.token = ""
        server.expect_request(re.compile(".*")).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.asked.append(request)
        if self.answers:
            return self.answers.pop(0)
        if request.path != "/prom/api/v1/query":
            return Response("404 page not found", status=404)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response("Unauthorized", status=401)
        query = request.args["query"]
        found = re.search(
            r"(requests_total|duration_milliseconds_bucket|tcp_sent_bytes_total)\{reporter=~?\"(?:waypoint\|)?(\w+)",
            query,
        )
        assert found is not None
        metric, reporter = found.groups()
        if "count_over_time" in query:
            metric, reporter = ("samples" if query.startswith("min") else "long_samples"), "any"
        elif 'source",source_workload_namespace!=' in query:
            reporter = "entry"
        result = [
            {"metric": labels, "value": [self.stamp, value]}
            for labels, value in self.series.get((metric, reporter), [])
        ]
        return as_json({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakePrometheus:
    return FakePrometheus(httpserver)


def fetch(prometheus: FakePrometheus, **options: Any) -> ServiceGraph:
    with PrometheusClient(
        prometheus.url, **({"retries": 0, "timeout_seconds": 2.0, "now": lambda: AT + 0.9} | options)
    ) as client:
        return client.fetch_service_graph("shop")


@pytest.mark.parametrize("stamp", [AT - 300.0, AT + 600.0])
def test_answers_of_another_time_than_asked_for_say_so(prometheus: FakePrometheus, stamp: float) -> None:
    """Of a cache in between, or of a wrong clock: their age is judged by whoever reads the graph."""
    labels = {"source_workload": "a", "destination_workload": "b"}
    prometheus.series[("requests_total", "source")] = [(labels, "3")]
    assert fetch(prometheus).timestamp == AT
    prometheus.stamp = stamp
    assert fetch(prometheus).timestamp == int(stamp)


def test_the_queries_are_those_of_kiali() -> None:
    queries = list(istio_queries(["shop"], 90).values())
    labels = (
        "source_cluster,source_workload,source_workload_namespace,"
        "destination_cluster,destination_workload,destination_workload_namespace,destination_service_name"
    )
    witness = "reporter,prometheus_replica"
    assert queries[0] == (
        'round(sum(rate(istio_requests_total{reporter=~"waypoint|destination",destination_workload_namespace="shop"}[90s])) by '
        f"({labels},request_protocol,response_code,grpc_response_status,connection_security_policy,{witness}),0.001)"
    )
    assert queries[4] == (
        "round(histogram_quantile(0.95,sum(rate(istio_request_duration_milliseconds_bucket"
        '{reporter=~"waypoint|source",source_workload_namespace="shop"}[90s])) by '
        f"(le,{labels},request_protocol)),0.001)"
    )
    assert queries[2] == (
        'round(sum(rate(istio_tcp_sent_bytes_total{reporter=~"waypoint|destination",destination_workload_namespace="shop"}[90s]))'
        f" by ({labels},connection_security_policy,{witness}),0.001)"
    )
    assert 'source_workload_namespace=~"shop|bank"}[60s]' in list(istio_queries(["shop", "bank"], 60).values())[3]
    assert queries[6] == (
        'round(sum(rate(istio_requests_total{reporter="source",source_workload_namespace!="shop",destination_workload_namespace="shop"}'
        f"[90s])) by ({labels},request_protocol,response_code,grpc_response_status,connection_security_policy,{witness}),0.001)"
    )
    called = 'istio_requests_total{reporter=~"destination|source|waypoint",destination_workload_namespace="shop"}'
    assert queries[7:] == [
        f"min(count_over_time({called}[90s])) by ({labels},{witness})",
        f"max(count_over_time({called}[450s])) by ({labels},{witness})",
    ]
    assert len(set(queries)) == 9


def test_a_call_that_both_ends_report_counts_once(prometheus: FakePrometheus) -> None:
    secured = {"connection_security_policy": "mutual_tls"}
    prometheus.series = {
        ("requests_total", "destination"): [
            (http(INGRESS, WEB, **secured), "30"),
            (http(WEB, CART, **secured), "12"),
            (http(WEB, CART), "6"),
            (http(WEB, CART, "503"), "1"),
        ],
        ("requests_total", "source"): [
            (http(WEB, CART, connection_security_policy="unknown"), "17.5"),
            # What never arrived is known to its source alone.
            (http(WEB, CART, "503"), "3"),
            (http(WEB, CART, "0"), "1"),
        ],
        ("duration_milliseconds_bucket", "destination"): [(http(INGRESS, WEB), "41"), (http(WEB, CART), "20")],
        ("duration_milliseconds_bucket", "source"): [(http(WEB, CART), "25.5")],
    }
    graph = fetch(prometheus)
    edges = {(edge.source, edge.target): edge for edge in graph.edges}
    assert set(edges) == {(INGRESS, WEB), (WEB, CART)}
    inner = edges[WEB, CART]
    assert inner.rps == 17.5 + 3.0 + 1.0, "the caller saw more than the 19 that arrived"
    assert inner.error_share == pytest.approx(4.0 / 21.5)
    assert inner.mtls_share == pytest.approx(12.0 / 19.0)
    assert inner.response_time_ms == 25.5, "what the caller waits for"
    assert (edges[INGRESS, WEB].rps, edges[INGRESS, WEB].mtls_share, edges[INGRESS, WEB].response_time_ms) == (
        30.0,
        1.0,
        41.0,
    )
    assert (graph.timestamp, graph.duration_seconds, graph.graph_type) == (AT, 60, "workload")
    nodes = graph.by_key
    assert (nodes[INGRESS].is_root, nodes[INGRESS].is_outside, nodes[INGRESS].scalable) == (True, True, False)
    assert (nodes[WEB].is_root, nodes[WEB].is_outside, nodes[WEB].scalable) == (False, False, True)
    assert {request.args["time"] for request in prometheus.asked} == {str(AT)}


def test_protocols_are_kept_apart_and_grpc_fails_by_its_status(prometheus: FakePrometheus) -> None:
    prometheus.series = {
        ("requests_total", "source"): [
            (grpc(WEB, CART), "6"),
            (grpc(WEB, CART, "14"), "2"),
            (grpc(WEB, CART, "", "503"), "1"),
            (grpc(WEB, CART, ""), "1"),
            (http(WEB, CART), "10"),
            (http(WEB, CART, "301"), "5"),
            (http(WEB, CART, "404"), "5"),
        ],
        ("tcp_sent_bytes_total", "destination"): [
            (workloads(WEB, CART, connection_security_policy="mutual_tls"), "9000.5")
        ],
        ("tcp_sent_bytes_total", "source"): [(workloads(WEB, CART), "8000")],
        ("duration_milliseconds_bucket", "source"): [(grpc(WEB, CART), "7"), (http(WEB, CART), "90")],
    }
    (edge,) = fetch(prometheus).edges
    traffic = {one.protocol: one for one in edge.traffic}
    assert set(traffic) == {"grpc", "http", "tcp"}
    assert (traffic["grpc"].rps, traffic["grpc"].error_share, traffic["grpc"].response_time_ms) == (10.0, 0.3, 7.0)
    assert (traffic["http"].rps, traffic["http"].error_share, traffic["http"].response_time_ms) == (20.0, 0.25, 90.0)
    assert (traffic["tcp"].rps, traffic["tcp"].bytes_per_second, traffic["tcp"].mtls_share) == (0.0, 9000.5, 1.0)
    assert edge.rps == 30.0


def test_two_services_of_one_workload_add_up_and_the_slower_time_counts(prometheus: FakePrometheus) -> None:
    prometheus.series = {
        ("requests_total", reporter): [
            (http(WEB, CART), "4"),
            (http(WEB, CART, destination_service_name="cart-canary"), "3"),
        ]
        for reporter in ("source", "destination")
    } | {
        ("duration_milliseconds_bucket", "source"): [
            (http(WEB, CART), "10"),
            (http(WEB, CART, destination_service_name="cart-canary"), "30"),
        ]
    }
    (edge,) = fetch(prometheus).edges
    assert (edge.rps, edge.response_time_ms) == (7.0, 30.0)


def test_times_that_are_none_are_unknown_and_idle_calls_stay(prometheus: FakePrometheus) -> None:
    prometheus.series = {
        ("requests_total", "destination"): [(http(WEB, CART), "0"), (http(INGRESS, WEB), "2")],
        ("duration_milliseconds_bucket", "destination"): [(http(WEB, CART), "NaN"), (http(INGRESS, WEB), "+Inf")],
        ("duration_milliseconds_bucket", "source"): [(http(CART, WEB), "5")],
    }
    edges = {(edge.source, edge.target): edge for edge in fetch(prometheus).edges}
    assert set(edges) == {(WEB, CART), (INGRESS, WEB)}
    assert all(edge.response_time_ms is None for edge in edges.values())
    assert (edges[WEB, CART].rps, edges[WEB, CART].error_share, edges[WEB, CART].mtls_share) == (0.0, 0.0, 0.0)


def test_what_is_no_workload_is_not_scalable(prometheus: FakePrometheus) -> None:
    unknown = {"source_workload": "unknown", "source_workload_namespace": "unknown"}
    outside = {"destination_workload": "unknown", "destination_workload_namespace": "unknown"}
    prometheus.series = {
        ("requests_total", "source"): [
            (http(WEB, CART) | outside | {"destination_service_name": "PassthroughCluster"}, "1"),
            (http(WEB, CART) | outside | {"destination_service_name": "api.bank.example"}, "2"),
            (http(WEB, CART) | outside | {"destination_service_name": "unknown"}, "3"),
        ],
        ("requests_total", "destination"): [(http(WEB, CART) | unknown, "4"), ({}, "5")],
    }
    graph = fetch(prometheus)
    kinds = {node.key: node.scalable for node in graph.nodes}
    assert kinds == {
        WEB: True,
        CART: True,
        NodeKey("", "unknown", "PassthroughCluster", "service"): False,
        NodeKey("", "unknown", "api.bank.example", "service"): False,
        NodeKey("", "unknown", "unknown", "unknown"): False,
    }
    assert sum(edge.rps for edge in graph.edges) == 15.0


def test_no_metrics_are_an_empty_graph(prometheus: FakePrometheus) -> None:
    graph = fetch(prometheus)
    assert (graph.nodes, graph.edges, len(prometheus.asked)) == ((), (), 9)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e300"])
def test_a_rate_that_is_no_rate_is_an_error_with_its_place(prometheus: FakePrometheus, value: str) -> None:
    prometheus.series = {("requests_total", "source"): [(http(WEB, CART), value)] * 30}
    with pytest.raises(
        KialiSchemaError, match="requests, workload shop/web to workload shop/cart: a rate of"
    ) as caught:
        fetch(prometheus)
    assert "/prom/api/v1/query" in str(caught.value)
    assert "and 10 more problems" in str(caught.value)


def vector(result: object, **more: object) -> Response:
    return as_json({"status": "success", "data": {"resultType": "vector", "result": result}} | more)


@pytest.mark.parametrize(
    ("answer", "kind", "part"),
    [
        (as_json({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400), KialiPayloadError, "parse error - bad_data"),
        (as_json({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503), KialiUnavailableError, "timed out"),
        (as_json({"status": "error", "errorType": "execution", "error": "out of memory"}, 422), KialiPayloadError, "out of memory"),
        (as_json({"status": "error", "error": "oops"}), KialiPayloadError, "oops"),
        (Response("no", status=403), KialiAuthorizationError, "the right to query"),
        (Response("no", status=401), KialiAuthenticationError, "asks for a token"),
        (Response("404 page not found", status=404), KialiNotFoundError, "/api/v1/query"),
        (Response("<html>Grafana</html>"), KialiPayloadError, "a web page"),
        (vector([], warnings=["store 10.0.0.7: no answer"]), KialiUnavailableError, "store 10.0.0.7"),
        (as_json({"status": "success", "data": {"resultType": "matrix", "result": []}}), KialiSchemaError, "instant vector"),
        (as_json({"status": "success"}), KialiSchemaError, "instant vector"),
        (vector({}), KialiSchemaError, "instant vector"),
        (vector([1]), KialiSchemaError, r"data.result\[0\]"),
        (vector([{"metric": {}, "value": [1, "x"]}]), KialiSchemaError, r"data.result\[0\]"),
        (vector([{"metric": {}, "value": [None, "1"]}]), KialiSchemaError, "one value and its time"),
        (vector([{"metric": {}, "value": [1e300, "1"]}]), KialiSchemaError, "one value and its time"),
        (vector([{"metric": {"source_workload": "a\ud800"}, "value": [1, "1"]}]), KialiSchemaError, r"data.result\[0\]"),
        (vector([{"metric": {"a": 1}, "value": [1, "1"]}]), KialiSchemaError, r"data.result\[0\]"),
        (vector([{"metric": {}, "values": [[1, "1"]]}]), KialiSchemaError, r"data.result\[0\]"),
    ],
)  # fmt: skip
def test_each_refusal_names_prometheus_and_the_path(
    prometheus: FakePrometheus, answer: Response, kind: type[KialiError], part: str
) -> None:
    prometheus.answers = [answer]
    with pytest.raises(KialiError, match=part) as caught:
        fetch(prometheus)
    assert type(caught.value) is kind
    assert f"Prometheus GET {prometheus.url}/api/v1/query" in str(caught.value)
    assert "istio_requests_total" not in str(caught.value)


def test_notes_on_a_query_are_no_gap_in_the_data(prometheus: FakePrometheus) -> None:
    prometheus.answers = [
        vector([], warnings=["PromQL warning: bucket label is missing"], infos=["PromQL info: no counter"])
    ]
    assert fetch(prometheus).nodes == ()


def test_an_answer_whose_head_says_that_it_is_limited_is_none(prometheus: FakePrometheus) -> None:
    limited = as_json({"status": "success", "data": {"resultType": "vector", "result": []}})
    limited.headers["m3-results-limited"] = "max_fetch_series_limit_applied"
    prometheus.answers = [limited]
    with pytest.raises(
        KialiUnavailableError, match=r"/query: .*missing \(M3-Results-Limited: max_fetch_series_limit_applied\)"
    ):
        fetch(prometheus)


def test_a_token_is_sent_and_its_file_read_again_at_a_401(prometheus: FakePrometheus, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    prometheus.token = TOKEN
    client = PrometheusClient(prometheus.url, token_file=path, retries=0)
    client.fetch_service_graph("shop")
    path.write_text(RENEWED)
    client.fetch_service_graph("shop")
    assert len(prometheus.asked) == 18
    prometheus.token = RENEWED
    client.fetch_service_graph("shop")
    assert len(prometheus.asked) == 28
    prometheus.token = "another"
    with pytest.raises(KialiAuthenticationError, match=f"refuses the token in {path}") as caught:
        client.fetch_service_graph("shop")
    assert len(prometheus.asked) == 30
    assert TOKEN not in str(caught.value) and RENEWED not in str(caught.value)
    fixed = PrometheusClient(prometheus.url, token=TOKEN)
    with pytest.raises(KialiAuthenticationError, match="refuses the token given"):
        fixed.fetch_service_graph("shop")
    assert len(prometheus.asked) == 31, "a token that cannot change is not sent again"


def test_an_unreachable_prometheus_is_named() -> None:
    with pytest.raises(
        KialiUnavailableError, match=r"^Prometheus GET http://127\.0\.0\.1:9/api/v1/query: connection refused"
    ):
        PrometheusClient("http://127.0.0.1:9", retries=0).fetch_service_graph("shop", deadline_seconds=1.0)


@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_a_token_that_prometheus_repeats_is_not_told(prometheus: FakePrometheus, status: int) -> None:
    for answer in (
        Response(f"{'x' * 60} {TOKEN}", status=status),
        as_json({"status": "error", "error": f"for {TOKEN}"}, status),
    ):
        prometheus.answers = [answer]
        with pytest.raises(KialiError) as caught:
            fetch(prometheus, token=TOKEN)
        assert TOKEN[:12] not in str(caught.value)
        assert caught.value.__context__ is None
