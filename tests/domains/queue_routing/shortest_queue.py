"""Join-the-shorter-queue of two, solved: the stationary law of the lengths and of the types in service.

The router does not look at types, so those of the requests that wait are drawn anew whenever one of them comes into service, and the
lengths with the two types in service are a Markov chain.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True)
def pass_on(law: Floats, after: Floats, arrivals: float, rates: Floats) -> None:
    """One step of the uniformised chain; laws [N, 2, N, 2]: length and type in service (0 where empty) of either queue."""
    longest, total = law.shape[0] - 1, arrivals + 2.0 * rates.max()
    after[:] = 0.0
    for n in range(longest + 1):
        for m in range(longest + 1):
            for h in range(min(n, 1) + 1):
                for g in range(min(m, 1) + 1):
                    weight, leaving = law[n, h, m, g] / total, 0.0
                    for k in range(2):
                        if n > 0 and (n > 1 or k == 0):
                            flow = rates[0, h] / (2.0 if n > 1 else 1.0)
                            after[n - 1, k, m, g] += weight * flow
                            leaving += flow
                        if m > 0 and (m > 1 or k == 0):
                            flow = rates[1, g] / (2.0 if m > 1 else 1.0)
                            after[n, h, m - 1, k] += weight * flow
                            leaving += flow
                        first = 0.5 * arrivals * (1.0 if n < m else 0.5 if n == m else 0.0)
                        if n < longest:
                            after[n + 1, h if n > 0 else k, m, g] += weight * first
                            leaving += first
                        if m < longest:
                            after[n, h, m + 1, g if m > 0 else k] += weight * (0.5 * arrivals - first)
                            leaving += 0.5 * arrivals - first
                    after[n, h, m, g] += weight * (total - leaving)


def stationary(arrivals: float, rates: Floats, longest: int, steps: int) -> Floats:
    """The law after so many steps from an empty system."""
    law = np.zeros((longest + 1, 2, longest + 1, 2))
    law[0, 0, 0, 0] = 1.0
    after = np.empty_like(law)
    for _ in range(steps):
        pass_on(law, after, arrivals, rates)
        law, after = after, law
    return law


def mean_latency(law: Floats, arrivals: float) -> float:
    """By Little's law."""
    lengths = np.arange(law.shape[0])
    return float(law.sum(axis=(1, 2, 3)) @ lengths + law.sum(axis=(0, 1, 3)) @ lengths) / arrivals


def drawn_latencies(law: Floats, rates: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Latencies of requests that find the system in that law (PASTA): what is left of the one in service, those waiting, its own."""
    cumulative = law.ravel().cumsum()
    state = np.searchsorted(cumulative, generator.random(count) * cumulative[-1])
    n, h, m, g = np.unravel_index(state, law.shape)
    second = np.where(n == m, generator.random(count) < 0.5, m < n).astype(np.int64)
    ahead, serving = np.where(second, m, n), np.where(second, g, h)
    waiting = np.maximum(ahead - 1, 0)
    ones = generator.binomial(waiting, 0.5)
    own = generator.integers(0, 2, count)
    return (
        generator.standard_gamma(waiting - ones) / rates[second, 0]
        + generator.standard_gamma(ones) / rates[second, 1]
        + generator.exponential(size=count) / rates[second, own]
        + np.where(ahead > 0, generator.exponential(size=count) / rates[second, serving], 0.0)
    )
