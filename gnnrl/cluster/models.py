"""What was read from a cluster, as frozen data: plain numbers in the units of their names, nothing of the client's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from kiali_client import ServiceGraph

__all__ = [
    "ClusterSnapshot",
    "Container",
    "ContainerUsage",
    "DeploymentState",
    "PodUsage",
    "Problem",
    "Quota",
    "Source",
]

PROXY_CONTAINERS = ("istio-proxy", "linkerd-proxy")
"""Containers of a pod that are the mesh's, not the application's."""

Source = Literal["graph", "deployments", "pods", "metrics", "owners", "budgets", "quota", "namespace"]
"""What is read each interval, concurrently, each able to fail without the others."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of a pod template; None = not stated in the manifest."""

    name: str
    cpu_request_millicores: float | None = None
    cpu_limit_millicores: float | None = None
    memory_request_mib: float | None = None
    memory_limit_mib: float | None = None

    @property
    def is_proxy(self) -> bool:
        """Whether it belongs to the mesh and not to the application."""
        return self.name in PROXY_CONTAINERS


@dataclass(frozen=True, kw_only=True)
class DeploymentState:
    """A Deployment and what its pods are doing."""

    name: str
    uid: str
    resource_version: str
    desired: int
    """`spec.replicas` (absent = 0 in `/scale`, 1 in a Deployment)."""
    ready: int
    """Pods that are Ready and not being deleted."""
    starting: int
    """Pods that run and are not Ready, not being deleted."""
    pending: int
    """Pods that are not scheduled or not running yet, and replicas without a pod yet."""
    draining: int = 0
    """Pods being deleted."""
    containers: tuple[Container, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the pod template."""
    created_seconds: float
    """Unix seconds."""
    newest_pod_seconds: float | None = None
    """When the newest of its pods that are not being deleted was created, unix seconds; None = not known."""
    owner: str = ""
    """What scales it already, as `HorizontalPodAutoscaler/frontend` or `ScaledObject/frontend`; empty = nobody."""
    min_available: int = 0
    """Pods that a PodDisruptionBudget wants at least; 0 = no budget."""

    def _sum(self, name: str) -> float | None:
        parts = [getattr(container, name) for container in self.containers if not container.is_proxy]
        return None if not parts or any(part is None for part in parts) else sum(parts)

    @property
    def cpu_request_millicores(self) -> float | None:
        """Of the application's containers of one pod; None if one states none."""
        return self._sum("cpu_request_millicores")

    @property
    def cpu_limit_millicores(self) -> float | None:
        """Of the application's containers of one pod; None if one states none."""
        return self._sum("cpu_limit_millicores")


@dataclass(frozen=True, kw_only=True)
class ContainerUsage:
    """What the metrics API measured of one container."""

    cpu_nanocores: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class PodUsage:
    """What the metrics API measured of one pod."""

    pod: str
    deployment: str
    """The Deployment it belongs to, by its ReplicaSet."""
    timestamp_seconds: float
    """End of the window, unix seconds."""
    window_seconds: float
    containers: Mapping[str, ContainerUsage]


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What the namespace's ResourceQuotas still allow; None = unlimited."""

    pods: int | None = None
    cpu_request_millicores: float | None = None
    cpu_limit_millicores: float | None = None
    memory_request_mib: float | None = None
    memory_limit_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that could not be read, or contradicts something else. A service with one is never scaled down."""

    source: Source
    service: str = ""
    """The service concerned; empty = all of them."""
    message: str


@dataclass(frozen=True, kw_only=True)
class ClusterSnapshot:
    """One interval's reading. A source that failed is empty (`graph` None) and has a `Problem`."""

    namespace: str
    taken_seconds: float
    """When the reading began, unix seconds."""
    deployments: tuple[DeploymentState, ...] = ()
    """By name."""
    usage: tuple[PodUsage, ...] = ()
    graph: ServiceGraph | None = None
    namespace_annotations: Mapping[str, str] = field(default_factory=dict)
    """As last read, where it could not be read now."""
    quota: Quota = field(default_factory=Quota)
    problems: tuple[Problem, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, DeploymentState]:
        """Deployments by name."""
        return {deployment.name: deployment for deployment in self.deployments}

    @cached_property
    def usage_of(self) -> dict[str, list[PodUsage]]:
        """Pod usage by Deployment."""
        found: dict[str, list[PodUsage]] = {}
        for usage in self.usage:
            found.setdefault(usage.deployment, []).append(usage)
        return found

    def failed(self, source: Source) -> bool:
        """Whether a whole source is missing."""
        return any(problem.source == source and not problem.service for problem in self.problems)
