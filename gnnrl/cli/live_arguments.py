"""What `gnnrl live` and `gnnrl serve-keda` take alike."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import load_live

if TYPE_CHECKING:
    from gnnrl.cluster.actuator import WriteMode
    from gnnrl.cluster.clock import Clock
    from gnnrl.live.preflight import Finding
    from gnnrl.live.session import LiveOptions

__all__ = ["add_live_arguments", "clock_of", "error_findings", "options_of", "print_findings"]


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Who decides, on what, read from where."""
    who = parser.add_argument_group("who decides (one of both)")
    who.add_argument(
        "--run", dest="run_folder", metavar="RUN", type=Path, help="a trained run's folder, or a checkpoint in one"
    )
    who.add_argument(
        "--policy",
        metavar="NAME",
        help="a pretrained policy (generalist, or a file *.safetensors), or a baseline: hpa_<percent>, feed_forward_<percent>",
    )
    graph = parser.add_argument_group("where the service graph comes from (one of both URLs)")
    graph.add_argument("--kiali-url", metavar="URL", help="of Kiali, with its web root: https://kiali.example/kiali")
    graph.add_argument("--prometheus-url", metavar="URL", help="of Prometheus, where there is no Kiali")
    graph.add_argument(
        "--kiali-token-file", metavar="FILE", type=Path, help="token for that URL; read again when it expires"
    )
    graph.add_argument("--ca-file", metavar="FILE", type=Path, help="certificates (PEM) to trust at that URL")
    graph.add_argument("--insecure-skip-tls-verify", action="store_true", help="trust any certificate at that URL")
    cluster = parser.add_argument_group("which cluster")
    cluster.add_argument("--namespace", metavar="NS", required=True, help="whose Deployments are scaled")
    cluster.add_argument(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="default: that of KUBECONFIG, else ~/.kube/config, else the pod's service account",
    )
    cluster.add_argument("--context", metavar="NAME", help="of the kubeconfig; default: its current one")
    cluster.add_argument(
        "--cluster",
        metavar="NAME",
        help="where the graph shows several clusters: the one that is scaled, as Kiali calls it",
    )
    cluster.add_argument("--sandbox-url", metavar="URL", help="take the time from a sandbox's control server")
    loop = parser.add_argument_group("the loop")
    loop.add_argument("--config", metavar="FILE", type=Path, help="guardrails and timing, as configs/live.yaml")
    loop.add_argument(
        "--set", dest="overrides", metavar="a.b=c", action="append", default=[],
        help="replace one value of it, as guardrails.max_replicas=30; may be repeated",
    )  # fmt: skip
    loop.add_argument("--intervals", metavar="N", type=int, help="stop after so many intervals")
    loop.add_argument("--identity", metavar="NAME", help="in Events and in the Lease; default: the host's name")
    told = parser.add_argument_group("what it tells")
    told.add_argument(
        "--metrics-port", metavar="PORT", type=int, help="serve /metrics, /healthz, /readyz; 0 = any port"
    )
    told.add_argument("--journal", metavar="FILE", type=Path, help="append every interval as a line of JSON")


def error_findings(what: str, error: Exception) -> list[Finding]:
    """An error as findings: one a line of it."""
    from gnnrl.live.preflight import Finding

    return [Finding(level="error", what=what, message=line) for line in str(error).splitlines()]


def options_of(
    args: argparse.Namespace, mode: WriteMode, findings: list[Finding], *, for_keda: bool = False
) -> LiveOptions:
    """What the user gave. A configuration that cannot be used is added to the findings, and the defaults stand in for it."""
    from gnnrl.config.live import LiveConfig
    from gnnrl.config.loader import ConfigError
    from gnnrl.live.session import LiveOptions

    try:
        config = load_live(args.config, args.overrides)
        if args.cluster is not None:
            config = replace(config, cluster=args.cluster)
    except ConfigError as error:
        findings += error_findings("configuration", error)
        config = LiveConfig()
    return LiveOptions(
        config=config,
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


def clock_of(args: argparse.Namespace, findings: list[Finding]) -> Clock | None:
    """The machine's clock, or a sandbox's; None = that sandbox does not tell the time, as is added to the findings."""
    if args.sandbox_url is None:
        from gnnrl.cluster.clock import SystemClock

        return SystemClock()
    from gnnrl.cluster.errors import ClusterError
    from gnnrl.live.sandbox.remote_clock import RemoteClock

    try:
        return RemoteClock(args.sandbox_url)
    except ClusterError as error:
        findings += error_findings("clock", error)
        return None


def print_findings(findings: Iterable[Finding], *, everything: bool) -> None:
    """One line each, the worst last: everything is a report, on stdout; what is wrong alone are messages, on stderr."""
    from gnnrl.live.terminal_text import clean

    listed = list(findings)
    for level in ("ok", "warning", "error") if everything else ("warning", "error"):
        for finding in listed:
            if finding.level == level:
                print(
                    f"{level:<8} {clean(finding.what)}: {clean(finding.message)}",
                    file=sys.stdout if everything else sys.stderr,
                )
