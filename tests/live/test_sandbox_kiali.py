"""The sandbox's Kiali keeps the contract of Kiali's versions, and shows the world's numbers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from gnnrl.cluster.clock import SteppedClock
from gnnrl.domains.autoscaling.kiali_import import mesh_from_graph
from gnnrl.live.sandbox.kiali_api import KialiApi
from gnnrl.live.sandbox.world import SandboxWorld
from kiali_client import NodeKey, parse_graph
from kiali_client.client import KialiClient
from tests.live.sandbox_worlds import ORIGIN, world_at

SHARED = Path(__file__).parents[2] / ".." / "shared" / "kiali"
NAMESPACE = "onlineboutique"


@contextmanager
def kiali_at(
    second: float, *, overloaded: bool = False, **options: Any
) -> Iterator[tuple[KialiApi, SandboxWorld, SteppedClock]]:
    world, clock = world_at(second, overloaded=overloaded)
    with KialiApi(world, clock, **options) as api:
        assert isinstance(api, KialiApi)
        yield api, world, clock


def ask(api: KialiApi, **parameters: object) -> requests.Response:
    asked = {"namespaces": NAMESPACE, "duration": "60s", **parameters}
    return requests.get(f"{api.url}/api/namespaces/graph", params={k: str(v) for k, v in asked.items()}, timeout=5)


def edges_by_name(answer: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    names = {node["data"]["id"]: node["data"]["workload"] for node in answer["elements"]["nodes"]}
    edges = [edge["data"] for edge in answer["elements"]["edges"]]
    return {(names[edge["source"]], names[edge["target"]]): edge for edge in edges}


def test_every_number_of_the_world_arrives() -> None:
    with kiali_at(600, overloaded=True) as (api, world, _):
        graph = parse_graph(ask(api, queryTime=int(ORIGIN) + 600).content)
        view = world.graph_view(60)
    assert graph.timestamp == int(ORIGIN) + 600 and graph.duration_seconds == 60
    found = {(edge.source.name, edge.target.name): edge for edge in graph.edges}
    assert len(found) == len(view.calls) == 16
    failing = 0
    for call in view.calls:
        edge = found[call.source, call.target]
        (traffic,) = edge.traffic
        assert (traffic.protocol, traffic.rps, traffic.bytes_per_second) == (
            call.protocol,
            call.rps,
            call.bytes_per_second,
        )
        assert traffic.error_share == pytest.approx(call.error_share, abs=1e-12)
        assert (traffic.response_time_ms or 0.0) == call.p95_ms and traffic.mtls_share == call.mtls_share
        failing += call.error_share > 0.01
    assert failing >= 2
    gateway = next(node for node in graph.nodes if node.is_gateway)
    assert gateway.key == NodeKey("Kubernetes", "istio-system", "istio-ingressgateway", "workload")
    assert gateway.is_root and gateway.is_outside and not gateway.scalable
    assert {node.key.name for node in graph.nodes if node.scalable} == set(view.workloads)


def test_numbers_are_text_and_add_up_at_every_node() -> None:
    with kiali_at(600, overloaded=True) as (api, _, _):
        answer = ask(api).json()
    received: dict[str, float] = defaultdict(float)
    for (_, target), edge in edges_by_name(answer).items():
        rates = edge["traffic"]["rates"]
        protocol = edge["traffic"]["protocol"]
        assert all(isinstance(value, str) for value in (*rates.values(), edge["isMTLS"]))
        assert len(rates[protocol].partition(".")[2]) == 2
        if protocol == "tcp":
            assert "responseTime" not in edge and rates.keys() == {"tcp"}
            continue
        received[target] += float(rates[protocol])
        assert edge["responseTime"].isdigit()
        failed = rates.get("grpcErr" if protocol == "grpc" else "http5xx")
        percent = rates.get(f"{protocol}PercentErr")
        assert (failed is None) == (percent is None), "left out where nothing failed"
        if percent is not None:
            assert float(failed or 0) / float(rates[protocol]) == pytest.approx(float(percent) / 100, abs=0.01)
    for node in answer["elements"]["nodes"]:
        for traffic in node["data"].get("traffic", []):
            name = traffic["protocol"]
            if name in ("http", "grpc") and f"{name}In" in traffic["rates"]:
                assert float(traffic["rates"][f"{name}In"]) == pytest.approx(
                    received[node["data"]["workload"]], abs=0.011
                )
    shares: dict[str, float] = defaultdict(float)
    for (source, _), edge in edges_by_name(answer).items():
        shares[source] += float(edge["traffic"]["rates"].get("grpcPercentReq", 0.0))
    assert shares["frontend"] == pytest.approx(100.0, abs=0.5)


def test_without_traffic_edges_have_no_rates_and_workloads_are_idle() -> None:
    with kiali_at(20) as (api, world, _):
        bare = ask(api, appenders="").json()
        assert bare["elements"] == {"nodes": [], "edges": []}
        answer = ask(api, includeIdleEdges="true", appenders="idleNode,responseTime").json()
        assert len(answer["elements"]["edges"]) == 16
        for edge in answer["elements"]["edges"]:
            assert edge["data"]["traffic"].keys() == {"protocol"} and "responseTime" not in edge["data"]
        graph = parse_graph(answer)
        assert all(node.is_idle for node in graph.nodes) and len(graph.nodes) == len(world.workloads()) + 1
        only_nodes = parse_graph(ask(api, appenders="idleNode").json())
        assert {node.key.name for node in only_nodes.nodes} == {w.name for w in world.workloads()}


def test_a_deployment_without_pods_is_dead() -> None:
    with kiali_at(200) as (api, world, clock):
        world.set_replicas("adservice", 0)
        clock.sleep_until(ORIGIN + 300)
        graph = parse_graph(ask(api).content)
        assert {node.key.name for node in graph.nodes if node.is_dead} == {"adservice"}
        assert not any(node.is_dead for node in parse_graph(ask(api, appenders="idleNode").content).nodes)


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"duration": "600"}, 400, "Invalid duration [600]"),
        ({"duration": "1.5m"}, 400, "Invalid duration [1.5m]"),
        ({"duration": "0s"}, 400, "Invalid duration [0s]"),
        ({"duration": ""}, 400, "Invalid duration []"),
        ({"duration": "1h30m"}, 200, ""),
        ({"appenders": "responseTime,nosuch"}, 400, "Invalid appender [nosuch]"),
        ({"appenders": "unusedNode"}, 400, "Invalid appender [unusedNode]"),
        ({"graphType": "pods"}, 400, "Invalid graphType [pods]"),
        ({"namespaces": "elsewhere"}, 403, "Requested namespace [elsewhere] is not accessible."),
        ({"namespaces": f"{NAMESPACE},"}, 403, "Requested namespace [] is not accessible."),
        ({"namespaces": f"{NAMESPACE},istio-system"}, 200, ""),
        ({"namespaces": ""}, 400, "At least one namespace"),
        ({"queryTime": "now"}, 400, "Invalid queryTime [now]"),
        ({"responseTime": "0.95"}, 400, "Invalid responseTime"),
        ({"injectServiceNodes": "maybe"}, 400, "Invalid injectServiceNodes [maybe]"),
        ({"includeIdleEdges": "2"}, 400, "Invalid includeIdleEdges [2]"),
        ({"rateGrpc": "bytes"}, 400, "Invalid rateGrpc [bytes]"),
        ({"refreshInterval": "15000", "unknownParameter": "x"}, 200, ""),
    ],
)
def test_parameters_are_checked_as_kiali_checks_them(parameters: dict[str, str], status: int, message: str) -> None:
    with kiali_at(60) as (api, _, _):
        response = ask(api, **parameters)
        assert response.status_code == status, response.text
        if status != 200:
            assert message in response.json()["error"]


def test_answers_are_cached_for_a_minute_since_2_21_unless_a_time_is_asked_for() -> None:
    with kiali_at(300, version="2.21.0") as (api, _, clock):
        first = ask(api).json()
        clock.sleep_until(ORIGIN + 359)
        assert ask(api).json() == first and ask(api, refreshInterval=15).json() == first
        assert ask(api, duration="120s").json() != first
        fresh = ask(api, queryTime=int(clock.now())).json()
        assert fresh["timestamp"] == first["timestamp"] + 59 and fresh["elements"] != first["elements"]
        clock.sleep_until(ORIGIN + 361)
        assert ask(api).json()["timestamp"] == first["timestamp"] + 61
    with kiali_at(300, version="2.20.0") as (api, _, clock):
        first = ask(api).json()
        clock.sleep_until(ORIGIN + 301)
        assert ask(api).json()["timestamp"] == first["timestamp"] + 1


def test_an_earlier_time_has_its_own_figures() -> None:
    with kiali_at(600) as (api, _, _):
        earlier, later = (ask(api, queryTime=int(ORIGIN) + second).json() for second in (300, 600))
    with kiali_at(300.5) as (api, _, _):
        assert ask(api, queryTime=int(ORIGIN) + 300).json() == earlier
    assert earlier["elements"] != later["elements"]


@pytest.mark.parametrize("quantile", ["avg", "50", "95", "99"])
def test_the_response_time_is_shown_only_where_its_appender_is_asked_for(quantile: str) -> None:
    with kiali_at(300) as (api, _, _):
        assert not any("responseTime" in e for e in edges_by_name(ask(api, appenders="idleNode").json()).values())
        times = edges_by_name(ask(api, appenders="responseTime", responseTime=quantile).json())
        plain = edges_by_name(ask(api, appenders="responseTime").json())
    scale = {"avg": 1 / 2.9957, "50": 0.2314, "95": 1.0, "99": 1.5372}[quantile]
    shown = float(times["istio-ingressgateway", "frontend"]["responseTime"])
    assert shown == pytest.approx(scale * float(plain["istio-ingressgateway", "frontend"]["responseTime"]), abs=1.0)


@pytest.mark.parametrize("version", ["1.20.0", "1.29.1", "1.36.0", "1.82.0", "2.0.0", "2.20.0", "2.31.0"])
@pytest.mark.parametrize("strategy", ["anonymous", "token", "header", "openshift"])
def test_the_client_reads_every_version_under_every_login(version: str, strategy: Any) -> None:
    with kiali_at(300, version=version, strategy=strategy, token="a-token") as (api, world, clock):
        with KialiClient(api.url, token="a-token", now=clock.now, retries=0) as client:
            assert str(client.version()) == version and client.auth_strategy() == strategy
            graph = client.fetch_service_graph(NAMESPACE)
        assert sum(edge.rps for edge in graph.edges) == pytest.approx(
            sum(call.rps for call in world.graph_view(60).calls)
        )
        assert {node.key.cluster for node in graph.nodes} == ({"Kubernetes"} if version >= "1.30" else {""})
        assert all(edge.response_time_ms for edge in graph.edges if edge.rps)


def test_old_versions_speak_as_they_did() -> None:
    with kiali_at(20, version="1.20.0") as (api, _, _):
        assert "Kiali core version" in requests.get(f"{api.url}/api/status", timeout=5).json()["status"]
        answer = ask(api, appenders="unusedNode", responseTimeQuantile="0.95").json()
        (node, *_) = (node["data"] for node in answer["elements"]["nodes"])
        assert node["isUnused"] is True and "cluster" not in node and len(node["id"]) == 32
        assert ask(api, appenders="idleNode").status_code == 400
        assert ask(api, responseTimeQuantile="0.42").status_code == 400
        assert ask(api, includeIdleEdges="nonsense").status_code == 200, "not known then, so not looked at"


def test_a_token_buys_a_cookie_for_a_day() -> None:
    with kiali_at(60, strategy="token", token="right") as (api, world, clock):
        graph, login = f"{api.url}/api/namespaces/graph?namespaces={NAMESPACE}", f"{api.url}/api/authenticate"
        assert requests.get(f"{api.url}/api/auth/info", timeout=5).json()["strategy"] == "token"
        assert requests.get(f"{api.url}/healthz", timeout=5).status_code == 200
        refused = requests.get(graph, headers={"Authorization": "Bearer right"}, timeout=5)
        assert (refused.status_code, refused.headers["Content-Type"]) == (401, "text/plain; charset=utf-8")
        with requests.Session() as session:
            assert session.post(login, data={"token": "wrong"}, timeout=5).status_code == 401 and not session.cookies
            assert session.post(login, data={"token": "right"}, timeout=5).status_code == 200
            assert session.get(graph, timeout=5).status_code == 200
            clock.sleep_until(ORIGIN + 86_500)
            # Simulated here, and not while a request waits for its answer.
            world.advance()
            assert session.get(graph, timeout=5).status_code == 401
            session.post(login, data={"token": "right"}, timeout=5)
            assert session.get(graph, timeout=5).status_code == 200
            api.revoke("newer")
            assert session.get(graph, timeout=5).status_code == 401
            assert session.post(login, data={"token": "right"}, timeout=5).status_code == 401


def test_a_bearer_token_is_compared_whole() -> None:
    with kiali_at(60, strategy="header", token="right") as (api, _, _):
        url = f"{api.url}/api/status"
        for header, status in (("Bearer right", 200), ("Bearer righ", 401), ("Basic right", 401), ("", 401)):
            assert requests.get(url, headers={"Authorization": header}, timeout=5).status_code == status


def test_unknown_paths_are_plain_text() -> None:
    with kiali_at(10) as (api, _, _):
        for path in ("/kiali/api/nothing", "/kiali", "/", "/other/api/status", "/kialiapi/status"):
            response = requests.get(f"http://{api.host}:{api.port}{path}", timeout=5)
            assert (response.status_code, response.headers["Content-Type"]) == (404, "text/plain; charset=utf-8"), path
        assert requests.post(f"{api.url}/api/namespaces/graph", timeout=5).status_code == 404


def test_service_nodes_in_the_middle_count_every_call_twice() -> None:
    with kiali_at(300) as (api, _, _):
        plain = parse_graph(ask(api).content)
        injected = parse_graph(ask(api, injectServiceNodes="true").content)
    assert sum(edge.rps for edge in injected.edges) == pytest.approx(2 * sum(edge.rps for edge in plain.edges))
    mesh, _ = mesh_from_graph(injected, name="injected")
    direct, _ = mesh_from_graph(plain, name="plain")
    assert set(mesh.names) == set(direct.names)
    through = {(c.source, c.target) for c in mesh.calls if c.target != "redis-cart"}
    assert {(c.source, c.target) for c in direct.calls if c.target != "redis-cart"} <= through


@pytest.mark.parametrize(("graph_type", "kind"), [("app", "app"), ("versionedApp", "workload"), ("service", "service")])
def test_other_graph_types_name_their_nodes(graph_type: str, kind: str) -> None:
    with kiali_at(300) as (api, world, _):
        graph = parse_graph(ask(api, graphType=graph_type).content)
        rate = sum(call.rps for call in world.graph_view(60).calls)
    assert graph.graph_type == graph_type
    inside = {(node.key.kind, node.key.name) for node in graph.nodes if not node.is_outside}
    assert inside == {(kind, name) for name in world.graph_view(60).workloads}
    assert sum(edge.rps for edge in graph.edges) == pytest.approx(rate)


def test_the_other_namespace_sees_the_gateway_from_within() -> None:
    with kiali_at(300) as (api, _, _):
        graph = parse_graph(ask(api, namespaces="istio-system").content)
        assert [(e.source.name, e.target.name) for e in graph.edges] == [("istio-ingressgateway", "frontend")]
        assert {node.key.name: node.is_outside for node in graph.nodes} == {
            "istio-ingressgateway": False,
            "frontend": True,
        }


@pytest.mark.parametrize("options", [{"version": "3.0"}, {"strategy": "openid"}, {"strategy": "token"}])
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    world, clock = world_at(0)
    with pytest.raises(ValueError, match="Kiali"):
        KialiApi(world, clock, **options)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no captured answers here")
def test_every_field_is_one_that_kiali_writes() -> None:
    known: dict[str, set[str]] = {"nodes": set(), "edges": set(), "rates": set()}
    for path in SHARED.glob("*.json"):
        answer = json.loads(path.read_text())
        for part in ("nodes", "edges"):
            for item in answer["elements"][part]:
                known[part] |= item["data"].keys()
                traffic = item["data"].get("traffic") or []
                for one in traffic if isinstance(traffic, list) else [traffic]:
                    known["rates"] |= one.get("rates", {}).keys()
    known["rates"] |= {"grpcErr", "grpcPercentErr", "grpcInErr", "tcpIn"}  # in Kiali's source, not in these answers
    with kiali_at(600, overloaded=True) as (api, _, _):
        answer = ask(api, includeIdleEdges="true").json()
    for part in ("nodes", "edges"):
        for item in answer["elements"][part]:
            data = item["data"]
            assert data.keys() <= known[part] | {"isRoot", "isIdle", "isDead", "isGateway"}
            for traffic in [data["traffic"]] if isinstance(data.get("traffic"), dict) else data.get("traffic", []):
                assert traffic.get("rates", {}).keys() <= known["rates"], data
