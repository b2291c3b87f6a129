"""The comparison as one HTML file: tables, pictures and the small print, nothing fetched from anywhere."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gnnrl.cluster.guardrails import GUARDRAILS
from gnnrl.config.loader import dump_config
from gnnrl.domains.autoscaling.baselines import BASELINES
from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.evaluation import plots
from gnnrl.evaluation.comparison import POLICY, Evaluation
from gnnrl.evaluation.figures import Figure, figures
from gnnrl.evaluation.runner import METRICS
from gnnrl.evaluation.scenarios import workload_label
from gnnrl.evaluation.statistics import Interval
from gnnrl.training.run_folder import code_revision

__all__ = ["render", "write"]

Cell = tuple[str, str]
"""(HTML, class)."""
REFERENCE = "hpa_calibrated"


def write(evaluation: Evaluation, path: Path, run: Path | None = None) -> None:
    """Write the report, whole or not at all.

    Args:
        evaluation: what was compared.
        path: the HTML file.
        run: the folder of the policy's training, for its learning curve.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(render(evaluation, run), encoding="utf-8")
    os.replace(temporary, path)


def render(evaluation: Evaluation, run: Path | None = None) -> str:
    """The report as HTML text; arguments as `write`."""
    log = plots.read_training_log(run) if run is not None else []
    curve = plots.learning_curve(log)
    sections = [
        _section("What it saves", _cards(evaluation)),
        _section("Side by side", "".join(_table(evaluation, workload) for workload in evaluation.workloads) + _key()),
        _section(
            "Replicas and load",
            _figure(
                plots.timelines(evaluation),
                "One held-out scenario a workload (seed 0). Shaded: the load. Ticks below: windows in which the SLO was violated.",
            ),
        ),
        _section(
            "Violations against replicas",
            _figure(
                plots.frontiers(evaluation),
                "Down and left is better. Points: each policy as it was run, with 95 % intervals. Lines: the lower envelope of "
                "a policy's settings (the policy's weight of a violation; a rule's calibrated settings). Shaded: within the "
                "violation budget.",
            ),
        ),
        _section(
            "Latency",
            _figure(
                plots.latencies(evaluation),
                "Share of requests slower than a latency. Shaded: the SLOs of the scenarios; dotted: the 5 % of requests that "
                "may exceed them.",
            ),
        ),
        _section(
            "Topology",
            _figure(
                plots.topology(evaluation),
                f"{html.escape(evaluation.scenarios.episodes[0].mesh.name)} as drawn for seed 0: line width is calls per second, "
                "area is CPU demand, orange is where requests enter, grey is stateful.",
            ),
        ),
    ]
    if curve is not None:
        sections.append(
            _section("Learning", _figure(curve, "Logged while training, and smoothed.") + _training(evaluation, log))
        )
    if evaluation.guardrails is not None:
        sections.append(_section("Guardrails", _guardrails(evaluation)))
    targets = figures(evaluation)
    if targets:
        sections.append(_section("Figures to reach", _targets(targets)))
    sections.append(_section("Small print", _small_print(evaluation)))
    return _page(_title(evaluation), _subtitle(evaluation), "".join(sections))


def _title(evaluation: Evaluation) -> str:
    return f"{evaluation.config.name}: autoscaling compared"


def _subtitle(evaluation: Evaluation) -> str:
    revision = code_revision()
    parts = [
        f"{evaluation.scenarios.seeds} held-out scenarios for each of {len(evaluation.workloads)} workloads, "
        f"{evaluation.scenarios.seconds / 3600:g} h each",
        f"evaluated: {evaluation.label}" if evaluation.label else "",
        f"revision {str(revision['revision'] or 'unknown')[:10]}",
    ]
    return html.escape(" - ".join(part for part in parts if part))


