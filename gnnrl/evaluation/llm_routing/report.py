"""An LLM-routing comparison as one HTML file: tables, pictures and the small print."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gnnrl.domains.llm_routing.baselines import ROUTERS, Router
from gnnrl.domains.llm_routing.episodes import configured_scenarios
from gnnrl.evaluation.contenders import POLICY, who_is_who
from gnnrl.evaluation.document import Report
from gnnrl.evaluation.llm_routing import plots
from gnnrl.evaluation.llm_routing.comparison import REFERENCE, LLMRoutingEvaluated, LLMSystem
from gnnrl.evaluation.llm_routing.play import METRICS
from gnnrl.evaluation.page import Cell, bar, definitions, details, number, swatch, table
from gnnrl.evaluation.statistics import Interval, interval_name

__all__ = ["compose"]

SHOWN: Mapping[str, tuple[str, float, int]] = {
    "ttft_p50_s": ("TTFT p50 s", 1.0, 3),
    "ttft_p90_s": ("TTFT p90 s", 1.0, 3),
    "ttft_p99_s": ("TTFT p99 s", 1.0, 3),
    "e2e_mean_s": ("e2e mean s", 1.0, 2),
    "e2e_p50_s": ("e2e p50 s", 1.0, 2),
    "e2e_p90_s": ("e2e p90 s", 1.0, 2),
    "e2e_p99_s": ("e2e p99 s", 1.0, 2),
    "tpot_p50_ms": ("ms a token p50", 1.0, 1),
    "tpot_p99_ms": ("ms a token p99", 1.0, 1),
}
"""Metric -> head of its column, scale, digits."""


def compose(evaluation: LLMRoutingEvaluated, run: Path | None = None) -> Report:
    """The report.

    Args:
        evaluation: what was compared.
        run: the folder of the policy's training, for its learning curve.
    """
    asked, systems = evaluation.config.evaluation, evaluation.systems
    played = f"{asked.seeds} held-out streams of {asked.requests:,} requests"
    report = Report(evaluation.config, "LLM routers compared", played, evaluation.label)
    report.add("Side by side", *(_tables(system) for system in systems), _key(evaluation))
    report.add_targets(evaluation.figures(), "<p>Stretch: what no listed router reaches in all three at once.</p>")
    caption = (
        "Down and left is better; shaded: better than least_outstanding in both. Stars: trained policies. Hollow: routers that "
        f"are told the replicas' speeds. Bars: {interval_name(asked.seeds)} over streams; paired changes, in the "
        "tables, are much narrower. Arrows: off the scale, with TTFT p99 / e2e p99 in seconds."
    )
    report.add("Frontier of the two tails", report.picture("frontier", plots.frontiers(systems), caption))
    caption = "Share of requests slower than a time, all streams together. Dotted: one in 100."
    report.add("Latency", report.picture("latency", plots.latencies(systems), caption))
    caption = "Requests that were sent to a replica and are not done. The same stream for both. Dashed: a replica fails, joins or changes."
    report.add(
        "Load over time",
        *(report.picture(f"load_{_file_name(system.name)}", plots.loads(system), caption) for system in systems),
    )
    report.add("Where requests go", *(_shares(system) for system in systems))
    report.add_learning(run, plots.LEARNED, evaluation.config.environment.episode_requests)
    _add_small_print(report, evaluation)
    return report


def _tables(system: LLMSystem) -> str:
    scenarios = "; ".join(scenario.description for scenario in configured_scenarios(system.environment))
    heading = f"<h3>{html.escape(system.name)} <small>{html.escape(scenarios)}</small></h3>"
    shades = plots.colours(system)
    most = sorted(system.mean(row, "e2e_mean_s").mean for row in system.rows)[-1]
    rows: list[tuple[str, list[Cell]]] = []
    changes: list[tuple[str, list[Cell]]] = []
    for row in system.rows:
        kind = "mine" if row == POLICY else "beside" if row not in ROUTERS else ""
        name: Cell = (f"{swatch(shades[row])}{html.escape(row)}", "name")
        cells = [name]
        for metric, (_, scale, digits) in SHOWN.items():
            mean = system.mean(row, metric)
            drawn = bar(mean.mean, most, shades[row]) if metric == "e2e_mean_s" else ""
            cells.append((drawn + number(mean, scale, digits), "stack"))
        rows.append((kind, cells))
        if system.reference not in (None, row):
            changes.append((kind, [name, *(_change(system.change(row, metric)) for metric in SHOWN)]))
    heads = [head for head, _, _ in SHOWN.values()]
    ahead = f"<p>{html.escape(system.rules_ahead)}</p>" if system.rules_ahead else ""
    found = heading + ahead + table(("", *heads), rows)
    if changes:
        found += f"<h3>{html.escape(system.name)}: change against {REFERENCE}, % <small>paired by stream</small></h3>"
        found += table(("", *(head.removesuffix(" s") for head in heads)), changes)
    return found


def _change(change: Interval) -> Cell:
    """A change with its interval, coloured where the interval leaves no doubt of its sign."""
    mood = "good" if change.high < 0.0 else "bad" if change.low > 0.0 else ""
    return number(change, 100.0, 1), f"stack {mood}".strip()


def _key(evaluation: LLMRoutingEvaluated) -> str:
    played = evaluation.systems[0].playbacks
    policies = who_is_who(played, evaluation.beside, evaluation.systems[0].together)
    routers = {name: _said_of(router) for name, router in ROUTERS.items() if name in played}
    return details("Who is who", definitions(policies | routers))


def _said_of(router: Router) -> str:
    return router.summary + (f" (told the {' and the '.join(router.told)})" if router.told else "")


def _shares(system: LLMSystem) -> str:
    """A row a replica: how slow it was, and which share of the requests each router's it completed."""
    shades = plots.colours(system)
    load = next(iter(system.playbacks.values())).load
    shares = {name: playback.share.mean(axis=0) for name, playback in system.playbacks.items()}
    most = max(float(share.max()) for share in shares.values())
    rows: list[tuple[str, list[Cell]]] = []
    for r in range(load.up_share.shape[1]):
        up = float(load.up_share[:, r].mean())
        factors = load.time_factor[:, r]
        factors = factors[np.isfinite(factors)]
        if not factors.size:
            continue
        cells: list[Cell] = [(f"replica {r}", "name"), (f"{factors.mean():.2f}", ""), (f"{100 * up:.0f}", "")]
        # A policy of another run may have been given more slots; a fleet has the same replicas for everybody.
        cells += [
            (bar(float(share[r]), most, shades[name]) + f"{100 * float(share[r]):.1f}", "")
            for name, share in shares.items()
        ]
        rows.append(("", cells))
    heads = ("", "mean time factor", "up %", *shares)
    note = "% of the requests that each replica completed, mean of the streams"
    return f"<h3>{html.escape(system.name)} <small>{note}</small></h3>{table(heads, rows)}"


