"""A comparison at several SLO factors: what everybody costs and violates where the SLO is stricter or laxer."""

from __future__ import annotations

import html
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gnnrl.evaluation.canvas import Panel, Picture
from gnnrl.evaluation.contenders import over_runs
from gnnrl.evaluation.page import Cell, number, swatch, table
from gnnrl.evaluation.scenarios import workload_label
from gnnrl.evaluation.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from gnnrl.evaluation.evaluated import Evaluation

__all__ = ["as_html", "mean_over_loads", "picture", "summary_table", "to_json"]

METRICS = ("violating_share", "replica_seconds", "objective")
TITLE = "Over the SLO factor"
MEANING = "SLO = factor x the idle P95; mean over the loads; J in replica-seconds of a scenario"


def mean_over_loads(evaluation: Evaluation, row: str, metric: str) -> Interval:
    """Mean over loads and seeds; a seed's meshes are the same on every load, so the interval is that of the seeds."""
    if row in evaluation.together:
        return over_runs(mean_over_loads(evaluation, run, metric) for run in evaluation.together[row])
    by_load = [evaluation.values(workload, row, metric) for workload in evaluation.workloads]
    return mean_interval(np.mean(by_load, axis=0))


def summary_table(evaluation: Evaluation) -> dict[str, Any]:
    """`{"title", "columns", "rows"}`, all of it text: a row for everybody, a column a factor."""
    return {
        "title": f"{TITLE}: replicas @ violating %, J ({MEANING})",
        "columns": ["", *(f"{factor:g}" for factor in evaluation.over_slo)],
        "rows": [[row, *(_cell(at, row) for at in evaluation.over_slo.values())] for row in evaluation.rows],
    }


def _cell(at: Evaluation, row: str) -> str:
    share, cost, objective = (mean_over_loads(at, row, metric).mean for metric in METRICS)
    return f"{cost / at.scenarios.seconds:.1f} @ {100 * share:.2f}, {objective:,.0f}"


def to_json(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Each factor with every row's figures, over all loads and load by load."""
    return [
        {
            "slo_factor": factor,
            "mean": {
                row: {metric: mean_over_loads(at, row, metric).to_json() for metric in METRICS} for row in at.rows
            },
            "scenarios": {
                workload_label(w): {
                    row: {metric: at.mean(w, row, metric).to_json() for metric in METRICS} for row in at.rows
                }
                for w in at.workloads
            },
        }
        for factor, at in evaluation.over_slo.items()
    ]


def as_html(evaluation: Evaluation, shades: Mapping[str, str]) -> str:
    """A table a figure, everybody at every factor; `shades` are the rows' colours."""
    parts = [f"<p class='said'>{html.escape(MEANING)}.</p>"]
    for metric, heading, scale, digits in (
        ("violating_share", "violating %", 100.0, 2),
        ("replica_seconds", "replicas", 1.0 / evaluation.scenarios.seconds, 1),
        ("objective", "J", 1.0, 0),
    ):
        rows: list[tuple[str, list[Cell]]] = []
        for row in evaluation.rows:
            found = [mean_over_loads(at, row, metric) for at in evaluation.over_slo.values()]
            cells = [(number(interval, scale, digits), "") for interval in found]
            rows.append(("", [(f"{swatch(shades[row])}{html.escape(row)}", "name"), *cells]))
        heads = ["SLO factor", *(f"{factor:g}" for factor in evaluation.over_slo)]
        parts.append(f"<h3>{heading}</h3>{table(heads, rows)}")
    return "".join(parts)


def picture(evaluation: Evaluation, shades: Mapping[str, str]) -> Picture:
    """Violating share, replicas and objective over the factor, a panel each."""
    seconds = evaluation.scenarios.seconds
    panels = (
        ("violating_share", "violating seconds, %", 100.0),
        ("replica_seconds", "mean replicas", 1.0 / seconds),
        ("objective", "J, thousand replica-seconds", 1e-3),
    )
    return Picture(
        [
            Panel(draw=partial(_draw, evaluation, shades, metric, label, scale), height=3.2)
            for metric, label, scale in panels
        ],
        columns=3,
    )


def _draw(evaluation: Evaluation, shades: Mapping[str, str], metric: str, label: str, scale: float, axis: Axes) -> None:
    factors = list(evaluation.over_slo)
    order = sorted(range(len(factors)), key=factors.__getitem__)
    highest = 0.0
    for row in evaluation.rows:
        means = [scale * mean_over_loads(at, row, metric).mean for at in evaluation.over_slo.values()]
        highest = max([highest, *means])
        axis.plot(
            [factors[k] for k in order],
            [means[k] for k in order],
            "o-",
            color=shades[row],
            linewidth=1.4,
            markersize=4,
            label=row,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(sorted(factors)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if metric == "violating_share":
        # Shares differ by powers of ten; below a hundredth of a percent nothing is told apart.
        axis.set_yscale("symlog", linthresh=0.1)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_ylim(0.0, 1.25 * highest or 1.0)
    axis.set_title(label)
    axis.set_xlabel("SLO over idle P95")
