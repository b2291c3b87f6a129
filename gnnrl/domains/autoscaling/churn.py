"""Meshes that change: services come, go and are renamed, calls end; when that happens in an episode; and how a training mesh
differs from its model.

Every change is a pure function from a valid mesh to a valid mesh. What an event hits is drawn in `changing_mesh.py`, and `rollouts.py`
plays it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gnnrl.config.experiment import ChurnConfig
from gnnrl.domains.autoscaling.mesh import Call, Mesh, MeshError, RequestClass, Service

__all__ = [
    "MIN_SERVICES",
    "ChurnEvent",
    "ChurnKind",
    "ChurnSchedule",
    "add_canary",
    "add_dependency",
    "add_version",
    "draw_schedule",
    "randomise",
    "remove_call",
    "remove_service",
    "rename_service",
]

ChurnKind = Literal["service_added", "service_removed", "service_renamed", "call_removed", "pod_crashed"]
KINDS: tuple[ChurnKind, ...] = ("service_added", "service_removed", "service_renamed", "call_removed", "pod_crashed")
MIN_SERVICES = 2
"""A mesh keeps so many."""


@dataclass(frozen=True, kw_only=True)
class ChurnEvent:
    """Something that happens to the topology. What it hits follows from `draw` and the mesh it meets."""

    second: int
    """After the start of the episode."""
    kind: ChurnKind
    draw: int
    """Seed of the event's own choices, so that applying it is a pure function."""


@dataclass(frozen=True, kw_only=True)
class ChurnSchedule:
    """The events of an episode, by time."""

    events: tuple[ChurnEvent, ...] = ()


def draw_schedule(config: ChurnConfig, seconds: int, rng: np.random.Generator) -> ChurnSchedule:
    """Events of each kind as a Poisson process with the configured rate, over `seconds`."""
    events = []
    for kind in KINDS:
        rate = getattr(config, f"{kind}_per_hour")
        for second in rng.integers(0, seconds, size=rng.poisson(rate * seconds / 3600.0)):
            events.append(ChurnEvent(second=int(second), kind=kind, draw=int(rng.integers(2**63))))
    return ChurnSchedule(events=tuple(sorted(events, key=lambda event: event.second)))


def add_canary(mesh: Mesh, service: str, name: str, share: float, cpu_factor: float = 1.0) -> Mesh:
    """A second version of a service, whose CPU cost differs, takes over `share` of every call to it; `MeshError` as `add_version`."""
    original = _service(mesh, service)
    replicas = max(1, round(share * original.replicas))
    canary = replace(original, name=name, cpu_ms=original.cpu_ms * cpu_factor, replicas=replicas)
    return add_version(mesh, service, canary, share)


def add_version(mesh: Mesh, service: str, version: Service, share: float) -> Mesh:
    """Another version of a service takes over `share` of every call to it and makes the same calls.

    Raises:
        MeshError: the service is unknown, a root or stateful, the version's name is taken, or the share is not in (0, 1).
    """
    name = version.name
    problems = _inner_problems(mesh, _service(mesh, service), "have a second version")
    if not 0.0 < share < 1.0:
        problems.append(f"share {share} of canary {name!r} is not in (0, 1)")
    if problems:
        raise MeshError(mesh.name, problems)

    # A call to the service splits; one that it makes is made by both versions.
    def split(request: RequestClass) -> dict[tuple[str, str], float]:
        ratios: dict[tuple[str, str], float] = {}
        for call, ratio in zip(mesh.calls, request.calls, strict=True):
            sources = (service, name) if call.source == service else (call.source,)
            targets = ((service, 1.0 - share), (name, share)) if call.target == service else ((call.target, 1.0),)
            for source in sources:
                for target, part in targets:
                    ratios[source, target] = ratio * part
        return ratios

    like = {(call.source, call.target): call for call in mesh.calls}
    for call in mesh.calls:
        versions = [(name if end == service else end) for end in (call.source, call.target)]
        for source in (call.source, versions[0]):
            for target in (call.target, versions[1]):
                like[source, target] = call
    return _with_calls(mesh, (*mesh.services, version), split, like)


def add_dependency(mesh: Mesh, caller: str, service: Service, calls: float) -> Mesh:
    """A new service that `caller` calls `calls` times per invocation, whatever the request class."""
    _service(mesh, caller)
    return replace(
        mesh,
        services=(*mesh.services, service),
        calls=(*mesh.calls, Call(source=caller, target=service.name)),
        classes=tuple(replace(request, calls=(*request.calls, calls)) for request in mesh.classes),
    )


