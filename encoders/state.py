"""What a network remembers: plain tensors, handed in and handed out, never buffers of a module."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from encoders.sequence import SequenceBatch

__all__ = ["EncoderState", "check_state", "first_rows", "initial_state", "last_rows_padded", "remap"]


class EncoderState(NamedTuple):
    """Memory by slot of the last consumed observation; of a recurrent network without nodes, by its layers in place of slots."""

    memory: Tensor
    """[B, N, M] float32, rows of absent nodes are 0; M = 0 for a stateless encoder."""
    age_seconds: Tensor
    """[B, N] float32, since the memory last changed, at the last consumed observation."""

    def detach(self) -> EncoderState:
        """The same values without history."""
        return EncoderState(self.memory.detach(), self.age_seconds.detach())


def initial_state(
    batch_size: int, max_nodes: int, memory_dim: int, device: torch.device | str | None = None
) -> EncoderState:
    """Zero memory and zero age: [B, N, M], [B, N]."""
    return EncoderState(
        torch.zeros(batch_size, max_nodes, memory_dim, device=device), torch.zeros(batch_size, max_nodes, device=device)
    )


def remap(state: EncoderState, prev_slot: Tensor, episode_start: Tensor) -> EncoderState:
    """Move memory and age to the slots of the present observation.

    Args:
        state: by the slots of the observation before, [B, N', M] and [B, N'].
        prev_slot: [B, N] int64, -1 = new (and in padding).
        episode_start: [B] bool.

    Returns:
        [B, N, M] and [B, N]; zero where a node is new. Slots nobody points to are not read, whatever they hold.
    """
    live = (prev_slot >= 0) & ~episode_start.bool().unsqueeze(1)
    index = prev_slot.clamp(min=0)
    memory = state.memory.gather(1, index.unsqueeze(2).expand(-1, -1, state.memory.shape[2]))
    age = state.age_seconds.gather(1, index)
    return EncoderState(
        torch.where(live.unsqueeze(2), memory, torch.zeros_like(memory)), torch.where(live, age, torch.zeros_like(age))
    )


def check_state(state: EncoderState, sequence: SequenceBatch, memory_dim: int) -> None:
    """Raise ValueError if `state` is of other environments, slots or width than `sequence` and the network have."""
    if not isinstance(state, EncoderState):
        raise ValueError(
            f"the state is a {type(state).__name__}; it is what the last step returned, or initial_state()"
        )
    if state.memory.shape != (*state.age_seconds.shape, memory_dim) or state.memory.dtype != torch.float32:
        raise ValueError(
            f"the state has memory {tuple(state.memory.shape)} {state.memory.dtype} and ages {tuple(state.age_seconds.shape)}; "
            f"expected [B, N, {memory_dim}] float32 and [B, N]"
        )
    batch, slots = state.age_seconds.shape
    if batch != sequence.batch_size or slots != sequence.max_nodes:
        raise ValueError(
            f"the state is of {batch} environments with {slots} slots, the observation of {sequence.batch_size} with "
            f"{sequence.max_nodes}; make it with initial_state({sequence.batch_size}, {sequence.max_nodes})"
        )


def first_rows(state: EncoderState, sequence: SequenceBatch) -> tuple[Tensor, Tensor]:
    """Memory [r, M] and age [r] that the rows of the first step of `sequence` take from `state`; zero where new."""
    rows = sequence.step_ptr[1]
    batch, slots, width = state.memory.shape
    prev_slot = sequence.prev_slot[:rows]
    live = prev_slot >= 0
    index = sequence.row_graph[:rows] * slots + prev_slot.clamp(min=0)
    memory = state.memory.reshape(batch * slots, width).index_select(0, index)
    age = state.age_seconds.reshape(batch * slots).index_select(0, index)
    zero = memory.new_zeros(())
    return torch.where(live.unsqueeze(1), memory, zero), torch.where(live, age, zero)


def last_rows_padded(sequence: SequenceBatch, memory: Tensor, age_seconds: Tensor) -> EncoderState:
    """State after the last step from row values [R, M] and [R]; zero in empty slots."""
    first = sequence.step_ptr[-2]
    batch, slots, width = sequence.batch_size, sequence.max_nodes, memory.shape[1]
    index = sequence.flat_slot[first:] - (sequence.num_steps - 1) * batch * slots
    padded = memory.new_zeros((batch * slots, width)).index_copy(0, index, memory[first:])
    age = age_seconds.new_zeros(batch * slots).index_copy(0, index, age_seconds[first:])
    return EncoderState(padded.view(batch, slots, width), age.view(batch, slots))
