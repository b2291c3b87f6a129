"""From a Kiali graph to a mesh: ratios that reproduce the measured rates, whatever the shape of the graph."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnnrl.domains.autoscaling.kiali_import import import_kiali, mesh_from_graph
from gnnrl.domains.autoscaling.mesh import Mesh, MeshError
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from kiali_client import KialiPayloadError, KialiSchemaError, ServiceGraph, parse_graph

REAL_ANSWERS = sorted((Path(__file__).parents[3] / ".." / "shared" / "kiali").glob("*.json"))


def graph_of(
    *edges: tuple[Any, ...],
    graph_type: str = "workload",
    errors: dict[tuple[str, str, str], float] | None = None,
    **flags: dict[str, Any],
) -> ServiceGraph:
    """Edges (source, target, protocol, rate[, response time]); "?" is the unknown source, "svc:x" a service node.

    `errors`: percent of failed requests of (source, target, protocol).
    """
    names = list(dict.fromkeys([end for edge in edges for end in edge[:2]] + list(flags)))
    nodes = []
    for name in names:
        data: dict[str, Any] = {"id": name, "namespace": "shop"}
        if name == "?":
            data |= {"nodeType": "unknown", "namespace": "unknown", "workload": "unknown", "isInaccessible": True}
        elif name.startswith("svc:") or graph_type == "service":
            data |= {"nodeType": "service", "service": name.removeprefix("svc:")}
        else:
            data |= {"nodeType": "workload", "workload": name}
        nodes.append({"data": data | flags.get(name, {})})
    listed = []
    for i, (source, target, protocol, rate, *time) in enumerate(edges):
        data = {"id": str(i), "source": source, "target": target, "isMTLS": "100"}
        data["traffic"] = {"protocol": protocol, "rates": {protocol: f"{rate:.2f}"}}
        if errors and (source, target, protocol) in errors:
            data["traffic"]["rates"][f"{protocol}PercentErr"] = f"{errors[source, target, protocol]:.1f}"
        if time:
            data["responseTime"] = str(time[0])
        listed.append({"data": data})
    return parse_graph(
        {
            "timestamp": 1,
            "duration": 60,
            "graphType": graph_type,
            "elements": {"nodes": nodes, "edges": listed},
        }
    )


def imported(*edges: tuple[Any, ...], **options: Any) -> Mesh:
    return mesh_from_graph(graph_of(*edges, **options), name="m")[0]


def rates(mesh: Mesh, external: float) -> dict[tuple[str, str], float]:
    values = external * mesh.arrays().mean_call_rates
    return {(c.source, c.target): float(v) for c, v in zip(mesh.calls, values, strict=True)}


def test_ratios_reproduce_the_measured_rates_with_several_roots_cycles_and_disconnected_parts() -> None:
    measured = {
        ("web", "cart"): 30.0,
        ("web", "ad"): 60.0,
        ("api", "cart"): 20.0,
        ("cart", "pay"): 25.0,
        ("pay", "cart"): 10.0,
        ("pay", "pay"): 5.0,
        ("batch", "store"): 3.0,
    }
    entries = [("?", "web", "http", 50.0), ("?", "api", "grpc", 40.0), ("?", "batch", "http", 10.0)]
    mesh = imported(*entries, *((s, t, "http", rate) for (s, t), rate in measured.items()))
    assert {c.root: c.weight for c in mesh.classes} == pytest.approx({"web": 0.5, "api": 0.4, "batch": 0.1})
    assert rates(mesh, 100.0) == pytest.approx(measured)


def test_the_boutiques_own_rates_come_back() -> None:
    boutique = online_boutique()
    edges = [(s, t, "grpc", 1000.0 * rate) for (s, t), rate in rates(boutique, 1.0).items()]
    mesh = imported(("?", "frontend", "http", 1000.0), *edges)
    visits = dict(zip(mesh.names, mesh.arrays().mean_visits, strict=True))
    assert visits == pytest.approx(dict(zip(boutique.names, boutique.arrays().mean_visits, strict=True)), rel=1e-3)


def test_injected_service_nodes_are_folded_without_counting_twice() -> None:
    mesh = imported(
        ("?", "svc:web", "http", 50.0),
        ("svc:web", "web", "http", 50.0),
        ("web", "svc:cart", "http", 30.0),
        ("api", "svc:cart", "http", 10.0),
        ("?", "api", "http", 10.0),
        ("svc:cart", "cart-v1", "http", 30.0),
        ("svc:cart", "cart-v2", "http", 10.0),
    )
    assert set(mesh.names) == {"web", "api", "cart-v1", "cart-v2"}
    assert rates(mesh, 60.0) == pytest.approx(
        {("web", "cart-v1"): 22.5, ("web", "cart-v2"): 7.5, ("api", "cart-v1"): 7.5, ("api", "cart-v2"): 2.5}
    )
    assert all(call.mtls == 1.0 for call in mesh.calls)


def test_calls_keep_the_errors_that_were_measured() -> None:
    graph = graph_of(
        ("?", "web", "http", 50.0),
        ("web", "cart", "http", 30.0),
        ("web", "cart", "grpc", 10.0),
        ("web", "ad", "http", 5.0),
        errors={("?", "web", "http"): 4.0, ("web", "cart", "http"): 20.0, ("web", "cart", "grpc"): 60.0},
    )
    mesh, notes = mesh_from_graph(graph, name="m")
    # (0.2 * 30 + 0.6 * 10) / 40; what failed at the entry stands at no call.
    assert {call.target: call.error_share for call in mesh.calls} == pytest.approx({"cart": 0.3, "ad": 0.0})
    # (2 + 6 + 6) of 95.
    assert any(note.startswith("14.7 % of the measured requests failed") for note in notes)


def test_errors_through_a_service_node_are_counted_once_and_by_source_and_target() -> None:
    edges = [
        ("?", "web", "http", 50.0),
        ("?", "api", "http", 10.0),
        ("web", "svc:cart", "http", 30.0),
        ("api", "svc:cart", "http", 10.0),
        ("svc:cart", "cart-v1", "http", 30.0),
        ("svc:cart", "cart-v2", "http", 10.0),
    ]
    into = {("web", "svc:cart", "http"): 10.0, ("api", "svc:cart", "http"): 10.0}  # 3 + 1 failed/s
    out = {("svc:cart", "cart-v2", "http"): 40.0}  # 4 failed/s, the same ones
    expected = {
        "both": {("web", "cart-v2"): 0.4, ("api", "cart-v2"): 0.4},
        "into": dict.fromkeys([("web", "cart-v1"), ("web", "cart-v2"), ("api", "cart-v1"), ("api", "cart-v2")], 0.1),
        "out": {("web", "cart-v2"): 0.4, ("api", "cart-v2"): 0.4},
        "one": {("web", "cart-v2"): 0.4},
    }
    for case, errors in {
        "both": into | out,
        "into": into,
        "out": out,
        "one": {("web", "svc:cart", "http"): 10.0, ("svc:cart", "cart-v2", "http"): 30.0},
    }.items():
        mesh, _ = mesh_from_graph(graph_of(*edges, errors=errors), name="m")
        found = {(call.source, call.target): call.error_share for call in mesh.calls if call.error_share}
        assert found == pytest.approx(expected[case]), case


def test_tcp_is_never_requests() -> None:
    mesh, notes = mesh_from_graph(
        graph_of(("?", "web", "http", 10.0), ("web", "cart", "http", 5.0), ("cart", "redis", "tcp", 90000.0)), name="m"
    )
    redis = mesh.services[mesh.index("redis")]
    assert redis.stateful
    assert rates(mesh, 10.0)["cart", "redis"] == 0.0
    assert any(note.startswith("redis: reached over tcp alone") for note in notes)
    both = imported(("?", "web", "http", 10.0), ("web", "cart", "http", 5.0), ("web", "cart", "tcp", 900.0))
    assert rates(both, 10.0) == {("web", "cart"): 5.0}
    assert not both.services[both.index("cart")].stateful


def test_a_silent_root_is_given_the_traffic_its_calls_tell_of() -> None:
    service = imported(("web", "cart", "http", 10.0), ("web", "ad", "http", 4.0))
    assert rates(service, 10.0) == pytest.approx({("web", "cart"): 10.0, ("web", "ad"): 4.0})
    gateway = imported(("ingressgateway", "web", "http", 10.0), ("ingressgateway", "api", "http", 5.0))
    assert dict(zip(gateway.names, gateway.arrays().mean_visits, strict=True)) == pytest.approx(
        {"ingressgateway": 1.0, "web": 2 / 3, "api": 1 / 3}
    )


def test_sources_outside_and_load_generators_are_external_traffic() -> None:
    mesh, notes = mesh_from_graph(
        graph_of(
            ("loadgenerator", "web", "http", 8.0),
            ("gw", "api", "http", 2.0),
            ("web", "elsewhere", "http", 1.0),
            gw={"isOutside": True, "isRoot": True},
            elsewhere={"isInaccessible": True},
            gone={"isDead": True},
            idle={"isIdle": True},
        ),
        name="m",
    )
    assert set(mesh.names) == {"web", "api", "idle"}
    assert {c.root: c.weight for c in mesh.classes} == pytest.approx({"web": 0.8, "api": 0.2})
    text = "\n".join(notes)
    for part in (
        "loadgenerator: taken for the source",
        "gone: left out",
        "1 requests/s go to external",
        "idle: no requests",
    ):
        assert part in text


def test_a_service_graph_is_made_of_services() -> None:
    mesh = imported(("?", "web", "http", 10.0), ("web", "cart", "http", 20.0), graph_type="service")
    assert rates(mesh, 10.0) == pytest.approx({("web", "cart"): 20.0})


def test_costs_come_from_what_response_times_leave_to_a_service() -> None:
    edges = (("?", "web", "http", 10.0, 100.0), ("web", "cart", "http", 20.0, 30.0), ("?", "ad", "http", 5.0))
    mesh, notes = mesh_from_graph(graph_of(*edges), name="m")
    costs = {service.name: service.cpu_ms for service in mesh.services}
    # web: 100 - 2 * 30 = 40 ms of its own at the 95th percentile of an exponential; 200 millicores.
    assert costs["web"] == pytest.approx(40 / math.log(20) * 0.2, abs=1e-3)
    assert costs["cart"] == pytest.approx(30 / math.log(20) * 0.2, abs=1e-3)
    assert costs["ad"] == 2.5
    assert any("ad: no response time" in note for note in notes)
    mean = mesh_from_graph(graph_of(*edges), name="m", quantile=None)[0]
    assert mean.services[mean.index("cart")].cpu_ms == pytest.approx(30 * 0.2)
    parallel = imported(("?", "web", "http", 10.0, 100.0), ("web", "cart", "http", 50.0, 30.0))
    assert parallel.services[parallel.index("web")].cpu_ms == pytest.approx(5 / math.log(20) * 0.2, abs=1e-3)


def test_names_are_qualified_only_where_they_collide() -> None:
    mesh = imported(
        ("?", "web", "http", 1.0),
        ("?", "west", "http", 1.0),
        ("?", "cart", "http", 1.0),
        west={"workload": "web", "namespace": "shop2"},
    )
    assert set(mesh.names) == {"web.shop", "web.shop2", "cart"}


def test_what_cannot_be_a_mesh_is_said() -> None:
    with pytest.raises(MeshError, match=r"circulate among a, b .*amplify without end.*ask for the namespaces"):
        imported(("a", "b", "http", 5.0), ("b", "a", "http", 5.0), ("?", "c", "http", 1.0))
    with pytest.raises(MeshError, match="no requests"):
        imported(("?", "web", "tcp", 5.0))
    with pytest.raises(MeshError, match="no workload"):
        imported(("?", "gone", "http", 5.0), gone={"isDead": True})
    with pytest.raises(MeshError, match="quantile"):
        mesh_from_graph(graph_of(("?", "web", "http", 1.0)), name="m", quantile=1.0)


def test_files_that_are_no_answer_name_themselves(tmp_path) -> None:
    path = tmp_path / "graph.json"
    path.write_text("<html><title>Kiali</title>")
    with pytest.raises(KialiPayloadError, match=r"graph\.json: .*web page"):
        import_kiali(path)
    path.write_text(json.dumps({"items": []}))
    with pytest.raises(KialiSchemaError, match=r"graph\.json: has no 'elements'"):
        import_kiali(path)


@pytest.mark.skipif(not REAL_ANSWERS, reason="the folder of real answers is not here")
@pytest.mark.parametrize("path", REAL_ANSWERS, ids=lambda path: path.stem)
def test_real_answers_become_meshes_with_the_measured_rates(path: Path) -> None:
    if path.stem == "kiali-2.31-rates_none":
        # Captured with all request rates switched off: there is nothing to simulate, and it says so.
        with pytest.raises(MeshError, match="no requests"):
            import_kiali(path)
        return
    mesh, _ = import_kiali(path)
    graph = parse_graph(path.read_bytes())
    assert np.isfinite(mesh.arrays().visits).all()
    if path.stem == "kiali-2.31-workload":
        measured = {
            (e.source.name, e.target.name): e.rps
            for e in graph.edges
            if e.source.name in mesh.names and e.target.name in mesh.names
        }
        assert rates(mesh, 200.0) == pytest.approx(measured)
    if path.stem == "live-1.20-workload":
        visits = dict(zip(mesh.names, mesh.arrays().mean_visits, strict=True))
        assert visits["ratings-v1"] == pytest.approx(20 / 50)
        assert visits["reviews-v1"] == pytest.approx(25 / 50)
        assert {c.root for c in mesh.classes} == {"productpage-v1"}