def _cards(evaluation: Evaluation) -> str:
    """The policy's savings, one card a workload; without a policy, who won."""
    cards = []
    for workload in evaluation.workloads:
        lines = []
        if POLICY in evaluation.playbacks:
            equal = evaluation.equal_violation_saving(workload, POLICY, REFERENCE)
            if equal is not None:
                budget = f"{100 * violation_budget(workload):g} % violating"
                lines.append(_headline(equal, f"replica-seconds saved against {REFERENCE} at {budget}"))
                if equal.mean != equal.mean:
                    lines += [_least(evaluation, workload, name) for name in (POLICY, REFERENCE)]
            for reference in ("hpa_80", REFERENCE):
                if reference in evaluation.playbacks:
                    saved = evaluation.saving(workload, POLICY, reference)
                    added = evaluation.added_violation(workload, POLICY, reference)
                    lines.append(
                        f"<p><b>{_percent(saved)}</b> saved against {reference} as run, "
                        f"violating {100 * added.mean:+.2f} points</p>"
                    )
        winner = evaluation.best(workload)
        lines.append(f"<p>lowest objective: <span class='chip'>{_swatch(winner)}{html.escape(winner)}</span></p>")
        cards.append(f"<div class='card'><h3>{html.escape(workload_label(workload))}</h3>{''.join(lines)}</div>")
    return f"<div class='cards'>{''.join(cards)}</div>"


def _headline(saving: Interval, text: str) -> str:
    if saving.mean != saving.mean:
        return (
            f"<p class='none'>not comparable</p><p>{html.escape(text)}: one of the two never violates that little</p>"
        )
    mood = "good" if saving.low > 0 else "bad" if saving.high < 0 else "even"
    interval = f"[{100 * saving.low:.0f}, {100 * saving.high:.0f}]"
    return f"<p class='big {mood}'>{100 * saving.mean:.0f} % <small>{interval}</small></p><p>{html.escape(text)}</p>"


