"""A service mesh as data: services, calls, request classes; the traffic equations; how much load a mesh can take.

A `Mesh` is valid by construction: every problem is found at once and named in one `MeshError`. Files are read and
written in `mesh_file.py`; end-to-end latency without load is in `idle_latency.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.mesh_checks import mesh_problems
from gnnrl.domains.autoscaling.traffic import solve_traffic

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "Call",
    "Mesh",
    "MeshArrays",
    "MeshError",
    "RequestClass",
    "Service",
    "hottest_ratio",
    "peak_rps",
    "replicas_needed",
    "visits",
]

Floats = NDArray[np.float64]

STATEFUL_UTILISATION = 0.8
"""`peak_rps` loads no stateful service beyond this share of its limit: nothing can be added to it."""


class MeshError(ValueError):
    """A mesh that cannot be: `problems` lists every fault, each with the name of the service, call or class."""

    def __init__(self, mesh_name: str, problems: Sequence[str], place: str = "") -> None:
        self.problems = tuple(problems)
        head = f"{place}: " if place else ""
        super().__init__("\n".join(f"{head}mesh {mesh_name!r}: {problem}" for problem in self.problems))


@dataclass(frozen=True, kw_only=True)
class Service:
    """One scalable (or stateful) workload of a mesh."""

    name: str
    cpu_ms: float
    """CPU milliseconds one call costs on average (service times are exponential)."""
    cpu_request_millicores: float = 100.0
    cpu_limit_millicores: float = 200.0
    """A pod serves its calls by processor sharing, `cpu_limit_millicores / cpu_ms` calls per second in all."""
    memory_request_mib: float = 64.0
    memory_limit_mib: float = 128.0
    startup_seconds: float = 30.0
    stateful: bool = False
    """A stateful service is never scaled: its only legal move is 0."""
    timeout_ms: float | None = None
    """A call to this service is given up after this long; None = only the request timeout of the simulation applies."""
    fatal: bool = True
    """Whether a failed call fails the request that made it."""
    base_latency_ms: float = 0.0
    """Load-independent latency of one call (network, sidecar)."""
    replicas: int = 1
    """Replicas at the start."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A directed edge: `source` calls `target`."""

    source: str
    target: str
    mtls: float = 1.0
    """Share of the traffic under mutual TLS, 0-1."""
    error_share: float = 0.0
    """Share of the calls that fail for reasons of the application's own, 0-1. Telemetry shows these errors on top of the
    simulated ones, as a cluster's does; they end no request and violate no SLO, because no number of replicas mends them."""


@dataclass(frozen=True, kw_only=True)
class RequestClass:
    """One kind of external request (an endpoint): where it enters and how often each call is made on its behalf."""

    name: str
    root: str
    weight: float
    """Share of the external requests; the weights of a mesh sum to 1."""
    calls: tuple[float, ...]
    """Per `Mesh.calls`, the calls made to the target per invocation of the source, within this class. A fractional
    number is its whole part plus one more call with the remaining probability."""


@dataclass(frozen=True, eq=False)
class MeshArrays:
    """A mesh as arrays, S services, E calls, C classes, in the order of the mesh. Read-only."""

    cpu_ms: Floats  # [S]
    cpu_request: Floats  # [S] millicores
    cpu_limit: Floats  # [S] millicores
    memory_request: Floats  # [S] MiB
    memory_limit: Floats  # [S] MiB
    startup_seconds: Floats  # [S]
    stateful: NDArray[np.bool_]  # [S]
    timeout_ms: Floats  # [S] inf = none
    fatal: NDArray[np.bool_]  # [S]
    base_latency_ms: Floats  # [S]
    replicas: NDArray[np.int64]  # [S]
    call_source: NDArray[np.int16]  # [E]
    call_target: NDArray[np.int16]  # [E]
    mtls: Floats  # [E]
    call_error_share: Floats  # [E]
    class_root: NDArray[np.int16]  # [C]
    class_weight: Floats  # [C]
    call_ratio: Floats  # [C, E] calls to the target per invocation of the source
    visits: Floats  # [C, S] invocations per external request of the class
    call_rates: Floats  # [C, E] calls per external request of the class
    mean_visits: Floats  # [S] invocations per external request of the mix
    mean_call_rates: Floats  # [E] calls per external request of the mix


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh: services, calls between them, request classes, SLO. Immutable, and valid: construction raises
    `MeshError`."""

    name: str
    services: tuple[Service, ...]
    calls: tuple[Call, ...]
    classes: tuple[RequestClass, ...]
    slo_ms: float | None = None
    """End-to-end SLO; None = 2.0 x the idle P95 of this mesh."""
    node_cpu_millicores: float | None = None
    """CPU that the cluster can hand out as requests; None = unlimited. Pods past it stay Pending."""
    sidecar_millicores_per_rps: float = 0.35
    """CPU of a proxy for each request/s of its service, counted as used by the pod: 0.35 vCPU per 1000 requests/s (Istio's published
    figure); 0 = no sidecars."""

    def __post_init__(self) -> None:
        problems = mesh_problems(self)
        if problems:
            raise MeshError(self.name, problems)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Service names, in order."""
        return tuple(service.name for service in self.services)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def index(self, service: str) -> int:
        """Position of a service by name; `KeyError` names what there is."""
        if service not in self._positions:
            raise KeyError(f"mesh {self.name!r} has no service {service!r}; it has {', '.join(self.names)}")
        return self._positions[service]

    def arrays(self) -> MeshArrays:
        """The mesh as read-only arrays, computed once."""
        return self._arrays

    @cached_property
    def _arrays(self) -> MeshArrays:
        return _arrays(self)

    def to_networkx(self) -> nx.DiGraph:
        """Nodes carry the service's fields, edges `mtls`, `error_share` and `calls_per_request` (mean over the
        mix)."""
        import networkx as nx

        graph = nx.DiGraph(name=self.name)
        for service in self.services:
            graph.add_node(
                service.name, **{f.name: getattr(service, f.name) for f in fields(service) if f.name != "name"}
            )
        for call, rate in zip(self.calls, self.arrays().mean_call_rates, strict=True):
            graph.add_edge(
                call.source,
                call.target,
                mtls=call.mtls,
                error_share=call.error_share,
                calls_per_request=float(rate),
            )
        return graph


