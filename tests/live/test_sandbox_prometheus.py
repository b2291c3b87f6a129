"""The sandbox's Prometheus answers the queries of a service graph, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from gnnrl.cluster.clock import SteppedClock
from gnnrl.live.sandbox.kiali_api import KialiApi
from gnnrl.live.sandbox.prometheus_api import PrometheusApi
from gnnrl.live.sandbox.world import SandboxWorld
from kiali_client.client import KialiClient
from kiali_client.istio_metrics import istio_queries
from kiali_client.prometheus import PrometheusClient
from tests.live.sandbox_worlds import ORIGIN, world_at

NAMESPACE = "onlineboutique"
TOTAL = "sum(rate(istio_requests_total{%s}[60s])) by (%s)"


@contextmanager
def prometheus_at(
    second: float, *, overloaded: bool = False
) -> Iterator[tuple[PrometheusApi, SandboxWorld, SteppedClock]]:
    world, clock = world_at(second, overloaded=overloaded)
    with PrometheusApi(world, clock) as api:
        assert isinstance(api, PrometheusApi)
        yield api, world, clock


def ask(api: PrometheusApi, query: str, **parameters: object) -> dict[str, Any]:
    asked = {"query": query, **{name: str(value) for name, value in parameters.items()}}
    response = requests.get(f"{api.url}/api/v1/query", params=asked, timeout=5)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["status"] == "success" and answer["data"]["resultType"] == "vector"
    return answer


def values(answer: dict[str, Any], label: str) -> dict[str, float]:
    return {item["metric"].get(label, ""): float(item["value"][1]) for item in answer["data"]["result"]}


@pytest.mark.parametrize("overloaded", [False, True])
@pytest.mark.parametrize("duration", [60, 300])
def test_the_client_reads_the_graph_that_kiali_shows(overloaded: bool, duration: int) -> None:
    with prometheus_at(600, overloaded=overloaded) as (api, world, clock), KialiApi(world, clock) as kiali:
        there = KialiClient(kiali.url, now=clock.now).fetch_service_graph(NAMESPACE, duration_seconds=duration)
        here = PrometheusClient(api.url, now=clock.now).fetch_service_graph(NAMESPACE, duration_seconds=duration)
    expected, found = ({(e.source.name, e.target.name): e for e in graph.edges} for graph in (there, here))
    assert found.keys() == expected.keys() and len(found) == 16
    for pair, edge in expected.items():
        assert found[pair].rps == pytest.approx(edge.rps, abs=1e-9), pair
        assert found[pair].tcp_bytes_per_second == pytest.approx(edge.tcp_bytes_per_second, abs=1e-9)
        assert found[pair].error_share == pytest.approx(edge.error_share, abs=0.001)
        assert found[pair].response_time_ms == edge.response_time_ms
        assert found[pair].mtls_share == pytest.approx(edge.mtls_share)
        assert [t.protocol for t in found[pair].traffic] == [t.protocol for t in edge.traffic]
    assert not overloaded or any(edge.error_share > 0.01 for edge in found.values())


def test_both_ends_report_every_call_once() -> None:
    with prometheus_at(600) as (api, world, _):
        by_target = {
            reporter: values(
                ask(api, TOTAL % (f'reporter="{reporter}"', "destination_workload")), "destination_workload"
            )
            for reporter in ("source", "destination")
        }
        expected: dict[str, float] = {}
        for call in world.graph_view(60).calls:
            if call.protocol != "tcp":
                expected[call.target] = expected.get(call.target, 0.0) + call.rps
        both = ask(api, TOTAL % ("", ""))["data"]["result"]
    assert by_target["source"] == pytest.approx(expected) and by_target["destination"] == pytest.approx(expected)
    assert [item["metric"] for item in both] == [{}]
    assert float(both[0]["value"][1]) == pytest.approx(2 * sum(expected.values()))


def test_matchers_choose_series() -> None:
    with prometheus_at(600, overloaded=True) as (api, _, _):
        source = 'reporter="source"'

        def total(*matchers: str) -> float:
            return values(ask(api, TOTAL % (",".join((source, *matchers)), "reporter")), "reporter").get("source", 0.0)

        all_ = total()
        http, grpc = total('request_protocol="http"'), total('request_protocol!="http"')
        assert http > 1.0 and grpc > 10.0 and http + grpc == pytest.approx(all_)
        failed = total('grpc_response_status=~"[1-9]+[0-9]*"') + total('response_code=~"5.."')
        fine = total('grpc_response_status="0"') + total('request_protocol="http"', 'response_code="200"')
        assert failed > 0.1 and failed + fine == pytest.approx(all_)
        assert total('source_workload_namespace!~"istio-.*"') == pytest.approx(all_ - http)
        assert total('destination_workload_namespace="nowhere"') == 0.0
        assert total('no_such_label=""') == pytest.approx(all_)


def test_a_query_can_be_posted_and_has_its_own_time() -> None:
    query = TOTAL % ('reporter="source"', "request_protocol")
    with prometheus_at(600) as (api, _, clock):
        url = f"{api.url}/api/v1/query"
        got, posted = ask(api, query), requests.post(url, data={"query": query}, timeout=5).json()
        assert got == posted and got["data"]["result"][0]["value"][0] == clock.now()
        earlier = ask(api, query, time=ORIGIN + 300)
        assert earlier["data"]["result"][0]["value"][0] == ORIGIN + 300
    with prometheus_at(300) as (api, _, _):
        assert ask(api, query) == earlier
    assert values(earlier, "request_protocol") != values(got, "request_protocol")


def test_a_quantile_of_no_requests_is_not_a_number() -> None:
    with prometheus_at(20) as (api, _, _):
        queries = istio_queries((NAMESPACE,), 60)
        for query, text in queries.items():
            found = list(values(ask(api, text), "le").values())
            right = {"latency": math.isnan, "samples": (4.0).__eq__, "long_samples": (20.0).__eq__}
            assert found and all(right.get(query.measure, (0.0).__eq__)(v) for v in found)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "up",
        "rate(istio_requests_total[60s])",
        "sum(rate(istio_requests_total{}[1m])) by (reporter)",
        "sum(rate(node_cpu_seconds_total{}[60s])) by (reporter)",
        "sum(rate(istio_requests_total{reporter=source}[60s])) by (reporter)",
        'sum(rate(istio_requests_total{reporter=~"(source"}[60s])) by (reporter)',
        "histogram_quantile(0.95, sum(rate(istio_requests_total{}[60s])) by (le))",
        "histogram_quantile(0.5, sum(rate(istio_request_duration_milliseconds_bucket{}[60s])) by (le))",
        "histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{}[60s])) by (reporter))",
        "sum(rate(istio_request_duration_milliseconds_bucket{}[60s])) by (le)",
        "sum(rate(istio_requests_total{}[60s])) by (reporter) + 1",
    ],
)
def test_any_other_query_is_refused_in_prometheus_words(query: str) -> None:
    with prometheus_at(60) as (api, _, _):
        response = requests.get(f"{api.url}/api/v1/query", params={"query": query}, timeout=5)
        assert response.status_code == 400
        answer = response.json()
        assert (answer["status"], answer["errorType"]) == (
            "error",
            "bad_data",
        ) and 'invalid parameter "query"' in answer["error"]


def test_a_time_must_be_one() -> None:
    with prometheus_at(60) as (api, _, _):
        for text in ("yesterday", "NaN", "Infinity"):
            params = {"query": TOTAL % ("", "reporter"), "time": text}
            response = requests.get(f"{api.url}/api/v1/query", params=params, timeout=5)
            assert response.status_code == 400 and 'invalid parameter "time"' in response.json()["error"]


def test_it_says_that_it_is_healthy_and_which_version() -> None:
    with prometheus_at(0) as (api, _, _):
        assert requests.get(f"{api.url}/-/healthy", timeout=5).text == "Prometheus Server is Healthy.\n"
        info = requests.get(f"{api.url}/api/v1/status/buildinfo", timeout=5).json()
        assert info["status"] == "success" and info["data"]["version"][0].isdigit()
        response = requests.get(f"{api.url}/api/v1/nothing", timeout=5)
        assert (response.status_code, response.text) == (404, "404 page not found\n")
