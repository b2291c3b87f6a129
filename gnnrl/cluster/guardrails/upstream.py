"""Errors upstream: services whose callers fail lose traffic, and look idle until it comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.proposal import Bools

__all__ = ["behind_errors_mask"]


def behind_errors_mask(
    error_share: NDArray[np.floating[Any]],
    source: NDArray[np.integer[Any]],
    target: NDArray[np.integer[Any]],
    n_calls: NDArray[np.integer[Any]],
    share: float,
) -> Bools:
    """[B, S] services with an error share above `share`, and all that they call, directly or not.

    Args:
        error_share: [B, S] of the calls that a service receives, those that fail.
        source, target: [B, E] columns of caller and callee.
        n_calls: [B] real calls; what stands after them is padding.
        share: 1 = nothing can be above it.

    Returns:
        Service s is in it where a path of calls, of any length, none included, leads to s from a service that fails.
    """
    mask: Bools = error_share > share
    if mask.any():
        _spread(mask, source, target, n_calls)
    return mask


@njit(cache=True, nogil=True)
def _spread(mask, source, target, n_calls):  # type: ignore[no-untyped-def]
    """Along the calls until nothing changes, which takes as many rounds as a path has calls at most."""
    for b in range(mask.shape[0]):
        found = mask[b].any()
        while found:
            found = False
            for e in range(n_calls[b]):
                if mask[b, source[b, e]] and not mask[b, target[b, e]]:
                    mask[b, target[b, e]] = True
                    found = True
