"""Pictures of a comparison: timelines, latency distributions, frontiers, topology, learning
curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.domains.autoscaling.episode import warm_up_seconds
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS
from gnnrl.evaluation.canvas import Panel, Picture, count_ticks, palette
from gnnrl.evaluation.contenders import POLICY
from gnnrl.evaluation.drawing import draw_mesh, layered_positions, tallest_layer
from gnnrl.evaluation.evaluated import BOUND
from gnnrl.evaluation.frontier import envelope
from gnnrl.evaluation.labelling import Label, label_points, mark_beyond
from gnnrl.evaluation.scenarios import workload_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gnnrl.evaluation.evaluated import Evaluation

__all__ = [
    "LEARNED",
    "colours",
    "frontiers",
    "latencies",
    "timelines",
    "topology",
]

COLOURS: Mapping[str, str] = {
    "policy": "#2563eb",
    "clone": "#06b6d4",
    "teacher": "#a78b6d",
    "hpa_80": "#9ca3af",
    "hpa_calibrated": "#ea580c",
    "kpa": "#9333ea",
    "feed_forward": "#16a34a",
    "feed_forward_estimated": "#65a30d",
    "feed_forward_trend": "#0d9488",
    "oracle": "#111827",
    "static": "#ca8a04",
    "random": "#c4807e",
}
OTHER = "#78716c"
SHOWN_OVER_TIME = ("policy", "hpa_calibrated", "feed_forward", "oracle")
HIDDEN_IN_DISTRIBUTIONS = ("random",)
RARE, MOSTLY = 1e-3, 0.9
"""Latencies are drawn from what nine in ten requests exceed to what one in a thousand does."""
WIDEST = 6.0
"""Violating shares are drawn up to so many times the budget; who violates more is marked at the edge."""
MESH_WIDTH, MESH_HEIGHT, MESH_ROW = 5.2, 4.2, 0.6
"""Inches; of a row of the mesh's tallest layer."""
LEARNED: Mapping[str, str] = {
    "train/reward": "reward a decision",
    "autoscaling/violating_share": "violating share",
    "autoscaling/replicas": "replicas",
    "train/entropy": "entropy",
    "train/explained_variance": "explained variance",
}
"""Scalars of the learning curve, and what each is called."""


def colour(name: str) -> str:
    """Of a policy, the same in every picture and table."""
    return COLOURS.get(name, OTHER)


def colours(evaluation: Evaluation) -> dict[str, str]:
    """Of each row, the same in every picture and table; another playing of a row has the row's own."""
    repeats = evaluation.repeats
    found = palette([row for row in evaluation.rows if row not in repeats], _known(evaluation))
    return {row: found.get(repeats.get(row, row), OTHER) for row in evaluation.rows}


def _known(evaluation: Evaluation) -> Mapping[str, str]:
    trained = {*evaluation.beside, *evaluation.together}
    return {row: colour(row) for row in evaluation.rows if row not in trained}


def _dashes(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """The bound is dashed, and so is another playing of a row."""
    return {"linestyle": (0, (3, 1.5))} if name == BOUND or name in evaluation.repeats else {}


def timelines(evaluation: Evaluation, seed: int = 0) -> Picture:
    """Replicas over time beside the load, one panel a workload, for one seed; violating windows are marked below."""
    shown = [name for name in SHOWN_OVER_TIME if name in evaluation.playbacks]
    if len(shown) < 2:
        shown = list(evaluation.playbacks)[:4]
    return Picture(
        [Panel(draw=partial(_timeline, evaluation, w, seed, shown), height=3.2) for w in evaluation.workloads]
    )


def _timeline(evaluation: Evaluation, workload: str, seed: int, shown: Sequence[str], axis: Axes) -> None:
    shades = colours(evaluation)
    row = evaluation.scenarios.rows(workload).start + seed
    episode = evaluation.scenarios.episodes[row]
    load = episode.rps[warm_up_seconds(evaluation.scenarios.config) :]
    minutes = np.arange(len(load)) / 60.0
    behind = axis.twinx()
    behind.fill_between(minutes, load, color="#dbeafe", linewidth=0, zorder=0)
    behind.set_ylabel("load, requests/s", color="#60a5fa")
    behind.tick_params(axis="y", colors="#60a5fa")
    behind.grid(False)
    behind.spines["right"].set_visible(False)
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)
    top = 0.0
    for name in shown:
        playback = evaluation.playbacks[name]
        times = np.arange(playback.replicas.shape[1]) * playback.period_seconds / 60.0
        style = _dashes(evaluation, name)
        axis.step(times, playback.replicas[row], where="post", color=shades[name], linewidth=1.3, label=name, **style)
        top = max(top, float(playback.replicas[row].max()))
    for place, name in enumerate(shown):
        playback = evaluation.playbacks[name]
        bad = np.flatnonzero(playback.violating_seconds[row] > 0) * playback.period_seconds / 60.0
        axis.plot(bad, np.full(len(bad), -0.035 * (place + 1) * top), "|", color=shades[name], markersize=4)
    below = 0.035 * (len(shown) + 1)
    axis.set_ylim(-below * top, 1.1 * top)
    count_ticks(axis.yaxis)
    # One zero for both scales; the load stays in the lower two thirds.
    behind.set_ylim(-below * 1.5 * float(load.max()), 1.1 * 1.5 * float(load.max()))
    behind.set_yticks([tick for tick in behind.get_yticks() if 0 <= tick <= load.max()])
    axis.set_yticks([tick for tick in axis.get_yticks() if 0 <= tick <= 1.1 * top])
    axis.set_title(workload_label(workload))
    count_ticks(axis.xaxis)
    axis.set_xlabel("minutes")
    axis.set_ylabel("replicas")


