"""What the simulated world shows to the servers in front of it, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gnnrl.cluster.models import Container, ContainerUsage

__all__ = ["CallView", "GraphView", "PodUsageView", "PodView", "WorkloadView"]


@dataclass(frozen=True, kw_only=True)
class PodView:
    """A pod. Its name stays the same from creation to deletion."""

    name: str
    phase: Literal["Pending", "Running"]
    ready: bool
    deleting: bool
    created_seconds: float
    """Unix seconds."""
    restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class WorkloadView:
    """A Deployment of the simulated world."""

    name: str
    replicas: int
    """Desired."""
    containers: tuple[Container, ...]
    """The application's, then `istio-proxy`."""
    pods: tuple[PodView, ...]
    created_seconds: float
    stateful: bool = False
    """Never scaled: `set_replicas` refuses it."""


@dataclass(frozen=True, kw_only=True)
class PodUsageView:
    """What metrics-server knows of a pod; pods that were not ready in the window have none."""

    pod: str
    """It may be gone since the window ended."""
    timestamp_seconds: float
    """End of the window, unix seconds: as old as the metrics lag."""
    window_seconds: float
    workload: str = ""
    """Deployment it belongs or belonged to."""
    containers: Mapping[str, ContainerUsage]


@dataclass(frozen=True, kw_only=True)
class CallView:
    """Traffic from one workload to another, means over the window; rounded only where it is written."""

    source: str
    """Workload, or the gateway that the requests of the outside come through."""
    target: str
    protocol: Literal["http", "grpc", "tcp"]
    rps: float
    """Requests/s; 0 for tcp."""
    bytes_per_second: float
    p95_ms: float
    """95th percentile of the response time, downstream calls included; 0 = no requests in the window."""
    error_share: float
    mtls_share: float


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """The traffic of a window."""

    timestamp_seconds: float
    """End of the window, unix seconds: as old as the metrics lag."""
    window_seconds: int
    gateway: str
    """Workload in `gateway_namespace` that the requests of the outside come through."""
    gateway_namespace: str
    workloads: tuple[str, ...]
    calls: tuple[CallView, ...]
    """All there are, those without traffic too; where rates are of scraped samples, those that Kiali has a rate of."""
    all_calls: tuple[CallView, ...]
    """All there are, with the simulation's figures."""
    shown_second: int = 0
    """End of the window in seconds of the simulation."""
