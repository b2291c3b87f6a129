"""The comparison as one HTML file: tables, pictures and the small print, nothing fetched from anywhere."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gnnrl.cluster.guardrails import GUARDRAILS
from gnnrl.domains.autoscaling.baselines import BASELINES
from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.evaluation import over_slo, plots
from gnnrl.evaluation.contenders import POLICY, who_is_who
from gnnrl.evaluation.document import Report
from gnnrl.evaluation.evaluated import BOUND, Evaluation
from gnnrl.evaluation.figures import figures
from gnnrl.evaluation.page import (
    Cell,
    bar,
    definitions,
    details,
    number,
    percent,
    swatch,
    table,
)
from gnnrl.evaluation.plots import LEARNED
from gnnrl.evaluation.runner import METRICS
from gnnrl.evaluation.scenarios import workload_label
from gnnrl.evaluation.statistics import Interval, interval_name
from gnnrl.evaluation.summary import CLONE, TEACHER, caption, headline, objective_change, saved_cell, summary

__all__ = ["compose"]

REFERENCE = "hpa_calibrated"


def compose(evaluation: Evaluation, run: Path | None = None) -> Report:
    """The report.

    Args:
        evaluation: what was compared.
        run: the folder of the policy's training, for its learning curve.
    """
    scenarios = evaluation.scenarios
    played = (
        f"{scenarios.seeds} held-out scenarios for each of {len(evaluation.workloads)} workloads, "
        f"{scenarios.seconds / 3600:.3g} h each"
    )
    report = Report(evaluation.config, "autoscaling compared", played, evaluation.label)
    report.add("What it costs, and who costs less", *_first(evaluation), _cards(evaluation))
    report.add("Side by side", *(_table(evaluation, workload) for workload in evaluation.workloads), _key(evaluation))
    said = "One held-out scenario a workload (seed 0). Shaded: the load. Ticks below: windows in which the SLO was violated."
    report.add("Replicas and load", report.picture("timelines", plots.timelines(evaluation), said))
    said = (
        f"Down and left is better. Points: each policy as it was run, with {interval_name(scenarios.seeds)}. Lines: the lower envelope "
        "of a policy's settings (the policy's weight of a violation; a rule's calibrated settings). Shaded: within the violation budget. "
        "Arrows: off the scale, with violating share and mean replicas."
    )
    report.add("Violations against replicas", report.picture("frontiers", plots.frontiers(evaluation), said))
    if evaluation.over_slo:
        shades = plots.colours(evaluation)
        drawn = report.picture("over_slo", over_slo.picture(evaluation, shades), over_slo.MEANING)
        report.add(over_slo.TITLE, drawn, over_slo.as_html(evaluation, shades))
    said = (
        "Share of requests slower than a latency. Shaded: the SLOs of the scenarios; dotted: the 5 % of requests that may "
        "exceed them."
    )
    report.add("Latency", report.picture("latency", plots.latencies(evaluation), said))
    said = (
        f"{html.escape(scenarios.episodes[0].mesh.name)} as drawn for seed 0: line width is calls per second, area is CPU "
        "demand."
    )
    report.add("Topology", report.picture("topology", plots.topology(evaluation), said))
    report.add_learning(run, LEARNED, evaluation.config.environment.episode_decisions)
    if evaluation.guardrails is not None:
        report.add("Guardrails", _guardrails(evaluation))
    report.add_targets(figures(evaluation))
    _add_small_print(report, evaluation)
    return report


def _first(evaluation: Evaluation) -> Iterable[str]:
    """Who costs least, in a sentence, and the policy load by load; nothing without a policy."""
    if evaluation.subject is None:
        return
    yield f"<p><b>{html.escape(headline(evaluation))}</b></p>"
    found = summary(evaluation)
    overview = found["tables"][0]
    rows = (
        ("", [(html.escape(text), "name" if k == 0 else "") for k, text in enumerate(row)]) for row in overview["rows"]
    )
    yield table(overview["columns"], rows)
    yield f"<p class='said'>{html.escape(caption(evaluation))} {html.escape(' '.join(found['notes']))}</p>"


def _cards(evaluation: Evaluation) -> str:
    """The policy's savings, one card a workload; without a policy, who won."""
    shades, subject = plots.colours(evaluation), evaluation.subject
    cards = []
    for workload in evaluation.workloads:
        lines = []
        if subject is not None:
            equal = evaluation.equal_violation_saving(workload, subject, REFERENCE)
            if equal is not None:
                budget = f"{100 * violation_budget(workload):g} % violating"
                lines.append(_headline(equal, f"replica-seconds saved against {REFERENCE} at {budget}"))
                if equal.mean != equal.mean:
                    runs = (*evaluation.together.get(subject, (subject,)), REFERENCE)
                    lines += [_least(evaluation, workload, name) for name in runs]
            lines += [
                f"<p>{_saved(evaluation, workload, subject, reference)}, violating "
                f"{100 * evaluation.added_violation(workload, subject, reference).mean:+.2f} points</p>"
                for reference in ("hpa_80", REFERENCE)
                if reference in evaluation.playbacks
            ]
        winner = evaluation.best(workload)
        lines.append(f"<p>lowest J: <span class='chip'>{swatch(shades[winner])}{html.escape(winner)}</span></p>")
        cards.append(f"<div class='card'><h3>{html.escape(workload_label(workload))}</h3>{''.join(lines)}</div>")
    return f"<div class='cards'>{''.join(cards)}</div>"


