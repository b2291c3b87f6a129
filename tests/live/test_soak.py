"""Every fault that the sandbox knows, once, over real sockets."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.soak_faults import BRIEF_INTERVALS, LIES, Lie, brief_plan, random_plan
from benchmarks.soak_live import LATE_SECONDS, Soak, SoakOptions
from benchmarks.soak_report import CHECKS
from gnnrl.live.sandbox.faults import FaultSpec, every_fault

pytestmark = pytest.mark.usefixtures("quiet_logs")


def test_under_every_fault_nothing_happens_that_must_not(tmp_path: Path) -> None:
    report = Soak(SoakOptions(intervals=BRIEF_INTERVALS, plan=brief_plan(LATE_SECONDS)), tmp_path).run()
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


def test_a_random_plan_holds_every_fault_and_every_lie_one_after_the_other() -> None:
    specs, lies = random_plan(0, 150_000.0, LATE_SECONDS)
    assert {(spec.target, spec.kind) for spec in specs} == set(every_fault())
    assert {(lie.target, lie.kind) for lie in lies} == {(t, k) for t in ("kiali", "prometheus") for k in LIES}
    turns: list[FaultSpec | Lie] = sorted([*specs, *lies], key=lambda one: one.start)
    assert all(a.end + 30.0 <= b.start for a, b in pairwise(turns))
    late = [spec for spec in specs if spec.value == LATE_SECONDS]
    assert 0 < len(late) < len([spec for spec in specs if spec.kind == "latency"]) / 2
    assert random_plan(0, 150_000.0, LATE_SECONDS) == (specs, lies)
