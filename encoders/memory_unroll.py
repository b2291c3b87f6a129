"""The memory over T steps as one differentiable operation, for float32 on the CPU.

A step is a few matrix products with compiled code between them; what it makes of weights and features lives and dies in
the cache. The message layer is split, so that nodes are projected once and not per edge. The backward pass is written
by hand (backpropagation through time).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from encoders.memory_kernels import (
    gates_backward,
    gates_forward,
    gather_memory,
    messages_backward,
    messages_forward,
    scatter_back,
)
from encoders.sequence import SequenceBatch

__all__ = ["unroll_compiled"]


def unroll_compiled(
    sequence: SequenceBatch, first_memory: Tensor, features: Tensor, clock: Tensor, *weights: Tensor
) -> Tensor:
    """`memory.unroll` with the same arguments and numbers. Features are data: they get no gradient."""
    first_memory = first_memory.contiguous()
    if torch.is_grad_enabled():
        result: Tensor = _Unroll.apply(sequence, first_memory, features.detach(), clock, *weights)
        return result
    static = torch.cat([features, clock], dim=1)
    return _forward(sequence, features.shape[1], first_memory, static, *weights)[0]


class _Blocks(NamedTuple):
    """The message layer by what it reads. A projected row is [hearer, P | speaker, P | GRU on memory, 3 M]."""

    memory: Tensor
    """[2 P + 3 M, M], with the GRU's weights on memory."""
    static: Tensor
    """[2 P, X + time], of hearer and speaker on features and, the hearer alone, time."""
    edge: Tensor
    """[P, Fe]."""
    flag: Tensor
    """[P]."""

    @classmethod
    def of(cls, message: Tensor, gru_memory: Tensor, feature_dim: int, edge_dim: int) -> _Blocks:
        """Cut the weights of message layer and GRU."""
        hearer, speaker, *static, edge, flag, time = message.split(
            _widths(message, gru_memory.shape[1], feature_dim, edge_dim), dim=1
        )
        of_hearer, of_speaker = torch.cat([static[0], time], 1), torch.cat([static[1], torch.zeros_like(time)], 1)
        return cls(
            torch.cat([hearer, speaker, gru_memory]),
            torch.cat([of_hearer, of_speaker]),
            edge,
            flag.squeeze(1).contiguous(),
        )

    def message_layer(self, feature_dim: int) -> Tensor:
        """[P, ...], the inverse of `of`, for gradients."""
        width = len(self.flag)
        return torch.cat(
            [
                self.memory[:width],
                self.memory[width : 2 * width],
                self.static[:width, :feature_dim],
                self.static[width:, :feature_dim],
                self.edge,
                self.flag.unsqueeze(1),
                self.static[:width, feature_dim:],
            ],
            dim=1,
        )


def _widths(message: Tensor, memory_dim: int, feature_dim: int, edge_dim: int) -> list[int]:
    known = [memory_dim, memory_dim, feature_dim, feature_dim, edge_dim, 1]
    return [*known, message.shape[1] - sum(known)]


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sequence: SequenceBatch, first_memory: Tensor, features: Tensor, clock: Tensor, *weights: Tensor
    ) -> Tensor:
        static = torch.cat([features, clock], dim=1)
        memory, *kept = _forward(sequence, features.shape[1], first_memory, static, *weights)
        ctx.sequence, ctx.feature_dim = sequence, features.shape[1]
        ctx.save_for_backward(first_memory, memory, *kept, static, *weights[:4])
        return memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        first_memory, memory, mean, gates, active, static, message, _, gru_input, gru_memory = ctx.saved_tensors
        sequence: SequenceBatch = ctx.sequence
        feature_dim: int = ctx.feature_dim
        step_ptr, edge_ptr, adjacency = sequence.step_ptr, sequence.step_edge_ptr, sequence.adjacency_arrays
        width, memory_dim = mean.shape[1], memory.shape[1]
        weights = _Blocks.of(message, gru_memory, feature_dim, sequence.edges.shape[1])
        grads = _Blocks(*(torch.zeros_like(w, memory_format=torch.contiguous_format) for w in weights))
        time_weight = weights.static[:width, feature_dim:]
        grad_gru_input = torch.zeros_like(gru_input)
        grad_input_bias, grad_projected_bias = grad.new_zeros(3 * memory_dim), grad.new_zeros(len(weights.memory))
        grad_clock = grad.new_empty(len(grad), time_weight.shape[1])
        grad_memory = grad.clone(memory_format=torch.contiguous_format)

        most_rows, most_edges = _largest(step_ptr), _largest(edge_ptr)
        input_buffer = grad.new_empty(most_rows, 3 * memory_dim)
        projected_buffer = grad.new_empty(most_rows, len(weights.memory))
        memory_buffer, gathered = grad.new_empty(most_rows, memory_dim), grad.new_empty(most_rows, memory_dim)
        along_buffer = grad.new_empty(most_edges, width)
        ones = grad.new_ones(most_rows)
        before = grad_memory.numpy()
        for t in range(sequence.num_steps - 1, -1, -1):
            lo, hi = step_ptr[t], step_ptr[t + 1]
            first_edge, last_edge = edge_ptr[t], edge_ptr[t + 1]
            grad_input, grad_projected = input_buffer[: hi - lo], projected_buffer[: hi - lo]
            grad_in, grad_along = memory_buffer[: hi - lo], along_buffer[: last_edge - first_edge]
            projected = grad_projected.numpy()
            memory_in = gathered[: hi - lo] if t > 0 else first_memory
            if t > 0:
                gather_memory(lo, hi, sequence.prev_row.numpy(), memory.numpy(), memory_in.numpy())
            gates_backward(
                lo,
                hi,
                adjacency[0],
                memory_in.numpy(),
                gates.numpy(),
                before,
                grad_input.numpy(),
                projected,
                grad_in.numpy(),
            )
            grad_mean = grad_input @ gru_input
            messages_backward(
                lo,
                hi,
                first_edge,
                grad_mean.numpy(),
                *adjacency,
                active.numpy(),
                projected,
                grad_along.numpy(),
                grads.flag.numpy(),
            )
            grad_in.addmm_(grad_projected, weights.memory)
            if t > 0:
                scatter_back(lo, hi, sequence.prev_row.numpy(), grad_in.numpy(), before)
            grads.memory.addmm_(grad_projected.t(), memory_in)
            grads.static.addmm_(grad_projected[:, : 2 * width].t(), static[lo:hi])
            grads.edge.addmm_(grad_along.t(), sequence.edges[first_edge:last_edge])
            grad_gru_input.addmm_(grad_input.t(), mean[lo:hi])
            grad_input_bias.addmv_(grad_input.t(), ones[: hi - lo])
            grad_projected_bias.addmv_(grad_projected.t(), ones[: hi - lo])
            torch.mm(grad_projected[:, :width], time_weight, out=grad_clock[lo:hi])
        return (
            None,
            memory_buffer[: step_ptr[1]],
            None,
            grad_clock,
            grads.message_layer(feature_dim),
            grad_projected_bias[:width],
            grad_gru_input,
            grads.memory[2 * width :],
            grad_input_bias,
            grad_projected_bias[2 * width :],
        )


