"""What became of each request of an episode: one row a request."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c

__all__ = ["STATUS_NAMES", "RequestTable"]

STATUS_NAMES = ("not_arrived", "at_router", "waiting", "running", "completed", "rejected")
"""What `status` counts through."""


@dataclass(frozen=True, eq=False)
class RequestTable:
    """Columns by request, [N], in order of arrival. Times in seconds, NaN where something has not happened."""

    arrived_at: NDArray[np.float64]
    num_prefill_tokens: NDArray[np.int64]
    num_decode_tokens: NDArray[np.int64]
    replica: NDArray[np.int64]
    """Where it was sent, the last time; -1 = nowhere."""
    routed_at: NDArray[np.float64]
    """When it was sent there."""
    scheduled_at: NDArray[np.float64]
    """When its first batch began."""
    first_token_at: NDArray[np.float64]
    completed_at: NDArray[np.float64]
    restarts: NDArray[np.int64]
    """Evictions and failures of its replica."""
    status: NDArray[np.int64]
    """Index into `STATUS_NAMES`."""

    @classmethod
    def of(cls, s: c.Cluster, b: int) -> RequestTable:
        """The table of cluster `b`, copied."""
        n = int(s.cluster[b, c.N_REQUESTS])
        rows, times = s.request[b, :n].astype(np.int64), s.time[b, :n]
        return cls(
            arrived_at=times[:, c.ARRIVED].copy(),
            num_prefill_tokens=rows[:, c.PROMPT],
            num_decode_tokens=rows[:, c.TOTAL] - rows[:, c.PROMPT],
            replica=rows[:, c.REPLICA],
            routed_at=times[:, c.ROUTED].copy(),
            scheduled_at=times[:, c.SCHEDULED].copy(),
            first_token_at=times[:, c.FIRST_TOKEN].copy(),
            completed_at=times[:, c.COMPLETED].copy(),
            restarts=rows[:, c.RESTARTS],
            status=rows[:, c.STATUS],
        )

    def __len__(self) -> int:
        return int(self.arrived_at.size)

    @property
    def ttft_s(self) -> NDArray[np.float64]:
        """[N] time to first token."""
        return self.first_token_at - self.arrived_at

    @property
    def e2e_s(self) -> NDArray[np.float64]:
        """[N] from arrival to the last token."""
        return self.completed_at - self.arrived_at

    @property
    def tpot_ms(self) -> NDArray[np.float64]:
        """[N] milliseconds per token after the first; NaN for answers of one token."""
        after_first = self.num_decode_tokens - 1
        spent = self.completed_at - self.first_token_at
        return 1000.0 * np.where(after_first > 0, spent, np.nan) / np.maximum(after_first, 1)

    def count(self, status: str) -> int:
        """Requests of a status (`STATUS_NAMES`)."""
        return int(np.count_nonzero(self.status == STATUS_NAMES.index(status)))

    def columns(self) -> dict[str, list[Any]]:
        """Name -> values, as `gnnrl.column_files` writes them; None where something has not happened."""
        arrays: dict[str, NDArray[Any]] = {"request_id": np.arange(len(self))}
        arrays |= {field.name: getattr(self, field.name) for field in fields(self)}
        arrays |= {"ttft_s": self.ttft_s, "e2e_s": self.e2e_s, "tpot_ms": self.tpot_ms}
        listed = {
            name: [None if value != value else value for value in values.tolist()] for name, values in arrays.items()
        }
        listed["status"] = [STATUS_NAMES[index] for index in self.status.tolist()]
        return listed
