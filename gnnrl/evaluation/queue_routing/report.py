"""A routing comparison as one HTML file: tables, pictures and the small print."""

from __future__ import annotations

import html
from pathlib import Path

from gnnrl.domains.queue_routing.baselines import ROUTERS
from gnnrl.evaluation.contenders import who_is_who
from gnnrl.evaluation.document import Report
from gnnrl.evaluation.page import (
    Cell,
    bar,
    definitions,
    details,
    number,
    swatch,
    table,
)
from gnnrl.evaluation.queue_routing import plots
from gnnrl.evaluation.queue_routing.comparison import METRICS, POLICY, RoutingEvaluation, System
from gnnrl.evaluation.statistics import interval_name

__all__ = ["compose"]


def compose(evaluation: RoutingEvaluation, run: Path | None = None) -> Report:
    """The report.

    Args:
        evaluation: what was compared.
        run: the folder of the policy's training, for its learning curve.
    """
    asked, first = evaluation.config.evaluation, evaluation.systems[0]
    played = f"{asked.seeds} held-out streams of {asked.arrivals:,} requests"
    report = Report(evaluation.config, "routers compared", played, evaluation.label)
    report.add("Side by side", *(_table(system) for system in evaluation.systems), _key(evaluation))
    report.add_targets(evaluation.figures())
    caption = (
        "Share of requests slower than a latency. Dotted: one in 100. Arrows: whose slowest hundredth is off the scale."
    )
    report.add("Latency", report.picture("latency", plots.latencies(first), caption))
    chosen = plots.choices(first)
    if chosen is not None:
        caption = (
            "Share of the requests that went to replica_0, by their type and by the queues they met: blue is replica_0, red "
            "replica_1. Between the two, the choice depended on more than the lengths. Grey: hardly ever met. The last row and "
            "column are that length and more."
        )
        report.add("Where requests go", report.picture("policy", chosen, caption))
    caption = "Requests at each replica, the same stream for everybody."
    report.add("Load over time", report.picture("load", plots.queues(first), caption))
    report.add_learning(
        run,
        plots.LEARNED,
        evaluation.config.environment.episode_arrivals,
        {f"eval/{metric}": value for metric, value in first.optimum.items()},
        "Logged while training, and smoothed. Dotted: the optimum.",
    )
    _add_small_print(report, evaluation)
    return report


def _table(system: System) -> str:
    reference, shades = system.reference, plots.colours(system)
    most = sorted(system.mean(name, "mean_latency").mean for name in system.rows)[-1]
    rows: list[tuple[str, list[Cell]]] = []
    for name in system.rows:
        mean, p99 = system.mean(name, "mean_latency"), system.mean(name, "p99_latency")
        regret = system.regret(name, reference, "mean_latency") if reference not in (None, name) else None
        cells = [
            (f"{swatch(shades[name])}{html.escape(name)}", "name"),
            (bar(mean.mean, most, shades[name]) + number(mean, 1.0, 4), "wide"),
            (number(regret, 100.0, 1) if regret is not None else "-", ""),
            (number(p99, 1.0, 3), ""),
            (f"{100 * system.mean(name, 'routing_accuracy').mean:.1f}", ""),
            (f"{system.mean(name, 'throughput').mean:.2f}", ""),
        ]
        kind = "mine" if name == POLICY else "bound" if name == reference else "" if name in ROUTERS else "beside"
        rows.append((kind, cells))
    best = system.optimum
    if best:
        rows.append(
            (
                "bound",
                [
                    ("optimum, exact", "name"),
                    (bar(best["mean_latency"], most, plots.OPTIMUM) + f"{best['mean_latency']}", "wide"),
                    ("-", ""),
                    (f"{best['p99_latency']}", ""),
                    (f"{100 * best['routing_accuracy']:.1f}", ""),
                    ("-", ""),
                ],
            )
        )
    heads = (
        "router",
        "mean latency s",
        f"over {reference} %" if reference else "regret",
        "p99 s",
        "to the fast replica %",
        "requests/s",
    )
    ahead = f"<p>{html.escape(system.rules_ahead)}</p>" if system.rules_ahead else ""
    return f"<h3>{html.escape(system.name)}</h3>{ahead}{table(heads, rows)}"


def _key(evaluation: RoutingEvaluation) -> str:
    first = evaluation.systems[0]
    policies = who_is_who(first.playbacks, evaluation.beside, first.together)
    return details("Who is who", definitions({**policies, **ROUTERS}))


def _add_small_print(report: Report, evaluation: RoutingEvaluation) -> None:
    asked, environment = evaluation.config.evaluation, evaluation.config.environment
    rates = ", ".join("/".join(f"{rate:g}" for rate in rates) for rates in environment.service_rates)
    rows = [
        ("configured system", f"types {'/'.join(environment.types)}, replicas that serve {rates} requests/s of them"),
        ("arrivals", f"Poisson, {'/'.join(f'{rate:g}' for rate in environment.arrival_rates)} requests/s of each type"),
        ("drawn systems", f"rates within {list(environment.drawn_rates)}, load within {list(environment.drawn_load)}"),
        ("streams", f"{asked.seeds} of {asked.arrivals:,} requests each after {asked.warm_up:,} that are not measured"),
        ("pairing", "a stream has the same system, arrivals and service requirements whoever routes"),
        ("intervals", f"{interval_name(asked.seeds)}: percentile bootstrap over streams; regret is paired by stream"),
        ("optimum", "exact, of the Markov decision process that sees the types in the queues in their order"),
        ("information", "routers see the queues, some the types in them; the policy sees what the environment shows"),
    ]
    report.add_small_print(rows, METRICS)