def _forward(
    sequence: SequenceBatch,
    feature_dim: int,
    first_memory: Tensor,
    static: Tensor,
    message: Tensor,
    message_bias: Tensor,
    gru_input: Tensor,
    gru_memory: Tensor,
    gru_input_bias: Tensor,
    gru_memory_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory after each row's step, mean message, gates, open ReLUs."""
    step_ptr, edge_ptr, adjacency = sequence.step_ptr, sequence.step_edge_ptr, sequence.adjacency_arrays
    rows, width, memory_dim = sequence.num_rows, len(message), first_memory.shape[1]
    weights = _Blocks.of(message, gru_memory, feature_dim, sequence.edges.shape[1])
    on_memory, on_static, on_edge, on_mean = weights.memory.t(), weights.static.t(), weights.edge.t(), gru_input.t()

    memory, mean = message.new_empty(rows, memory_dim), message.new_empty(rows, width)
    gates = message.new_empty(rows, 4 * memory_dim)
    active = torch.empty(len(adjacency[1]), width, dtype=torch.int8)
    most_rows = _largest(step_ptr)
    gathered = message.new_empty(most_rows, memory_dim)
    projected_buffer = message.new_empty(most_rows, len(weights.memory))
    input_buffer = message.new_empty(most_rows, 3 * memory_dim)
    along_buffer = message.new_empty(_largest(edge_ptr), width)
    message_terms = (message_bias.numpy(), weights.flag.numpy())
    both = 2 * memory_dim
    summed = (gru_input_bias + gru_memory_bias)[:both]
    gate_bias = torch.cat([summed, gru_input_bias[both:], gru_memory_bias[both:]]).numpy()
    for t in range(sequence.num_steps):
        lo, hi = step_ptr[t], step_ptr[t + 1]
        first_edge, last_edge = edge_ptr[t], edge_ptr[t + 1]
        projected, from_input = projected_buffer[: hi - lo], input_buffer[: hi - lo]
        along = along_buffer[: last_edge - first_edge]
        memory_in = gathered[: hi - lo] if t > 0 else first_memory
        if t > 0:
            gather_memory(lo, hi, sequence.prev_row.numpy(), memory.numpy(), memory_in.numpy())
        torch.mm(memory_in, on_memory, out=projected)
        projected[:, : 2 * width].addmm_(static[lo:hi], on_static)
        torch.mm(sequence.edges[first_edge:last_edge], on_edge, out=along)
        bias, against = message_terms
        messages_forward(
            lo,
            hi,
            first_edge,
            projected.numpy(),
            bias,
            along.numpy(),
            against,
            *adjacency,
            active.numpy(),
            mean.numpy(),
        )
        torch.mm(mean[lo:hi], on_mean, out=from_input)
        gates_forward(
            lo,
            hi,
            projected.numpy(),
            from_input.numpy(),
            gate_bias,
            adjacency[0],
            memory_in.numpy(),
            gates.numpy(),
            memory.numpy(),
        )
    return memory, mean, gates, active


def _largest(pointers: list[int]) -> int:
    return max(hi - lo for lo, hi in pairwise(pointers))
