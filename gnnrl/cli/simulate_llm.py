"""Play LLM inference replicas under one router and report the latencies of the requests."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import STDOUT, UserError, one_on_stdout, print_json, print_table
from gnnrl.cli.outputs import add_output, add_request_table
from gnnrl.column_files import require_pyarrow, write_csv, write_parquet
from gnnrl.printable import raw
from gnnrl.whole_file import write_text

if TYPE_CHECKING:
    from gnnrl.domains.llm_routing.model import Replica
    from gnnrl.domains.llm_routing.physics import LLMSimulation
    from gnnrl.domains.llm_routing.workloads import Requests

__all__ = ["JSON_KEYS", "SUMMARY", "add_arguments", "run"]

SUMMARY = "LLM inference replicas, after Vidur"

LATENCIES = (
    "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "e2e_p50_s", "e2e_p90_s", "e2e_p99_s", "e2e_mean_s", "tpot_p50_ms", "tpot_p99_ms",
)  # fmt: skip
JSON_KEYS = (*LATENCIES, "requests_per_wall_second")
PROGRESS_STEPS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl simulate llm --router NAME --replicas N (--qps Q --requests N | --trace CSV) [...]`."""
    parser.add_argument("--router", metavar="NAME", required=True, help="least_outstanding, round_robin, ...")
    parser.add_argument("--replicas", metavar="N", type=int, required=True, help="how many replicas")
    parser.add_argument("--qps", metavar="Q", type=float, help="requests a second")
    parser.add_argument(
        "--arrivals", metavar="KIND", default="poisson", help="poisson, gamma or vidur_poisson; poisson"
    )
    parser.add_argument("--cv", metavar="X", type=float, default=1.0, help="coefficient of variation of gamma gaps; 1")
    parser.add_argument(
        "--lengths", metavar="NAME", default="conversation", help="conversation, code, mixed, vidur or fixed"
    )
    parser.add_argument(
        "--trace",
        metavar="CSV",
        type=Path,
        help="replay arrived_at,num_prefill_tokens,num_decode_tokens, or an Azure trace, instead",
    )
    parser.add_argument("--requests", metavar="N", type=int, help="how many; with --trace, at most so many; all of it")
    parser.add_argument(
        "--scheduler", metavar="NAME", default="sarathi", help="sarathi, vllm, orca or faster_transformer; sarathi"
    )
    parser.add_argument(
        "--time-factors",
        metavar="X,X,...",
        help="an iteration of each replica takes so many times the calibrated time; 1",
    )
    parser.add_argument("--kv-blocks", metavar="N", type=int, help="memory of each replica; as calibrated")
    parser.add_argument("--batch-cap", metavar="N", type=int, default=128, help="resident requests of a replica; 128")
    parser.add_argument(
        "--report-seconds", metavar="S", type=float, default=0.0, help="how old the router's view may be; 0"
    )
    parser.add_argument("--calibration", metavar="NAME|JSON", help="iteration times; Llama-2-7b on A100-80GB")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of requests and ties; 0")
    parser.add_argument("--check", action="store_true", help="check the laws of conservation at every decision (slow)")
    add_output(
        parser,
        "--json",
        metavar="FILE",
        type=Path,
        help="write the latencies here; - prints them instead of the tables",
    )
    add_request_table(parser)


