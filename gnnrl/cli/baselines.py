"""List the baselines; or calibrate them: sweep their settings on training-side episodes and write what was best."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gnnrl.cli.arguments import STDOUT, add_absolute, add_config, add_json, load_autoscaling, print_json, print_table
from gnnrl.cli.outputs import add_output

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "list every domain's rules and routers, or calibrate them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl baselines [--json]` and `gnnrl baselines calibrate CONFIG -o FILE`."""
    add_json(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    calibrating = actions.add_parser("calibrate", help="sweep the settings of the rules and write the best of each")
    add_config(calibrating)
    add_absolute(calibrating)
    add_output(
        calibrating, "-o", "--output", metavar="FILE", type=Path, required=True, help="the file to write; - prints it"
    )


def run(args: argparse.Namespace) -> int:
    """Prints name and meaning of every domain's baselines, or sweeps."""
    if args.action == "calibrate":
        return _calibrate(args)
    from gnnrl.cli.domains import DOMAINS

    listed = {domain: module.listed() for domain, module in DOMAINS.items()}
    if args.json:
        print_json(
            {
                domain: {name: {"summary": one.summary, **one.marks} for name, one in found.items()}
                for domain, found in listed.items()
            }
        )
        return 0
    for domain, found in listed.items():
        print_table(
            domain,
            ("name", "what it is", ""),
            (
                (name, one.summary, ", ".join(mark.replace("_", " ") for mark, holds in one.marks.items() if holds))
                for name, one in found.items()
            ),
        )
    print("teacher: warm_start.teacher takes it; calibrated: its settings are swept (gnnrl baselines calibrate)")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    config = load_autoscaling(args.config, args.overrides)
    from gnnrl.domains.autoscaling.load_file import in_own_rates
    from gnnrl.domains.autoscaling.workloads import WORKLOADS
    from gnnrl.evaluation.sweep import calibrate

    # Every family, so that a shipped file leaves nothing to be swept; and the CSV files of this configuration.
    workloads = tuple(dict.fromkeys((*WORKLOADS, *config.environment.workloads, *config.evaluation.workloads)))
    if args.absolute:
        workloads = in_own_rates(workloads)
    calibration = calibrate(
        config.environment, workloads, progress=lambda message: print(f"sweeping {message}", file=sys.stderr)
    )
    calibration.save(args.output)
    if args.output == STDOUT:
        return 0
    print_table(
        f"{args.output}: the cheapest setting within each workload's violation budget",
        ("workload", "rule", "setting", "violating %", "replica-seconds"),
        (
            (
                workload,
                rule,
                ", ".join(f"{name} {value:g}" for name, value in chosen.values.items()),
                f"{100 * chosen.violating_share:.2f}",
                f"{chosen.replica_seconds:.0f}",
            )
            for workload, rules in calibration.frontiers.items()
            for rule, chosen in ((rule, calibration.chosen(workload, rule)) for rule in rules)
        ),
    )
    return 0
