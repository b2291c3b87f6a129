"""Time as the live loop and the sandbox see it: the machine's, accelerated, or moved by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["AcceleratedClock", "Clock", "SteppedClock", "SystemClock"]


class Clock(Protocol):
    """Where the time comes from. Never goes back."""

    def now(self) -> float:
        """Unix seconds."""

    def sleep_until(self, when: float, stop: threading.Event | None = None) -> bool:
        """Wait until `now() >= when`; False if `stop` was set before."""


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux' monotonic clock stands while the machine sleeps; that of other systems does not."""


def elapsed_seconds() -> float:
    """Seconds since some moment, those included in which the machine slept: a Lease runs out meanwhile, and data grow old."""
    return time.clock_gettime(_CLOCK)


class AcceleratedClock:
    """`speed` seconds pass for each second of the machine's, also while it sleeps.

    Args:
        speed: 1 = real time.
        origin: unix seconds at which it starts; None = now.

    Raises:
        ValueError: the speed is not positive.
    """

    def __init__(self, speed: float = 1.0, origin: float | None = None) -> None:
        if not speed > 0.0:
            raise ValueError(f"clock speed {speed}: must be above 0; 1 is real time")
        self.speed = speed
        self._origin = time.time() if origin is None else origin
        self._started = elapsed_seconds()

    def now(self) -> float:
        """Unix seconds."""
        return self._origin + self.speed * (elapsed_seconds() - self._started)

    def sleep_until(self, when: float, stop: threading.Event | None = None) -> bool:
        """Wait until `when`; False if `stop` was set before."""
        event = stop or threading.Event()
        while (left := when - self.now()) > 0.0:
            if event.wait(left / self.speed):
                return False
        return not event.is_set()


class SystemClock(AcceleratedClock):
    """The machine's time; steps of the wall clock after the start do not reach it."""

    def __init__(self) -> None:
        super().__init__()

    def stepped_seconds(self) -> float:
        """How far the wall clock has been set forward (above 0) or back since the start: every age of data is wrong by that."""
        return time.time() - self.now()


class SteppedClock:
    """A clock that stands still until it is moved: `sleep_until` moves it, and tells `on_advance` of every move.

    Args:
        origin: unix seconds at which it stands.
        on_advance: called with the new time before `sleep_until` returns (a simulation that keeps up with it).
    """

    def __init__(self, origin: float = 0.0, on_advance: Callable[[float], None] | None = None) -> None:
        self._now = origin
        self.on_advance = on_advance

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    def sleep_until(self, when: float, stop: threading.Event | None = None) -> bool:
        """Move to `when`, if that lies ahead; False if `stop` is set."""
        if stop is not None and stop.is_set():
            return False
        if when > self._now:
            self._now = when
            if self.on_advance is not None:
                self.on_advance(when)
        return True
