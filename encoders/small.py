"""One step of a few rows without gradient: a live decision, where the overhead of tensor operations is the cost.

The same numbers as `attention.attend_compiled` and `memory_unroll.unroll_compiled`; products are dots of rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit
from torch import Tensor

from encoders.kernels import attention_forward
from encoders.memory_kernels import gates_forward, messages_forward
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from encoders.vector import add_scaled, dot

if TYPE_CHECKING:
    from encoders.memory import MemoryWeights

__all__ = ["SMALL_ROWS", "attend_small", "is_small", "remember_small"]

SMALL_ROWS = 64
"""Above this many rows, matrix products of torch are worth their overhead."""

ZERO = np.float32(0.0)


def is_small(sequence: SequenceBatch) -> bool:
    """Whether this module is the fast way through `sequence`: one step, few rows, nobody asks for gradients."""
    return sequence.num_steps == 1 and sequence.num_rows <= SMALL_ROWS and not torch.is_grad_enabled()


def attend_small(
    sequence: SequenceBatch, heads: int, weight: Tensor, bias: Tensor, edge_weight: Tensor, *parts: Tensor
) -> Tensor:
    """`attention.attend`, same arguments."""
    rows = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    out = torch.empty(len(rows), len(edge_weight))
    _attend(
        rows.numpy(),
        sequence.padded_edges.numpy(),
        *sequence.adjacency_arrays,
        heads,
        weight.detach().numpy(),
        bias.detach().numpy(),
        edge_weight.detach().numpy(),
        out.numpy(),
    )
    return out


def remember_small(
    sequence: SequenceBatch,
    state: EncoderState,
    features: Tensor,
    frequency: Tensor,
    phase: Tensor,
    weights: MemoryWeights,
) -> tuple[Tensor, EncoderState]:
    """`memory.TemporalMemory.forward` for T = 1: memory of the rows [R, M] and the state after the step."""
    batch, slots, memory_dim = state.memory.shape
    memory = torch.empty(sequence.num_rows, memory_dim)
    after = EncoderState(torch.zeros(batch, slots, memory_dim), torch.zeros(batch, slots))
    _remember(
        state.memory.detach().numpy(),
        state.age_seconds.detach().numpy(),
        features.numpy(),
        sequence.row_graph.numpy(),
        sequence.row_slot.numpy(),
        sequence.prev_slot.numpy(),
        sequence.elapsed_seconds.numpy(),
        sequence.edges.contiguous().numpy(),
        *sequence.adjacency_arrays,
        frequency.detach().numpy(),
        phase.detach().numpy(),
        weights.message.detach().numpy(),
        weights.message_bias.detach().numpy(),
        weights.gru_input.detach().numpy(),
        weights.gru_memory.detach().numpy(),
        weights.gru_input_bias.detach().numpy(),
        weights.gru_memory_bias.detach().numpy(),
        memory.numpy(),
        after.memory.numpy(),
        after.age_seconds.numpy(),
    )
    return memory, after


@njit(cache=True, nogil=True)
def _linear(rows, weight, first, width, out):  # type: ignore[no-untyped-def]
    """out[:, o] += rows @ weight[o, first : first + width] for every output o of `weight`."""
    stride = weight.shape[1]
    for i in range(rows.shape[0]):
        for o in range(weight.shape[0]):
            out[i, o] += dot(rows, i * width, weight, o * stride + first, width)


@njit(cache=True, nogil=True)
def _attend(  # type: ignore[no-untyped-def]
    rows, edges, pointers, neighbors, edge_of, reverse, heads, weight, bias, edge_weight, out
):
    count, dim, edge_width = len(rows), out.shape[1], edges.shape[1]
    width, flag = dim // heads, edge_weight.shape[1] - 1
    padded_weight = np.zeros((dim, edge_width), np.float32)
    for d in range(dim):
        for f in range(flag + 1):
            padded_weight[d, f] = edge_weight[d, f]
    plain = np.empty((count, 4 * dim), np.float32)
    for i in range(count):
        for d in range(4 * dim):
            plain[i, d] = bias[d]
    _linear(rows, weight, 0, rows.shape[1], plain)
    projected = np.zeros((count, 4 * dim + heads * edge_width), np.float32)
    stride = projected.shape[1]
    for i in range(count):
        for d in range(4 * dim):
            projected[i, d] = plain[i, d]
        for d in range(dim):
            place = i * stride + 4 * dim + d // width * edge_width
            add_scaled(plain[i, d], padded_weight, d * edge_width, projected, place, edge_width)
    alpha = np.empty((len(neighbors), heads), np.float32)
    mixed = np.empty((count, heads * edge_width), np.float32)
    shape = (heads, width, flag)
    lo = np.int64(0)  # a literal would compile another version
    attention_forward(lo, count, shape, projected, edges, pointers, neighbors, edge_of, reverse, alpha, mixed, out)
    for i in range(count):
        for d in range(dim):
            place = (i * heads + d // width) * edge_width
            x = out[i, d] + dot(mixed, place, padded_weight, d * edge_width, edge_width)
            out[i, d] = ZERO if x < ZERO else x


@njit(cache=True, nogil=True)
def _remember(  # type: ignore[no-untyped-def]
    state_memory,
    state_age,
    features,
    row_graph,
    row_slot,
    prev_slot,
    elapsed,
    edges,
    pointers,
    neighbors,
    edge_of,
    reverse,
    frequency,
    phase,
    message,
    message_bias,
    gru_input,
    gru_memory,
    gru_input_bias,
    gru_memory_bias,
    memory_out,
    next_memory,
    next_age,
):
    rows, feature_dim = features.shape
    memory_dim, width, time_dim = memory_out.shape[1], len(message), len(frequency)
    memory_in = np.zeros((rows, memory_dim), np.float32)
    clock = np.empty((rows, time_dim), np.float32)
    for i in range(rows):
        b, past = row_graph[i], prev_slot[i]
        age = elapsed[b]
        if past >= 0:
            age += state_age[b, past]
            for d in range(memory_dim):
                memory_in[i, d] = state_memory[b, past, d]
        for d in range(time_dim):
            clock[i, d] = math.cos(age * frequency[d] + phase[d])
        next_age[b, row_slot[i]] = age if pointers[i] == pointers[i + 1] else ZERO

    # Columns of the message layer: see MemoryWeights.
    of_features = 2 * memory_dim
    of_edges = of_features + 2 * feature_dim
    of_time = of_edges + edges.shape[1] + 1
    hearer, speaker = np.zeros((rows, width), np.float32), np.zeros((rows, width), np.float32)
    _linear(memory_in, message, 0, memory_dim, hearer)
    _linear(memory_in, message, memory_dim, memory_dim, speaker)
    _linear(features, message, of_features, feature_dim, hearer)
    _linear(features, message, of_features + feature_dim, feature_dim, speaker)
    _linear(clock, message, of_time, time_dim, hearer)
    on_memory = np.zeros((rows, 3 * memory_dim), np.float32)
    _linear(memory_in, gru_memory, 0, memory_dim, on_memory)
    along = np.zeros((len(edges), width), np.float32)
    _linear(edges, message, of_edges, edges.shape[1], along)
    against = np.empty(width, np.float32)
    projected = np.empty((rows, 2 * width + 3 * memory_dim), np.float32)
    for d in range(width):
        against[d] = message[d, of_time - 1]
        for i in range(rows):
            projected[i, d] = hearer[i, d]
            projected[i, width + d] = speaker[i, d]
    for d in range(3 * memory_dim):
        for i in range(rows):
            projected[i, 2 * width + d] = on_memory[i, d]
    active, mean = np.empty((len(neighbors), width), np.int8), np.empty((rows, width), np.float32)
    lo = np.int64(0)  # a literal would compile another version
    messages_forward(
        lo, rows, lo, projected, message_bias, along, against, pointers, neighbors, edge_of, reverse, active, mean
    )
    from_input = np.zeros((rows, 3 * memory_dim), np.float32)
    _linear(mean, gru_input, 0, width, from_input)
    gate_bias = np.empty(4 * memory_dim, np.float32)
    for d in range(2 * memory_dim):
        gate_bias[d] = gru_input_bias[d] + gru_memory_bias[d]
    for d in range(2 * memory_dim, 3 * memory_dim):
        gate_bias[d] = gru_input_bias[d]
        gate_bias[memory_dim + d] = gru_memory_bias[d]
    gates = np.empty((rows, 4 * memory_dim), np.float32)
    gates_forward(lo, rows, projected, from_input, gate_bias, pointers, memory_in, gates, memory_out)
    for i in range(rows):
        for d in range(memory_dim):
            next_memory[row_graph[i], row_slot[i], d] = memory_out[i, d]
