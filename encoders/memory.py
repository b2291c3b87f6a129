"""The memory of a node: messages along the calls, a mean, a GRU, over T steps with nodes that come and go."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.base import Kernel, use_numba
from encoders.memory_kernels import advance_ages
from encoders.memory_unroll import unroll_compiled
from encoders.sequence import SequenceBatch
from encoders.small import is_small, remember_small
from encoders.state import EncoderState, check_state, first_rows, last_rows_padded

__all__ = ["MemoryWeights", "TemporalMemory", "ages", "ages_compiled", "unroll"]


class MemoryWeights(NamedTuple):
    """The weights of one unroll; those of the GRU are laid out as `torch.nn.GRUCell` has them (reset, update, new)."""

    message: Tensor
    """[P, 2 M + 2 X + Fe + 1 + time], columns: memory of hearer and speaker, their features, edge, flag, time."""
    message_bias: Tensor
    """[P]."""
    gru_input: Tensor
    """[3 M, P]."""
    gru_memory: Tensor
    """[3 M, M]."""
    gru_input_bias: Tensor
    """[3 M]."""
    gru_memory_bias: Tensor
    """[3 M]."""


class TemporalMemory(nn.Module):
    r"""Temporal graph memory with simultaneous messages.

    .. math::
        \mathrm{msg}_{ij} &= \mathrm{ReLU}(W [m_i, m_j, x_i, x_j, e_{ij}, \mathrm{rev}_{ij},
            \cos(\omega a_i + \phi)] + b) \\
        m_i' &= \mathrm{GRU}(\mathrm{mean}_j\, \mathrm{msg}_{ij}, m_i)

    for rows i with a call; others keep their memory bit for bit. a_i is the age of the memory in seconds. Source: Rossi
    et al., "Temporal Graph Networks", arXiv:2006.10637, eq. 1-3, with all messages of a step taken as one moment.

    Args:
        feature_dim: X, width of a row's features.
        edge_dim: Fe.
        memory_dim: M.
        message_dim: P.
        time_dim: width of the time encoding.
        kernel: which implementation; see `base.Kernel`.
    """

    def __init__(
        self,
        feature_dim: int,
        edge_dim: int,
        memory_dim: int,
        message_dim: int,
        time_dim: int,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        self.memory_dim = memory_dim
        self.widths = (memory_dim, memory_dim, feature_dim, feature_dim, edge_dim, 1, time_dim)
        self.kernel: Kernel = kernel
        self.message = nn.Linear(sum(self.widths), message_dim)
        self.gru = nn.GRUCell(message_dim, memory_dim)
        # Periods from six seconds to seventeen hours; random frequencies would alias at steps of 15 seconds and more.
        self.frequency = nn.Parameter(10.0 ** -torch.linspace(0.0, 4.0, time_dim))
        self.phase = nn.Parameter(torch.zeros(time_dim))

    def forward(self, features: Tensor, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Features [R, X] -> memory after each row's step [R, M], and the state after the last step."""
        compiled = use_numba(self.kernel, features.device)
        check_state(state, sequence, self.memory_dim)
        sequence.require_widths(features.shape[1], self.widths[2], self.widths[4])
        if compiled and is_small(sequence):
            return remember_small(sequence, state, features, self.frequency, self.phase, self.weights())
        first_memory, first_age = first_rows(state, sequence)
        age_in, age_out = (ages_compiled if compiled else ages)(sequence, first_age)
        clock = torch.cos(age_in.unsqueeze(1) * self.frequency + self.phase)
        memory = (unroll_compiled if compiled else unroll)(sequence, first_memory, features, clock, *self.weights())
        return memory, last_rows_padded(sequence, memory, age_out)

    def weights(self) -> MemoryWeights:
        """The weights as the unroll takes them."""
        gru = self.gru
        return MemoryWeights(
            self.message.weight, self.message.bias, gru.weight_ih, gru.weight_hh, gru.bias_ih, gru.bias_hh
        )


def ages(sequence: SequenceBatch, first_age: Tensor) -> tuple[Tensor, Tensor]:
    """Age [R] of each row's memory in seconds when its messages are made, and after its step (0 where touched)."""
    touched = sequence.adjacency_ptr[1:] > sequence.adjacency_ptr[:-1]
    elapsed = sequence.elapsed_seconds[sequence.row_graph]
    before, after = torch.empty_like(elapsed), torch.empty_like(elapsed)
    for t, (lo, hi) in enumerate(pairwise(sequence.step_ptr)):
        past = sequence.prev_row[lo:hi]
        start = first_age if t == 0 else torch.where(past >= 0, after[past.clamp(min=0)], 0.0)
        before[lo:hi] = start + elapsed[lo:hi]
        after[lo:hi] = torch.where(touched[lo:hi], 0.0, before[lo:hi])
    return before, after


def ages_compiled(sequence: SequenceBatch, first_age: Tensor) -> tuple[Tensor, Tensor]:
    """`ages`, compiled."""
    before, after = torch.empty(sequence.num_rows), torch.empty(sequence.num_rows)
    advance_ages(
        sequence.step_ptr[1],
        sequence.row_graph.numpy(),
        sequence.prev_row.numpy(),
        sequence.adjacency_ptr.numpy(),
        sequence.elapsed_seconds.numpy(),
        first_age.numpy(),
        before.numpy(),
        after.numpy(),
    )
    return before, after


def unroll(sequence: SequenceBatch, first_memory: Tensor, features: Tensor, clock: Tensor, *weights: Tensor) -> Tensor:
    """The plain path over T steps: -> memory after each row's step [R, M].

    Args:
        first_memory: [r, M], what the rows of the first step start from.
        features: [R, X].
        clock: [R, time], encoded age of each row's memory.
        weights: the fields of `MemoryWeights`.
    """
    w = MemoryWeights(*weights)
    outputs: list[Tensor] = []
    pointers = sequence.adjacency_ptr[sequence.step_ptr].tolist()
    for t, (lo, hi) in enumerate(pairwise(sequence.step_ptr)):
        memory = first_memory
        if t > 0:
            past = sequence.prev_row[lo:hi]
            before = torch.cat([outputs[-1], first_memory.new_zeros(1, first_memory.shape[1])])
            memory = before[torch.where(past >= 0, past - sequence.step_ptr[t - 1], len(before) - 1)]
        span = slice(pointers[t], pointers[t + 1])
        i, j = sequence.adjacency_target[span], sequence.adjacency_row[span]
        flag = sequence.adjacency_reverse[span].to(memory.dtype).unsqueeze(1)
        edges = sequence.edges[sequence.adjacency_edge[span]]
        heard = torch.cat([memory[i - lo], memory[j - lo], features[i], features[j], edges, flag, clock[i]], dim=1)
        message = functional.relu(functional.linear(heard, w.message, w.message_bias))
        count = sequence.adjacency_ptr[lo + 1 : hi + 1] - sequence.adjacency_ptr[lo:hi]
        mean = message.new_zeros(hi - lo, message.shape[1]).index_add(0, i - lo, message) / count.clamp(
            min=1
        ).unsqueeze(1)
        i_reset, i_update, i_new = functional.linear(mean, w.gru_input, w.gru_input_bias).chunk(3, 1)
        h_reset, h_update, h_new = functional.linear(memory, w.gru_memory, w.gru_memory_bias).chunk(3, 1)
        reset, update = torch.sigmoid(i_reset + h_reset), torch.sigmoid(i_update + h_update)
        new = torch.tanh(i_new + reset * h_new)
        outputs.append(torch.where((count > 0).unsqueeze(1), new + update * (memory - new), memory))
    return torch.cat(outputs)
