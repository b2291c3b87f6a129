"""Graph encoder, policy head and value head as one module."""

from __future__ import annotations

from torch import Tensor

from encoders.base import GraphEncoder
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from gnnrl.agents.policy_head import PolicyHead, ValueHead, two_heads
from gnnrl.agents.policy_model import Judgement, PolicyModel

__all__ = ["GraphActorCritic"]


class GraphActorCritic(PolicyModel):
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
        self.slots = encoder.slots
        self.memory_per_node = encoder.memory_dim > 0
        self.remembers = encoder.memory_dim > 0

    def initial_state(self, batch_size: int, max_nodes: int) -> EncoderState:
        """Zero memory per node: [B, N, M], [B, N]."""
        return self.encoder.initial_state(batch_size, max_nodes)

    def decide(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Logits [R, K] and the state after the last step."""
        embedding, after = self.encoder.forward_compact(sequence, state)
        return self.head(embedding), after

    def forward(self, sequence: SequenceBatch, state: EncoderState) -> Judgement:
        """Judge every row of a sequence whose features are already normalised."""
        embedding, after = self.encoder.forward_compact(sequence, state)
        if self.value.per_node:
            return Judgement(*two_heads(embedding, self.head, self.value), after)
        return Judgement(self.head(embedding), self.value(embedding, sequence), after)
