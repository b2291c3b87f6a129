"""The recurrent `ActorCritic` as a policy over padded graphs: the observation flattened, a logit per slot and move."""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.flat import flat_width, flatten
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from gnnrl.agents.actor_critic import ActorCritic
from gnnrl.agents.policy_head import idle_bias
from gnnrl.agents.policy_model import Judgement, PolicyModel

__all__ = ["FlatPolicy"]


class FlatPolicy(PolicyModel):
    """One memory and one value a graph, bound to its numbers of slots and edges; it knows a node by its slot only.

    Its `EncoderState` is `ActorCritic`'s hxs with the environments first, [B, layers, hidden]; it has no age (zeros).

    Args:
        max_nodes: N.
        max_edges: most edges of an observation.
        in_dim: F, node features.
        edge_dim: Fe, edge features.
        global_dim: G, graph features.
        num_moves: K.
        hidden: width of everything inside.
        layers: of the MLP, beside its first.
        gru_layers: of each GRU.
        decoupled: whether actor and critic have branches of their own.
    """

    def __init__(
        self,
        max_nodes: int,
        max_edges: int,
        in_dim: int,
        edge_dim: int,
        global_dim: int,
        num_moves: int,
        *,
        hidden: int = 128,
        layers: int = 2,
        gru_layers: int = 2,
        decoupled: bool = True,
    ) -> None:
        super().__init__()
        self.slots, self.remembers, self.memory_per_node = max_nodes, True, False
        self.max_nodes, self.max_edges, self.num_moves = max_nodes, max_edges, num_moves
        self.network = ActorCritic(
            flat_width(max_nodes, max_edges, in_dim, edge_dim, global_dim),
            max_nodes * num_moves,
            hidden=hidden,
            layers=layers,
            gru_layers=gru_layers,
            decoupled=decoupled,
        )
        with torch.no_grad():
            self.network.logits.bias.view(max_nodes, num_moves)[:, 0] = idle_bias(num_moves)

    def initial_state(self, batch_size: int, max_nodes: int) -> EncoderState:  # noqa: ARG002
        """Zeros [B, layers, hidden] and [B, layers]."""
        layers, device = self.network.state_layers, self.network.value.weight.device
        return EncoderState(
            torch.zeros(batch_size, layers, self.network.hidden, device=device),
            torch.zeros(batch_size, layers, device=device),
        )

    def decide(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        # The critic's memory has to go on as well: the same state may be learned from later.
        judged = self.forward(sequence, state)
        return judged.logits, judged.state

    def forward(self, sequence: SequenceBatch, state: EncoderState) -> Judgement:
        if len(state.memory) != sequence.batch_size:
            raise ValueError(
                f"the state is of {len(state.memory)} environments, the observation of {sequence.batch_size}"
            )
        s = flatten(sequence, self.max_nodes, self.max_edges)
        masks = (~sequence.episode_start).unsqueeze(1)
        logits, value, hxs = self.network.judge(s, state.memory.transpose(0, 1).contiguous(), masks)
        by_slot = logits.view(sequence.num_graphs * self.max_nodes, self.num_moves)
        after = EncoderState(hxs.transpose(0, 1).contiguous(), state.age_seconds)
        return Judgement(by_slot.index_select(0, sequence.flat_slot), value, after)