def _saved(evaluation: Evaluation, workload: str, row: str, reference: str) -> str:
    """What a row saves as it was run, as the beginning of a sentence; or that it is not told, and why."""
    why = evaluation.withheld(workload, row, reference)
    if why:
        over = "both are" if why == "both over" else f"{reference} is" if why == f"{reference} over" else "it is"
        return f"saving against {reference} as run withheld: <b>{html.escape(over)} over the budget</b>"
    return (
        f"<b>{html.escape(percent(evaluation.saving(workload, row, reference)))}</b> saved against {reference} as run"
    )


def _headline(saving: Interval, text: str) -> str:
    if saving.mean != saving.mean:
        return (
            f"<p class='none'>not comparable</p><p>{html.escape(text)}: one of the two never violates that little</p>"
        )
    mood = "good" if saving.low > 0 else "bad" if saving.high < 0 else "even"
    share = saving.text(".0f", scale=100.0, unit=" %").replace(" [", " <small>[").replace("]", "]</small>")
    return f"<p class='big {mood}'>{share}</p><p>{html.escape(text)}</p>"


def _least(evaluation: Evaluation, workload: str, name: str) -> str:
    shares, _ = evaluation.frontiers[workload][name].means()
    return f"<p>least violating setting of {html.escape(name)}: {100 * shares.min():.2f} %</p>"


def _table(evaluation: Evaluation, workload: str) -> str:
    reference = REFERENCE if REFERENCE in evaluation.playbacks else None
    with_policy = evaluation.subject is not None
    heads = [
        "policy", "J, replica-seconds", *(["J vs policy %"] if with_policy else []), "replicas", "violating %",
        *([f"saved vs {reference} %"] if reference else []), "P50 ms", "P95 ms", "P99 ms", "moves", "CPU used", "peak",
    ]  # fmt: skip
    rows = [
        (_kind(evaluation, row), _cells(evaluation, workload, row, reference, with_policy)) for row in evaluation.rows
    ]
    budget = f"violation budget {100 * violation_budget(workload):g} %"
    return f"<h3>{html.escape(workload_label(workload))} <small>{budget}</small></h3>{table(heads, rows)}"


def _kind(evaluation: Evaluation, row: str) -> str:
    trained = row in evaluation.beside or row in evaluation.together
    return "mine" if row == POLICY else "beside" if trained else "bound" if row == BOUND else ""


