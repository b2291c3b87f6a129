"""Recorded loads: a CSV of times and requests/s.

As a workload it is named by its path, and is then scaled to the peak that suits a mesh, as every family is; named
`absolute:<path>`, its requests/s are played as they are.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnnrl.table_file import Faults, Table, TableError, finite_number, open_table
from gnnrl.time_column import TimeColumn

__all__ = ["ABSOLUTE", "WorkloadError", "in_own_rates", "load_csv", "recording"]

Floats = NDArray[np.float64]

ABSOLUTE = "absolute:"
COLUMNS = ("time", "rps")
LARGEST_RPS = 1e9
LONGEST_INTERVAL_SECONDS = 3600.0
"""Between rows: what is further apart is a straight line over a whole episode."""
LONGEST_SECONDS = 400 * 86_400
MOST_ROWS = 20_000_000
SHOWN_FAULTS = 20


class WorkloadError(ValueError):
    """A workload that is unknown or a file that is no trace: says what, where and the remedy."""


def recording(workload: str) -> Path | None:
    """The CSV file that a workload replays; None = it is a family."""
    return Path(workload.removeprefix(ABSOLUTE)) if workload.lower().endswith(".csv") else None


def in_own_rates(workloads: Sequence[str]) -> tuple[str, ...]:
    """The same workloads, every recording at its own requests/s.

    Raises:
        WorkloadError: there is no recording among them.
    """
    if not any(map(recording, workloads)):
        raise WorkloadError(
            f"there are no requests/s to keep in {', '.join(workloads)}: only .csv files have them; families are scaled to a mesh"
        )
    return tuple(f"{ABSOLUTE}{path}" if (path := recording(workload)) else workload for workload in workloads)


def load_csv(path: str | Path, seconds: int | None = None) -> NDArray[np.float32]:
    """Read a trace with columns `time` (seconds, or ISO 8601 dates) and `rps`, resampled linearly to one value a second.

    Args:
        path: the file. Further columns are ignored.
        seconds: length wanted, from the start; None = all of it.

    Raises:
        WorkloadError: missing columns or file, a column that is there twice; a time that is none, or in another unit than seconds; a
            rate that is no number, negative or past any that is served; unsorted or repeated times, a gap (over 1.5 x the usual
            interval), rows more than an hour apart, or a file shorter than `seconds`. The first faulty lines are named.
    """
    path = Path(path)
    times, rates = _read_rows(path)
    resampled = np.interp(np.arange(0.0, times[-1] - times[0] + 0.5), times - times[0], rates)
    if seconds is not None:
        if len(resampled) < seconds:
            raise WorkloadError(
                f"{path}: holds {len(resampled)} seconds, {seconds} are needed; use a longer file or a shorter episode"
            )
        resampled = resampled[:seconds]
    return resampled.astype(np.float32)


def _read_rows(path: Path) -> tuple[Floats, Floats]:
    faults = Faults(SHOWN_FAULTS)
    try:
        with open_table(path, COLUMNS) as table:
            lines, times, rates = _columns(table, faults)
    except TableError as error:
        raise WorkloadError(f"{path}: {error}") from error
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path}: is not UTF-8 text ({error.reason})") from error
    _judge_intervals(lines, times, faults)
    if not faults.count and len(times) < 2:
        faults.add("holds fewer than two rows; a trace needs a start and an end")
    elif not faults.count and rates.max() == 0:
        faults.add("holds no traffic: every rps is 0")
    if faults.count:
        raise WorkloadError("\n".join(f"{path}: {fault}" for fault in faults.listed()))
    return times, rates


def _columns(table: Table, faults: Faults) -> tuple[NDArray[np.int64], Floats, Floats]:
    lines, times, rates = array("q"), array("d"), array("d")
    column = TimeColumn()
    for line, (time, rate) in islice(table.rows, MOST_ROWS + 1):
        before = faults.count
        at, rps = 0.0, finite_number(rate)
        try:
            at = column.seconds(time)
        except ValueError as error:
            faults.add(f"line {line}: time {time!r} {error}")
        if math.isnan(rps):
            faults.add(f"line {line}: rps {rate!r} is no finite number, as 12.5; fill or cut the row")
        elif rps < 0:
            faults.add(f"line {line}: rps {rps:g} is negative; rates are >= 0")
        elif rps > LARGEST_RPS:
            faults.add(f"line {line}: rps {rps:g} is above {LARGEST_RPS:g}; rates are requests a second")
        if faults.count == before:
            lines.append(line)
            times.append(at)
            rates.append(rps)
    if len(times) > MOST_ROWS:
        faults.add(f"holds more than {MOST_ROWS} rows; cut the file")
    return np.frombuffer(lines, np.int64), np.frombuffer(times), np.frombuffer(rates)


def _judge_intervals(lines: NDArray[np.int64], times: Floats, faults: Faults) -> None:
    if len(times) < 2:
        return
    intervals = np.diff(times)
    for position in np.flatnonzero(intervals <= 0):
        faults.add(f"line {lines[position + 1]}: time repeats that of line {lines[position]}; one row a time")
    usual = float(np.median(intervals))
    if usual > LONGEST_INTERVAL_SECONDS:
        faults.add(
            f"line {lines[1]}: rows are {usual:g} s apart, more than an hour, so that an episode is a straight line; if these are "
            "milliseconds, divide the times by 1000"
        )
    elif times[-1] - times[0] > LONGEST_SECONDS:
        faults.add(
            f"line {lines[-1]}: the file covers {(times[-1] - times[0]) / 86_400:.0f} days; cut it to {LONGEST_SECONDS // 86_400}"
        )
    for position in np.flatnonzero(intervals > 1.5 * usual) if usual > 0 else ():
        faults.add(
            f"line {lines[position + 1]}: a gap of {intervals[position]:g} s after line {lines[position]} where rows "
            f"are {usual:g} s apart; fill it (interpolate) or cut the file there"
        )
