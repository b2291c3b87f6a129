"""Traces of requests from CSV: when each one came, and how long prompt and answer were."""

from __future__ import annotations

from array import array
from itertools import islice
from pathlib import Path

import numpy as np

from gnnrl.domains.llm_routing.workloads import LARGEST_TOKENS, LengthHint, Requests, WorkloadError
from gnnrl.table_file import Faults, Table, TableError, finite_number, open_table
from gnnrl.time_column import TimeColumn

__all__ = ["AZURE_COLUMNS", "COLUMNS", "load_trace"]

COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
"""Vidur's; times in seconds."""
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
"""Those of Microsoft's Azure LLM inference traces (2023, 2024); times as dates."""
MOST_FAULTS = 5
"""Faulty rows that a message names."""


def load_trace(path: Path, hint: LengthHint | None = None, seed: int = 0, most: int | None = None) -> Requests:
    """The requests of a CSV with the columns `COLUMNS` or `AZURE_COLUMNS`, every one as it stands there.

    Args:
        path: the file; other columns are passed over. Dates and unix times are counted from the first row, other seconds are as they are.
        hint, seed: what a router is told of the answers' lengths.
        most: read so many requests and no more of the file; None = all.

    Raises:
        WorkloadError: columns missing or there twice, no rows; a time that is none, negative, in another unit or before the row above;
            tokens that are not whole numbers >= 1. The first faulty rows are named by line.
    """
    faults = Faults(MOST_FAULTS)
    try:
        with open_table(path, COLUMNS, AZURE_COLUMNS) as table:
            arrived, prefill, decode = _columns(table, most, faults)
    except TableError as error:
        raise WorkloadError(f"{path}: {error}") from error
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path}: is not UTF-8 text ({error.reason})") from error
    if faults.count:
        raise WorkloadError(f"{path}: {'; '.join(faults.listed())}")
    if not arrived:
        raise WorkloadError(f"{path}: no requests below the header")
    tokens = np.frombuffer(decode, np.int64)
    shown = (hint or LengthHint()).draw(tokens, np.random.default_rng(seed))
    return Requests(np.frombuffer(arrived), np.frombuffer(prefill, np.int64), tokens, shown)


def _columns(table: Table, most: int | None, faults: Faults) -> tuple[array[float], array[int], array[int]]:
    """Arrival times and tokens, 24 bytes a row; rows with a fault are left out."""
    arrived, prefill, decode = array("d"), array("q"), array("q")
    times = TimeColumn()
    name = table.columns[0]
    for line, cells in islice(table.rows, most):
        before = faults.count
        at = 0.0
        try:
            at = times.seconds(cells[0])
        except ValueError as error:
            faults.add(f"line {line}: {name} {cells[0]!r} {error}")
        counts = [
            _tokens(cell, f"line {line}: {column}", faults)
            for column, cell in zip(table.columns[1:], cells[1:], strict=True)
        ]
        if faults.count == before:
            arrived.append(at)
            prefill.append(counts[0])
            decode.append(counts[1])
    return arrived, prefill, decode


def _tokens(text: str | None, where: str, faults: Faults) -> int:
    value = finite_number(text)
    if not value >= 1 or value != int(value):
        faults.add(f"{where} {text!r} is not a whole number >= 1")
        return 0
    if value > LARGEST_TOKENS:
        faults.add(f"{where} {text!r} is above {LARGEST_TOKENS}")
        return 0
    return int(value)
