"""Whether the rates of a service can be as low as they are said to be: held against the CPU of its own pods, measured by somebody else.

A rate over a window reads low, and nothing says so, wherever samples are missing: after a restart of Prometheus with empty storage, in and
after a gap, for a service some of whose pods are not scraped. Traffic that is really gone takes CPU with it, and traffic that comes brings
some.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["BELIEVED_SECONDS", "RateJudgement", "RateTrust"]

TOLERANCE = 0.1
"""Share by which a rate may be below what its CPU says."""
IDLE_SHARE = 0.05
"""Of a service's CPU this much may be there without any requests: so much less of it need go with them. One that idles at more is not
lowered for up to ten minutes after a fall; a larger share lets lost targets pass while the load falls by itself."""
ZERO_SHARE = 0.2
"""Below this share of the CPU that its requests took, a service is believed to have none."""
DEVIATIONS = 2.0
"""Standard deviations of a Poisson count that are no fall."""
LOOK_BACK_WINDOWS = 2.5
"""A gap shows within a window, and a short one is over after two: with what was before that nothing is compared."""
BELIEVED_SECONDS = 600.0
"""What has been said for so long is believed: requests do become cheaper or dearer, and services idle."""


class RateJudgement(NamedTuple):
    """What is to be thought of one reading of the rates."""

    doubted: Mapping[str, str]
    """Service -> why its rate cannot be believed."""
    half_filled: frozenset[str]
    """Services whose rate is zero and was not, or has just come back: its window may be half filled."""


class _Seen(NamedTuple):
    seconds: float
    rps: float
    cpu: float
    """Mean over the window of the rate, in any unit."""


@dataclass
class _Service:
    cpu: deque[tuple[float, float]] = field(default_factory=deque)
    """(seconds, CPU) of the readings within a window."""
    measured_since: float = 0.0
    """Since when its CPU is measured, and is not at its limit, without a break."""
    seen: deque[_Seen] = field(default_factory=deque)
    """What was believed lately."""
    reference: _Seen | None = None
    """What was believed before it was too low; None = it is not."""
    fallen_since: float = 0.0
    """When that was first read. With a long window the reference is older than what is believed in the end."""
    lowest: float = 0.0
    """Rate since then."""
    requested_seconds: float | None = None
    """When requests were last seen; None = never, or so long ago that it is believed."""
    requested_cpu: float = math.inf
    """CPU at that time; infinity = not measured."""


class RateTrust:
    """Judges the rates of services, reading by reading.

    Args:
        start_hold_seconds: for so long after the first reading every window may be half filled: with what was before it nothing can be
            compared, and who starts in the midst of a gap takes it for what is usual.
    """

    def __init__(self, start_hold_seconds: float = 0.0) -> None:
        self._start_hold_seconds = start_hold_seconds
        self._services: dict[str, _Service] = {}
        self._began: float | None = None
        """Time of the first reading."""

    def judge(
        self,
        now: float,
        window_seconds: float,
        rps: Mapping[str, float],
        cpu: Mapping[str, float],
        saturated: Collection[str] = (),
        partly: Collection[str] = (),
    ) -> RateJudgement:
        """Take a reading.

        Args:
            now: unix seconds, rising from call to call.
            window_seconds: that the rates are means over.
            rps: requests/s that each service is said to receive.
            cpu: of all its pods' applications, in any unit; what is not measured is left out.
            saturated: services whose CPU is at its limit, and says less than their requests cost: nothing is compared with it later.
            partly: services some of whose ready pods are not measured yet, and taken for the mean of the others: that is no rise.
        """
        doubted: dict[str, str] = {}
        self._began = now if self._began is None else self._began
        half_filled: set[str] = set(rps) if now - self._began < self._start_hold_seconds else set()
        came = {name for name in rps if name not in self._services}
        if any(rps[name] > 0.0 for name in came) or self._services.keys() - rps.keys():
            half_filled |= self._turned(rps, cpu, window_seconds)
        # Nothing turns to one that comes without requests: its pods start, and its traffic is moved later.
        self._services |= {name: _Service() for name in came}
        for name, rate in rps.items():
            known = self._services[name]
            if _stopped(known, now, rate, cpu.get(name, math.inf)):
                half_filled.add(name)
            if name not in cpu:
                known.cpu.clear()
            else:
                if name in saturated or not known.cpu:
                    known.measured_since = now
                rises = name not in partly or not known.cpu
                used = cpu[name] if rises else min(cpu[name], known.cpu[-1][1])
                expected, returned = _compared(known, now, window_seconds, rate, used)
                if returned:
                    half_filled.add(name)
                if expected is not None:
                    doubted[name] = (
                        f"graph: {rate:.4g} requests/s, where its pods' CPU is that of {expected:.4g}; does its Prometheus scrape all "
                        "of its pods?"
                    )
        return RateJudgement(doubted, frozenset(half_filled))

    def _turned(self, rps: Mapping[str, float], cpu: Mapping[str, float], window_seconds: float) -> set[str]:
        """Services came or went: requests go other ways, and what each received before is no measure of it any more.

        What was in doubt before stays so: who comes or goes mends no scraping. Returns those that receive less all at once: whether by
        the other ways or for want of samples, a whole window has to show.
        """
        less = set()
        for name, known in self._services.items():
            if known.reference is None:
                if name in cpu and any(
                    _fell(seen, rps.get(name, 0.0), cpu[name], window_seconds) for seen in known.seen
                ):
                    less.add(name)
                known.seen.clear()
        self._services = {name: known for name, known in self._services.items() if name in rps}
        return less & rps.keys()


def _stopped(known: _Service, now: float, rate: float, cpu_now: float) -> bool:
    """Whether there are no requests, were some not so long ago, and its CPU is not that of a service without any."""
    if rate > 0.0:
        known.requested_seconds, known.requested_cpu = now, cpu_now
    elif cpu_now < ZERO_SHARE * known.requested_cpu < math.inf:
        return False
    elif known.requested_seconds is not None and now - known.requested_seconds > BELIEVED_SECONDS:
        known.requested_seconds = None
    return rate == 0.0 and known.requested_seconds is not None


def _compared(
    known: _Service, now: float, window_seconds: float, rate: float, cpu_now: float
) -> tuple[float | None, bool]:
    """The rate that its CPU stands for, where it is too far below (None = it is not), and whether it has come back from there."""
    known.cpu.append((now, cpu_now))
    while known.cpu[0][0] <= now - window_seconds:
        known.cpu.popleft()
    cpu = _mean(known.cpu, now, window_seconds)
    while known.seen and known.seen[0].seconds < now - LOOK_BACK_WINDOWS * window_seconds:
        known.seen.popleft()
    reference, returned = known.reference, False
    if reference is not None:
        if now - known.fallen_since > BELIEVED_SECONDS:
            known.seen.clear()
            known.reference = None
        elif not _fell(reference, rate, cpu, window_seconds):
            # Either the CPU has gone as well by now, or the requests are back: then the window has only begun to fill.
            returned = rate > (1.0 + TOLERANCE) * known.lowest
            known.reference = None
    elif known.seen:
        if now - known.measured_since < window_seconds:
            # Of less than a window the mean is that of its end: it may be above what the rate can show yet.
            cpu = min(cpu, max(seen.cpu for seen in known.seen))
        highest = max(known.seen, key=lambda seen: _expected(seen, cpu))
        if _fell(highest, rate, cpu, window_seconds):
            known.reference, known.fallen_since, known.lowest = highest, now, rate
    if known.reference is not None:
        known.lowest = min(known.lowest, rate)
        return _expected(known.reference, cpu), False
    if now - known.measured_since >= window_seconds:
        known.seen.append(_Seen(now, rate, cpu))
    return None, returned


def _mean(readings: Iterable[tuple[float, float]], now: float, window_seconds: float) -> float:
    """Mean over the window; a reading stands for the time since the one before, however often is read."""
    total, before = 0.0, now - window_seconds
    for seconds, value in readings:
        total += value * (seconds - before)
        before = seconds
    return total / window_seconds


def _expected(seen: _Seen, cpu: float) -> float:
    """Requests/s at least, at this CPU, if a request costs what it did then."""
    if seen.cpu <= 0.0:
        return 0.0
    if cpu >= seen.cpu:
        return seen.rps * cpu / seen.cpu
    return seen.rps * max(0.0, 1.0 - (1.0 - cpu / seen.cpu) / (1.0 - IDLE_SHARE))


def _fell(seen: _Seen, rate: float, cpu: float, window_seconds: float) -> bool:
    expected = _expected(seen, cpu)
    noise = DEVIATIONS * math.sqrt(expected / window_seconds)
    return rate < (1.0 - TOLERANCE) * expected - noise