def _cells(evaluation: Evaluation, workload: str, row: str, reference: str | None, with_policy: bool) -> list[Cell]:
    shade, seconds = plots.colours(evaluation)[row], evaluation.scenarios.seconds
    means = {metric: evaluation.mean(workload, row, metric) for metric in METRICS}
    most = max(evaluation.mean(workload, name, "replica_seconds").mean for name in evaluation.rows) / seconds
    replicas = means["replica_seconds"]
    change = objective_change(evaluation, workload, row) if with_policy else None
    saved = "-"
    if reference is not None and row != reference:
        told = evaluation.withheld(workload, row, reference) is None
        withheld = html.escape(saved_cell(evaluation, workload, row, reference))
        saved = number(evaluation.saving(workload, row, reference), 100.0, 1) if told else f"<small>{withheld}</small>"
    win = " <span class='win'>lowest J</span>" if row == evaluation.best(workload) else ""
    return [
        (f"{swatch(shade)}{html.escape(row)}{win}", "name"),
        (f"{means['objective'].mean:,.0f}", ""),
        *([(number(change, 100.0, 1) if change is not None else "-", "")] if with_policy else []),
        (bar(replicas.mean / seconds, most, shade) + number(replicas, 1 / seconds, 1), "wide"),
        (number(means["violating_share"], 100.0, 2), "over" if evaluation.over_budget(workload, row) else ""),
        *([(saved, "why")] if reference else []),
        *((f"{means[metric].mean:.0f}", "") for metric in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")),
        (f"{means['scale_moves'].mean:.0f}", ""),
        (f"{100 * means['utilisation'].mean:.0f} %", ""),
        (f"{means['peak_replicas'].mean:.0f}", ""),
    ]


def _guardrails(evaluation: Evaluation) -> str:
    """How often each one acted, per policy; those that never did are left out, and named below."""
    tables, idle, shades = [], set(GUARDRAILS), plots.colours(evaluation)
    for workload in evaluation.workloads:
        acted = {name: evaluation.acted(workload, name) for name in evaluation.playbacks}
        shown = [rail for rail in GUARDRAILS if any(found[rail].mean > 0 for found in acted.values())]
        idle -= set(shown)
        rows = (
            (
                "",
                [
                    (f"{swatch(shades[name])}{html.escape(name)}", "name"),
                    *((number(found[rail], 1.0, 1), "") for rail in shown),
                ],
            )
            for name, found in acted.items()
        )
        tables.append(
            f"<h3>{html.escape(workload_label(workload))} <small>decisions for a service that were changed, a scenario</small></h3>"
            + table(("policy", *shown), rows)
        )
    unused = f"<p>Never acted: {html.escape(', '.join(name for name in GUARDRAILS if name in idle)) or 'none'}.</p>"
    return "".join(tables) + unused + details("What each one does", definitions(GUARDRAILS))


def _key(evaluation: Evaluation) -> str:
    policies = who_is_who(evaluation.playbacks, evaluation.beside, evaluation.together)
    if POLICY in policies:
        policies[POLICY] = f"the trained policy, drawn at temperature {evaluation.config.evaluation.temperature:g}"
    began = {
        CLONE: "the policy as its warm start left it: what training earned is the policy's figures less these",
        TEACHER: f"{evaluation.config.warm_start.teacher}, whom the clone learned from, as it acts on what the policy sees",
    }
    origins = {name: said for name, said in began.items() if name in evaluation.playbacks}
    return details("Who is who", definitions({**policies, **origins, **BASELINES}))


def _add_small_print(report: Report, evaluation: Evaluation) -> None:
    weights = evaluation.objective_weights()
    split = evaluation.split()
    rows: list[tuple[str, Any]] = [
        (
            "objective J",
            f"J = replica-seconds + {weights['violation_weight']:g} x violating seconds + {weights['change_weight']:g} x "
            "replicas started or removed; fixed before training; lower is better",
        ),
        (
            "in the tables",
            "replicas are means over the scored seconds; J is in replica-seconds, mean of a scenario; savings are withheld where a row, "
            "or whom it is compared with, violates for longer than the budget",
        ),
        (
            "violating second",
            f"more than 5 % of requests exceed the SLO ({_slo(evaluation)} x idle P95 unless the mesh states one), or more than 1 % fail",
        ),
        (
            "intervals",
            f"{interval_name(evaluation.scenarios.seeds)}: percentile bootstrap over scenarios; savings are paired by scenario. Of runs "
            "together: over the runs, Student's where they are fewer than five",
        ),
        ("training seeds", evaluation.training_seeds or "no policy"),
        ("trained on", ", ".join(split["training_workloads"])),
        ("never trained on", ", ".join(split["held_out_workloads"]) or "none of these"),
        ("scenarios", split["scenarios"]),
        *(("recorded load", level) for level in split.get("recorded_loads", ())),
        ("topology changes", split["churn"]),
        ("calibration", split["calibration"]),
        ("guardrails", _guardrail_settings(evaluation)),
        (
            "information",
            "everybody reads metrics of the same age, and has the same bounds; stateful services are never scaled",
        ),
    ]
    settings = "".join(
        f"<tr><td>{html.escape(workload_label(workload))}</td><td>{html.escape(rule)}</td>"
        f"<td>{html.escape(', '.join(f'{key} {value:g}' for key, value in found.items()))}</td></tr>"
        for workload, rule, found in _chosen(evaluation)
    )
    report.add_small_print(rows, METRICS, details("Calibrated settings", f"<table class='facts'>{settings}</table>"))


def _slo(evaluation: Evaluation) -> str:
    low, high = evaluation.scenarios.config.slo_factor
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _guardrail_settings(evaluation: Evaluation) -> str:
    if evaluation.guardrails is None:
        return "none but the bounds"
    stated = ", ".join(f"{name} {value}" for name, value in asdict(evaluation.guardrails).items())
    return f"around everybody's wishes; the rules' settings were swept without: {stated}"


def _chosen(evaluation: Evaluation) -> Iterable[tuple[str, str, Any]]:
    for workload in evaluation.workloads:
        for rule in evaluation.calibration.frontiers.get(workload, {}):
            if rule in evaluation.playbacks:
                yield workload, rule, evaluation.calibration.chosen(workload, rule).values
