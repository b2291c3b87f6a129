"""How many samples a period must hold, by what the series show over a longer time."""

from __future__ import annotations

import pytest

from kiali_client.sampling import SamplingMemory


@pytest.mark.parametrize(
    ("long_samples", "least"),
    [(60.0, 12), (61.0, 12), (30.0, 6), (20.0, 4), (21.0, 4), (18.0, 3), (16.0, 3), (10.0, 2), (11.0, 2), (5.0, 2)],
)  # fmt: skip
def test_a_period_holds_what_its_scrape_interval_makes(long_samples: float, least: int) -> None:
    """A minute of samples 5, 10, 15, 16.7, 18.8, 30 and 60 s apart; a rate needs two."""
    memory = SamplingMemory()
    assert memory.thin(0.0, {"a": least}, {"a": long_samples}) == {"a": False}
    assert memory.thin(0.0, {"a": least - 1}, {"a": long_samples}) == {"a": True}


def test_a_restarted_prometheus_is_measured_by_what_was_seen_before() -> None:
    memory = SamplingMemory()
    memory.thin(0.0, {"a": 12.0}, {"a": 60.0})
    assert memory.thin(15.0, {"a": 2.0}, {"a": 2.0}) == {"a": True}
    assert SamplingMemory().thin(15.0, {"a": 2.0}, {"a": 2.0}) == {"a": False}, "the negative control: nobody remembers"
    assert memory.thin(75.0, {"a": 12.0}, {"a": 14.0}) == {"a": False}


def test_an_interval_that_was_made_longer_is_believed_after_a_quarter_of_an_hour() -> None:
    memory = SamplingMemory()
    memory.thin(0.0, {"a": 4.0}, {"a": 20.0})
    assert memory.thin(890.0, {"a": 2.0}, {"a": 10.0}) == {"a": True}
    assert memory.thin(905.0, {"a": 2.0}, {"a": 10.0}) == {"a": False}
    assert memory.thin(910.0, {"b": 1.0}, {"b": 1.0}) == {"b": True}, "of one sample there is no rate"
