"""Plain arguments, judged before anything compiled sees them: whole numbers, masks, rates."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mask_of", "rates_of", "whole_number", "whole_numbers"]


def whole_number(value: Any, what: str, low: int = 0, high: int | None = None) -> int:
    """A number of things, or an index, as a plain integer.

    Raises:
        ValueError: it is not an integer in [low, high].
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ValueError(f"{what} {value!r} is not an integer")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{what} {value} is not " + (f">= {low}" if high is None else f"in {low} .. {high}"))
    return int(value)


def whole_numbers(values: Any, shape: tuple[int, ...], what: str) -> NDArray[np.int64]:
    """Whole numbers as a contiguous int64 array; not a copy where they are one already.

    Raises:
        ValueError: another shape, or not integers; a floating-point number is none, whatever it is.
    """
    array = _array(values, what)
    if array.dtype.kind not in "iu":
        bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind == "f" else ()
        found = f"{_place(bad[0])}{array[tuple(bad[0])]}" if len(bad) else f"dtype {array.dtype}"
        raise ValueError(f"{what}: {found}, expected integers")
    if array.shape != shape:
        raise ValueError(f"{what} of shape {array.shape}, expected {shape}")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{what}: {array.max()} is too large")
    return np.ascontiguousarray(array, dtype=np.int64).reshape(shape)


def mask_of(values: Any, shape: tuple[int, ...], what: str) -> NDArray[np.bool_]:
    """A mask as a contiguous array.

    Raises:
        ValueError: another shape, or not bool.
    """
    array = _array(values, what)
    if array.dtype != np.bool_ or array.shape != shape:
        raise ValueError(f"{what} of dtype {array.dtype}, shape {array.shape}; expected bool {shape}")
    return np.ascontiguousarray(array).reshape(shape)


def rates_of(values: Any, rows: int, most: float, what: str) -> NDArray[np.float32]:
    """Rates as a contiguous float32 array [rows, k].

    Raises:
        ValueError: another shape, not numbers, or a number that is not in [0, most].
    """
    array = _array(values, what)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{what} of dtype {array.dtype}, expected numbers")
    if array.ndim != 2 or array.shape[0] != rows:
        raise ValueError(f"{what} of shape {array.shape}, expected ({rows}, ticks)")
    # A comparison with NaN is false.
    if array.size and not (array.min() >= 0 and array.max() <= most):
        place = np.argwhere(~((array >= 0) & (array <= most)))[0]
        raise ValueError(f"{what}{place.tolist()} = {array[tuple(place)]} is not in [0, {most:g}]")
    return np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)


def _array(values: Any, what: str) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: {values!r:.80} is no array of numbers") from error


def _place(index: NDArray[np.int64]) -> str:
    return f"{index.tolist()} is " if len(index) else ""
