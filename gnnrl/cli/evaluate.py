"""Compare a trained policy with the baselines on held-out workloads and seeds, or look at one baseline alone."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError, load_live, print_json, print_table, write_text

if TYPE_CHECKING:
    from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
    from gnnrl.config.live import GuardrailConfig
    from gnnrl.evaluation.comparison import Evaluation
    from gnnrl.evaluation.statistics import Interval

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compare a policy with the baselines"
REFERENCE = "hpa_80"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl evaluate [RUN_OR_CHECKPOINT | --policy NAME] [...]`."""
    parser.add_argument(
        "run_or_checkpoint",
        metavar="RUN_OR_CHECKPOINT",
        nargs="?",
        type=Path,
        help="a run's folder, or a checkpoint in one",
    )
    parser.add_argument("--policy", metavar="NAME", help="a baseline alone instead of a trained policy")
    parser.add_argument("--against", metavar="NAME,...", help="baselines to compare with, instead of the run's own")
    parser.add_argument(
        "--workload",
        metavar="NAME|CSV",
        nargs="+",
        action="extend",
        help="workload families, or CSV files with the columns time (seconds) and rps, instead of the run's own",
    )
    parser.add_argument("--mesh", metavar="FILE", help="a mesh file instead of the run's own mesh")
    parser.add_argument("--seeds", metavar="N", type=int, help="held-out seeds a workload; 5 or more give intervals")
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        type=Path,
        help="settings of the calibrated baselines, from gnnrl baselines calibrate; otherwise those shipped, and a "
        "sweep of what they lack",
    )
    parser.add_argument(
        "--guardrails",
        metavar="FILE",
        type=Path,
        help="pass everybody's wishes through the guardrails of a live loop's configuration, such as configs/live.yaml",
    )
    parser.add_argument("--json", metavar="FILE", help="write the evaluation as JSON; - prints it instead of the table")
    parser.add_argument("--report", metavar="FILE", type=Path, help="write the report as one HTML file")


def run(args: argparse.Namespace) -> int:
    """Runs the comparison, prints its table, writes what was asked for."""
    if (args.run_or_checkpoint is None) == (args.policy is None):
        raise UserError("gnnrl evaluate: give either a run (or checkpoint), or --policy NAME for a baseline alone")
    if args.policy is not None and args.against is not None:
        raise UserError("gnnrl evaluate: --against compares with a trained policy; with --policy there is none")
    from gnnrl.config.experiment import ExperimentConfig
    from gnnrl.config.loader import dump_config

    run_folder: Path | None = None
    if args.policy is not None:
        config = _asked_for(args, dump_config(ExperimentConfig()), "the default configuration")
        agent = None
    else:
        from gnnrl.agents import PPO_GNN
        from gnnrl.training import RunFolder

        folder = RunFolder.open(args.run_or_checkpoint)
        run_folder = folder.path
        config = _asked_for(args, dump_config(folder.config), str(folder.path / "config.yaml"))
        agent = PPO_GNN.load(folder.checkpoint if args.run_or_checkpoint.is_dir() else args.run_or_checkpoint)
        agent.train(False)
        warning = folder.revision_warning()
        if warning is not None:
            print(f"note: {warning}", file=sys.stderr)
    guardrails = _guardrails(args.guardrails, config.environment) if args.guardrails else None
    from gnnrl.domains.autoscaling.calibration import Calibration
    from gnnrl.evaluation.comparison import compare

    with _progress() as progress:
        evaluation = compare(
            config,
            agent,
            calibration=Calibration.load(args.calibration) if args.calibration else None,
            frontiers=agent is not None and bool(config.evaluation.frontier_weights),
            guardrails=guardrails,
            label=str(args.run_or_checkpoint or args.policy),
            progress=progress,
        )
    if args.json == "-":
        print_json(evaluation.to_json())
    else:
        _print(evaluation)
        if args.json:
            write_text(Path(args.json), json.dumps(evaluation.to_json(), indent=2, allow_nan=False) + "\n")
            print(f"{args.json}: every metric with its interval")
    if args.report:
        from gnnrl.evaluation import report

        report.write(evaluation, args.report, run_folder)
        print(f"{args.report}: the report", file=sys.stderr if args.json == "-" else sys.stdout)
    return 0


