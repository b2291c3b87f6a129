"""The times of a table's rows: seconds, or dates (ISO 8601, up to nanoseconds), never falling."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

from gnnrl.table_file import finite_number

__all__ = ["TimeColumn"]

LATEST_SECONDS = 1e11
"""Since 1970: the year 5138. What is above is no number of seconds."""
EARLIEST_UNIX_SECONDS = 1e9
"""Since 1970: the year 2001. A table that begins later than this tells unix times, not seconds of its own."""
UNITS = ((1e17, "nanoseconds", "1e9"), (1e14, "microseconds", "1e6"), (LATEST_SECONDS, "milliseconds", "1000"))
DATE = re.compile(
    r"(?P<whole>[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T ][0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:[.,](?P<fraction>[0-9]{1,9}))?)?)?)"
    r" ?(?P<zone>Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_NS = 10**9
NO_TIME = "is not a time >= 0; give seconds, or dates as 2024-05-10T18:15:46.680Z"


class TimeColumn:
    """Reads the times of one column, row after row.

    Dates, and unix times, are counted from the first row, in whole nanoseconds where they are dates: a double of seconds since 1970 is
    2.4e-7 s from the next. Dates without a zone are UTC.
    """

    def __init__(self) -> None:
        self._are_dates: bool | None = None
        self._origin = 0
        self._origin_seconds = 0.0
        self._last = -math.inf

    def seconds(self, text: str | None) -> float:
        """The time in seconds.

        Raises:
            ValueError: it is no time, in another unit, before 0 or before the row above; the message goes on from `time '...'`.
        """
        value = finite_number(text)
        is_date = text is not None and math.isnan(value) and DATE.fullmatch(text) is not None
        if text is None or (math.isnan(value) and not is_date):
            raise ValueError(NO_TIME)
        if self._are_dates is not None and is_date != self._are_dates:
            raise ValueError(
                "is a date where the rows above have seconds, or the other way round; write all of one kind"
            )
        at = self._of_date(text) if is_date else self._of_number(value)
        self._are_dates = is_date
        if at < self._last:
            raise ValueError("is before the line above; sort the file by it")
        self._last = at
        return at

    def _of_date(self, text: str) -> float:
        try:
            moment = _nanoseconds(text)
        except ValueError:
            raise ValueError(NO_TIME) from None
        if self._are_dates is None:
            self._origin = moment
        return (moment - self._origin) / SECOND_NS

    def _of_number(self, value: float) -> float:
        if value < 0:
            raise ValueError("is not a time >= 0; count from the first row")
        for least, unit, divisor in UNITS:
            if value >= least:
                raise ValueError(f"is no time in seconds; times look like {unit}; divide by {divisor}")
        if self._are_dates is None and value >= EARLIEST_UNIX_SECONDS:
            self._origin_seconds = value
        return value - self._origin_seconds


def _nanoseconds(text: str) -> int:
    """Since 1970, of a date such as `2023-11-16 18:15:46.6805900` or `2024-05-10 00:00:00.009930+00:00`."""
    found = DATE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    whole = re.split("[.,]", found["whole"])[0]
    since = datetime.fromisoformat(whole).replace(tzinfo=_zone(found["zone"] or "Z")) - EPOCH
    return (since.days * 86400 + since.seconds) * SECOND_NS + int((found["fraction"] or "0").ljust(9, "0"))


@lru_cache(maxsize=64)
def _zone(text: str) -> tzinfo | None:
    return datetime.fromisoformat(f"2000-01-01T00:00{text.replace('UTC', 'Z')}").tzinfo
