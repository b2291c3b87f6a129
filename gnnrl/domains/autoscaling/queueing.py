"""What a request meets on its way: visit counts per class and service, and the measured laws of a balanced group of pods.

The tables come from `benchmarks/calibrate_queueing.py`, whose docstring defines them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.traffic import call_matrices

__all__ = ["QueueTables", "RequestWalk", "expiry_table", "queue_tables", "request_walk"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QueueTables:
    """Laws of n pods under least-request-of-two and of gamma variables; float32, as cells of linear interpolation."""

    pods: NDArray[np.float32]
    """[n, q, 6]: efficiency, fast and slow part of the sojourn's squared coefficient of variation, each with its step."""
    tail: NDArray[np.float32]
    """[h, y, 4]: P(X > x) = a + b y + (c + d y) h within the cell, of a gamma variable of mean 1; h = c / (1 + c), y = x / (1 + x),
    c its squared coefficient of variation."""
    quantile95: NDArray[np.float32]
    """[h]: where that tail is 5 %."""


@lru_cache(maxsize=1)
def queue_tables() -> QueueTables:
    """The shipped tables."""
    with np.load(Path(__file__).parent / "data" / "queueing.npz") as data:
        columns = []
        for name in ("efficiency", "fast", "slow"):
            # Row 0 stands for no pod at all; its values are never used but must be finite.
            table = np.concatenate([data[name][:1], data[name]])
            columns += [table[:, :-1], np.diff(table, axis=1)]
        tail = data["gamma_tail"]
    return QueueTables(
        pods=np.ascontiguousarray(np.stack(columns, axis=-1), dtype=np.float32),
        tail=_cells(tail),
        quantile95=_quantile(tail, 0.95),
    )


