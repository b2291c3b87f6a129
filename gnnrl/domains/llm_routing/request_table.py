"""What became of each request of an episode: one row a request, to CSV or Parquet."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.errors import LLMRoutingError

__all__ = ["STATUS_NAMES", "ParquetMissingError", "RequestTable", "require_pyarrow"]

STATUS_NAMES = ("not_arrived", "at_router", "waiting", "running", "completed", "rejected")
"""What `status` counts through."""


class ParquetMissingError(LLMRoutingError):
    """Parquet was asked for and pyarrow is not installed."""


def require_pyarrow(path: Path) -> None:
    """Checks that `path` can be written, before the work of which it is to hold the result.

    Raises:
        ParquetMissingError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ParquetMissingError(
            f"{path}: Parquet needs pyarrow, which is not installed; pip install 'gnnrl[parquet]', or write CSV"
        )


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
        """Name -> values; None where something has not happened."""
        arrays: dict[str, NDArray[Any]] = {"request_id": np.arange(len(self))}
        arrays |= {field.name: getattr(self, field.name) for field in fields(self)}
        arrays |= {"ttft_s": self.ttft_s, "e2e_s": self.e2e_s, "tpot_ms": self.tpot_ms}
        listed = {
            name: [None if value != value else value for value in values.tolist()] for name, values in arrays.items()
        }
        listed["status"] = [STATUS_NAMES[index] for index in self.status.tolist()]
        return listed

    def write_csv(self, path: Path) -> None:
        """Writes a header and a row a request; empty where something has not happened."""
        columns = self.columns()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    def write_parquet(self, path: Path) -> None:
        """Writes the same columns as Parquet.

        Raises:
            ParquetMissingError: pyarrow is not installed.
        """
        require_pyarrow(path)
        import pyarrow
        import pyarrow.parquet

        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(self.columns()), path)
