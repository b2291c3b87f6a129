"""A service graph as Kiali tells it: frozen dataclasses, numbers as numbers, the same for every version of Kiali."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import networkx

__all__ = ["Edge", "GraphType", "Node", "NodeKey", "NodeKind", "ServiceEntryPlace", "ServiceGraph", "Traffic"]

GraphType = Literal["app", "service", "versionedApp", "workload"]
NodeKind = Literal["workload", "app", "service", "aggregate", "unknown"]

ServiceEntryPlace = Literal["inside", "outside"]

NOT_PODS = ("PassthroughCluster", "BlackHoleCluster", "unknown")


class NodeKey(NamedTuple):
    """What names a node across answers and versions; Kiali's own ids are opaque and change.

    `kind` is part of it because a service and the app behind it share a name. A workload has the same key in a workload
    graph and in a versionedApp graph.
    """

    cluster: str
    """Empty before Kiali knew clusters (1.2x)."""
    namespace: str
    name: str
    kind: NodeKind

    def __str__(self) -> str:
        place = "/".join(part for part in (self.cluster, self.namespace) if part)
        return f"{self.kind} {place}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the graph."""

    key: NodeKey
    app: str = ""
    version: str = ""
    is_root: bool = False
    """Nothing in the graph calls it."""
    is_outside: bool = False
    """In a namespace that was not asked for."""
    is_inaccessible: bool = False
    """In a namespace that this user may not see, or outside the mesh."""
    is_idle: bool = False
    """No traffic in the period."""
    is_dead: bool = False
    """A workload with 0 pods."""
    is_gateway: bool = False
    is_waypoint: bool = False
    """A proxy of the ambient mesh."""
    has_virtual_service: bool = False
    has_workload_entry: bool = False
    """Machines of the mesh that are no pods stand behind it (WorkloadEntry, WorkloadGroup)."""
    service_entry: ServiceEntryPlace | None = None
    """A ServiceEntry describes it: of something inside the mesh that is no Kubernetes service, or outside of it."""

    @property
    def is_served_here(self) -> bool:
        """Whether a workload stands behind it, in the mesh and in a namespace that was asked for."""
        return (
            self.key.kind in ("workload", "app", "service")
            and self.key.name not in NOT_PODS
            and not (self.is_outside or self.is_inaccessible or self.is_waypoint or self.service_entry == "outside")
        )

    @property
    def runs_on_machines(self) -> bool:
        """Whether a number of pods does not say what serves it."""
        return self.has_workload_entry or self.service_entry == "inside"

    @property
    def scalable(self) -> bool:
        """Whether it stands for pods that the reader of this graph may scale."""
        return self.key.kind in ("workload", "app") and self.is_served_here and not self.runs_on_machines


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The traffic of one protocol along an edge."""

    protocol: str
    """`http`, `grpc`, `tcp` or what Kiali says."""
    rps: float = 0.0
    """Requests/s (messages/s where Kiali was asked for gRPC messages); always 0 for tcp."""
    bytes_per_second: float = 0.0
    """Of tcp."""
    error_share: float = 0.0
    """0-1, as Kiali counts errors: 4xx, 5xx and no response for http, non-zero status for gRPC."""
    response_time_ms: float | None = None
    """The quantile (or mean) that was asked for; None = not known."""
    throughput_bytes_per_second: float | None = None
    mtls_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Edge:
    """All traffic from one node to another (or to itself)."""

    source: NodeKey
    target: NodeKey
    traffic: tuple[Traffic, ...] = ()
    """One entry a protocol."""
    is_thinly_sampled: bool = False
    """Whether the period holds fewer samples than it must for its rates to be whole: they read low. Kiali does not tell."""

    @property
    def rps(self) -> float:
        """Requests/s over all request protocols; tcp, which is bytes, is not among them."""
        return sum(traffic.rps for traffic in self.traffic)

    @property
    def tcp_bytes_per_second(self) -> float:
        """Bytes/s of tcp."""
        return sum(traffic.bytes_per_second for traffic in self.traffic)

    @property
    def error_share(self) -> float:
        """Failed share of the requests, 0-1."""
        rps = self.rps
        return sum(traffic.rps * traffic.error_share for traffic in self.traffic) / rps if rps else 0.0

    @property
    def mtls_share(self) -> float:
        """Share under mutual TLS, 0-1: of the requests, or the largest of any protocol where there are none."""
        rps = self.rps
        if rps:
            return sum(traffic.rps * traffic.mtls_share for traffic in self.traffic) / rps
        return max((traffic.mtls_share for traffic in self.traffic), default=0.0)

    @property
    def response_time_ms(self) -> float | None:
        """Response time of the busiest protocol that has one (quantiles cannot be averaged)."""
        timed = [traffic for traffic in self.traffic if traffic.response_time_ms is not None]
        return max(timed, key=lambda traffic: traffic.rps).response_time_ms if timed else None


@dataclass(frozen=True, kw_only=True)
class ServiceGraph:
    """One answer of `GET /api/namespaces/graph`."""

    timestamp: int
    """Unix seconds at the end of the period."""
    duration_seconds: int
    graph_type: GraphType
    nodes: tuple[Node, ...]
    """In the order of the answer, boxes left out."""
    edges: tuple[Edge, ...]
    """One per pair of nodes."""

    @cached_property
    def by_key(self) -> dict[NodeKey, Node]:
        """Nodes by key."""
        return {node.key: node for node in self.nodes}

    def to_networkx(self) -> networkx.DiGraph[NodeKey]:
        """The same as a `networkx.DiGraph`, for its algorithms.

        Nodes are `NodeKey`s with the fields of `Node` (but the key) and `scalable`; edges have `rps`, `tcp_bytes_per_second`,
        `error_share`, `mtls_share`, `response_time_ms` (None = not known) and `traffic`; the graph has `timestamp`,
        `duration_seconds` and `graph_type`.
        """
        import networkx

        graph = networkx.DiGraph(
            timestamp=self.timestamp, duration_seconds=self.duration_seconds, graph_type=self.graph_type
        )
        names = [field.name for field in fields(Node) if field.name != "key"]
        for node in self.nodes:
            graph.add_node(node.key, scalable=node.scalable, **{name: getattr(node, name) for name in names})
        for edge in self.edges:
            graph.add_edge(
                edge.source,
                edge.target,
                rps=edge.rps,
                tcp_bytes_per_second=edge.tcp_bytes_per_second,
                error_share=edge.error_share,
                mtls_share=edge.mtls_share,
                response_time_ms=edge.response_time_ms,
                traffic=edge.traffic,
            )
        return graph
