"""The soak over scraped samples: nothing is lowered on rates that are read too low, and its auditor sees where something is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak_live import Soak, SoakOptions
from benchmarks.soak_report import CHECKS, SoakReport
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.scraping import ScrapeFault, ScrapePlan
from tests.live.trusting import Trusting

pytestmark = pytest.mark.usefixtures("quiet_logs")


def scraped(folder: Path, faults: tuple[ScrapeFault, ...], intervals: int) -> SoakReport:
    """A restart and a 503 for it, lost targets and a gap, on rates of scraped samples; under a rule that follows the rates."""
    answers = tuple(
        FaultSpec(target=target, kind="http_503", start=fault.start, end=fault.end)
        for fault in faults
        if fault.kind == "restart"
        for target in ("kiali", "prometheus")
    )
    options = SoakOptions(
        intervals=intervals, policy="feed_forward_55", plan=(answers, ()), scraping=ScrapePlan(faults=faults)  # type: ignore[arg-type]
    )  # fmt: skip
    return Soak(options, folder).run()


SCRAPE_FAULTS = (
    ScrapeFault(kind="restart", start=420.0, end=424.0),
    ScrapeFault(kind="gap", start=700.0, end=745.0),
    ScrapeFault(kind="targets", start=1000.0, end=1120.0, value=0.6),
    ScrapeFault(kind="reset", start=1300.0, end=1300.0, value=0.5),
    ScrapeFault(kind="gap", start=1500.0, end=1580.0),
)


def test_nothing_is_lowered_on_rates_that_are_read_too_low(tmp_path: Path) -> None:
    report = scraped(tmp_path, SCRAPE_FAULTS, 120)
    assert report.counts == dict.fromkeys(CHECKS, 0), report.first
    assert min(report.low_rates["alpha"], report.low_rates["beta"]) > 10, "or the soak shows nothing"
    assert report.writes["lowered"] > 5 and report.guardrails["half_window"] > 20


def test_the_auditor_sees_what_is_lowered_on_rates_that_are_too_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnnrl.live.session.Sensing", Trusting)
    report = scraped(tmp_path, SCRAPE_FAULTS[:2], 60)
    assert report.counts["lowered on low rates"] > 0
    assert "requests/s" in report.first
