"""One update: advantages, minibatches of whole chunks, epochs, and the check that the replay is the rollout."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from gnnrl.agents.divergence import DivergenceError, require_sound_weights
from gnnrl.agents.learner import STATISTICS, Coefficients, largest_ratio_error, ppo_loss
from gnnrl.agents.minibatch import Part, RolloutTargets, build_part
from gnnrl.agents.policy_model import Judgement
from gnnrl.agents.recorder import Recorder
from gnnrl.agents.rollout_statistics import rollout_statistics
from gnnrl.agents.schedules import entropy_coefficient, learning_rate
from gnnrl.rl.losses import explained_variance
from gnnrl.rl.returns import discounted_sums, graph_advantages, node_advantages
from gnnrl.rl.storage import Array, Observation, RolloutStorage
from graph_space.schema import NODE_MASK, PREV_SLOT

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = [
    "ReplayError",
    "build_minibatches",
    "close_rollout",
    "live_decisions",
    "note_returns",
    "recompute_states",
    "reward_unit",
    "rollout_targets",
    "run_update",
]

REPLAY_TOLERANCE = 1e-5
"""Largest |ratio - 1| at unchanged weights: float32 rounding gives some 1e-6, a wrong state 0.01 to 1."""

DRIFT_ENVIRONMENTS = 8
"""Environments the drift of stored states is measured on."""

Minibatch = list[tuple[NDArray[np.int64], Part]]


class ReplayError(RuntimeError):
    """The replayed sequences do not give the probabilities that the rollout acted with."""


def run_update(agent: PPO_GNN, recorder: Recorder, obs: Observation, state: EncoderState) -> dict[str, float]:
    """Learn from a full rollout; see `PPO_GNN.update`."""
    config, storage = agent.config, recorder.storage
    close_rollout(agent, recorder, storage, obs, state)
    targets = rollout_targets(agent, recorder, storage)
    held = agent.clone is not None and agent.clone_coef > 0.0
    if agent.clone is not None and held:
        reference = agent.clone.log_probs(storage, agent.mode == "select")
        targets = RolloutTargets(targets.advantage, targets.target, reference)
    minibatches = build_minibatches(agent, storage, targets)
    checked = {}
    if not agent.replay_checked:
        checked = {"replay_error": check_replay(agent, minibatches)}
        agent.replay_checked = True
    deviation = 1.0 if config.normalise_reward else agent.return_scale.deviation
    coefficients = Coefficients(
        clip=config.clip,
        value_clip=config.value_clip * deviation,
        value_coef=config.value_coef,
        entropy_coef=entropy_coefficient(config, agent.progress),
        clone_coef=agent.clone_coef,
    )
    step_size = learning_rate(config, agent.progress)
    agent.learner.set_learning_rate(step_size)
    records, norms, stopped = [], [], False
    for epoch in range(config.epochs):
        if config.recompute_state and epoch > 0 and agent.model.remembers:
            recompute_states(agent, storage, minibatches)
        for index in agent.rng.permutation(len(minibatches)):
            parts = [part for _, part in minibatches[index]]
            gradients, statistics = agent.learner.gradients(parts, partial(ppo_loss, use=coefficients))
            record = dict(zip(STATISTICS, statistics.tolist(), strict=True))
            unsound = [name for name, value in record.items() if not np.isfinite(value)]
            if unsound:
                raise DivergenceError(f"{' and '.join(unsound)} not finite in epoch {epoch + 1}", step_size)
            records.append(record)
            stopped = config.target_kl > 0.0 and record["approx_kl"] > 1.5 * config.target_kl
            if stopped:
                break
            norms.append(agent.learner.apply(gradients))
        if stopped:
            break
    require_sound_weights(agent.learner.parameters, step_size)
    live = live_decisions(storage)
    result = {name: float(np.mean([record[name] for record in records])) for name in STATISTICS}
    if held:
        result["clone_coef"] = agent.clone_coef
    else:
        del result["clone_kl"]
    return {
        **result,
        **checked,
        **rollout_statistics(storage, [part for minibatch in minibatches for _, part in minibatch], agent.mode),
        "grad_norm": float(np.mean(norms)) if norms else 0.0,
        "explained_variance": explained_variance(storage.value[:-1][live], targets.target[live]),
        "optimiser_steps": float(len(norms)),
        "learning_rate": step_size,
        "state_drift": state_drift(agent, storage),
    }


def close_rollout(
    agent: PPO_GNN, recorder: Recorder, storage: RolloutStorage, obs: Observation, state: EncoderState
) -> None:
    """Value the observation after the rollout."""
    sequence = agent.scaler.sequence(obs, recorder.episode_start)
    with torch.inference_mode():
        value = agent.model(sequence.to(agent.device), state).value
    storage.close(obs, recorder.episode_start, _values_by_slot(storage, sequence, value))


def _values_by_slot(storage: RolloutStorage, sequence: SequenceBatch, value: Tensor) -> Array:
    """The values of one observation a graph, as the storage keeps them: [B], or [B, N] with 0 in padding."""
    found: Array = value.cpu().numpy()
    if storage.value.ndim == 2:
        return found
    padded = np.zeros(storage.value.shape[1:], np.float32)
    padded.reshape(-1)[sequence.flat_slot.cpu().numpy()] = found
    return padded


def live_decisions(storage: RolloutStorage) -> Array:
    """Whose values are learned from: [T, B] graphs, or the real nodes [T, B, N] of those, where they have one each."""
    if storage.value.ndim == 2:
        return storage.loss_mask
    return storage.loss_mask[..., None] & storage.obs[NODE_MASK][:-1].astype(np.bool_)


def rollout_targets(
    agent: PPO_GNN, recorder: Recorder, storage: RolloutStorage, lam: float | None = None, seen: bool = False
) -> RolloutTargets:
    """Advantages and value targets of a closed rollout.

    Args:
        agent: whose discount and return deviation.
        recorder: whose discounted sums.
        storage: the closed rollout.
        lam: instead of the configured lambda.
        seen: the running return deviation holds this rollout already; otherwise it takes it in first.
    """
    config = agent.config
    lam = config.gae_lambda if lam is None else lam
    live = live_decisions(storage)
    if not seen:
        note_returns(agent, recorder, storage)
    node_mask, prev_slot = storage.obs[NODE_MASK], storage.obs[PREV_SLOT].astype(np.int64)
    unit = np.float32(reward_unit(agent))
    ends = (storage.terminated, storage.truncated, storage.loss_mask)
    if storage.node_reward is not None:
        advantage = node_advantages(
            storage.node_reward / unit, storage.value, node_mask, prev_slot, *ends, config.gamma, lam
        )
    else:
        advantage = graph_advantages(storage.reward / unit, storage.value, *ends, config.gamma, lam)
    target = advantage + storage.value[:-1]
    if agent.mode == "select" and advantage.ndim == 3:
        # One pair is chosen for the whole graph, so it answers for what all nodes gained.
        advantage, live = advantage.sum(axis=-1), storage.loss_mask
    if config.normalise_advantage:
        chosen = advantage[live].astype(np.float64)
        if len(chosen) > 1:
            advantage = ((advantage - chosen.mean()) / (chosen.std() + 1e-8)).astype(np.float32)
    if agent.mode == "joint" and advantage.ndim == 2:
        advantage = np.repeat(advantage[..., None], node_mask.shape[-1], axis=-1)
    return RolloutTargets(advantage, target)


def reward_unit(agent: PPO_GNN) -> float:
    """What rewards are divided by before values are fitted to them."""
    return agent.return_scale.deviation if agent.config.normalise_reward else 1.0


def note_returns(agent: PPO_GNN, recorder: Recorder, storage: RolloutStorage) -> None:
    """Take the discounted sums of a full rollout's rewards into the running return deviation."""
    live = live_decisions(storage)
    agent.return_scale.update(_discounted(recorder, storage), live)


