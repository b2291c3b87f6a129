"""Feed the parsers of Kiali's and Prometheus's answers with what no server should send.

    python -m benchmarks.fuzz_kiali [--inputs 100000] [--seed 0] [--answers FOLDER]

Inputs are answers (its own, and the *.json of a folder of real ones) with bytes or values of them changed, and bodies that
are hostile on purpose: nested a million deep, numbers of thousands of digits, keys twice, a web page that never ends. An
input either gives a graph whose numbers are in their ranges, or a `KialiError`; anything else ends the run with the input
in a file. Times are CPU seconds of one input.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import math
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kiali_client import KialiError, ServiceGraph, parse_graph
from kiali_client.istio_metrics import Query, graph_from_samples
from kiali_client.vector import read_vector

LONGEST_MESSAGE = 12_000
"""Characters of an error; 20 problems of bounded length."""

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, 10**400, -(10**60), 0.1, "", " ", "0", "-0.0", "NaN", "+Inf", "-Inf", "inf", "1_000", "1e999",
    "٣", "9" * 500, "x" * 5000, "\ud800", "a\nb", "\x00", "unknown", "box", "workload", [], {}, [[]], {"data": None}, {"data": {}},
    {"protocol": "http", "rates": None}, {"protocol": None}, {"protocol": "tcp", "rates": {"tcp": "1e15"}}, [None] * 50,
)  # fmt: skip


class Input(NamedTuple):
    """A body, and how it came to be."""

    kind: str
    body: bytes
    is_vector: bool = False
    """For Prometheus's parser."""


def own_answers() -> list[bytes]:
    """Answers with every kind of node and edge that there is."""
    nodes: list[dict[str, Any]] = [
        {"id": "b", "nodeType": "box", "cluster": "east", "namespace": "shop", "app": "web", "isBox": "app"},
        {
            "id": "u",
            "nodeType": "unknown",
            "namespace": "unknown",
            "workload": "unknown",
            "app": "unknown",
            "isRoot": True,
        },
        {
            "id": "s",
            "nodeType": "service",
            "namespace": "unknown",
            "service": "PassthroughCluster",
            "isInaccessible": True,
        },
        {"id": "g", "nodeType": "aggregate", "namespace": "shop", "aggregate": "operation", "aggregateValue": "GET /"},
    ]
    for i, name in enumerate(("web", "cart", "orders", "mail")):
        nodes.append(
            {
                "id": f"{i}",
                "parent": "b",
                "nodeType": "app" if i % 2 else "workload",
                "cluster": "east",
                "namespace": "shop",
                "workload": f"{name}-v1",
                "app": name,
                "version": "v1",
                "hasVS": {},
                "traffic": [{"protocol": "http", "rates": {"httpIn": "1.00"}}],
            }
        )
    edges: list[dict[str, Any]] = []
    for i, (source, target) in enumerate(
        [("u", "0"), ("0", "1"), ("1", "2"), ("2", "3"), ("3", "3"), ("1", "s"), ("0", "g")]
    ):
        for protocol, rates in (
            ("http", {"http": f"{i}.50", "http5xx": "0.25", "httpPercentErr": "5.0", "httpPercentReq": "100.0"}),
            ("grpc", {"grpc": "2.00", "grpcErr": "1.00"}),
            ("tcp", {"tcp": "900.00"}),
        ):
            edges.append(
                {
                    "id": f"{i}{protocol}",
                    "source": source,
                    "target": target,
                    "traffic": {"protocol": protocol, "rates": rates, "responses": {"200": {"flags": {"-": "95.0"}}}},
                    "responseTime": "35",
                    "throughput": "1200",
                    "isMTLS": "100",
                }
            )
    elements = {"nodes": [{"data": node} for node in nodes], "edges": [{"data": edge} for edge in edges]}
    answer = {"timestamp": 1700000000, "duration": 60, "graphType": "versionedApp", "elements": elements}
    return [json.dumps(answer).encode(), json.dumps(answer | {"elements": {"nodes": [], "edges": []}}).encode()]


