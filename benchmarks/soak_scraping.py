"""What goes wrong with scraping in a soak, and which rates a loop then reads too low."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from gnnrl.domains.autoscaling.sensing import Reading
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.scraped_metrics import ScrapedMetrics
from gnnrl.live.sandbox.scraping import ScrapeFault, ScrapePlan
from gnnrl.live.sandbox.server import Sandbox

__all__ = ["LOW_SHARE", "LowRates", "behind", "scraping_plan"]

LOW_SHARE, CHANCE_DEVIATIONS = 0.85, 2.0
"""A rate below this share of what the same scrapes would show, had nothing gone wrong, and below what chance makes of so few requests, is
read too low."""
INTERVALS_SECONDS = (15.0, 5.0, 30.0)
INTERVAL_EVERY = 12
"""Faults between two changes of the scrape interval."""
WARM_UP_SECONDS = 420.0
KINDS = ("gap", "restart", "targets", "reset", "gap", "targets")


def scraping_plan(seed: int, seconds: float) -> tuple[ScrapePlan, tuple[FaultSpec, ...]]:
    """Gaps and restarts of 5 to 300 s, lost targets and counters that begin anew, one after the other, and what the servers answer then.

    A Prometheus that restarts answers nothing, and a Kiali without one neither.
    """
    rng = np.random.default_rng(seed)
    faults: list[ScrapeFault] = []
    specs: list[FaultSpec] = []
    second, number = WARM_UP_SECONDS, 0
    while True:
        kind = KINDS[number % len(KINDS)]
        lasts = float(np.exp(rng.uniform(np.log(5.0), np.log(300.0))))
        end = second + lasts
        if end >= seconds:
            return ScrapePlan(interval_seconds=INTERVALS_SECONDS[0], faults=tuple(faults)), tuple(specs)
        value = float(rng.uniform(0.1, 0.9)) if kind in ("targets", "reset") else 1.0
        faults.append(ScrapeFault(kind=kind, start=second, end=end, value=value))  # type: ignore[arg-type]
        if kind == "restart":
            specs += [FaultSpec(target=t, kind="http_503", start=second, end=end) for t in ("kiali", "prometheus")]  # type: ignore[arg-type]
        number += 1
        second = end + float(rng.uniform(120.0, 420.0))
        if number % INTERVAL_EVERY == 0:
            interval = INTERVALS_SECONDS[number // INTERVAL_EVERY % len(INTERVALS_SECONDS)]
            faults.append(ScrapeFault(kind="interval", start=second, end=second, value=interval))
            second += 900.0


class LowRates:
    """A second storage beside the sandbox's, of the same scrapes without their faults.

    Args:
        sandbox: whose rates are of scraped samples.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        scraped = sandbox.world.scraped
        assert scraped is not None, "a sandbox that scrapes"
        self._world = sandbox.world
        self._whole = ScrapedMetrics(scraped.plan.without_faults(), scraped.gateway)
        self.met: Counter[str] = Counter()
        """Readings with a rate that is too low."""
        push = scraped.push

        def both(*window: Any) -> None:
            push(*window)
            self._whole.push(*window)

        scraped.push = both  # type: ignore[method-assign]

    def of(self, reading: Reading, name: str) -> Mapping[str, tuple[float, float]]:
        """Service -> (requests/s as read, as they would be read without faults), of those that are read too low.

        Args:
            reading: of a loop.
            name: of its replica, for the count.
        """
        view = self._world.graph_view(60)
        whole: dict[str, float] = {}
        for (_, target), rps in self._whole.rates(view.shown_second, 60.0).items():
            whole[target] = whole.get(target, 0.0) + rps
        low = {}
        for i, deployment in enumerate(reading.deployments):
            is_scaled = not reading.mesh.services[i].stateful
            read, expected = float(reading.window.rps_in[0, i]), whole.get(deployment.name, 0.0)
            if is_scaled and read < LOW_SHARE * expected - CHANCE_DEVIATIONS * math.sqrt(expected / 60.0):
                low[deployment.name] = (read, expected)
        self.met[name] += bool(low)
        return low


def behind(reading: Reading, names: Mapping[str, object]) -> set[str]:
    """These services and all that they call: what those need is told from them too."""
    targets: dict[str, list[str]] = {}
    for call in reading.mesh.calls:
        targets.setdefault(call.source, []).append(call.target)
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += targets.get(name, ())
    return found