def _add_small_print(report: Report, evaluation: LLMRoutingEvaluated) -> None:
    asked, environment = evaluation.config.evaluation, evaluation.config.environment
    told = [
        f"the time factors {'are' if environment.show_speeds else 'are not'} told",
        f"the answer's length is {environment.length_hint}",
        f"replicas report {f'every {environment.report_seconds:g} s' if environment.report_seconds else 'at each decision'}",
    ]
    rows = [
        ("trained on", ", ".join(environment.scenarios) or "the configured fleet and load"),
        ("compared on", ", ".join(system.name for system in evaluation.systems)),
        ("streams", f"{asked.seeds} of {asked.requests:,} requests each, from an empty fleet until all are served"),
        ("pairing", "a stream has the same fleet, arrivals, lengths and changes of replicas whoever routes"),
        ("changes", f"{asked.changes_per_1000:g} drawn per 1,000 requests, beside those of the scenario"),
        (
            "intervals",
            f"{interval_name(asked.seeds)}: percentile bootstrap over streams, widened as Student's t asks; changes are paired by "
            "stream. Of runs together: over the runs, Student's where they are fewer than five, so that they "
            "say how much a training depends on its seed",
        ),
        ("the policy is shown", "; ".join(told)),
        (
            "information",
            "routers know what they sent and what replicas report, as old as the policy's reports are; those that are weighted by "
            "speed are told the time factors",
        ),
        ("scheduler", f"{environment.scheduler}, the same on every replica"),
    ]
    report.add_small_print(rows, METRICS)


def _file_name(system: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in system)
