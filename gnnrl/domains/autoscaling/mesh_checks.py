"""What is wrong with a mesh: every problem at once, with names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from gnnrl.domains.autoscaling.mesh_kinds import kind_problems
from gnnrl.domains.autoscaling.traffic import call_matrices, solve_traffic, spectral_radius

if TYPE_CHECKING:
    from gnnrl.domains.autoscaling.mesh import Mesh, RequestClass, Service

__all__ = ["LARGEST_VISITS", "mesh_problems"]

WEIGHT_TOLERANCE = 1e-6
LARGEST_VISITS = 1e4
"""Invocations of one service for one external request: more is a quotient of rates too small to be measured, or a slip."""
LARGEST_REPLICAS = 10_000
_POSITIVE = {"cpu_ms": (1e-6, 1e6), "cpu_request_millicores": (1e-3, 1e6), "cpu_limit_millicores": (1e-3, 1e6)}
_NOT_NEGATIVE = {
    "memory_request_mib": 1e8,
    "memory_limit_mib": 1e8,
    "startup_seconds": 86_400.0,
    "base_latency_ms": 1e6,
}
_OF_MESH = {"slo_ms": 1e8, "node_cpu_millicores": 1e12}
"""Bounds that no system reaches: what is past them is a slip of the pen or another unit, and would leave the simulator's numbers."""
LARGEST_TIMEOUT_MS = 1e8
LARGEST_SIDECAR = 1e6
UNPRINTABLE = "a name has no control characters, and none that turn a line round; take them out"


def mesh_problems(mesh: Mesh) -> list[str]:
    """Every fault of a mesh, each with the name of the service, call or class."""
    if of_other_kinds := kind_problems(mesh):
        return of_other_kinds
    problems = [
        f"name {name!r}: {UNPRINTABLE}"
        for name in (mesh.name, *(request.name for request in mesh.classes))
        if not name.isprintable()
    ]
    for service in mesh.services:
        problems += _service_problems(service)
    problems += [f"service {name!r} appears {n} times" for name, n in _repeated(s.name for s in mesh.services)]
    if not mesh.services:
        problems.append("has no services")
    if not mesh.classes:
        problems.append("has no request classes")
    known = {service.name for service in mesh.services}
    for call in mesh.calls:
        for end in (call.source, call.target):
            if end not in known:
                problems.append(f"call {call.source!r} -> {call.target!r}: unknown service {end!r}")
        for name in ("mtls", "error_share"):
            share = getattr(call, name)
            if not 0.0 <= share <= 1.0:
                problems.append(f"call {call.source!r} -> {call.target!r}: {name} {share} is not a share in [0, 1]")
    pairs = _repeated(f"{call.source!r} -> {call.target!r}" for call in mesh.calls)
    problems += [f"call {pair} appears {n} times; add the ratios up" for pair, n in pairs]
    problems += [f"request class {name!r} appears {n} times" for name, n in _repeated(c.name for c in mesh.classes)]
    for request in mesh.classes:
        problems += _class_problems(mesh, request, known)
    total = sum(request.weight for request in mesh.classes)
    if mesh.classes and math.isfinite(total) and abs(total - 1.0) > WEIGHT_TOLERANCE:
        problems.append(f"the weights of the request classes sum to {total:.6g}, not 1")
    for name, largest in _OF_MESH.items():
        value = getattr(mesh, name)
        if value is not None and (fault := _not_positive(value, 0.0, largest)):
            problems.append(f"{name} {fault}")
    if not 0.0 <= mesh.sidecar_millicores_per_rps <= LARGEST_SIDECAR:
        value = mesh.sidecar_millicores_per_rps
        problems.append(f"sidecar_millicores_per_rps {value} is not in [0, {LARGEST_SIDECAR:g}]")
    if not problems:
        problems += _amplification_problems(mesh)
    if not problems:
        problems += _visit_problems(mesh)
    return problems


