"""A replayable part of a rollout: a sequence and, aligned with its rows or graphs, everything the losses read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from gnnrl.agents.observation_scaler import ObservationScaler
from gnnrl.rl.distributions import MaskedCategorical
from gnnrl.rl.storage import Array, RolloutStorage
from graph_space.schema import ACTION_MASK

__all__ = ["Part", "RolloutTargets", "build_part", "flat_actions"]


@dataclass(frozen=True)
class RolloutTargets:
    """What an update learns from, shaped like the storage: [T, B, ...]."""

    advantage: Array
    """[T, B, N] or [T, B], one a decision."""
    target: Array
    """[T, B, N] or [T, B], what the value should have been."""
    reference: Array | None = None
    """[T, B, N, K] log-probabilities of the frozen clone."""


@dataclass
class Part:
    """D decisions (rows or graphs) and V values (rows or graphs) of a few chunks."""

    sequence: SequenceBatch
    state: EncoderState
    """At the first step."""
    mask: Tensor
    """[R, K] bool, legal moves."""
    action: Tensor
    """[D], flat index `row * K + move`."""
    select: bool
    pointer: Tensor
    """[D + 1], rows of decision d are pointer[d]:pointer[d + 1]."""
    live: Tensor
    """[D] bool, false at final observations."""
    log_prob: Tensor
    """[D], of the rollout's policy."""
    advantage: Tensor
    """[D]."""
    weight: Tensor
    """[D], sums over the parts of a minibatch to 1."""
    old_value: Tensor
    """[V]."""
    target: Tensor
    """[V]."""
    value_weight: Tensor
    """[V], sums over the parts of a minibatch to 1."""
    reference: Tensor | None
    """[R, K] log-probabilities of the frozen clone."""
    temperature: Tensor | None = None
    """[R, 1] of the decision each row is part of; None = 1."""

    def tempered(self, logits: Tensor) -> Tensor:
        """The network's logits [R, K] as the rollout drew from them."""
        return logits if self.temperature is None else logits / self.temperature

    def policy(self, logits: Tensor) -> MaskedCategorical:
        """The decisions' distribution, as the rollout drew from it, under the network's `logits` [R, K]."""
        logits = self.tempered(logits)
        if self.select:
            return MaskedCategorical(logits, self.mask, self.sequence.row_graph, self.sequence.num_graphs, check=False)
        return MaskedCategorical(logits, self.mask, check=False)

    def to(self, device: torch.device) -> Part:
        """The same part on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        state = EncoderState(self.state.memory.to(device), self.state.age_seconds.to(device))
        return Part(**{**vars(self), **moved, "sequence": self.sequence.to(device), "state": state})


def flat_actions(action: Array, sequence: SequenceBatch, num_moves: int, select: bool) -> NDArray[np.int64]:
    """Flat indices `row * K + move` of padded actions [L, n, N] (`joint`) or [L, n] slot * K + move (`select`)."""
    slot = sequence.row_slot.numpy()
    if not select:
        move = action.reshape(-1)[sequence.flat_slot.numpy()]
        return np.arange(len(slot)) * num_moves + move
    chosen, move = np.divmod(action.reshape(-1), num_moves)
    row_of = np.zeros(sequence.num_graphs * sequence.max_nodes, np.int64)
    row_of[sequence.flat_slot.numpy()] = np.arange(len(slot))
    return row_of[np.arange(sequence.num_graphs) * sequence.max_nodes + chosen] * num_moves + move


def build_part(
    storage: RolloutStorage,
    chunks: NDArray[np.int64],
    scaler: ObservationScaler,
    targets: RolloutTargets,
    live_graphs: int,
    num_moves: int,
    select: bool,
) -> Part:
    """Gather, compact and normalise chunks of a rollout.

    Args:
        storage: the closed rollout.
        chunks: chunk numbers [n].
        scaler: frozen statistics.
        targets: advantages and value targets of the whole rollout.
        live_graphs: live observations of the whole minibatch this is a part of.
        num_moves: K.
        select: one choice per graph instead of a move per node.
    """
    obs = storage.chunk_observations(chunks)
    t, b = storage.chunk_rows(chunks)
    sequence = scaler.sequence(obs, storage.episode_start[t, b])
    flat, graph = sequence.flat_slot.numpy(), sequence.row_graph.numpy()

    def by_row(values: Array) -> Tensor:
        return torch.from_numpy(values[t, b].reshape(-1)[flat])

    def by_graph(values: Array) -> Tensor:
        return torch.from_numpy(values[t, b].reshape(-1))

    live = storage.loss_mask[t, b].reshape(-1)
    graph_weight = live.astype(np.float32) / max(live_graphs, 1)
    counts = np.diff(sequence.graph_ptr.numpy())
    row_weight = (graph_weight / np.maximum(counts, 1))[graph].astype(np.float32)
    decisions = by_graph if select else by_row
    values = by_row if storage.value.ndim == 3 else by_graph
    reference = None
    if targets.reference is not None:
        reference = torch.from_numpy(targets.reference[t, b].reshape(-1, num_moves)[flat])
    temperature = None
    if storage.temperature is not None:
        temperature = by_graph(storage.temperature)[sequence.row_graph].unsqueeze(-1)
    memory, age_seconds = storage.chunk_state(chunks)
    return Part(
        sequence=sequence,
        state=EncoderState(torch.from_numpy(memory), torch.from_numpy(age_seconds)),
        mask=torch.from_numpy(obs[ACTION_MASK].reshape(-1, num_moves)[flat].astype(np.bool_)),
        action=torch.from_numpy(flat_actions(storage.action[t, b], sequence, num_moves, select)),
        select=select,
        pointer=sequence.graph_ptr if select else torch.arange(sequence.num_rows + 1),
        live=torch.from_numpy(live if select else live[graph]),
        log_prob=decisions(storage.log_prob),
        advantage=decisions(targets.advantage),
        weight=torch.from_numpy(graph_weight if select else row_weight),
        old_value=values(storage.value),
        target=values(targets.target),
        value_weight=torch.from_numpy(row_weight if storage.value.ndim == 3 else graph_weight),
        reference=reference,
        temperature=temperature,
    )
