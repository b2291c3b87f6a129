"""Trained policies in a comparison: the one in question, further runs beside it, and the runs of one experiment together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from gnnrl.config.experiment import Experiment
from gnnrl.evaluation.controllers import LearnedPolicy
from gnnrl.evaluation.statistics import Interval, mean_interval

__all__ = [
    "POLICY",
    "Contender",
    "contenders_of",
    "over_runs",
    "row_names",
    "rows_in_order",
    "runs_together",
    "subject_of",
    "who_is_who",
]

POLICY = "policy"
"""Row of the policy in question."""

STUDENT_T: Mapping[int, float] = {2: 12.706, 3: 4.303, 4: 3.182}
"""Runs -> 97.5 % quantile of Student's t of one degree of freedom less. So few do not reach far enough however they are resampled: the
bootstrap's interval holds the truth 50, 75 and 87 times in a hundred."""

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender(Generic[AnyExperiment]):
    """A trained policy with a row of its own."""

    name: str
    """Of the row."""
    policy: LearnedPolicy
    config: AnyExperiment
    """It was trained with."""


def contenders_of(
    config: AnyExperiment, policy: LearnedPolicy | None, beside: Iterable[Contender[AnyExperiment]]
) -> dict[str, Contender[AnyExperiment]]:
    """All trained policies by row, the one in question first.

    Raises:
        ValueError: two have the same row.
    """
    first = [] if policy is None else [Contender(name=POLICY, policy=policy, config=config)]
    found: dict[str, Contender[AnyExperiment]] = {}
    for contender in (*first, *beside):
        if contender.name in found:
            raise ValueError(f"two trained policies are both called {contender.name!r}; give each a name of its own")
        found[contender.name] = contender
    return found


def runs_together(contenders: Mapping[str, Contender[AnyExperiment]]) -> dict[str, tuple[str, ...]]:
    """`NAME, N runs` -> their rows, for each experiment of which several runs take part: those whose configurations have the `name` and
    the settings of the first one of that name, but for the seed. Of one seed the first row alone: an earlier checkpoint of a run is not
    another training."""
    rows: dict[str, dict[int, str]] = {}
    settings: dict[str, dict[str, object]] = {}
    for row, contender in contenders.items():
        config = contender.config
        trained = {name: value for name, value in asdict(config).items() if name not in ("seed", "evaluation")}
        if settings.setdefault(config.name, trained) == trained:
            rows.setdefault(config.name, {}).setdefault(config.seed, row)
    return {f"{name}, {len(found)} runs": tuple(found.values()) for name, found in rows.items() if len(found) > 1}


def rows_in_order(played: Collection[str], together: Collection[str], baselines: Collection[str]) -> tuple[str, ...]:
    """All that has a figure: trained policies, runs together, baselines."""
    return (
        *(name for name in played if name not in baselines),
        *together,
        *(name for name in played if name in baselines),
    )


def subject_of(rows: Collection[str], together: Mapping[str, Sequence[str]]) -> str | None:
    """The row that a comparison is about: the policy's runs together where it has several, else its own; None without a policy."""
    return next((row for row, runs in together.items() if POLICY in runs), POLICY if POLICY in rows else None)


def over_runs(estimates: Iterable[Interval]) -> Interval:
    """Mean over runs of what each came to, with the interval of the runs: training is what varies, not the streams. Of fewer than five
    runs it is Student's."""
    means = np.array([estimate.mean for estimate in estimates])
    means = means[np.isfinite(means)]
    if len(means) not in STUDENT_T:
        return mean_interval(means)
    centre, reach = float(means.mean()), STUDENT_T[len(means)] * float(means.std(ddof=1)) / math.sqrt(len(means))
    return Interval(centre, centre - reach, centre + reach)


def row_names(paths: Sequence[Path], taken: Collection[str]) -> list[str]:
    """A name for each run or checkpoint: as much of the end of its path as tells it from the others and from the names in `taken`.

    Raises:
        ValueError: one is there twice.
    """
    parts = [path.resolve().parts for path in paths]
    for place, path in enumerate(parts):
        if path in parts[:place]:
            raise ValueError(f"{paths[place]} is there twice")
    for depth in range(1, max(map(len, parts), default=0) + 1):
        # A checkpoint's own name says nothing without that of its folder.
        names = ["/".join(p[-(depth + path.is_file()) :]) for p, path in zip(parts, paths, strict=True)]
        if len(set(names)) == len(names) and not set(names) & set(taken):
            return names
    return [str(path.resolve()) for path in paths]


def who_is_who(
    played: Collection[str], beside: Mapping[str, Experiment], together: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """What the rows of trained policies are: the one in question, where it was played, those beside it, runs together."""
    found = {POLICY: "the trained policy, its likeliest choice"} if POLICY in played else {}
    for row, config in beside.items():
        found[row] = f"beside it: {config.name}, seed {config.seed}, {config.training.total_steps:,} steps"
    for row, runs in together.items():
        found[row] = f"mean over {', '.join(runs)}; the interval is that of the runs"
    return found
