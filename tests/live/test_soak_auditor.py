"""The auditor of the soak finds what it is there for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import requests

from benchmarks.soak_faults import Lie
from benchmarks.soak_live import Soak, SoakOptions
from benchmarks.soak_report import CHECKS, SoakReport
from gnnrl.cluster.lease import LeaderElector
from gnnrl.live.sandbox.faults import FaultSpec
from tests.live.trusting import Trusting

pytestmark = pytest.mark.usefixtures("quiet_logs")
QUIET: tuple[tuple[FaultSpec, ...], tuple[Lie, ...]] = ((), ())


def soaked(folder: Path, intervals: int, plan: tuple[tuple[FaultSpec, ...], tuple[Lie, ...]], seed: int = 0) -> SoakReport:  # fmt: skip
    return Soak(SoakOptions(intervals=intervals, seed=seed, plan=plan), folder).run()


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
