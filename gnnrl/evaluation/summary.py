"""A comparison of autoscalers in words and tables, as plain text cells: what is printed, what the JSON holds, what the README shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.domains.autoscaling.trained_ranges import told
from gnnrl.evaluation import over_slo
from gnnrl.evaluation.scenarios import workload_label
from gnnrl.evaluation.statistics import Interval, interval_name

if TYPE_CHECKING:
    from gnnrl.evaluation.evaluated import Evaluation

__all__ = ["CLONE", "TEACHER", "caption", "headline", "objective_change", "saved_cell", "summary"]

REFERENCE = "hpa_80"
"""Whom savings as run are stated against."""
CLONE, TEACHER = "clone", "teacher"
"""Rows of what training began from: the policy after its warm start, and whom that was cloned from."""


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """`{"headline", "caption", "tables": [{"title", "columns", "rows"}], "notes"}`, all of it text.

    The first table has a row a workload: what the policy costs, whether it keeps the violation budget, and who costs least. The others
    have everybody, a table a workload.
    """
    tables = [_detail(evaluation, workload) for workload in evaluation.workloads]
    if evaluation.subject is not None:
        tables.insert(0, _overview(evaluation))
    if evaluation.over_slo:
        tables.append(over_slo.summary_table(evaluation))
    return {
        "headline": headline(evaluation),
        "caption": caption(evaluation),
        "tables": tables,
        "notes": _notes(evaluation),
    }


def headline(evaluation: Evaluation) -> str:
    """Where a rule has a lower objective than the policy, and which; '' without a policy."""
    subject = evaluation.subject
    if subject is None:
        return ""
    said, ahead = [], []
    for workload in evaluation.workloads:
        lower = evaluation.lower(workload)
        if lower:
            more = f" (so {'has' if len(lower) == 2 else 'have'} {_listed(lower[1:])})" if lower[1:] else ""
            said.append(f"on {workload_label(workload)} {lower[0]} has the lower J{more}")
        else:
            ahead.append(workload_label(workload))
    if ahead:
        said.append(f"on {_listed(ahead)} {_called(evaluation)} has the lowest J")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def caption(evaluation: Evaluation) -> str:
    """What the figures are means over."""
    scenarios = evaluation.scenarios
    parts = [f"Means of {scenarios.seeds} held-out scenarios a workload of {scenarios.seconds / 3600:.3g} h, paired"]
    if scenarios.seeds > 1:
        parts.append(f"in brackets {interval_name(scenarios.seeds)}")
    if evaluation.subject is not None:
        training, seeds = evaluation.config.training, evaluation.training_seeds
        parts.append(
            f"{_called(evaluation)}: {seeds} training seed{'s' if seeds > 1 else ''} of {training.total_steps:,} steps on "
            f"{', '.join(evaluation.config.environment.workloads)}"
            + ("" if seeds > 1 else ", so no interval holds what another seed would change")
        )
    if evaluation.together:
        parts.append("intervals of several runs are those of the runs")
    return "; ".join(parts) + "."


def saved_cell(evaluation: Evaluation, workload: str, row: str, reference: str, form: str = ".1f") -> str:
    """What a row saves of the reference's replica-seconds, in %; a dash and why where that is not stated."""
    if reference not in evaluation.playbacks or row == reference:
        return "-"
    why = evaluation.withheld(workload, row, reference)
    return f"- ({why})" if why else evaluation.saving(workload, row, reference).text(form, scale=100.0)


def objective_change(evaluation: Evaluation, workload: str, row: str) -> Interval | None:
    """How much higher a row's objective is than the policy's, as a share of it, paired; None where there is nothing to compare with."""
    subject = evaluation.subject
    if subject is None or row == subject or row in evaluation.together.get(subject, ()):
        return None
    saved = evaluation.saving(workload, row, subject, "objective")
    return Interval(*(0.0 - share for share in (saved.mean, saved.high, saved.low)))


