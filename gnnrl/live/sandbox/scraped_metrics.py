"""Istio's counters as a Prometheus has them: samples of every proxy's series at the times at which it was scraped, and rates of these.

Of the traffic, which the simulation knows by scraped window, each ready pod of the caller and each of the callee counts its part.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gnnrl.live.sandbox.promql_rate import extrapolated_rate, in_range
from gnnrl.live.sandbox.scraping import ScrapePlan
from gnnrl.live.sandbox.views import CallView

__all__ = ["ScrapedMetrics", "ScrapedSeries"]

KEPT_SECONDS = 600.0


class ScrapedSeries(NamedTuple):
    """One counter of one proxy."""

    call: tuple[str, str]
    """Source and target."""
    reporter: str
    """`source` or `destination`: which of the two this proxy is."""
    target: str
    """The pod that is scraped."""
    failed: bool
    """Whether it counts the calls that failed."""


@dataclass
class _Counter:
    value: float = 0.0
    samples: deque[tuple[float, float]] = field(default_factory=deque)
    """(second of the simulation, value)."""


class ScrapedMetrics:
    """The storage.

    Args:
        plan: when what is scraped, and when not.
        gateway: workload through which requests enter; it has one pod.
    """

    def __init__(self, plan: ScrapePlan, gateway: str) -> None:
        self.plan = plan
        self.gateway = gateway
        self._ranges: dict[tuple[float, float], list[tuple[ScrapedSeries, float | None, int]]] = {}
        """Of the ranges asked for since the last window."""
        self._counters: dict[ScrapedSeries, _Counter] = defaultdict(_Counter)

    def push(
        self,
        start: float,
        end: float,
        calls: Mapping[tuple[str, str], CallView],
        ready_pods: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Let a window pass.

        Args:
            start, end: seconds of the simulation.
            calls: means over this window alone.
            ready_pods: names of the ready pods by service.
        """
        self._ranges.clear()
        pods = {**ready_pods, self.gateway: (f"{self.gateway}-0",)}
        growing: dict[str, dict[ScrapedSeries, float]] = defaultdict(dict)
        for series, per_second in _growth(calls, pods):
            growing[series.target][series] = per_second
        for series in self._counters:
            # What a proxy has once counted it goes on telling.
            if series.target in growing:
                growing[series.target].setdefault(series, 0.0)
        emptied = self.plan.emptied_by(end)
        for target, found in growing.items():
            anew = self.plan.resets(target, start, end)
            scrapes = [
                second
                for second in self.plan.scrape_seconds(target, start, end)
                if second >= emptied and self.plan.is_scraped(target, second)
            ]
            for series, per_second in found.items():
                counter = self._counters[series]
                value = 0.0 if anew else counter.value
                counter.samples.extend((second, value + per_second * (second - start)) for second in scrapes)
                counter.value = value + per_second * (end - start)
        oldest = max(emptied, end - KEPT_SECONDS)
        for counter in self._counters.values():
            while counter.samples and counter.samples[0][0] < oldest:
                counter.samples.popleft()
        gone = [
            series for series, counter in self._counters.items() if not counter.samples and series.target not in growing
        ]
        for series in gone:
            del self._counters[series]

    def series(self, end: float, seconds: float) -> list[tuple[ScrapedSeries, float | None, int]]:
        """Every series with a sample in the range that ends at `end`: its rate (None with one sample alone), and how many they are."""
        key = (end, seconds)
        if key not in self._ranges:
            found = ((series, in_range(counter.samples, end, seconds)) for series, counter in self._counters.items())
            self._ranges[key] = [
                (series, extrapolated_rate(samples, end, seconds), len(samples)) for series, samples in found if samples
            ]
        return self._ranges[key]

    def rates(self, end: float, seconds: float, reporter: str = "") -> dict[tuple[str, str], float]:
        """Requests/s (bytes/s of tcp) by call, of those with any, as this reporter has them.

        By default as Kiali reads them: by the source inside the namespace, by the destination of what enters it.
        """
        sums: dict[tuple[str, str], float] = defaultdict(float)
        for series, found, _ in self.series(end, seconds):
            asked = reporter or ("destination" if series.call[0] == self.gateway else "source")
            if found is not None and series.reporter == asked:
                sums[series.call] += found
        return sums

    def calls(self, end: float, seconds: float, known: tuple[CallView, ...]) -> tuple[CallView, ...]:
        """The calls that Kiali shows, their rates those of the samples; times and shares are the known ones."""
        rates = self.rates(end, seconds)
        return tuple(
            replace(call, bytes_per_second=found) if call.protocol == "tcp" else replace(call, rps=found)
            for call in known
            if (found := rates.get((call.source, call.target))) is not None
        )


def _growth(
    calls: Mapping[tuple[str, str], CallView], pods: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[ScrapedSeries, float]]:
    """Every counter that is there, with what it grows by a second."""
    for key, call in calls.items():
        amount = call.bytes_per_second if call.protocol == "tcp" else call.rps
        failed = 0.0 if call.protocol == "tcp" else amount * call.error_share
        for reporter, workload in zip(("source", "destination"), key, strict=True):
            names = pods.get(workload, ())
            for pod in names:
                yield ScrapedSeries(key, reporter, pod, failed=False), (amount - failed) / len(names)
                if failed > 0.0:
                    yield ScrapedSeries(key, reporter, pod, failed=True), failed / len(names)
