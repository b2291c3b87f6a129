"""Read a configuration and say everything that is wrong with it, without running it."""

from __future__ import annotations

import argparse

from gnnrl.cli.arguments import add_config, add_json, load_live, print_json
from gnnrl.cli.domains import load_experiment

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "check a configuration: all errors at once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl check CONFIG [--set a.b=c ...] [--json]`."""
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints that the file is in order, or the resolved configuration as JSON; faults raise `ConfigError`."""
    from dataclasses import asdict

    from gnnrl.config.loader import is_live_config

    if is_live_config(args.config):
        live = load_live(args.config, args.overrides)
        if args.json:
            print_json(asdict(live))
        else:
            print(f"{args.config}: in order (a live loop, every {live.interval_seconds} s)")
        return 0
    config = load_experiment(args.config, args.overrides)
    if args.json:
        print_json(asdict(config))
    else:
        print(f"{args.config}: in order ({config.name}, {config.training.total_steps:,} steps)")
    return 0
