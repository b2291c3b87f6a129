"""What stood at each replica while requests were routed, looked at every so many decisions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.model import CHANGES, Change
from gnnrl.domains.llm_routing.physics import LLMSimulation

__all__ = ["LoadRecorder", "LoadTrace"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadTrace:
    """The R replicas of S streams at T decisions of the first one, and what happened to those of that one."""

    seconds: Floats  # [T] since its beginning
    outstanding: Floats  # [T, R] requests that the first stream has at each replica; not-a-number where it is not there
    kv_share: Floats  # [T, R] of its KV memory that is in use; likewise
    up_share: Floats  # [S, R] of the looks at which a replica took requests
    time_factor: Floats  # [S, R] mean while it did; not-a-number where it never did
    changes: tuple[Change, ...]
    """Of the first stream, by time."""


class LoadRecorder:
    """Notes the load of a simulation whenever it is told to look.

    Args:
        simulation: loaded, at its first decisions.
    """

    def __init__(self, simulation: LLMSimulation) -> None:
        self._simulation = simulation
        self._seconds: list[float] = []
        self._replicas: list[NDArray[np.int64]] = []
        shape = simulation.batch_size, simulation.max_replicas
        self._looks, self._up, self._factors = np.zeros((shape[0], 1)), np.zeros(shape), np.zeros(shape)

    def look(self) -> None:
        """Note how things stand; streams that are at their end are left out."""
        arrays, deciding = self._simulation.arrays, self._simulation.deciding
        if deciding[0]:
            self._seconds.append(float(arrays.now[0, c.NOW]))
            self._replicas.append(arrays.replica[0].copy())
        up = (arrays.replica[:, :, c.STATE] == c.UP) & deciding[:, None]
        self._looks += deciding[:, None]
        self._up += up
        self._factors += np.where(up, arrays.clock[:, :, c.TIME_FACTOR], 0.0)

    def trace(self) -> LoadTrace:
        """What was seen."""
        arrays = self._simulation.arrays
        replicas = np.stack(self._replicas)
        there = replicas[:, :, c.STATE] != c.ABSENT
        blocks = np.maximum(replicas[:, :, c.BLOCKS], 1)
        with np.errstate(invalid="ignore"):
            factors = self._factors / self._up
        return LoadTrace(
            seconds=np.array(self._seconds),
            outstanding=np.where(there, replicas[:, :, c.OUTSTANDING], np.nan),
            kv_share=np.where(there, 1.0 - replicas[:, :, c.FREE] / blocks, np.nan),
            up_share=self._up / np.maximum(self._looks, 1.0),
            time_factor=factors,
            changes=tuple(
                Change(
                    at_seconds=float(row[c.AT]),
                    kind=CHANGES[int(row[c.KIND])],
                    replica=int(row[c.WHERE]),
                    time_factor=float(row[c.VALUE]),
                )
                for row in arrays.change[0, : arrays.cluster[0, c.N_CHANGES]]
            ),
        )
