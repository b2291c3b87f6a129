"""A small graph environment with everything that makes the real one hard: churn, holes, reused slots, both kinds of
endings, NEXT_STEP autoreset.

Each node carries a hidden target move; a move that hits it earns 1 / (nodes of the graph). With `recall=False` the
target is shown in every observation, with `recall=True` only in the first one of a node's life, so that only memory can
hit it later.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

FEATURES, EDGE_FEATURES, GLOBALS = 4, 2, 2


def toy_space(slots: int, edges: int, moves: int) -> spaces.Dict:
    def box(*shape: int) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, shape, np.float32)

    return spaces.Dict(
        {
            "nodes": box(slots, FEATURES),
            "edge_index": spaces.Box(0, slots - 1, (2, edges), np.int64),
            "edges": box(edges, EDGE_FEATURES),
            "globals": box(GLOBALS),
            "node_mask": spaces.MultiBinary(slots),
            "edge_mask": spaces.MultiBinary(edges),
            "prev_slot": spaces.Box(-1, slots - 1, (slots,), np.int64),
            "elapsed_seconds": spaces.Box(0, np.inf, (), np.float32),
            "action_mask": spaces.MultiBinary((slots, moves)),
        }
    )


class ToyMesh(VectorEnv):
    """B graphs of 2 to `most` nodes in `slots` slots."""

    domain = "toy"

    def __init__(
        self,
        num_envs: int = 8,
        slots: int = 6,
        most: int = 5,
        moves: int = 3,
        mode: str = "joint",
        recall: bool = False,
        churn: float = 0.1,
        length: int = 20,
        end: float = 0.03,
        split_reward: bool = True,
    ) -> None:
        self.num_envs, self.slots, self.most, self.moves, self.mode = num_envs, slots, most, moves, mode
        self.recall, self.churn, self.length, self.end, self.split_reward = recall, churn, length, end, split_reward
        self.edges = 3 * most
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = toy_space(slots, self.edges, moves)
        joint = mode == "joint"
        self.single_action_space = spaces.MultiDiscrete([moves] * slots) if joint else spaces.Discrete(slots * moves)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.rng = np.random.default_rng(0)
        shape = (num_envs, slots)
        self.alive = np.zeros(shape, bool)
        self.target = np.zeros(shape, np.int64)
        self.previous = np.full(shape, -1, np.int64)
        self.done = np.zeros(num_envs, bool)
        self.steps = np.zeros(num_envs, np.int64)
        self.noise = np.zeros((*shape, FEATURES), np.float32)
        self.links = np.zeros((num_envs, 2, self.edges), np.int64)
        self.link_count = np.zeros(num_envs, np.int64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:  # noqa: ARG002
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.done[:] = False
        for b in range(self.num_envs):
            self._start(b)
        return self._observe(), {}

    def _start(self, b: int) -> None:
        self.steps[b] = 0
        self.alive[b] = False
        self.alive[b, self.rng.choice(self.slots, self.rng.integers(2, self.most + 1), replace=False)] = True
        self.target[b] = self.rng.integers(0, self.moves, self.slots)
        self.previous[b] = -1
        self._dress(b)

    def _dress(self, b: int) -> None:
        self.noise[b] = self.rng.normal(size=self.noise[b].shape)
        nodes = np.flatnonzero(self.alive[b])
        self.link_count[b] = self.rng.integers(0, self.edges + 1)
        self.links[b] = 0
        self.links[b, :, : self.link_count[b]] = self.rng.choice(nodes, (2, self.link_count[b]))

    def _advance(self, b: int) -> None:
        """Survivors move to random slots, some nodes leave and some arrive, also into slots just freed."""
        survivors = [s for s in np.flatnonzero(self.alive[b]) if self.rng.random() > self.churn]
        if not survivors:
            survivors = [int(np.flatnonzero(self.alive[b])[0])]
        arrivals = int(self.rng.random() < 2 * self.churn and len(survivors) < self.most)
        places = self.rng.choice(self.slots, len(survivors) + arrivals, replace=False)
        target = self.rng.integers(0, self.moves, self.slots)
        self.previous[b] = -1
        self.alive[b] = False
        for old, new in zip(survivors, places, strict=False):
            self.previous[b, new], target[new] = old, self.target[b, old]
        self.alive[b, places] = True
        self.target[b] = target
        self._dress(b)

    def _observe(self) -> dict[str, np.ndarray]:
        B = self.num_envs
        visible = self.alive & ((self.previous < 0) | (not self.recall))
        nodes = 0.3 * self.noise
        nodes[..., :3] += 2.0 * visible[..., None] * (self.target[..., None] == np.arange(3))
        nodes *= self.alive[..., None]
        edge_mask = np.arange(self.edges) < self.link_count[:, None]
        edges = np.stack([np.ones((B, self.edges)), np.sin(self.links.sum(1))], -1) * edge_mask[..., None]
        mask = np.repeat(self.alive[..., None], self.moves, -1)
        if self.moves > 1:
            mask[..., -1] &= self.noise[..., 3] > -1.5  # now and then the last move is illegal
        return {
            "nodes": nodes.astype(np.float32),
            "edge_index": self.links.copy(),
            "edges": edges.astype(np.float32),
            "globals": np.stack([self.alive.sum(1), self.steps], -1).astype(np.float32),
            "node_mask": self.alive.astype(np.int8),
            "edge_mask": edge_mask.astype(np.int8),
            "prev_slot": self.previous.copy(),
            "elapsed_seconds": np.where(self.steps == 0, 0.0, 15.0).astype(np.float32),
            "action_mask": mask.astype(np.int8),
        }

    def step(self, action: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        action = np.asarray(action)
        split = np.zeros((self.num_envs, self.slots), np.float32)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        for b in range(self.num_envs):
            if self.done[b]:
                self.done[b] = False
                self._start(b)
                continue
            share = 1.0 / self.alive[b].sum()
            if self.mode == "joint":
                split[b] = share * (self.alive[b] & (action[b] == self.target[b]))
            else:
                slot, move = divmod(int(action[b]), self.moves)
                split[b, slot] = float(self.alive[b, slot] and (self.moves == 1 or move == self.target[b, slot]))
            self.steps[b] += 1
            self._advance(b)
            terminated[b] = self.rng.random() < self.end
            truncated[b] = not terminated[b] and self.steps[b] >= self.length
            self.done[b] = terminated[b] or truncated[b]
        infos: dict[str, Any] = {"violating_share": (split.sum(1) < 0.5).astype(np.float32)}
        if self.split_reward:
            infos["node_reward"] = split
        return self._observe(), split.sum(1), terminated, truncated, infos

    _ARRAYS = ("alive", "target", "previous", "done", "steps", "noise", "links", "link_count")

    def state_dict(self) -> dict[str, Any]:
        state = {name: getattr(self, name).copy() for name in self._ARRAYS}
        return {**state, "rng": json.dumps(self.rng.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self._ARRAYS:
            setattr(self, name, np.array(state[name]))
        self.rng.bit_generator.state = json.loads(state["rng"])