def _discounted(recorder: Recorder, storage: RolloutStorage) -> NDArray[np.float64]:
    gamma, starts = recorder.config.gamma, storage.episode_start[:-1]
    if storage.node_reward is not None:
        node_mask, prev_slot = storage.obs[NODE_MASK][:-1], storage.obs[PREV_SLOT][:-1].astype(np.int64)
        return discounted_sums(storage.node_reward, node_mask, prev_slot, starts, gamma, recorder.carry)
    whole = np.ones((*storage.reward.shape, 1), np.int8)
    sums = discounted_sums(storage.reward[..., None], whole, whole * np.int64(0), starts, gamma, recorder.carry)
    return sums[..., 0]


def build_minibatches(
    agent: PPO_GNN, storage: RolloutStorage, targets: RolloutTargets, rows: int | None = None
) -> list[Minibatch]:
    """Deal the chunks of a rollout into minibatches, and each of them into one part per thread.

    Graphs are compacted and normalised here, once for all epochs; the epochs differ in the order of the minibatches.
    `rows` observations a minibatch, instead of the configured number.
    """
    total = storage.num_chunks * storage.num_envs
    per_minibatch = max(1, (rows or agent.config.minibatch_rows) // storage.chunk_length)
    shuffled = agent.rng.permutation(total)
    minibatches = []
    for chunks in np.array_split(shuffled, -(-total // per_minibatch)):
        t, b = storage.chunk_rows(chunks)
        live_graphs = int(storage.loss_mask[t, b].sum())
        minibatch = []
        for share in np.array_split(chunks, min(agent.learner.threads, len(chunks))):
            part = build_part(
                storage, share, agent.scaler, targets, live_graphs, agent.num_moves, agent.mode == "select"
            )
            minibatch.append((share, part if agent.device.type == "cpu" else part.to(agent.device)))
        minibatches.append(minibatch)
    return minibatches


def check_replay(agent: PPO_GNN, minibatches: list[Minibatch]) -> float:
    """Stop where the replay is not the rollout; returns the largest |ratio - 1| over all live decisions.

    Raises:
        ReplayError: |ratio - 1| exceeds the tolerance.
    """
    error = largest_ratio_error(agent.model, [part for minibatch in minibatches for _, part in minibatch])
    if not error <= REPLAY_TOLERANCE:
        raise ReplayError(
            f"replaying the rollout at unchanged weights changes a probability by |ratio - 1| = {error:.2g} "
            f"(tolerance {REPLAY_TOLERANCE:g}): the update would learn from another policy than the one that acted. "
            "Pass act() the state it returned last, and episode_start where an episode starts; do not change weights "
            "or the environment's prev_slot inside a rollout"
        )
    return error


@torch.no_grad()
def recompute_states(
    agent: PPO_GNN, storage: RolloutStorage, minibatches: list[Minibatch] | None = None, values: bool = False
) -> None:
    """Replace the stored chunk states by those that the present weights give from the first one on.

    Args:
        agent: whose weights.
        storage: the closed rollout; its states are overwritten.
        minibatches: their states are overwritten too.
        values: the stored values are overwritten as well, that of the observation after the rollout too.
    """
    envs = np.arange(storage.num_envs)
    for chunk in range(storage.num_chunks):
        chunks = chunk * storage.num_envs + envs
        sequence, judged = _replay_chunk(agent, storage, chunks)
        if values:
            rows = storage.value[chunk * storage.chunk_length : (chunk + 1) * storage.chunk_length].reshape(-1)
            if storage.value.ndim == 3:
                rows[sequence.flat_slot.cpu().numpy()] = judged.value.cpu().numpy()
            else:
                rows[:] = judged.value.cpu().numpy()
        if chunk + 1 < storage.num_chunks:
            storage.memory[chunk + 1] = judged.state.memory.cpu().numpy()
            storage.age_seconds[chunk + 1] = judged.state.age_seconds.cpu().numpy()
        elif values:
            last = {key: array[-1] for key, array in storage.obs.items()}
            sequence = agent.scaler.sequence(last, storage.episode_start[-1]).to(agent.device)
            storage.value[-1] = _values_by_slot(storage, sequence, agent.model(sequence, judged.state).value)
    for minibatch in minibatches or ():
        for chunks, part in minibatch:
            memory, age = (torch.from_numpy(array).to(agent.device) for array in storage.chunk_state(chunks))
            part.state = EncoderState(memory, age)


def _replay_chunk(
    agent: PPO_GNN, storage: RolloutStorage, chunks: NDArray[np.int64]
) -> tuple[SequenceBatch, Judgement]:
    t, b = storage.chunk_rows(chunks)
    sequence = agent.scaler.sequence(storage.chunk_observations(chunks), storage.episode_start[t, b]).to(agent.device)
    memory, age = (torch.from_numpy(array).to(agent.device) for array in storage.chunk_state(chunks))
    judged: Judgement = agent.model(sequence, EncoderState(memory, age))
    return sequence, judged


@torch.no_grad()
def state_drift(agent: PPO_GNN, storage: RolloutStorage) -> float:
    """|m' - m| / |m| of the memory after the first chunk, m' at the new weights: how much stored states have aged."""
    if not agent.model.remembers or storage.num_chunks == 1:
        return 0.0
    count = min(DRIFT_ENVIRONMENTS, storage.num_envs)
    _, judged = _replay_chunk(agent, storage, np.arange(count))
    stored = storage.memory[1, :count]
    return float(np.linalg.norm(judged.state.memory.cpu().numpy() - stored) / (np.linalg.norm(stored) + 1e-12))
