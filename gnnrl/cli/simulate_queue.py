"""Simulate queues of typed requests at several replicas, exactly, with one of the known routers.

Without --config or --rates it is the base model: two replicas, types A and B that arrive 6 times a second each, A served at 10/s by the
first and 5/s by the second, B the other way round. All requests are counted, from the first one of an empty system to the last.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnrl.cli.arguments import STDOUT, UserError, one_on_stdout, print_json, print_table
from gnnrl.cli.outputs import add_output, add_request_table
from gnnrl.column_files import require_pyarrow, write_csv, write_parquet
from gnnrl.whole_file import write_text

if TYPE_CHECKING:
    from gnnrl.domains.queue_routing.baselines import Router
    from gnnrl.domains.queue_routing.model import QueueModel
    from gnnrl.domains.queue_routing.physics import QueueSimulation

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "typed requests, several queues"

CHUNK = 4_000_000
"""Requests, times replicas, between two looks at the clock."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl simulate queue --router NAME --requests N --seed S [--config FILE | --rates .. --arrivals ..] [--json FILE]`."""
    parser.add_argument(
        "--router", metavar="NAME", required=True, help="who routes, such as jsq, sed, affinity, oracle"
    )
    parser.add_argument("--requests", metavar="N", type=int, default=1_000_000, help="how many; default 1000000")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="the same seed gives the same requests")
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="a YAML file with arrivals: {TYPE: RATE} and replicas: {NAME: {TYPE: RATE}}"
    )  # fmt: skip
    parser.add_argument(
        "--arrivals", metavar="A=6,B=6", help="requests/s of each type, instead of a file; goes with --rates"
    )
    parser.add_argument(
        "--rates",
        metavar="A=10,B=5",
        action="append",
        default=[],
        help="requests/s that a replica serves of each type; once for every replica",
    )
    add_output(
        parser,
        "--json",
        metavar="FILE",
        type=Path,
        help="write the figures into this file; - prints them instead of the table",
    )
    add_request_table(parser)


