"""Random padded observations of graphs that change at every step, in stable slots, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np

F, FE, G = 5, 3, 2


def random_observations(
    seed: int,
    steps: int = 4,
    batch: int = 3,
    slots: int = 8,
    max_edges: int = 24,
    *,
    most_nodes: int | None = None,
    churn: float = 0.3,
    empty: float = 0.1,
    restart: float = 0.1,
    garbage: float = 0.0,
) -> tuple[dict[str, Any], np.ndarray]:
    """`([T, B, ...] arrays, episode_start [T, B])`; multi-edges, self-calls, lonely nodes, empty graphs, reused slots.

    `churn`: chance that a node is replaced at a step, half of the time by a newcomer in the same slot.
    """
    rng = np.random.default_rng(seed)
    obs = {
        "nodes": np.full((steps, batch, slots, F), garbage, dtype=np.float32),
        "edge_index": np.zeros((steps, batch, 2, max_edges), dtype=np.int64),
        "edges": np.full((steps, batch, max_edges, FE), garbage, dtype=np.float32),
        "globals": rng.normal(size=(steps, batch, G)).astype(np.float32),
        "node_mask": np.zeros((steps, batch, slots), dtype=np.int8),
        "edge_mask": np.zeros((steps, batch, max_edges), dtype=np.int8),
        "prev_slot": np.full((steps, batch, slots), -1, dtype=np.int64),
        "elapsed_seconds": rng.choice([5.0, 15.0, 60.0], size=(steps, batch)).astype(np.float32),
    }
    start = rng.random((steps, batch)) < restart
    most = slots if most_nodes is None else most_nodes
    for b in range(batch):
        live: set[int] = set()
        for t in range(steps):
            before = set(live)
            if t == 0 or start[t, b]:
                before, live = set(), set(rng.permutation(slots)[: rng.integers(1, most + 1)].tolist())
            reborn = set()
            for slot in list(live):
                if slot in before and rng.random() < churn:
                    if rng.random() < 0.5:
                        reborn.add(slot)
                    else:
                        live.discard(slot)
            if len(live) < most and rng.random() < 0.5:
                live.add(int(rng.choice([s for s in range(slots) if s not in live])))
            if rng.random() < empty:
                live = set()
            present = sorted(live)
            obs["node_mask"][t, b, present] = 1
            obs["nodes"][t, b, present] = rng.normal(size=(len(present), F))
            for slot in present:
                if slot in before and slot not in reborn:
                    obs["prev_slot"][t, b, slot] = slot
            talkers = present[: max(1, len(present) - 1)]
            count = int(rng.integers(0, max_edges + 1)) if talkers else 0
            obs["edge_mask"][t, b, :count] = 1
            if count:
                obs["edge_index"][t, b, :, :count] = rng.choice(talkers, size=(2, count))
                obs["edges"][t, b, :count] = rng.normal(size=(count, FE))
            elif garbage:
                obs["edge_index"][t, b, :, count:] = -7
    return obs, start


def reslotted(obs: dict[str, Any], seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """The same graphs with every step's nodes in other slots; and `place [T, B, N]`, where each old slot went."""
    rng = np.random.default_rng(seed)
    steps, batch, slots = obs["node_mask"].shape
    moved = {key: value.copy() for key, value in obs.items()}
    place = np.empty((steps, batch, slots), dtype=np.int64)
    for t in range(steps):
        for b in range(batch):
            new = place[t, b] = rng.permutation(slots)
            for key in ("nodes", "node_mask"):
                moved[key][t, b, new] = obs[key][t, b]
            live = obs["edge_mask"][t, b] == 1
            moved["edge_index"][t, b, :, live] = new[obs["edge_index"][t, b][:, live]].T
            past = obs["prev_slot"][t, b]
            moved["prev_slot"][t, b, new] = np.where((past >= 0) & (t > 0), place[t - 1, b][past], past)
    return moved, place


def at_step(obs: dict[str, Any], t: int) -> dict[str, Any]:
    """[T, B, ...] -> [B, ...] of one step."""
    return {key: value[t] for key, value in obs.items()}
