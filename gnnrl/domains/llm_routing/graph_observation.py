"""From what a router can see (`Watch`) to padded observations: the request feeds every replica that is up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.observation import BASE_FEATURES, OWN_FEATURES, HistoryWindows, ObservedClusters, Watch
from gnnrl.domains.llm_routing.speeds import ReplicaLoad, SpeedEstimate
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    GLOBALS,
    NODE_MASK,
    NODES,
    PREV_SLOT,
    GraphObservation,
    llm_routing_schema,
)

__all__ = ["LLMGraphObservation"]

QUEUE, BLOCKS, AVAILABLE, RESIDENT, BLOCK_SIZE = (
    BASE_FEATURES.index(name)
    for name in ("queue_length", "allocated_blocks", "available_fraction", "allocation_map_size", "block_size")
)
TOTAL_BLOCKS = BASE_FEATURES.index("total_blocks")


class LLMGraphObservation:
    """Writes the observations of B clusters into arrays it owns. Slot r is replica r, the last slot the request.

    A replica that comes (back) is a new node: `prev_slot` is -1. The request is new each time.

    Args:
        config: of the environment.
        simulation: what is observed.
    """

    def __init__(self, config: LLMRoutingConfig, simulation: ObservedClusters) -> None:
        schema = llm_routing_schema(config.features, simulation.settings.queue_heads)
        self._compact = config.features == "compact"
        self._simulation = simulation
        self.watch = Watch(simulation, HistoryWindows(tell_speeds=config.show_speeds))
        batch, columns = simulation.batch_size, simulation.max_replicas
        self._own = self.watch.replicas.shape[2] - len(OWN_FEATURES)
        self._speeds = SpeedEstimate(batch, columns, simulation.timing, simulation.settings.scheduler.chunk_tokens)
        self._was_present = np.zeros((batch, columns), np.bool_)
        self._changes_done = np.zeros(batch, np.int64)
        self._last_seconds = np.zeros(batch)
        self._fresh = np.ones(batch, np.bool_)
        slots = columns + 1
        self.arrays: GraphObservation = {
            NODES: np.zeros((batch, slots, len(schema.nodes)), np.float32),
            EDGE_INDEX: np.zeros((batch, 2, columns), np.int64),
            EDGES: np.zeros((batch, columns, len(schema.edges)), np.float32),
            GLOBALS: np.zeros((batch, len(schema.globals)), np.float32),
            NODE_MASK: np.zeros((batch, slots), np.int8),
            EDGE_MASK: np.zeros((batch, columns), np.int8),
            PREV_SLOT: np.full((batch, slots), -1, np.int64),
            ELAPSED_SECONDS: np.zeros(batch, np.float32),
            ACTION_MASK: np.zeros((batch, slots, 1), np.int8),
        }
        self.arrays[NODE_MASK][:, -1] = 1

    @property
    def able(self) -> NDArray[np.bool_]:
        """[B, R] replicas that may be chosen."""
        return self.watch.able

    def begin(self, b: int) -> None:
        """An episode of cluster `b` begins: nothing was there before."""
        self._was_present[b] = False
        self._fresh[b] = True
        self._changes_done[b] = self._simulation.arrays.cluster[b, c.CHANGES_DONE]

    def forget(self, b: int, r: int) -> None:
        """Replica `r` of cluster `b` is another one than at the last observation: a new node, whose speed is not known."""
        self._was_present[b, r] = False
        self.watch.forget(b, r)

    def write(self) -> GraphObservation:
        """The observation of every cluster, after each `load` and `step`; the arrays stay valid until the next call.

        A cluster at its end shows its last decision again.
        """
        self.watch.observe()
        watch, arrays, columns = self.watch, self.arrays, self._was_present.shape[1]
        present = watch.present
        now = np.where(self._simulation.deciding, self._simulation.arrays.now[:, c.NOW], self._last_seconds)
        elapsed = np.where(self._fresh, 0.0, now - self._last_seconds)
        known = present & self._was_present & ~self._gone()
        replicas = watch.replicas.astype(np.float64)
        nodes = arrays[NODES]
        nodes[:, :columns, 0] = present
        if self._compact:
            nodes[:, :columns, 1:] = self._compact_columns(replicas, elapsed, known) * present[:, :, None]
        else:
            nodes[:, :columns, 1:] = watch.replicas
        # Real edges are a prefix: the columns of present replicas first.
        order = np.argsort(~present, axis=1, kind="stable")
        there = np.take_along_axis(present, order, axis=1)
        free = (replicas[:, :, TOTAL_BLOCKS] - replicas[:, :, BLOCKS]) * replicas[:, :, BLOCK_SIZE]
        share = watch.requests[:, :1] / np.maximum(free, watch.requests[:, :1])
        arrays[EDGE_INDEX][:, 0] = np.where(there, columns, 0)
        arrays[EDGE_INDEX][:, 1] = np.where(there, order, 0)
        arrays[EDGES][:, :, 0] = np.where(there, np.take_along_axis(share, order, axis=1), 0.0)
        arrays[EDGE_MASK][:] = there
        arrays[GLOBALS][:] = np.concatenate([watch.requests, watch.globals], axis=1)
        arrays[NODE_MASK][:, :columns] = present
        arrays[PREV_SLOT][:, :columns] = np.where(known, np.arange(columns), -1)
        arrays[ELAPSED_SECONDS][:] = elapsed
        arrays[ACTION_MASK][:, :columns, 0] = watch.able
        self._was_present[:] = present
        self._last_seconds[:] = now
        self._fresh[:] = False
        return arrays

    def _compact_columns(
        self, replicas: NDArray[np.float64], elapsed: NDArray[np.float64], known: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """[B, R, F - 1] columns of the compact schema after the first."""
        pending, prefilled, generated, outstanding, told = np.moveaxis(replicas[:, :, self._own :], 2, 0)
        resident, kv = replicas[:, :, RESIDENT], replicas[:, :, BLOCKS] * replicas[:, :, BLOCK_SIZE]
        speeds = self._speeds
        speeds.update(ReplicaLoad(resident, kv, outstanding, prefilled, generated), elapsed, known)
        inferred = speeds.time_factor
        factor = np.where(told > 0.0, told, inferred)
        prompt = self.watch.requests[:, :1].astype(np.float64)
        return np.stack(
            [
                replicas[:, :, QUEUE],
                resident,
                outstanding,
                replicas[:, :, AVAILABLE],
                pending,
                *speeds.rates,
                told,
                inferred,
                factor * speeds.iteration_seconds(resident + 1.0, kv + prompt),
                factor * speeds.prefill_seconds(pending + prompt, resident, kv),
                factor * (outstanding + 1.0),
            ],
            axis=2,
        )

    def _gone(self) -> NDArray[np.bool_]:
        """[B, R] replicas that left or failed since the last observation, even if they are back."""
        gone = np.zeros_like(self._was_present)
        arrays = self._simulation.arrays
        done = arrays.cluster[:, c.CHANGES_DONE]
        for b in np.flatnonzero(done > self._changes_done).tolist():
            for change in arrays.change[b, self._changes_done[b] : done[b]]:
                gone[b, int(change[c.WHERE])] |= change[c.KIND] in (c.LEAVE, c.FAIL)
        self._changes_done[:] = done
        return gone

    def state_dict(self) -> dict[str, Any]:
        """What the next observation needs to know of the last ones."""
        return {
            "watch": self.watch.state_dict(),
            "speeds": self._speeds.state_dict(),
            "was_present": self._was_present.copy(),
            "changes_done": self._changes_done.copy(),
            "last_seconds": self._last_seconds.copy(),
            "fresh": self._fresh.copy(),
        }

    def load_state_dict(self, saved: Mapping[str, Any], these: Any = slice(None)) -> None:
        """Go on from `state_dict`; in the clusters `these` (an index of the axis B) alone, where they are given."""
        self.watch.load_state_dict(saved["watch"], these)
        self._speeds.load_state_dict(saved["speeds"], these)
        self._was_present[these] = saved["was_present"][these]
        self._changes_done[these] = saved["changes_done"][these]
        self._last_seconds[these] = saved["last_seconds"][these]
        self._fresh[these] = saved["fresh"][these]
