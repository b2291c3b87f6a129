"""Decide, and let KEDA and its HPA act: a gRPC external scaler that answers with the replicas wanted. Writes nothing itself."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError
from gnnrl.cli.live import Watched, controlled
from gnnrl.cli.live_arguments import add_live_arguments

if TYPE_CHECKING:
    from gnnrl.cluster.clock import Clock
    from gnnrl.live.options import LiveOptions

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "serve decisions to KEDA as an external scaler"
LARGEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl serve-keda (--run RUN | --policy NAME) --namespace NS --kiali-url URL [--keda-port 6000]`."""
    add_live_arguments(parser)
    keda = parser.add_argument_group("KEDA")
    keda.add_argument("--keda-port", metavar="PORT", type=int, default=6000, help="gRPC port; 6000, 0 = any")
    # It writes nothing, so there is nothing to lead.
    parser.set_defaults(once=False, leader_elect=False)


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM; exit codes as `gnnrl live`."""

    def serve_decisions(watched: Watched, options: LiveOptions, clock: Clock, stack: ExitStack) -> None:
        try:
            from gnnrl.live.keda.scaler import KedaScaler
            from gnnrl.live.keda.server import serve
        except ImportError as error:
            raise UserError("gnnrl serve-keda needs gRPC: pip install 'gnnrl[keda]'") from error
        if not 0 <= args.keda_port <= LARGEST_PORT:
            raise UserError(f"--keda-port {args.keda_port}: must be a port from 1 to {LARGEST_PORT}, or 0 for any")
        stale = options.config.stale_after_seconds
        scaler = KedaScaler(lambda: watched.latest, clock, stale_after_seconds=stale, namespace=options.namespace)
        server = stack.enter_context(serve(scaler, port=args.keda_port))
        print(f"KEDA external scaler on port {server.port}", flush=True)

    return controlled(args, "shadow", serve_decisions, for_keda=True)
