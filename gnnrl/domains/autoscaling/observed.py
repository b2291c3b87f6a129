"""A mesh as it can be seen from outside: names, manifests and calls; no costs, no request classes.

What a live cluster shows, and, with `telemetry: kiali`, what a simulated one does: workloads that the requests of the outside come through
are part of the graph, and nobody scales them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.mesh import Call, Mesh

__all__ = ["GATEWAY", "AnyMesh", "Manifests", "ObservedMesh", "ObservedService", "observe", "room_for_mesh"]

GATEWAY = "istio-ingressgateway"
"""Workload that requests enter a simulated mesh through."""


@dataclass(frozen=True, kw_only=True)
class ObservedService:
    """A node of the graph."""

    name: str
    cpu_request_millicores: float = 100.0
    """Of one pod."""
    cpu_limit_millicores: float = 200.0
    """Of one pod."""
    stateful: bool = False
    """Never scaled: a stateful workload, or one that is not ours to scale."""
    outside: bool = False
    """Its requests count as coming from outside; it has no pods that we see."""


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """What autoscalers may know of S services; nothing is known of costs and visits, which are 0."""

    stateful: NDArray[np.bool_]
    cpu_request: NDArray[np.float64]
    cpu_limit: NDArray[np.float64]
    startup_seconds: NDArray[np.float64]
    mean_visits: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ObservedMesh:
    """Services and the calls between them."""

    name: str
    services: tuple[ObservedService, ...]
    calls: tuple[Call, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the services, in order."""
        return tuple(service.name for service in self.services)

    def arrays(self) -> Manifests:
        """As arrays, in the order of the services."""
        unknown = np.zeros(len(self.services))
        return Manifests(
            stateful=np.array([service.stateful for service in self.services], dtype=np.bool_),
            cpu_request=np.array([service.cpu_request_millicores for service in self.services], dtype=np.float64),
            cpu_limit=np.array([service.cpu_limit_millicores for service in self.services], dtype=np.float64),
            startup_seconds=unknown,
            mean_visits=unknown,
            cpu_ms=unknown,
        )


AnyMesh = Mesh | ObservedMesh
"""Simulated, or seen in a live cluster."""


def room_for_mesh(mesh: Mesh, config: AutoscalingConfig) -> tuple[int, int]:
    """Most services and calls that this mesh may come to have: the observation's slots, less what the gateway takes of them."""
    if config.telemetry == "exact":
        return config.max_nodes, config.max_edges
    return config.max_nodes - 1, config.max_edges - len({request.root for request in mesh.classes})


def observe(mesh: Mesh) -> ObservedMesh:
    """The simulated mesh as Kiali shows it: its services in their order, then the gateway, whose calls come last."""
    roots: Sequence[str] = tuple(dict.fromkeys(request.root for request in mesh.classes))
    services = tuple(
        ObservedService(
            name=service.name,
            cpu_request_millicores=service.cpu_request_millicores,
            cpu_limit_millicores=service.cpu_limit_millicores,
            stateful=service.stateful,
        )
        for service in mesh.services
    )
    gateway = ObservedService(name=GATEWAY, stateful=True, outside=True)
    entries = tuple(Call(source=GATEWAY, target=root) for root in roots)
    return ObservedMesh(name=mesh.name, services=(*services, gateway), calls=(*mesh.calls, *entries))
