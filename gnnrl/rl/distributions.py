"""Masked categorical policies over the compact rows of a batch of graphs.

A row is a real node, K the moves of a node. `joint` draws one move per row; `select` draws one legal (row, move) pair
per graph, a single categorical over all pairs, so that its entropy is exact. A pointer is `select` with K = 1.

Sampling is compiled numpy (the acting path); log-probabilities, entropy and KL are torch (the learning path).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numba import njit
from torch import Tensor

__all__ = ["ActionMode", "EmptyMaskError", "MaskedCategorical", "mode_action", "sample_action"]

ActionMode = Literal["joint", "select"]

ILLEGAL = -1e9
"""Stands for log 0 where a product with probability 0 must stay 0."""


class EmptyMaskError(ValueError):
    """A decision was asked for although `action_mask` leaves no legal move.

    Args:
        message: what is wrong.
        index: the row (`joint`) or graph (`select`) without a legal move.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class MaskedCategorical:
    """Normalised log-probabilities of a batch of decisions.

    A decision is a row (`joint`) or a graph (`select`). Actions are flat indices `row * K + move`, so that both modes
    read their log-probability in the same way.

    Args:
        logits: [R, K] float.
        mask: [R, K] bool, true = legal.
        row_graph: [R] int64 non-decreasing graph of each row, for `select`; None for `joint`.
        num_graphs: graphs in the batch, for `select`.

    Raises:
        EmptyMaskError: a decision has no legal move.
    """

    def __init__(
        self, logits: Tensor, mask: Tensor, row_graph: Tensor | None = None, num_graphs: int = 0, check: bool = True
    ) -> None:
        if check:
            _check_mask(mask, row_graph, num_graphs)
        masked = torch.where(mask, logits, ILLEGAL)
        self.mask = mask
        self.row_graph = row_graph
        self.num_graphs = num_graphs
        if row_graph is None:
            self.log_probs = torch.log_softmax(masked, dim=-1)  # [R, K]
            return
        row_max = masked.detach().amax(dim=-1)  # [R]
        top = torch.full((num_graphs,), ILLEGAL, dtype=logits.dtype, device=logits.device)
        top = top.scatter_reduce(0, row_graph, row_max, "amax")
        shifted = masked - top[row_graph].unsqueeze(-1)
        total = torch.zeros(num_graphs, dtype=logits.dtype, device=logits.device)
        total = total.index_add(0, row_graph, shifted.exp().sum(dim=-1))
        self.log_probs = shifted - total.log()[row_graph].unsqueeze(-1)  # [R, K]

    def _per_decision(self, per_row: Tensor) -> Tensor:
        if self.row_graph is None:
            return per_row
        return per_row.new_zeros(self.num_graphs).index_add(0, self.row_graph, per_row)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability [R] (`joint`) or [G] (`select`) of flat actions `row * K + move`."""
        return self.log_probs.reshape(-1).index_select(0, action)

    def entropy(self) -> Tensor:
        """Exact entropy in nats of each decision, [R] or [G]."""
        terms = torch.where(self.mask, self.log_probs.exp() * self.log_probs, 0.0)
        return -self._per_decision(terms.sum(dim=-1))

    def kl(self, reference_log_probs: Tensor) -> Tensor:
        """KL(self || reference) of each decision, [R] or [G]; the reference [R, K] lives under the same mask."""
        terms = torch.where(self.mask, self.log_probs.exp() * (self.log_probs - reference_log_probs), 0.0)
        return self._per_decision(terms.sum(dim=-1))


def _check_mask(mask: Tensor, row_graph: Tensor | None, num_graphs: int) -> None:
    legal = mask.any(dim=-1)
    if row_graph is None:
        if not bool(legal.all()):
            row = int((~legal).nonzero()[0])
            raise EmptyMaskError(
                f"row {row} of {len(mask)} has no legal move: action_mask must leave each real node one (the no-op)",
                row,
            )
        return
    legal_graph = torch.zeros(num_graphs, dtype=torch.bool, device=mask.device)
    legal_graph[row_graph[legal]] = True
    if not bool(legal_graph.all()):
        graph = int((~legal_graph).nonzero()[0])
        raise EmptyMaskError(
            f"graph {graph} of {num_graphs} has no legal (node, move) pair: do not ask for a decision then",
            graph,
        )


@njit(cache=True, nogil=True)
def _draw(logits, mask, pointer, uniform, moves, row_of, log_prob):  # type: ignore[no-untyped-def]
    """One draw per segment of rows `pointer[i]:pointer[i + 1]`; returns the first empty segment or -1."""
    for i in range(len(pointer) - 1):
        top = -np.inf
        for r in range(pointer[i], pointer[i + 1]):
            for k in range(logits.shape[1]):
                if mask[r, k] and logits[r, k] > top:
                    top = logits[r, k]
        if top == -np.inf:
            return i
        total = 0.0
        for r in range(pointer[i], pointer[i + 1]):
            for k in range(logits.shape[1]):
                if mask[r, k]:
                    total += np.exp(np.float64(logits[r, k]) - top)
        target = uniform[i] * total
        cumulated = 0.0
        chosen_row = -1
        chosen_move = -1
        found = False
        for r in range(pointer[i], pointer[i + 1]):
            for k in range(logits.shape[1]):
                if mask[r, k]:
                    cumulated += np.exp(np.float64(logits[r, k]) - top)
                    chosen_row = r
                    chosen_move = k
                    if cumulated > target:
                        found = True
                        break
            if found:
                break
        row_of[i] = chosen_row
        moves[i] = chosen_move
        log_prob[i] = np.float64(logits[chosen_row, chosen_move]) - top - np.log(total)
    return -1


@njit(cache=True, nogil=True)
def _top(logits, mask, pointer, moves, row_of, log_prob):  # type: ignore[no-untyped-def]
    """The likeliest action per segment (the first among equals); returns the first empty segment or -1."""
    for i in range(len(pointer) - 1):
        top = -np.inf
        for r in range(pointer[i], pointer[i + 1]):
            for k in range(logits.shape[1]):
                if mask[r, k] and logits[r, k] > top:
                    top = logits[r, k]
                    row_of[i] = r
                    moves[i] = k
        if top == -np.inf:
            return i
        total = 0.0
        for r in range(pointer[i], pointer[i + 1]):
            for k in range(logits.shape[1]):
                if mask[r, k]:
                    total += np.exp(np.float64(logits[r, k]) - top)
        log_prob[i] = -np.log(total)
    return -1


def _segments(num_rows: int, graph_pointer: np.ndarray | None) -> np.ndarray:
    return np.arange(num_rows + 1, dtype=np.int64) if graph_pointer is None else graph_pointer


def _refuse(segment: int, graph_pointer: np.ndarray | None) -> None:
    if segment < 0:
        return
    if graph_pointer is None:
        raise EmptyMaskError(
            f"row {segment} has no legal move: action_mask must leave each real node one (the no-op)", segment
        )
    raise EmptyMaskError(
        f"graph {segment} has no legal (node, move) pair: do not ask for a decision while none exists", segment
    )


def sample_action(
    logits: np.ndarray, mask: np.ndarray, graph_pointer: np.ndarray | None, uniform: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw every decision by inverting its distribution function at the given uniforms.

    Args:
        logits: [R, K] float32 of the compact rows.
        mask: [R, K] int8 or bool.
        graph_pointer: [G + 1] int64 first row of each graph, for `select`; None for `joint`.
        uniform: [R] or [G] numbers in [0, 1), one a decision.

    Returns:
        row [D], move [D] int64 and log-probability [D] float32 of the D decisions.

    Raises:
        EmptyMaskError: a decision has no legal move.
    """
    pointer = _segments(len(logits), graph_pointer)
    count = len(pointer) - 1
    moves, rows, log_prob = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float32)
    _refuse(_draw(logits, mask, pointer, uniform, moves, rows, log_prob), graph_pointer)
    return rows, moves, log_prob


def mode_action(
    logits: np.ndarray, mask: np.ndarray, graph_pointer: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The likeliest action of every decision; arguments, results and errors as `sample_action`."""
    pointer = _segments(len(logits), graph_pointer)
    count = len(pointer) - 1
    moves, rows, log_prob = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float32)
    _refuse(_top(logits, mask, pointer, moves, rows, log_prob), graph_pointer)
    return rows, moves, log_prob
