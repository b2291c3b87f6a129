"""Traces of requests from CSV: when each one came, and how long prompt and answer were."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing.workloads import LARGEST_TOKENS, LengthHint, Requests, WorkloadError

__all__ = ["AZURE_COLUMNS", "COLUMNS", "load_trace"]

COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
"""Vidur's; times in seconds."""
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
"""Those of Microsoft's Azure LLM inference traces (2023, 2024); times as dates."""
MOST_FAULTS = 5
"""Faulty rows that a message names."""
TIMESTAMP = re.compile(r"(?P<whole>[^.+]+?)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)?")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def load_trace(path: Path, hint: LengthHint | None = None, seed: int = 0) -> Requests:
    """The requests of a CSV with the columns `COLUMNS` or `AZURE_COLUMNS`, every one as it stands there.

    Args:
        path: the file; other columns are passed over. Dates are counted from the first row, seconds as they are.
        hint, seed: what a router is told of the answers' lengths.

    Raises:
        WorkloadError: columns missing or there twice, no rows; a time that is not finite, negative or before the row above; tokens that
            are not whole numbers >= 1. The first faulty rows are named by line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkloadError(f"{path}: {error}") from error
    columns = AZURE_COLUMNS if set(AZURE_COLUMNS) <= set(names) else COLUMNS
    if missing := [name for name in columns if name not in names]:
        raise WorkloadError(
            f"{path}: column {', '.join(missing)} is missing; a trace has {','.join(COLUMNS)} or {','.join(AZURE_COLUMNS)}"
        )
    if twice := [name for name in columns if names.count(name) > 1]:
        raise WorkloadError(f"{path}: column {', '.join(twice)} is there more than once; keep the one that is meant")
    if not rows:
        raise WorkloadError(f"{path}: no requests below the header")
    arrived, prefill, decode = _parse(path, rows, columns)
    return Requests(arrived, prefill, decode, (hint or LengthHint()).draw(decode, np.random.default_rng(seed)))


def _parse(
    path: Path, rows: Sequence[tuple[int, Mapping[str, Any]]], columns: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    arrived = np.zeros(len(rows))
    tokens = np.zeros((2, len(rows)), np.int64)
    faults: list[str] = []
    origin: int | None = None
    before = 0.0
    for k, (line, row) in enumerate(rows):
        shown = f"line {line}: {columns[0]} {row[columns[0]]!r}"
        try:
            if columns is AZURE_COLUMNS:
                moment = _nanoseconds(row[columns[0]] or "")
                origin = moment if origin is None else origin
                at = (moment - origin) / 1e9
            else:
                at = float(row[columns[0]])
        except (ValueError, TypeError):
            faults.append(f"{shown} is not a time")
            continue
        if not math.isfinite(at) or (at < 0 and origin is None):
            faults.append(f"{shown} is not a time >= 0")
        elif at < before:
            faults.append(f"{shown} is before the line above; sort the file by it")
        else:
            arrived[k] = before = at
        for j, name in enumerate(columns[1:]):
            value = _whole(row[name])
            if value is None or value < 1:
                faults.append(f"line {line}: {name} {row[name]!r} is not a whole number >= 1")
            elif value > LARGEST_TOKENS:
                faults.append(f"line {line}: {name} {row[name]!r} is above {LARGEST_TOKENS}")
            else:
                tokens[j, k] = value
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise WorkloadError(f"{path}: {'; '.join(faults[:MOST_FAULTS])}{more}")
    return arrived, tokens[0], tokens[1]


def _nanoseconds(text: str) -> int:
    """Since 1970, of a date such as `2023-11-16 18:15:46.6805900` or `2024-05-10 00:00:00.009930+00:00`; UTC where no zone is named.

    In whole numbers: a double of seconds since 1970 is 2.4e-7 s from the next.
    """
    found = TIMESTAMP.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    zone = datetime.strptime(found["zone"] or "Z", "%z").tzinfo
    moment = datetime.fromisoformat(found["whole"]).replace(tzinfo=zone)
    return (moment - EPOCH) // timedelta(seconds=1) * 10**9 + int((found["fraction"] or "0").ljust(9, "0"))


def _whole(text: str | None) -> int | None:
    try:
        value = float(text if text is not None else "")
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None
