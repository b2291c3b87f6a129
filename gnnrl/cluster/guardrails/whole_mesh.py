"""Guardrails that look at all services of a mesh together: how many are lowered at once, and how far a number of pods
goes round. Pure functions over arrays `[B, S]`."""

from __future__ import annotations

import numpy as np

from gnnrl.cluster.guardrails.proposal import Bools, Replicas

__all__ = ["BRAKE_DIVISOR", "BRAKE_SERVICES", "brake_mask", "change_budget", "quota", "share_out"]

BRAKE_DIVISOR = 4
"""A service counts as lowered if it loses a quarter of its replicas or more."""
BRAKE_SERVICES = 3
"""Below this many services that may be moved, "all at once" says nothing."""


def brake_mask(numbers: Replicas, current: Replicas, movable_mask: Bools, share: float) -> Bools:
    """[B] whether more than `share` of the services that may be moved would lose a quarter or more."""
    lowered = movable_mask & (numbers < current) & (BRAKE_DIVISOR * (current - numbers) >= current)
    movable = movable_mask.sum(axis=1)
    return (movable >= BRAKE_SERVICES) & (lowered.sum(axis=1) > share * movable + 1e-9)


def quota(numbers: Replicas, current: Replicas, low: Replicas, headroom: Replicas, rank: Replicas) -> Replicas:
    """Raise no further than the `headroom` [B] has room; see `share_out`. Below its limit `low` nothing is sent."""
    need = np.maximum(numbers - current, 0)
    granted = _granted(need, np.maximum(low - current, 0), headroom, rank)
    return np.where(need > 0, current + granted, numbers)


def change_budget(
    numbers: Replicas, current: Replicas, low: Replicas, high: Replicas, budget: int, rank: Replicas
) -> Replicas:
    """Change at most `budget` replicas of a mesh: raises come first, removals share what is left; see `share_out`."""
    left = np.full(len(numbers), budget, dtype=np.int64)
    raises, removals = np.maximum(numbers - current, 0), np.maximum(current - numbers, 0)
    raised = _granted(raises, np.maximum(low - current, 0), left, rank)
    removed = _granted(removals, np.maximum(current - high, 0), left - raised.sum(axis=1), rank)
    return current + raised - removed


def _granted(need: Replicas, least: Replicas, available: Replicas, rank: Replicas) -> Replicas:
    granted = need.copy()
    for b in np.flatnonzero(need.sum(axis=1) > available):
        granted[b] = share_out(need[b], least[b], int(available[b]), rank[b])
    return granted


def share_out(need: Replicas, least: Replicas, available: int, rank: Replicas) -> Replicas:
    """Give `available` replicas to services that need more than that together.

    A service outside its limits takes what brings it inside whole or not at all, the smallest such step first. Beyond
    that all are filled up evenly (max-min fairness), and what does not go round once more goes one each to those that
    want most. Ties are broken by name (`rank`), never by column.

    Args:
        need: [S] replicas that a service is to be changed by, 0 = none.
        least: [S] the smallest change that brings it within its limits, 0 where it is within them.
        available: replicas to give; below 0 counts as none.
        rank: [S] place in the order of names.

    Returns:
        [S] at most `need` each, at most `available` together.
    """
    available = max(available, 0)
    first = np.zeros_like(need)
    wanted = need.copy()
    outside = np.flatnonzero((need > 0) & (least > 0))
    for s in outside[np.lexsort((rank[outside], least[outside]))]:
        if least[s] <= min(available - int(first.sum()), int(need[s])):
            first[s] = least[s]
        else:
            wanted[s] = 0
    level = _level(wanted, first, available)
    granted = np.maximum(first, np.minimum(wanted, level))
    left = available - int(granted.sum())
    lacking = np.flatnonzero((wanted > level) & (granted == level))
    granted[lacking[np.lexsort((rank[lacking], -wanted[lacking]))][:left]] += 1
    return granted


def _level(wanted: Replicas, first: Replicas, available: int) -> int:
    """The highest level to which everybody can be filled who does not have more already or wants less."""
    low, high = 0, int(wanted.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.maximum(first, np.minimum(wanted, middle)).sum()) <= available:
            low = middle
        else:
            high = middle - 1
    return low
