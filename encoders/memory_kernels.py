"""Compiled parts of one step of the memory: messages, gates, ages, and their gradients. `memory.py` has the formulas.

A row of `projected` is [on the hearer's memory, P | on the speaker's, P | the GRU's reset, update, new on memory, 3 M].
Every array by row covers all steps; a call works on the rows lo .. hi - 1 of one step.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from encoders.vector import add_scaled, sigmoid, tanh

__all__ = [
    "advance_ages",
    "gates_backward",
    "gates_forward",
    "gather_memory",
    "messages_backward",
    "messages_forward",
    "scatter_back",
]

FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
ZERO, ONE = np.float32(0.0), np.float32(1.0)


@njit(cache=True, nogil=True)
def advance_ages(first_rows, row_graph, prev_row, pointers, elapsed, first_age, before, after):  # type: ignore[no-untyped-def]
    """Age of each row's memory when its messages are made, and after its step, both [R] in seconds."""
    for row in range(len(row_graph)):
        past = prev_row[row]
        age = first_age[row] if row < first_rows else (after[past] if past >= 0 else ZERO)
        age += elapsed[row_graph[row]]
        before[row] = age
        after[row] = age if pointers[row] == pointers[row + 1] else ZERO


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def messages_forward(  # type: ignore[no-untyped-def]
    lo, hi, first_edge, projected, bias, along, against, pointers, neighbors, edge_of, reverse, active, mean
):
    """Mean of ReLU(hearer + speaker + edge) by row.

    Args:
        projected: [r, 2 P + 3 M], from row lo on.
        bias, against: [P], added to every message, and where the call is heard in reverse.
        along: [e, P], edge terms from edge `first_edge` on.
        active: [A, P] int8, where the ReLU is open, written.
        mean: [R, P], written; 0 for a row without a call.
    """
    width = mean.shape[1]
    heard = np.empty(width, np.float32)
    for i in range(lo, hi):
        for d in range(width):
            projected[i - lo, d] += bias[d]
    for i in range(lo, hi):
        first, last = pointers[i], pointers[i + 1]
        for d in range(width):
            mean[i, d] = ZERO
        if first == last:
            continue
        for a in range(first, last):
            hearer, speaker = projected[i - lo], projected[neighbors[a] - lo, width:]
            edge = along[edge_of[a] - first_edge]
            sign = np.float32(reverse[a])
            for d in range(width):
                heard[d] = hearer[d] + speaker[d] + edge[d] + sign * against[d]
            # Written so that NaN is neither positive nor cut off.
            for d in range(width):
                active[a, d] = not heard[d] <= ZERO
            for d in range(width):
                mean[i, d] += ZERO if heard[d] <= ZERO else heard[d]
        share = ONE / np.float32(last - first)
        for d in range(width):
            mean[i, d] *= share


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_forward(  # type: ignore[no-untyped-def]
    lo, hi, projected, from_input, bias, pointers, memory_in, gates, memory_out
):
    """GRU on rows with a call; the others keep their memory.

    Args:
        projected: [r, 2 P + 3 M], from row lo on.
        from_input: [r, 3 M], from row lo on, the GRU on the mean message, without bias.
        bias: [4 M], of reset and update together, of the new gate on the message, of the new gate on memory.
        memory_in: [r, M], from row lo on.
        gates: [R, 4 M], reset, update, new, and the new gate's part on memory, written (rows with a call).
        memory_out: [R, M], written.
    """
    width = memory_in.shape[1]
    offset = projected.shape[1] - 3 * width
    input_bias, memory_bias = bias[2 * width : 3 * width], bias[3 * width :]
    # Loops over views that start at 0, each over few arrays: else LLVM cannot rule out overlap and negative indices, and
    # does not vectorise.
    for i in range(lo, hi):
        if pointers[i] == pointers[i + 1]:
            for d in range(width):
                memory_out[i, d] = memory_in[i - lo, d]
            continue
        reset, update = gates[i, :width], gates[i, width : 2 * width]
        new, on_memory = gates[i, 2 * width : 3 * width], gates[i, 3 * width :]
        opening, here = gates[i, : 2 * width], projected[i - lo, offset:]
        here_new, input_new = projected[i - lo, offset + 2 * width :], from_input[i - lo, 2 * width :]
        for d in range(2 * width):
            opening[d] = sigmoid(from_input[i - lo, d] + here[d] + bias[d])
        for d in range(width):
            on_memory[d] = here_new[d] + memory_bias[d]
        for d in range(width):
            new[d] = tanh(input_new[d] + input_bias[d] + reset[d] * on_memory[d])
        for d in range(width):
            memory_out[i, d] = new[d] + update[d] * (memory_in[i - lo, d] - new[d])


