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
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{what} {number} is not " + (f">= {low}" if high is None else f"in {low} .. {high}"))
    return number


def whole_numbers(values: Any, shape: tuple[int, ...], what: str) -> NDArray[np.int64]:
    """Whole numbers as a contiguous int64 array; not a copy where they are one already.

    Raises:
        ValueError: another shape, or not integers; a floating-point number is none, whatever it is.
    """
    array = _array(values, what)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{what}: {_no_integers(array)}, expected integers")
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


def _no_integers(array: NDArray[Any]) -> str:
    """The first number that is not finite, or the kind of all."""
    if array.dtype.kind == "f":
        for place in np.argwhere(~np.isfinite(array)).tolist():
            return f"{place} is {array[tuple(place)]}"
    return f"dtype {array.dtype}"
