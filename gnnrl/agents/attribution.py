"""What a decision rested on: gradient x input of the expected move, by node, call, graph feature and memory.

The decision read is the expected change e_d = sum_k p(k | d) move_k of each asked node d, under its action mask. The weight of an
input x is x * de_d / dx (Shrikumar et al., "Not Just a Black Box", arXiv:1605.01713), with x in raw units: the normaliser lies
inside the differentiated path, and a column that it clips weighs nothing. The baseline is zero: a weight says what e_d would lose if
x went to 0 *and* e_d were the straight line that touches it at x. It is not, so this is a local, linear reading: the weights do not
sum to e_d (biases, softmax and the logarithms of the normaliser are in between), an input that saturates a gate weighs little however
much it matters, and two inputs that act only together each get the whole. Its order and its signs are what is worth reading.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.attention import GraphAttention
from encoders.memory import TemporalMemory
from encoders.state import EncoderState
from gnnrl.agents.policy_model import PolicyModel
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.rl.storage import Array, Observation
from graph_space.schema import ACTION_MASK, EDGE_INDEX, EDGE_MASK, EDGES, GLOBALS, NODE_MASK, NODES, PREV_SLOT

__all__ = ["Attribution", "attribute"]

Weights = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Weights of the inputs of D decisions, in the unit of the moves; 0 in padding. Above 0: it argued for a higher change."""

    nodes: NDArray[np.int64]
    """[D], the slots asked for."""
    expected_change: Weights
    """[D], e_d."""
    node_weight: Weights
    """[D, N], of a node's features, summed over the columns."""
    node_column_weight: Weights
    """[D, F], of the columns of the decided node itself."""
    edge_weight: Weights
    """[D, E], of an edge's features, by position in `edges`."""
    global_weight: Weights
    """[D, G]."""
    memory_weight: Weights
    """[D, N], of what was remembered of a node, by its present slot; 0 for a new one and without memory per node."""


def attribute(
    agent: PPO_GNN,
    obs: Observation,
    state: EncoderState | None,
    episode_start: Array | None,
    nodes: Sequence[int],
    moves: ArrayLike,
    *,
    temperature: float = 1.0,
) -> Attribution:
    """Weigh the inputs of the decisions on `nodes`: one forward pass, one backward pass a node.

    The agent is left as it was, its random generator too. Nodes in other components than the decided one weigh exactly 0 with
    every encoder that only listens along edges; under `select` the choice is among all nodes, so that all of them weigh.

    Args:
        agent: who decides.
        obs: one observation as `act` takes it, alone or as a batch of one.
        state: as it was before the decision; None = nothing is remembered.
        episode_start: [1] bool; None = not the first of an episode.
        nodes: slots of the decided nodes.
        moves: [K], what each move changes.
        temperature: of the policy's draws; logits are divided by it.

    Raises:
        ValueError: more than one observation, a slot without a node or without a legal move, another number of moves, or a
            temperature that is not above 0 (the likeliest action alone has no slope; 1 reads the distribution behind it).
    """
    if not temperature > 0.0:
        raise ValueError(f"temperature {temperature}: must be above 0; the likeliest action has no slope, read it at 1")
    change = np.asarray(moves, np.float64)
    if change.shape != (agent.num_moves,):
        raise ValueError(
            f"moves has shape {change.shape}; the policy has {agent.num_moves} moves, give one change for each"
        )
    if obs[NODE_MASK].ndim == 1:
        obs = {key: np.asarray(array)[None] for key, array in obs.items()}
    batch, slots = obs[NODE_MASK].shape
    if batch != 1:
        raise ValueError(f"{batch} observations at once; attribute one at a time")
    decided = np.asarray(nodes, np.int64).reshape(-1)
    start = np.zeros(1, np.bool_) if episode_start is None else np.atleast_1d(episode_start)
    if state is None:
        state = agent.initial_state(1, slots)

    row_of_slot = np.full(slots, -1, np.int64)
    present = np.flatnonzero(obs[NODE_MASK][0])
    row_of_slot[present] = np.arange(len(present))
    _check_nodes(decided, row_of_slot, obs[ACTION_MASK][0])

    # Tensors made by `act` are inference tensors, which autograd refuses: hence the clone, outside of inference mode.
    with torch.inference_mode(False), torch.enable_grad():
        sequence = agent.scaler.sequence(obs, start).to(agent.device)
        shown = {key: getattr(sequence, key).clone().requires_grad_() for key in (NODES, EDGES, GLOBALS)}
        memory = state.memory.detach().clone().requires_grad_()
        before = EncoderState(memory, state.age_seconds.detach().clone())
        scores, _ = _differentiable(agent.model).decide(sequence.with_features(**shown), before)
        fixed = (obs[ACTION_MASK][0][present].astype(np.bool_), change, row_of_slot[decided])
        legal_mask, changes, rows = (torch.from_numpy(array).to(agent.device) for array in fixed)
        expected = _expected_change(scores / temperature, legal_mask, changes, pooled=agent.mode == "select")[rows]
        slopes = _slopes(expected, (*shown.values(), memory))

    count = len(decided)
    edge_order = _edge_order(obs)
    raw_edges = obs[EDGES][0][edge_order]
    by_node = _raw_slopes(agent, NODES, obs[NODES][0][present], slopes[0])  # [D, R, F]
    by_edge = _raw_slopes(agent, EDGES, raw_edges, slopes[1])
    by_global = _raw_slopes(agent, GLOBALS, obs[GLOBALS], slopes[2])
    weighed = by_node * obs[NODES][0][present].astype(np.float64)
    node_weight, edge_weight = np.zeros((count, slots)), np.zeros((count, obs[EDGE_MASK].shape[1]))
    node_weight[:, present] = weighed.sum(axis=2)
    edge_weight[:, edge_order] = (by_edge * raw_edges.astype(np.float64)).sum(axis=2)
    memory_weight = np.zeros((count, slots))
    if agent.model.memory_per_node:
        memory_weight = _memory_weight(slopes[3], memory, obs[PREV_SLOT][0], present, start)
    return Attribution(
        nodes=decided,
        expected_change=expected.detach().cpu().numpy().astype(np.float64),
        node_weight=node_weight,
        node_column_weight=weighed[np.arange(count), row_of_slot[decided]],
        edge_weight=edge_weight,
        global_weight=by_global[:, 0] * obs[GLOBALS][0].astype(np.float64),
        memory_weight=memory_weight,
    )


