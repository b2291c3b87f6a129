"""Services that have just come: which of them must not be lowered, and for how long nothing is.

The same functions say what a live loop may send, what `gnnrl evaluate --guardrails` does, and which moves the action mask of a training
leaves. Arrays are `[B, S]` by service, `[B]` by mesh; an age is seconds since a service came into the mesh, infinite for one that was
always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.proposal import Bools
from gnnrl.config.live import GuardrailConfig

__all__ = ["ALWAYS", "Births", "birth_hold_mask", "held_mask", "newborn_mask", "since_birth", "young_mask"]

ALWAYS: Final = float("inf")
"""Age of a service that was there before anybody looked."""

Seconds = NDArray[np.float64]


def newborn_mask(age_seconds: Seconds, mask: Bools, config: GuardrailConfig) -> Bools:
    """[B, S] services younger than `young_seconds`; 0 = nobody is. An age that is not a number counts as young."""
    return mask & ~(age_seconds >= config.young_seconds) & (config.young_seconds > 0.0)


def young_mask(age_seconds: Seconds, mask: Bools, measured_mask: Bools, config: GuardrailConfig) -> Bools:
    """[B, S] services that are too young to be lowered, or were never measured: no CPU is not little CPU.

    Args:
        age_seconds: [B, S].
        mask: [B, S] real services.
        measured_mask: [B, S] services that had metrics at least once.
        config: `young_seconds`; 0 = nobody is too young, measured or not.
    """
    unmeasured_mask = mask & ~measured_mask & (config.young_seconds > 0.0)
    return newborn_mask(age_seconds, mask, config) | unmeasured_mask


def since_birth(before: Seconds, elapsed_seconds: float, age_seconds: Seconds, mask: Bools) -> Seconds:
    """[B] seconds since a service last came into each mesh, `elapsed_seconds` after they were `before`; who came and went counts too."""
    youngest = np.where(mask, age_seconds, ALWAYS).min(axis=1, initial=ALWAYS)
    return np.minimum(before + elapsed_seconds, youngest)


def birth_hold_mask(since_birth_seconds: Seconds, config: GuardrailConfig) -> Bools:
    """[B] meshes in which nothing is lowered: a service came less than `birth_hold_seconds` ago."""
    return since_birth_seconds < config.birth_hold_seconds


def held_mask(
    age_seconds: Seconds, mask: Bools, measured_mask: Bools, since_birth_seconds: Seconds, config: GuardrailConfig
) -> Bools:
    """[B, S] services that must not be lowered because they, or others of their mesh, have just come.

    What the guardrails `young` and `birth_hold` hold, as one mask: a move that lowers one of these is no legal action.

    Args:
        age_seconds: [B, S].
        mask: [B, S] real services.
        measured_mask: [B, S] services that had metrics at least once.
        since_birth_seconds: [B], see `since_birth`.
        config: how long.
    """
    held_mesh_mask = birth_hold_mask(since_birth_seconds, config)
    return young_mask(age_seconds, mask, measured_mask, config) | (mask & held_mesh_mask[:, None])


class Births:
    """Ages of the services of B meshes in the time of a simulation. At the start nobody is young.

    Args:
        batch_size: B.
        columns: S.

    Attributes:
        age_seconds: [B, S].
        measured_mask: [B, S] services that had metrics at least once.
        since_birth_seconds: [B].
    """

    def __init__(self, batch_size: int, columns: int) -> None:
        self.age_seconds = np.full((batch_size, columns), ALWAYS)
        self.measured_mask = np.ones((batch_size, columns), dtype=np.bool_)
        self.since_birth_seconds = np.full(batch_size, ALWAYS)

    def start(self, b: int) -> None:
        """Mesh `b` begins: everything in it was always there, and is measured."""
        self.age_seconds[b] = ALWAYS
        self.measured_mask[b] = True
        self.since_birth_seconds[b] = ALWAYS

    def advance(self, seconds: float, shown_ready: NDArray[np.integer[Any]], active: Bools | None = None) -> None:
        """Time has passed, and metrics of so many ready pods are shown, [B, S].

        Args:
            seconds: since the last call.
            shown_ready: pods that the metrics on show belong to; one is enough to be measured.
            active: [B] meshes whose time it is; None = all.
        """
        rows = slice(None) if active is None else active
        self.age_seconds[rows] += seconds
        self.since_birth_seconds[rows] += seconds
        self.measured_mask[rows] |= shown_ready[rows] > 0

    def remesh(self, b: int, source: NDArray[np.int64]) -> None:
        """Column `i` of mesh `b` was column `source[i]` before, -1 = a service is born. Columns past the end of `source` are padding."""
        moved = np.full_like(self.age_seconds[b], ALWAYS)
        measured = np.ones_like(self.measured_mask[b])
        known = source >= 0
        moved[: len(source)] = np.where(known, self.age_seconds[b, source], 0.0)
        measured[: len(source)] = known & self.measured_mask[b, source]
        self.age_seconds[b], self.measured_mask[b] = moved, measured
        if not known.all():
            self.since_birth_seconds[b] = 0.0

    def held_mask(self, mask: Bools, config: GuardrailConfig) -> Bools:
        """`held_mask` of now."""
        return held_mask(self.age_seconds, mask, self.measured_mask, self.since_birth_seconds, config)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of what is remembered."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up where `state_dict` was called.

        Raises:
            ValueError: another number of meshes or columns, or other keys.
        """
        if set(state) != set(_STATE):
            raise ValueError(f"state of births has the keys {sorted(state)}, {sorted(_STATE)} are expected")
        for name in _STATE:
            own, given = getattr(self, name), np.asarray(state[name])
            if given.shape != own.shape or given.dtype != own.dtype:
                raise ValueError(
                    f"state of births: {name} is {given.dtype} {list(given.shape)}, {own.dtype} {list(own.shape)} is expected"
                )
            own[...] = given


_STATE = ("age_seconds", "measured_mask", "since_birth_seconds")
