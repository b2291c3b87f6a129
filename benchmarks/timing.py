"""Medians of alternated runs: what is compared is measured in turn, so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

__all__ = ["alternate", "percentiles"]


def alternate(runs: dict[str, Callable[[], object]], repeats: int = 9) -> dict[str, float]:
    """Median CPU seconds of each run, the runs taken in turn `repeats` times after one turn to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn:
                spent[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in spent.items()}


def percentiles(run: Callable[[], object], repeats: int = 500) -> tuple[float, float]:
    """Median and 99th percentile of wall-clock seconds."""
    spent = []
    for turn in range(repeats + 20):
        start = time.perf_counter()
        run()
        if turn >= 20:
            spent.append(time.perf_counter() - start)
    spent.sort()
    return spent[repeats // 2], spent[int(repeats * 0.99)]
