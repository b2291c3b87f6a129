"""How far a simulation is: a bar where a person looks on, now and then a line where a file does."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from gnnrl.printable import raw

__all__ = ["RequestProgress"]

LINE_SECONDS = 10.0
BAR_SECONDS = 0.5


class RequestProgress:
    """Requests done, of how many, and how fast, on stderr; nothing where it takes no time.

    Args:
        total: requests of the whole simulation.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_terminal = sys.stderr.isatty()
        self._began = self._last = time.monotonic()
        self._shown = False

    def __enter__(self) -> RequestProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._is_terminal:
            print(file=sys.stderr)

    def advance_to(self, done: int) -> None:
        """So many are done now."""
        now = time.monotonic()
        if now - self._last < (BAR_SECONDS if self._is_terminal else LINE_SECONDS):
            return
        self._last, self._shown = now, True
        rate = done / (now - self._began)
        left = (self._total - done) / rate
        text = f"{done:,} of {self._total:,} requests, {rate:,.0f}/s, {left:,.0f} s left"
        if self._is_terminal:
            print(f"\r\x1b[K{text}", end="", file=raw(sys.stderr), flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
