"""Whatever a server sends, a graph in its ranges or a KialiError comes of it: a quick run of what the benchmark does at length."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz_kiali
from benchmarks.fuzz_kiali import HOSTILE, Input, inputs, outcome, own_answers, own_vector
from kiali_client import KialiError, KialiSchemaError, Version, parse_graph
from kiali_client.document import read_document
from kiali_client.versions import read_status

REAL_ANSWERS = sorted((Path(__file__).parents[2] / ".." / "shared" / "kiali").glob("*.json"))

ODD_TEXTS = st.sampled_from(
    ["", "NaN", "+Inf", "1.00", "-1.00", "1_0", "1e400", "\ud800", "1", "2", "http", "tcp", "box"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXTS | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(ODD_TEXTS | st.text(max_size=5), children, max_size=4)
    ),
    max_leaves=12,
)
NODES = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["1", "2", "3"]) | VALUES
        for name in ("id", "workload", "app", "service", "namespace", "cluster", "isRoot", "aggregate", "isBox")
    }
    | {"nodeType": st.sampled_from(["workload", "app", "service", "unknown", "aggregate", "box"]) | VALUES},
)
RATES = st.dictionaries(
    st.sampled_from(["http", "http4xx", "httpPercentErr", "grpc", "grpcErr", "tcp"]) | st.text(max_size=3),
    VALUES,
    max_size=4,
)
EDGES = st.fixed_dictionaries(
    {"source": st.sampled_from(["1", "2"]) | VALUES, "target": st.sampled_from(["1", "2"]) | VALUES},
    optional={
        "traffic": VALUES | st.fixed_dictionaries({"protocol": ODD_TEXTS | VALUES}, optional={"rates": RATES | VALUES}),
        "responseTime": VALUES,
        "throughput": VALUES,
        "isMTLS": VALUES,
    },
)
GRAPHS = st.fixed_dictionaries(
    {
        "timestamp": st.just(1700000000) | VALUES,
        "duration": st.just(60) | VALUES,
        "graphType": st.just("workload") | VALUES,
        "elements": st.fixed_dictionaries(
            {
                "nodes": st.lists(NODES.map(lambda data: {"data": data}) | VALUES, max_size=4) | VALUES,
                "edges": st.lists(EDGES.map(lambda data: {"data": data}) | VALUES, max_size=4) | VALUES,
            }
        )
        | VALUES,
    }
)


def test_mutated_answers_of_its_own_make_a_graph_or_a_kiali_error() -> None:
    found = Counter(outcome(one) for one in inputs(2000, 1, own_answers()))
    assert sum(found.values()) == 2000
    # The control: the changes neither spare the answers nor only break the JSON.
    assert min(found[name] for name in ("graph", "KialiSchemaError", "KialiPayloadError")) > 100


@pytest.mark.skipif(not REAL_ANSWERS, reason="the folder of real answers is not here")
def test_mutated_real_answers_make_a_graph_or_a_kiali_error() -> None:
    found = Counter(outcome(one) for one in inputs(1000, 2, [path.read_bytes() for path in REAL_ANSWERS]))
    assert min(found[name] for name in ("graph", "KialiSchemaError", "KialiPayloadError")) > 100


@settings(max_examples=400, deadline=None, derandomize=True)
@given(document=GRAPHS)
def test_documents_shaped_like_a_graph(document: object) -> None:
    outcome(Input("document", json.dumps(document).encode()))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(body=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bodies_of_any_bytes(body: bytes) -> None:
    for is_vector in (False, True):
        outcome(Input("bytes", body, is_vector))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(result=VALUES, warnings=VALUES, error=VALUES)
def test_answers_of_prometheus(result: object, warnings: object, error: object) -> None:
    series = json.loads(own_vector())["data"]["result"][0]
    for one in (result, [result], [series | {"value": result}], [series | {"metric": result}]):
        data = {"resultType": "vector", "result": one}
        document = {"status": "success", "data": data, "warnings": warnings, "error": error}
        outcome(Input("vector", json.dumps(document).encode(), is_vector=True))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(status=VALUES, warnings=VALUES)
def test_answers_of_status(status: object, warnings: object) -> None:
    for document in ({"status": status}, {"status": {"Kiali version": status}, "warningMessages": warnings}):
        try:
            assert isinstance(read_status(read_document(json.dumps(document))).version, Version)
        except KialiError as error:
            assert len(str(error)) < 1000  # noqa: PT017


@pytest.mark.parametrize("kind", [kind for kind, _ in HOSTILE])
def test_no_hostile_body_takes_long(kind: str) -> None:
    import random

    body = dict(HOSTILE)[kind]
    for seed in range(3):
        started = time.process_time()
        assert outcome(Input(kind, body(random.Random(seed)))) in ("KialiPayloadError", "KialiSchemaError")
        assert time.process_time() - started < 20.0


def test_a_title_that_never_ends_is_not_searched_to_its_end() -> None:
    """Searched to the end it would take time with the square of the length: minutes."""
    started = time.process_time()
    with pytest.raises(KialiError, match="a web page"):
        parse_graph("<" + "<title" * 300_000)
    assert time.process_time() - started < 20.0


def test_an_answer_with_a_million_faults_is_told_in_a_few_lines() -> None:
    document = {"timestamp": 1, "duration": 1, "graphType": "app", "elements": {"nodes": ["x"] * 100_000, "edges": []}}
    with pytest.raises(KialiSchemaError) as caught:
        parse_graph(document)
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 99980 more problems"


def test_the_benchmark_prints_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_kiali.main(["--inputs", "300", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert all(
        text in printed for text in ("300 inputs", "inputs/s", "graph", "KialiPayloadError", "slowest input", "MiB")
    )
