"""What a soak of the live loop came to."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

__all__ = ["CHECKS", "SoakReport"]

CHECKS = (
    "crashes", "lowered on bad data", "lowered on low rates",
    "out of bounds", "double writers", "double leaders", "unknown writers", "secrets told",
    "late recoveries", "memory growth", "thread growth", "file growth",
)  # fmt: skip
"""Counted by the auditor; none of them may happen."""


@dataclass
class SoakReport:
    """What came of it."""

    intervals: int = 0
    hours: float = 0.0
    """Of the cluster's time."""
    wall_seconds: float = 0.0
    turn_seconds: list[float] = field(default_factory=list)
    """Wall time of each turn of a loop."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of what must not happen (`CHECKS`)."""
    low_rates: Counter[str] = field(default_factory=Counter)
    """Readings of each replica in which some rate was too low."""
    writes: Counter[str] = field(default_factory=Counter)
    guardrails: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Faults that a request has met, by `target:kind`."""
    recovery: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By replica's graph and the fault's target: intervals from the fault's end to the first valid decision -> how often."""
    held: dict[str, Counter[bool]] = field(default_factory=lambda: defaultdict(Counter))
    """By replica's graph and the fault: intervals with (True) and without (False) a valid decision while it lasted."""
    valid: int = 0
    turns: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    leading: Counter[str] = field(default_factory=Counter)
    rss_mib: tuple[float, float] = (0.0, 0.0)
    threads: tuple[int, int] = (0, 0)
    files: tuple[int, int] = (0, 0)
    lines: int = 0
    first: str = ""
    """The first offence, with its record."""

    @property
    def clean(self) -> bool:
        """Whether nothing happened that must not."""
        return not any(self.counts.values())

    @property
    def growth(self) -> float:
        """Of the memory, as a share."""
        return self.rss_mib[1] / self.rss_mib[0] - 1.0 if self.rss_mib[0] else 0.0

    def print(self) -> None:
        """All numbers."""
        turns = np.array(self.turn_seconds) * 1000.0
        print(
            f"{self.intervals} intervals ({self.hours:.1f} h of the cluster) in {self.wall_seconds:.0f} s: "
            f"{self.intervals / self.wall_seconds:.1f} intervals/s, two replicas each"
        )
        print(
            f"a turn of a loop: p50 {np.percentile(turns, 50):.1f}, p99 {np.percentile(turns, 99):.1f}, max {turns.max():.1f} ms; "
            f"valid {self.valid} of {self.turns}"
        )
        print("must not happen:")
        for name in CHECKS:
            print(f"  {name:22} {self.counts.get(name, 0):8d}")
        print(f"memory {self.rss_mib[0]:.1f} -> {self.rss_mib[1]:.1f} MiB ({100 * self.growth:+.2f} %)")
        print(
            f"threads {self.threads[0]} -> {self.threads[1]}, open files {self.files[0]} -> {self.files[1]} (most in the second and "
            f"in the last tenth); {self.lines} log lines looked at"
        )
        for title, counter in (
            ("writes", self.writes),
            ("outcomes", self.outcomes),
            ("intervals led", self.leading),
            ("readings with rates too low", self.low_rates),
            ("restarts", self.restarts),
            ("guardrails", self.guardrails),
            ("faults met", self.faults),
        ):
            print(f"{title}: " + (", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"))
        print("recovery (graph of the replica / target of the fault: intervals after its end -> how often):")
        for name, found in sorted(self.recovery.items()):
            print(f"  {name:24} " + ", ".join(f"{after}: {count}" for after, count in sorted(found.items())))
        print("decided under (intervals with / without a valid decision):")
        print("  " + ", ".join(f"{name} {found[True]}/{found[False]}" for name, found in sorted(self.held.items())))
        if self.first:
            print(f"first offence: {self.first}")