def _overview(evaluation: Evaluation) -> dict[str, Any]:
    subject, others = evaluation.subject, [name for name in (CLONE,) if name in evaluation.playbacks]
    assert subject is not None
    rows = []
    for workload in evaluation.workloads:
        mean = {m: evaluation.mean(workload, subject, m) for m in ("replica_seconds", "violating_share", "objective")}
        lower = evaluation.lower(workload)
        rows.append(
            [
                workload_label(workload),
                f"{mean['replica_seconds'].mean / evaluation.scenarios.seconds:.1f}",
                mean["violating_share"].text(".2f", scale=100.0),
                f"{100 * violation_budget(workload):g}, {'broken' if evaluation.over_budget(workload, subject) else 'kept'}",
                saved_cell(evaluation, workload, subject, REFERENCE),
                f"{mean['objective'].mean:,.0f}",
                *(f"{evaluation.mean(workload, name, 'objective').mean:,.0f}" for name in others),
                lower[0] if lower else subject,
                f"{evaluation.mean(workload, lower[0] if lower else subject, 'objective').mean:,.0f}",
            ]
        )
    columns = [
        "load", "replicas", "violating %", "budget %", f"saved vs {REFERENCE} %", "J",
        *(f"J of its {name}" for name in others), "lowest J", "that is",
    ]  # fmt: skip
    return {"title": f"{subject}, load by load", "columns": columns, "rows": rows}


def _detail(evaluation: Evaluation, workload: str) -> dict[str, Any]:
    with_policy = evaluation.subject is not None
    columns = [
        "", "J", *(["J vs policy %"] if with_policy else []), "replicas", "violating %", f"saved vs {REFERENCE} %",
        "P95 ms", "P99 ms", "moves",
    ]  # fmt: skip
    budget = f"over = more than {100 * violation_budget(workload):g} % violating"
    return {
        "title": f"{workload_label(workload)}: * = lowest J, the oracle aside; {budget}",
        "columns": columns,
        "rows": [_row(evaluation, workload, row, with_policy) for row in evaluation.rows],
    }


def _row(evaluation: Evaluation, workload: str, row: str, with_policy: bool) -> list[str]:
    def mean(metric: str) -> Interval:
        return evaluation.mean(workload, row, metric)

    change = objective_change(evaluation, workload, row) if with_policy else None
    return [
        f"{row} *" if evaluation.best(workload) == row else row,
        f"{mean('objective').mean:,.0f}",
        *([change.text("+.1f", scale=100.0) if change is not None else "-"] if with_policy else []),
        f"{mean('replica_seconds').mean / evaluation.scenarios.seconds:.1f}",
        mean("violating_share").text(".2f", scale=100.0),
        saved_cell(evaluation, workload, row, REFERENCE),
        *(_whole(mean(metric)) for metric in ("latency_p95_ms", "latency_p99_ms", "scale_moves")),
    ]


def _whole(interval: Interval) -> str:
    return "-" if math.isnan(interval.mean) else f"{interval.mean:.0f}"


def _notes(evaluation: Evaluation) -> list[str]:
    weights = evaluation.objective_weights()
    notes = [
        "J = replica-seconds + {violation_weight:g} x violating seconds + {change_weight:g} x replicas started or removed, of a "
        "scenario, in replica-seconds; lower is better.".format(**weights),
        "Savings are withheld where a row, or whom it is compared with, violates the SLO for longer than the budget: J weighs the two.",
    ]
    if CLONE in evaluation.playbacks:
        notes.append(
            f"{CLONE}: the policy before it learned anything of its own; {TEACHER}: {evaluation.config.warm_start.teacher}, whom it was "
            "cloned from, as it acts on what the policy sees."
        )
    if evaluation.outside:
        notes.append(f"This is {told(evaluation.outside)}.")
    for workload in evaluation.workloads:
        silent = [row for row in evaluation.rows if math.isnan(evaluation.mean(workload, row, "latency_p95_ms").mean)]
        if silent:
            label = workload_label(workload)
            notes.append(f"-: no latency for {', '.join(silent)}: no request of {label} was answered.")
    return notes + evaluation.scenarios.recorded_levels()


def _called(evaluation: Evaluation) -> str:
    subject = evaluation.subject
    return f"the policy ({subject})" if subject in evaluation.together else "the policy"


def _listed(names: Sequence[str] | Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
