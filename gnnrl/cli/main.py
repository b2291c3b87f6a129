"""`gnnrl COMMAND ...`: reads the arguments, runs the command, turns a user's mistake into a message and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from gnnrl.cli import (
    baselines,
    bench,
    check,
    envs,
    evaluate,
    export,
    live,
    mesh,
    rehearse,
    sandbox,
    serve_keda,
    simulate,
    train,
)
from gnnrl.cli.arguments import UserError
from gnnrl.cli.outputs import check_outputs
from gnnrl.printable import EscapedStream

__all__ = ["INTERRUPTED", "USER_ERROR", "build_parser", "main"]

USER_ERROR = 2
INTERRUPTED = 130

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "simulate": simulate,
    "mesh": mesh,
    "check": check,
    "envs": envs,
    "baselines": baselines,
    "bench": bench,
    "sandbox": sandbox,
    "live": live,
    "rehearse": rehearse,
    "serve-keda": serve_keda,
}

_USER_ERRORS = (
    ("gnnrl.config.errors", "ConfigError"),
    ("gnnrl.domains.autoscaling.mesh", "MeshError"),
    ("gnnrl.domains.autoscaling.load_file", "WorkloadError"),
    ("gnnrl.domains.autoscaling.calibration", "CalibrationError"),
    ("gnnrl.domains.llm_routing.errors", "LLMRoutingError"),
    ("gnnrl.domains.queue_routing.model", "QueueModelError"),
    ("gnnrl.domains.queue_routing.physics", "QueueOverflowError"),
    ("gnnrl.agents.archive", "CheckpointError"),
    ("gnnrl.agents.divergence", "DivergenceError"),
    ("gnnrl.column_files", "ParquetMissingError"),
    ("gnnrl.training.run_folder", "RunError"),
    ("kiali_client.errors", "KialiError"),
    ("gnnrl.cluster.errors", "ClusterError"),
    ("gnnrl.live.session", "LiveSetupError"),
    ("gnnrl.live.policies", "LivePolicyError"),
    ("gnnrl.live.journal", "JournalError"),
    ("gnnrl.live.metrics_server", "MetricsServerError"),
    ("graph_space.slots", "CapacityError"),
    ("encoders.flat", "SlotsError"),
)
"""Exceptions that say what a user did wrong and how to mend it; any other is our fault and keeps its traceback."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gnnrl",
        description="Graph-neural reinforcement learning for systems whose topology changes while you control them.",
        epilog="Start with: gnnrl train configs/demo.yaml --out runs/demo",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.SUMMARY, description=command.__doc__)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0, 2 after a user's mistake (the message is on stderr), 130 after Ctrl-C, 128 + the signal's number where one ended a training.
    """
    stdout, stderr = sys.stdout, sys.stderr
    # Everything that is printed may hold what somebody else has named.
    sys.stdout, sys.stderr = EscapedStream(stdout), EscapedStream(stderr)
    try:
        return _run(argv)
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.version:
        import gnnrl

        print(f"gnnrl {gnnrl.__version__}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    try:
        check_outputs(args)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _user_errors() as error:
        print(_message(error), file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _user_errors() -> tuple[type[Exception], ...]:
    """Evaluated only once something was raised: a module that was never loaded cannot have raised its error."""
    loaded = ((sys.modules[module], name) for module, name in _USER_ERRORS if module in sys.modules)
    return (UserError, OSError, *(getattr(module, name) for module, name in loaded))


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}"
    return str(error)
