"""The figures a policy is meant to reach, read off a comparison: target, measurement, reached or missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.evaluation.frontier import replica_seconds_at
from gnnrl.evaluation.scenarios import workload_label

if TYPE_CHECKING:
    from gnnrl.evaluation.evaluated import Evaluation

__all__ = ["Figure", "figures"]

POLICY, HPA, CALIBRATED, FORWARD = "policy", "hpa_80", "hpa_calibrated", "feed_forward"


@dataclass(frozen=True)
class Figure:
    """One target."""

    claim: str
    target: str
    measured: str
    reached: bool | None
    """None: it could not be told from this comparison, and `measured` says why."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"claim": self.claim, "target": self.target, "measured": self.measured, "reached": self.reached}


def figures(evaluation: Evaluation) -> list[Figure]:
    """Every figure that this comparison has the players for; none without a policy."""
    if POLICY not in evaluation.playbacks:
        return []
    found: list[Figure] = []
    for workload in evaluation.workloads:
        if HPA in evaluation.playbacks:
            found += _against_hpa(evaluation, workload)
    if CALIBRATED in evaluation.playbacks:
        found += _at_equal_violation(evaluation)
        found += [_moves(evaluation, workload) for workload in evaluation.workloads]
        found += [f for w in evaluation.workloads if w == "step2x" for f in _step(evaluation, w)]
    if FORWARD in evaluation.playbacks and "oracle" in evaluation.playbacks:
        found += _gap_to_oracle(evaluation)
    return found


def _against_hpa(evaluation: Evaluation, workload: str) -> Iterator[Figure]:
    label = workload_label(workload)
    saved, withheld = evaluation.saving(workload, POLICY, HPA), evaluation.withheld(workload, POLICY, HPA)
    yield Figure(
        f"{label}: replica-seconds saved against {HPA}",
        ">= 35 %",
        saved.text(".1f", scale=100.0, unit=" %") if withheld is None else withheld,
        saved.mean >= 0.35 if withheld is None else None,
    )
    added = evaluation.added_violation(workload, POLICY, HPA)
    yield Figure(
        f"{label}: violating time added against {HPA}, upper bound",
        "<= 0.6 points",
        f"{100 * added.high:+.2f} (mean {100 * added.mean:+.2f})",
        added.high <= 0.006,
    )


def _at_equal_violation(evaluation: Evaluation) -> Iterator[Figure]:
    told: list[float] = []
    for workload in evaluation.workloads:
        saved = evaluation.equal_violation_saving(workload, POLICY, CALIBRATED)
        claim = f"{workload_label(workload)}: saved against {CALIBRATED} at {100 * violation_budget(workload):g} % violating"
        if saved is None or not np.isfinite(saved.mean):
            why = "frontiers were not played" if saved is None else "a frontier never violates that little"
            yield Figure(claim, ">= 12 %", why, None)
            continue
        told.append(saved.mean)
        yield Figure(claim, ">= 12 %", saved.text(".1f", scale=100.0, unit=" %"), saved.mean >= 0.12)
    if told:
        best = sum(saving >= 0.20 for saving in told)
        yield Figure("workloads with 20 % saved at equal violating time", ">= 3", f"{best} of {len(told)}", best >= 3)


def _moves(evaluation: Evaluation, workload: str) -> Figure:
    mine, theirs = (evaluation.mean(workload, name, "scale_moves").mean for name in (POLICY, CALIBRATED))
    ratio = mine / max(theirs, 1e-9)
    claim = f"{workload_label(workload)}: scale moves over those of {CALIBRATED}"
    return Figure(claim, "<= 1.5", f"{ratio:.2f} ({mine:.0f} against {theirs:.0f})", ratio <= 1.5)


def _gap_to_oracle(evaluation: Evaluation) -> Iterator[Figure]:
    """Share of feed-forward's distance to the oracle that the policy closes, all at the violation budget where it can
    be told."""
    for workload, target in (("bursty", 0.20), ("flash", 0.35)):
        if workload not in evaluation.workloads:
            continue
        frontiers, budget = evaluation.frontiers.get(workload, {}), violation_budget(workload)
        cost = {
            name: replica_seconds_at(*frontiers[name].means(), budget)
            for name in (POLICY, FORWARD)
            if name in frontiers
        }
        claim = f"{workload}: share of {FORWARD}'s gap to the oracle closed at {100 * budget:g} % violating"
        if len(cost) < 2 or not np.isfinite(list(cost.values())).all():
            yield Figure(claim, f">= {100 * target:g} %", "a frontier is missing or never violates that little", None)
            continue
        oracle = evaluation.mean(workload, "oracle", "replica_seconds").mean
        closed = (cost[FORWARD] - cost[POLICY]) / (cost[FORWARD] - oracle)
        yield Figure(claim, f">= {100 * target:g} %", f"{100 * closed:.0f} %", closed >= target)


def _step(evaluation: Evaluation, workload: str) -> Iterator[Figure]:
    """Recovery beyond the floor that nobody can beat: the metrics lag and the slowest start-up."""
    episodes = evaluation.scenarios.episodes[evaluation.scenarios.rows(workload)]
    floor = np.array(
        [
            episode.metrics_lag_seconds
            + max(service.startup_seconds for service in episode.mesh.services if not service.stateful)
            for episode in episodes
        ]
    )
    late = {
        name: float(np.nanmean(np.maximum(evaluation.values(workload, name, "recovery_seconds") - floor, 0.0)))
        for name in (POLICY, CALIBRATED)
    }
    claim = f"2x step: seconds over the SLO beyond lag and start-up, {CALIBRATED} over policy"
    measured = f"{late[CALIBRATED]:.0f} s over {late[POLICY]:.0f} s"
    yield Figure(claim, ">= 2", measured, late[CALIBRATED] >= 2 * late[POLICY] if late[CALIBRATED] > 0 else None)
    mine, theirs = (evaluation.mean(workload, name, "peak_replicas").mean for name in (POLICY, CALIBRATED))
    claim = f"2x step: peak replicas, policy over {CALIBRATED}"
    yield Figure(claim, "<= 1", f"{mine:.1f} over {theirs:.1f}", mine <= theirs)
