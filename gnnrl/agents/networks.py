"""The network that a configuration names, sized for an observation space."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gymnasium import spaces

from encoders import GraphEncoder, build_encoder
from gnnrl.agents.flat_policy import FlatPolicy
from gnnrl.agents.graph_actor_critic import GraphActorCritic
from gnnrl.agents.observation_scaler import shown_columns
from gnnrl.agents.policy_head import PolicyHead, ValueHead
from gnnrl.agents.policy_model import PolicyModel
from gnnrl.config.experiment import EncoderConfig
from graph_space.schema import EDGE_MASK, EDGES, GLOBALS, NODE_MASK, NODES

__all__ = ["build_model"]


def build_model(
    encoder: EncoderConfig | GraphEncoder, space: spaces.Dict, num_moves: int, per_node: bool
) -> PolicyModel:
    """The network for a space; its weights are drawn from torch's generator.

    Args:
        encoder: a description, or a ready-made encoder.
        space: observation space of one environment.
        num_moves: K.
        per_node: a value per node; else one per graph.

    Raises:
        ValueError: a value per node is asked of a network that has one memory and one value a graph.
    """
    if isinstance(encoder, GraphEncoder):
        network = encoder
    else:
        sizes: dict[str, Any] = {
            "in_dim": shown_columns(NODES, (space[NODES].shape or (0,))[-1]),
            "edge_dim": shown_columns(EDGES, (space[EDGES].shape or (0,))[-1]),
            "global_dim": shown_columns(GLOBALS, (space[GLOBALS].shape or (0,))[-1]),
            "max_nodes": (space[NODE_MASK].shape or (0,))[0],
            "max_edges": (space[EDGE_MASK].shape or (0,))[0],
        }
        described = asdict(encoder)
        flat = {name: described.pop(name) for name in ("gru_layers", "decoupled")}
        if encoder.kind == "gru":
            if per_node:
                raise ValueError("encoder kind 'gru' has one value a graph; set ppo.credit to 'graph'")
            return FlatPolicy(**sizes, num_moves=num_moves, hidden=encoder.hidden, layers=encoder.layers, **flat)
        network = build_encoder(**described, **sizes)
    return GraphActorCritic(network, PolicyHead(network.out_dim, num_moves), ValueHead(network.out_dim, per_node))
