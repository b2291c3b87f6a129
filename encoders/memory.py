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
from encoders.state import EncoderState, first_rows, last_rows_padded

__all__ = ["MemoryTerms", "TemporalMemory", "ages", "ages_compiled", "unroll_plain"]


class MemoryTerms(NamedTuple):
    """What one unroll needs beside the graph; the message layer is split: nodes are projected once, not per edge."""

    first_memory: Tensor
    """[r, M], memory that the rows of the first step start from."""
    hearer: Tensor
    """[R, P], the message layer on what is known of the row that hears, without its memory: features, time, bias."""
    speaker: Tensor
    """[R, P], the same of the row it hears from."""
    edges: Tensor
    """[E, P], the same of the edge."""
    reverse: Tensor
    """[P], added where the call is heard against its direction."""
    hearer_weight: Tensor
    """[P, M], the message layer on the hearer's memory."""
    speaker_weight: Tensor
    """[P, M], on the speaker's."""
    input_weight: Tensor
    """[3 M, P] of the GRU (reset, update, new), as `torch.nn.GRUCell` has them."""
    memory_weight: Tensor
    """[3 M, M]."""
    input_bias: Tensor
    """[3 M]."""
    memory_bias: Tensor
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
        feature_dim: width of a row's features x.
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
        """Features [R, F] -> memory after each row's step [R, M], and the state after the last step."""
        first_memory, first_age = first_rows(state, sequence)
        compiled = use_numba(self.kernel, features.device)
        age_in, age_out = ages_compiled(sequence, first_age) if compiled else ages(sequence, first_age)
        terms = self.terms(features, sequence, first_memory, age_in)
        unroll = unroll_compiled if compiled else unroll_plain
        memory = unroll(sequence, *terms)
        return memory, last_rows_padded(sequence, memory, age_out)

    def terms(self, features: Tensor, sequence: SequenceBatch, first_memory: Tensor, age_in: Tensor) -> MemoryTerms:
        """Everything of the message layer that does not depend on memory, for all steps at once."""
        w_hearer, w_speaker, w_x, w_neighbor, w_edge, w_reverse, w_time = self.message.weight.split(self.widths, dim=1)
        clock = torch.cos(age_in.unsqueeze(1) * self.frequency + self.phase)
        hearer = torch.addmm(self.message.bias, torch.cat([features, clock], 1), torch.cat([w_x, w_time], 1).t())
        return MemoryTerms(
            first_memory=first_memory,
            hearer=hearer,
            speaker=functional.linear(features, w_neighbor),
            edges=functional.linear(sequence.edges, w_edge),
            reverse=w_reverse.squeeze(1),
            hearer_weight=w_hearer,
            speaker_weight=w_speaker,
            input_weight=self.gru.weight_ih,
            memory_weight=self.gru.weight_hh,
            input_bias=self.gru.bias_ih,
            memory_bias=self.gru.bias_hh,
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


def unroll_plain(sequence: SequenceBatch, *fields: Tensor) -> Tensor:
    """The plain path over T steps, on the fields of `MemoryTerms`: -> memory after each row's step [R, M]."""
    terms = MemoryTerms(*fields)
    outputs: list[Tensor] = []
    pointers = sequence.adjacency_ptr[sequence.step_ptr].tolist()
    for t, (lo, hi) in enumerate(pairwise(sequence.step_ptr)):
        if t == 0:
            memory = terms.first_memory
        else:
            past = sequence.prev_row[lo:hi]
            known = past >= 0
            index = (past - sequence.step_ptr[t - 1]).clamp(min=0)
            before = outputs[-1] if len(outputs[-1]) else outputs[-1].new_zeros(1, terms.first_memory.shape[1])
            memory = torch.where(known.unsqueeze(1), before[index], 0.0)
        span = slice(pointers[t], pointers[t + 1])
        target, neighbor = sequence.adjacency_target[span] - lo, sequence.adjacency_row[span] - lo
        hearer = terms.hearer[lo:hi] + functional.linear(memory, terms.hearer_weight)
        speaker = terms.speaker[lo:hi] + functional.linear(memory, terms.speaker_weight)
        flag = sequence.adjacency_reverse[span].to(memory.dtype).unsqueeze(1)
        along = terms.edges[sequence.adjacency_edge[span]] + flag * terms.reverse
        message = functional.relu(hearer[target] + speaker[neighbor] + along)
        count = sequence.adjacency_ptr[lo + 1 : hi + 1] - sequence.adjacency_ptr[lo:hi]
        mean = torch.zeros_like(hearer).index_add(0, target, message) / count.clamp(min=1).unsqueeze(1)
        from_input = functional.linear(mean, terms.input_weight, terms.input_bias)
        from_memory = functional.linear(memory, terms.memory_weight, terms.memory_bias)
        i_reset, i_update, i_new = from_input.chunk(3, 1)
        h_reset, h_update, h_new = from_memory.chunk(3, 1)
        reset, update = torch.sigmoid(i_reset + h_reset), torch.sigmoid(i_update + h_update)
        new = torch.tanh(i_new + reset * h_new)
        outputs.append(torch.where((count > 0).unsqueeze(1), new + update * (memory - new), memory))
    return torch.cat(outputs)
