"""What only this domain can say about a configuration: names that exist, files that are sound, sizes that fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
from gnnrl.config.live import LiveConfig
from gnnrl.config.rules import Faults, Rule, nearest, unknown_teacher
from gnnrl.domains.autoscaling.baselines import BASELINES, is_baseline
from gnnrl.domains.autoscaling.idle_latency import unreachable_slo
from gnnrl.domains.autoscaling.load_file import WorkloadError, load_csv, recording
from gnnrl.domains.autoscaling.mesh import Mesh, MeshError
from gnnrl.domains.autoscaling.mesh_file import load_mesh
from gnnrl.domains.autoscaling.observed import observe
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.random_mesh import MAX_SERVICES
from gnnrl.domains.autoscaling.workloads import WORKLOADS

__all__ = ["CONFIG_RULES", "LIVE_RULES", "TEACHERS", "fits"]

BUILT_IN = "online_boutique"
TEACHERS = ("feed_forward_estimated",)
"""Baselines that decide from one observation alone, so that a policy can be taught by them."""
SIMULATED_ONLY = ("oracle", "static", "random")
"""Baselines that know the future, or nothing."""
FALLBACKS = tuple(name for name in BASELINES if name not in SIMULATED_ONLY)


def fits(mesh: Mesh, environment: AutoscalingConfig) -> Faults:
    """The fields of `environment` that are too small for the mesh."""
    shown = mesh if environment.telemetry == "exact" else observe(mesh)
    for path, count, capacity, what in (
        ("environment.max_nodes", len(shown.services), environment.max_nodes, "services"),
        ("environment.max_edges", len(shown.calls), environment.max_edges, "calls"),
    ):
        if count > capacity:
            yield path, f"{capacity} is too few for mesh {mesh.name!r}, which has {count} {what}"


def _graph_window(config: ExperimentConfig) -> Faults:
    window, decision = config.environment.graph_window_seconds, config.environment.decision_seconds
    if window % decision:
        yield (
            "environment.graph_window_seconds",
            f"{window} is not a multiple of environment.decision_seconds, which is {decision}",
        )


def _meshes(config: ExperimentConfig) -> Faults:
    environment = config.environment
    for source in environment.mesh:
        if source.startswith("random:"):
            yield from _random_mesh(source, environment.max_nodes)
        elif source == BUILT_IN:
            yield from fits(online_boutique(), environment)
        elif not source.endswith((".yaml", ".yml")):
            yield "environment.mesh", f"{source!r} is not {BUILT_IN}, random:LOW-HIGH or a mesh .yaml file"
        else:
            try:
                mesh = load_mesh(Path(source))
            except MeshError as error:
                for line in str(error).splitlines():
                    yield "environment.mesh", line
            else:
                yield from fits(mesh, environment)
                yield from _starts_in_time(mesh, environment)
                if mesh.slo_ms is not None and (why := unreachable_slo(mesh, mesh.slo_ms)):
                    yield "environment.mesh", why


def _starts_in_time(mesh: Mesh, environment: AutoscalingConfig) -> Faults:
    from gnnrl.domains.autoscaling.physics import PhysicsSettings

    longest, factor = PhysicsSettings().longest_startup_seconds, environment.randomisation.startup_factor[1]
    for service in mesh.services:
        if factor * service.startup_seconds > longest:
            yield (
                "environment.mesh",
                f"mesh {mesh.name!r}: service {service.name!r} takes up to {factor * service.startup_seconds:g} s to "
                f"start (randomisation.startup_factor included), the simulation holds at most {longest} s",
            )


def _random_mesh(source: str, max_nodes: int) -> Faults:
    low, dash, high = source.removeprefix("random:").partition("-")
    if not (dash and low.isdecimal() and high.isdecimal() and 2 <= int(low) <= int(high) <= MAX_SERVICES):
        yield (
            "environment.mesh",
            f"{source!r} is not random:LOW-HIGH with 2 <= LOW <= HIGH <= {MAX_SERVICES} services, such as random:5-60",
        )
    elif int(high) > max_nodes:
        yield "environment.max_nodes", f"{max_nodes} is too few for {source}, which has up to {high} services"


def _workloads(path: str, names: Callable[[ExperimentConfig], tuple[str, ...]]) -> Rule[ExperimentConfig]:
    def check(config: ExperimentConfig) -> Faults:
        for name in names(config):
            path_of_csv = recording(name)
            if path_of_csv is not None:
                try:
                    load_csv(path_of_csv)
                except WorkloadError as error:
                    for line in str(error).splitlines():
                        yield path, line
            elif name not in WORKLOADS:
                yield path, f"{name!r} is not a workload; {nearest(name, WORKLOADS)}, or a .csv file"

    return Rule(paths=(path,), check=check)


def _against(config: ExperimentConfig) -> Faults:
    for name in config.evaluation.against:
        if not is_baseline(name):
            yield "evaluation.against", f"{name!r} is not a baseline; {nearest(name, BASELINES)}"


def _teacher(config: ExperimentConfig) -> Faults:
    if not config.warm_start.teacher:
        return
    yield from unknown_teacher(config, TEACHERS)
    if config.environment.node_columns == "basic":
        yield "environment.node_columns", "'basic' does not show the CPU limit that warm_start.teacher needs"
    if config.environment.action_mode != "joint":
        yield "environment.action_mode", "warm_start.teacher moves every service at once, which needs joint"


def _fallback(config: LiveConfig) -> Faults:
    name = config.guardrails.fallback
    if not is_baseline(name):
        yield "guardrails.fallback", f"{name!r} is not a baseline; {nearest(name, FALLBACKS)}"
    elif name in SIMULATED_ONLY:
        yield "guardrails.fallback", f"{name!r} cannot run on a live cluster; such as hpa_80 and feed_forward_70 can"


CONFIG_RULES: tuple[Rule[ExperimentConfig], ...] = (
    Rule(paths=("environment.graph_window_seconds", "environment.decision_seconds"), check=_graph_window),
    Rule(
        paths=("environment.mesh", "environment.max_nodes", "environment.max_edges", "environment.randomisation"),
        check=_meshes,
    ),
    _workloads("environment.workloads", lambda config: config.environment.workloads),
    _workloads("evaluation.workloads", lambda config: config.evaluation.workloads),
    Rule(paths=("evaluation.against",), check=_against),
    Rule(paths=("warm_start.teacher", "environment.node_columns", "environment.action_mode"), check=_teacher),
)
"""For `load_config(..., rules=CONFIG_RULES)`."""

LIVE_RULES: tuple[Rule[LiveConfig], ...] = (Rule(paths=("guardrails.fallback",), check=_fallback),)
"""For `load_live_config(..., rules=LIVE_RULES)`."""
