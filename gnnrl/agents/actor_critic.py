"""Encoder, policy head and value head as one module."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from encoders.base import GraphEncoder
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from gnnrl.agents.policy_head import PolicyHead, ValueHead, two_heads

__all__ = ["ActorCritic", "Judgement"]


class Judgement(NamedTuple):
    """What the network says about a sequence."""

    logits: Tensor
    """[R, K] move logits of the rows."""
    value: Tensor
    """[R] (per node) or [G] (per graph)."""
    state: EncoderState
    """State after the last step."""


class ActorCritic(nn.Module):
    """One encoder under both heads.

    Args:
        encoder: embeds the rows.
        head: move logits.
        value: value per node or per graph.
    """

    def __init__(self, encoder: GraphEncoder, head: PolicyHead, value: ValueHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.value = value

    def decide(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Logits [R, K] and the state after the last step; no value, which only learning needs."""
        embedding, after = self.encoder.forward_compact(sequence, state)
        return self.head(embedding), after

    def forward(self, sequence: SequenceBatch, state: EncoderState) -> Judgement:
        """Judge every row of a sequence whose features are already normalised."""
        embedding, after = self.encoder.forward_compact(sequence, state)
        if self.value.per_node:
            return Judgement(*two_heads(embedding, self.head, self.value), after)
        return Judgement(self.head(embedding), self.value(embedding, sequence), after)
