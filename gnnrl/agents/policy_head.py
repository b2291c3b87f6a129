"""Heads on node embeddings. Nothing in them depends on the number of nodes or slots."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from encoders.sequence import SequenceBatch
from gnnrl.agents.head_kernels import add_bias_and_tanh, hidden_gradient

__all__ = ["PolicyHead", "ValueHead", "idle_bias", "pool_graphs", "two_heads"]


BLOCK = 512
"""Rows that both heads take at once, so that what they pass on stays in the cache."""


def idle_bias(num_moves: int, idle_probability: float = 0.5) -> float:
    """Logit of move 0 that gives it `idle_probability` among K legal moves of logit 0; 0 for a pointer, which has no idle move."""
    return math.log(idle_probability / (1.0 - idle_probability) * (num_moves - 1)) if num_moves > 1 else 0.0


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
        self.idle_bias = idle_bias(num_moves, idle_probability)
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
        return self.of_rows(embedding if self.per_node else pool_graphs(embedding, sequence))

    def of_rows(self, x: Tensor) -> Tensor:
        """What is valued, row by row, [R, D] -> [R] (or, pooled, [G, 2 D] -> [G])."""
        out: Tensor = self.value(torch.tanh(self.hidden(x)))
        return out.squeeze(-1)


class _TwoHeads(torch.autograd.Function):
    """For float32 on the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        hidden: Tensor,
        hidden_bias: Tensor,
        move: Tensor,
        move_bias: Tensor,
        value: Tensor,
        value_bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        rows, dim = x.shape
        h, logits, values = x.new_empty(rows, 2 * dim), x.new_empty(rows, len(move)), x.new_empty(rows)
        into_hidden, into_moves, bias = hidden.t(), move.t(), hidden_bias.numpy()
        for block in _blocks(rows):
            part = h[block]
            torch.mm(x[block], into_hidden, out=part)
            add_bias_and_tanh(part.numpy(), bias)
            torch.mm(part[:, :dim], into_moves, out=logits[block]).add_(move_bias)
            torch.mv(part[:, dim:], value, out=values[block]).add_(value_bias)
        ctx.save_for_backward(x, h, hidden, move, value)
        return logits, values

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, ...]:
        x, h, hidden, move, value = ctx.saved_tensors
        by_move, by_value = slopes
        rows, dim = x.shape
        by_x, by_hidden = torch.empty_like(x), x.new_empty(min(rows, BLOCK), 2 * dim)
        for_hidden, for_bias = torch.zeros_like(hidden), hidden.new_zeros(2 * dim)
        for_move, for_value = torch.zeros_like(move), torch.zeros_like(value)
        by_value_array, value_array, for_bias_array = by_value.contiguous().numpy(), value.numpy(), for_bias.numpy()
        for block in _blocks(rows):
            part = h[block]
            slope = by_hidden[: len(part)]
            torch.mm(by_move[block], move, out=slope[:, :dim])
            hidden_gradient(by_value_array[block], value_array, part.numpy(), slope.numpy(), for_bias_array)
            torch.mm(slope, hidden, out=by_x[block])
            for_hidden.addmm_(slope.t(), x[block])
            for_move.addmm_(by_move[block].t(), part[:, :dim])
            for_value.addmv_(part[:, dim:].t(), by_value[block])
        return by_x, for_hidden, for_bias, for_move, by_move.sum(0), for_value, by_value.sum().reshape(1)


def _blocks(rows: int) -> list[slice]:
    return [slice(lo, min(lo + BLOCK, rows)) for lo in range(0, rows, BLOCK)]


def two_heads(embedding: Tensor, head: PolicyHead, value: ValueHead) -> tuple[Tensor, Tensor]:
    """Logits [R, K] and values per node [R], as the two heads give them, at half the price: one hidden product for both."""
    if embedding.device.type != "cpu" or embedding.dtype != torch.float32:
        return head(embedding), value.of_rows(embedding)
    hidden = torch.cat([head.hidden.weight, value.hidden.weight])
    hidden_bias = torch.cat([head.hidden.bias, value.hidden.bias])
    weights = (hidden, hidden_bias, head.logits.weight, head.logits.bias, value.value.weight[0], value.value.bias)
    found: tuple[Tensor, Tensor] = _TwoHeads.apply(embedding, *weights)
    return found


def pool_graphs(embedding: Tensor, sequence: SequenceBatch) -> Tensor:
    """Mean and maximum over the nodes of each graph, [R, D] -> [G, 2 D]; zeros for a graph without nodes."""
    graphs, width = sequence.num_graphs, embedding.shape[1]
    counts = sequence.graph_ptr.diff().clamp(min=1).unsqueeze(1)
    mean = embedding.new_zeros(graphs, width).index_add(0, sequence.row_graph, embedding) / counts
    index = sequence.row_graph.unsqueeze(1).expand(-1, width)
    top = embedding.new_zeros(graphs, width).scatter_reduce(0, index, embedding, "amax", include_self=False)
    return torch.cat([mean, top], dim=1)