def run(args: argparse.Namespace) -> int:
    """Plays the requests, prints the report, writes what was asked for."""
    from gnnrl.domains.llm_routing.baselines import router_named
    from gnnrl.domains.llm_routing.metrics import latency_report

    router = router_named(args.router)
    one_on_stdout(args.json, args.requests_csv)
    if args.requests_parquet is not None:
        require_pyarrow(args.requests_parquet)
    replicas = _replicas(args)
    requests = _requests(args)
    simulation, seconds = _play(args, router.code, replicas, requests)
    table = simulation.table(0)
    report = latency_report(table).as_dict()
    figures = {key: report[key] for key in LATENCIES} | {"requests_per_wall_second": len(requests) / seconds}
    if args.json not in (None, STDOUT):
        write_text(args.json, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if args.requests_csv is not None:
        write_csv(args.requests_csv, table.columns())
    if args.requests_parquet is not None:
        write_parquet(args.requests_parquet, table.columns())
    if args.json == STDOUT:
        print_json(figures)
    if STDOUT in (args.json, args.requests_csv):
        return 0
    rows = [(key, value) for key, value in report.items()]
    print_table(
        f"{len(requests)} requests, {args.replicas} replicas, {args.scheduler}, {args.router}",
        ("figure", "value"),
        [*rows, ("requests_per_wall_second", len(requests) / seconds)],
    )
    _print_replicas(simulation)
    return 0


def _replicas(args: argparse.Namespace) -> list[Replica]:
    from gnnrl.domains.llm_routing.model import Replica

    if args.replicas < 1:
        raise UserError(f"--replicas {args.replicas}: there must be at least 1")
    factors = [1.0] * args.replicas
    if args.time_factors is not None:
        try:
            factors = [float(part) for part in args.time_factors.split(",")]
        except ValueError as error:
            raise UserError(f"--time-factors {args.time_factors}: expected numbers with commas, as 1,1,2,2") from error
        if len(factors) != args.replicas:
            raise UserError(f"--time-factors {args.time_factors}: {len(factors)} of them for {args.replicas} replicas")
    return [Replica(time_factor=x, kv_blocks=args.kv_blocks, batch_cap=args.batch_cap) for x in factors]


def _requests(args: argparse.Namespace) -> Requests:
    from gnnrl.domains.llm_routing.trace_file import load_trace
    from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, draw_requests

    if args.requests is not None and args.requests < 1:
        raise UserError(f"--requests {args.requests}: there must be at least 1")
    if args.trace is not None:
        if args.qps is not None:
            raise UserError("--qps and --trace: the trace has its own arrivals; give one of them")
        return load_trace(args.trace, most=args.requests)
    if args.qps is None or args.requests is None:
        raise UserError("--qps and --requests are needed, or --trace CSV")
    if args.lengths not in LENGTHS:
        raise UserError(f"--lengths {args.lengths!r} is not known; there are {', '.join(LENGTHS)}")
    arrivals = Arrivals(kind=args.arrivals, qps=args.qps, cv=args.cv)
    return draw_requests(args.requests, arrivals, LENGTHS[args.lengths], args.seed)


def _play(
    args: argparse.Namespace, router: int, replicas: list[Replica], requests: Requests
) -> tuple[LLMSimulation, float]:
    """The simulation at its end, and the wall-clock seconds that playing it took, without compilation."""
    from rich.console import Console
    from rich.progress import Progress

    from gnnrl.domains.llm_routing.calibration import DEFAULT_CALIBRATION
    from gnnrl.domains.llm_routing.model import Scheduler
    from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings

    settings = PhysicsSettings(
        scheduler=Scheduler(name=args.scheduler),
        calibration=args.calibration or DEFAULT_CALIBRATION,
        report_seconds=args.report_seconds,
        queue_heads=0,
        largest_batch_cap=args.batch_cap,
        check=args.check,
    )
    compiled = LLMSimulation(1, 1, 1, settings)
    compiled.load(0, replicas[:1], requests.first(1))
    compiled.run(router)
    simulation = LLMSimulation(1, len(replicas), len(requests), settings)
    some = max(1, len(requests) // PROGRESS_STEPS)
    seconds = 0.0
    with Progress(console=Console(file=raw(sys.stderr)), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("requests", total=len(requests))
        start = time.perf_counter()
        simulation.load(0, replicas, requests, seed=args.seed)
        ended = not simulation.deciding.any()
        seconds += time.perf_counter() - start
        while not ended:
            start = time.perf_counter()
            ended = simulation.run(router, most=some)
            seconds += time.perf_counter() - start
            progress.advance(task, some)
    return simulation, seconds


def _print_replicas(simulation: LLMSimulation) -> None:
    from gnnrl.domains.llm_routing import cluster as c

    s = simulation.arrays
    now = float(s.now[0, c.NOW])
    print_table(
        f"replicas over {now:.1f} s",
        ("replica", "routed", "finished", "evicted", "tokens given out", "busy %"),
        (
            (
                r,
                int(row[c.ROUTED_COUNT]),
                int(row[c.FINISHED]),
                int(row[c.EVICTED]),
                int(row[c.GENERATED]),
                f"{100.0 * s.clock[0, r, c.BUSY] / now:.1f}" if now > 0 else None,
            )
            for r, row in enumerate(s.replica[0])
        ),
    )
