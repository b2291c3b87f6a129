"""Heads on node embeddings. Nothing in them depends on the number of nodes or slots."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from encoders.sequence import SequenceBatch

__all__ = ["PolicyHead", "ValueHead", "pool_graphs"]


class PolicyHead(nn.Module):
    """Node embeddings [R, D] -> move logits [R, K].

    The last layer starts small and, where there are several moves, biased so that doing nothing (move 0) has
    probability `idle_probability` before any training: an untrained policy must not thrash a running system.

    Args:
        dim: D.
        num_moves: K; 1 for a pointer, which has no idle move.
        idle_probability: initial probability of move 0 among K legal moves.
    """

    def __init__(self, dim: int, num_moves: int, idle_probability: float = 0.5) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.logits = nn.Linear(dim, num_moves)
        self.idle_bias = 0.0
        if num_moves > 1:
            self.idle_bias = math.log(idle_probability / (1.0 - idle_probability) * (num_moves - 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.orthogonal_(self.hidden.weight, gain=math.sqrt(2.0))
        nn.init.zeros_(self.hidden.bias)
        nn.init.orthogonal_(self.logits.weight, gain=0.01)
        nn.init.zeros_(self.logits.bias)
        with torch.no_grad():
            self.logits.bias[0] = self.idle_bias

    def forward(self, embedding: Tensor) -> Tensor:
        """[R, D] -> [R, K]."""
        out: Tensor = self.logits(torch.tanh(self.hidden(embedding)))
        return out


class ValueHead(nn.Module):
    """Node embeddings -> a value per node [R] or, pooled over the nodes of each graph, one per graph [G].

    Args:
        dim: D.
        per_node: a value per node; else mean and maximum over the nodes are joined and valued.
    """

    def __init__(self, dim: int, per_node: bool) -> None:
        super().__init__()
        self.per_node = per_node
        self.hidden = nn.Linear(dim if per_node else 2 * dim, dim)
        self.value = nn.Linear(dim, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.orthogonal_(self.hidden.weight, gain=math.sqrt(2.0))
        nn.init.zeros_(self.hidden.bias)
        nn.init.orthogonal_(self.value.weight, gain=0.1)
        nn.init.zeros_(self.value.bias)

    def forward(self, embedding: Tensor, sequence: SequenceBatch) -> Tensor:
        """[R, D] -> [R] or [G]."""
        x = embedding if self.per_node else pool_graphs(embedding, sequence)
        out: Tensor = self.value(torch.tanh(self.hidden(x)))
        return out.squeeze(-1)


def pool_graphs(embedding: Tensor, sequence: SequenceBatch) -> Tensor:
    """Mean and maximum over the nodes of each graph, [R, D] -> [G, 2 D]; zeros for a graph without nodes."""
    graphs, width = sequence.num_graphs, embedding.shape[1]
    counts = sequence.graph_ptr.diff().clamp(min=1).unsqueeze(1)
    mean = embedding.new_zeros(graphs, width).index_add(0, sequence.row_graph, embedding) / counts
    index = sequence.row_graph.unsqueeze(1).expand(-1, width)
    top = embedding.new_zeros(graphs, width).scatter_reduce(0, index, embedding, "amax", include_self=False)
    return torch.cat([mean, top], dim=1)
