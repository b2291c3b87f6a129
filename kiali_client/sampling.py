"""Whether the rates of a call rest on as many samples as its period must hold.

`rate()` divides what a counter has grown between the samples that are there by the whole period, and extrapolates by half an interval at
an end where more is missing (Prometheus, `extrapolatedRate`): after a restart with empty storage, or where a gap reaches into the period,
it reads low. It is whole where the period holds every sample that the scrape interval makes, and the interval is what the series
themselves show over a longer time.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from kiali_client.istio_queries import LONG_WINDOWS

__all__ = ["SamplingMemory"]

Key = TypeVar("Key", bound=Hashable)

REMEMBERED_SECONDS = 900.0
"""For so long the densest count of a series is what is expected of it: a scrape interval that was made longer is believed then."""


class SamplingMemory:
    """How densely the series of each call were sampled lately. A restarted Prometheus remembers nothing; who asks it does."""

    def __init__(self) -> None:
        self._densest: dict[Hashable, tuple[float, float]] = {}
        """Key -> (most samples in `LONG_WINDOWS` periods, unix seconds when that was seen)."""

    def thin(self, now: float, samples: Mapping[Key, float], long_samples: Mapping[Key, float]) -> dict[Key, bool]:
        """For each key whether its period holds too few samples.

        Args:
            now: unix seconds.
            samples: fewest samples of any of its series in the period.
            long_samples: most samples of any of its series in `LONG_WINDOWS` periods.
        """
        kept = {key: known for key, known in self._densest.items() if now - known[1] <= REMEMBERED_SECONDS}
        for key, count in long_samples.items():
            if key not in kept or count >= kept[key][0]:
                kept[key] = (count, now)
        self._densest = kept
        return {key: count < self._expected(key) for key, count in samples.items()}

    def _expected(self, key: Hashable) -> int:
        """Samples that every period holds: with an interval that divides it, so many or one more."""
        densest, _ = self._densest.get(key, (0.0, 0.0))
        return max(2, int(densest / LONG_WINDOWS + 1e-9))