def run(args: argparse.Namespace) -> int:
    """Simulates and reports; a model that cannot be raises `QueueModelError`."""
    from gnnrl.domains.queue_routing.baselines import ROUTERS, router_named
    from gnnrl.domains.queue_routing.stability import best_load, load_warnings

    if args.router not in ROUTERS:
        raise UserError(f"--router: {args.router!r} is not a router; there are {', '.join(ROUTERS)}")
    if args.requests < 1:
        raise UserError(f"--requests: {args.requests} is not at least 1")
    if args.seed < 0:
        raise UserError(f"--seed: {args.seed} is not at least 0")
    one_on_stdout(args.json, args.requests_csv)
    if args.requests_parquet is not None:
        require_pyarrow(args.requests_parquet)
    model, router = _model(args), router_named(args.router)
    warnings = load_warnings(model, router)
    record = args.requests_csv is not None or args.requests_parquet is not None
    outcome = _simulate(model, router, args.requests, args.seed, record=record)
    metrics = outcome.simulation.metrics()
    figures: dict[str, Any] = {
        "mean_latency_s": metrics.mean_latency_seconds,
        "p99_latency_s": metrics.p99_latency_seconds,
        "routing_accuracy": metrics.routing_accuracy,
        "requests_per_wall_second": args.requests / outcome.wall_seconds,
        "p50_latency_s": metrics.p50_latency_seconds,
        "mean_in_system": metrics.mean_in_system,
        "in_system_at_the_end": outcome.left,
        "load_at_best": best_load(model),
        "requests": args.requests,
        "router": args.router,
        "seed": args.seed,
        "warnings": warnings,
    }
    if args.json not in (None, STDOUT):
        write_text(args.json, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if args.requests_csv is not None:
        write_csv(args.requests_csv, _columns(outcome.simulation, model))
    if args.requests_parquet is not None:
        write_parquet(args.requests_parquet, _columns(outcome.simulation, model))
    if args.json == STDOUT:
        print_json(figures)
    if STDOUT in (args.json, args.requests_csv):
        return 0
    _report(figures)
    return 0


@dataclass(frozen=True)
class _Outcome:
    simulation: QueueSimulation
    left: int
    """Requests in the system when the last one had been routed."""
    wall_seconds: float


def _simulate(model: QueueModel, router: Router, requests: int, seed: int, *, record: bool) -> _Outcome:
    from gnnrl.cli.request_progress import RequestProgress
    from gnnrl.domains.queue_routing.physics import QueueSimulation

    # Compiled, or loaded from the cache, before the clock starts.
    trial = QueueSimulation.of(model)
    trial.reset(seed)
    trial.run(router, 1)
    simulation = QueueSimulation.of(model, record=requests if record else 0)
    simulation.reset(seed)
    began = time.perf_counter()
    with RequestProgress(requests) as progress:
        chunk = max(1, CHUNK // len(model.replicas))
        for done in range(0, requests, chunk):
            simulation.run(router, min(chunk, requests - done))
            progress.advance_to(min(done + chunk, requests))
    left = int(simulation.state.queue.sum())
    simulation.drain()
    return _Outcome(simulation, left, time.perf_counter() - began)


def _model(args: argparse.Namespace) -> QueueModel:
    from gnnrl.domains.queue_routing.model import base_model
    from gnnrl.domains.queue_routing.model_file import load_queue_model, make_queue_model

    inline = args.arrivals is not None or bool(args.rates)
    if args.config is not None:
        if inline:
            raise UserError("--config: the file has the rates; leave out --arrivals and --rates, or the file")
        return load_queue_model(args.config)
    if not inline:
        return base_model()
    if args.arrivals is None or not args.rates:
        raise UserError("--arrivals and --rates go together: --arrivals A=6,B=6 --rates A=10,B=5 --rates A=5,B=10")
    arrivals = _assignments("--arrivals", args.arrivals)
    replicas = {f"replica_{r}": _assignments("--rates", text) for r, text in enumerate(args.rates)}
    return make_queue_model(arrivals, replicas)


def _assignments(option: str, text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for item in text.split(","):
        name, equals, number = item.partition("=")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise UserError(f"{option} {text}: {item!r} is no assignment; write type=requests/s, as in A=6,B=6")
        if name.strip() in values:
            raise UserError(f"{option} {text}: type {name.strip()!r} appears twice")
        values[name.strip()] = value
    return values


def _columns(simulation: QueueSimulation, model: QueueModel) -> dict[str, list[Any]]:
    table = simulation.table[0]
    return {
        "request_id": list(range(len(table))),
        "arrived_at": table["arrival"].tolist(),
        "type": [model.types[kind] for kind in table["type"]],
        "replica": [model.replicas[replica] for replica in table["replica"]],
        "completed_at": table["finish"].tolist(),
        "latency_s": (table["finish"] - table["arrival"]).tolist(),
    }


def _report(figures: dict[str, Any]) -> None:
    for warning in figures["warnings"]:
        print(f"warning: {warning}; the figures below depend on how many requests were simulated")
    print_table(
        f"{figures['router']}, {figures['requests']:,} requests, load {figures['load_at_best']:.3g} at best",
        ("figure", "value", "unit"),
        (
            ("mean latency", figures["mean_latency_s"], "s"),
            ("median latency", figures["p50_latency_s"], "s"),
            ("p99 latency", figures["p99_latency_s"], "s"),
            ("routed to the fast replica", 100.0 * figures["routing_accuracy"], "%"),
            ("in the system, mean", figures["mean_in_system"], "requests"),
            ("in the system at the end", figures["in_system_at_the_end"], "requests"),
            ("simulated", f"{figures['requests_per_wall_second']:,.0f}", "requests/s"),
        ),
    )
