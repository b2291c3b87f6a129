"""`DynamicGraphConfig`: how large a padded graph observation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from graph_space.schema import NUM_MOVES, GraphSchema
from graph_space.slots import LARGEST_SIZE

__all__ = ["DynamicGraphConfig", "Overflow"]

LARGEST_OBSERVATION = 100_000_000
"""Numbers of one observation: more would fill the memory."""

Overflow = Literal["error", "drop_least_active"]


@dataclass(frozen=True, kw_only=True)
class DynamicGraphConfig:
    """The fixed sizes of a padded graph observation.

    Raises:
        ValueError: with every field out of range, at once.
    """

    max_nodes: int = 20
    """N, node slots, >= 1."""
    max_edges: int = 400
    """E, edge slots, >= 1."""
    node_feat_dim: int = 6
    """F, node features, >= 1."""
    edge_feat_dim: int = 7
    """Fe, edge features, >= 1."""
    global_feat_dim: int = 4
    """G, graph features, >= 1."""
    num_moves: int = NUM_MOVES
    """K, moves a node can make, >= 1 (1 where a decision is the choice of a node)."""
    overflow: Overflow = "error"
    """Past capacity: `error`, or `drop_least_active`: leave out what has the least traffic and count it in `info`."""

    def __post_init__(self) -> None:
        problems = []
        for field in ("max_nodes", "max_edges", "node_feat_dim", "edge_feat_dim", "global_feat_dim", "num_moves"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                problems.append(f"{field}: {value!r} is not an integer >= 1")
            elif value > LARGEST_SIZE:
                problems.append(f"{field}: {value} is above {LARGEST_SIZE}")
        if self.overflow not in get_args(Overflow):
            problems.append(f"overflow: {self.overflow!r} is not one of {', '.join(get_args(Overflow))}")
        if not problems:
            nodes = self.max_nodes * (self.node_feat_dim + self.num_moves)
            numbers = nodes + self.max_edges * (self.edge_feat_dim + 2)
            if numbers > LARGEST_OBSERVATION:
                problems.append(
                    f"an observation of these sizes holds {numbers} numbers, more than {LARGEST_OBSERVATION}"
                )
        if problems:
            raise ValueError("DynamicGraphConfig: " + "; ".join(problems))

    @classmethod
    def from_schema(
        cls,
        schema: GraphSchema,
        *,
        max_nodes: int = 20,
        max_edges: int = 400,
        num_moves: int = NUM_MOVES,
        overflow: Overflow = "error",
    ) -> DynamicGraphConfig:
        """The configuration whose feature widths are those of `schema`."""
        return cls(
            max_nodes=max_nodes,
            max_edges=max_edges,
            node_feat_dim=len(schema.nodes),
            edge_feat_dim=len(schema.edges),
            global_feat_dim=len(schema.globals),
            num_moves=num_moves,
            overflow=overflow,
        )
