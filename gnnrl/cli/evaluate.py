"""Compare a trained policy with the baselines on held-out workloads and seeds, or look at one baseline alone."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path

from gnnrl.cli.arguments import UserError, add_absolute, need_files
from gnnrl.cli.domains import DOMAINS, domain_playing
from gnnrl.cli.outputs import add_output
from gnnrl.evaluation.conditions import CHURN
from gnnrl.pretrained import is_policy, shipped_policies

__all__ = ["SUMMARY", "add_arguments", "run"]

PRETRAINED_DOMAIN = "autoscaling"
"""Of all files of weights."""
SUMMARY = "compare a policy with the baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl evaluate [RUN_OR_CHECKPOINT | --policy NAME] [...]`; a NAME is a baseline's, or that of a pretrained policy."""
    parser.add_argument(
        "run_or_checkpoint",
        metavar="RUN_OR_CHECKPOINT",
        nargs="?",
        type=Path,
        help="a run's folder, or a checkpoint in one",
    )
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="a pretrained policy (generalist, or a file *.safetensors), or a baseline or router alone",
    )
    parser.add_argument(
        "--domain",
        metavar="NAME",
        choices=tuple(DOMAINS),
        help=f"whose --policy, where several have one of that name: {', '.join(DOMAINS)}; otherwise the first",
    )
    parser.add_argument("--against", metavar="NAME,...", help="whom to compare with, instead of the run's own")
    parser.add_argument(
        "--workload",
        metavar="NAME|CSV",
        nargs="+",
        action="extend",
        help="workload families, or CSV files with the columns time (seconds) and rps, instead of the run's own",
    )
    add_absolute(parser)
    parser.add_argument("--mesh", metavar="FILE", help="a mesh file instead of the run's own mesh")
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        help="held-out seeds a workload, or streams of requests; 5 or more give intervals",
    )
    parser.add_argument("--requests", metavar="N", type=int, help="requests a stream (routing)")
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
    parser.add_argument(
        "--slo-factor",
        metavar="X",
        type=float,
        nargs="+",
        action="extend",
        help="SLO of every scenario, this times its idle P95; of several the first is compared in full, and a table shows everybody at "
        "each (autoscaling)",
    )
    parser.add_argument(
        "--churn",
        choices=CHURN,
        help="whether services come and go: not at all (the default), as rollouts that wait for ready pods, or all at once; at the run's "
        "rates, or an hour's 2 additions, 1 removal, 1 renaming and 1 end of a call (autoscaling)",
    )
    parser.add_argument(
        "--scenario", metavar="NAME,...", help="cases to compare on, instead of the run's own (llm_routing)"
    )
    parser.add_argument(
        "--beside",
        metavar="RUN",
        nargs="+",
        action="extend",
        type=Path,
        help="further runs, or checkpoints in them, played on the same scenarios or requests; those of one experiment also together",
    )
    add_output(parser, "--json", metavar="FILE", help="write the evaluation as JSON; - prints it instead of the table")
    add_output(parser, "--report", metavar="FILE", type=Path, help="write the report as one HTML file")
    add_output(
        parser, "--pictures", folder=True, metavar="FOLDER", type=Path, help="write the report's pictures as PNG files"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the comparison of the run's domain, or of the one that knows the policy."""
    need_files(report=args.report, pictures=args.pictures)
    if (args.run_or_checkpoint is None) == (args.policy is None):
        raise UserError("gnnrl evaluate: give either a run (or checkpoint), or --policy NAME for a baseline alone")
    if args.policy is not None:
        return _named(args)
    if args.domain is not None:
        raise UserError("gnnrl evaluate: --domain goes with --policy; a run knows its own")
    from gnnrl.training import RunFolder

    folder = RunFolder.open_any(args.run_or_checkpoint)
    return DOMAINS[folder.config.domain].evaluate(args, folder)


def _named(args: argparse.Namespace) -> int:
    """A pretrained policy, or a baseline alone."""
    if is_policy(args.policy):
        if args.domain not in (None, PRETRAINED_DOMAIN):
            raise UserError(
                f"gnnrl evaluate: --policy {args.policy}: is one of {PRETRAINED_DOMAIN}, not of {args.domain}"
            )
        return DOMAINS[PRETRAINED_DOMAIN].evaluate(args, None)
    if get_close_matches(args.policy, shipped_policies(), n=1):
        raise UserError(f"gnnrl evaluate: --policy {args.policy}: did you mean {', '.join(shipped_policies())}?")
    if args.against is not None:
        raise UserError("gnnrl evaluate: --against compares with a trained policy; with a baseline alone there is none")
    domain = DOMAINS[args.domain] if args.domain else domain_playing(args.policy)
    return domain.evaluate(args, None)
