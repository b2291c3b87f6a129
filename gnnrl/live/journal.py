"""The decision log: one line of strict JSON an interval, in files that do not grow for ever."""

from __future__ import annotations

import fcntl
import json
import math
import numbers
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from gnnrl.live.decision import Influence, IntervalRecord, ServiceDecision

__all__ = ["Journal", "JournalError", "read_journal"]


class JournalError(Exception):
    """The log cannot be written, or read back."""


class Journal:
    """Appends records to a file; `FILE` becomes `FILE.1` when it is full, `FILE.1` becomes `FILE.2`, and the oldest goes.

    Control comes first: what goes wrong during the run is told to the caller and never raised, and the next record is tried
    again (a record that was not written is lost; the file is never left with half a line in the middle). At the start, before
    anything was controlled, it is raised. Lines are handed to the operating system one by one, not synced to the disk: a
    machine that crashes loses the last ones, a process that crashes none.

    A number that is not finite is written as null: JSON has no other.

    Args:
        path: the file; missing folders are made. Half a line at its end (a process that was killed) is cut off.
        max_bytes: a file is not let grow past this, unless by a single line that is longer.
        keep: rotated files that are kept.

    Raises:
        JournalError: it cannot be written here, or another process writes it.
    """

    def __init__(self, path: str | Path, *, max_bytes: int = 64 * 1024 * 1024, keep: int = 5) -> None:
        if max_bytes < 1 or keep < 1:
            raise ValueError(f"journal: max_bytes {max_bytes} and keep {keep} must be above 0")
        self.path = Path(path)
        self._max_bytes, self._keep = max_bytes, keep
        self._file = -1
        self._size = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            # Opening finds no full disk; half a line that is taken back does.
            self._append(b" " * 4096)
            os.ftruncate(self._file, self._size)
        except OSError as error:
            self.close()
            raise JournalError(
                f"{self.path}: the decision log cannot be written: {_why(error)}; choose another place with --journal, or make room"
            ) from error

    def write(self, record: IntervalRecord) -> JournalError | None:
        """Append a record.

        Returns:
            what went wrong, for the caller to report; None = it is written.
        """
        line = _encoded(record.to_json()) + b"\n"
        try:
            if self._file < 0:
                self._open()
            if self._size and self._size + len(line) > self._max_bytes:
                self._rotate()
            self._append(line)
            self._size += len(line)
        except OSError as error:
            return JournalError(
                f"{self.path}: interval {record.number} was not logged: {_why(error)}; make room or mend the permissions"
            )
        return None

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = _whole_lines(opened)
            os.ftruncate(opened, self._size)
        except OSError:
            os.close(opened)
            raise
        self._file = opened

    def _append(self, data: bytes) -> None:
        """All of it or nothing."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            os.ftruncate(self._file, self._size)
            raise

    def _rotate(self) -> None:
        # Up to the first gap only: a rotation that failed half way left one, and trying it again must not push out the oldest.
        free = next((k for k in range(1, self._keep) if not self._numbered(k).exists()), self._keep)
        for number in range(free - 1, 0, -1):
            self._numbered(number).replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))
        self.close()
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def read_journal(path: str | Path, *, rotated: bool = False) -> Iterator[IntervalRecord]:
    """Records of a journal, oldest first. The last line may be cut: its writer was killed, or is writing it.

    Args:
        path: the file.
        rotated: the files it was rotated to come first.

    Raises:
        JournalError: a file is missing, or a line is not a record.
    """
    path = Path(path)
    older = [p for p in path.parent.glob(f"{path.name}.*") if p.suffix[1:].isdigit()] if rotated else []
    for file in [*sorted(older, key=lambda p: -int(p.suffix[1:])), path]:
        try:
            with file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    try:
                        yield _record(json.loads(line, parse_constant=_refuse))
                    except (ValueError, TypeError, KeyError, AttributeError) as error:
                        if file == path and not line.endswith(b"\n"):
                            return
                        raise JournalError(f"{file}: line {number} is not a record: {error}") from error
        except OSError as error:
            raise JournalError(f"{file}: cannot be read: {_why(error)}") from error


def _record(data: dict[str, Any]) -> IntervalRecord:
    services = tuple(
        ServiceDecision(
            **_floats(ServiceDecision, decision)
            | {
                "guardrails": tuple(decision["guardrails"]),
                "inputs": _numbers(decision["inputs"]),
                "influences": tuple(Influence(**_floats(Influence, each)) for each in decision["influences"]),
            }
        )
        for decision in data["services"]
    )
    return IntervalRecord(
        **_floats(IntervalRecord, data)
        | {
            "problems": tuple(data["problems"]),
            "data_age_seconds": _numbers(data["data_age_seconds"]),
            "services": services,
        }
    )


def _floats(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """The fields, with not-a-number where a number was not finite."""
    missing = {field.name for field in fields(cls) if field.type == "float" and data.get(field.name, 0.0) is None}
    return data | dict.fromkeys(missing, math.nan)


def _numbers(data: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in data.items()}


def _encoded(plain: dict[str, Any]) -> bytes:
    """One line of JSON. Looking at every value costs as much as writing it, so only where one is no value of JSON."""
    try:
        text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):
        text = json.dumps(_finite(plain), allow_nan=False, separators=(",", ":"))
    return text.encode()


def _finite(value: Any) -> Any:
    """The value in JSON's types, numbers that are not finite as None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    raise TypeError(f"journal: a {type(value).__name__} is no value of a record")


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _whole_lines(file: int) -> int:
    """Bytes up to the end of the last whole line."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _why(error: OSError) -> str:
    return "another process writes it" if isinstance(error, BlockingIOError) else error.strerror or str(error)
