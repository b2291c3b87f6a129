"""Attention over the calls of a graph, in both directions, with edge features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from encoders.base import Kernel, use_numba
from encoders.kernels import attention_backward, attention_forward, open_gradient
from encoders.sequence import SequenceBatch
from encoders.small import attend_small, is_small

__all__ = ["GraphAttention", "attend", "attend_compiled"]


class GraphAttention(nn.Module):
    r"""The operator of TransformerConv, followed by a ReLU, over the adjacency of a sequence.

    .. math::
        h_i' = \mathrm{ReLU}\Big(W_s h_i + \sum_{j} \alpha_{ij} (W_v h_j + W_e e_{ij})\Big), \quad
        \alpha_{ij} = \mathrm{softmax}_j \frac{(W_q h_i) \cdot (W_k h_j + W_e e_{ij})}{\sqrt{d}}

    per head of width d, heads concatenated. Row i hears from its callers and, with the direction flag (last column of
    e) set, from its callees. Source: Shi et al., "Masked Label Prediction", arXiv:2009.03509, eq. 3-4;
    `torch_geometric.nn.TransformerConv(heads=H, concat=True, edge_dim=Fe + 1)`.

    Args:
        in_dim: width of a row, over all parts.
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

    def forward(self, sequence: SequenceBatch, *parts: Tensor) -> Tensor:
        """Row parts [R, ...], side by side `in_dim` wide -> [R, D]."""
        weight, bias, edge_weight = self.project.weight, self.project.bias, self.edge.weight
        sequence.require_widths(
            sum(part.shape[1] for part in parts), self.project.in_features, self.edge.in_features - 1
        )
        if use_numba(self.kernel, parts[0].device):
            run = attend_small if is_small(sequence) else attend_compiled
            return run(sequence, self.heads, weight, bias, edge_weight, *parts)
        return attend(sequence, self.heads, weight, bias, edge_weight, *parts)