def visits(mesh: Mesh) -> Floats:
    """Invocations of each service per external request of each class, float64 [C, S].

    The traffic equations v = r + P^T v, with r the class's root and P[s, t] its calls to t per invocation of s; cycles
    and self-calls included (Jackson 1957).
    """
    return mesh.arrays().visits


def hottest_ratio(mesh: Mesh) -> float:
    """Largest visits x CPU cost / limit over the services that can be scaled: pod-seconds per external request.

    Stateful services are left out because replicas cannot follow their load; `peak_rps` sees to it that they hold.
    A mesh of stateful services alone has the ratio of its hottest one.
    """
    arrays = mesh.arrays()
    ratio = arrays.mean_visits * arrays.cpu_ms / arrays.cpu_limit
    scalable = ratio[~arrays.stateful]
    return float((scalable if scalable.size else ratio).max())


def peak_rps(mesh: Mesh, replicas: float, utilisation: float = 0.8) -> float:
    """External requests/s at which the hottest scalable service needs `replicas` pods at `utilisation` of their limit.

    Where a stateful service with its fixed replicas would then run above `STATEFUL_UTILISATION`, the rate is lowered to
    that bound: a mesh that no autoscaler can keep alive compares nothing. The nominal Online Boutique's redis-cart
    reaches 0.78 at 17 replicas, so the bound acts on randomised meshes only.
    """
    arrays = mesh.arrays()
    rate = replicas * utilisation / hottest_ratio(mesh)
    fixed = arrays.stateful & (arrays.mean_visits > 0)
    if fixed.any():
        demand = arrays.mean_visits[fixed] * arrays.cpu_ms[fixed] / arrays.cpu_limit[fixed]
        rate = min(rate, float((STATEFUL_UTILISATION * arrays.replicas[fixed] / demand).min()))
    return rate


def replicas_needed(mesh: Mesh, rps: float, utilisation: float) -> NDArray[np.int64]:
    """Replicas of each service that carry `rps` external requests/s at `utilisation` of the limit, at least 1; [S].

    Stateful services keep the replicas they have.
    """
    arrays = mesh.arrays()
    demand = rps * arrays.mean_visits * arrays.cpu_ms / arrays.cpu_limit / utilisation
    needed = np.maximum(np.ceil(demand - 1e-9), 1).astype(np.int64)
    return np.where(arrays.stateful, arrays.replicas, needed)


def _arrays(mesh: Mesh) -> MeshArrays:
    def column(name: str) -> Floats:
        return np.array([getattr(service, name) for service in mesh.services], dtype=np.float64)

    source = np.array([mesh.index(call.source) for call in mesh.calls], dtype=np.int16)
    target = np.array([mesh.index(call.target) for call in mesh.calls], dtype=np.int16)
    root = np.array([mesh.index(request.root) for request in mesh.classes], dtype=np.int16)
    weight = np.array([request.weight for request in mesh.classes], dtype=np.float64)
    ratio = np.array([request.calls for request in mesh.classes], dtype=np.float64)  # [C, E]
    visit = solve_traffic(len(mesh.services), source, target, ratio, root)
    rates = ratio * visit[:, source]
    timeout = [math.inf if service.timeout_ms is None else service.timeout_ms for service in mesh.services]
    arrays = MeshArrays(
        cpu_ms=column("cpu_ms"),
        cpu_request=column("cpu_request_millicores"),
        cpu_limit=column("cpu_limit_millicores"),
        memory_request=column("memory_request_mib"),
        memory_limit=column("memory_limit_mib"),
        startup_seconds=column("startup_seconds"),
        stateful=np.array([service.stateful for service in mesh.services], dtype=np.bool_),
        timeout_ms=np.array(timeout, dtype=np.float64),
        fatal=np.array([service.fatal for service in mesh.services], dtype=np.bool_),
        base_latency_ms=column("base_latency_ms"),
        replicas=np.array([service.replicas for service in mesh.services], dtype=np.int64),
        call_source=source,
        call_target=target,
        mtls=np.array([call.mtls for call in mesh.calls], dtype=np.float64),
        call_error_share=np.array([call.error_share for call in mesh.calls], dtype=np.float64),
        class_root=root,
        class_weight=weight,
        call_ratio=ratio,
        visits=visit,
        call_rates=rates,
        mean_visits=weight @ visit,
        mean_call_rates=weight @ rates,
    )
    for f in fields(arrays):
        getattr(arrays, f.name).flags.writeable = False
    return arrays