def _quantile(tail: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    y, fine = np.linspace(0.0, 1.0, tail.shape[1]), np.linspace(0.0, 0.9999, 20_001)
    found = [fine[np.searchsorted(-np.interp(fine, y, row), level - 1.0)] for row in tail]
    return np.array([x / (1.0 - x) for x in found], dtype=np.float32)


@lru_cache(maxsize=8)
def expiry_table(timeout_seconds: float) -> NDArray[np.float32]:
    """Share of waiting requests that reach the timeout within a second, by the mean and the variance of their ages.

    The ages, in timeouts, are taken for a beta law: [m, v, 4] cells as in `QueueTables.tail`, m the mean, v the variance over
    m (1 - m). In a lasting overload they are a truncated exponential law, whose share is known exactly; the beta law's is
    multiplied, mean by mean, by what makes it right there.
    """
    mean = np.linspace(0.0, 1.0, 65)
    inner = np.clip(mean, 0.004, 0.996)
    rate = np.concatenate([np.linspace(400.0, 1e-3, 4000), np.linspace(-1e-3, -400.0, 4000)])
    of_rate = 1.0 / rate - 1.0 / np.expm1(rate)
    with np.errstate(over="ignore"):
        variance = 1.0 / rate**2 - 1.0 / (4.0 * np.sinh(np.clip(rate / 2.0, -300.0, 300.0)) ** 2)
    last = min(1.0 / timeout_seconds, 1.0)
    exact = np.interp(inner, of_rate, np.expm1(rate * last) / np.expm1(rate))
    lasting = np.interp(inner, of_rate, variance) / (inner * (1.0 - inner))
    spread = np.clip(np.linspace(0.0, 1.0, 33), 0.004, 0.996)
    share = np.array([_beta_tail(np.full(33, m), spread, last) for m in inner])
    at_lasting = np.array([np.interp(v, spread, row) for v, row in zip(lasting, share, strict=True)])
    factor = exact / np.maximum(at_lasting, 1e-30)
    table = np.clip(share * np.clip(factor, 0.0, 20.0)[:, None], 0.0, 0.95)
    return _cells(table)


def _beta_tail(mean: Floats, spread: Floats, last: float) -> Floats:
    """P(U > 1 - last) of beta laws with these means and variances over m (1 - m), by midpoints in a variable that flattens the ends."""
    size = 1.0 / spread - 1.0
    a, b = (mean * size)[:, None], ((1.0 - mean) * size)[:, None]
    angle = (np.arange(600) + 0.5) / 600 * np.pi / 2.0
    low, high = np.sin(angle) ** 2, np.cos(angle) ** 2
    log_weight = (a - 0.5) * np.log(low) + (b - 0.5) * np.log(high)
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    result: Floats = (weight * (high < last)).sum(1) / weight.sum(1)
    return result


def _cells(table: NDArray[Any]) -> NDArray[np.float32]:
    along_second, along_first = np.diff(table, axis=1), np.diff(table, axis=0)
    cells = (table[:-1, :-1], along_second[:-1], along_first[:, :-1], np.diff(along_first, axis=1))
    return np.ascontiguousarray(np.stack(cells, axis=-1), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class RequestWalk:
    """How the requests of each class pass through the services, [C, S]."""

    probability: Floats
    """Of at least one visit."""
    visits: Floats
    """Mean number of visits, given at least one (1 where never visited)."""
    spread: Floats
    """Variance of that number, given at least one."""
    together: Floats
    """What the numbers of visits have in common: their covariance between services is close to the product of two of these."""
    order: NDArray[np.int64]
    """[S] services in the order in which a request first meets them: depth first along the calls, in the order of the mesh."""


def request_walk(mesh: Mesh) -> RequestWalk:
    """Visit counts of an external request when a fractional number of calls is its whole part plus one more at random.

    Let P[s, t] be the calls to t per invocation of s and M = (I - P)^-1 the visits on behalf of one invocation. The visit counts of
    a request have the covariance sum over calls (s, t) of E[invocations of s] Var[calls] M[t]' M[t], and P(no visit) is a
    fixed point of the product of the callees' own; cycles included.
    """
    arrays = mesh.arrays()
    n_services, n_classes = len(mesh.services), len(mesh.classes)
    probability, variance, together = (np.zeros((n_classes, n_services)) for _ in range(3))
    pod_seconds = arrays.cpu_ms / arrays.cpu_limit
    matrices = call_matrices(n_services, arrays.call_source, arrays.call_target, arrays.call_ratio)
    for c in range(n_classes):
        matrix, root = matrices[c], int(arrays.class_root[c])
        part = matrix - np.floor(matrix)
        solve = np.linalg.inv(np.eye(n_services) - matrix)
        caller, callee = np.nonzero(part)
        weight = solve[root, caller] * (part * (1.0 - part))[caller, callee]
        counts = np.sqrt(np.maximum(weight, 0.0))[:, None] * solve[callee]  # covariance = counts' counts
        variance[c] = (counts**2).sum(0)
        if len(counts):
            # The first principal component, services weighted by what a visit costs.
            _, size, direction = np.linalg.svd(counts * pod_seconds, full_matrices=False)
            together[c] = np.abs(size[0] * direction[0]) / pod_seconds
        missed = _missed(n_services, arrays.call_source, arrays.call_target, arrays.call_ratio[c])[root]
        probability[c] = np.where(arrays.visits[c] > 0, 1.0 - missed, 0.0)
    safe = np.maximum(probability, 1e-12)
    visits = np.where(probability > 0, np.maximum(arrays.visits / safe, 1.0), 1.0)
    second = (variance + arrays.visits**2) / safe
    spread = np.where(probability > 0, np.maximum(second - visits**2, 0.0), 0.0)
    return RequestWalk(probability=probability, visits=visits, spread=spread, together=together, order=_first_met(mesh))


@njit(cache=True)
def _missed(n_services: int, source: NDArray[np.int16], target: NDArray[np.int16], ratio: Floats) -> Floats:
    """P(no visit to t on behalf of one invocation of s), [S, S]: the fixed point reached from no calls at all."""
    missed = np.ones((n_services, n_services))
    for s in range(n_services):
        missed[s, s] = 0.0
    for _ in range(10 * n_services):
        following = np.ones((n_services, n_services))
        for e in range(len(source)):
            if ratio[e] > 0.0:
                whole = np.floor(ratio[e])
                part = ratio[e] - whole
                for t in range(n_services):
                    each = missed[target[e], t]
                    following[source[e], t] *= each**whole * (1.0 - part + part * each)
        change = 0.0
        for s in range(n_services):
            following[s, s] = 0.0
            for t in range(n_services):
                change = max(change, abs(following[s, t] - missed[s, t]))
        missed = following
        if change < 1e-12:
            break
    return missed


def _first_met(mesh: Mesh) -> NDArray[np.int64]:
    arrays = mesh.arrays()
    callees: list[list[int]] = [[] for _ in mesh.services]
    for source, target in zip(arrays.call_source, arrays.call_target, strict=True):
        callees[source].append(int(target))
    order: dict[int, None] = {}
    for start in (*(int(root) for root in arrays.class_root), *range(len(mesh.services))):
        stack = [start]
        while stack:
            service = stack.pop()
            if service not in order:
                order[service] = None
                stack.extend(reversed(callees[service]))
    return np.array(list(order), dtype=np.int64)
