"""One rollout of B environments over T steps, in preallocated arrays, handed out again in whole chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from graph_space.schema import EDGE_INDEX, EDGE_MASK, EDGES

__all__ = ["Array", "Observation", "RolloutStorage"]

Array: TypeAlias = NDArray[Any]
Observation: TypeAlias = Mapping[str, Array]

EDGE_AXIS = {EDGE_INDEX: -1, EDGES: -2, EDGE_MASK: -1}
"""Where the edge axis of each array lies."""


def edge_count(obs: Observation) -> int:
    """Largest number of real edges of a graph of `obs`; real edges are a prefix of the edge axis."""
    mask = obs[EDGE_MASK]
    return int(np.count_nonzero(mask, axis=-1).max(initial=0))


class RolloutStorage:
    """Rows 0..T-1 are decisions, row T is the observation after the last one.

    Nodes stay padded; edges are kept up to the largest real count seen, and grow. A row whose step follows the end of
    an episode is the final observation (NEXT_STEP autoreset): its `loss_mask` is false.

    Args:
        space: observation space of one environment.
        num_envs: B.
        length: T, decisions per environment.
        chunk_length: L, decisions of a chunk; state is kept at chunk starts.
        decision_shape: (N,) for a move per node, () for one choice per graph.
        value_shape: (N,) for values per node, () for one per graph.
        state_shape: (N, M) of the policy's memory: slots, or layers where it has one memory a graph, and width.

    Raises:
        ValueError: the chunk length does not divide the length.
    """

    def __init__(
        self,
        space: spaces.Dict,
        num_envs: int,
        length: int,
        chunk_length: int,
        decision_shape: tuple[int, ...],
        value_shape: tuple[int, ...],
        state_shape: tuple[int, int],
    ) -> None:
        if length % chunk_length:
            raise ValueError(f"chunk_length {chunk_length} does not divide rollout_length {length}")
        self.num_envs, self.length, self.chunk_length = num_envs, length, chunk_length
        self.num_chunks = length // chunk_length
        self.edge_capacity = 0
        self.obs: dict[str, Array] = {}
        for key, box in space.spaces.items():
            shape = box.shape
            if shape is None or box.dtype is None:
                raise ValueError(f"observation space {key!r} has no fixed shape or dtype: {box}")
            if key in EDGE_AXIS:
                shape = _edge_shape(key, shape, 0)
            self.obs[key] = np.zeros((length + 1, num_envs, *shape), box.dtype)
        rows, slots = (length, num_envs), space["node_mask"].shape
        self.episode_start = np.zeros((length + 1, num_envs), np.bool_)
        self.loss_mask = np.zeros(rows, np.bool_)
        self.terminated = np.zeros(rows, np.bool_)
        self.truncated = np.zeros(rows, np.bool_)
        self.reward = np.zeros(rows, np.float32)
        self.node_reward = np.zeros((*rows, *(slots or ())), np.float32) if value_shape else None
        self.action = np.zeros((*rows, *decision_shape), np.int64)
        self.log_prob = np.zeros((*rows, *decision_shape), np.float32)
        self.value = np.zeros((length + 1, num_envs, *value_shape), np.float32)
        self.memory = np.zeros((self.num_chunks, num_envs, *state_shape), np.float32)
        self.age_seconds = np.zeros((self.num_chunks, num_envs, state_shape[0]), np.float32)
        self.clear()

    def clear(self) -> None:
        """Start a new rollout."""
        self.step = 0
        self._open = False
        self.temperature: Array | None = None
        """[T, B] what the logits of each decision were divided by; None = all were drawn at 1."""

    @property
    def full(self) -> bool:
        """True when T steps are stored; the observation after them is still to be closed with."""
        return self.step == self.length

    def stage(
        self,
        obs: Observation,
        episode_start: Array,
        live: Array,
        memory: Array,
        age_seconds: Array,
        action: Array,
        log_prob: Array,
        value: Array,
        temperature: Array | None = None,
    ) -> None:
        """Copy what a decision was made of, before the environment overwrites it.

        Args:
            obs: batched observation [B, ...].
            episode_start: [B] bool.
            live: [B] bool, false at final observations.
            memory: [B, N, M] state the decision started from.
            age_seconds: [B, N].
            action: [B, *decision_shape].
            log_prob: [B, *decision_shape].
            value: [B, *value_shape].
            temperature: [B] of the draw; None = 1.

        Raises:
            RuntimeError: the rollout is full.
        """
        if self.full:
            raise RuntimeError(f"the rollout holds its {self.length} steps; update() before the next step")
        t = self.step
        self._write(t, obs)
        self.episode_start[t], self.loss_mask[t] = episode_start, live
        self.action[t], self.log_prob[t], self.value[t] = action, log_prob, value
        if temperature is not None:
            if self.temperature is None:
                self.temperature = np.ones((self.length, self.num_envs), np.float32)
            self.temperature[t] = temperature
        if t % self.chunk_length == 0:
            self.memory[t // self.chunk_length] = memory
            self.age_seconds[t // self.chunk_length] = age_seconds
        self._open = True

    def commit(self, reward: Array, terminated: Array, truncated: Array, node_reward: Array | None) -> None:
        """Store what the environment answered to the staged decision.

        Raises:
            RuntimeError: no decision was staged.
            ValueError: a reward is not finite.
        """
        if not self._open:
            raise RuntimeError("store_transition() without an act() before it")
        t = self.step
        self.reward[t], self.terminated[t], self.truncated[t] = reward, terminated, truncated
        if self.node_reward is not None:
            self.node_reward[t] = node_reward
        split = self.reward[t] if self.node_reward is None else self.node_reward[t]
        if not (np.isfinite(self.reward[t]).all() and np.isfinite(split).all()):
            raise ValueError(f"the environment gave a reward that is not finite at step {t} of the rollout")
        self.step += 1
        self._open = False

    def close(self, obs: Observation, episode_start: Array, value: Array) -> None:
        """Store the observation after the rollout and its value, from which the last step is bootstrapped."""
        if not self.full:
            raise RuntimeError(f"the rollout holds {self.step} of {self.length} steps")
        self._write(self.length, obs)
        self.episode_start[self.length], self.value[self.length] = episode_start, value

    def _write(self, t: int, obs: Observation) -> None:
        count = edge_count(obs)
        if count > self.edge_capacity:
            self._grow(max(count, min(2 * self.edge_capacity, obs[EDGE_MASK].shape[-1])))
        for key, array in self.obs.items():
            if key not in EDGE_AXIS:
                array[t] = obs[key]
            elif key == EDGES:
                array[t, :, :count] = obs[key][:, :count]
                array[t, :, count:] = 0
            else:
                array[t, ..., :count] = obs[key][..., :count]
                array[t, ..., count:] = 0

    def _grow(self, capacity: int) -> None:
        for key in EDGE_AXIS:
            old = self.obs[key]
            new = np.zeros(_edge_shape(key, old.shape, capacity), old.dtype)
            if key == EDGES:
                new[..., : self.edge_capacity, :] = old
            else:
                new[..., : self.edge_capacity] = old
            self.obs[key] = new
        self.edge_capacity = capacity

    def chunk_rows(self, chunks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices (t [L, n], b [1, n]) of chunks; chunk `c * B + b` is steps `c L .. (c + 1) L` of environment b."""
        start, env = chunks // self.num_envs * self.chunk_length, chunks % self.num_envs
        return start[None, :] + np.arange(self.chunk_length)[:, None], env[None, :]

    def chunk_observations(self, chunks: NDArray[np.int64]) -> dict[str, Array]:
        """Observations [L, n, ...] of the given chunks."""
        t, b = self.chunk_rows(chunks)
        return {key: array[t, b] for key, array in self.obs.items()}

    def chunk_state(self, chunks: NDArray[np.int64]) -> tuple[Array, Array]:
        """Memory [n, N, M] and age [n, N] at the starts of the given chunks."""
        return (
            self.memory[chunks // self.num_envs, chunks % self.num_envs],
            self.age_seconds[chunks // self.num_envs, chunks % self.num_envs],
        )


def _edge_shape(key: str, shape: tuple[int, ...], capacity: int) -> tuple[int, ...]:
    axis = len(shape) + EDGE_AXIS[key]
    return (*shape[:axis], capacity, *shape[axis + 1 :])
