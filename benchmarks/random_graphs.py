"""Padded observations of random graphs of one size."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["NODE_FEATURES", "padded_observations"]

NODE_FEATURES, EDGE_FEATURES, GLOBAL_FEATURES = 24, 7, 4


def padded_observations(
    steps: int,
    batch: int,
    nodes: int,
    calls: int,
    *,
    slots: int | None = None,
    max_calls: int | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], np.ndarray]:
    """`([T, B, ...] arrays, episode_start [T, B])`: every node survives, calls are drawn once per environment."""
    rng = np.random.default_rng(seed)
    slots, max_calls = slots or nodes, max_calls or calls
    lead = (steps, batch)
    obs: dict[str, Any] = {
        "nodes": np.zeros((*lead, slots, NODE_FEATURES), np.float32),
        "edge_index": np.zeros((*lead, 2, max_calls), np.int64),
        "edges": np.zeros((*lead, max_calls, EDGE_FEATURES), np.float32),
        "globals": rng.normal(size=(*lead, GLOBAL_FEATURES)).astype(np.float32),
        "node_mask": np.zeros((*lead, slots), np.int8),
        "edge_mask": np.zeros((*lead, max_calls), np.int8),
        "prev_slot": np.full((*lead, slots), -1, np.int64),
        "elapsed_seconds": np.full(lead, 15.0, np.float32),
    }
    obs["node_mask"][..., :nodes] = 1
    obs["nodes"][..., :nodes, :] = rng.normal(size=(*lead, nodes, NODE_FEATURES))
    obs["prev_slot"][..., :nodes] = np.arange(nodes)
    obs["edge_mask"][..., :calls] = 1
    obs["edge_index"][..., :calls] = rng.integers(0, nodes, size=(1, batch, 2, calls))
    obs["edges"][..., :calls, :] = rng.normal(size=(*lead, calls, EDGE_FEATURES))
    return obs, np.zeros(lead, dtype=np.bool_)