def own_vector() -> bytes:
    """An answer of Prometheus."""
    labels = {
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "destination_workload": "cart",
        "destination_workload_namespace": "shop",
        "destination_service_name": "cart",
        "request_protocol": "http",
        "response_code": "200",
        "connection_security_policy": "mutual_tls",
    }
    result = [
        {"metric": labels | {"response_code": code}, "value": [1700000000.1, "3.5"]} for code in ("200", "503", "0")
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def inputs(count: int, seed: int, answers: Sequence[bytes]) -> Iterator[Input]:
    """`count` inputs, the same for the same seed and answers."""
    rng = random.Random(seed)
    kinds: list[Callable[[random.Random, bytes], bytes]] = [
        _bytes_changed,
        _bytes_changed,
        _values_changed,
        _values_changed,
    ]
    kinds += [_values_changed, _keys_changed, _spliced]
    for _ in range(count):
        if rng.random() < 0.04:
            kind, body = rng.choice(HOSTILE)
            yield Input(kind, body(rng))
            continue
        is_vector = rng.random() < 0.1
        body_of = own_vector() if is_vector else rng.choice(answers)
        change = rng.choice(kinds)
        changed = change(rng, body_of)
        if rng.random() < 0.1:
            changed = _bytes_changed(rng, changed)
        yield Input(change.__name__.strip("_"), changed, is_vector)


def _bytes_changed(rng: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data) + 1)
        span = rng.randint(1, 40)
        action = rng.randrange(12)
        if action == 0:
            del data[place : place + span]
        elif action == 1:
            data[place:place] = data[place : place + span * 20]
        elif action == 2:
            data[place:place] = rng.randbytes(span)
        elif action == 3:
            del data[place:]
        elif action == 4:
            data[place:place] = rng.choice(
                (b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\u", b"NaN", b"1e999", b"\xff", b"-")
            )
        elif action == 5 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif (digit := _digit(data, place)) is not None:
            data[digit : digit + 1] = rng.choice(
                (b"7", b"-1", b"1e9", b"", b".", b" ", b"N", b"00", b"99999999999999999999")
            )
    return bytes(data)


def _digit(data: bytearray, place: int) -> int | None:
    """The next digit."""
    return next((i for i in range(place, len(data)) if 48 <= data[i] <= 57), None)


def _values_changed(rng: random.Random, body: bytes) -> bytes:
    document = json.loads(body)
    for _ in range(rng.randint(1, 3)):
        owner, key = _somewhere(rng, document)
        if owner is not None:
            owner[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return json.dumps(document).encode()


def _keys_changed(rng: random.Random, body: bytes) -> bytes:
    document = json.loads(body)
    owner, key = _somewhere(rng, document)
    if isinstance(owner, dict):
        value = owner.pop(key)
        other = rng.choice((None, "id", "data", "error", "nodeType", "source", "\ud800", "elements"))
        if other is not None:
            owner[other] = value
    elif isinstance(owner, list):
        owner += [owner[key]] * rng.randint(1, 30)
    return json.dumps(document).encode()


def _spliced(rng: random.Random, body: bytes) -> bytes:
    cut, join = rng.randrange(len(body)), rng.randrange(len(body))
    return body[:cut] + body[join:]


def _somewhere(rng: random.Random, document: Any) -> tuple[Any, Any]:
    """(container, key) of any value, all of them alike; (None, None) if there is none."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        owner = waiting.pop()
        keys = list(owner) if isinstance(owner, dict) else range(len(owner))
        for key in keys:
            places.append((owner, key))
            if isinstance(owner[key], dict | list):
                waiting.append(owner[key])
    return rng.choice(places) if places else (None, None)


HOSTILE: list[tuple[str, Callable[[random.Random], bytes]]] = [
    ("deep list", lambda rng: b"[" * rng.choice((500, 100_000, 1_000_000))),
    ("deep object", lambda rng: b'{"a":' * rng.choice((500, 100_000))),
    ("deep value", lambda rng: b'{"elements":' + b"[" * 900 + b"]" * 900 + b"}"),  # noqa: ARG005
    ("deep type", lambda rng: b'{"elements":{"nodes":[{"data":{"id":"1","nodeType":' + b"[" * 800 + b"]" * 800 + b"}}],"  # noqa: ARG005
     + b'"edges":[]},"graphType":"app","timestamp":1,"duration":1}'),
    ("long number", lambda rng: b'{"timestamp":' + b"9" * rng.choice((400, 4299, 5000, 200_000)) + b',"elements":{}}'),
    ("long fraction", lambda rng: b'{"duration":0.' + b"9" * 200_000 + b',"elements":{}}'),  # noqa: ARG005
    ("key twice", lambda rng: b'{"elements":{},"elements":{"nodes":[],"edges":[]}}'),  # noqa: ARG005
    ("constant", lambda rng: b'{"timestamp":' + rng.choice((b"NaN", b"Infinity", b"-Infinity")) + b"}"),
    ("web page", lambda rng: b"<html>" + b"<title" * rng.choice((1, 100_000)) + b">x"),
    ("compressed", lambda rng: gzip.compress(rng.randbytes(200), mtime=0)),
    ("other encoding", lambda rng: '{"elements": {}}'.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))),
    ("noise", lambda rng: rng.randbytes(rng.randint(0, 4000))),
    ("blank", lambda rng: b" \n" * rng.randint(0, 100_000)),
    ("many faults", lambda rng: b'{"elements":{"nodes":[' + b",".join([b"1"] * 20_000) + b'],"edges":[]}}'),  # noqa: ARG005
    ("long error", lambda rng: json.dumps({"error": "x\n" * 100_000, "detail": [[["y" * 1000]]]}).encode()),  # noqa: ARG005
    ("many keys", lambda rng: json.dumps({f"{i}\ud800": i for i in range(5_000)}).encode()),  # noqa: ARG005
]  # fmt: skip


def outcome(one: Input) -> str:
    """What became of it: `graph`, or the name of the `KialiError`.

    Raises:
        AssertionError: a graph with a number out of its range, or an error that tells too much.
    """
    try:
        graph = _parsed(one)
    except KialiError as error:
        failure = error
    else:
        check(graph)
        return "graph"
    message = str(failure)
    assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters"
    message.encode()
    assert failure.__cause__ is None and failure.__context__ is None, "an exception that may hold the whole body"
    return type(failure).__name__


def _parsed(one: Input) -> ServiceGraph:
    if one.is_vector:
        samples = read_vector(one.body)
        answers = {Query("requests", "source"): samples, Query("latency", "source"): samples}
        return graph_from_samples(answers, namespaces=("shop",), timestamp=1, duration_seconds=60)
    return parse_graph(one.body)


def check(graph: ServiceGraph) -> None:
    """Every number in its range, every edge between nodes, every name fit for a log."""
    names = [[*node.key, node.app, node.version] for node in graph.nodes]
    names += [[traffic.protocol for traffic in edge.traffic] for edge in graph.edges]
    assert all(name.isprintable() for group in names for name in group)
    json.dumps(names, ensure_ascii=False).encode()
    assert 0 <= float(graph.timestamp) < math.inf and 0 <= float(graph.duration_seconds) < math.inf
    for edge in graph.edges:
        assert edge.source in graph.by_key and edge.target in graph.by_key
        assert 0.0 <= edge.rps < math.inf and 0.0 <= edge.tcp_bytes_per_second < math.inf
        assert 0.0 <= edge.error_share <= 1.0 + 1e-9 and 0.0 <= edge.mtls_share <= 1.0 + 1e-9
        assert edge.response_time_ms is None or 0.0 <= edge.response_time_ms < math.inf
    view = graph.to_networkx()
    assert (view.number_of_nodes(), view.number_of_edges()) == (len(graph.nodes), len(graph.edges))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=Path, default=None, help="a folder of real answers, *.json")
    args = parser.parse_args(arguments)
    real = sorted(args.answers.glob("*.json")) if args.answers else []
    answers = own_answers() + [path.read_bytes() for path in real]
    for answer in answers:
        # What is imported on the way is no part of the first input.
        outcome(Input("unchanged", answer))
    outcomes: Counter[str] = Counter()
    slowest = (0.0, "", 0)
    spent = 0.0
    before = 0
    for i, one in enumerate(inputs(args.inputs, args.seed, answers)):
        if i == min(1000, args.inputs // 10):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        try:
            outcomes[outcome(one)] += 1
        except BaseException:
            failed = Path(f"fuzz_kiali_{args.seed}_{i}.bin")
            failed.write_bytes(one.body)
            print(f"input {i} ({one.kind}) is in {failed}", file=sys.stderr)
            raise
        seconds = time.process_time() - start
        spent += seconds
        slowest = max(slowest, (seconds, one.kind, len(one.body)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{args.inputs} inputs from {len(answers)} answers, seed {args.seed}: {args.inputs / spent:.0f} inputs/s")
    for name, count in outcomes.most_common():
        print(f"  {name:24} {count:8d}")
    print(f"slowest input: {slowest[0] * 1000:.1f} ms ({slowest[1]}, {slowest[2]} bytes)")
    print(f"peak memory: {after / 1024:.0f} MiB, {(after - before) / 1024:.1f} MiB above that after the first inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
