"""Who is in a service graph: the Deployments of the namespace, and everything else that traffic goes to or comes from."""

from __future__ import annotations

from gnnrl.cluster.models import ClusterSnapshot, DeploymentState
from kiali_client import UNNAMED_CLUSTERS, Edge, NodeKey, ServiceGraph

__all__ = ["GraphNodes"]

OWN_LABEL = ("app.kubernetes.io/name", "gnnrl")
"""Of our own pods, which may run in the namespace: no part of what is scaled."""


class GraphNodes:
    """Who is in the graph, and which calls are between them.

    Args:
        namespace: that is scaled.
        deployments: its Deployments, by name.
    """

    def __init__(self, namespace: str, deployments: list[DeploymentState]) -> None:
        self.namespace = namespace
        self.deployments = deployments
        self.others: list[NodeKey] = []
        self.name_of: dict[NodeKey, str] = {}
        self.edges: dict[tuple[NodeKey, NodeKey], Edge] = {}
        self._names = {deployment.name for deployment in deployments}
        self._elsewhere: frozenset[NodeKey] = frozenset()
        """Nodes that only share a Deployment's name: of another cluster, or of a namespace that may not be seen."""

    @classmethod
    def of(cls, snapshot: ClusterSnapshot, graph: ServiceGraph | None, cluster: str = "") -> GraphNodes:
        """Of a graph; `cluster`: whose Deployments these are, as the graph names it; "" = there is only one."""
        nodes = cls(snapshot.namespace, sorted(filter(_is_scaled, snapshot.deployments), key=lambda d: d.name))
        if graph is None:
            return nodes
        nodes._elsewhere = frozenset(node.key for node in graph.nodes if node.is_outside or node.is_inaccessible)
        if cluster:
            theirs = (*UNNAMED_CLUSTERS, cluster)
            nodes._elsewhere |= {node.key for node in graph.nodes if node.key.cluster not in theirs}
        nodes._elsewhere |= nodes._of_several_clusters(graph)
        dead = {node.key for node in graph.nodes if node.is_dead}
        between = nodes._merged([e for e in graph.edges if e.source not in dead and e.target not in dead])
        touched = {key for edge in between for key in (edge.source, edge.target)}
        nodes.others = sorted(key for key in touched if not nodes.is_deployment(key))
        # In a fixed order: of two that share a name, the same one has it in every reading.
        for key in sorted(touched):
            nodes.name_of[key] = key.name if nodes.is_deployment(key) else nodes.fresh_name(key)
        rank = {deployment.name: i for i, deployment in enumerate(nodes.deployments)}
        place = {key: len(rank) + i for i, key in enumerate(nodes.others)}
        place |= {key: rank[key.name] for key in touched if nodes.is_deployment(key)}
        between.sort(key=lambda edge: (place[edge.source], place[edge.target]))
        nodes.edges = {(edge.source, edge.target): edge for edge in between}
        return nodes

    def _of_several_clusters(self, graph: ServiceGraph) -> frozenset[NodeKey]:
        """Nodes that could be these Deployments, where several clusters have some and nobody has said which is meant: what is credited to
        the wrong one scales this one, so that none is."""
        ours = frozenset(node.key for node in graph.nodes if self.is_deployment(node.key))
        clusters = {key.cluster for key in ours} - set(UNNAMED_CLUSTERS)
        return ours if len(clusters) > 1 else frozenset()

    def _merged(self, edges: list[Edge]) -> list[Edge]:
        """The calls, with one node for each Deployment: where a proxy did not know a peer's cluster, the graph has two."""
        keys = sorted({key for edge in edges for key in (edge.source, edge.target) if self.is_deployment(key)})
        known: dict[str, NodeKey] = {}
        for key in sorted(keys, key=lambda key: key.cluster in UNNAMED_CLUSTERS):
            known.setdefault(key.name, key)
        node = {key: known[key.name] for key in keys}
        found: dict[tuple[NodeKey, NodeKey], Edge] = {}
        for edge in edges:
            pair = node.get(edge.source, edge.source), node.get(edge.target, edge.target)
            twin = found.get(pair)
            found[pair] = Edge(
                source=pair[0],
                target=pair[1],
                traffic=edge.traffic if twin is None else (*twin.traffic, *edge.traffic),
                is_thinly_sampled=edge.is_thinly_sampled or (twin is not None and twin.is_thinly_sampled),
            )
        return list(found.values())

    def is_deployment(self, key: NodeKey) -> bool:
        is_ours = key.namespace == self.namespace and key not in self._elsewhere
        return is_ours and key.kind in ("workload", "app") and key.name in self._names

    def is_outside(self, key: NodeKey) -> bool:
        """Whether its requests come from outside the namespace."""
        return key.namespace != self.namespace or key.kind == "unknown" or key in self._elsewhere

    def fresh_name(self, key: NodeKey) -> str:
        """The node's name, with its namespace, kind and cluster as far as they are needed."""
        forms = (key.name, f"{key.name}.{key.namespace}", f"{key.name}.{key.namespace}.{key.kind}", str(key))
        taken = self._names | set(self.name_of.values())
        return next((form for form in forms if form not in taken), str(key))

    def thinly_sampled(self) -> set[str]:
        """Deployments of whose calls the window holds too few samples: their rates read low."""
        thin = [target for (_, target), edge in self.edges.items() if edge.is_thinly_sampled]
        return {target.name for target in thin if self.is_deployment(target)}

    def drop_other(self, key: NodeKey) -> None:
        self.others.remove(key)
        self.edges = {pair: edge for pair, edge in self.edges.items() if key not in pair}

    def drop_deployment(self, deployment: DeploymentState) -> None:
        self.deployments.remove(deployment)
        gone = {key for key, name in self.name_of.items() if name == deployment.name and self.is_deployment(key)}
        self.edges = {pair: edge for pair, edge in self.edges.items() if not gone & set(pair)}

    def shorted(self, graph: ServiceGraph | None) -> set[str]:
        """Deployments that receive more than is shown of them, since a caller or a call of the graph was left out."""
        lost = [
            edge
            for edge in (graph.edges if graph else ())
            if (edge.rps > 0.0 or edge.tcp_bytes_per_second > 0.0)
            and edge.source in self.name_of
            and edge.target in self.name_of
            and (edge.source, edge.target) not in self.edges
        ]
        kept = {deployment.name for deployment in self.deployments}
        found = {edge.target.name for edge in lost if self.is_deployment(edge.target)} & kept
        # Of what enters the mesh less is seen then, and everything behind it follows.
        return kept if found and any(not self.is_deployment(edge.source) for edge in lost) else found

    def keep_busiest_edges(self, most: int) -> None:
        if len(self.edges) > most:
            busiest = sorted(self.edges.items(), key=lambda item: -item[1].rps)[:most]
            kept = {pair for pair, _ in busiest}
            self.edges = {pair: edge for pair, edge in self.edges.items() if pair in kept}


def _is_scaled(deployment: DeploymentState) -> bool:
    label, ours = OWN_LABEL
    return deployment.labels.get(label) != ours
