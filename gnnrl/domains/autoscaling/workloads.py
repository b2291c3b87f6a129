"""External load over time: families of synthetic traces, replay of a CSV, closed-loop users.

Every trace is float32 [seconds], external requests/s in each second, and its largest value is the peak asked for, unless it is a
recording that is played as it is (`load_file.py`). A
"day" is squeezed to an hour for an hour's episode and is a real day in a trace of 24 h. Which families training may
see is data: `Workload.held_out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.autoscaling.load_file import ABSOLUTE, WorkloadError, load_csv, recording

__all__ = ["WORKLOADS", "ClosedLoop", "Workload", "WorkloadError", "load_csv", "make_trace", "workload"]

Trace = NDArray[np.float32]
Shape = NDArray[np.float64]

HOUR = 3600
DAY = 86400


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A way to draw traces."""

    name: str
    held_out: bool
    """True: for evaluation only, training never draws it."""
    description: str
    shape: Callable[[int, np.random.Generator], Shape]
    """(seconds, rng) -> shape [seconds]; the level is set by `trace`, but that of a recording is requests/s."""
    absolute: bool = False
    """Whether its shape is played as it is, whatever peak is asked for."""

    def trace(self, seconds: int, peak_rps: float, rng: np.random.Generator) -> Trace:
        """External requests/s, float32 [seconds], with maximum `peak_rps`. The same generator state gives the same
        trace."""
        return self.scaled(seconds, peak_rps, rng)[0]

    def scaled(self, seconds: int, peak_rps: float, rng: np.random.Generator) -> tuple[Trace, float]:
        """The trace, and what the shape was multiplied with."""
        if seconds < 1:
            raise WorkloadError(f"workload {self.name!r}: a trace of {seconds} seconds; ask for at least 1")
        if not (math.isfinite(peak_rps) and peak_rps > 0):
            raise WorkloadError(f"workload {self.name!r}: peak_rps {peak_rps} is not a positive number")
        shape = self.shape(seconds, rng)
        highest = float(shape.max())
        # A piece of a recording without traffic has no level to scale, and stays silent.
        factor = 1.0 if self.absolute or highest == 0.0 else peak_rps / highest
        return (shape * factor).astype(np.float32), factor


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Users who wait for an answer, think, and ask again: the load generator of the Online Boutique (Locust).

    A task makes `requests_per_task` requests in a row, each answered after R seconds, then the user thinks. The
    published law of the generator, rps = 1.472 U / (5.5 + R), counts R once a task.
    """

    users: NDArray[np.float64]
    """Users in each second, [seconds]."""
    think_seconds: float = 5.5
    """Mean thinking time; U(1, 10)."""
    requests_per_task: float = 1.472
    """Requests a task makes on average."""

    def rps(self, second: int, latency_seconds: float) -> float:
        """External requests/s in one second, given the end-to-end latency the users see."""
        return float(self.requests_per_task * self.users[second] / (self.think_seconds + latency_seconds))

    @classmethod
    def for_rps(cls, trace: ArrayLike, latency_seconds: float) -> ClosedLoop:
        """As many users as send `trace` requests/s while answers take `latency_seconds`."""
        rate = np.asarray(trace, dtype=np.float64)
        return cls(users=rate * (cls.think_seconds + latency_seconds) / cls.requests_per_task)


def make_trace(family: str, seconds: int, peak_rps: float, rng: np.random.Generator) -> Trace:
    """`workload(family).trace(seconds, peak_rps, rng)`."""
    return workload(family).trace(seconds, peak_rps, rng)


def workload(name: str) -> Workload:
    """A family by name, or the replay of a CSV file (`*.csv`, `absolute:*.csv`), which is always held out unless a
    configuration trains on it.

    Raises:
        WorkloadError: unknown name (the message lists the families), or a CSV that cannot be read.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    path = recording(name)
    if path is not None:
        changed_ns = path.stat().st_mtime_ns if path.exists() else 0
        return _replay(path, name.startswith(ABSOLUTE), changed_ns)
    raise WorkloadError(
        f"unknown workload {name!r}; families are {', '.join(WORKLOADS)}, or give a .csv file with columns time, rps"
    )


