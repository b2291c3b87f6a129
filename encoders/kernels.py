"""Compiled attention over an adjacency, forward and backward. `attention.py` has the formulas and the plain path.

A row of `projected` is [query | key | value | skip | query on edges], where the last part, [H, W], is W_e^T q per head:
q . (W_e e) = (W_e^T q) . e, so that no matrix is ever made per edge; likewise sum(a W_e e) = W_e sum(a e), and the sum
over edges is all that is made here. W is the edge width with the direction flag, padded to whole vectors.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from encoders.vector import add_scaled, dot, fast_exp

__all__ = ["attention_backward", "attention_forward", "open_gradient"]

# No "nnan": a NaN in a real feature must come out as NaN.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
LEAST = np.float32(-3.0e38)
ZERO, ONE = np.float32(0.0), np.float32(1.0)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def attention_forward(  # type: ignore[no-untyped-def]
    lo, hi, shape, projected, edges, pointers, neighbors, edge_of, reverse, alpha, mixed, out
):
    """Rows lo .. hi - 1; `projected`, `mixed` and `out` start at row lo.

    Args:
        shape: (H, width of a head, column of the direction flag).
        projected: [r, 4 D + H W].
        edges: [E, W].
        pointers, neighbors, edge_of, reverse: the adjacency.
        alpha: [A, H], weights, written.
        mixed: [r, H W], sum of alpha e by head, written.
        out: [r, D], skip + sum of alpha v, written.
    """
    heads, width, flag = shape
    dim = heads * width
    edge_width = edges.shape[1]
    stride = projected.shape[1]
    scale = np.float32(1.0 / math.sqrt(width))
    highest = np.empty(heads, np.float32)
    total = np.empty(heads, np.float32)
    for i in range(lo, hi):
        r = i - lo
        for d in range(dim):
            out[r, d] = projected[r, 3 * dim + d]
        for d in range(heads * edge_width):
            mixed[r, d] = ZERO
        first, last = pointers[i], pointers[i + 1]
        if first == last:
            continue
        for h in range(heads):
            highest[h] = LEAST
            total[h] = ZERO
        query_edge = r * stride + 4 * dim
        for a in range(first, last):
            key = (neighbors[a] - lo) * stride + dim
            edge = edge_of[a] * edge_width
            sign = np.float32(reverse[a])
            for h in range(heads):
                score = dot(projected, r * stride + h * width, projected, key + h * width, width)
                score += dot(projected, query_edge + h * edge_width, edges, edge, edge_width)
                score = (score + sign * projected[r, 4 * dim + h * edge_width + flag]) * scale
                alpha[a, h] = score
                highest[h] = max(highest[h], score)
        for a in range(first, last):
            for h in range(heads):
                weight = fast_exp(alpha[a, h] - highest[h])
                alpha[a, h] = weight
                total[h] += weight
        for h in range(heads):
            total[h] = ONE / total[h]
        for a in range(first, last):
            value = (neighbors[a] - lo) * stride + 2 * dim
            edge = edge_of[a] * edge_width
            sign = np.float32(reverse[a])
            for h in range(heads):
                weight = alpha[a, h] * total[h]
                alpha[a, h] = weight
                add_scaled(weight, projected, value + h * width, out, r * dim + h * width, width)
                place = h * edge_width
                add_scaled(weight, edges, edge, mixed, r * heads * edge_width + place, edge_width)
                mixed[r, place + flag] += weight * sign


@njit(cache=True, nogil=True)
def open_gradient(lo, hi, out, grad, grad_projected):  # type: ignore[no-untyped-def]
    """Write the gradient before the ReLU where `attention_backward` expects it, as the gradient of skip.

    Args:
        out, grad: [R, D], of the whole sequence.
        grad_projected: [r, 4 D + H W], starts at row lo.
    """
    dim = out.shape[1]
    for i in range(lo, hi):
        opened = grad_projected[i - lo, 3 * dim :]
        for d in range(dim):
            opened[d] = grad[i, d] if out[i, d] > ZERO else ZERO


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def attention_backward(  # type: ignore[no-untyped-def]
    lo, hi, shape, projected, edges, pointers, neighbors, edge_of, reverse, alpha, grad_mixed, grad_projected
):
    """Rows lo .. hi - 1; every array by row starts at row lo.

    Args:
        projected: [r, >= 3 D], query, key and value; anything after them is not read.
        alpha: [A, H], weights of the forward pass.
        grad_mixed: [r, H W].
        grad_projected: [r, 4 D + H W]; the skip part holds the gradient of the output, the rest is written.
    """
    heads, width, flag = shape
    dim = heads * width
    edge_width = edges.shape[1]
    stride, grad_stride = projected.shape[1], grad_projected.shape[1]
    scale = np.float32(1.0 / math.sqrt(width))
    mean = np.empty(heads, np.float32)
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, pointers[i + 1] - pointers[i])
    scores = np.empty((longest, heads), np.float32)
    for r in range(hi - lo):
        for d in range(3 * dim):
            grad_projected[r, d] = ZERO
        for d in range(4 * dim, grad_stride):
            grad_projected[r, d] = ZERO
    for i in range(lo, hi):
        r = i - lo
        first, last = pointers[i], pointers[i + 1]
        grad_out = r * grad_stride + 3 * dim
        if last - first == 1:
            # One neighbour has weight 1 whatever its score.
            value = (neighbors[first] - lo) * grad_stride + 2 * dim
            add_scaled(ONE, grad_projected, grad_out, grad_projected, value, dim)
            continue
        for h in range(heads):
            mean[h] = ZERO
        for a in range(first, last):
            j = neighbors[a] - lo
            edge = edge_of[a] * edge_width
            sign = np.float32(reverse[a])
            for h in range(heads):
                weight = alpha[a, h]
                o = h * width
                back = dot(grad_projected, grad_out + o, projected, j * stride + 2 * dim + o, width)
                back += dot(grad_mixed, (r * heads + h) * edge_width, edges, edge, edge_width)
                back += sign * grad_mixed[r, h * edge_width + flag]
                scores[a - first, h] = back
                mean[h] += weight * back
                add_scaled(weight, grad_projected, grad_out + o, grad_projected, j * grad_stride + 2 * dim + o, width)
        for a in range(first, last):
            j = neighbors[a] - lo
            edge = edge_of[a] * edge_width
            sign = np.float32(reverse[a])
            for h in range(heads):
                slope = alpha[a, h] * (scores[a - first, h] - mean[h]) * scale
                o = h * width
                add_scaled(slope, projected, j * stride + dim + o, grad_projected, r * grad_stride + o, width)
                add_scaled(slope, projected, r * stride + o, grad_projected, j * grad_stride + dim + o, width)
                place = 4 * dim + h * edge_width
                add_scaled(slope, edges, edge, grad_projected, r * grad_stride + place, edge_width)
                grad_projected[r, place + flag] += slope * sign
