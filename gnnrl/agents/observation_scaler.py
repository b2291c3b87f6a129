"""Padded numpy observations -> a normalised compact sequence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces

from encoders.batching import compact
from encoders.sequence import SequenceBatch
from gnnrl.rl.normaliser import RunningNormaliser
from gnnrl.rl.storage import Array, Observation
from graph_space.schema import EDGES, GLOBALS, NODES

__all__ = ["ObservationScaler", "shown_columns"]


def shown_columns(key: str, columns: int) -> int:
    """Columns the encoder sees of `columns` observed ones."""
    return 2 * columns if key == NODES else columns


class ObservationScaler:
    """The running statistics of node, edge and graph features.

    Loads, rates and times span orders of magnitude, so every column first passes sign(x) log(1 + |x|), which leaves
    shares between 0 and 1 almost linear. Node columns are shown a second time as they are: a move is a difference of
    counts, linear in them and not in their logarithms.

    Args:
        space: observation space of one environment.
    """

    def __init__(self, space: spaces.Dict) -> None:
        self.normalisers = {}
        for key in (NODES, EDGES, GLOBALS):
            shape = space[key].shape
            if shape is None:
                raise ValueError(f"observation space {key!r} has no fixed shape")
            columns = shown_columns(key, shape[-1])
            logarithmic = np.arange(columns) < shape[-1]
            self.normalisers[key] = RunningNormaliser(columns, signed_log=logarithmic, copies=2 if key == NODES else 1)

    @property
    def frozen(self) -> bool:
        """True from the first step of a rollout to the end of its update."""
        return self.normalisers[NODES].frozen

    @frozen.setter
    def frozen(self, value: bool) -> None:
        for normaliser in self.normalisers.values():
            normaliser.frozen = value

    @property
    def count(self) -> float:
        """Graphs seen."""
        return self.normalisers[GLOBALS].count

    def update(self, obs: Observation, live: Array | None = None) -> None:
        """Merge the real nodes and edges of observations [..., N, F] into the statistics."""
        self.normalisers[NODES].update(obs[NODES], obs["node_mask"])
        self.normalisers[EDGES].update(obs[EDGES], obs["edge_mask"])
        self.normalisers[GLOBALS].update(obs[GLOBALS], live)

    def sequence(self, obs: Observation, episode_start: Array) -> SequenceBatch:
        """Compact and normalise observations [T, B, ...] (or [B, ...])."""
        sequence = compact(obs, episode_start)
        scaled = {}
        for key, normaliser in self.normalisers.items():
            scaled[key] = torch.from_numpy(normaliser(getattr(sequence, key).numpy()))
        return sequence.with_features(**scaled)

    def state_dict(self) -> dict[str, dict[str, np.ndarray]]:
        """The statistics, as arrays."""
        return {key: normaliser.state_dict() for key, normaliser in self.normalisers.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Take over saved statistics."""
        for key, normaliser in self.normalisers.items():
            normaliser.load_state_dict(state[key])
