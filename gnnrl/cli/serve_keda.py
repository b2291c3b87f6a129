"""Decide, and let KEDA and its HPA act: a gRPC external scaler that answers with the replicas wanted. Writes nothing itself."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError
from gnnrl.cli.live import controlled
from gnnrl.cli.live_arguments import add_live_arguments, options_of

if TYPE_CHECKING:
    from gnnrl.live.loop import LiveLoop

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "serve decisions to KEDA as an external scaler"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl serve-keda (--run RUN | --policy NAME) --namespace NS --kiali-url URL [--keda-port 6000]`."""
    add_live_arguments(parser)
    parser.add_argument("--keda-port", metavar="PORT", type=int, default=6000, help="gRPC port; 6000, 0 = any")
    parser.set_defaults(once=False)


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM; exit codes as `gnnrl live`."""
    try:
        import grpc  # noqa: F401 - asked for before anything is set up
    except ImportError as error:
        raise UserError("gnnrl serve-keda needs gRPC: pip install 'gnnrl[keda]'") from error
    options = options_of(args, "shadow", for_keda=True)

    def serve_decisions(loop: LiveLoop, stack: ExitStack) -> None:
        from gnnrl.live.keda.scaler import KedaScaler
        from gnnrl.live.keda.server import serve

        stale = options.config.stale_after_seconds
        scaler = KedaScaler(lambda: loop.latest, loop.clock, stale_after_seconds=stale, namespace=options.namespace)
        server = stack.enter_context(serve(scaler, port=args.keda_port))
        print(f"KEDA external scaler on port {server.port}")

    return controlled(args, options, serve_decisions)
