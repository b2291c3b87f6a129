"""Running standardisation of observations and the running deviation of returns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit

__all__ = ["ReturnScale", "RunningNormaliser"]


@njit(cache=True, nogil=True)
def _standardise(x, mean, inverse_deviation, signed_log, clip, out):  # type: ignore[no-untyped-def]
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = np.float64(x[r, c])
            if signed_log[c]:
                v = np.log1p(v) if v >= 0.0 else -np.log1p(-v)
            v = (v - mean[c]) * inverse_deviation[c]
            out[r, c] = min(max(v, -clip), clip)


class RunningNormaliser:
    """Standardises columns by a running mean and variance, then clips.

    Statistics are merged batch by batch (Chan et al. 1979) in float64. Only rows under the mask enter. Before the first
    `update` the mean is 0 and the deviation 1. While `frozen` (from the first step of a rollout to the end of its
    update) an update is an error, because the replay would see other inputs than the rollout did.

    Args:
        columns: number of columns.
        clip: largest absolute output, in deviations.
        signed_log: columns first mapped by sign(x) log(1 + |x|): all, none, or a [columns] bool array.
    """

    def __init__(self, columns: int, clip: float = 10.0, signed_log: bool | np.ndarray = False) -> None:
        self.clip = float(clip)
        self.signed_log = np.broadcast_to(np.asarray(signed_log, np.bool_), (columns,)).copy()
        self.count = 0.0
        self.mean = np.zeros(columns, np.float64)
        self.variance = np.ones(columns, np.float64)
        self.frozen = False
        self._refresh()

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.mean)

    def _refresh(self) -> None:
        # A column that never varied (a padded or constant feature) is centred only: dividing by almost 0 would turn its
        # first change into the clip.
        deviation = np.sqrt(self.variance)
        self._inverse_deviation = 1.0 / np.where(deviation > 1e-6, deviation, 1.0)

    def update(self, x: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Merge the rows of `x` [..., columns] under `mask` [...] into the statistics.

        Raises:
            RuntimeError: the normaliser is frozen.
            ValueError: a real entry is not finite, or the number of columns differs.
        """
        if self.frozen:
            raise RuntimeError("the normaliser is frozen between the first step of a rollout and the end of its update")
        if x.shape[-1] != self.columns:
            raise ValueError(f"{x.shape[-1]} columns, the normaliser has {self.columns}")
        rows = (x.reshape(-1, self.columns) if mask is None else x[mask.astype(bool)]).astype(np.float64)
        if len(rows) == 0:
            return
        rows = np.where(self.signed_log, np.sign(rows) * np.log1p(np.abs(rows)), rows)
        mean, variance, count = rows.mean(axis=0), rows.var(axis=0), float(len(rows))
        if not np.isfinite(mean).all():
            raise ValueError(f"column {int(np.argmin(np.isfinite(mean)))} of a real row is not finite")
        total = self.count + count
        delta = mean - self.mean
        if self.count == 0:
            self.mean, self.variance = mean, variance
        else:
            spread = self.variance * self.count + variance * count + delta**2 * self.count * count / total
            self.mean, self.variance = self.mean + delta * count / total, spread / total
        self.count = total
        self._refresh()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Standardise the rows of `x` [R, columns]; returns a new float32 array. Batch-invariant: each row alone.

        Raises:
            ValueError: another shape.
        """
        if x.ndim != 2 or x.shape[1] != self.columns:
            raise ValueError(f"rows of shape {x.shape}; the normaliser takes [R, {self.columns}]")
        out = np.empty(x.shape, np.float32)
        _standardise(x, self.mean, self._inverse_deviation, self.signed_log, self.clip, out)
        return out

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Derivative of the output by `x` [R, columns], float64, of each column by itself; 0 where it is clipped."""
        wide = np.asarray(x, np.float64)
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
