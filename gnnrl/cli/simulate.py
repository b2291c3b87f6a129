"""Run a simulator of a routing system alone: a router, so many requests, and the latencies that come of it."""

from __future__ import annotations

import argparse

from gnnrl.cli import simulate_llm, simulate_queue

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "run a routing simulator with one of the known routers"

SYSTEMS = {
    "queue": simulate_queue,
    "llm": simulate_llm,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl simulate SYSTEM ...`."""
    systems = parser.add_subparsers(dest="system", metavar="SYSTEM", required=True)
    for name, system in SYSTEMS.items():
        subparser = systems.add_parser(name, help=system.SUMMARY, description=system.__doc__)
        system.add_arguments(subparser)


def run(args: argparse.Namespace) -> int:
    """Runs the simulator of that system."""
    return SYSTEMS[args.system].run(args)
