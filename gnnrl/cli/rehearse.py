"""Rehearse before going live: a policy and baselines on the sandbox, through the real clients, guardrails and writers, beside what
`gnnrl evaluate` makes of the same scenarios. Nothing but this process is touched."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError, add_absolute, load_live, need_files, print_json, print_table
from gnnrl.cli.outputs import add_output
from gnnrl.pretrained import shipped_policies
from gnnrl.whole_file import write_text

if TYPE_CHECKING:
    from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
    from gnnrl.config.live import LiveConfig
    from gnnrl.evaluation.comparison import Evaluation
    from gnnrl.evaluation.controllers import Controller
    from gnnrl.evaluation.runner import Playback
    from gnnrl.live.rehearsal import Rehearsal
    from gnnrl.live.sandbox.faults import FaultSpec

__all__ = ["EVALUATED", "SUMMARY", "add_arguments", "run"]

SUMMARY = "play a policy and baselines on the sandbox, beside what evaluation says"
EVALUATED = " (evaluated)"
"""Added to a name: played by `evaluation.runner.play`, with the same guardrails, on the same scenarios."""
SHOWN = 60
"""Intervals in the picture of the screen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl rehearse (--run RUN | --policy NAME) [--mesh FILE] [--against hpa_80,...] [...]`."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--run", dest="run_folder", metavar="RUN", type=Path, help="a trained run's folder")
    who.add_argument("--policy", metavar="NAME", help="a pretrained policy: generalist, or a file *.safetensors")
    parser.add_argument(
        "--mesh", metavar="MESH", help="online_boutique, a mesh file, or random:LOW-HIGH, instead of the policy's own"
    )
    parser.add_argument("--against", metavar="NAME,...", default="hpa_80", help="baselines beside it; hpa_80")
    parser.add_argument("--workload", metavar="NAME|CSV", nargs="+", default=["bursty"], help="loads; bursty")
    add_absolute(parser)
    parser.add_argument("--seeds", metavar="N", type=int, default=1, help="held-out scenarios a load; 1")
    parser.add_argument("--hours", metavar="H", type=float, default=1.0, help="length of each; 1")
    parser.add_argument("--churn", action="store_true", help="services come and go, as the run's environment says")
    parser.add_argument("--config", metavar="FILE", type=Path, help="guardrails and timing, as configs/live.yaml")
    parser.add_argument(
        "--set", dest="overrides", metavar="a.b=c", action="append", default=[],
        help="replace one value of that configuration; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--fault", dest="faults", metavar="TARGET:KIND:START:END", action="append", default=[],
        help="something that goes wrong, as kiali:http_503:600:900 (seconds after the start); may be repeated",
    )  # fmt: skip
    add_output(parser, "--json", metavar="FILE", help="write the comparison as JSON; - prints it")
    add_output(parser, "--report", metavar="FILE", type=Path, help="write the report as one HTML file")
    add_output(
        parser, "--screen", metavar="FILE", type=Path, help="write the status screen at the end as an SVG picture"
    )


def run(args: argparse.Namespace) -> int:
    """Plays everybody, prints the table, writes what was asked for."""
    import torch

    from gnnrl.live.sandbox.faults import FaultError, FaultSpec
    from gnnrl.live.screen import render_svg

    torch.set_num_threads(1)
    need_files(report=args.report, screen=args.screen)
    if args.seeds < 1 or not 0.0 < args.hours <= 48.0:
        raise UserError("gnnrl rehearse: --seeds must be 1 or more, --hours above 0 and at most 48")
    config = load_live(args.config, args.overrides)
    try:
        faults = [FaultSpec.parse(text) for text in args.faults]
    except FaultError as error:
        raise UserError(f"--fault: {error}") from error
    evaluation, last = _compared(args, config, faults)
    if args.json == "-":
        print_json(evaluation.to_json())
    else:
        _print(evaluation)
    if args.json not in (None, "-"):
        import json

        write_text(Path(args.json), json.dumps(evaluation.to_json(), indent=1, allow_nan=False) + "\n")
    if args.report is not None:
        from gnnrl.evaluation import report

        folder = args.run_folder if args.run_folder is not None and args.run_folder.is_dir() else None
        report.compose(evaluation, folder).write(args.report)
    if args.screen is not None:
        render_svg(last.records[-SHOWN:], args.screen, namespace=last.world.namespace)
    return 0


def _compared(args: argparse.Namespace, config: LiveConfig, faults: list[FaultSpec]) -> tuple[Evaluation, Rehearsal]:
    from gnnrl.config.experiment import ChurnConfig
    from gnnrl.domains.autoscaling.calibration import Calibration
    from gnnrl.domains.autoscaling.episode import Split
    from gnnrl.domains.autoscaling.load_file import in_own_rates
    from gnnrl.domains.autoscaling.trained_ranges import asked_of, departures, told
    from gnnrl.evaluation.comparison import POLICY, Evaluation
    from gnnrl.evaluation.runner import play
    from gnnrl.evaluation.scenarios import draw_scenarios
    from gnnrl.live.policies import baseline_controller, load_trained, policy_controller
    from gnnrl.live.rehearsal import in_listing_order, rehearse_all
    from gnnrl.live.session import LiveOptions

    options = LiveOptions(config=config, namespace="", run=args.run_folder, policy=args.policy or "")
    found = load_trained(options)
    if found is None:
        raise UserError(
            f"gnnrl rehearse: --policy {args.policy}: is no pretrained policy ({', '.join(shipped_policies())}, or a file "
            "*.safetensors); baselines are compared with one: --against"
        )
    agent, experiment = found
    environment = experiment.environment if args.mesh is None else _on_mesh(experiment, args.mesh)
    if not args.churn:
        environment = replace(environment, churn=ChurnConfig())
    workloads = in_own_rates(args.workload) if args.absolute else tuple(args.workload)
    scenarios = draw_scenarios(
        environment,
        workloads,
        args.seeds,
        split=Split.HELD_OUT,
        violation_weight=config.violation_weight,
        decisions=max(1, round(args.hours * 3600.0 / environment.decision_seconds)),
    )
    scenarios = replace(scenarios, episodes=tuple(in_listing_order(episode) for episode in scenarios.episodes))
    outside = departures(
        experiment.environment,
        asked_of(replace(environment, max_replicas=config.guardrails.max_replicas), config.violation_weight, workloads),
    )
    if outside:
        _tell(f"note: {told(outside)}")
    playbacks: dict[str, Playback] = {}
    last: Rehearsal | None = None
    for name in (POLICY, *filter(None, args.against.split(","))):
        controller: Controller
        if name == POLICY:
            controller, mine = policy_controller(agent, environment, config), options
        else:
            controller, mine = baseline_controller(name, environment), replace(options, run=None, policy=name)
        playbacks[name], played = rehearse_all(name, mine, scenarios, faults, _tell)
        last = last or played[0]
        _tell(f"{name}: the same scenarios in gnnrl evaluate")
        playbacks[name + EVALUATED] = play(
            controller, scenarios, violation_weight=config.violation_weight, guardrails=config.guardrails
        )
    asked = replace(
        experiment.evaluation,
        workloads=workloads,
        seeds=args.seeds,
        violation_weight=config.violation_weight,
        temperature=config.temperature,
    )
    assert last is not None
    evaluation = Evaluation(
        config=replace(experiment, environment=environment, evaluation=asked),
        scenarios=scenarios,
        playbacks=playbacks,
        calibration=Calibration(environment={}, seeds=0),
        label=f"{args.run_folder or args.policy} on the sandbox",
        outside=outside,
        guardrails=config.guardrails,
        repeats={name: name.removesuffix(EVALUATED) for name in playbacks if name.endswith(EVALUATED)},
    )
    return evaluation, last


def _on_mesh(experiment: ExperimentConfig, mesh: str) -> AutoscalingConfig:
    """The policy's environment with another mesh, and the slots that it needs."""
    from gnnrl.cli.domains.comparing import parse_with_flags
    from gnnrl.config.loader import dump_config
    from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES
    from gnnrl.domains.autoscaling.trained_ranges import room_for

    nodes, edges = room_for(mesh, experiment.environment, gateway=True)
    room = (f"environment.max_nodes={nodes}", f"environment.max_edges={edges}")
    flags = {"environment.mesh": ("--mesh", [mesh])}
    checked: ExperimentConfig = parse_with_flags(
        dump_config(experiment), flags, "the policy's experiment", CONFIG_RULES, room
    )
    return checked.environment


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(evaluation: Evaluation) -> None:
    columns = ("workload", "who", "replicas", "violating %", "P95 ms", "scale moves")
    rows = []
    for workload in evaluation.workloads:
        for name in evaluation.playbacks:
            mean = {
                metric: evaluation.mean(workload, name, metric).mean
                for metric in ("replica_seconds", "violating_share", "latency_p95_ms", "scale_moves")
            }
            replicas = mean["replica_seconds"] / evaluation.scenarios.seconds
            violating = 100.0 * mean["violating_share"]
            figures = (
                f"{replicas:.2f}",
                f"{violating:.2f}",
                f"{mean['latency_p95_ms']:.0f}",
                f"{mean['scale_moves']:.1f}",
            )
            rows.append((workload, name, *figures))
    print_table("on the sandbox, and evaluated on the same scenarios with the same guardrails", columns, rows)
    for level in evaluation.scenarios.recorded_levels():
        print(level)
