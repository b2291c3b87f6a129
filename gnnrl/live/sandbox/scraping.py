"""How the sandbox's Prometheus scrapes, and what goes wrong with it: gaps, restarts, lost targets, counters that begin anew."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["SCRAPE_FAULTS", "ScrapeFault", "ScrapeFaultKind", "ScrapePlan", "share_of"]

ScrapeFaultKind = Literal["gap", "restart", "targets", "reset", "interval"]
"""`gap`: nothing is scraped; `restart`: nor is anything of before still there after it; `targets`: a share of the proxies is not scraped;
`reset`: the counters of a share of the proxies begin anew at its start; `interval`: proxies are scraped every `value` seconds from its
start on."""
SCRAPE_FAULTS: tuple[ScrapeFaultKind, ...] = get_args(ScrapeFaultKind)


@dataclass(frozen=True, kw_only=True)
class ScrapeFault:
    """One of them.

    Raises:
        ValueError: at construction, for an unknown kind or times and values that cannot be.
    """

    kind: ScrapeFaultKind
    start: float
    """Seconds after the sandbox's start."""
    end: float
    value: float = 1.0
    """Share of the proxies, or seconds of `interval`."""

    def __post_init__(self) -> None:
        if self.kind not in SCRAPE_FAULTS:
            raise ValueError(f"scrape fault {self.kind!r} is none of {', '.join(SCRAPE_FAULTS)}")
        if not 0.0 <= self.start <= self.end:
            raise ValueError(f"scrape fault {self.kind}: from {self.start:g} to {self.end:g} s runs backwards")
        if not (self.value >= 1.0 if self.kind == "interval" else 0.0 <= self.value <= 1.0):
            raise ValueError(
                f"scrape fault {self.kind}: {self.value:g} is no share of 0 to 1, or interval of 1 s and more"
            )


@dataclass(frozen=True, kw_only=True)
class ScrapePlan:
    """Every proxy is scraped at its own offset within the interval, as a Prometheus spreads its targets."""

    interval_seconds: float = 15.0
    faults: tuple[ScrapeFault, ...] = ()

    def interval_at(self, second: float) -> float:
        """The scrape interval at this time."""
        set_last = [fault for fault in self.faults if fault.kind == "interval" and fault.start <= second]
        return max(set_last, key=lambda fault: fault.start).value if set_last else self.interval_seconds

    def is_scraped(self, target: str, second: float) -> bool:
        """Whether a scrape of this target at this time succeeds."""
        return not any(
            fault.kind in ("gap", "restart")
            or (fault.kind == "targets" and share_of(target, fault.start) < fault.value)
            for fault in self.faults
            if fault.start <= second < fault.end
        )

    def emptied_by(self, second: float) -> float:
        """The last time, up to this one, at which the storage was emptied; minus infinity = never."""
        ends = [fault.end for fault in self.faults if fault.kind == "restart" and fault.end <= second]
        return max(ends, default=float("-inf"))

    def resets(self, target: str, start: float, end: float) -> bool:
        """Whether its counters begin anew in (start, end]."""
        return any(
            fault.kind == "reset" and start < fault.start <= end and share_of(target, fault.start) < fault.value
            for fault in self.faults
        )

    def scrape_seconds(self, target: str, start: float, end: float) -> list[float]:
        """When it would be scraped in (start, end], failing or not."""
        interval = self.interval_at(end)
        offset = share_of(target, 0.0) * interval
        number = int((start - offset) // interval) + 1
        found = []
        while (second := offset + number * interval) <= end:
            found.append(second)
            number += 1
        return found

    def without_faults(self) -> ScrapePlan:
        """The same targets at the same times, and nothing goes wrong; intervals change as they do."""
        return ScrapePlan(
            interval_seconds=self.interval_seconds,
            faults=tuple(fault for fault in self.faults if fault.kind == "interval"),
        )


def share_of(target: str, salt: float) -> float:
    """A number in [0, 1) for a target, the same in every run."""
    return zlib.crc32(f"{target}/{salt:.3f}".encode()) / 2**32
