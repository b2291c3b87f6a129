"""Compiled parts of both heads on a block of rows: the hidden layer's bias and tanh, and the gradient before them."""

from __future__ import annotations

import numpy as np
from numba import njit

from encoders.vector import tanh

__all__ = ["add_bias_and_tanh", "hidden_gradient"]

FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
ONE = np.float32(1.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_bias_and_tanh(x, bias):  # type: ignore[no-untyped-def]
    """x [r, H] = tanh(x + bias [H]), in place."""
    for r in range(len(x)):
        row = x[r]
        for d in range(len(bias)):
            row[d] = tanh(row[d] + bias[d])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def hidden_gradient(by_value, value, hidden, slope, by_bias):  # type: ignore[no-untyped-def]
    """Gradient before the tanh of the hidden layer of both heads.

    Args:
        by_value: [r], gradient of each row's value.
        value: [D], weights of the value's last layer.
        hidden: [r, 2 D], after the tanh; first of the policy, then of the value.
        slope: [r, 2 D], its first D columns hold the gradient after the policy's tanh; written.
        by_bias: [2 D], sums of `slope` over the rows, added to.
    """
    dim = len(value)
    for r in range(len(slope)):
        row, after, gradient = slope[r], hidden[r], by_value[r]
        of_value = row[dim:]
        for d in range(dim):
            of_value[d] = gradient * value[d]
        for d in range(2 * dim):
            row[d] *= ONE - after[d] * after[d]
        for d in range(2 * dim):
            by_bias[d] += row[d]
