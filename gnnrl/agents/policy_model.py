"""PolicyModel: what the trainer asks of a network, whatever is inside it."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from encoders.sequence import SequenceBatch
from encoders.state import EncoderState

__all__ = ["Judgement", "PolicyModel"]


class Judgement(NamedTuple):
    """What the network says about a sequence."""

    logits: Tensor
    """[R, K] move logits of the rows."""
    value: Tensor
    """[R] (per node) or [G] (per graph)."""
    state: EncoderState
    """State after the last step."""


class PolicyModel(nn.Module):
    """Logits of the moves of every node and a value per node or graph; what is remembered is handed in and handed out."""

    slots: int | None
    """Slots it is bound to; None = any number."""
    remembers: bool
    """Whether it has memory at all."""
    memory_per_node: bool
    """Whether that memory is the nodes', by slot."""

    @abstractmethod
    def initial_state(self, batch_size: int, max_nodes: int) -> EncoderState:
        """State before the first observation; its shape after the first axis is that of every state of this network."""

    @abstractmethod
    def decide(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Logits [R, K] and the state after the last step; no value, which only learning needs."""

    @abstractmethod
    def forward(self, sequence: SequenceBatch, state: EncoderState) -> Judgement:
        """Judge every row of a sequence whose features are already normalised."""
