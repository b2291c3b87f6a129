"""How fast each replica is, inferred from the tokens it has done: time spent over their calibrated time, with a fading memory.

A replica that has requests at a decision was busy since the last one. What it did then would have taken, at time factor 1,

    i (L(n) + D(n, S)) + p dL        i = max(g / n, p / (c - n)) iterations

for g tokens given out, p prefilled, n residents with S tokens in their KV caches (means of the two ends), chunks of c tokens, and dL a
token more in a batch. Intervals at whose end a replica has nothing are left out: when it became idle is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing.calibration import Timing

__all__ = ["ReplicaLoad", "SpeedEstimate"]

Floats = NDArray[np.float64]

MEMORY_SECONDS = 10.0
"""Time constant of the exponential memory."""
PRIOR_SECONDS = 0.1
"""Weight of the belief that a replica is as calibrated, before it has done anything."""
USUAL_DECODES = 64
"""Batch from which the time of a token more is taken."""


class ReplicaLoad(NamedTuple):
    """What replicas hold and have done, float64 [B, R] each."""

    resident: Floats
    kv_tokens: Floats
    outstanding: Floats
    prefilled: Floats
    """Tokens since the last decision."""
    generated: Floats


class SpeedEstimate:
    """Estimates for B clusters of R replicas.

    Args:
        batch_size: B.
        replicas: R.
        timing: calibrated iteration times.
        chunk_tokens: of a batch with prefills.
    """

    def __init__(self, batch_size: int, replicas: int, timing: Timing, chunk_tokens: int) -> None:
        self._timing, self._chunk = timing, min(chunk_tokens, timing.linear.size - 1)
        more = max(self._chunk - USUAL_DECODES, 1)
        self._per_prefill = (timing.linear[self._chunk] - timing.linear[USUAL_DECODES]) / more + timing.prefill[1]
        self._sums = np.zeros((4, batch_size, replicas))  # seconds busy, calibrated seconds, prefilled, generated
        self._before = np.zeros((2, batch_size, replicas))  # residents, KV tokens

    def update(self, load: ReplicaLoad, elapsed: Floats, known: NDArray[np.bool_]) -> None:
        """Take in what was done.

        Args:
            load: at this decision.
            elapsed: [B] seconds since the last one.
            known: [B, R] replicas that were there then; the others start without a past.
        """
        now = np.stack([load.resident, load.kv_tokens])
        residents, kv = (now + self._before) / 2.0
        iterations = np.maximum(
            load.generated / np.maximum(residents, 1.0), load.prefilled / np.maximum(self._chunk - residents, 1.0)
        )
        calibrated = iterations * self.iteration_seconds(residents, kv) + load.prefilled * self._per_prefill
        seconds = np.broadcast_to(elapsed[:, None], residents.shape)
        done = np.stack([seconds, calibrated, load.prefilled, load.generated])
        self._sums *= np.exp(-seconds / MEMORY_SECONDS)
        self._sums += np.where(load.outstanding > 0.0, done, 0.0)
        self._sums *= known
        self._before = now

    def iteration_seconds(self, decodes: Floats, kv_tokens: Floats) -> Floats:
        """Calibrated time of an iteration that decodes so many requests with so many tokens in their caches."""
        linear, decode = self._timing.linear, self._timing.decode
        return (
            linear[np.clip(np.rint(decodes), 1, linear.size - 1).astype(np.int64)]
            + decode[0]
            + decode[1] * decodes
            + decode[2] * kv_tokens
            + decode[3] * np.sqrt(kv_tokens)
        )

    def prefill_seconds(self, tokens: Floats, decodes: Floats, kv_tokens: Floats) -> Floats:
        """Calibrated time to prefill so many tokens, in chunks beside the decodes."""
        iterations = tokens / np.maximum(self._chunk - decodes, 1.0)
        return iterations * self.iteration_seconds(decodes, kv_tokens) + tokens * self._per_prefill

    @property
    def time_factor(self) -> Floats:
        """[B, R] how many times the calibrated time a replica takes; 1 before it has done anything."""
        return (self._sums[0] + PRIOR_SECONDS) / (self._sums[1] + PRIOR_SECONDS)

    @property
    def rates(self) -> tuple[Floats, Floats]:
        """[B, R] tokens prefilled and given out a busy second."""
        seconds = self._sums[0] + PRIOR_SECONDS
        return self._sums[2] / seconds, self._sums[3] / seconds

    def state_dict(self) -> dict[str, Any]:
        """What has been taken in."""
        return {"sums": self._sums.copy(), "before": self._before.copy()}

    def load_state_dict(self, saved: Mapping[str, Any], these: Any = slice(None)) -> None:
        """Go on from `state_dict`, in the clusters `these` (an index of the axis B)."""
        self._sums[:, these] = saved["sums"][:, these]
        self._before[:, these] = saved["before"][:, these]
