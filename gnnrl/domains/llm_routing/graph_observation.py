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
from graph_space.schema import GLOBALS, NODES, GraphObservation, llm_routing_schema
from graph_space.star import StarGraph

__all__ = ["LLMGraphObservation"]

QUEUE, BLOCKS, AVAILABLE, RESIDENT, BLOCK_SIZE = (
    BASE_FEATURES.index(name)
    for name in ("queue_length", "allocated_blocks", "available_fraction", "allocation_map_size", "block_size")
)
TOTAL_BLOCKS = BASE_FEATURES.index("total_blocks")


class LLMGraphObservation:
    """Writes the observations of B clusters, see `StarGraph`: candidate r is replica r.

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
        self._star = StarGraph(schema, batch, columns)
        self.arrays = self._star.arrays
        self._changes_done = np.zeros(batch, np.int64)
        self._last_seconds = np.zeros(batch)

    @property
    def able(self) -> NDArray[np.bool_]:
        """[B, R] replicas that may be chosen."""
        return self.watch.able

    def begin(self, b: int) -> None:
        """An episode of cluster `b` begins: nothing was there before."""
        self._star.begin(b)
        self._changes_done[b] = self._simulation.arrays.cluster[b, c.CHANGES_DONE]

    def forget(self, b: int, r: int) -> None:
        """Replica `r` of cluster `b` is another one than at the last observation: a new node, whose speed is not known."""
        self._star.forget(b, r)
        self.watch.forget(b, r)

    def write(self) -> GraphObservation:
        """The observation of every cluster, after each `load` and `step`; the arrays stay valid until the next call.

        A cluster at its end shows its last decision again.
        """
        self.watch.observe()
        watch, star = self.watch, self._star
        present = watch.present
        now = np.where(self._simulation.deciding, self._simulation.arrays.now[:, c.NOW], self._last_seconds)
        elapsed = np.where(star.fresh, 0.0, now - self._last_seconds)
        lasting = ~self._gone()
        replicas = watch.replicas.astype(np.float64)
        nodes = self.arrays[NODES][:, : present.shape[1]]
        nodes[:, :, 0] = present
        if self._compact:
            known = present & star.was_present & lasting
            nodes[:, :, 1:] = self._compact_columns(replicas, elapsed, known) * present[:, :, None]
        else:
            nodes[:, :, 1:] = watch.replicas
        self.arrays[GLOBALS][:] = np.concatenate([watch.requests, watch.globals], axis=1)
        free = (replicas[:, :, TOTAL_BLOCKS] - replicas[:, :, BLOCKS]) * replicas[:, :, BLOCK_SIZE]
        share = watch.requests[:, :1] / np.maximum(free, watch.requests[:, :1])
        self._last_seconds[:] = now
        return star.write(present, watch.able, share[:, :, None], elapsed, known=lasting)

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
        gone = np.zeros_like(self.watch.present)
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
            "changes_done": self._changes_done.copy(),
            "last_seconds": self._last_seconds.copy(),
            **self._star.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any], these: Any = slice(None)) -> None:
        """Go on from `state_dict`; in the clusters `these` (an index of the axis B) alone, where they are given."""
        self.watch.load_state_dict(saved["watch"], these)
        self._speeds.load_state_dict(saved["speeds"], these)
        self._changes_done[these] = saved["changes_done"][these]
        self._last_seconds[these] = saved["last_seconds"][these]
        self._star.load_state_dict(saved, these)