def latencies(evaluation: Evaluation) -> Picture:
    """Cumulative distribution of end-to-end latency over all requests, one panel a workload, up to the slowest in
    1000."""
    return Picture([Panel(draw=partial(_latency, evaluation, workload)) for workload in evaluation.workloads])


def _latency(evaluation: Evaluation, workload: str, axis: Axes) -> None:
    shades = colours(evaluation)
    edges = np.concatenate([LATENCY_EDGES_MS[:1] / 2, LATENCY_EDGES_MS, LATENCY_EDGES_MS[-1:]])[1:]
    rows = evaluation.scenarios.rows(workload)
    slos = [episode.slo_ms for episode in evaluation.scenarios.episodes[rows]]
    fastest, slowest = min(slos), max(slos)
    for name in (name for name in evaluation.playbacks if name not in HIDDEN_IN_DISTRIBUTIONS):
        counts = evaluation.playbacks[name].latency_histogram[rows].sum(axis=0)
        if counts.sum() <= 0:
            continue
        slower = 1.0 - np.cumsum(counts) / float(counts.sum())
        width = 2.0 if name == POLICY else 1.2
        style = _dashes(evaluation, name)
        axis.plot(edges, np.maximum(slower, 1e-6), color=shades[name], linewidth=width, label=name, **style)
        fastest = min(fastest, float(edges[slower >= MOSTLY][-1]) if (slower >= MOSTLY).any() else fastest)
        slowest = max(slowest, float(edges[slower >= RARE][-1]) if (slower >= RARE).any() else slowest)
    axis.axvspan(min(slos), max(slos), color="#fee2e2", zorder=0)
    axis.axhline(0.05, color="#f87171", linewidth=0.8, linestyle=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(0.8 * fastest, 1.2 * slowest)
    axis.set_ylim(RARE, 1.0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_title(workload_label(workload))
    axis.set_xlabel("end-to-end latency, ms")
    axis.set_ylabel("slower requests")


def frontiers(evaluation: Evaluation) -> Picture:
    """Violating share against mean replicas, one panel a workload: every policy as a point, frontiers as lines; a point that is off the
    scale as an arrow at its edge, with its numbers."""
    return Picture([Panel(draw=partial(_frontier, evaluation, w), height=3.5) for w in evaluation.workloads])


def _frontier(evaluation: Evaluation, workload: str, axis: Axes) -> None:
    seconds, shades = evaluation.scenarios.seconds, colours(evaluation)
    budget = violation_budget(workload)
    widest = WIDEST * budget
    axis.axvspan(0, 100 * budget, color="#f0fdf4", zorder=0)
    axis.axvline(100 * budget, color="#86efac", linewidth=0.8)
    for name, frontier in evaluation.frontiers.get(workload, {}).items():
        shares, costs = frontier.means()
        x, y = envelope(shares, costs)
        axis.plot(100 * x, y / seconds, "-", color=shades[name], linewidth=1.6, alpha=0.8)
        axis.plot(100 * shares, costs / seconds, ".", color=shades[name], markersize=4, alpha=0.5)
    points = []
    heights = [y / seconds for x, y in _settings(evaluation, workload) if x <= widest]
    for name in evaluation.playbacks:
        share = evaluation.mean(workload, name, "violating_share")
        cost = evaluation.mean(workload, name, "replica_seconds")
        axis.errorbar(
            100 * share.mean,
            cost.mean / seconds,
            xerr=[[100 * max(share.mean - share.low, 0.0)], [100 * max(share.high - share.mean, 0.0)]],
            yerr=[[max(cost.mean - cost.low, 0.0) / seconds], [max(cost.high - cost.mean, 0.0) / seconds]],
            fmt="o",
            color=shades[name],
            ecolor=shades[name],
            elinewidth=0.7,
            markersize=7 if name == POLICY else 5,
            markeredgecolor="white",
            markerfacecolor="white" if name in evaluation.repeats else shades[name],
            label=name,
        )
        numbers = f"{name} {100 * share.mean:.1f} %, {cost.mean / seconds:.0f}"
        points.append(Label(numbers, 100 * share.mean, cost.mean / seconds, shades[name]))
        if share.mean <= widest:
            heights += [value / seconds for value in (cost.mean, cost.low, cost.high) if value == value]
    axis.set_xlim(left=-0.06 * 100 * widest, right=100 * widest)
    if heights:
        axis.set_ylim(0.9 * min(heights), 1.05 * max(heights) + 1e-9)
    axis.set_title(workload_label(workload))
    axis.set_xlabel(f"violating seconds, % (budget {100 * budget:g})")
    axis.set_ylabel("mean replicas")
    moved = mark_beyond(axis, points)
    label_points(axis, [label for label, point in zip(moved, points, strict=True) if label != point])


def _settings(evaluation: Evaluation, workload: str) -> Iterator[tuple[float, float]]:
    """(violating share, replica-seconds) of every setting of every frontier."""
    for frontier in evaluation.frontiers.get(workload, {}).values():
        yield from zip(*(values.tolist() for values in frontier.means()), strict=True)


def topology(evaluation: Evaluation) -> Picture:
    """The mesh of the first scenario, drawn with the traffic of its mean load."""
    episode = evaluation.scenarios.episodes[0]
    rates = episode.mesh.arrays().mean_call_rates * float(episode.rps.mean())
    tallest = tallest_layer(layered_positions(episode.mesh.to_networkx()))

    def draw(axis: Axes) -> None:
        axis.grid(False)
        draw_mesh(episode.mesh, axis, rates)

    return Picture([Panel(draw=draw, width=MESH_WIDTH, height=max(MESH_HEIGHT, MESH_ROW * tallest))], columns=1)
