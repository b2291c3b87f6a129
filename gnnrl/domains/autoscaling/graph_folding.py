"""The traffic of a graph as matrices, and how nodes that only stand between two services are folded away.

Service nodes, operations (Kiali's aggregate nodes) and the proxies of an ambient mesh pass on what they receive: a call
through them is one of the service before them to the service behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiali_client import Edge, NodeKey

__all__ = ["TrafficMatrices"]

Floats = NDArray[np.float64]

ROUNDING_RPS = 0.02
"""Two edges that tell of the same requests differ by up to this, as each is rounded to 0.01 requests/s."""
LEAST_WEIGHT = 1e-6
"""Of a response time that no requests came with."""


@dataclass(eq=False)
class TrafficMatrices:
    """From node (row) to node (column), N nodes."""

    rate: Floats  # [N, N] requests/s
    errors: Floats  # [N, N] failed requests/s
    tcp: NDArray[np.bool_]  # [N, N] whether tcp flows
    mtls: Floats  # [N, N] 0-1
    timed: Floats  # [N, N] requests/s whose response time is known x that time in ms
    weight: Floats  # [N, N] requests/s whose response time is known

    @classmethod
    def of(cls, edges: Iterable[Edge], place: Mapping[NodeKey, int]) -> TrafficMatrices:
        """Of the edges between the nodes in `place`, key -> row."""
        size = len(place)
        rate, errors, mtls, timed, weight = np.zeros((5, size, size))
        tcp = np.zeros((size, size), dtype=np.bool_)
        for edge in edges:
            s, t = place[edge.source], place[edge.target]
            rate[s, t] += edge.rps
            errors[s, t] += edge.rps * edge.error_share
            tcp[s, t] |= edge.tcp_bytes_per_second > 0
            mtls[s, t] = max(mtls[s, t], edge.mtls_share)
            if edge.response_time_ms is not None:
                seen = edge.rps or LEAST_WEIGHT
                timed[s, t] += seen * edge.response_time_ms
                weight[s, t] += seen
        return cls(rate, errors, tcp, mtls, timed, weight)

    def drop_second_reports(self, passing: NDArray[np.bool_]) -> None:
        """Take out, in place, requests through the nodes `passing` [N] that an edge past them tells of as well.

        Without service nodes Kiali adds operations beside the calls they are part of, and an ambient mesh reports a call both
        along the way and from end to end. What is past them must then be at least as much as what is through them.
        """
        behind = self._behind(passing)
        dropped = np.zeros_like(self.rate, dtype=np.bool_)
        for k in np.flatnonzero(passing):
            beside = passing & (behind & behind[k]).any(1)
            reached = behind[beside].any(0)
            through, past = self.rate[:, beside].sum(1), self.rate[:, reached].sum(1)
            dropped[:, k] = (self.rate[:, k] > 0) & ~passing & (past > 0) & (through <= 1.01 * past + ROUNDING_RPS)
        for k in np.flatnonzero(passing):
            lost = np.where(dropped[:, k], self.rate[:, k], 0.0)
            self._withdraw(int(k), lost, passing, frozenset())

    def _behind(self, passing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[N, N]: of each node of `passing`, what its requests reach through others of them, those themselves left out."""
        behind = self.rate > 0
        while True:
            further = behind | (behind[:, passing].astype(np.float64) @ behind[passing] > 0)
            if (further == behind).all():
                return behind & ~passing & passing[:, None]
            behind = further

    def _withdraw(self, k: int, lost: Floats, passing: NDArray[np.bool_], above: frozenset[int]) -> None:
        """Take the flow `lost` [N] into k out, and its share of what leaves k, however far it is passed on."""
        entering = self.rate[:, k].sum() - self.rate[k, k]
        if not lost.any() or k in above:
            return
        kept_of = np.divide(self.rate[:, k] - lost, self.rate[:, k], out=np.ones_like(lost), where=lost > 0)
        kept = 1.0 - lost.sum() / entering
        kept = kept if kept > 1e-9 else 0.0
        passed = np.flatnonzero(passing & (self.rate[k] > 0))
        losses = {int(j): (1.0 - kept) * self.rate[k, j] for j in passed if j != k}
        for j, loss in losses.items():
            from_here = np.zeros_like(lost)
            from_here[k] = loss
            self._withdraw(j, from_here, passing, above | {k})
        for array in (self.rate, self.errors, self.timed, self.weight):
            array[:, k] *= kept_of
            array[k, ~passing] *= kept

    def fold(self, k: int) -> None:
        """Replace node k by direct edges, in place: R[s, t] += R[s, k] R[k, t] / sum R[:, k].

        What arrives behind it is kept; where nothing was seen to enter it, its own row is kept: its traffic comes from outside.
        Where no request was seen to leave it, its column is kept: they end there. Both sides of it report the same failed
        requests: those of a source are spread like those of the targets. A target whose response time is not known behind the
        node has the one that was seen before it.
        """
        came, leaves = self.rate[:, k].copy(), self.rate[k].copy()
        came[k] = leaves[k] = 0.0
        self._fold_tcp(k)
        if not came.any() or not leaves.any():
            return
        share = came / came.sum()
        self._carry_times(k, leaves)
        # Of a large graph few nodes are next to this one: whole matrices would take minutes.
        sources, targets = np.flatnonzero(came), np.flatnonzero((leaves > 0) | (self.weight[k] > 0))
        block = np.ix_(sources, targets)
        for array in (self.timed, self.weight):
            array[block] += np.outer(share[sources], array[k, targets])
        self.rate[block] += np.outer(share[sources], leaves[targets])
        self.errors[block] += _failed(self.errors[:, k], self.errors[k], came, leaves, k, block)
        through = np.minimum.outer(self.mtls[sources, k], self.mtls[k, targets])
        self.mtls[block] = np.maximum(self.mtls[block], np.where(leaves[targets] > 0, through, 0.0))
        for array in (self.rate, self.errors, self.timed, self.weight):
            array[k], array[:, k] = 0.0, 0.0

    def _fold_tcp(self, k: int) -> None:
        came, leaves = self.tcp[:, k].copy(), self.tcp[k].copy()
        came[k] = leaves[k] = False
        if not came.any() or not leaves.any():
            return
        block = np.ix_(came, leaves)
        self.tcp[block] = True
        through = np.minimum.outer(self.mtls[came, k], self.mtls[k, leaves])
        self.mtls[block] = np.maximum(self.mtls[block], through)
        self.tcp[k], self.tcp[:, k] = False, False

    def _carry_times(self, k: int, leaves: Floats) -> None:
        seen = self.weight[:, k].sum() - self.weight[k, k]
        if seen <= 0:
            return
        mean = (self.timed[:, k].sum() - self.timed[k, k]) / seen
        untimed = (leaves > 0) & (self.weight[k] == 0)
        self.weight[k, untimed] = leaves[untimed]
        self.timed[k, untimed] = leaves[untimed] * mean


def _failed(
    entering: Floats, leaving: Floats, came: Floats, leaves: Floats, k: int, block: tuple[NDArray[Any], ...]
) -> Floats:
    """Failed requests/s through node k from each source to each target of the `block`.

    Whichever side saw none, its failures are spread like its requests.
    """
    entering, leaving = entering.copy(), leaving.copy()
    entering[k] = leaving[k] = 0.0
    seen, passed = entering.sum(), leaving.sum()
    sources = entering if seen > 0 else came * (passed / came.sum())
    targets = leaving / passed if passed > 0 else leaves / max(leaves.sum(), 1e-12)
    rows, columns = block
    return np.outer(sources[rows], targets[columns])