@lru_cache(maxsize=4096)
def _service_problems(service: Service) -> tuple[str, ...]:
    """Of one whose fields are of the right kinds; of a mesh that changes, most services are known."""
    where = f"service {service.name!r}"
    problems = []
    if not service.name or any(character.isspace() for character in service.name):
        problems.append(f"{where}: a name is not empty and has no spaces")
    elif not service.name.isprintable():
        problems.append(f"{where}: {UNPRINTABLE}")
    for name, bounds in _POSITIVE.items():
        if fault := _not_positive(getattr(service, name), *bounds):
            problems.append(f"{where}: {name} {fault}")
    for name, largest in _NOT_NEGATIVE.items():
        value = getattr(service, name)
        if not (math.isfinite(value) and value >= 0):
            problems.append(f"{where}: {name} {value} is not a number >= 0")
        elif value > largest:
            problems.append(f"{where}: {name} {value:g} is above {largest:g}, which no service has; check its unit")
    if service.cpu_request_millicores > service.cpu_limit_millicores:
        problems.append(
            f"{where}: cpu_request_millicores {service.cpu_request_millicores:g} is above "
            f"cpu_limit_millicores {service.cpu_limit_millicores:g}"
        )
    if service.timeout_ms is not None and (fault := _not_positive(service.timeout_ms, 0.0, LARGEST_TIMEOUT_MS)):
        problems.append(f"{where}: timeout_ms {fault}")
    if service.replicas < 1:
        problems.append(f"{where}: replicas {service.replicas} is not at least 1")
    elif service.replicas > LARGEST_REPLICAS:
        problems.append(f"{where}: replicas {service.replicas} is above {LARGEST_REPLICAS}")
    return tuple(problems)


def _class_problems(mesh: Mesh, request: RequestClass, known: set[str]) -> list[str]:
    where = f"request class {request.name!r}"
    problems = []
    if request.root not in known:
        problems.append(f"{where}: root {request.root!r} is not a service")
    if not (math.isfinite(request.weight) and request.weight >= 0):
        problems.append(f"{where}: weight {request.weight} is not a number >= 0")
    if len(request.calls) != len(mesh.calls):
        problems.append(f"{where}: {len(request.calls)} call ratios for {len(mesh.calls)} calls")
    for call, ratio in zip(mesh.calls, request.calls, strict=False):
        if not (math.isfinite(ratio) and ratio >= 0):
            problems.append(f"{where}: {ratio} calls of {call.source!r} -> {call.target!r} is not a number >= 0")
    return problems


def _amplification_problems(mesh: Mesh) -> list[str]:
    position = {service.name: i for i, service in enumerate(mesh.services)}
    source = np.array([position[call.source] for call in mesh.calls], dtype=np.int16)
    target = np.array([position[call.target] for call in mesh.calls], dtype=np.int16)
    ratio = np.array([request.calls for request in mesh.classes], dtype=np.float64)
    problems = []
    for request, matrix in zip(mesh.classes, call_matrices(len(position), source, target, ratio), strict=True):
        radius = spectral_radius(matrix)
        if radius >= 1.0 - 1e-9:
            problems.append(
                f"request class {request.name!r}: its cyclic calls amplify without end (spectral radius {radius:.4g}, "
                "must be below 1); lower the call ratios along the cycle"
            )
    return problems


def _visit_problems(mesh: Mesh) -> list[str]:
    """Services that one external request reaches more often than any does."""
    position = {service.name: i for i, service in enumerate(mesh.services)}
    source, target, root = (
        np.array([position[name] for name in names], dtype=np.int16)
        for names in (
            [call.source for call in mesh.calls],
            [call.target for call in mesh.calls],
            [request.root for request in mesh.classes],
        )
    )
    ratio = np.array([request.calls for request in mesh.classes], dtype=np.float64)
    visits = solve_traffic(len(position), source, target, ratio, root)
    return [
        f"request class {mesh.classes[c].name!r}: {visits[c, s]:.4g} calls of {mesh.services[s].name!r} for one request, more than "
        f"{LARGEST_VISITS:g}; check the call ratios on the way there"
        for c, s in np.argwhere(visits > LARGEST_VISITS)
    ]


def _not_positive(value: float, least: float, largest: float) -> str:
    """What is wrong with a number that must be positive and within the bounds; empty = nothing."""
    if not (math.isfinite(value) and value > 0):
        return f"{value} is not a positive number"
    if least <= value <= largest:
        return ""
    return f"{value:g} is not in [{least:g}, {largest:g}]; check its unit"


def _repeated(names: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [(name, count) for name, count in counts.items() if count > 1]
