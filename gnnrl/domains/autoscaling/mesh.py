"""A service mesh as data: services, calls, request classes; YAML in and out; the traffic equations."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Call", "Mesh", "RequestClass", "Service"]


@dataclass(frozen=True, kw_only=True)
class Service:
    """One scalable (or stateful) workload of a mesh."""

    name: str
    cpu_ms: float
    """CPU milliseconds one call costs on average (service times are exponential)."""
    cpu_request_millicores: float = 100.0
    cpu_limit_millicores: float = 200.0
    """A pod serves its calls by processor sharing at `cpu_limit / cpu_ms` calls per millisecond-core."""
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


@dataclass(frozen=True, kw_only=True)
class RequestClass:
    """One kind of external request (an endpoint): where it enters and how often each call is made on its behalf."""

    name: str
    root: str
    weight: float
    """Share of the external requests; the weights of a mesh sum to 1."""
    calls: tuple[float, ...]
    """Per `Mesh.calls`, the calls made to the target per invocation of the source, within this class."""


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh: services, calls between them, request classes, SLO. Immutable."""

    name: str
    services: tuple[Service, ...]
    calls: tuple[Call, ...]
    classes: tuple[RequestClass, ...]
    slo_ms: float | None = None
    """End-to-end SLO; None = 2.0 x the idle P95 of this mesh."""
    node_cpu_millicores: float | None = None
    """CPU that the cluster can hand out as requests; None = unlimited. Pods past it stay Pending."""
