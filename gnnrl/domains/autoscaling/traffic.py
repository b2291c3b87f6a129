"""The traffic equations of a mesh: call matrices, visits, and whether cyclic calls die out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["call_matrices", "solve_traffic", "spectral_radius"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int16] | NDArray[np.int64]


def call_matrices(n_services: int, source: Ints, target: Ints, ratio: Floats) -> Floats:
    """Per class, P[s, t] = calls to t per invocation of s; [C, S, S]."""
    matrices = np.zeros((ratio.shape[0], n_services, n_services))
    matrices[:, source, target] = ratio
    return matrices


def solve_traffic(n_services: int, source: Ints, target: Ints, ratio: Floats, root: Ints) -> Floats:
    """v = r + P^T v of each class: invocations per external request that enters at the class's root; [C, S]."""
    entry = np.zeros((len(root), n_services))
    entry[np.arange(len(root)), root] = 1.0
    transposed = call_matrices(n_services, source, target, ratio).transpose(0, 2, 1)
    solution = np.linalg.solve(np.eye(n_services) - transposed, entry[:, :, None])[:, :, 0]
    # An unreached service of a cyclic class may come back as -1e-17.
    return np.maximum(solution, 0.0)


def spectral_radius(matrix: Floats) -> float:
    """Largest |eigenvalue| of a non-negative [S, S] matrix; exactly 0 for a graph without cycles."""
    core = matrix
    while core.size:
        # Only services that both call and are called can be part of a cycle.
        keep = (core > 0).any(axis=0) & (core > 0).any(axis=1)
        if keep.all():
            return float(np.abs(np.linalg.eigvals(core)).max())
        core = core[np.ix_(keep, keep)]
    return 0.0
