"""The machine's clock, also while the machine sleeps."""

from __future__ import annotations

import time

import pytest

from gnnrl.cluster import clock
from gnnrl.cluster.clock import AcceleratedClock, SystemClock


def test_time_that_the_machine_slept_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that slept past its lease has lost it, and what it reads then is not from the future."""
    at = [100.0]
    monkeypatch.setattr(clock, "elapsed_seconds", lambda: at[0])
    running = AcceleratedClock(speed=2.0, origin=1_000.0)
    at[0] += 600.0
    assert running.now() == 2_200.0


def test_it_counts_on_the_clock_that_does_not_stand_in_sleep() -> None:
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    assert abs(clock.elapsed_seconds() - time.clock_gettime(boot)) < 5.0


def test_a_wall_clock_that_was_set_is_told_and_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SystemClock()
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 90.0)
    assert running.stepped_seconds() == pytest.approx(90.0, abs=5.0)
    assert running.now() == pytest.approx(wall(), abs=5.0)
