"""Kiali's answers: every trap that its versions set, and bodies that are no graph at all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kiali_client import KialiError, KialiPayloadError, KialiSchemaError, NodeKey, parse_graph

REAL_ANSWERS = sorted((Path(__file__).parents[2] / ".." / "shared" / "kiali").glob("*.json"))

WEB = {"id": "1", "nodeType": "workload", "cluster": "east", "namespace": "shop", "workload": "web-v1", "app": "web"}
CART = {"id": "2", "nodeType": "workload", "cluster": "east", "namespace": "shop", "workload": "cart-v1", "app": "cart"}


def answer(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]] = (), graph_type: str = "workload"
) -> dict[str, Any]:
    return {
        "timestamp": 1700000000,
        "duration": 60,
        "graphType": graph_type,
        "elements": {"nodes": [{"data": n} for n in nodes], "edges": [{"data": e} for e in edges]},
    }


def edge(source: str, target: str, protocol: str = "http", **rates: str) -> dict[str, Any]:
    return {"id": f"{source}{target}{protocol}", "source": source, "target": target} | {
        "traffic": {"protocol": protocol, "rates": rates}
    }


def only_edge(data: dict[str, Any]):
    (found,) = parse_graph(answer([WEB, CART], [data])).edges
    return found


def test_numbers_are_read_from_text_with_their_units() -> None:
    data = edge("1", "2", http="20.50", http5xx="1.00", http4xx="1.05", httpPercentErr="10.0", httpPercentReq="100.0")
    found = only_edge(data | {"responseTime": "35", "throughput": "1200", "isMTLS": "50"})
    assert found.rps == 20.5
    assert found.error_share == pytest.approx(0.10)
    assert found.response_time_ms == 35.0
    assert found.traffic[0].throughput_bytes_per_second == 1200.0
    assert found.mtls_share == 0.5
    assert found.source == NodeKey("east", "shop", "web-v1", "workload")


def test_what_is_of_no_named_cluster_is_that_of_the_one_that_has_it() -> None:
    twin = WEB | {"id": "3", "cluster": "unknown", "isIdle": True, "isDead": True}
    for nodes in ([WEB, twin, CART], [twin, WEB, CART]):
        graph = parse_graph(answer(nodes, [edge("1", "2", http="3.00"), edge("3", "2", http="2.00")]))
        assert {node.key.cluster for node in graph.nodes} == {"east"} and len(graph.nodes) == 2
        assert graph.by_key[NodeKey("east", "shop", "web-v1", "workload")].is_dead is False
        assert graph.by_key[NodeKey("east", "shop", "web-v1", "workload")].is_idle is False
        (found,) = graph.edges
        assert found.rps == 5.0
    # A service of that name, or the workload of another namespace, is another one.
    others = [
        WEB | {"id": "3", "cluster": "", "namespace": "b"},
        {"id": "4", "nodeType": "service", "service": "web-v1"},
    ]
    assert len(parse_graph(answer([WEB, *others])).nodes) == 3


def test_an_operation_is_one_node_an_id() -> None:
    operation = {"nodeType": "aggregate", "namespace": "shop", "aggregate": "request_operation=GET"}
    nodes = [operation | {"id": "3", "app": "web"}, operation | {"id": "4", "app": "cart"}, operation | {"id": "5"}]
    graph = parse_graph(answer([*nodes, operation | {"id": "6"}]))
    names = [node.key.name.removeprefix("request_operation=") for node in graph.nodes]
    assert names == ["GET@web", "GET@cart", "GET", "GET#2"]


def test_machines_and_what_is_outside_are_not_scalable() -> None:
    def node(**data: Any):
        return parse_graph(answer([WEB | data])).nodes[0]

    assert (node().scalable, node().is_served_here, node().runs_on_machines) == (True, True, False)
    machine = node(hasWorkloadEntry=[{"name": "vm"}])
    assert (machine.scalable, machine.is_served_here, machine.runs_on_machines) == (False, True, True)
    assert not node(isServiceEntry={"location": "MESH_EXTERNAL"}).is_served_here
    assert not node(isServiceEntry={}).is_served_here
    assert node(isServiceEntry={"location": "MESH_INTERNAL"}).runs_on_machines


def test_an_edge_without_rates_or_with_empty_traffic_is_an_edge_without_load() -> None:
    for traffic in ({"protocol": "http"}, {"protocol": "http", "rates": {}}, {}, None):
        found = only_edge({"id": "e", "source": "1", "target": "2", "traffic": traffic, "responseTime": "20"})
        assert found.rps == 0.0
        assert found.error_share == 0.0
    assert only_edge({"id": "e", "source": "1", "target": "2"}).traffic == ()


def test_a_missing_rate_is_zero_and_a_missing_error_share_is_counted() -> None:
    assert only_edge(edge("1", "2", httpPercentReq="0.0")).rps == 0.0
    assert only_edge(edge("1", "2", http="10.00")).error_share == 0.0
    assert only_edge(edge("1", "2", http="10.00", http5xx="2.00", httpNoResponse="1.00")).error_share == pytest.approx(
        0.3
    )
    assert only_edge(edge("1", "2", "grpc", grpc="10.00", grpcErr="4.00")).error_share == pytest.approx(0.4)


def test_infinite_times_and_percentages_are_unknown_not_numbers() -> None:
    found = only_edge(edge("1", "2", http="4.00", http4xx="1.00", httpPercentErr="+Inf") | {"responseTime": "+Inf"})
    assert found.response_time_ms is None
    assert found.error_share == pytest.approx(0.25)
    assert only_edge(edge("1", "2", http="4.00") | {"responseTime": "NaN"}).response_time_ms is None


@pytest.mark.parametrize("bad", ["NaN", "+Inf", "-1.00", "many", None])
def test_a_rate_that_is_no_rate_is_an_error_with_its_place(bad: str | None) -> None:
    with pytest.raises(KialiSchemaError, match=r"elements\.edges\[0\]\.traffic\.rates\.http: "):
        only_edge(edge("1", "2", http=bad))  # type: ignore[arg-type]


def test_several_edges_for_one_pair_become_one_and_tcp_is_never_requests() -> None:
    graph = parse_graph(
        answer(
            [WEB, CART],
            [
                edge("1", "2", http="30.00", httpPercentErr="10.0") | {"responseTime": "50", "isMTLS": "100"},
                edge("1", "2", "grpc", grpc="10.00") | {"responseTime": "5"},
                edge("1", "2", "tcp", tcp="9000.00"),
                edge("2", "2", http="2.00"),
            ],
        )
    )
    pair, loop = graph.edges
    assert pair.rps == 40.0
    assert pair.tcp_bytes_per_second == 9000.0
    assert pair.error_share == pytest.approx(0.075)
    assert pair.mtls_share == pytest.approx(0.75)
    assert pair.response_time_ms == 50.0  # of the busier protocol
    assert {traffic.protocol for traffic in pair.traffic} == {"http", "grpc", "tcp"}
    assert (loop.source, loop.rps) == (loop.target, 2.0)


def test_two_edges_of_one_protocol_between_the_same_keys_add_up() -> None:
    twin = CART | {"id": "3"}
    graph = parse_graph(
        answer([WEB, CART, twin], [edge("1", "2", http="30.00"), edge("1", "3", http="10.00", httpPercentErr="40.0")])
    )
    assert len(graph.nodes) == 2
    assert graph.edges[0].rps == 40.0
    assert graph.edges[0].error_share == pytest.approx(0.1)


def test_boxes_come_first_and_are_skipped_in_every_version() -> None:
    new = {"id": "b", "nodeType": "box", "cluster": "east", "namespace": "shop", "app": "web", "isBox": "app"}
    old = {"id": "b", "nodeType": "app", "namespace": "shop", "app": "web", "isGroup": "version"}
    for box in (new, old):
        graph = parse_graph(answer([box, WEB | {"parent": "b"}, CART], [edge("1", "2", http="1.00")], "versionedApp"))
        assert [node.key.name for node in graph.nodes] == ["web-v1", "cart-v1"]
    with pytest.raises(KialiSchemaError, match=r"edges\[0\]\.source: 'b' is the id of no node"):
        parse_graph(answer([new, WEB], [edge("b", "1", http="1.00")]))


def test_flags_stand_there_only_when_true_and_an_empty_object_is_true() -> None:
    plain, flagged = parse_graph(
        answer([WEB, CART | {"hasVS": {}, "isRoot": True, "isGateway": {}, "isDead": True}])
    ).nodes
    assert (plain.has_virtual_service, plain.is_root, plain.is_gateway, plain.is_dead) == (False,) * 4
    assert (flagged.has_virtual_service, flagged.is_root, flagged.is_gateway, flagged.is_dead) == (True,) * 4


def test_idle_has_two_names() -> None:
    old, new = parse_graph(answer([WEB | {"isUnused": True}, CART | {"isIdle": True}])).nodes
    assert old.is_idle
    assert new.is_idle


def test_keys_outlive_ids_and_graph_types() -> None:
    workload = parse_graph(answer([WEB]))
    versioned = parse_graph(answer([WEB | {"id": "other", "nodeType": "app"}], graph_type="versionedApp"))
    assert workload.nodes[0].key == versioned.nodes[0].key
    app = parse_graph(answer([{"id": "1", "nodeType": "app", "namespace": "shop", "app": "web"}], graph_type="app"))
    assert app.nodes[0].key == NodeKey("", "shop", "web", "app")
    service = parse_graph(answer([{"id": "1", "nodeType": "service", "namespace": "shop", "service": "web"}]))
    assert service.nodes[0].key != app.nodes[0].key


def test_the_same_name_in_two_clusters_is_two_nodes() -> None:
    graph = parse_graph(answer([WEB, WEB | {"id": "2", "cluster": "west"}], [edge("1", "2", http="1.00")]))
    assert len(graph.by_key) == 2
    assert graph.edges[0].source.cluster == "east"


@pytest.mark.parametrize(
    ("node", "scalable"),
    [
        (WEB, True),
        (WEB | {"nodeType": "app"}, True),
        (WEB | {"isDead": True}, True),
        (WEB | {"isInaccessible": True}, False),
        (WEB | {"isOutside": True}, False),
        (WEB | {"isWaypoint": True}, False),
        ({"id": "1", "nodeType": "unknown", "namespace": "unknown", "workload": "unknown", "app": "unknown"}, False),
        ({"id": "1", "nodeType": "service", "namespace": "unknown", "service": "PassthroughCluster"}, False),
        ({"id": "1", "nodeType": "service", "namespace": "unknown", "service": "BlackHoleCluster"}, False),
        ({"id": "1", "nodeType": "aggregate", "namespace": "shop", "aggregate": "op", "aggregateValue": "GET"}, False),
    ],
)
def test_what_can_be_scaled(node: dict[str, Any], scalable: bool) -> None:
    assert parse_graph(answer([node])).nodes[0].scalable is scalable


def test_an_empty_graph_is_a_graph() -> None:
    assert parse_graph(answer([])).nodes == ()
    nothing = answer([]) | {"elements": {"nodes": None, "edges": None}}
    assert parse_graph(nothing).edges == ()


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "is empty"),
        ("  \n", "is empty"),
        ("<!DOCTYPE html><html><head><title>Kiali Console</title>", "a web page ('Kiali Console')"),
        ("<html><body>502</body></html>", "a web page, not JSON"),
        ("unauthorized", "no JSON: Expecting value at line 1, column 1"),
        ("[1, 2]", "a list, not an object"),
        (json.dumps({"error": "namespace 'x' not found", "detail": "403"}), "error: namespace 'x' not found (403)"),
        (gzip.compress(b"{}", mtime=0), "is it compressed?"),
        (json.dumps(answer([WEB])) + "}", "Extra data"),
    ],
)
def test_bodies_that_are_no_graph_answer(body: str | bytes, part: str) -> None:
    with pytest.raises(KialiPayloadError) as caught:
        parse_graph(body)
    assert part in str(caught.value)


def test_a_body_cut_off_anywhere_is_said_to_be_cut_off() -> None:
    body = json.dumps(answer([WEB | {"isRoot": True}, CART], [edge("1", "2", http="1.00")]))
    assert parse_graph(body.encode()) == parse_graph(json.loads(body))
    for length in range(1, len(body)):
        with pytest.raises(KialiPayloadError, match="is cut off after"):
            parse_graph(body[:length])


def test_other_schemas_name_every_problem() -> None:
    with pytest.raises(KialiSchemaError, match="has no 'elements', only 'items'; ask /api/namespaces/graph"):
        parse_graph({"items": []})
    with pytest.raises(KialiSchemaError, match="elements: is a"):
        parse_graph(answer([]) | {"elements": []})
    bad = answer(
        [{"nodeType": "workload", "workload": "x"}, {"id": "3", "nodeType": "pod"}, {"id": "4", "nodeType": "app"}]
    )
    bad |= {"graphType": "mesh", "duration": "60"}
    bad["elements"]["edges"] = [{"data": {"source": "8", "target": "9"}}, {"edge": 1}]
    with pytest.raises(KialiSchemaError) as caught:
        parse_graph(bad)
    for part in (
        "graphType: 'mesh' is none of app, service, versionedApp, workload",
        "duration: '60' is no whole number",
        "elements.nodes[0]: has no id",
        "elements.nodes[1]: nodeType 'pod'",
        "elements.nodes[2]: a node of type app without workload or app",
        "elements.edges[0].source: '8'",
        "elements.edges[0].target: '9'",
        "elements.edges[1]: has no 'data' object",
    ):
        assert part in str(caught.value)
    assert isinstance(caught.value, KialiError)


@pytest.mark.skipif(not REAL_ANSWERS, reason="the folder of real answers is not here")
@pytest.mark.parametrize("path", REAL_ANSWERS, ids=lambda path: path.stem)
def test_real_answers(path: Path) -> None:
    raw = json.loads(path.read_text())
    graph = parse_graph(path.read_bytes())
    boxes = sum(node["data"]["nodeType"] == "box" for node in raw["elements"]["nodes"])
    assert len(graph.nodes) == len(raw["elements"]["nodes"]) - boxes
    rates = [edge["data"]["traffic"].get("rates", {}) for edge in raw["elements"]["edges"]]
    requests = sum(float(rate.get("http", 0)) + float(rate.get("grpc", 0)) for rate in rates)
    assert sum(edge.rps for edge in graph.edges) == pytest.approx(requests)
    assert sum(e.tcp_bytes_per_second for e in graph.edges) == pytest.approx(sum(float(r.get("tcp", 0)) for r in rates))
    assert not any(node.scalable for node in graph.nodes if node.key.name in ("unknown", "deposit-v1", "pricing-v1"))


@pytest.mark.skipif(not REAL_ANSWERS, reason="the folder of real answers is not here")
def test_versions_and_graph_types_agree_on_what_they_measured() -> None:
    graphs = {path.stem: parse_graph(path.read_bytes()) for path in REAL_ANSWERS}
    flows = {
        name: {(e.source.name, e.target.name): (e.rps, e.error_share) for e in graphs[name].edges}
        for name in ("kiali-2.31-workload", "kiali-2.31-versioned_app")
    }
    assert flows["kiali-2.31-workload"] == flows["kiali-2.31-versioned_app"]
    live = graphs["live-1.20-workload"]
    assert {e.target.name: e.response_time_ms for e in live.edges if e.response_time_ms}["productpage-v1"] == 160.0


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("[" * 200_000, "nested too deep"),
        ('{"elements":' * 200_000, "nested too deep"),
        ('{"timestamp": NaN}', "NaN is no JSON number"),
        ('{"timestamp": -Infinity}', "-Infinity is no JSON number"),
        ('{"timestamp": ' + "9" * 5000 + "}", "4300 digits"),
        ('{"elements": {}, "elements": {"nodes": []}}', "'elements' stands twice"),
    ],
)
def test_what_python_would_read_or_choke_on_is_no_json(body: str, part: str) -> None:
    with pytest.raises(KialiPayloadError) as caught:
        parse_graph(body)
    assert part in str(caught.value)
    assert caught.value.__context__ is None, "the parser's exception holds the whole body"


@pytest.mark.parametrize(
    "number", [10**400, 1e300, "1e300", "1_0", " 1", "1 ", "\u0663", "inf", "0x1", "1" * 100, "1e", True, [1]]
)
def test_what_is_no_number_of_go_is_no_rate(number: object) -> None:
    with pytest.raises(KialiSchemaError, match=r"rates\.http: .* is no finite number"):
        only_edge(edge("1", "2", http=number))  # type: ignore[arg-type]
    assert only_edge(edge("1", "2", http="1.5e1") | {"responseTime": number}).response_time_ms is None


@pytest.mark.parametrize("number", ["15", "15.", "+15", "1.5e+1", "150E-1", 15, 15.0])
def test_every_spelling_of_a_number_is_read(number: object) -> None:
    assert only_edge(edge("1", "2", http=number)).rps == 15.0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["web\ud800", "web\nroot: gone", "web\x1b[2J"])
def test_a_name_that_would_break_a_log_is_no_name(name: str) -> None:
    with pytest.raises(KialiSchemaError, match=r"nodes\[0\]\.workload: .* is no name") as caught:
        parse_graph(json.dumps(answer([WEB | {"workload": name}])))
    str(caught.value).encode()
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_protocol_that_would_break_a_log_is_none() -> None:
    with pytest.raises(KialiSchemaError, match=r"edges\[0\]\.traffic\.protocol: .* is no name"):
        only_edge(edge("1", "2", "http\ud800"))


def test_one_id_for_two_nodes_is_ambiguous() -> None:
    with pytest.raises(KialiSchemaError, match=r"nodes\[1\]: its id '1' is that of workload east/shop/web-v1 already"):
        parse_graph(answer([WEB, CART | {"id": "1"}]))
    assert len(parse_graph(answer([WEB, WEB])).nodes) == 1


@pytest.mark.parametrize("seconds", [-1, 2**60, 10**400, 1.5, True, "60", None])
def test_a_time_that_is_none_is_an_error(seconds: object) -> None:
    for name in ("timestamp", "duration"):
        with pytest.raises(KialiSchemaError, match=rf"{name}: .* is no whole number of seconds"):
            parse_graph(answer([WEB]) | {name: seconds})


def test_errors_repeat_little_of_what_they_refuse() -> None:
    for wrong in (
        answer([WEB | {"nodeType": "x" * 10**6}]),
        {"error": "e" * 10**6, "detail": ["d" * 10**6]},
        {"k" * 10**6: 1},
        answer([]) | {"graphType": [["x" * 10**6] * 100] * 100},
    ):
        with pytest.raises(KialiError) as caught:
            parse_graph(wrong)
        assert len(str(caught.value)) < 1500
    with pytest.raises(KialiPayloadError, match="not a list"):
        parse_graph([])  # type: ignore[arg-type]
