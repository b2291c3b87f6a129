"""What guardrails remember from one interval to the next, by service and by mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails import births, integrator
from gnnrl.cluster.guardrails.proposal import LARGEST_REPLICAS, Bools, Proposal, Replicas
from gnnrl.config.live import GuardrailConfig

__all__ = ["Memory"]


class Memory:
    """Past wishes, and intervals since this or that, for B meshes of S service columns.

    Windows are HPA's: a window contains what is strictly younger than its length, the wish of now included, and begins
    with a wish for what is there when a service is first seen, so that a restart changes nothing at once.

    Args:
        config: lengths of the windows and the cool-down.
        batch_size: B.
        columns: S.
        interval_seconds: between two intervals.
    """

    def __init__(self, config: GuardrailConfig, batch_size: int, columns: int, interval_seconds: float) -> None:
        up, down = (
            max(math.ceil(seconds / interval_seconds) - 1, 0)
            for seconds in (config.stabilise_up_seconds, config.stabilise_down_seconds)
        )
        self._interval_seconds = interval_seconds
        self._error_intervals = math.ceil(config.error_hold_seconds / interval_seconds)
        self._half_window_intervals = math.ceil(config.half_window_seconds / interval_seconds)
        self.config = config
        by_service = (batch_size, columns)
        self._by_service: dict[str, NDArray[Any]] = {
            "lowest_wishes": np.full((up, *by_service), LARGEST_REPLICAS, dtype=np.int64),
            "highest_wishes": np.zeros((down, *by_service), dtype=np.int64),
            "seen": np.zeros(by_service, dtype=np.bool_),
            "undecided": np.zeros(by_service, dtype=np.int64),
            "half_window": np.zeros(by_service, dtype=np.int64),
            "behind_errors": np.zeros(by_service, dtype=np.int64),
        }
        self._by_mesh: dict[str, NDArray[Any]] = {
            "cooldown": np.zeros(batch_size, dtype=np.int64),
            "braked": np.zeros(batch_size, dtype=np.int64),
            "since_birth_seconds": np.full(batch_size, births.ALWAYS),
            "slo_factor": np.ones(batch_size),
        }

    @property
    def shape(self) -> tuple[int, int]:
        """(B, S)."""
        batch_size, columns = self._by_service["seen"].shape
        return batch_size, columns

    def half_windows(self, proposal: Proposal) -> Bools:
        """[B, S] whether the window of a service's rates may be half filled: it is said to be, was not long enough ago, or the service
        is seen for the first time. To be asked before `wishes`."""
        doubt_mask = np.zeros(self.shape, np.bool_) if proposal.half_window_mask is None else proposal.half_window_mask
        anew_mask = doubt_mask | (proposal.mask & ~self._by_service["seen"])
        left = np.where(anew_mask, self._half_window_intervals, self._by_service["half_window"])
        self._by_service["half_window"] = np.maximum(left - 1, 0)
        return doubt_mask | (left > 0)

    def wishes(
        self, proposal: Proposal, wishes: Replicas, valid_mask: Bools, doubt_mask: Bools
    ) -> tuple[Replicas, Replicas]:
        """The lowest and the highest wish of the two windows [B, S], that of this interval included, which is remembered.

        A wish on data that are in doubt counts as one for at least what is there; no valid wish counts as none.
        """
        current = proposal.current
        lowest = np.where(valid_mask, wishes, LARGEST_REPLICAS)
        highest = np.where(doubt_mask, np.maximum(wishes, current), wishes)
        highest = np.where(valid_mask, highest, 0)
        new_mask = proposal.mask & ~self._by_service["seen"]
        lowest = np.where(new_mask, np.minimum(lowest, current), lowest)
        highest = np.where(new_mask, np.maximum(highest, current), highest)
        self._by_service["seen"] |= proposal.mask
        found_lowest = self._push("lowest_wishes", lowest).min(axis=0)
        found_highest = self._push("highest_wishes", highest).max(axis=0)
        # A window of no length contains nothing, not even now.
        if self.config.stabilise_up_seconds == 0.0:
            found_lowest = np.full_like(lowest, LARGEST_REPLICAS)
        if self.config.stabilise_down_seconds == 0.0:
            found_highest = np.zeros_like(highest)
        return found_lowest, found_highest

    def _push(self, name: str, newest: Replicas) -> Replicas:
        together = np.concatenate([newest[None], self._by_service[name]])
        self._by_service[name] = together[:-1]
        return together

    def undecided(self, decided_mask: Bools) -> Replicas:
        """[B, S] intervals in a row without a valid decision on good data, this one included."""
        count = self._by_service["undecided"]
        self._by_service["undecided"] = np.where(decided_mask, 0, np.minimum(count + 1, LARGEST_REPLICAS))
        return self._by_service["undecided"]

    def cooling(self, error_mask: Bools) -> Bools:
        """[B] whether there was an error in this interval or too few intervals ago."""
        left = np.where(error_mask, self.config.cooldown_intervals + 1, self._by_mesh["cooldown"])
        self._by_mesh["cooldown"] = np.maximum(left - 1, 0)
        return left > 0

    def braking(self, asked_mask: Bools) -> Bools:
        """[B] whether the brake holds: it lets go of what is asked for in each of `brake_intervals` intervals, and once more."""
        count = np.where(asked_mask, np.minimum(self._by_mesh["braked"] + 1, LARGEST_REPLICAS), 0)
        self._by_mesh["braked"] = count
        return asked_mask & (count <= self.config.brake_intervals)

    def since_birth(self, age_seconds: NDArray[np.float64], mask: Bools) -> NDArray[np.float64]:
        """[B] seconds since a service last came into each mesh, of ages [B, S] and real services [B, S]."""
        before = self._by_mesh["since_birth_seconds"]
        found = births.since_birth(before, self._interval_seconds, age_seconds, mask)
        self._by_mesh["since_birth_seconds"] = found
        return found

    def behind_errors(self, mask: Bools) -> Bools:
        """[B, S] services that errors upstream hold: what shows for longer than `error_hold_seconds` is usual."""
        count = np.where(mask, np.minimum(self._by_service["behind_errors"] + 1, LARGEST_REPLICAS), 0)
        self._by_service["behind_errors"] = count
        return mask & (count <= self._error_intervals)

    def slo_factor(self, violating_share: NDArray[np.float64]) -> NDArray[np.float64]:
        """[B] the factor of the SLO integrator, this interval's shown violations [B] included."""
        self._by_mesh["slo_factor"] = integrator.next_factor(self._by_mesh["slo_factor"], violating_share, self.config)
        return self._by_mesh["slo_factor"]

    def miss(self) -> None:
        """Let an interval pass in which nothing was known: no wish, no decision, an error."""
        shape = self.shape
        self._push("lowest_wishes", np.full(shape, LARGEST_REPLICAS, dtype=np.int64))
        self._push("highest_wishes", np.zeros(shape, dtype=np.int64))
        self.undecided(np.zeros(shape, dtype=np.bool_))
        self.cooling(np.ones(shape[0], dtype=np.bool_))
        self._by_service["half_window"][:] = max(self._half_window_intervals - 1, 0)
        self._by_service["behind_errors"][:] = 0
        self._by_mesh["since_birth_seconds"] += self._interval_seconds

    def remesh(self, b: int, source: NDArray[np.int64]) -> None:
        """Column `i` of mesh `b` was column `source[i]` before, -1 = a new service; columns are added where more are there."""
        nothing = {"lowest_wishes": LARGEST_REPLICAS}
        missing = max(len(source) - self.shape[1], 0)
        kept = np.flatnonzero(source >= 0)
        for name, array in self._by_service.items():
            padding = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
            wide = np.pad(array, padding, constant_values=nothing.get(name, 0))
            moved = np.full_like(wide[..., b, :], nothing.get(name, 0))
            moved[..., kept] = wide[..., b, source[kept]]
            wide[..., b, :] = moved
            self._by_service[name] = wide

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of everything that is remembered."""
        return {name: array.copy() for name, array in {**self._by_service, **self._by_mesh}.items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up where `state_dict` was called.

        Raises:
            ValueError: it is of other windows, another number of meshes or columns, or has other keys.
        """
        own = {**self._by_service, **self._by_mesh}
        if set(state) != set(own):
            raise ValueError(f"state of guardrails has the keys {sorted(state)}, {sorted(own)} are expected")
        for name, array in own.items():
            given = np.asarray(state[name])
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(
                    f"state of guardrails: {name} is {given.dtype} {list(given.shape)}, {array.dtype} "
                    f"{list(array.shape)} is expected: it comes from other windows or another mesh"
                )
        for arrays in (self._by_service, self._by_mesh):
            arrays.update({name: np.array(state[name]) for name in arrays})