def attend(
    sequence: SequenceBatch, heads: int, weight: Tensor, bias: Tensor, edge_weight: Tensor, *parts: Tensor
) -> Tensor:
    """The plain path: weight [4 D, in_dim], bias [4 D], edge_weight [D, Fe + 1] -> [R, D]."""
    query, key, value, skip = functional.linear(torch.cat(parts, dim=1), weight, bias).chunk(4, dim=1)
    target, neighbor = sequence.adjacency_target, sequence.adjacency_row
    flag = sequence.adjacency_reverse.to(query.dtype).unsqueeze(1)
    edges = functional.linear(torch.cat([sequence.edges[sequence.adjacency_edge], flag], dim=1), edge_weight)  # [A, D]

    def by_head(x: Tensor) -> Tensor:
        return x.view(-1, heads, x.shape[1] // heads)

    width = skip.shape[1] // heads
    score = (by_head(query[target]) * by_head(key[neighbor] + edges)).sum(-1) / math.sqrt(width)  # [A, H]
    index = target.unsqueeze(1).expand_as(score)
    highest = score.new_zeros(len(skip), heads).scatter_reduce(0, index, score.detach(), "amax", include_self=False)
    exponential = torch.exp(score - highest[target])
    total = torch.zeros_like(highest).index_add(0, target, exponential)
    alpha = exponential / total[target]
    message = (alpha.unsqueeze(2) * by_head(value[neighbor] + edges)).flatten(1)
    return functional.relu(skip.index_add(0, target, message))


def attend_compiled(
    sequence: SequenceBatch, heads: int, weight: Tensor, bias: Tensor, edge_weight: Tensor, *parts: Tensor
) -> Tensor:
    """The same numbers, through `kernels.py`, for float32 on the CPU.

    Works block by block of whole graphs, so that projections live and die in the cache; the backward pass makes them
    again, which is cheaper than to write them out and to read them back.
    """
    if torch.is_grad_enabled():
        result: Tensor = _Attention.apply(sequence, heads, weight, bias, edge_weight, *parts)
        return result
    return _forward(sequence, heads, weight, bias, edge_weight, parts)[0]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sequence: SequenceBatch, heads: int, weight: Tensor, bias: Tensor, edge_weight: Tensor, *parts: Tensor
    ) -> Tensor:
        out, alpha, mixed = _forward(sequence, heads, weight, bias, edge_weight, parts)
        ctx.sequence, ctx.heads = sequence, heads
        ctx.save_for_backward(out, alpha, mixed, weight, bias, edge_weight, *parts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, alpha, mixed, weight, bias, edge_weight, *parts = ctx.saved_tensors
        sequence: SequenceBatch = ctx.sequence
        heads: int = ctx.heads
        dim, flag = edge_weight.shape[0], edge_weight.shape[1] - 1
        edges = sequence.padded_edges
        edge_matrix = _edge_matrix(edge_weight, heads, edges.shape[1])
        widths = [part.shape[1] for part in parts]
        forward_columns = weight[: 3 * dim].t().split(widths)
        columns = torch.cat([weight, edge_matrix @ weight[:dim]]).split(widths, dim=1)
        grad_edge_matrix = torch.zeros_like(edge_matrix)
        grad_columns = [bias.new_zeros(width, len(columns[0])) for width in widths]
        grad_bias = bias.new_zeros(len(columns[0]))
        needs = ctx.needs_input_grad[5:]
        grad_parts = [torch.empty_like(part) if need else None for part, need in zip(parts, needs, strict=True)]
        largest = max(hi - lo for lo, hi in sequence.row_blocks)
        projected_buffer = bias.new_empty(largest, 3 * dim)
        grad_buffer = bias.new_empty(largest, len(columns[0]))
        ones = bias.new_ones(largest)
        fixed = (edges.numpy(), *sequence.adjacency_arrays, alpha.numpy())
        out_array, grad_array = out.numpy(), grad.contiguous().numpy()
        for lo, hi in sequence.row_blocks:
            projected, grad_projected = projected_buffer[: hi - lo], grad_buffer[: hi - lo]
            grad_projected_array = grad_projected.numpy()
            _project(parts, lo, hi, forward_columns, bias[: 3 * dim], projected)
            open_gradient(lo, hi, out_array, grad_array, grad_projected_array)
            grad_out = grad_projected[:, 3 * dim : 4 * dim]
            grad_mixed = grad_out @ edge_matrix.t()
            shape = (heads, dim // heads, flag)
            attention_backward(lo, hi, shape, projected.numpy(), *fixed, grad_mixed.numpy(), grad_projected_array)
            grad_edge_matrix.addmm_(mixed[lo:hi].t(), grad_out)
            grad_bias.addmv_(grad_projected.t(), ones[: hi - lo])
            for part, column, total, grad_part in zip(parts, columns, grad_columns, grad_parts, strict=True):
                total.addmm_(part[lo:hi].t(), grad_projected)
                if grad_part is not None:
                    torch.mm(grad_projected, column, out=grad_part[lo:hi])
        grad_weight = torch.cat(grad_columns).t().contiguous()
        # The last columns are edge_matrix @ query: their gradient goes on to both factors.
        over_edges, over_edges_bias = grad_weight[4 * dim :], grad_bias[4 * dim :]
        grad_edge_matrix += over_edges @ weight[:dim].t() + torch.outer(over_edges_bias, bias[:dim])
        grad_weight[:dim] += edge_matrix.t() @ over_edges
        grad_bias[:dim] += edge_matrix.t() @ over_edges_bias
        by_head = grad_edge_matrix.view(heads, -1, heads, dim // heads).diagonal(dim1=0, dim2=2)  # [W, d, H]
        grad_edge_weight = by_head[: flag + 1].permute(2, 1, 0).reshape(dim, flag + 1)
        return None, None, grad_weight[: 4 * dim], grad_bias[: 4 * dim], grad_edge_weight, *grad_parts


def _forward(
    sequence: SequenceBatch,
    heads: int,
    weight: Tensor,
    bias: Tensor,
    edge_weight: Tensor,
    parts: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Output [R, D], attention weights [A, H], edges mixed by them [R, H W]."""
    dim, flag = edge_weight.shape[0], edge_weight.shape[1] - 1
    edges = sequence.padded_edges
    edge_matrix = _edge_matrix(edge_weight, heads, edges.shape[1])
    columns = torch.cat([weight, edge_matrix @ weight[:dim]]).t().split([part.shape[1] for part in parts])
    wide_bias = torch.cat([bias, edge_matrix @ bias[:dim]])
    largest = max(hi - lo for lo, hi in sequence.row_blocks)
    buffer = bias.new_empty(largest, len(wide_bias))
    alpha = bias.new_empty(len(sequence.adjacency_row), heads)
    mixed, out = bias.new_empty(sequence.num_rows, len(edge_matrix)), bias.new_empty(sequence.num_rows, dim)
    fixed = (edges.numpy(), *sequence.adjacency_arrays, alpha.numpy())
    for lo, hi in sequence.row_blocks:
        projected, mixed_block, out_block = buffer[: hi - lo], mixed[lo:hi], out[lo:hi]
        _project(parts, lo, hi, columns, wide_bias, projected)
        shape = (heads, dim // heads, flag)
        attention_forward(lo, hi, shape, projected.numpy(), *fixed, mixed_block.numpy(), out_block.numpy())
        out_block.addmm_(mixed_block, edge_matrix).relu_()
    return out, alpha, mixed


def _project(
    parts: Sequence[Tensor], lo: int, hi: int, columns: Sequence[Tensor], bias: Tensor, projected: Tensor
) -> None:
    torch.addmm(bias, parts[0][lo:hi], columns[0], out=projected)
    for part, column in zip(parts[1:], columns[1:], strict=True):
        projected.addmm_(part[lo:hi], column)


def _edge_matrix(edge_weight: Tensor, heads: int, width: int) -> Tensor:
    """edge_weight [D, Fe + 1] as a block diagonal [H W, D] from edges by head to heads, rows padded to W."""
    dim, features = edge_weight.shape
    matrix = edge_weight.new_zeros(heads, width, heads, dim // heads)
    matrix.diagonal(dim1=0, dim2=2)[:features] = edge_weight.view(heads, dim // heads, features).permute(2, 1, 0)
    return matrix.view(heads * width, dim)
