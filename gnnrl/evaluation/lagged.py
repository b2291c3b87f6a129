"""Windows of B meshes that are shown some time after they were scraped, each mesh's as old as its metrics lag."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Lagged", "lag_windows"]


Sample = TypeVar("Sample", bound="DataclassInstance")
"""A dataclass of arrays whose leading axis is B."""


def lag_windows(lag_seconds: float, period_seconds: int) -> int:
    """Windows of a period that a lag reaches back, the next whole one."""
    return -(-int(lag_seconds) // period_seconds)


class Lagged(Generic[Sample]):
    """Remembers samples for as long as they may be shown.

    Args:
        longest_seconds: the longest lag of a mesh.
        period_seconds: between two samples.
        before: windows before the shown one that are asked for as well.
    """

    def __init__(self, longest_seconds: float, period_seconds: int, before: int = 0) -> None:
        self._period_seconds = period_seconds
        self._samples: deque[Sample] = deque(maxlen=lag_windows(longest_seconds, period_seconds) + 1 + before)
        self._lag = np.zeros(0, dtype=np.int64)

    def start(self, lag_seconds: Iterable[float]) -> None:
        """Begin with nothing to show; how old the metrics of each mesh are."""
        self._samples.clear()
        self._lag = np.array([lag_windows(each, self._period_seconds) for each in lag_seconds], dtype=np.int64)

    def push(self, sample: Sample) -> None:
        """A window was scraped; the sample must own its arrays."""
        self._samples.append(sample)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def shown(self, before: int = 0) -> Sample:
        """What is shown now, or was `before` windows ago; the oldest there is where nothing is as old as that."""
        position = np.maximum(len(self._samples) - 1 - self._lag - before, 0)
        return _of_each(self._samples, position)


def _of_each(samples: Sequence[Sample], position: NDArray[np.int64]) -> Sample:
    """Of each mesh the sample at its `position` [B]."""
    if (position == position[0]).all():
        return samples[int(position[0])]
    kind, rows = type(samples[0]), np.arange(len(position))
    return kind(*(np.stack([getattr(one, field.name) for one in samples])[position, rows] for field in fields(kind)))
