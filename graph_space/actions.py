"""`ActionCheck`: what is handed to `step` is in the action space, or nothing of it reaches a simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["ActionCheck", "ActionError"]


class ActionError(ValueError):
    """An action that is not in the action space: of another shape or kind, not a finite number, or out of range."""


class ActionCheck:
    """Judges the actions of one environment, or of a batch of them, by shape, kind and range, in about a microsecond.

    An action that is in the space but outside the mask passes: what becomes of it is the environment's own contract.

    Args:
        space: of a single environment: `Discrete(n)`, or `MultiDiscrete` of one number.
        batch: environments whose actions are given together, along a leading axis; None = one, without that axis.
        where: begins every message, as `MeshVectorEnv.step`.

    Raises:
        ValueError: a space of another kind.
    """

    def __init__(self, space: spaces.Space[Any], batch: int | None, where: str) -> None:
        if isinstance(space, spaces.Discrete) and space.start == 0:
            shape, choices = (), int(space.n)
        elif isinstance(space, spaces.MultiDiscrete) and len(np.unique(space.nvec)) == 1 and not space.start.any():
            shape, choices = space.nvec.shape, int(space.nvec.flat[0])
        else:
            raise ValueError(f"{where}: actions of {space}; they are Discrete, or MultiDiscrete of one number, from 0")
        self.shape: tuple[int, ...] = shape if batch is None else (batch, *shape)
        self._choices, self._where = choices, where

    def __call__(self, actions: Any, ignored: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """The actions as a contiguous int64 array of `shape`; not a copy where they are one already.

        Args:
            actions: what was handed in.
            ignored: [batch] environments whose action nobody reads; a number out of range becomes 0 there.

        Raises:
            ActionError: they are not in the space.
        """
        if not isinstance(actions, np.ndarray):
            actions = self._array(actions)
        if actions.dtype.kind not in "iu":
            raise ActionError(f"{self._where}: {self._kind(actions)}")
        if actions.shape != self.shape:
            raise ActionError(f"{self._where}: actions have shape {actions.shape}, expected {self.shape}")
        taken: NDArray[np.int64] = np.ascontiguousarray(actions, dtype=np.int64).reshape(self.shape)
        # One pass for both ends: what is negative is huge without its sign, as is an unsigned number past int64.
        if taken.size and taken.view(np.uint64).max() >= self._choices:
            return self._within(actions, taken, ignored)
        return taken

    def _within(
        self, actions: NDArray[Any], taken: NDArray[np.int64], ignored: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        outside = taken.view(np.uint64) >= self._choices
        read = outside if ignored is None else outside & ~ignored.reshape(-1, *(1,) * (taken.ndim - 1))
        for place in np.argwhere(read).tolist():
            raise ActionError(
                f"{self._where}: {_named(place)} {actions[tuple(place)]} is not in 0 .. {self._choices - 1}"
            )
        return np.where(outside, 0, taken)

    def _array(self, actions: Any) -> NDArray[Any]:
        try:
            return np.asarray(actions)
        except (ValueError, TypeError) as error:
            raise ActionError(
                f"{self._where}: {actions!r:.80} is no array of integers of shape {self.shape}"
            ) from error

    def _kind(self, actions: NDArray[Any]) -> str:
        if actions.dtype.kind == "f":
            bad = np.argwhere(~np.isfinite(actions))
            if len(bad):
                place = bad[0].tolist()
                return f"{_named(place)} {actions[tuple(place)]} is not an integer in 0 .. {self._choices - 1}"
        return f"actions are of dtype {actions.dtype}, expected integers, 0 .. {self._choices - 1}; make them int64"


def _named(place: list[int]) -> str:
    return f"action{place}" if place else "action"
