"""What a policy is meant to reach on each of the named scenarios: target, measurement, reached or missed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from gnnrl.evaluation.contenders import POLICY
from gnnrl.evaluation.figures import Figure
from gnnrl.evaluation.page import percent
from gnnrl.evaluation.statistics import Interval

__all__ = ["targets"]

REFERENCE, IN_TURN = "least_outstanding", "round_robin"
TTFT, E2E_P99, E2E_MEAN = "ttft_p99_s", "e2e_p99_s", "e2e_mean_s"
CALLED: Mapping[str, str] = {TTFT: "TTFT p99", E2E_P99: "e2e p99", E2E_MEAN: "e2e mean"}
STRETCH: Mapping[str, Mapping[str, float]] = {
    "B": {TTFT: -0.40, E2E_P99: -0.20, E2E_MEAN: -0.03},
    "E": {TTFT: -0.60, E2E_P99: -0.40, E2E_MEAN: -0.12},
}
"""Scenarios on which a policy has to be better in everything at once -> changes that would be more than that."""
NOT_WORSE = ("elastic", "elastic8", "A8", "B8", "E8")
TOLERANCE, SAME = 0.02, 0.01

Change = Callable[[str, str], Interval]


def targets(scenario: str, row: str, change: Change, played: Collection[str]) -> Iterator[Figure]:
    """The figures of one scenario; none for one of which nothing is asked, or where whom it is stated against was not played.

    Args:
        scenario: its name.
        row: whose figures.
        change: (metric, reference) -> change against the reference, as a share of it.
        played: who took part.
    """
    where = scenario if row == POLICY else f"{scenario}, {row}"
    if scenario == "fixed" and IN_TURN in played:
        yield _at_most(f"{where}: e2e mean against {IN_TURN} (nothing to win)", change(E2E_MEAN, IN_TURN), SAME)
    if REFERENCE not in played:
        return
    if scenario == "A":
        first = change(TTFT, REFERENCE)
        yield _reaches(f"{where}: {CALLED[TTFT]} against {REFERENCE}", first, -0.40)
        yield _at_most(f"{where}: {CALLED[E2E_MEAN]} against {REFERENCE}", change(E2E_MEAN, REFERENCE), TOLERANCE)
    if scenario in STRETCH:
        found = {metric: change(metric, REFERENCE) for metric in STRETCH[scenario]}
        measured = "; ".join(f"{CALLED[metric]} {percent(interval, signed=True)}" for metric, interval in found.items())
        yield Figure(
            f"{where}: {', '.join(CALLED[metric] for metric in found)} below {REFERENCE} at once",
            "< 0 %, upper bounds",
            measured,
            all(interval.high < 0.0 for interval in found.values()),
        )
        for metric, wanted in STRETCH[scenario].items():
            yield _reaches(f"{where}, stretch: {CALLED[metric]} against {REFERENCE}", found[metric], wanted)
    if scenario in NOT_WORSE:
        for metric, called in CALLED.items():
            yield _at_most(f"{where}: {called} against {REFERENCE}", change(metric, REFERENCE), TOLERANCE)


def _reaches(claim: str, measured: Interval, wanted: float) -> Figure:
    return Figure(claim, f"<= {100 * wanted:+.0f} %", percent(measured, signed=True), measured.mean <= wanted)


def _at_most(claim: str, measured: Interval, bound: float) -> Figure:
    target = f"<= {100 * bound:+.0f} %, upper bound"
    return Figure(claim, target, percent(measured, signed=True), measured.high <= bound)
