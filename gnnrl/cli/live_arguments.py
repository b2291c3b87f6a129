"""What `gnnrl live` and `gnnrl serve-keda` take alike."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import load_live

if TYPE_CHECKING:
    from gnnrl.cluster.actuator import WriteMode
    from gnnrl.cluster.clock import Clock
    from gnnrl.live.preflight import Finding
    from gnnrl.live.session import LiveOptions

__all__ = ["add_live_arguments", "clock_of", "options_of", "print_findings"]


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Who decides, on what, read from where."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--run", dest="run_folder", metavar="RUN", type=Path, help="a trained run's folder, or a checkpoint in one"
    )
    who.add_argument("--policy", metavar="NAME", help="a baseline instead: hpa, hpa_<percent>, feed_forward")
    parser.add_argument("--namespace", metavar="NS", required=True, help="whose Deployments are scaled")
    parser.add_argument("--kiali-url", metavar="URL", help="where the graph comes from, web root included")
    parser.add_argument("--prometheus-url", metavar="URL", help="instead of Kiali, where there is none")
    parser.add_argument(
        "--kiali-token-file",
        metavar="FILE",
        type=Path,
        help="token for Kiali or Prometheus; read again when it expires",
    )
    parser.add_argument("--ca-file", metavar="FILE", type=Path, help="certificates (PEM) to trust for that URL")
    parser.add_argument("--insecure-skip-tls-verify", action="store_true", help="trust any certificate of that URL")
    parser.add_argument(
        "--kubeconfig", metavar="FILE", type=Path, help="default: KUBECONFIG, ~/.kube/config, or the pod's account"
    )
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig; default: its current one")
    parser.add_argument("--config", metavar="FILE", type=Path, help="guardrails and timing, as configs/live.yaml")
    parser.add_argument(
        "--set", dest="overrides", metavar="a.b=c", action="append", default=[],
        help="replace one value of that configuration, as guardrails.max_replicas=30; may be repeated",
    )  # fmt: skip
    parser.add_argument("--leader-elect", action="store_true", help="act only while holding a Lease")
    parser.add_argument("--identity", metavar="NAME", help="in the Lease and in Events; default: the host's name")
    parser.add_argument(
        "--metrics-port", metavar="PORT", type=int, help="serve /metrics, /healthz and /readyz; 0 = any"
    )
    parser.add_argument("--journal", metavar="FILE", type=Path, help="append every interval as a line of JSON")
    parser.add_argument("--intervals", metavar="N", type=int, help="stop after so many intervals")
    parser.add_argument("--sandbox-url", metavar="URL", help="take the time from a sandbox's control server")


def options_of(args: argparse.Namespace, mode: WriteMode, *, for_keda: bool = False) -> LiveOptions:
    """What the user gave, the configuration read and checked.

    Raises:
        ConfigError: what is wrong with it.
    """
    from gnnrl.live.session import LiveOptions

    return LiveOptions(
        config=load_live(args.config, args.overrides),
        namespace=args.namespace,
        run=args.run_folder,
        policy=args.policy or "",
        mode=mode,
        kiali_url=args.kiali_url,
        prometheus_url=args.prometheus_url,
        token_file=args.kiali_token_file,
        ca_file=args.ca_file,
        verify=not args.insecure_skip_tls_verify,
        kubeconfig=args.kubeconfig,
        context=args.context,
        for_keda=for_keda,
        leader_elect=args.leader_elect,
        identity=args.identity or os.environ.get("POD_NAME") or socket.gethostname(),
    )


def clock_of(args: argparse.Namespace) -> Clock:
    """The machine's clock, or a sandbox's.

    Raises:
        ClusterError: the sandbox does not tell the time.
    """
    if args.sandbox_url is None:
        from gnnrl.cluster.clock import SystemClock

        return SystemClock()
    from gnnrl.live.sandbox.remote_clock import RemoteClock

    return RemoteClock(args.sandbox_url)


def print_findings(findings: list[Finding]) -> None:
    """One line each, the worst last."""
    for level in ("ok", "warning", "error"):
        for finding in findings:
            if finding.level == level:
                print(f"{level:<8} {finding.what}: {finding.message}")
