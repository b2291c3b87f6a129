"""Data that came in time and in form, and cannot be true: nothing is lowered on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from gnnrl.cluster.models import ClusterSnapshot, Container, ContainerUsage, DeploymentState, PodUsage
from gnnrl.domains.autoscaling.graph_nodes import GraphNodes
from gnnrl.domains.autoscaling.sensing import Reading, Sensing
from kiali_client import Edge, Node, NodeKey, ServiceGraph, Traffic

NOW = 1_800_000_000.0
STALE = 75.0
LIMIT = 200.0
PODS = 4


def key(name: str, namespace: str = "shop", cluster: str = "") -> NodeKey:
    return NodeKey(cluster, namespace, name, "workload")


OUTSIDE = key("gateway", "istio-system")
CALLS = {(OUTSIDE, key("front")): 50.0, (key("front"), key("back")): 100.0}


def graph(rates: Mapping[tuple[NodeKey, NodeKey], float], now: float, *, tcp: float = 0.0) -> ServiceGraph:
    edges = []
    for (source, target), rps in rates.items():
        traffic = [Traffic(protocol="http", rps=rps)]
        traffic += [Traffic(protocol="tcp", bytes_per_second=tcp)] if tcp else []
        edges.append(Edge(source=source, target=target, traffic=tuple(traffic)))
    names = dict.fromkeys(node for pair in rates for node in pair)
    nodes = tuple(Node(key=name) for name in names)
    return ServiceGraph(timestamp=int(now), duration_seconds=60, graph_type="workload", nodes=nodes, edges=tuple(edges))


def snapshot(
    seconds: float,
    rates: Mapping[tuple[NodeKey, NodeKey], float],
    millicores: float,
    *,
    tcp: float = 0.0,
    ages: Sequence[float] = (15.0,) * PODS,
) -> ClusterSnapshot:
    """Two services of four pods, each of them using so much; the first has so many measurements, of these ages."""
    now = NOW + seconds
    container = Container(name="server", cpu_request_millicores=LIMIT / 2, cpu_limit_millicores=LIMIT)
    deployments = tuple(
        DeploymentState(
            name=name,
            uid=name,
            resource_version="1",
            desired=PODS,
            ready=PODS,
            starting=0,
            pending=0,
            containers=(container,),
            created_seconds=NOW - 9e4,
        )
        for name in ("back", "front")
    )
    usage = [
        PodUsage(
            pod=f"{name}-{i}",
            deployment=name,
            timestamp_seconds=now - age,
            window_seconds=15.0,
            containers={"server": ContainerUsage(cpu_nanocores=int(millicores * 1e6), memory_bytes=1)},
        )
        for name in ("back", "front")
        for i, age in enumerate(ages if name == "back" else (15.0,) * PODS)
    ]
    return ClusterSnapshot(
        namespace="shop",
        taken_seconds=now,
        deployments=deployments,
        usage=tuple(usage),
        graph=graph(rates, now, tcp=tcp),
    )


def sensing() -> Sensing:
    return Sensing(max_nodes=8, max_edges=16, interval_seconds=15, stale_after_seconds=STALE, slo_ms=500.0)


def read(snapshots: Sequence[ClusterSnapshot]) -> list[Reading]:
    reader = sensing()
    return [reader.read(one) for one in snapshots]


def test_rates_that_stand_still_while_the_pods_work_changes_are_not_trusted() -> None:
    readings = read([snapshot(15.0 * k, CALLS, 100.0 + 4.0 * k) for k in range(10)])
    trusted = [not reading.untrusted_mask.any() for reading in readings]
    assert trusted == [15.0 * k <= STALE for k in range(10)], "from the first reading past the limit on, not before"
    assert not any(reading.blocking for reading in readings), "raises may still rest on it"
    assert "every rate has been the same for 90 s" in " ".join(readings[6].problems)
    assert all(readings[6].untrusted_mask), "of no service"


@pytest.mark.parametrize(
    ("title", "snapshots"),
    [
        ("the work is the same too", [snapshot(15.0 * k, CALLS, 100.0 + 0.5 * k) for k in range(10)]),
        (
            "one rate changes",
            [snapshot(15.0 * k, CALLS | {(OUTSIDE, key("front")): 50.0 + 0.01 * (k % 2)}, 100.0 + 2.0 * k) for k in range(10)],
        ),
        ("there never was a request", [snapshot(15.0 * k, dict.fromkeys(CALLS, 0.0), 10.0 + k) for k in range(10)]),
    ],
)  # fmt: skip
def test_what_only_looks_like_standing_still_is_trusted(title: str, snapshots: list[ClusterSnapshot]) -> None:
    assert not any(reading.untrusted_mask.any() or reading.blocking for reading in read(snapshots)), title


def test_a_graph_that_moves_again_is_trusted_at_once() -> None:
    still = [snapshot(15.0 * k, CALLS, 100.0 + 2.0 * k) for k in range(8)]
    moved = snapshot(120.0, {pair: rps + 1.0 for pair, rps in CALLS.items()}, 116.0)
    readings = read([*still, moved])
    assert readings[-2].untrusted_mask.any() and not readings[-1].untrusted_mask.any()


def test_metrics_that_fail_meanwhile_are_not_taken_for_a_change() -> None:
    still = [snapshot(15.0 * k, CALLS, 100.0) for k in range(10)]
    still[4] = replace(still[4], usage=())
    assert not any(reading.untrusted_mask.any() for reading in read(still)[5:])


def test_calls_without_a_request_while_pods_are_busy_block_a_decision() -> None:
    silent = dict.fromkeys(CALLS, 0.0)
    (reading,) = read([snapshot(0.0, silent, 0.3 * LIMIT)])
    assert "no request on any of them" in " ".join(reading.blocking), "also of a loop that was just started"
    (idle,) = read([snapshot(0.0, silent, 0.1 * LIMIT)])
    assert not idle.blocking, "nobody comes at night"
    (bytes_only,) = read([snapshot(0.0, silent, 0.3 * LIMIT, tcp=100.0)])
    assert not bytes_only.blocking, "a mesh that speaks tcp has no requests"


def test_a_graph_of_other_workloads_blocks_a_decision() -> None:
    other = {(OUTSIDE, key("front-b")): 50.0, (key("front-b"), key("back-b")): 100.0}
    first, strange, back = read([snapshot(15.0 * k, calls, 100.0 + k) for k, calls in enumerate((CALLS, other, CALLS))])
    assert "none of its 3 nodes is a Deployment of 'shop'" in " ".join(strange.blocking)
    assert not first.blocking and not back.blocking
    assert back.mesh == first.mesh, "it comes back as it was"
    many = {(OUTSIDE, key(f"other-{i}")): 1.0 for i in range(20)}
    (crowd,) = read([snapshot(0.0, many, 100.0)])
    assert crowd.blocking and crowd.mesh.names == ("back", "front"), "nor is it held against the policy's capacity"
    (elsewhere,) = read([snapshot(0.0, {(OUTSIDE, key("front", "shop-b")): 50.0}, 100.0)])
    assert elsewhere.blocking, "a namespace of the same workloads is another one"


def test_the_same_workload_of_another_cluster_is_not_ours() -> None:
    """Its load would be taken for that of the Deployment here."""
    abroad = key("front", cluster="west")
    one = snapshot(0.0, CALLS | {(OUTSIDE, abroad): 900.0}, 100.0)
    nodes = tuple(replace(node, is_outside=node.key == abroad) for node in one.graph.nodes)
    (reading,) = read([replace(one, graph=replace(one.graph, nodes=nodes))])
    column = reading.mesh.names.index("front")
    assert reading.window.rps_in[0, column] == 50.0
    assert {service.name for service in reading.mesh.services if service.outside} == {"front.shop", "gateway"}


def test_of_nodes_that_share_a_name_the_same_one_has_it_in_every_reading() -> None:
    """Whatever the order of the calls and the seed of the hashes, or memories would change places."""
    places = [f"team-{i}" for i in range(6)]
    for order in (places, places[::-1]):
        calls = {(key("proxy", place), key("front")): 1.0 for place in order}
        one = snapshot(0.0, calls, 100.0)
        named = GraphNodes.of(one, one.graph).name_of
        assert named[key("proxy", "team-0")] == "proxy"
        assert {named[key("proxy", place)] for place in places[1:]} == {f"proxy.{place}" for place in places[1:]}


def test_one_pod_that_was_not_measured_for_long_makes_its_service_untrusted_alone() -> None:
    (reading,) = read([snapshot(0.0, CALLS, 100.0, ages=(15.0, 15.0, 15.0, 76.0))])
    assert [name for name, bad in zip(reading.mesh.names, reading.untrusted_mask, strict=False) if bad] == ["back"]
    assert "back: metrics: of one of its pods 76 s old" in " ".join(reading.problems)
    assert not reading.blocking


def test_pods_that_have_long_been_ready_and_are_not_measured_make_their_service_untrusted() -> None:
    snapshots = [snapshot(15.0 * k, CALLS, 100.0 + k, ages=(15.0,)) for k in range(8)]
    untrusted = [bool(reading.untrusted_mask[0]) for reading in read(snapshots)]
    assert untrusted == [15.0 * k > STALE for k in range(8)], "new pods are measured a little later, and need be"
    assert not any(reading.untrusted_mask[1] for reading in read(snapshots))


def in_clusters(east: float, west: float) -> dict[tuple[NodeKey, NodeKey], float]:
    """The same calls in two clusters with the same namespace and names."""
    calls = {}
    for cluster, rps in (("east", east), ("west", west)):
        front, back = key("front", cluster=cluster), key("back", cluster=cluster)
        calls |= {(key("gateway", "istio-system", cluster), front): rps, (front, back): 2.0 * rps}
    return calls


def test_a_graph_of_two_clusters_blocks_until_one_is_named() -> None:
    one = snapshot(0.0, in_clusters(50.0, 900.0), 100.0)
    (reading,) = read([one])
    assert reading.blocking[0] == (
        "graph: namespace 'shop' is in the clusters east, west; name the one that is scaled: --cluster east (cluster in the "
        "configuration)"
    )
    assert reading.half_window_mask.all() and reading.window.rps_in.sum() == 0.0
    marked = tuple(replace(node, is_outside=node.key.cluster == "west") for node in one.graph.nodes)
    named = Sensing(
        max_nodes=8, max_edges=16, interval_seconds=15, stale_after_seconds=STALE, slo_ms=500.0, cluster="east"
    )
    # Whether or not who read the graph has marked the other cluster's as outside.
    for nodes in (marked, one.graph.nodes):
        ours = named.read(replace(one, graph=replace(one.graph, nodes=nodes)))
        assert not ours.blocking
        assert [float(ours.window.rps_in[0, ours.mesh.names.index(name)]) for name in ("front", "back")] == [
            50.0,
            100.0,
        ]
    other = Sensing(
        max_nodes=8, max_edges=16, interval_seconds=15, stale_after_seconds=STALE, slo_ms=500.0, cluster="north"
    )
    assert (
        "no workload of namespace 'shop' is in cluster 'north', they are in east, west" in other.read(one).blocking[0]
    )


def test_of_two_clusters_of_which_none_is_named_no_call_is_a_deployments() -> None:
    one = snapshot(0.0, in_clusters(50.0, 900.0), 100.0)
    nodes = GraphNodes.of(one, one.graph)
    assert len(nodes.edges) == 4 and not any(map(nodes.is_deployment, nodes.name_of))
    assert not {"front", "back"} & set(nodes.name_of.values())
    alone = snapshot(
        0.0, {pair: rps for pair, rps in in_clusters(50.0, 900.0).items() if pair[1].cluster == "east"}, 100.0
    )
    ours = GraphNodes.of(alone, alone.graph)
    assert {ours.name_of[key] for key in ours.name_of if ours.is_deployment(key)} == {"front", "back"}


@pytest.mark.parametrize("unknown", ["", "unknown"])
def test_a_workload_whose_cluster_a_proxy_did_not_know_is_the_same_one(unknown: str) -> None:
    calls = {
        (OUTSIDE, key("front", cluster="east")): 50.0,
        (key("front", cluster=unknown), key("back", cluster="east")): 30.0,
        (key("front", cluster="east"), key("back", cluster="east")): 70.0,
    }
    (reading,) = read([snapshot(0.0, calls, 100.0)])
    assert not reading.blocking and len(reading.mesh.calls) == 2
    assert reading.window.rps_in[0, reading.mesh.names.index("back")] == 100.0


def test_few_samples_of_a_call_are_told_of_what_it_reaches() -> None:
    one = snapshot(0.0, CALLS, 100.0)
    thin = replace(one.graph.edges[1], is_thinly_sampled=True)
    (reading,) = read([replace(one, graph=replace(one.graph, edges=(one.graph.edges[0], thin)))])
    assert reading.half_window_mask[:2].tolist() == [True, False], "back alone: front is called by the gateway"
    thin = replace(one.graph.edges[0], is_thinly_sampled=True)
    (reading,) = read([replace(one, graph=replace(one.graph, edges=(thin, one.graph.edges[1])))])
    assert reading.half_window_mask[:2].tolist() == [True, True], "what front sends on follows"


def test_a_rate_that_falls_alone_is_doubted_with_all_behind_it() -> None:
    course = [snapshot(15.0 * k, {pair: rps + 0.01 * k for pair, rps in CALLS.items()}, 60.0) for k in range(8)]
    low = snapshot(120.0, {(OUTSIDE, key("front")): 35.0, (key("front"), key("back")): 100.0}, 60.0)
    *before, last = read([*course, low])
    assert not any(reading.untrusted_mask.any() for reading in before)
    assert last.untrusted_mask[:2].all() and not last.untrusted_mask[2:].all()
    assert last.problems[0].startswith("front: graph: 35 requests/s, where its pods' CPU is that of 50.07")
    assert not last.blocking, "raises may rest on it"
