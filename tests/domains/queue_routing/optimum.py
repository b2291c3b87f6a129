"""The best router of two queues and two types, computed: value iteration over all ordered contents up to a length.

A state is the types in either queue, in order; who routes knows them, as the oracle of the spec does. A full queue takes no more requests,
which go to the other one then (or are lost, where both are full: one in 100,000 in the base model at a length of 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BEST = -1


@dataclass(frozen=True)
class Contents:
    """All contents of one queue: number 2^n - 1 + bits is the one of n requests whose types are the bits, the head's the lowest."""

    length: Ints  # [S]
    head: Ints  # [S] -1 where empty
    behind: Ints  # [S] the contents once the head is served
    joined: Ints  # [2, S] the contents once a request of a type has joined, -1 where full
    count: Ints  # [S, 2] requests of each type


def contents(longest: int) -> Contents:
    size = 2 ** (longest + 1) - 1
    length = np.array([(s + 1).bit_length() - 1 for s in range(size)])
    bits = np.arange(size) + 1 - 2**length
    ones = np.array([int(b).bit_count() for b in bits])
    behind = np.where(length > 0, 2 ** np.maximum(length - 1, 0) - 1 + (bits >> 1), 0)
    joined = np.stack([np.where(length < longest, 2 ** (length + 1) - 1 + bits + (k << length), -1) for k in (0, 1)])
    return Contents(length, np.where(length > 0, bits & 1, -1), behind, joined, np.stack([length - ones, ones], axis=1))


@njit(cache=True)
def sweep(
    value: Floats,
    after: Floats,
    choice: Ints,
    length: Ints,
    head: Ints,
    behind: Ints,
    joined: Ints,
    arrivals: Floats,
    rates: Floats,
) -> tuple[float, float]:
    """One step of the uniformised chain, `value` [S, S] to `after`; least and largest growth, in requests in the system."""
    total = arrivals.sum() + rates.max() * 2
    least, most = np.inf, -np.inf
    size = len(length)
    for i in range(size):
        for j in range(size):
            here = value[i, j]
            sum_ = length[i] + length[j] + 0.0
            if head[i] >= 0:
                sum_ += rates[0, head[i]] * (value[behind[i], j] - here)
            if head[j] >= 0:
                sum_ += rates[1, head[j]] * (value[i, behind[j]] - here)
            for k in range(2):
                first = value[joined[k, i], j] if joined[k, i] >= 0 else np.inf
                second = value[i, joined[k, j]] if joined[k, j] >= 0 else np.inf
                if choice[k, i, j] == 0 and first < np.inf:
                    there = first
                elif choice[k, i, j] == 1 and second < np.inf:
                    there = second
                else:
                    there = min(first, second)
                if there < np.inf:
                    sum_ += arrivals[k] * (there - here)
            least, most = min(least, sum_), max(most, sum_)
            after[i, j] = here + sum_ / total
    return least, most


def mean_in_system(
    arrivals: Floats, rates: Floats, longest: int, choice: Ints, precision: float
) -> tuple[float, float]:
    """Bounds of the mean number in the system under `choice` [2, S, S] (type, contents of either queue), `BEST` where free to choose."""
    c = contents(longest)
    value = np.zeros((len(c.length), len(c.length)))
    after = np.empty_like(value)
    least, most = 0.0, np.inf
    while most - least > precision:
        least, most = sweep(value, after, choice, c.length, c.head, c.behind, c.joined, arrivals, rates)
        value, after = after, value
        value -= value[0, 0]
    return least, most
