"""Every fault that the sandbox knows, once, over real sockets; and the auditor of the soak finds what it is there for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import requests

from benchmarks.soak_faults import BRIEF_INTERVALS, LIES, Lie, brief_plan, random_plan
from benchmarks.soak_live import LATE_SECONDS, Soak, SoakOptions
from benchmarks.soak_report import CHECKS, SoakReport
from gnnrl.cluster.lease import LeaderElector
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.domains.autoscaling.sensing import Reading, Sensing
from gnnrl.live.sandbox.faults import FaultSpec, every_fault
from gnnrl.live.sandbox.scraping import ScrapeFault, ScrapePlan

QUIET: tuple[tuple[FaultSpec, ...], tuple[Lie, ...]] = ((), ())


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """A soak listens to every log line; pytest need not keep them, and other tests must not pay for it."""
    quietened = [logging.getLogger("numba"), *logging.getLogger().handlers]
    before = [each.level for each in quietened]
    for each in quietened:
        each.setLevel(logging.WARNING)
    yield
    for each, level in zip(quietened, before, strict=True):
        each.setLevel(level)


def soaked(folder: Path, intervals: int, plan: tuple[tuple[FaultSpec, ...], tuple[Lie, ...]], seed: int = 0) -> SoakReport:  # fmt: skip
    return Soak(SoakOptions(intervals=intervals, seed=seed, plan=plan), folder).run()


def test_under_every_fault_nothing_happens_that_must_not(tmp_path: Path) -> None:
    report = soaked(tmp_path, BRIEF_INTERVALS, brief_plan(LATE_SECONDS))
    assert report.counts == dict.fromkeys(CHECKS, 0), report.first
    told = {f"{target}:{kind}" for target in ("kiali", "prometheus") for kind in LIES}
    assert set(report.faults) == {f"{target}:{kind}" for target, kind in every_fault()} | told
    assert report.writes["lowered"] > 50 and report.writes["raised"] > 50, "or the soak shows nothing"
    assert min(report.leading["alpha"], report.leading["beta"]) > 50, "both must have written"
    assert sum(report.recovery["kiali / kiali"].values()) == 16, "each fault of Kiali and each of its lies"
    assert all(after <= 2 for found in report.recovery.values() for after in found)
    for name in ("cooldown", "fallback_floor", "invalid", "untrusted"):
        assert report.guardrails[name], name
    held = {name for name, found in report.held.items() if not found[True]}
    assert {f"kiali / kiali:{kind}" for kind in ("html", "nan", "empty", "silent", "foreign")} <= held
    assert report.valid > 0.75 * report.turns


class Trusting(Sensing):
    """Believes everything."""

    def read(self, snapshot: ClusterSnapshot) -> Reading:
        reading = super().read(snapshot)
        nobody = np.zeros_like(reading.untrusted_mask)
        return replace(reading, blocking=(), problems=(), untrusted_mask=nobody, half_window_mask=nobody)


@pytest.mark.parametrize("kind", ["silent", "empty"])
def test_the_auditor_sees_what_is_lowered_on_bad_data(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnnrl.live.session.Sensing", Trusting)
    lies = tuple(Lie(target=t, kind="silent", start=300.0, end=420.0) for t in ("kiali", "prometheus"))  # type: ignore[arg-type]
    specs = tuple(FaultSpec(target=t, kind="empty", start=300.0, end=420.0) for t in ("kiali", "prometheus"))  # type: ignore[arg-type]
    report = soaked(tmp_path, 22, ((), lies) if kind == "silent" else (specs, ()))
    assert report.counts["lowered on bad data"] > 0
    assert "lowered on bad data" in report.first and f":{kind}" in report.first


def test_the_auditor_sees_two_who_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeaderElector, "is_leader", lambda self: True)  # noqa: ARG005
    report = soaked(tmp_path, 12, QUIET)
    assert report.counts["double leaders"] > 0
    assert not report.clean


def test_the_auditor_sees_numbers_out_of_bounds_and_writers_that_are_nobody(tmp_path: Path) -> None:
    soak = Soak(SoakOptions(intervals=1, plan=QUIET), tmp_path)
    with soak.sandbox:
        url = f"{soak.sandbox.urls['kubernetes']}/apis/apps/v1/namespaces/onlineboutique/deployments/frontend/scale"
        for token, replicas in ((soak.tokens["alpha"], 21), (soak.sandbox.token, 5), (soak.tokens["beta"], 6)):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
            answer = requests.patch(url, headers=headers, json={"spec": {"replicas": replicas}}, timeout=5)
            assert answer.status_code == 200
    counts = {what: soak.auditor.count(what) for what in CHECKS if soak.auditor.count(what)}
    assert counts == {"out of bounds": 1, "unknown writers": 1, "double writers": 2}
    assert soak.auditor.writes.total() == 3


def test_the_auditor_sees_a_secret_in_a_log_and_an_exception_in_a_thread(tmp_path: Path) -> None:
    soak = Soak(SoakOptions(intervals=1, plan=QUIET), tmp_path)
    logger = logging.getLogger("soak-test")
    logger.addHandler(soak.scanner)
    logger.error("the token %s was refused", soak.tokens["beta"])
    logger.error("nothing to see")
    logger.removeHandler(soak.scanner)
    assert soak.auditor.count("secrets told") == 1
    assert soak.tokens["beta"] not in soak.auditor.offences[0].detail, "the report must not tell it either"
    soak._crashed("alpha", ValueError(f"with {soak.sandbox.token}"))
    assert (soak.auditor.count("secrets told"), soak.auditor.count("crashes")) == (2, 1)


def test_a_random_plan_holds_every_fault_and_every_lie_one_after_the_other() -> None:
    specs, lies = random_plan(0, 150_000.0, LATE_SECONDS)
    assert {(spec.target, spec.kind) for spec in specs} == set(every_fault())
    assert {(lie.target, lie.kind) for lie in lies} == {(t, k) for t in ("kiali", "prometheus") for k in LIES}
    turns: list[FaultSpec | Lie] = sorted([*specs, *lies], key=lambda one: one.start)
    assert all(a.end + 30.0 <= b.start for a, b in pairwise(turns))
    late = [spec for spec in specs if spec.value == LATE_SECONDS]
    assert 0 < len(late) < len([spec for spec in specs if spec.kind == "latency"]) / 2
    assert random_plan(0, 150_000.0, LATE_SECONDS) == (specs, lies)


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
