"""How the functions of this simulator are compiled."""

from __future__ import annotations

from typing import Any

from numba import njit

__all__ = ["entry", "inlined"]

_njit: Any = njit

# Nothing in here allocates, so no array needs its references counted (`_nrt`): counting them at every access is atomic and took four fifths
# of the time. LLVM copies the inner functions into their callers, since they take all the arrays at once.
entry = _njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
"""Decorates a function that Python calls."""
inlined = _njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
"""Decorates a function that compiled code calls."""
