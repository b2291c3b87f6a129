"""A routing comparison as one HTML file: tables, pictures and the small print."""

from __future__ import annotations

import html
from pathlib import Path

from gnnrl.config.loader import dump_config
from gnnrl.domains.queue_routing.baselines import ROUTERS
from gnnrl.evaluation.learning import learning_curve, read_training_log
from gnnrl.evaluation.page import (
    Cell,
    bar,
    definitions,
    details,
    facts,
    figure,
    number,
    page,
    revision,
    section,
    swatch,
    table,
    target_table,
    training_facts,
    write_page,
)
from gnnrl.evaluation.queue_routing import plots
from gnnrl.evaluation.queue_routing.comparison import METRICS, POLICY, RoutingEvaluation, System
from gnnrl.training.run_folder import code_revision

__all__ = ["render", "write"]


def write(evaluation: RoutingEvaluation, path: Path, run: Path | None = None) -> None:
    """Write the report, whole or not at all.

    Args:
        evaluation: what was compared.
        path: the HTML file.
        run: the folder of the policy's training, for its learning curve.
    """
    write_page(render(evaluation, run), path)


def render(evaluation: RoutingEvaluation, run: Path | None = None) -> str:
    """The report as HTML text; arguments as `write`."""
    log = read_training_log(run) if run is not None else []
    best = evaluation.systems[0].optimum
    curve = learning_curve(log, plots.LEARNED, {f"eval/{metric}": value for metric, value in best.items()})
    sections = [section("Side by side", "".join(_table(system) for system in evaluation.systems) + _key())]
    targets = evaluation.figures()
    if targets:
        sections.append(section("Figures to reach", target_table(targets)))
    first = evaluation.systems[0]
    sections.append(
        section("Latency", figure(plots.latencies(first), "Share of requests slower than a latency. Dotted: one in 100."))
    )  # fmt: skip
    chosen = plots.choices(first)
    if chosen is not None:
        caption = (
            "Share of the requests that went to replica_0, by their type and by the queues they met: blue is replica_0, red "
            "replica_1. Between the two, the choice depended on more than the lengths. Grey: hardly ever met. The last row and "
            "column are that length and more."
        )
        sections.append(section("Where requests go", figure(chosen, caption)))
    caption = "Requests at each replica, the same stream for everybody."
    sections.append(section("Load over time", figure(plots.queues(first), caption)))
    if curve is not None:
        taken = training_facts(log, evaluation.config.environment.episode_arrivals)
        sections.append(
            section("Learning", figure(curve, "Logged while training, and smoothed. Dotted: the optimum.") + taken)
        )
    sections.append(section("Small print", _small_print(evaluation)))
    asked = evaluation.config.evaluation
    subtitle = (
        f"{asked.seeds} held-out streams of {asked.arrivals:,} requests",
        f"evaluated: {evaluation.label}" if evaluation.label else "",
        f"revision {str(code_revision()['revision'] or 'unknown')[:10]}",
    )
    return page(f"{evaluation.config.name}: routers compared", subtitle, "".join(sections))


def _table(system: System) -> str:
    reference = system.reference
    most = sorted(system.mean(name, "mean_latency").mean for name in system.playbacks)[-1]
    rows: list[tuple[str, list[Cell]]] = []
    for name in system.playbacks:
        mean, p99 = system.mean(name, "mean_latency"), system.mean(name, "p99_latency")
        regret = system.regret(name, reference, "mean_latency") if reference not in (None, name) else None
        cells = [
            (f"{swatch(plots.colour(name))}{html.escape(name)}", "name"),
            (bar(mean.mean, most, plots.colour(name)) + number(mean, 1.0, 4), "wide"),
            (number(regret, 100.0, 1) if regret is not None else "-", ""),
            (number(p99, 1.0, 3), ""),
            (f"{100 * system.mean(name, 'routing_accuracy').mean:.1f}", ""),
            (f"{system.mean(name, 'throughput').mean:.2f}", ""),
        ]
        rows.append(("mine" if name == POLICY else "bound" if name == reference else "", cells))
    best = system.optimum
    if best:
        rows.append(
            (
                "bound",
                [
                    ("optimum, exact", "name"),
                    (bar(best["mean_latency"], most, plots.OTHER) + f"{best['mean_latency']}", "wide"),
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
    return f"<h3>{html.escape(system.name)}</h3>{table(heads, rows)}"


def _key() -> str:
    return details("Who is who", definitions({POLICY: "the trained policy, its likeliest choice", **ROUTERS}))


def _small_print(evaluation: RoutingEvaluation) -> str:
    asked, environment = evaluation.config.evaluation, evaluation.config.environment
    rates = ", ".join("/".join(f"{rate:g}" for rate in rates) for rates in environment.service_rates)
    rows = [
        ("configured system", f"types {'/'.join(environment.types)}, replicas that serve {rates} requests/s of them"),
        ("arrivals", f"Poisson, {'/'.join(f'{rate:g}' for rate in environment.arrival_rates)} requests/s of each type"),
        ("drawn systems", f"rates within {list(environment.drawn_rates)}, load within {list(environment.drawn_load)}"),
        ("streams", f"{asked.seeds} of {asked.arrivals:,} requests each after {asked.warm_up:,} that are not measured"),
        ("pairing", "a stream has the same system, arrivals and service requirements whoever routes"),
        ("intervals", "95 % percentile bootstrap over streams; regret is paired by stream"),
        ("optimum", "exact, of the Markov decision process that sees the types in the queues in their order"),
        ("information", "routers see the queues, some the types in them; the policy sees what the environment shows"),
    ]
    return (
        facts(rows)
        + details("What is measured", definitions(METRICS))
        + details("Configuration", f"<pre>{html.escape(dump_config(evaluation.config))}</pre>")
        + revision()
    )