@lru_cache(maxsize=32)
def _replay(path: Path, absolute: bool, changed_ns: int) -> Workload:
    """The replay of a file, read once; `changed_ns` makes a changed file another one."""
    del changed_ns
    whole = load_csv(path).astype(np.float64)

    def shape(seconds: int, rng: np.random.Generator) -> Shape:
        if len(whole) < seconds:
            raise WorkloadError(
                f"{path}: holds {len(whole)} seconds, {seconds} are needed; use a longer file or a shorter episode"
            )
        start = int(rng.integers(len(whole) - seconds + 1))
        return whole[start : start + seconds]

    level = "as it is" if absolute else "scaled to the peak"
    name = f"{ABSOLUTE if absolute else ''}{path}"
    return Workload(
        name=name, held_out=True, description=f"replay of {path.name}, {level}", shape=shape, absolute=absolute
    )


def _day(seconds: int, rng: np.random.Generator) -> Shape:
    """A day from trough to peak and back, at a random phase: an hour long in traces up to an hour, a real day at
    most."""
    length = float(np.clip(seconds, HOUR, DAY))
    phase = 2 * np.pi * (np.arange(seconds) / length + rng.random())
    trough = rng.uniform(0.15, 0.45)
    skew = rng.uniform(-0.25, 0.25)
    wave = 0.5 - 0.5 * np.cos(phase + skew * np.sin(phase))
    return np.asarray(trough + (1 - trough) * wave)


def _autoregressive(seconds: int, deviation: float, correlation_seconds: float, rng: np.random.Generator) -> Shape:
    """Stationary AR(1) noise with the given standard deviation and correlation time."""
    rho = math.exp(-1.0 / correlation_seconds)
    drive = rng.standard_normal(seconds) * deviation * math.sqrt(1 - rho * rho)
    drive[0] = rng.standard_normal() * deviation
    # The recursion x[t] = rho x[t-1] + drive[t] as a block sum: rho^-block stays finite in float64.
    noise = np.empty(seconds)
    block = max(1, int(50.0 * correlation_seconds))
    last = 0.0
    for start in range(0, seconds, block):
        piece = drive[start : start + block].copy()
        piece[0] += rho * last
        power = rho ** np.arange(len(piece))
        noise[start : start + block] = np.cumsum(piece / power) * power
        last = noise[start + len(piece) - 1]
    return noise


def _noisy(seconds: int, rng: np.random.Generator) -> Shape:
    deviation, correlation = rng.uniform(0.08, 0.2), rng.uniform(30.0, 300.0)
    return np.asarray(_day(seconds, rng) * np.exp(_autoregressive(seconds, deviation, correlation, rng)))


def _crowd(seconds: int, start: int, ramp: int, hold: int, decay_seconds: float) -> Shape:
    """0 before `start`, rises linearly over `ramp` to 1, holds, then decays exponentially."""
    since = np.arange(seconds) - start
    rise = np.clip((since + 1) / ramp, 0.0, 1.0)
    fall = np.exp(-np.maximum(since - ramp - hold, 0) / decay_seconds)
    return np.asarray(rise * fall)


def _bursty(seconds: int, rng: np.random.Generator) -> Shape:
    base = np.exp(_autoregressive(seconds, 0.12, 600.0, rng))
    extra = np.zeros(seconds)
    # Six or so an hour; the first may have begun before the trace. They build up over minutes: a jump within seconds
    # is what the held-out flash crowds are.
    second = float(rng.uniform(-200.0, 300.0))
    while second < seconds:
        duration = rng.uniform(30.0, 300.0)
        factor = 1.5 * (4.0 / 1.5) ** rng.random()
        burst = _crowd(seconds, int(second), int(rng.integers(40, 180)), int(duration), rng.uniform(10.0, 60.0))
        extra = np.maximum(extra, (factor - 1.0) * burst)
        second += duration + 60.0 + rng.exponential(360.0)
    return np.asarray(base * (1.0 + extra))


def _on_off(seconds: int, rng: np.random.Generator) -> Shape:
    low = rng.uniform(0.2, 0.6)
    on, off = rng.uniform(240.0, 900.0, size=2)
    cycle = on + off
    position = (np.arange(seconds) + rng.uniform(0.0, cycle)) % cycle
    ramp = rng.uniform(1.0, 30.0)
    level = np.clip(np.minimum(position / ramp, (on - position) / ramp + 1.0), 0.0, 1.0)
    return np.asarray(low + (1 - low) * level)


