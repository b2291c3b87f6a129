"""The scenarios of a comparison: the same episodes, drawn from a held-out (or validation) stream, for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.baselines import Load
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode, warm_up_seconds
from gnnrl.domains.autoscaling.load_file import ABSOLUTE, recording

__all__ = ["ScenarioSet", "draw_scenarios", "recorded_level", "workload_label"]


def workload_label(workload: str) -> str:
    """How a workload is called in tables: the family, or the stem of a CSV file."""
    path = recording(workload)
    if path is None:
        return workload
    return f"{path.stem} (absolute)" if workload.startswith(ABSOLUTE) else path.stem


def recorded_level(workload: str, episodes: Sequence[Episode]) -> str:
    """At which level a recorded load is played in these episodes, in words; empty for a family."""
    factors = [episode.load_factor for episode in episodes if episode.load_factor is not None]
    if workload.startswith(ABSOLUTE):
        highest = max(float(episode.rps.max()) for episode in episodes)
        return f"{workload_label(workload)}: its own requests/s, up to {highest:.4g}"
    if not factors:
        return ""
    low, high = (f"{value:.4g}" for value in (min(factors), max(factors)))
    return (
        f"{workload_label(workload)}: rescaled, its requests/s times {low if low == high else f'{low} to {high}'}, to the peak that suits "
        f"each mesh; --absolute, or {ABSOLUTE} before its name, plays them as they are"
    )


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Episodes of equal length: every seed of the first workload, then of the second, and so on."""

    config: AutoscalingConfig
    split: Split
    workloads: tuple[str, ...]
    seeds: int
    episodes: tuple[Episode, ...]

    @property
    def seconds(self) -> int:
        """Scored seconds of each episode."""
        return len(self.episodes[0].rps) - warm_up_seconds(self.config)

    @property
    def rps(self) -> NDArray[np.float32]:
        """[B, T] load, warm-up included."""
        return np.stack([episode.rps for episode in self.episodes])

    def load(self) -> Load:
        """What baselines that know the future are told, and by which family settings are looked up."""
        return Load([episode.workload for episode in self.episodes], self.rps)

    def rows(self, workload: str) -> slice:
        """The scenarios of one workload."""
        start = self.workloads.index(workload) * self.seeds
        return slice(start, start + self.seeds)

    def recorded_levels(self) -> list[str]:
        """Of each recorded load: at which level it is played, in words."""
        told = (recorded_level(workload, self.episodes[self.rows(workload)]) for workload in self.workloads)
        return [level for level in told if level]

    def only(self, workload: str) -> ScenarioSet:
        """The scenarios of one workload."""
        return replace(self, workloads=(workload,), episodes=self.episodes[self.rows(workload)])

    def tiled(self, times: int, **changes: Sequence[Any]) -> ScenarioSet:
        """All scenarios `times` times over; `changes` gives each repetition a field of its episodes."""
        episodes = tuple(
            replace(episode, **{name: values[k] for name, values in changes.items()})
            for k in range(times)
            for episode in self.episodes
        )
        return replace(self, episodes=episodes)


def draw_scenarios(
    config: AutoscalingConfig,
    workloads: Sequence[str],
    seeds: int,
    *,
    split: Split = Split.HELD_OUT,
    violation_weight: float,
    decisions: int | None = None,
) -> ScenarioSet:
    """Draw `seeds` scenarios of each workload; one seed meets the same mesh on every workload.

    Args:
        config: the environment's configuration.
        workloads: families or CSV files.
        seeds: scenarios a workload, numbered from 0 within the stream.
        split: the stream they are drawn from.
        violation_weight: weight `a` shown to a policy that takes one.
        decisions: length in decision intervals; None = the configuration's.

    Raises:
        ValueError: no workload or no seed.
    """
    if not workloads or seeds < 1:
        raise ValueError(f"a comparison needs workloads and seeds, got {len(workloads)} workloads and {seeds} seeds")
    episodes = tuple(
        draw_episode(config, split, seed, workload=workload, violation_weight=violation_weight, decisions=decisions)
        for workload in workloads
        for seed in range(seeds)
    )
    return ScenarioSet(config=config, split=split, workloads=tuple(workloads), seeds=seeds, episodes=episodes)
