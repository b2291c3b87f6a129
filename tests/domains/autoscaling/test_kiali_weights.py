"""What several edges into one service come to in an imported mesh, by hand."""

from __future__ import annotations

import pytest

from gnnrl.domains.autoscaling.kiali_import import mesh_from_graph
from kiali_client.models import Edge, Node, NodeKey, ServiceGraph, Traffic

WEB, API, CART = (NodeKey("east", "shop", name, "workload") for name in ("web", "api", "cart"))
SERVICE = NodeKey("east", "shop", "cart", "service")
OUTSIDE = NodeKey("", "unknown", "unknown", "unknown")


def edge(source: NodeKey, target: NodeKey, rps: float, time: float | None = None) -> Edge:
    traffic = Traffic(
        protocol="http",
        rps=rps,
        bytes_per_second=0.0,
        error_share=0.0,
        response_time_ms=time,
        throughput_bytes_per_second=None,
        mtls_share=0.0,
    )
    return Edge(source=source, target=target, traffic=(traffic,))


def graph(*edges: Edge) -> ServiceGraph:
    keys = dict.fromkeys(key for one in edges for key in (one.source, one.target))
    nodes = tuple(Node(key=key, is_inaccessible=key == OUTSIDE) for key in keys)
    return ServiceGraph(timestamp=1, duration_seconds=60, graph_type="workload", nodes=nodes, edges=edges)


@pytest.mark.parametrize("turned", [False, True])
def test_a_response_time_is_weighted_by_the_requests_that_saw_it(turned: bool) -> None:
    edges = [
        edge(OUTSIDE, WEB, 30.0),
        edge(OUTSIDE, API, 10.0),
        edge(WEB, CART, 30.0, 10.0),
        edge(API, CART, 10.0, 50.0),
    ]
    mesh, _ = mesh_from_graph(graph(*(edges[::-1] if turned else edges)), name="m", quantile=None)
    # (30 x 10 + 10 x 50) / 40 = 20 ms on 200 millicores.
    assert mesh.services[mesh.index("cart")].cpu_ms == pytest.approx(20.0 * 0.2)


@pytest.mark.parametrize("passed", [8.0, 12.0])
def test_what_a_service_passes_on_is_what_arrives_behind_it(passed: float) -> None:
    edges = (edge(OUTSIDE, WEB, 10.0), edge(WEB, SERVICE, 10.0), edge(SERVICE, CART, passed))
    mesh, _ = mesh_from_graph(graph(*edges), name="m")
    (call,) = mesh.calls
    assert (call.source, call.target) == ("web", "cart")
    assert mesh.classes[0].calls == pytest.approx((passed / 10.0,))