@njit(cache=True, nogil=True)
def gather_memory(lo, hi, prev_row, memory_out, memory_in):  # type: ignore[no-untyped-def]
    """Memory [r, M] that rows lo .. hi - 1 start from: of their row one step earlier, zero where there is none."""
    for i in range(lo, hi):
        past = prev_row[i]
        for d in range(memory_in.shape[1]):
            memory_in[i - lo, d] = memory_out[past, d] if past >= 0 else ZERO


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_backward(  # type: ignore[no-untyped-def]
    lo, hi, pointers, memory_in, gates, grad_memory, grad_input, grad_projected, grad_memory_in
):
    """Gradients of `gates_forward`; those written start at row lo.

    Args:
        memory_in: [r, M], from row lo on.
        grad_memory: [R, M], of `memory_out`, complete for these rows.
        grad_input: [r, 3 M], written.
        grad_projected: [r, 2 P + 3 M], last 3 M columns written.
        grad_memory_in: [r, M], the part that does not go through `projected`, written.
    """
    width = memory_in.shape[1]
    offset = grad_projected.shape[1] - 3 * width
    for i in range(lo, hi):
        r = i - lo
        if pointers[i] == pointers[i + 1]:
            for d in range(width):
                grad_memory_in[r, d] = grad_memory[i, d]
            for d in range(3 * width):
                grad_input[r, d] = ZERO
                grad_projected[r, offset + d] = ZERO
            continue
        reset, update = gates[i, :width], gates[i, width : 2 * width]
        new, on_memory = gates[i, 2 * width : 3 * width], gates[i, 3 * width :]
        grad_reset, grad_update = grad_input[r, :width], grad_input[r, width : 2 * width]
        grad_new, here = grad_input[r, 2 * width :], grad_projected[r, offset:]
        here_new = grad_projected[r, offset + 2 * width :]
        for d in range(width):
            grad_new[d] = grad_memory[i, d] * (ONE - update[d]) * (ONE - new[d] * new[d])
        for d in range(width):
            grad_memory_in[r, d] = grad_memory[i, d] * update[d]
        for d in range(width):
            grad_update[d] = grad_memory[i, d] * (memory_in[r, d] - new[d]) * update[d] * (ONE - update[d])
        for d in range(width):
            grad_reset[d] = grad_new[d] * on_memory[d] * reset[d] * (ONE - reset[d])
        for d in range(2 * width):
            here[d] = grad_input[r, d]
        for d in range(width):
            here_new[d] = grad_new[d] * reset[d]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def messages_backward(  # type: ignore[no-untyped-def]
    lo,
    hi,
    first_edge,
    grad_mean,
    pointers,
    neighbors,
    edge_of,
    reverse,
    active,
    grad_projected,
    grad_along,
    grad_against,
):
    """Gradients of `messages_forward`.

    Args:
        grad_mean: [r, P], from row lo on; overwritten.
        grad_projected: [r, 2 P + 3 M], from row lo on, first 2 P columns written.
        grad_along: [e, P], from edge `first_edge` on, written.
        grad_against: [P], added to.
    """
    width = grad_mean.shape[1]
    stride = grad_projected.shape[1]
    grad = np.empty(width, np.float32)
    grad_along.fill(ZERO)
    for r in range(hi - lo):
        for d in range(2 * width):
            grad_projected[r, d] = ZERO
    for i in range(lo, hi):
        first, last = pointers[i], pointers[i + 1]
        if first == last:
            continue
        r = i - lo
        share = ONE / np.float32(last - first)
        for d in range(width):
            grad_mean[r, d] *= share
        for a in range(first, last):
            j, k = neighbors[a] - lo, edge_of[a] - first_edge
            sign = np.float32(reverse[a])
            for d in range(width):
                grad[d] = grad_mean[r, d] * np.float32(active[a, d])
            add_scaled(ONE, grad, 0, grad_projected, r * stride, width)
            add_scaled(ONE, grad, 0, grad_projected, j * stride + width, width)
            add_scaled(ONE, grad, 0, grad_along, k * width, width)
            add_scaled(sign, grad, 0, grad_against, 0, width)


@njit(cache=True, nogil=True)
def scatter_back(lo, hi, prev_row, grad_memory_in, grad_memory):  # type: ignore[no-untyped-def]
    """Add the gradient [r, M] of what rows lo .. hi - 1 started from to the rows they took it from."""
    for i in range(lo, hi):
        past = prev_row[i]
        if past >= 0:
            for d in range(grad_memory.shape[1]):
                grad_memory[past, d] += grad_memory_in[i - lo, d]