def _least(evaluation: Evaluation, workload: str, name: str) -> str:
    shares, _ = evaluation.frontiers[workload][name].means()
    return f"<p>least violating setting of {html.escape(name)}: {100 * shares.min():.2f} %</p>"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _table(evaluation: Evaluation, workload: str) -> str:
    seconds = evaluation.scenarios.seconds
    reference = REFERENCE if REFERENCE in evaluation.playbacks else None
    heads = [
        "policy", "replicas", "violating %", "P50 ms", "P95 ms", "P99 ms", "moves", "CPU used", "peak",
        f"saved vs {reference} %" if reference else "", "objective",
    ]  # fmt: skip
    most = max(evaluation.mean(workload, name, "replica_seconds").mean for name in evaluation.playbacks) / seconds
    best = evaluation.best(workload)
    rows = []
    for name in evaluation.playbacks:
        means = {metric: evaluation.mean(workload, name, metric) for metric in METRICS}
        replicas = means["replica_seconds"]
        violating = means["violating_share"]
        over = violating.mean > violation_budget(workload)
        saved = evaluation.saving(workload, name, reference) if reference and name != reference else None
        cells: list[Cell] = [
            (
                f"{_swatch(name)}{html.escape(name)}{' <span class=win>lowest</span>' if name == best else ''}",
                "name",
            ),
            (_bar(replicas.mean / seconds, most, name) + _number(replicas, 1 / seconds, 1), "wide"),
            (_number(violating, 100.0, 2), "over" if over else ""),
            *((f"{means[metric].mean:.0f}", "") for metric in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")),
            (f"{means['scale_moves'].mean:.0f}", ""),
            (f"{100 * means['utilisation'].mean:.0f} %", ""),
            (f"{means['peak_replicas'].mean:.0f}", ""),
            (_number(saved, 100.0, 1) if saved is not None else "-", ""),
            (_number(means["objective"], 1 / seconds, 1), ""),
        ]
        kind = " class='mine'" if name == POLICY else " class='bound'" if name == "oracle" else ""
        rows.append(f"<tr{kind}>" + "".join(f"<td class='{css}'>{text}</td>" for text, css in cells) + "</tr>")
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    budget = f"violation budget {100 * violation_budget(workload):g} %"
    return (
        f"<h3>{html.escape(workload_label(workload))} <small>{budget}</small></h3>"
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _number(interval: Interval, scale: float, digits: int) -> str:
    if interval.mean != interval.mean:
        return "-"
    mean, low, high = (f"{scale * value:,.{digits}f}" for value in (interval.mean, interval.low, interval.high))
    return f"{mean} <small>[{low}, {high}]</small>"


def _bar(value: float, most: float, name: str) -> str:
    width = 100.0 * value / most if most > 0 else 0.0
    return (
        f"<span class='bar'><i style='width:{width:.1f}%;background:{plots.COLOURS.get(name, plots.OTHER)}'></i></span>"
    )


def _swatch(name: str) -> str:
    return f"<i class='dot' style='background:{plots.COLOURS.get(name, plots.OTHER)}'></i>"


def _targets(targets: Sequence[Figure]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(target.claim)}</td><td>{html.escape(target.target)}</td><td>{html.escape(target.measured)}</td>"
        f"<td class='{'good' if target.reached else 'bad' if target.reached is False else 'even'}'>"
        f"{'reached' if target.reached else 'missed' if target.reached is False else 'cannot be told'}</td></tr>"
        for target in targets
    )
    head = "<tr><th>what</th><th>target</th><th>measured</th><th></th></tr>"
    return f"<table class='facts'><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _guardrails(evaluation: Evaluation) -> str:
    """How often each one acted, per policy; those that never did are left out, and named below."""
    tables, idle = [], set(GUARDRAILS)
    for workload in evaluation.workloads:
        acted = {name: evaluation.acted(workload, name) for name in evaluation.playbacks}
        shown = [rail for rail in GUARDRAILS if any(found[rail].mean > 0 for found in acted.values())]
        idle -= set(shown)
        head = "".join(f"<th>{html.escape(text)}</th>" for text in ("policy", *shown))
        rows = "".join(
            f"<tr><td class='name'>{_swatch(name)}{html.escape(name)}</td>"
            + "".join(f"<td>{_number(found[rail], 1.0, 1)}</td>" for rail in shown)
            + "</tr>"
            for name, found in acted.items()
        )
        tables.append(
            f"<h3>{html.escape(workload_label(workload))} <small>decisions for a service that were changed, a scenario</small></h3>"
            f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    meanings = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in GUARDRAILS.items())
    unused = f"<p>Never acted: {html.escape(', '.join(name for name in GUARDRAILS if name in idle)) or 'none'}.</p>"
    return f"{''.join(tables)}{unused}<details><summary>What each one does</summary><dl>{meanings}</dl></details>"


def _training(evaluation: Evaluation, log: Sequence[Mapping[str, Any]]) -> str:
    """How much experience it took: steps, episodes, when most of the improvement was there."""
    rewards = [(row["step"], row["train/reward"]) for row in log if "train/reward" in row]
    facts = [("environment steps", f"{log[-1]['step']:,.0f}")]
    facts.append(("episodes", f"{log[-1]['step'] / evaluation.config.environment.episode_decisions:,.0f}"))
    if len(rewards) > 1:
        steps, values = plots.smoothed_curve(rewards)
        reached = steps[int(np.argmax(values >= values[0] + 0.95 * (values.max() - values[0])))]
        facts.append(("95 % of the improvement after", f"{reached:,.0f} steps"))
    speeds = [row["train/steps_per_second"] for row in log if "train/steps_per_second" in row]
    if speeds:
        facts.append(("environment steps a second, median", f"{np.median(speeds):,.0f}"))
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in facts)
    return f"<table class='facts'>{rows}</table>"


def _key() -> str:
    meanings = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in BASELINES.items())
    return f"<details><summary>Who is who</summary><dl>{''.join(meanings)}</dl></details>"


