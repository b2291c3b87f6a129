"""Decide, and let KEDA and its HPA act: a gRPC external scaler that answers with the replicas wanted. Writes nothing itself."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import UserError
from gnnrl.cli.live import Watched, controlled
from gnnrl.cli.live_arguments import add_live_arguments

if TYPE_CHECKING:
    from gnnrl.cluster.clock import Clock
    from gnnrl.live.keda.server import KedaTls
    from gnnrl.live.options import LiveOptions
    from gnnrl.live.preflight import Finding

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "serve decisions to KEDA as an external scaler"
LARGEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl serve-keda (--run RUN | --policy NAME) --namespace NS --kiali-url URL [--keda-port 6000]`."""
    add_live_arguments(parser)
    keda = parser.add_argument_group("KEDA")
    keda.add_argument("--keda-port", metavar="PORT", type=int, default=6000, help="gRPC port; 6000, 0 = any")
    keda.add_argument(
        "--keda-address",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="where to listen; 127.0.0.1, which a KEDA elsewhere does not reach; :: = everywhere",
    )
    keda.add_argument("--keda-tls-cert", metavar="FILE", type=Path, help="certificate (PEM) to answer with over TLS")
    keda.add_argument("--keda-tls-key", metavar="FILE", type=Path, help="its key (PEM)")
    keda.add_argument(
        "--keda-client-ca",
        metavar="FILE",
        type=Path,
        help="answer only clients with a certificate of these authorities",
    )
    # It writes nothing, so there is nothing to lead.
    parser.set_defaults(once=False, leader_elect=False)


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM; exit codes as `gnnrl live`."""

    def serve_decisions(watched: Watched, options: LiveOptions, clock: Clock, stack: ExitStack) -> list[Finding]:
        try:
            from gnnrl.live.keda.scaler import KedaScaler
            from gnnrl.live.keda.server import bracketed, serve
        except ImportError as error:
            raise UserError("gnnrl serve-keda needs gRPC: pip install 'gnnrl[keda]'") from error
        from gnnrl.live.preflight import Finding
        from gnnrl.live.reachability import is_loopback

        if not 0 <= args.keda_port <= LARGEST_PORT:
            raise UserError(f"--keda-port {args.keda_port}: must be a port from 1 to {LARGEST_PORT}, or 0 for any")
        stale = options.config.stale_after_seconds
        scaler = KedaScaler(lambda: watched.latest, clock, stale_after_seconds=stale, namespace=options.namespace)
        tls = _tls(args)
        try:
            server = stack.enter_context(serve(scaler, address=args.keda_address, port=args.keda_port, tls=tls))
        except ValueError as error:
            raise UserError(str(error)) from error
        secured = "plain text" if tls is None else "TLS" if tls.client_ca_file is None else "TLS, known clients only"
        print(f"KEDA external scaler on port {server.port} of {bracketed(args.keda_address)} ({secured})", flush=True)
        if tls is not None or is_loopback(args.keda_address):
            return []
        plain = (
            f"whoever reaches {bracketed(args.keda_address)}:{server.port} reads the decisions, and may pose as this scaler "
            "to KEDA; give --keda-tls-cert and --keda-tls-key"
        )
        return [Finding(level="warning", what="keda", message=plain)]

    return controlled(args, "shadow", serve_decisions, for_keda=True)


def _tls(args: argparse.Namespace) -> KedaTls | None:
    from gnnrl.live.keda.server import KedaTls

    if (args.keda_tls_cert is None) != (args.keda_tls_key is None):
        raise UserError("--keda-tls-cert and --keda-tls-key go together: give both, or neither")
    if args.keda_tls_cert is None:
        if args.keda_client_ca is not None:
            raise UserError(
                "--keda-client-ca needs --keda-tls-cert and --keda-tls-key: over plain text nobody is known"
            )
        return None
    return KedaTls(certificate_file=args.keda_tls_cert, key_file=args.keda_tls_key, client_ca_file=args.keda_client_ca)