def _asked_for(args: argparse.Namespace, text: str, source: str) -> ExperimentConfig:
    """The experiment of `text` with what the flags replace, checked as a whole."""
    from gnnrl.config.loader import ConfigError, parse_config
    from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES

    values: dict[str, tuple[str, object]] = {}
    if args.workload:
        values["evaluation.workloads"] = ("--workload", args.workload)
    if args.seeds is not None:
        values["evaluation.seeds"] = ("--seeds", args.seeds)
    if args.against is not None:
        values["evaluation.against"] = ("--against", [name.strip() for name in args.against.split(",")])
    if args.policy is not None:
        values["evaluation.against"] = ("--policy", [args.policy])
    if args.mesh is not None:
        values["environment.mesh"] = ("--mesh", [args.mesh])
    flags = {f"{path}={json.dumps(value)}": flag for path, (flag, value) in values.items()}
    try:
        config = parse_config(text, [*flags, *_room_for(args.mesh, text)], source=source, rules=CONFIG_RULES)
    except ConfigError as error:
        lines = list(error.errors)
        for assignment, flag in flags.items():
            lines = [line.replace(f"--set {assignment}: ", f"{flag}: ") for line in lines]
        raise ConfigError(lines) from None
    return config


def _guardrails(path: Path, environment: AutoscalingConfig) -> GuardrailConfig:
    """The guardrails of a live loop's file, which must decide as often as the experiment and leave it some replicas."""
    from gnnrl.evaluation.guarding import replica_limits

    live = load_live(path)
    if live.interval_seconds != environment.decision_seconds:
        raise UserError(
            f"{path}: interval_seconds: {live.interval_seconds} is not the environment's decision_seconds, which is "
            f"{environment.decision_seconds}; guardrails are stated per interval"
        )
    try:
        replica_limits(live.guardrails, environment)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return live.guardrails


def _room_for(mesh: str | None, text: str) -> Sequence[str]:
    """Overrides that give a mesh file the slots it needs: a policy does not depend on their number."""
    if mesh is None or not Path(mesh).is_file():
        return ()
    from gnnrl.config.loader import parse_config
    from gnnrl.domains.autoscaling.mesh_file import load_mesh

    environment = parse_config(text).environment
    loaded = load_mesh(Path(mesh))
    return (
        f"environment.max_nodes={max(environment.max_nodes, len(loaded.services))}",
        f"environment.max_edges={max(environment.max_edges, len(loaded.calls))}",
    )


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Says what is being played while it is, where somebody is watching."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda message: None  # noqa: ARG005
        return
    with console.status("comparing") as status:
        yield lambda message: status.update(f"playing {message}")


def _print(evaluation: Evaluation) -> None:
    seeds = evaluation.scenarios.seeds
    for workload in evaluation.workloads:
        print_table(
            f"{workload}: mean of {seeds} held-out seeds [95 % interval]; * = lowest objective, the oracle aside",
            ("", "replicas", f"saved vs {REFERENCE} %", "violating %", "P95 ms", "P99 ms", "moves", "objective"),
            (_row(evaluation, workload, name) for name in evaluation.playbacks),
        )
        if evaluation.guardrails is not None:
            print_table(
                f"{workload}: guardrails",
                ("", "decisions for a service that each changed, mean a scenario"),
                ((name, _acted(evaluation, workload, name)) for name in evaluation.playbacks),
            )
    weights = evaluation.objective_weights()
    print(
        "objective = replica-seconds + {violation_weight:g} x violating seconds + {change_weight:g} x replicas started "
        "or removed; lower is better".format(**weights)
    )


def _row(evaluation: Evaluation, workload: str, name: str) -> tuple[str, ...]:
    def mean(metric: str) -> Interval:
        return evaluation.mean(workload, name, metric)

    compared = REFERENCE in evaluation.playbacks and name != REFERENCE
    return (
        f"{name} *" if evaluation.best(workload) == name else name,
        f"{mean('replica_seconds').mean / evaluation.scenarios.seconds:.1f}",
        _percent(evaluation.saving(workload, name, REFERENCE), 1) if compared else "-",
        _percent(mean("violating_share"), 2),
        *(f"{mean(metric).mean:.0f}" for metric in ("latency_p95_ms", "latency_p99_ms", "scale_moves", "objective")),
    )


def _acted(evaluation: Evaluation, workload: str, name: str) -> str:
    found = evaluation.acted(workload, name)
    return ", ".join(f"{guardrail} {times.mean:.1f}" for guardrail, times in found.items() if times.mean > 0) or "none"


def _percent(interval: Interval, digits: int) -> str:
    mean, low, high = (f"{100.0 * value:.{digits}f}" for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"