def _small_print(evaluation: Evaluation) -> str:
    weights = evaluation.objective_weights()
    split = evaluation.split()
    rows: list[tuple[str, Any]] = [
        (
            "objective",
            f"J = replica-seconds + {weights['violation_weight']:g} x violating seconds + {weights['change_weight']:g} x "
            "replicas started or removed; fixed before training; lower is better",
        ),
        (
            "in the tables",
            "replicas and objective are per second, so that an objective is the replicas plus the penalties",
        ),
        (
            "violating second",
            "more than 5 % of requests exceed the SLO (2.0 x idle P95 unless the mesh states one), or more than 1 % fail",
        ),
        ("intervals", "95 % percentile bootstrap over scenarios; savings are paired by scenario"),
        ("trained on", ", ".join(split["training_workloads"])),
        ("never trained on", ", ".join(split["held_out_workloads"]) or "none of these"),
        ("scenarios", split["scenarios"]),
        ("topology changes", split["churn"]),
        ("calibration", split["calibration"]),
        ("guardrails", _guardrail_settings(evaluation)),
        (
            "information",
            "everybody reads metrics of the same age, and has the same bounds; stateful services are never scaled",
        ),
    ]
    table = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(text))}</td></tr>" for name, text in rows)
    settings = "".join(
        f"<tr><td>{html.escape(workload_label(workload))}</td><td>{html.escape(rule)}</td>"
        f"<td>{html.escape(', '.join(f'{key} {value:g}' for key, value in found.items()))}</td></tr>"
        for workload, rule, found in _chosen(evaluation)
    )
    metrics = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in METRICS.items())
    return (
        f"<table class='facts'>{table}</table>"
        f"<details><summary>Calibrated settings</summary><table class='facts'>{settings}</table></details>"
        f"<details><summary>What is measured</summary><dl>{metrics}</dl></details>"
        f"<details><summary>Configuration</summary><pre>{html.escape(dump_config(evaluation.config))}</pre></details>"
        f"<details><summary>Revision</summary><pre>{html.escape(json.dumps(code_revision(), indent=2))}</pre></details>"
    )


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


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _page(title: str, subtitle: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{html.escape(title)}</h1><p>{subtitle}</p></header>{body}</main></body></html>\n"
    )


STYLE = """
:root{--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;--paper:#fff;--wash:#f8fafc;--accent:#2563eb}
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 80px}
header h1{margin:0;font-size:28px;letter-spacing:-.01em}
header p{margin:4px 0 0;color:var(--soft)}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:20px 24px;margin-top:20px}
h2{margin:0 0 12px;font-size:19px}
h3{margin:18px 0 6px;font-size:15px}
h3 small,td small,.big small{color:var(--soft);font-weight:400}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px}
.card{border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card h3{margin:0 0 4px;color:var(--soft);font-weight:600}
.card p{margin:4px 0;font-size:13px}
.card .big{font-size:30px;font-weight:700;line-height:1.15;margin:2px 0}
.big small{font-size:13px}
.good{color:#15803d}.bad{color:#b91c1c}.even{color:var(--ink)}
.card .none{color:var(--soft);font-size:20px;font-weight:600}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th{text-align:right;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line);padding:5px
8px;vertical-align:bottom} td{text-align:right;padding:5px 7px;border-bottom:1px solid #f3f4f6;white-space:nowrap}
th:first-child,td.name{text-align:left}
td.wide{min-width:120px}
td.over{color:#b91c1c}
tr.mine td{background:#eff6ff;font-weight:600}
tr.mine td small{font-weight:400}
tr.bound td{color:var(--soft)}
.win{font-size:11px;font-weight:600;color:#15803d;background:#dcfce7;border-radius:99px;padding:1px 8px;margin-left:6px}
.dot{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:7px}
.chip{font-weight:600}
.bar{display:block;height:4px;border-radius:2px;background:#f3f4f6;margin:0 0 2px}
.bar i{display:block;height:4px;border-radius:2px}
figure{margin:0}
figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:13px;margin-top:8px}
.facts th,.facts td{text-align:left;white-space:normal;vertical-align:top}
.facts thead th{color:var(--soft)}
.facts tbody th{width:240px;border-bottom:1px solid #f3f4f6}
details{margin-top:10px}
summary{cursor:pointer;color:var(--accent);font-size:13px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:13px}
dt{font-weight:600}dd{margin:0}
pre{background:var(--wash);border-radius:8px;padding:12px;font-size:12px;overflow-x:auto}
@media print{body{background:#fff}section{break-inside:avoid;border:none;padding:0}}
"""