def _flash(seconds: int, rng: np.random.Generator) -> Shape:
    length = float(np.clip(seconds, HOUR, DAY))
    calm = 1.0 + rng.uniform(0.0, 0.15) * np.sin(2 * np.pi * (np.arange(seconds) / length + rng.random()))
    calm *= np.exp(_autoregressive(seconds, 0.03, 60.0, rng))
    extra = np.zeros(seconds)
    # A 5x and a 2x crowd in each hour, and a third one in a quarter of the hours: 2-3 % of the seconds then exceed
    # twice the load of a minute before.
    for hour in range(0, seconds, HOUR):
        span = min(HOUR, seconds - hour)
        factors = [5.0, 2.0] + ([float(rng.choice([2.0, 5.0]))] if rng.random() < 0.25 else [])
        rng.shuffle(factors)
        for slot, factor in enumerate(factors):
            start = hour + int((slot + rng.uniform(0.1, 0.6)) * span / len(factors))
            crowd = _crowd(
                seconds, start, int(rng.integers(1, 10)), int(rng.integers(60, 300)), rng.uniform(120.0, 480.0)
            )
            extra = np.maximum(extra, (factor - 1.0) * crowd)
    return np.asarray(calm * (1.0 + extra))


def _step2x(seconds: int, rng: np.random.Generator) -> Shape:
    del rng  # the step is the same for every seed: at a third of the trace
    return np.where(np.arange(seconds) < seconds // 3, 0.5, 1.0)


def _weekly(seconds: int, rng: np.random.Generator) -> Shape:
    """A week of two-humped working days and quiet weekends; a day lasts 20 minutes at least and a real day at most."""
    day = float(np.clip(seconds / 7.0, 1200.0, DAY))
    clock = np.arange(seconds) / day + rng.uniform(0.0, 7.0)
    hour = 24.0 * (clock % 1.0)
    humps = np.exp(-0.5 * ((hour - rng.uniform(10.0, 12.0)) / 2.5) ** 2)
    humps += rng.uniform(0.6, 1.0) * np.exp(-0.5 * ((hour - rng.uniform(18.0, 21.0)) / 2.0) ** 2)
    # Saturday's level sets in and out over the night, not at midnight.
    in_week = clock % 7.0
    weekend = (
        0.5 * (np.tanh((in_week - 5.0) * 8.0) - np.tanh((in_week - 7.0) * 8.0) + np.tanh(in_week * 8.0) - 1.0) + 0.0
    )
    level = 1.0 - rng.uniform(0.3, 0.5) * np.clip(weekend, 0.0, 1.0)
    floor = rng.uniform(0.15, 0.3)
    return np.asarray((floor + (1 - floor) * humps) * level * np.exp(_autoregressive(seconds, 0.04, 60.0, rng)))


def _steady(seconds: int, rng: np.random.Generator) -> Shape:
    del rng  # the level is the peak
    return np.ones(seconds)


WORKLOADS: dict[str, Workload] = {
    entry.name: entry
    for entry in (
        Workload(name="diurnal", held_out=False, description="a smooth day, trough 15-45 % of the peak", shape=_day),
        Workload(
            name="noisy", held_out=False, description="diurnal x AR(1) noise of 8-20 %, 30-300 s long", shape=_noisy
        ),
        Workload(name="on_off", held_out=False, description="square wave, 4-15 min on and off", shape=_on_off),
        Workload(
            name="bursty",
            held_out=False,
            description="bursts of 1.5-4x, 30-300 s long, every ten minutes",
            shape=_bursty,
        ),
        Workload(name="steady", held_out=True, description="constant load", shape=_steady),
        Workload(name="step2x", held_out=True, description="one doubling, a third into the trace", shape=_step2x),
        Workload(
            name="flash",
            held_out=True,
            description="flash crowds of 2x and 5x within seconds, fading in minutes",
            shape=_flash,
        ),
        Workload(name="weekly", held_out=True, description="two-humped working days and quiet weekends", shape=_weekly),
    )
}
"""Every synthetic family; `held_out` is the split between training and evaluation."""
