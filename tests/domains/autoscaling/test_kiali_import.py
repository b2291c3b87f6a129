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
    """Edges (source, target, protocol, rate[, response time]); "?" is the unknown source, "svc:x" a service node, "op:x" an
    operation.

    `errors`: percent of failed requests of (source, target, protocol).
    """
    names = list(dict.fromkeys([end for edge in edges for end in edge[:2]] + list(flags)))
    nodes = []
    for name in names:
        data: dict[str, Any] = {"id": name, "namespace": "shop"}
        if name == "?":
            data |= {"nodeType": "unknown", "namespace": "unknown", "workload": "unknown", "isInaccessible": True}
        elif name.startswith("op:"):
            data |= {"nodeType": "aggregate", "aggregate": f"request_operation={name.removeprefix('op:')}"}
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
    behind = imported(
        ("?", "web", "http", 10.0), ("web", "svc:redis", "tcp", 900.0), ("svc:redis", "redis", "tcp", 900.0)
    )
    assert behind.services[behind.index("redis")].stateful
    assert [(call.source, call.target) for call in behind.calls] == [("web", "redis")]
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


def entries(mesh: Mesh) -> dict[str, float]:
    return {c.root: c.weight for c in mesh.classes}


CHAINS = {
    "operation": [("web", "op:Get"), ("op:Get", "cart")],
    "service, operation": [("web", "svc:cart"), ("svc:cart", "op:Get"), ("op:Get", "cart")],
    "operation, service": [("web", "op:Get"), ("op:Get", "svc:cart"), ("svc:cart", "cart")],
    "two operations": [("web", "op:Get"), ("op:Get", "op:Read"), ("op:Read", "cart")],
    "all": [("web", "op:Get"), ("op:Get", "svc:cart"), ("svc:cart", "op:Read"), ("op:Read", "cart")],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("order", [1, -1])
def test_whatever_stands_between_two_services_is_folded_in_any_order(chain, order: int) -> None:
    steps = [(s, t, "http", 20.0) for s, t in chain]
    mesh, _ = mesh_from_graph(graph_of(*[("?", "web", "http", 10.0), *steps][::order]), name="m")
    assert rates(mesh, 10.0) == pytest.approx({("web", "cart"): 20.0})
    assert entries(mesh) == {"web": 1.0}


def test_operations_of_a_call_carry_their_errors_and_times() -> None:
    mesh, _ = mesh_from_graph(
        graph_of(
            ("?", "web", "http", 10.0),
            ("web", "op:Get", "http", 15.0, 40.0),
            ("web", "op:Put", "http", 5.0, 80.0),
            ("op:Get", "cart", "http", 15.0),
            ("op:Put", "cart", "http", 5.0),
            errors={("web", "op:Get", "http"): 20.0, ("op:Put", "cart", "http"): 40.0},
        ),
        name="m",
    )
    assert rates(mesh, 10.0) == pytest.approx({("web", "cart"): 20.0})
    # 3 of 15 and 2 of 5 failed; 15 took 40 ms and 5 took 80 ms.
    assert mesh.calls[0].error_share == pytest.approx(5 / 20)
    assert mesh.services[mesh.index("cart")].cpu_ms == pytest.approx(50 / math.log(20) * 0.2, abs=1e-3)


def test_a_time_behind_an_operation_is_believed_before_one_in_front_of_it() -> None:
    mesh = imported(
        ("?", "web", "http", 10.0), ("web", "op:Get", "http", 20.0, 900.0), ("op:Get", "cart", "http", 20.0, 20.0)
    )
    assert mesh.services[mesh.index("cart")].cpu_ms == pytest.approx(20 / math.log(20) * 0.2, abs=1e-3)


def test_operations_beside_the_calls_they_are_part_of_are_not_counted_again() -> None:
    # Without service nodes Kiali keeps the call itself, and one operation's node serves all services that have it.
    called = [
        ("?", "web", "http", 10.0),
        ("?", "api", "http", 10.0),
        ("web", "cart", "http", 20.0),
        ("api", "ad", "http", 5.0),
    ]
    operations = [("web", "op:GET", "http", 18.0), ("api", "op:GET", "http", 5.0), ("op:GET", "cart", "http", 18.0)]
    mesh = imported(*called, *operations, ("op:GET", "ad", "http", 5.0))
    assert rates(mesh, 20.0) == pytest.approx({("web", "cart"): 20.0, ("api", "ad"): 5.0})
    assert entries(mesh) == pytest.approx({"web": 0.5, "api": 0.5})
    # What is more than the call is no part of it.
    more = imported(
        ("?", "web", "http", 10.0), ("web", "cart", "http", 5.0), *((s, t, "http", 20.0) for s, t in CHAINS["all"])
    )
    assert rates(more, 10.0) == pytest.approx({("web", "cart"): 25.0})
    both = [
        ("web", "op:A", "http", 15.0),
        ("op:A", "cart", "http", 15.0),
        ("web", "op:B", "http", 15.0),
        ("op:B", "cart", "http", 15.0),
    ]
    assert rates(imported(("?", "web", "http", 10.0), ("web", "cart", "http", 5.0), *both), 10.0) == pytest.approx(
        {("web", "cart"): 35.0}
    )
    assert rates(imported(("?", "web", "http", 10.0), ("web", "cart", "http", 20.0), *both), 10.0) == pytest.approx(
        {("web", "cart"): 50.0}
    )
    # One of two callers of an operation, which passes them on to another, is known past it.
    chained = imported(
        ("?", "web", "http", 10.0),
        ("?", "api", "http", 10.0),
        ("web", "cart", "http", 20.0),
        ("web", "op:Get", "http", 20.0),
        ("api", "op:Get", "http", 4.0),
        ("op:Get", "op:Read", "http", 24.0),
        ("op:Read", "cart", "http", 24.0),
    )
    assert rates(chained, 20.0) == pytest.approx({("web", "cart"): 20.0, ("api", "cart"): 4.0})


def test_operations_of_one_name_are_told_apart_by_whose_they_are() -> None:
    mesh = imported(
        ("?", "web", "http", 10.0),
        ("?", "api", "http", 10.0),
        ("web", "op:cart", "http", 20.0),
        ("op:cart", "cart", "http", 20.0),
        ("api", "op:ad", "http", 5.0),
        ("op:ad", "ad", "http", 5.0),
        **{
            name: {"aggregate": "request_operation=GET", "app": name.removeprefix("op:")}
            for name in ("op:cart", "op:ad")
        },
    )
    assert rates(mesh, 20.0) == pytest.approx({("web", "cart"): 20.0, ("api", "ad"): 5.0})


def test_a_waypoint_passes_requests_on_and_is_no_second_report_of_them() -> None:
    through = [("web", "wp", "http", 20.0), ("wp", "cart", "http", 20.0)]
    alone = imported(("?", "web", "http", 10.0), *through, wp={"isWaypoint": True})
    assert rates(alone, 10.0) == pytest.approx({("web", "cart"): 20.0})
    beside = imported(("?", "web", "http", 10.0), ("web", "cart", "http", 20.0), *through, wp={"isWaypoint": True})
    assert rates(beside, 10.0) == pytest.approx({("web", "cart"): 20.0})


def test_calls_that_leave_the_mesh_tell_of_a_silent_roots_requests() -> None:
    outside = {"isOutside": True, "isInaccessible": True}
    mesh, notes = mesh_from_graph(
        graph_of(("web", "svc:api.example.com", "http", 100.0), ("web", "db", "http", 10.0)), name="m"
    )
    assert rates(mesh, 100.0) == pytest.approx({("web", "db"): 10.0})
    assert any("web: nobody was seen to call it; 100 external requests/s assumed" in note for note in notes)
    alone = imported(("web", "pay", "grpc", 150.0), ("web", "db", "tcp", 500.0), pay=outside)
    assert entries(alone) == {"web": 1.0}
    assert dict(zip(alone.names, alone.arrays().mean_visits, strict=True)) == {"web": 1.0, "db": 0.0}
    # The most frequent call is one to one place, not to all of outside; a gateway forwards everything.
    two = imported(
        ("web", "a", "http", 100.0), ("web", "b", "http", 60.0), ("web", "db", "http", 10.0), a=outside, b=outside
    )
    assert rates(two, 100.0) == pytest.approx({("web", "db"): 10.0})
    gateway = imported(("ingress", "a", "http", 90.0), ("ingress", "db", "http", 10.0), a=outside)
    assert rates(gateway, 100.0) == pytest.approx({("ingress", "db"): 10.0})
    # A call of a service is one, whichever of its versions answers.
    versions = (("web", "svc:pay", "http", 30.0), ("svc:pay", "v1", "http", 20.0), ("svc:pay", "v2", "http", 10.0))
    assert rates(imported(*versions, ("web", "db", "http", 24.0)), 30.0) == pytest.approx(
        {("web", "v1"): 20.0, ("web", "v2"): 10.0, ("web", "db"): 24.0}
    )
    # One that is called is no root, whatever it calls.
    called = imported(("?", "web", "http", 50.0), ("web", "a", "http", 100.0), ("web", "db", "http", 10.0), a=outside)
    assert rates(called, 50.0) == pytest.approx({("web", "db"): 10.0})


def test_what_runs_on_machines_is_not_scaled() -> None:
    for flags in ({"hasWorkloadEntry": [{"name": "vm1"}]}, {"hasWorkloadEntry": [{"name": "vm1"}], "isDead": True}):
        mesh, notes = mesh_from_graph(
            graph_of(("?", "web", "http", 10.0), ("web", "vm", "http", 20.0), vm=flags), name="m"
        )
        assert [service.stateful for service in mesh.services] == [False, True]
        assert rates(mesh, 10.0) == pytest.approx({("web", "vm"): 20.0})
        assert any(note.startswith("vm: runs on machines") for note in notes)
    assert not imported(("?", "web", "http", 1.0), web={"hasWorkloadEntry": []}).services[0].stateful
    place = {"location": "MESH_INTERNAL", "hosts": ["vm.shop"]}
    edges = [("?", "web", "http", 10.0), ("web", "vm", "http", 20.0), ("web", "api", "http", 5.0)]
    service_graph = imported(
        *edges, graph_type="service", vm={"isServiceEntry": place}, api={"isServiceEntry": "MESH_EXTERNAL"}
    )
    assert {service.name: service.stateful for service in service_graph.services} == {"web": False, "vm": True}


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


@pytest.mark.parametrize("unnamed", ["", "unknown"])
@pytest.mark.parametrize("kind", ["workload", "service"])
def test_a_cluster_without_a_name_is_no_other_cluster(unnamed: str, kind: str) -> None:
    twins = {
        name: {kind: name.split("/")[0], "cluster": unnamed, "isIdle": True} for name in ("web/2", "db/2", "spare")
    }
    named = {name: {"cluster": "Kubernetes"} for name in ("web", "db")}
    mesh = imported(("?", "web", "http", 10.0), ("web", "db", "http", 20.0), graph_type=kind, **twins, **named)
    assert mesh.names == ("web", "db", "spare")
    assert rates(mesh, 10.0) == pytest.approx({("web", "db"): 20.0})


@pytest.mark.parametrize("unnamed", ["", "unknown"])
def test_traffic_reported_under_both_clusters_of_a_workload_is_added(unnamed: str) -> None:
    mesh = imported(
        ("?", "web", "http", 10.0),
        ("web", "db", "http", 15.0),
        ("web/2", "db", "http", 5.0),
        web={"cluster": "east"},
        db={"cluster": "east"},
        **{"web/2": {"workload": "web", "cluster": unnamed}},
    )
    assert mesh.names == ("web", "db")
    assert rates(mesh, 10.0) == pytest.approx({("web", "db"): 20.0})


def test_clusters_keep_their_workloads_apart_and_names_have_no_empty_parts() -> None:
    mesh = imported(
        ("?", "a", "http", 10.0),
        ("?", "a/west", "http", 10.0),
        ("?", "a/none", "http", 10.0),
        a={"cluster": "east"},
        **{
            "a/west": {"workload": "a", "cluster": "west"},
            "a/none": {"workload": "a", "cluster": ""},
            "a/idle": {"workload": "a", "cluster": "unknown", "isIdle": True},
        },
    )
    assert mesh.names == ("a.shop.east", "a.shop.west", "a.shop.unknown")
    # Idle and of no named cluster, it is one of the two.
    two = imported(
        ("?", "a", "http", 1.0),
        ("?", "a/w", "http", 1.0),
        a={"cluster": "e"},
        **{"a/w": {"workload": "a", "cluster": "w"}, "a/idle": {"workload": "a", "cluster": "", "isIdle": True}},
    )
    assert two.names == ("a.shop.e", "a.shop.w")


def test_quotients_of_rates_too_small_to_be_measured_are_noted_or_refused() -> None:
    for edges in (
        [("?", "a", "http", 0.01), ("a", "b", "http", 900000.0)],
        [("?", "a", "http", 0.01), ("a", "b", "http", 1000.01), ("b", "a", "http", 1000.0)],
        [("?", "a", "http", 0.01), ("a", "a", "http", 1e15)],
    ):
        with pytest.raises(MeshError, match=r"calls a request of 0\.01 requests/s, more than 10000; .*longer period"):
            imported(*edges)

    def notes(*edges: tuple[Any, ...]) -> str:
        return "\n".join(mesh_from_graph(graph_of(*edges), name="m")[1])

    assert "b: 5000 calls a request" in notes(("?", "a", "http", 1.0), ("a", "b", "http", 5000.0))
    assert "a: reached by less than 0.05 requests/s" in notes(("?", "a", "http", 0.04), ("a", "b", "http", 0.1))
    assert "rounded" not in notes(("?", "a", "http", 1.0), ("a", "b", "http", 90.0))


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
    mesh, notes = import_kiali(path)
    graph = parse_graph(path.read_bytes())
    assert np.isfinite(mesh.arrays().visits).all()
    if path.stem == "kiali-2.31-workload":
        measured = {
            (e.source.name, e.target.name): e.rps
            for e in graph.edges
            if e.source.name in mesh.names and e.target.name in mesh.names
        }
        assert rates(mesh, 200.0) == pytest.approx(measured)
    if path.stem == "kiali-2.31-rates_none":
        # All that is left of the requests is what one root sends to another namespace.
        assert [(c.root, c.weight) for c in mesh.classes] == [("reviews-v3", 1.0)]
        assert any("150 external requests/s assumed" in note for note in notes)
    if path.stem == "live-1.20-workload":
        visits = dict(zip(mesh.names, mesh.arrays().mean_visits, strict=True))
        assert visits["ratings-v1"] == pytest.approx(20 / 50)
        assert visits["reviews-v1"] == pytest.approx(25 / 50)
        assert {c.root for c in mesh.classes} == {"productpage-v1"}
