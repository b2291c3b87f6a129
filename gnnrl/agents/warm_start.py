"""Behaviour cloning of a teacher before PPO: the policy learns the teacher's moves, the value head what they earn."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnrl.agents.clone import FrozenClone
from gnnrl.agents.iteration import Collector
from gnnrl.agents.learner import clone_loss
from gnnrl.agents.recorder import Recorder
from gnnrl.agents.update import (
    build_minibatches,
    close_rollout,
    live_decisions,
    note_returns,
    recompute_states,
    reward_unit,
    rollout_targets,
)
from gnnrl.config.experiment import WarmStartConfig
from gnnrl.rl.storage import Array, Observation, RolloutStorage
from graph_space.schema import ACTION_MASK, NODE_MASK, PREV_SLOT

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["Teacher", "clone_teacher", "level_ends", "play", "steady_worth"]

CLONE_ROWS = 128
"""Observations of a minibatch of cloning. The labels are exact, so many small steps beat the few large ones PPO wants."""
CLONE_STEP = 2.0
"""Step size of cloning at its start, in units of the configured one; it falls to 0 like a square root."""

Teacher = Callable[[Observation], Array]
"""Batched observation [B, ...] -> actions as the environment takes them. It sees only what the policy sees."""


def clone_teacher(
    agent: PPO_GNN,
    collector: Collector,
    teacher: Teacher,
    config: WarmStartConfig,
    report: Callable[[str], Any] = print,
) -> dict[str, float]:
    """Play the teacher, fill the observation statistics, and fit policy and value to what it did.

    Stored memory is recomputed before each pass, since it changes with the weights. So are the values that returns end in, after the
    rollout and after truncations: the network's own, raised to where the targets were before (`level_ends`), at first to what the mean
    reward comes to (`steady_worth`). Afterwards the environments start anew, and, where `kl_coef` > 0, a frozen copy of the fitted
    policy holds PPO near to it.

    Args:
        agent: untrained.
        collector: of the training environment.
        teacher: whom to clone.
        config: amount of data and passes.
        report: is told one line a pass.

    Returns:
        Cross-entropy, value loss and mean probability of the teacher's moves in the last pass, and the teacher's mean
        reward.

    Raises:
        ValueError: the teacher chose an illegal move.
    """
    agent.train()
    collector.reset(agent)
    assert agent.recorder is not None
    recorder = agent.recorder
    storage = recorder.new_storage(_whole_chunks(agent, config.clone_steps))
    play(agent, recorder, collector, teacher, storage)
    live = storage.loss_mask
    result = {"reward": float(storage.reward[live].mean())}
    agent.scaler.update({key: array[:-1] for key, array in storage.obs.items()})
    agent.scaler.frozen = True
    loss = partial(clone_loss, value_coef=agent.config.value_coef)
    rows = min(CLONE_ROWS, agent.config.minibatch_rows)
    note_returns(agent, recorder, storage)
    worth = steady_worth(agent, storage)
    for epoch in range(config.clone_epochs):
        recompute_states(agent, storage, values=True)
        if worth is not None:
            level_ends(storage, worth)
        targets = rollout_targets(agent, recorder, storage, lam=1.0, seen=True)
        worth = None if worth is None else float(targets.target[live_decisions(storage)].mean())
        records = []
        minibatches = build_minibatches(agent, storage, targets, rows)
        for index, minibatch in enumerate(minibatches):
            done = (epoch + index / len(minibatches)) / config.clone_epochs
            agent.learner.set_learning_rate(CLONE_STEP * agent.config.learning_rate * math.sqrt(1.0 - done))
            gradients, statistics = agent.learner.gradients([part for _, part in minibatch], loss)
            agent.learner.apply(gradients)
            records.append(statistics.numpy())
        cross_entropy, value_loss, agreement = np.mean(records, axis=0).tolist()
        result |= {"cross_entropy": cross_entropy, "value_loss": value_loss, "agreement": agreement}
        report(f"cloning, pass {epoch + 1} of {config.clone_epochs}: agreement {agreement:.3f}")
    agent.scaler.frozen = False
    if config.kl_coef > 0.0 and config.kl_steps > 0:
        agent.clone = FrozenClone(agent.model, agent.scaler)
        agent.clone_schedule = (config.kl_coef, config.kl_steps)
    collector.reset(agent)
    return result


def steady_worth(agent: PPO_GNN, storage: RolloutStorage) -> float | None:
    """r / (1 - gamma p): what a node (or graph) is worth that earns the mean reward r and is still there a step later with probability p.

    None where that sum has no end.
    """
    going_on = storage.loss_mask & ~storage.terminated
    live = live_decisions(storage)
    if storage.node_reward is None:
        reward, kept = storage.reward[live], going_on.sum()
    else:
        known = (storage.obs[NODE_MASK][1:] != 0) & (storage.obs[PREV_SLOT][1:] >= 0)
        reward, kept = storage.node_reward[live], (known & going_on[..., None]).sum()
    discount = agent.config.gamma * float(kept) / max(len(reward), 1)
    return None if discount >= 1.0 else float(reward.mean()) / reward_unit(agent) / (1.0 - discount)


def level_ends(storage: RolloutStorage, worth: float) -> None:
    """Shift the values that returns end in, after the rollout and after truncations, by what the network's values lack of `worth` on
    average.

    Until they are fitted they lie near 0, as if nothing came after the ends; where returns reach further than the rollout, its targets
    would hardly leave that again.
    """
    live = live_decisions(storage)
    lack = np.float32(worth - float(storage.value[:-1][live].mean()))
    ends = np.concatenate([~storage.loss_mask, np.ones_like(storage.loss_mask[:1])])
    real = ends if storage.value.ndim == 2 else ends[..., None] & (storage.obs[NODE_MASK] != 0)
    storage.value[real] += lack


def _whole_chunks(agent: PPO_GNN, steps: int) -> int:
    assert agent.recorder is not None
    chunk, envs = agent.config.chunk_length, agent.recorder.num_envs
    return chunk * max(1, -(-steps // (envs * chunk)))


def play(agent: PPO_GNN, recorder: Recorder, collector: Collector, teacher: Teacher, storage: RolloutStorage) -> None:
    """Fill a rollout with what somebody else than the policy does.

    Raises:
        ValueError: the teacher chose an illegal move.
    """
    memory, age = storage.memory[0], storage.age_seconds[0]
    while not storage.full:
        assert collector.obs is not None
        action = np.asarray(teacher(collector.obs))
        _refuse_illegal(action, collector.obs, recorder.live, agent.mode == "joint")
        padded = np.where(collector.obs[NODE_MASK] != 0, action, 0) if agent.mode == "joint" else action
        storage.stage(
            collector.obs,
            recorder.episode_start,
            recorder.live,
            memory,
            age,
            padded,
            np.zeros(storage.log_prob.shape[1:], np.float32),
            np.zeros(storage.value.shape[1:], np.float32),
        )
        collector.obs, reward, terminated, truncated, infos = collector.env.step(action)
        recorder.commit(storage, reward, terminated, truncated, infos)
    assert collector.obs is not None
    close_rollout(agent, recorder, storage, collector.obs, agent.initial_state(recorder.num_envs))


def _refuse_illegal(action: Array, obs: Observation, live: Array, joint: bool) -> None:
    mask = obs[ACTION_MASK].astype(np.bool_)
    batch, slots, moves = mask.shape
    if joint:
        real = (obs[NODE_MASK] != 0) & live[:, None]
        legal = np.take_along_axis(mask, action[..., None], axis=2)[..., 0] | ~real
        where = np.argwhere(~legal)
        if len(where):
            b, slot = where[0]
            raise ValueError(
                f"the teacher chose move {action[b, slot]} for slot {slot} of environment {b}; {ACTION_MASK} forbids it"
            )
        return
    legal = mask.reshape(batch, slots * moves)[np.arange(batch), action] | ~live
    if not legal.all():
        b = int(np.argmin(legal))
        raise ValueError(f"the teacher chose action {action[b]} in environment {b}, which {ACTION_MASK} forbids")