def _check_nodes(decided: NDArray[np.int64], row_of_slot: NDArray[np.int64], action_mask: Array) -> None:
    for slot in decided.tolist():
        if not 0 <= slot < len(row_of_slot) or row_of_slot[slot] < 0:
            raise ValueError(f"nodes: slot {slot} holds no node ({NODE_MASK}); ask for slots of real nodes")
        if not action_mask[slot].any():
            raise ValueError(f"nodes: slot {slot} has no legal move ({ACTION_MASK}); there is no decision to explain")


def _differentiable(model: PolicyModel) -> PolicyModel:
    """The same weights, in modules that take the plain path: the compiled ones give features and edges no gradient."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    plain = copy.deepcopy(model, shared)
    for module in plain.modules():
        if isinstance(module, GraphAttention | TemporalMemory):
            module.kernel = "torch"
    return plain


def _expected_change(logits: Tensor, legal_mask: Tensor, change: Tensor, *, pooled: bool) -> Tensor:
    """[R, K] -> [R]; `pooled`: one distribution over all (node, move) pairs."""
    masked = logits.double().masked_fill(~legal_mask, -torch.inf)
    if pooled:
        return torch.softmax(masked.flatten(), 0).view_as(masked) @ change
    # A row without a legal move is never asked for; its softmax would be NaN, and so the gradient of all.
    masked = torch.where(legal_mask.any(dim=1, keepdim=True), masked, 0.0)
    return torch.softmax(masked, dim=1) @ change


def _slopes(expected: Tensor, inputs: tuple[Tensor, ...]) -> list[Weights]:
    """Gradient [D, ...] of each of `expected` [D] by each input."""
    found = [np.zeros((len(expected), *value.shape)) for value in inputs]
    for d, one in enumerate(expected):
        gradients = torch.autograd.grad(one, inputs, retain_graph=d + 1 < len(expected), allow_unused=True)
        for whole, gradient in zip(found, gradients, strict=True):
            if gradient is not None:
                whole[d] = gradient.cpu().numpy()
    return found


def _raw_slopes(agent: PPO_GNN, key: str, raw: Array, slopes: Weights) -> Weights:
    """Gradient by the normalised columns [D, R, C] -> by the raw ones [D, R, F], of which each may be shown twice."""
    columns = raw.shape[-1]
    copies = slopes.shape[-1] // max(columns, 1)
    chained = slopes * agent.scaler.normalisers[key].slope(raw)
    return chained.reshape(*chained.shape[:-1], copies, columns).sum(axis=-2)


def _edge_order(obs: Observation) -> NDArray[np.int64]:
    """[e], position in `edges` of each edge of the compact sequence, which sorts them by target, stably."""
    real = np.flatnonzero(obs[EDGE_MASK][0])
    return real[np.argsort(obs[EDGE_INDEX][0, 1, real], kind="stable")]


def _memory_weight(
    slopes: Weights, memory: Tensor, prev_slot: Array, present: NDArray[np.int64], start: Array
) -> Weights:
    """Gradient by the memory of the old slots [D, 1, N, M] -> weight by the present slots [D, N]."""
    found = np.zeros((len(slopes), len(prev_slot)))
    kept = present[(prev_slot[present] >= 0) & ~start[0]]
    past = prev_slot[kept]
    remembered = memory.detach().cpu().numpy()[0, past].astype(np.float64)
    found[:, kept] = (slopes[:, 0, past] * remembered).sum(axis=2)
    return found
