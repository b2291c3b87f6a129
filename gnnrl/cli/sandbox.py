"""A cluster in one process, to try the live loop on: a Kubernetes API, a Kiali and a Prometheus on loopback with the mesh simulator behind
them, in real or accelerated time. Ctrl-C ends it and prints what the mesh has cost."""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnrl.cli.arguments import UserError, add_absolute, print_table

if TYPE_CHECKING:
    from gnnrl.config.experiment import ExperimentConfig
    from gnnrl.domains.autoscaling.episode import Episode
    from gnnrl.live.sandbox.kube.roles import Grants
    from gnnrl.live.sandbox.server import Sandbox, SandboxPorts

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "simulate a cluster that kubectl and gnnrl live can talk to"
DEFAULT_PORTS = {"kubernetes": 8001, "kiali": 20001, "prometheus": 9090, "control": 8002}
LARGEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl sandbox [--config FILE | --run RUN] [...]`."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", metavar="FILE", type=Path, help="an experiment's YAML file, for its environment")
    source.add_argument(
        "--run", dest="run_folder", metavar="RUN", type=Path, help="a run's folder, for its environment"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="a.b=c",
        action="append",
        default=[],
        help="replace one value of the configuration, as environment.churn.pod_crashed_per_hour=6; may be repeated",
    )
    parser.add_argument("--mesh", metavar="MESH", help="online_boutique, a mesh file, or random:LOW-HIGH (services)")
    parser.add_argument("--workload", metavar="NAME|CSV", default="diurnal", help="family or CSV file of the load")
    add_absolute(parser)
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="which held-out episode; 0")
    parser.add_argument("--hours", metavar="H", type=float, default=2.0, help="length of the load; 2")
    parser.add_argument("--repeat", action="store_true", help="start the load over at its end")
    parser.add_argument("--until-end", action="store_true", help="exit when the load is over")
    parser.add_argument(
        "--speed", metavar="X", type=float, default=1.0, help="1 = real time; 0 = stand still between POST /advance"
    )
    parser.add_argument("--namespace", metavar="NS", default="onlineboutique", help="of the Deployments")
    parser.add_argument(
        "--kubeconfig", metavar="FILE", type=Path, help="write the kubeconfig here; default: a new file"
    )
    parser.add_argument(
        "--port-base", metavar="PORT", type=int, help="four ports in a row from here; 0 = any; default: the usual ones"
    )
    parser.add_argument("--kiali-version", metavar="V", default="2.31.0", help="that Kiali behaves as; 2.31.0")
    parser.add_argument(
        "--kiali-auth", choices=("anonymous", "token", "header", "openshift"), default="anonymous", help="Kiali's login"
    )
    parser.add_argument(
        "--role",
        dest="roles",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="grant what the Roles in this file grant and nothing else, as deploy/base/role.yaml; may be repeated",
    )
    parser.add_argument(
        "--fault",
        dest="faults",
        metavar="TARGET:KIND:START:END",
        action="append",
        default=[],
        help="something that goes wrong, as kiali:stale:120:180 (seconds after the start); may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C, or the end of the load with `--until-end`."""
    from gnnrl.cluster.clock import AcceleratedClock, SteppedClock
    from gnnrl.live.sandbox.faults import FaultError, FaultSpec
    from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
    from gnnrl.live.sandbox.server import Sandbox

    if not 0.0 <= args.speed < float("inf"):
        raise UserError(f"--speed {args.speed}: must be 0 or more; 1 is real time")
    if args.until_end and args.repeat:
        raise UserError("--until-end: with --repeat there is no end")
    granted = _granted(args.roles, args.namespace) if args.roles else None
    config, episode = _drawn(args)
    _compile()
    try:
        faults = [FaultSpec.parse(text) for text in args.faults]
        sandbox = Sandbox(
            config.environment,
            episode,
            clock=AcceleratedClock(args.speed) if args.speed else SteppedClock(AcceleratedClock().now()),
            namespace=args.namespace,
            repeat=args.repeat,
            faults=faults,
            ports=_ports(args.port_base),
            kiali_version=args.kiali_version,
            kiali_auth=args.kiali_auth,
            # Whoever asks right after the start finds a full window.
            history_seconds=config.environment.graph_window_seconds + config.environment.metrics_lag_seconds,
        )
    except FaultError as error:
        raise UserError(f"--fault: {error}") from error
    except ValueError as error:
        raise UserError(f"gnnrl sandbox: {error}") from error
    sandbox.kubernetes.access.grants = granted
    stop = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    folder = tempfile.TemporaryDirectory(prefix="gnnrl-sandbox-")
    kubeconfig = args.kubeconfig or Path(folder.name) / "kubeconfig"
    try:
        _start(sandbox, args.port_base)
        write_kubeconfig(kubeconfig, sandbox.urls["kubernetes"], sandbox.token, args.namespace)
        _introduce(args, sandbox, episode, kubeconfig.resolve())
        while not stop.wait(0.2) and not (args.until_end and sandbox.world.score()["finished"]):
            continue
    except KeyboardInterrupt:
        print()
    finally:
        signal.signal(signal.SIGTERM, previous)
        sandbox.close()
        folder.cleanup()
    _print_score(sandbox.world.score())
    return 0


def _granted(files: Sequence[Path], namespace: str) -> Grants:
    """What the Roles in some files grant together."""
    import yaml

    from gnnrl.live.sandbox.kube.roles import Grants, RoleError
    from gnnrl.text_file import read_text

    manifests: list[Any] = []
    for file in files:
        try:
            found = list(yaml.safe_load_all(read_text(file)))
            Grants.of(found, namespace)
        except OSError as error:
            raise UserError(f"--role {file}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"--role {file}: is not YAML; give a manifest, as deploy/base/role.yaml") from error
        except RoleError as error:
            raise UserError(f"--role {file}: {error}") from error
        manifests += found
    return Grants.of(manifests, namespace)


def _compile() -> None:
    """Play a minute of a small world, so that nothing is compiled while somebody waits for an answer."""
    from gnnrl.cluster.clock import SteppedClock
    from gnnrl.config.experiment import AutoscalingConfig
    from gnnrl.domains.autoscaling.episode import Split, draw_episode
    from gnnrl.live.sandbox.world import SandboxWorld

    clock = SteppedClock()
    config = AutoscalingConfig(telemetry="kiali")
    world = SandboxWorld(config, draw_episode(config, Split.TRAIN, 0, decisions=4), clock)
    clock.sleep_until(60.0)
    world.set_replicas("frontend", 2)
    clock.sleep_until(75.0)
    world.score()


def _drawn(args: argparse.Namespace) -> tuple[ExperimentConfig, Episode]:
    """The experiment with what the flags replace, and the episode that `gnnrl evaluate` plays under this seed."""
    from gnnrl.cli.domains.comparing import faults_named_by
    from gnnrl.config.experiment import ExperimentConfig
    from gnnrl.config.loader import config_text, dump_config, parse_config
    from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES
    from gnnrl.domains.autoscaling.episode import Split, draw_episode
    from gnnrl.domains.autoscaling.load_file import in_own_rates
    from gnnrl.domains.autoscaling.trained_ranges import room_for

    file = args.run_folder / "config.yaml" if args.run_folder else args.config
    text = config_text(file) if file else dump_config(ExperimentConfig())
    workload = in_own_rates([args.workload])[0] if args.absolute else args.workload
    flags = {f"evaluation.workloads={json.dumps([workload])}": "--workload"}
    room: Sequence[str] = ()
    if args.mesh is not None:
        flags[f"environment.mesh={json.dumps([args.mesh])}"] = "--mesh"
        nodes, edges = room_for(args.mesh, parse_config(text).environment, gateway=True)
        room = (f"environment.max_nodes={nodes}", f"environment.max_edges={edges}")
    source = str(file) if file else "the default configuration"
    with faults_named_by(flags):
        config = parse_config(text, [*flags, *room, *args.overrides], source=source, rules=CONFIG_RULES)
    decisions = round(args.hours * 3600.0 / config.environment.decision_seconds) if args.hours < 24 * 366 else 0
    if decisions < 1:
        raise UserError(f"--hours {args.hours}: must hold a decision, and be at most a year")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: must be 0 or more")
    episode = draw_episode(
        config.environment,
        Split.HELD_OUT,
        args.seed,
        workload=workload,
        violation_weight=config.evaluation.violation_weight,
        decisions=decisions,
    )
    return config, episode


def _ports(base: int | None) -> SandboxPorts:
    from gnnrl.live.sandbox.server import SandboxPorts

    if base is None:
        return SandboxPorts(**DEFAULT_PORTS)
    if base and not 1 <= base <= LARGEST_PORT - len(DEFAULT_PORTS) + 1:
        raise UserError(f"--port-base {base}: four ports must fit between it and {LARGEST_PORT}; 0 = any free ones")
    return SandboxPorts(**{name: base + i if base else 0 for i, name in enumerate(DEFAULT_PORTS)})


def _start(sandbox: Sandbox, base: int | None) -> None:
    try:
        sandbox.start()
    except OSError as error:
        asked = "the usual ports" if base is None else f"--port-base {base}"
        ports = ", ".join(f"{server.name} {server.port}" for server in sandbox.servers)
        raise UserError(f"{asked}: {error.strerror} ({ports}); --port-base 0 takes any free ones") from error


def _introduce(args: argparse.Namespace, sandbox: Sandbox, episode: Episode, kubeconfig: Path) -> None:
    from gnnrl.evaluation.scenarios import recorded_level

    urls = sandbox.urls
    pace = f"at speed {args.speed:g}" if args.speed else "standing still until POST /advance"
    print(
        f"{episode.mesh.name}: {len(episode.mesh.services)} services, {episode.workload} load of {args.hours:g} h {pace}, "
        f"SLO {episode.slo_ms:.0f} ms"
    )
    if level := recorded_level(episode.workload, [episode]):
        print(level)
    for name, url in urls.items():
        print(f"  {name:<11} {url}")
    token = "" if args.kiali_auth == "anonymous" else "  # Kiali takes the token of the kubeconfig"
    print(f"\nexport KUBECONFIG={kubeconfig}")
    print(f"kubectl get deployments,pods -n {args.namespace}")
    print(f"kubectl top pods -n {args.namespace}")
    print(f"kubectl scale deployment frontend --replicas 5 -n {args.namespace}")
    print(
        f"gnnrl live --policy generalist --namespace {args.namespace} --kiali-url {urls['kiali']} --kubeconfig {kubeconfig} "
        f"--sandbox-url {urls['control']}{token}"
    )
    print(f"curl {urls['control']}/score")
    print(
        f'curl -d \'{{"target": "kiali", "kind": "stale", "seconds": 60}}\' {urls["control"]}/faults\n',
        flush=True,
    )


def _print_score(score: dict[str, Any]) -> None:
    if not score["seconds"]:
        print("nothing was scored: the load had not begun")
        return
    rows = (
        ("scored", f"{score['seconds'] / 3600.0:.2f} h{'' if score['finished'] else ' (the load goes on)'}"),
        ("replicas, mean", f"{score['mean_replicas']:.1f}"),
        ("replica-seconds", f"{score['replica_seconds']:.0f}"),
        ("violating", f"{score['violating_seconds']:.0f} s, {100.0 * score['violating_share']:.2f} %"),
        ("latency mean, P95", _latency(score)),
        ("requests", f"{score['requests']:.0f}"),
        ("replicas changed", f"{score['replica_changes']} in {score['scale_moves']} moves"),
        ("topology changes, crashes", f"{score['topology_changes']}, {score['pod_crashes']}"),
    )
    print_table("what the mesh has cost", ("", ""), rows)


def _latency(score: dict[str, Any]) -> str:
    if score["latency_mean_ms"] is None or score["latency_p95_ms"] is None:
        return "no requests"
    return f"{score['latency_mean_ms']:.0f}, {score['latency_p95_ms']:.0f} ms (SLO {score['slo_ms']:.0f} ms)"
