"""Attention over the calls of a graph, in both directions, with edge features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.base import Kernel
from encoders.sequence import SequenceBatch

__all__ = ["GraphAttention"]


class GraphAttention(nn.Module):
    r"""The operator of TransformerConv, followed by a ReLU, over the adjacency of a sequence.

    .. math::
        h_i' = \mathrm{ReLU}\Big(W_s h_i + \sum_{j} \alpha_{ij} (W_v h_j + W_e e_{ij})\Big), \quad
        \alpha_{ij} = \mathrm{softmax}_j \frac{(W_q h_i) \cdot (W_k h_j + W_e e_{ij})}{\sqrt{d}}

    per head of width d, heads concatenated. Row i hears from its callers and, with the direction flag (last column of
    e) set, from its callees. Source: Shi et al., "Masked Label Prediction", arXiv:2009.03509, eq. 3-4;
    `torch_geometric.nn.TransformerConv(heads=H, concat=True, edge_dim=Fe + 1)`.

    Args:
        in_dim: width of a row.
        edge_dim: Fe, edge features without the flag.
        out_dim: D, divisible by `heads`.
        heads: H.
        kernel: which implementation; see `base.Kernel`.
    """

    def __init__(self, in_dim: int, edge_dim: int, out_dim: int, heads: int, kernel: Kernel = "auto") -> None:
        super().__init__()
        if out_dim % heads:
            raise ValueError(f"hidden width {out_dim} is not a multiple of {heads} heads")
        self.out_dim = out_dim
        self.heads = heads
        self.kernel: Kernel = kernel
        self.project = nn.Linear(in_dim, 4 * out_dim)
        """Query, key, value and skip, one below the other."""
        self.edge = nn.Linear(edge_dim + 1, out_dim, bias=False)

    def forward(self, rows: Tensor, sequence: SequenceBatch) -> Tensor:
        """[R, in_dim] -> [R, D]."""
        return attend(self.project(rows), self.edge.weight, sequence, self.heads)


def attend(projected: Tensor, edge_weight: Tensor, sequence: SequenceBatch, heads: int) -> Tensor:
    """The plain path: projected [R, 4 D], edge_weight [D, Fe + 1] -> [R, D]."""
    query, key, value, skip = projected.chunk(4, dim=1)
    target, neighbor = sequence.adjacency_target, sequence.adjacency_row
    flag = sequence.adjacency_reverse.to(query.dtype).unsqueeze(1)
    edges = functional.linear(torch.cat([sequence.edges[sequence.adjacency_edge], flag], dim=1), edge_weight)  # [A, D]

    def by_head(x: Tensor) -> Tensor:
        return x.view(-1, heads, x.shape[1] // heads)

    width = query.shape[1] // heads
    score = (by_head(query)[target] * by_head(key[neighbor] + edges)).sum(-1) / math.sqrt(width)  # [A, H]
    index = target.unsqueeze(1).expand_as(score)
    rows = query.shape[0]
    highest = score.new_zeros(rows, heads).scatter_reduce(0, index, score.detach(), "amax", include_self=False)
    weight = torch.exp(score - highest[target])
    total = torch.zeros_like(highest).index_add(0, target, weight)
    alpha = weight / total[target]
    message = (alpha.unsqueeze(2) * by_head(value[neighbor] + edges)).flatten(1)
    return functional.relu(skip.index_add(0, target, message))
