"""Random streams of a batch: one word of state each, advanced inside compiled code.

splitmix64 (Steele, Lea and Flood 2014): a counter and a mixing function, so that number i of a stream depends on its start and on i alone.
Environment b of seed s has the same two streams whatever the size of the batch, and whoever routes: three numbers of the first make a
request (when it comes, of what type, how much work it is), the second is the chance that routers and interrupted services use.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.compilation import inlined

__all__ = ["advance", "exponential", "stream_starts", "uniform"]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_ONE = np.uint64(1)
_UNIT = 2.0**-53


def stream_starts(seed: int, environment: int) -> NDArray[np.uint64]:
    """Where the streams of an environment start: requests, chance. uint64 [2].

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; a seed is a whole number >= 0")
    return np.random.SeedSequence([seed, environment]).generate_state(2, np.uint64).astype(np.uint64, copy=False)


@inlined
def advance(state: np.uint64) -> np.uint64:
    """The next state of a stream."""
    return state + _STEP


@inlined
def _mixed(state: np.uint64) -> np.uint64:
    state = (state ^ (state >> _S30)) * _FIRST
    state = (state ^ (state >> _S27)) * _SECOND
    return state ^ (state >> _S31)


@inlined
def uniform(state: np.uint64) -> float:
    """The number of a state, in [0, 1)."""
    return float(_mixed(state) >> _S11) * _UNIT


@inlined
def exponential(state: np.uint64) -> float:
    """The number of a state, exponential with mean 1."""
    return -math.log(float((_mixed(state) >> _S11) + _ONE) * _UNIT)
