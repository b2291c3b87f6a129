"""Running standardisation of observations and the running deviation of returns."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from encoders.vector import signed_log

__all__ = ["ReturnScale", "RunningNormaliser"]


@njit(cache=True, nogil=True, error_model="numpy")
def _standardise(x, mean, inverse_deviation, logarithmic, clip, out):  # type: ignore[no-untyped-def]
    width, columns = x.shape[1], len(mean)
    seen = np.empty(columns, np.float64)
    for r in range(len(x)):
        _show(x[r], logarithmic, seen, width)
        row = out[r]
        for c in range(columns):
            row[c] = min(max((seen[c] - mean[c]) * inverse_deviation[c], -clip), clip)


@njit(cache=True, nogil=True, error_model="numpy")
def _moments(x, mask, logarithmic, mean, squares):  # type: ignore[no-untyped-def]
    """Mean and sum of squared distances from it, both zero before, of the rows under the mask; returns their number."""
    width, columns = x.shape[1], len(mean)
    seen = np.empty(columns, np.float64)
    count = 0
    for r in range(len(x)):
        if not mask[r]:
            continue
        _show(x[r], logarithmic, seen, width)
        count += 1
        share = 1.0 / count
        for c in range(columns):
            before = mean[c]
            mean[c] += (seen[c] - before) * share
            squares[c] += (seen[c] - before) * (seen[c] - mean[c])
    return count


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _show(row, logarithmic, seen, width):  # type: ignore[no-untyped-def]
    """Write a raw row once or several times side by side, with logarithms where they are wanted."""
    for copy in range(len(seen) // max(width, 1)):
        for f in range(width):
            seen[copy * width + f] = row[f]
    # Both are computed and one is chosen: a loop without branches is a loop over vectors.
    for c in range(len(seen)):
        plain, log = seen[c], signed_log(seen[c])
        seen[c] = log if logarithmic[c] else plain


class RunningNormaliser:
    """Standardises columns by a running mean and variance, then clips.

    Statistics are merged batch by batch (Chan et al. 1979) in float64. Only rows under the mask enter. Before the first
    `update` the mean is 0 and the deviation 1. While `frozen` (from the first step of a rollout to the end of its
    update) an update is an error, because the replay would see other inputs than the rollout did.

    Args:
        columns: number of columns that come out.
        clip: largest absolute output, in deviations.
        signed_log: columns first mapped by sign(x) log(1 + |x|): all, none, or a [columns] bool array.
        copies: the columns that go in are shown so many times, side by side; it divides `columns`.
    """

    def __init__(
        self, columns: int, clip: float = 10.0, signed_log: bool | np.ndarray = False, copies: int = 1
    ) -> None:
        self.clip = float(clip)
        self.raw_columns = columns // copies
        self.signed_log = np.broadcast_to(np.asarray(signed_log, np.bool_), (columns,)).copy()
        self.count = 0.0
        self.mean = np.zeros(columns, np.float64)
        self.variance = np.ones(columns, np.float64)
        self.frozen = False
        self._refresh()

    @property
    def columns(self) -> int:
        """Number of columns that come out."""
        return len(self.mean)

    def _refresh(self) -> None:
        # A column that never varied (a padded or constant feature) is centred only: dividing by almost 0 would turn its
        # first change into the clip.
        deviation = np.sqrt(self.variance)
        self._inverse_deviation = 1.0 / np.where(deviation > 1e-6, deviation, 1.0)

    def update(self, x: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Merge the rows of `x` [..., raw columns] under `mask` [...] into the statistics.

        Raises:
            RuntimeError: the normaliser is frozen.
            ValueError: a real entry is not finite, or the number of columns differs.
        """
        if self.frozen:
            raise RuntimeError("the normaliser is frozen between the first step of a rollout and the end of its update")
        if x.shape[-1] != self.raw_columns:
            raise ValueError(f"{x.shape[-1]} columns, the normaliser has {self.raw_columns}")
        rows = _plain(x).reshape(math.prod(x.shape[:-1]), self.raw_columns)
        shown = np.ones(len(rows), np.bool_) if mask is None else np.ascontiguousarray(mask, np.bool_).reshape(-1)
        mean, squares = np.zeros(self.columns), np.zeros(self.columns)
        count = float(_moments(rows, shown, self.signed_log, mean, squares))
        if count == 0:
            return
        if not np.isfinite(mean).all():
            column = int(np.argmin(np.isfinite(mean))) % self.raw_columns
            raise ValueError(f"column {column} of a real row is not finite")
        variance, total = squares / count, self.count + count
        delta = mean - self.mean
        if self.count == 0:
            self.mean, self.variance = mean, variance
        else:
            spread = self.variance * self.count + squares + delta**2 * self.count * count / total
            self.mean, self.variance = self.mean + delta * count / total, spread / total
        self.count = total
        self._refresh()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Standardise the rows of `x` [R, raw columns]; returns a new float32 array [R, columns].

        Batch-invariant: each row alone.

        Raises:
            ValueError: another shape.
        """
        if x.ndim != 2 or x.shape[1] != self.raw_columns:
            raise ValueError(f"rows of shape {x.shape}; the normaliser takes [R, {self.raw_columns}]")
        out = np.empty((len(x), self.columns), np.float32)
        _standardise(_plain(x), self.mean, self._inverse_deviation, self.signed_log, self.clip, out)
        return out

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Derivative [R, columns], float64, of each column by the one of `x` [R, raw columns] that it shows; 0 where clipped."""
        wide = np.tile(np.asarray(x, np.float64), self.columns // self.raw_columns)
        slope = np.where(self.signed_log, 1.0 / (1.0 + np.abs(wide)), 1.0) * self._inverse_deviation
        return np.where(np.abs(self(x)) < np.float32(self.clip), slope, 0.0)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The statistics, as arrays."""
        return {
            "count": np.asarray(self.count),
            "mean": self.mean.copy(),
            "variance": self.variance.copy(),
            "signed_log": self.signed_log.copy(),
            "clip": np.asarray(self.clip),
        }

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the statistics of another normaliser.

        Raises:
            ValueError: the number of columns differs.
        """
        if len(state["mean"]) != self.columns:
            raise ValueError(f"statistics of {len(state['mean'])} columns, the normaliser has {self.columns}")
        self.count, self.clip = float(state["count"]), float(state["clip"])
        self.mean = np.array(state["mean"], np.float64)
        self.variance = np.array(state["variance"], np.float64)
        self.signed_log = np.array(state["signed_log"], np.bool_)
        self._refresh()


def _plain(x: np.ndarray) -> np.ndarray:
    """As the kernels take it, so that few versions of them are compiled."""
    return np.ascontiguousarray(x, np.float32 if x.dtype == np.float32 else np.float64)


class ReturnScale:
    """Running deviation of discounted returns: the unit of rewards and of the value clip."""

    def __init__(self) -> None:
        self._moments = RunningNormaliser(1)

    @property
    def deviation(self) -> float:
        """Standard deviation, 1 before the first update and where returns never varied."""
        deviation = float(np.sqrt(self._moments.variance[0]))
        return deviation if deviation > 1e-8 else 1.0

    def update(self, discounted: np.ndarray, mask: np.ndarray) -> None:
        """Merge discounted sums under a mask of the same shape."""
        self._moments.update(discounted[..., None], mask)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The statistics, as arrays."""
        return self._moments.state_dict()

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over saved statistics."""
        self._moments.load_state_dict(state)
