"""The memory over T steps as one differentiable operation, for float32 on the CPU.

Products are one matrix product a step, everything between them is compiled; the backward pass is written by hand
(backpropagation through time), and the gradients of all weights are one product over the rows of all steps.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

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


def unroll_compiled(sequence: SequenceBatch, *terms: Tensor) -> Tensor:
    """`memory.unroll_plain` with the same arguments (`MemoryTerms`) and numbers: -> [R, M]."""
    if torch.is_grad_enabled():
        result: Tensor = _Unroll.apply(sequence, *terms)
        return result
    return _forward(sequence, *terms)[0]


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sequence: SequenceBatch, *terms: Tensor) -> Tensor:
        memory, *kept = _forward(sequence, *terms)
        ctx.sequence = sequence
        hearer_weight, speaker_weight, input_weight, memory_weight = terms[5:9]
        ctx.save_for_backward(*kept, hearer_weight, speaker_weight, input_weight, memory_weight)
        return memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        memory_in, mean, gates, active, hearer_weight, speaker_weight, input_weight, memory_weight = ctx.saved_tensors
        sequence: SequenceBatch = ctx.sequence
        step_ptr = sequence.step_ptr
        adjacency = sequence.adjacency_arrays
        prev_row = sequence.prev_row.numpy()
        rows, message_dim, memory_dim = len(memory_in), mean.shape[1], memory_in.shape[1]
        weight = torch.cat([hearer_weight, speaker_weight, memory_weight])  # [2 P + 3 M, M]

        grad_memory = grad.clone(memory_format=torch.contiguous_format)
        grad_input = grad.new_empty(rows, 3 * memory_dim)
        grad_projected = grad.new_empty(rows, weight.shape[0])
        grad_along = grad.new_zeros(sequence.num_edges, message_dim)
        grad_against = grad.new_zeros(message_dim)
        grad_first = grad.new_empty(step_ptr[1], memory_dim)
        for t in range(sequence.num_steps - 1, -1, -1):
            lo, hi = step_ptr[t], step_ptr[t + 1]
            start = grad_first if t == 0 else grad.new_empty(hi - lo, memory_dim)
            gates_backward(
                lo,
                hi,
                adjacency[0],
                memory_in.numpy(),
                gates.numpy(),
                grad_memory.numpy(),
                grad_input.numpy(),
                grad_projected.numpy(),
                start.numpy(),
            )
            grad_mean = grad_input[lo:hi] @ input_weight
            messages_backward(
                lo,
                hi,
                grad_mean.numpy(),
                *adjacency,
                active.numpy(),
                grad_projected.numpy(),
                grad_along.numpy(),
                grad_against.numpy(),
            )
            start.addmm_(grad_projected[lo:hi], weight)
            if t > 0:
                scatter_back(lo, hi, prev_row, start.numpy(), grad_memory.numpy())
        grad_weight = grad_projected.t() @ memory_in
        return (
            None,
            grad_first,
            grad_projected[:, :message_dim],
            grad_projected[:, message_dim : 2 * message_dim],
            grad_along,
            grad_against,
            grad_weight[:message_dim],
            grad_weight[message_dim : 2 * message_dim],
            grad_input.t() @ mean,
            grad_weight[2 * message_dim :],
            grad_input.sum(0),
            grad_projected[:, 2 * message_dim :].sum(0),
        )


def _forward(
    sequence: SequenceBatch,
    first_memory: Tensor,
    hearer: Tensor,
    speaker: Tensor,
    along: Tensor,
    against: Tensor,
    hearer_weight: Tensor,
    speaker_weight: Tensor,
    input_weight: Tensor,
    memory_weight: Tensor,
    input_bias: Tensor,
    memory_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Memory after each row's step, memory before it, mean message, gates, open ReLUs."""
    step_ptr = sequence.step_ptr
    adjacency = sequence.adjacency_arrays
    prev_row = sequence.prev_row.numpy()
    rows, message_dim, memory_dim = sequence.num_rows, hearer.shape[1], first_memory.shape[1]
    weight = torch.cat([hearer_weight, speaker_weight, memory_weight]).t()
    to_gates = input_weight.t()

    memory_out, memory_in = hearer.new_empty(rows, memory_dim), hearer.new_empty(rows, memory_dim)
    mean, gates = hearer.new_empty(rows, message_dim), hearer.new_empty(rows, 4 * memory_dim)
    active = torch.empty(len(adjacency[1]), message_dim, dtype=torch.int8)
    hearer_, speaker_, along_, against_ = hearer.numpy(), speaker.numpy(), along.numpy(), against.numpy()
    input_bias_, memory_bias_ = input_bias.numpy(), memory_bias.numpy()
    mean_, gates_, active_ = mean.numpy(), gates.numpy(), active.numpy()
    memory_in_, memory_out_ = memory_in.numpy(), memory_out.numpy()
    memory_in[: step_ptr[1]] = first_memory
    largest = max(hi - lo for lo, hi in pairwise(step_ptr))
    projected_buffer = hearer.new_empty(largest, weight.shape[1])
    input_buffer = hearer.new_empty(largest, 3 * memory_dim)
    for t in range(sequence.num_steps):
        lo, hi = step_ptr[t], step_ptr[t + 1]
        projected, from_input = projected_buffer[: hi - lo], input_buffer[: hi - lo]
        if t > 0:
            gather_memory(lo, hi, prev_row, memory_out_, memory_in_)
        torch.mm(memory_in[lo:hi], weight, out=projected)
        projected_ = projected.numpy()
        messages_forward(lo, hi, projected_, hearer_, speaker_, along_, against_, *adjacency, active_, mean_)
        torch.mm(mean[lo:hi], to_gates, out=from_input)
        gates_forward(
            lo,
            hi,
            projected_,
            from_input.numpy(),
            input_bias_,
            memory_bias_,
            adjacency[0],
            memory_in_,
            gates_,
            memory_out_,
        )
    return memory_out, memory_in, mean, gates, active
