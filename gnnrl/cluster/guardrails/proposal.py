"""What goes into the guardrails and what comes out, as arrays over B meshes and S service columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_REPLICAS", "NO_FLOOR", "UNLIMITED", "Bools", "Proposal", "Replicas", "Verdict"]

Replicas = NDArray[np.int64]
Bools = NDArray[np.bool_]

LARGEST_REPLICAS: Final = 2**31 - 1
"""`spec.replicas` is an int32: the API server refuses a larger number."""
NO_FLOOR: Final = -1
"""In `Proposal.floor`: the fallback has nothing to say about this service."""
UNLIMITED: Final = int(np.iinfo(np.int64).max)
"""In `Proposal.quota_headroom`: no quota counts pods."""

_PER_MESH = ("error_mask", "quota_headroom", "violating_share")
_FLOATS = ("wish", "age_seconds", "busy", "violating_share")


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """What is wanted for every service, and what is known of it. Arrays are `[B, S]` unless they say otherwise.

    Raises:
        ValueError: an array has another shape than `current`, or another kind of numbers than its comment says.
    """

    current: Replicas
    """`spec.replicas`, as read in this interval."""
    wish: NDArray[np.float64]
    """Replicas wanted; not-a-number or infinite where there is no valid wish."""
    mask: Bools
    """Real services; the rest is padding."""
    scalable_mask: Bools
    """Deployments that may be scaled (neither stateful, nor unknown, nor outside of the mesh)."""
    owned_mask: Bools
    """An HPA or a ScaledObject scales it."""
    paused_mask: Bools
    """An annotation says hands off, or is malformed (`limits_of`)."""
    untrusted_mask: Bools
    """Its data are stale, missing or contradictory."""
    half_window_mask: Bools | None = None
    """The window of its rates may be half filled: a reading that failed, was empty or zero, or has too few samples. It is not lowered for
    `half_window_seconds` after that either. None = nobody's."""
    violated_mask: Bools | None = None
    """Its objective, or the mesh's, is shown violated; None = nobody's."""
    age_seconds: NDArray[np.float64] | None = None
    """Seconds since it came into the mesh, infinite = it was always there; None = all were."""
    measured_mask: Bools | None = None
    """It had metrics at least once; None = all had."""
    behind_errors_mask: Bools | None = None
    """Calls to it fail, or to a service on a path of calls that leads to it; None = nobody's."""
    busy: NDArray[np.float64] | None = None
    """Replicas' worth of work: its CPU over the CPU limit of a pod; not-a-number = unknown, None = unknown of all."""
    violating_share: NDArray[np.float64] | None = None
    """[B] share of violating seconds in what is shown; not-a-number = unknown, None = unknown of all."""
    min_replicas: Replicas
    max_replicas: Replicas
    """Limits with the annotations applied (`limits_of`)."""
    min_available: Replicas
    """Pods that a PodDisruptionBudget wants at least; 0 = no budget."""
    error_mask: Bools
    """[B] reading or writing failed in this interval: starts the cool-down."""
    floor: Replicas
    """The fallback's wish; `NO_FLOOR` where it has none, or has only stale data to judge by."""
    quota_headroom: Replicas | None = None
    """[B] pods that the namespace's quota still has room for (0 or less = none), `UNLIMITED` without a quota; None = no quota anywhere."""
    rank: Replicas | None = None
    """Place of each service in the order of names, which breaks ties; None = its column."""

    def __post_init__(self) -> None:
        shape = self.current.shape
        if len(shape) != 2:
            raise ValueError(f"proposal.current has shape {shape}, [meshes, services] is expected")
        for field in fields(self):
            array = getattr(self, field.name)
            if array is None:
                continue
            kind = np.bool_ if field.name.endswith("mask") else np.float64 if field.name in _FLOATS else np.int64
            expected = shape[:1] if field.name in _PER_MESH else shape
            if array.shape != expected or array.dtype != kind:
                found = f"{array.dtype} {list(array.shape)}"
                raise ValueError(f"proposal.{field.name} is {found}, {kind.__name__} {list(expected)} is expected")

    @classmethod
    def trusted(
        cls, current: Replicas, wish: NDArray[Any], mask: Bools, scalable_mask: Bools, low: int, high: int
    ) -> Proposal:
        """A proposal on good data and nobody else's services, with the same limits for all, as a simulation has it."""
        nobody, nothing = np.zeros(current.shape, dtype=np.bool_), np.zeros(current.shape, dtype=np.int64)
        return cls(
            current=current,
            wish=np.asarray(wish, dtype=np.float64),
            mask=mask,
            scalable_mask=scalable_mask,
            owned_mask=nobody,
            paused_mask=nobody,
            untrusted_mask=nobody,
            min_replicas=nothing + low,
            max_replicas=nothing + high,
            min_available=nothing,
            error_mask=np.zeros(len(current), dtype=np.bool_),
            floor=nothing + NO_FLOOR,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What the guardrails made of a proposal."""

    final: Replicas
    """[B, S] replicas; within the service's limits wherever it differs from `Proposal.current`."""
    hits: Mapping[str, Bools]
    """Name -> [B, S] services whose number it changed (or, `invalid` and `contradictory`, that it found), in the order of application."""
    fallback_mask: Bools
    """[B, S] services without a valid decision for so long that the fallback's floor counts."""

    def names(self, b: int, s: int) -> tuple[str, ...]:
        """The guardrails that acted on one service, in order."""
        return tuple(name for name, mask in self.hits.items() if mask[b, s])
