"""Whether a service graph that came in time and in form can be true: held against the pods' own CPU and against the Deployments.

A graph is asked for as of now, so its time stamp is our own clock's: it says nothing of how old the rates behind it are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gnnrl.cluster.models import PROXY_CONTAINERS, ClusterSnapshot
from kiali_client import UNNAMED_CLUSTERS, NodeKey, ServiceGraph

__all__ = ["BUSY_SHARE", "CPU_CHANGE", "GraphTrust"]

BUSY_SHARE = 0.2
"""Of its limit: a service that uses more and is said to receive nothing contradicts itself."""
CPU_CHANGE = 0.1
"""Share by which the mesh's CPU has changed when a graph that shows no change at all is no longer believed."""

_Rates = Mapping[tuple[NodeKey, NodeKey], tuple[float, float]]


@dataclass
class _Still:
    """A graph that does not change."""

    rates: _Rates
    since: float
    """Unix seconds."""
    least_cpu: float
    most_cpu: float


class GraphTrust:
    """Judges graphs one after the other.

    Args:
        stale_after_seconds: for how long every rate may be the same while the pods' CPU changes.
        cluster: whose Deployments these are, as the graph names it; "" = there is only one.
    """

    def __init__(self, stale_after_seconds: float, cluster: str = "") -> None:
        self.stale_after_seconds = stale_after_seconds
        self.cluster = cluster
        self._still: _Still | None = None

    def frozen(self, snapshot: ClusterSnapshot, graph: ServiceGraph) -> str:
        """Why its rates cannot be the present ones; empty = they can. Every graph is to be shown, in the order of time."""
        now = snapshot.taken_seconds
        rates = {(edge.source, edge.target): (edge.rps, edge.tcp_bytes_per_second) for edge in graph.edges}
        cpu = float(sum(c.cpu_nanocores for usage in snapshot.usage for c in usage.containers.values()))
        still = self._still
        if still is None or rates != still.rates:
            self._still = _Still(rates, now, cpu, cpu)
            return ""
        if cpu > 0.0:
            # Where the metrics failed there is nothing to compare with.
            still.least_cpu = min(still.least_cpu, cpu) if still.least_cpu > 0.0 else cpu
            still.most_cpu = max(still.most_cpu, cpu)
        moved = still.most_cpu - still.least_cpu > CPU_CHANGE * still.least_cpu
        if now - still.since <= self.stale_after_seconds or not moved or not any(map(any, rates.values())):
            return ""
        return (
            f"graph: every rate has been the same for {now - still.since:.0f} s while the pods' CPU has changed by "
            f"{100.0 * (still.most_cpu / max(still.least_cpu, 1.0) - 1.0):.0f} %; does its Prometheus still scrape the proxies?"
        )

    def impossible(self, snapshot: ClusterSnapshot, graph: ServiceGraph) -> str:
        """Why no decision can rest on this graph; empty = one can."""
        ambiguous = self._ambiguous(snapshot, graph)
        if ambiguous:
            return ambiguous
        called = {edge.target.name for edge in graph.edges if edge.target.namespace == snapshot.namespace}
        callers = {edge.source.name for edge in graph.edges if edge.source.namespace == snapshot.namespace}
        if graph.edges and snapshot.deployments and not (called | callers) & snapshot.by_name.keys():
            return (
                f"graph: none of its {len(graph.nodes)} nodes is a Deployment of {snapshot.namespace!r}; is it another cluster's, "
                "or are the workloads no Deployments?"
            )
        if any(edge.rps > 0.0 or edge.tcp_bytes_per_second > 0.0 for edge in graph.edges):
            return ""
        busy = [name for name in sorted(called & snapshot.by_name.keys()) if _is_busy(snapshot, name)]
        if not busy:
            return ""
        return (
            f"graph: {len(graph.edges)} calls and no request on any of them, though the pods of {', '.join(busy[:3])} are busy; does "
            "its Prometheus still scrape the proxies?"
        )

    def _ambiguous(self, snapshot: ClusterSnapshot, graph: ServiceGraph) -> str:
        """Whose Deployments the workloads of the namespace are cannot be told where they are of several clusters and none is named."""
        clusters = sorted(clusters_of(graph, snapshot.namespace))
        if not self.cluster and len(clusters) > 1:
            return (
                f"graph: namespace {snapshot.namespace!r} is in the clusters {', '.join(clusters)}; name the one that is scaled: "
                f"--cluster {clusters[0]} (cluster in the configuration)"
            )
        if self.cluster and clusters and self.cluster not in clusters:
            return (
                f"graph: no workload of namespace {snapshot.namespace!r} is in cluster {self.cluster!r}, they are in "
                f"{', '.join(clusters)}; correct --cluster (cluster in the configuration)"
            )
        return ""


def clusters_of(graph: ServiceGraph, namespace: str) -> set[str]:
    """The clusters that a graph names for the workloads of a namespace."""
    keys = (node.key for node in graph.nodes)
    keys_here = (key for key in keys if key.namespace == namespace and key.kind in ("workload", "app"))
    return {key.cluster for key in keys_here} - set(UNNAMED_CLUSTERS)


def _is_busy(snapshot: ClusterSnapshot, name: str) -> bool:
    """Whether its applications use more of their limits than a service that receives nothing can."""
    measured = snapshot.usage_of.get(name, [])
    limit = snapshot.by_name[name].cpu_limit_millicores
    if not measured or limit is None:
        return False
    used = sum(c.cpu_nanocores for pod in measured for n, c in pod.containers.items() if n not in PROXY_CONTAINERS)
    return used / 1e6 > BUSY_SHARE * limit * len(measured)
