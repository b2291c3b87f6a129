"""One call as several reporters tell it: it is counted once, whatever each of them calls it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kiali_client import Edge, KialiUnavailableError, NodeKey, ServiceGraph
from kiali_client.istio_metrics import graph_from_samples
from kiali_client.istio_queries import Query, Sample
from kiali_client.sampling import SamplingMemory
from kiali_client.vector import read_vector


def sample(value: float, code: str = "200", **labels: str) -> Sample:
    told = {
        "source_workload": "front",
        "source_workload_namespace": "shop",
        "destination_workload": "reviews",
        "destination_workload_namespace": "shop",
        "destination_service_name": "reviews",
        "request_protocol": "http",
        "response_code": code,
    }
    return Sample(told | labels, value, 1.7e9)


def graph(answers: dict[tuple[str, str], list[Sample]], **more: Any) -> ServiceGraph:
    asked = {Query(*query): samples for query, samples in answers.items()}  # type: ignore[arg-type]
    arguments = {"namespaces": ["shop"], "timestamp": 1_700_000_000, "duration_seconds": 60} | more
    return graph_from_samples(asked, **arguments)


def edge(source: list[Sample], destination: list[Sample], **more: Any) -> Edge:
    (found,) = graph({("requests", "source"): source, ("requests", "destination"): destination}, **more).edges
    return found


@pytest.mark.parametrize(
    ("title", "source", "destination", "rps", "errors"),
    [
        ("all time out", [sample(10, "504")], [sample(10, "0")], 10.0, 1.0),
        ("half time out, and are answered late", [sample(5, "504"), sample(5)], [sample(10)], 10.0, 0.5),
        ("some never arrive", [sample(8), sample(2, "503")], [sample(8)], 10.0, 0.2),
        ("some are tried again, and then succeed", [sample(10)], [sample(10), sample(4, "503")], 14.0, 0.0),
        ("the callers are not scraped", [], [sample(9), sample(1, "500")], 10.0, 0.1),
        ("half of the callers are not scraped", [sample(4), sample(1, "504")], [sample(10)], 10.0, 0.2),
        ("the callers' counters stand still", [sample(0.0)], [sample(9), sample(1, "500")], 10.0, 0.1),
        ("the ends know another protocol", [sample(10, request_protocol="grpc")], [sample(10)], 10.0, 0.0),
        ("nothing happens", [sample(0.0)], [sample(0.0, "0")], 0.0, 0.0),
    ],
)  # fmt: skip
def test_the_ends_of_a_call_are_compared_before_it_is_divided(
    title: str, source: list[Sample], destination: list[Sample], rps: float, errors: float
) -> None:
    found = edge(source, destination)
    assert (found.rps, found.error_share) == (pytest.approx(rps), pytest.approx(errors)), title


def test_a_waypoint_is_a_witness_of_its_own_and_stands_in_two_answers() -> None:
    waypoint = sample(10.0, reporter="waypoint")
    assert edge([waypoint, sample(10.0, reporter="source")], [waypoint]).rps == 10.0
    assert edge([waypoint], [waypoint]).rps == 10.0
    two = [sample(4.0, reporter="waypoint"), sample(6.0, "503", reporter="waypoint")]
    assert (edge(two, two).rps, edge(two, two).error_share) == (10.0, 0.6)


def test_a_pair_of_prometheus_counts_once_and_its_fuller_half() -> None:
    pair = [sample(10.0, prometheus_replica="prometheus-0"), sample(7.0, prometheus_replica="prometheus-1")]
    assert edge(pair, []).rps == 10.0
    assert edge([sample(10.0, replica="a"), sample(7.0, replica="b")], []).rps == 17.0, (
        "any other label is another series"
    )


def test_what_enters_is_told_by_the_gateway_too() -> None:
    labels = {"source_workload": "gateway", "source_workload_namespace": "istio-system"}
    entering = sample(40.0, reporter="source", **labels)
    found = graph({("requests", "entry"): [entering], ("requests", "destination"): [sample(30.0, **labels)]})
    assert [one.rps for one in found.edges] == [40.0], "a quarter of the called pods is not scraped"


def test_security_is_the_receivers_word_in_the_callers_amount() -> None:
    secured = {"connection_security_policy": "mutual_tls"}
    found = edge([sample(20.0, connection_security_policy="unknown")], [sample(6.0, **secured), sample(2.0)])
    assert (found.rps, found.mtls_share) == (20.0, 0.75)


def test_bytes_of_tcp_are_counted_once() -> None:
    (found,) = graph({("tcp", "source"): [sample(800.0)], ("tcp", "destination"): [sample(900.0)]}).edges
    assert (found.tcp_bytes_per_second, found.rps) == (900.0, 0.0)


def clustered(value: float, source: str, target: str) -> Sample:
    return sample(value, source_cluster=source, destination_cluster=target)


def test_clusters_are_told_apart_and_an_unknown_one_is_the_only_known() -> None:
    found = edge([clustered(10.0, "east", "unknown")], [clustered(9.0, "unknown", "east")])
    assert (found.source, found.target) == tuple(NodeKey("east", "shop", n, "workload") for n in ("front", "reviews"))
    assert found.rps == 10.0
    both = {("requests", "source"): [clustered(10.0, "east", "east"), clustered(200.0, "west", "west")]}
    outside = {node.key.cluster: node.is_outside for node in graph(both, cluster="east").nodes}
    assert outside == {"east": False, "west": True}
    assert not any(node.is_outside for node in graph(both).nodes)
    assert sorted(one.rps for one in graph(both).edges) == [10.0, 200.0]


def counted(short: float, long: float, **labels: str) -> dict[tuple[str, str], list[Sample]]:
    return {("samples", "any"): [sample(short, **labels)], ("long_samples", "any"): [sample(long, **labels)]}


def test_a_call_is_thinly_sampled_if_no_witness_is_whole() -> None:
    rates = {("requests", "source"): [sample(5.0)], ("requests", "destination"): [sample(5.0)]}
    assert not graph(rates).edges[0].is_thinly_sampled, "nothing was counted"
    source, destination = ({"reporter": reporter} for reporter in ("source", "destination"))
    for short, other, thin in ((4.0, 4.0, False), (3.0, 4.0, False), (3.0, 3.0, True)):
        samples = [sample(short, **source), sample(other, **destination)]
        longs = [sample(20.0, **source), sample(20.0, **destination)]
        found = graph(rates | {("samples", "any"): samples, ("long_samples", "any"): longs})
        assert found.edges[0].is_thinly_sampled == thin, (short, other)


def test_a_call_of_which_there_is_one_sample_alone_is_there_without_a_rate() -> None:
    (found,) = graph(counted(1.0, 1.0)).edges
    assert (found.rps, found.is_thinly_sampled, found.target.name) == (0.0, True, "reviews")


def test_what_was_seen_of_a_call_is_remembered_over_a_restart() -> None:
    memory = SamplingMemory()
    rates = {("requests", "source"): [sample(5.0)]}
    assert not graph(rates | counted(12.0, 60.0), sampling=memory).edges[0].is_thinly_sampled
    assert graph(rates | counted(2.0, 2.0), sampling=memory, timestamp=1_700_000_015).edges[0].is_thinly_sampled


ANSWER = {"status": "success", "data": {"resultType": "vector", "result": []}}


@pytest.mark.parametrize(
    "partial",
    [
        {"isPartial": True},
        {"isPartial": "true"},
        {"partial": True},
        {"warnings": ["store 10.0.0.7 did not answer"]},
        {"warnings": "No StoreAPIs matched"},
        {"warnings": ["PromQL info: no counter", "remote read failed"]},
        {"isPartial": False, "warnings": {"store": "down"}},
    ],
)
def test_an_answer_that_says_that_it_is_partial_is_none(partial: dict[str, Any]) -> None:
    with pytest.raises(KialiUnavailableError, match="a part of the data is missing"):
        read_vector(json.dumps(ANSWER | partial).encode())


@pytest.mark.parametrize(
    "whole",
    [{}, {"isPartial": False}, {"warnings": None, "infos": ["PromQL info: x"]}, {"warnings": []}, {"stats": {"seriesFetched": "8"}}],
)  # fmt: skip
def test_an_answer_that_is_whole_is_read(whole: dict[str, Any]) -> None:
    assert read_vector(json.dumps(ANSWER | whole).encode()) == []