def remove_service(mesh: Mesh, service: str, heir: str | None = None) -> Mesh:
    """A service disappears with the calls it makes; those made to it end, or go to `heir`.

    Raises:
        MeshError: unknown service or heir, a root, or fewer than two services would be left.
    """
    removed = _service(mesh, service)
    problems = []
    if any(request.root == service for request in mesh.classes):
        problems.append(f"service {service!r} is where requests enter; it cannot be removed")
    if len(mesh.services) <= MIN_SERVICES:
        problems.append(f"service {service!r} cannot be removed: a mesh keeps {MIN_SERVICES} services")
    if heir is not None:
        _service(mesh, heir)
    if problems:
        raise MeshError(mesh.name, problems)

    def keep(request: RequestClass) -> dict[tuple[str, str], float]:
        ratios: dict[tuple[str, str], float] = {}
        for call, ratio in zip(mesh.calls, request.calls, strict=True):
            target = heir if call.target == service else call.target
            if call.source != service and target is not None:
                ratios[call.source, target] = ratios.get((call.source, target), 0.0) + ratio
        return ratios

    left = tuple(other for other in mesh.services if other is not removed)
    return _with_calls(mesh, left, keep, {(call.source, call.target): call for call in mesh.calls})


def rename_service(mesh: Mesh, service: str, name: str) -> Mesh:
    """A service under another name, everything else the same; to whoever matches by name, one is gone and one is
    new."""
    _service(mesh, service)

    def new(old: str) -> str:
        return name if old == service else old

    return replace(
        mesh,
        services=tuple(replace(other, name=new(other.name)) for other in mesh.services),
        calls=tuple(replace(call, source=new(call.source), target=new(call.target)) for call in mesh.calls),
        classes=tuple(replace(request, root=new(request.root)) for request in mesh.classes),
    )


def remove_call(mesh: Mesh, source: str, target: str) -> Mesh:
    """A call is no longer made, in any class; services only it reached stay, without load."""
    kept = [e for e, call in enumerate(mesh.calls) if (call.source, call.target) != (source, target)]
    if len(kept) == len(mesh.calls):
        raise MeshError(mesh.name, [f"there is no call {source!r} -> {target!r} to remove"])
    return replace(
        mesh,
        calls=tuple(mesh.calls[e] for e in kept),
        classes=tuple(replace(request, calls=tuple(request.calls[e] for e in kept)) for request in mesh.classes),
    )


def randomise(
    mesh: Mesh,
    rng: np.random.Generator,
    *,
    cpu_cost_factor: tuple[float, float] = (1.0, 1.0),
    class_mix_factor: tuple[float, float] = (1.0, 1.0),
    startup_factor: tuple[float, float] = (1.0, 1.0),
    sidecar_factor: tuple[float, float] = (1.0, 1.0),
) -> Mesh:
    """Domain randomisation: independent log-uniform factors on every service's CPU cost and start-up time and every
    class's share (renormalised), and one on the CPU of all proxies. Topology and call ratios stay; a stated SLO too.
    """

    def factors(bounds: tuple[float, float], size: int) -> list[float]:
        drawn: list[float] = np.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1]), size=size)).tolist()
        return drawn

    cost, startup = factors(cpu_cost_factor, len(mesh.services)), factors(startup_factor, len(mesh.services))
    mix = factors(class_mix_factor, len(mesh.classes))
    (sidecar,) = factors(sidecar_factor, 1)
    weight = [request.weight * factor for request, factor in zip(mesh.classes, mix, strict=True)]
    return replace(
        mesh,
        services=tuple(
            replace(service, cpu_ms=service.cpu_ms * c, startup_seconds=service.startup_seconds * s)
            for service, c, s in zip(mesh.services, cost, startup, strict=True)
        ),
        classes=tuple(
            replace(request, weight=share / sum(weight)) for request, share in zip(mesh.classes, weight, strict=True)
        ),
        sidecar_millicores_per_rps=mesh.sidecar_millicores_per_rps * sidecar,
    )


def _with_calls(
    mesh: Mesh,
    services: tuple[Service, ...],
    ratios: Callable[[RequestClass], dict[tuple[str, str], float]],
    like: dict[tuple[str, str], Call],
) -> Mesh:
    """The mesh with other services, whose calls are those that `ratios` gives for every class, `like` the given ones."""
    by_class = [ratios(request) for request in mesh.classes]
    pairs = list(by_class[0])
    return replace(
        mesh,
        services=services,
        calls=tuple(
            replace(like[pair], source=pair[0], target=pair[1])
            if pair in like
            else Call(source=pair[0], target=pair[1])
            for pair in pairs
        ),
        classes=tuple(
            replace(request, calls=tuple(found[pair] for pair in pairs))
            for request, found in zip(mesh.classes, by_class, strict=True)
        ),
    )


def _inner_problems(mesh: Mesh, service: Service, what: str) -> list[str]:
    problems = []
    if service.stateful:
        problems.append(f"service {service.name!r} is stateful; it cannot {what}")
    if any(request.root == service.name for request in mesh.classes):
        problems.append(f"service {service.name!r} is where requests enter; it cannot {what}")
    return problems


def _service(mesh: Mesh, name: str) -> Service:
    if name not in mesh.names:
        raise MeshError(mesh.name, [f"unknown service {name!r}; there are {', '.join(mesh.names)}"])
    return mesh.services[mesh.index(name)]
