"""Pictures of a comparison: timelines, latency distributions, frontiers, topology, learning
curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.domains.autoscaling.episode import warm_up_seconds
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS
from gnnrl.evaluation.canvas import STYLE, Picture, panels, plt
from gnnrl.evaluation.drawing import draw_mesh
from gnnrl.evaluation.frontier import envelope
from gnnrl.evaluation.scenarios import workload_label

if TYPE_CHECKING:
    from gnnrl.evaluation.evaluated import Evaluation

__all__ = [
    "LEARNED",
    "colour",
    "frontiers",
    "latencies",
    "timelines",
    "topology",
]

COLOURS: Mapping[str, str] = {
    "policy": "#2563eb",
    "hpa_80": "#9ca3af",
    "hpa_calibrated": "#ea580c",
    "kpa": "#9333ea",
    "feed_forward": "#16a34a",
    "feed_forward_estimated": "#65a30d",
    "feed_forward_trend": "#0d9488",
    "oracle": "#111827",
    "static": "#d1d5db",
    "random": "#e5b8b7",
}
Floats = NDArray[np.float64]
OTHER = "#78716c"
SHOWN_OVER_TIME = ("policy", "hpa_calibrated", "feed_forward", "oracle")
HIDDEN_IN_DISTRIBUTIONS = ("random",)
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


def timelines(evaluation: Evaluation, seed: int = 0) -> Picture:
    """Replicas over time beside the load, one panel a workload, for one seed; violating windows are marked below."""
    shown = [name for name in SHOWN_OVER_TIME if name in evaluation.playbacks]
    if len(shown) < 2:
        shown = list(evaluation.playbacks)[:4]
    with plt.rc_context(STYLE):
        figure, axes = panels(len(evaluation.workloads), height=3.1, gap=0.36)
        for axis, workload in zip(axes, evaluation.workloads, strict=True):
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
                style: dict[str, Any] = {"linestyle": (0, (3, 1.5))} if name == "oracle" else {}
                axis.step(
                    times, playback.replicas[row], where="post", color=colour(name), linewidth=1.3, label=name, **style
                )
                top = max(top, float(playback.replicas[row].max()))
            for place, name in enumerate(shown):
                playback = evaluation.playbacks[name]
                bad = np.flatnonzero(playback.violating_seconds[row] > 0) * playback.period_seconds / 60.0
                axis.plot(bad, np.full(len(bad), -0.035 * (place + 1) * top), "|", color=colour(name), markersize=4)
            below = 0.035 * (len(shown) + 1)
            axis.set_ylim(-below * top, 1.1 * top)
            # One zero for both scales; the load stays in the lower two thirds.
            behind.set_ylim(-below * 1.5 * float(load.max()), 1.1 * 1.5 * float(load.max()))
            behind.set_yticks([tick for tick in behind.get_yticks() if 0 <= tick <= load.max()])
            axis.set_yticks([tick for tick in axis.get_yticks() if 0 <= tick <= 1.1 * top])
            axis.set_title(workload_label(workload))
            axis.set_xlabel("minutes")
            axis.set_ylabel("replicas")
        axes[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.12), ncols=len(shown), fontsize=9)
        return Picture(figure)


def latencies(evaluation: Evaluation) -> Picture:
    """Cumulative distribution of end-to-end latency over all requests, one panel a workload, up to the slowest in
    1000."""
    shown = [name for name in evaluation.playbacks if name not in HIDDEN_IN_DISTRIBUTIONS]
    edges = np.concatenate([LATENCY_EDGES_MS[:1] / 2, LATENCY_EDGES_MS, LATENCY_EDGES_MS[-1:]])[1:]
    with plt.rc_context(STYLE):
        figure, axes = panels(len(evaluation.workloads))
        for axis, workload in zip(axes, evaluation.workloads, strict=True):
            rows = evaluation.scenarios.rows(workload)
            for name in shown:
                counts = evaluation.playbacks[name].latency_histogram[rows].sum(axis=0)
                slower = 1.0 - np.cumsum(counts) / max(float(counts.sum()), 1e-12)
                style: dict[str, Any] = {"linestyle": (0, (3, 1.5))} if name == "oracle" else {}
                width = 2.0 if name == "policy" else 1.2
                axis.plot(edges, np.maximum(slower, 1e-6), color=colour(name), linewidth=width, label=name, **style)
            slos = [episode.slo_ms for episode in evaluation.scenarios.episodes[rows]]
            axis.axvspan(min(slos), max(slos), color="#fee2e2", zorder=0)
            axis.axhline(0.05, color="#f87171", linewidth=0.8, linestyle=":")
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xlim(30, 12_000)
            axis.set_ylim(1e-3, 1.0)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_title(workload_label(workload))
            axis.set_xlabel("end-to-end latency, ms")
            axis.set_ylabel("slower requests")
        axes[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.14), ncols=5, fontsize=8)
        return Picture(figure)


def frontiers(evaluation: Evaluation) -> Picture:
    """Violating share against mean replicas, one panel a workload: every policy as a point, frontiers as lines."""
    seconds = evaluation.scenarios.seconds
    with plt.rc_context(STYLE):
        figure, axes = panels(len(evaluation.workloads), height=3.3)
        for axis, workload in zip(axes, evaluation.workloads, strict=True):
            budget = violation_budget(workload)
            widest = 6.0 * budget
            axis.axvspan(0, 100 * budget, color="#f0fdf4", zorder=0)
            axis.axvline(100 * budget, color="#86efac", linewidth=0.8)
            for name, frontier in evaluation.frontiers.get(workload, {}).items():
                shares, costs = frontier.means()
                near = shares <= widest
                if near.any():
                    x, y = envelope(shares[near], costs[near])
                    axis.plot(100 * x, y / seconds, "-", color=colour(name), linewidth=1.6, alpha=0.8)
                    axis.plot(
                        100 * shares[near], costs[near] / seconds, ".", color=colour(name), markersize=4, alpha=0.5
                    )
            for name in evaluation.playbacks:
                share = evaluation.mean(workload, name, "violating_share")
                cost = evaluation.mean(workload, name, "replica_seconds")
                if share.mean > widest:
                    continue
                axis.errorbar(
                    100 * share.mean,
                    cost.mean / seconds,
                    xerr=[[100 * max(share.mean - share.low, 0.0)], [100 * max(share.high - share.mean, 0.0)]],
                    yerr=[[max(cost.mean - cost.low, 0.0) / seconds], [max(cost.high - cost.mean, 0.0) / seconds]],
                    fmt="o",
                    color=colour(name),
                    ecolor=colour(name),
                    elinewidth=0.7,
                    markersize=7 if name == "policy" else 5,
                    markeredgecolor="white",
                    label=name,
                )
            axis.set_xlim(left=-0.06 * 100 * widest, right=100 * widest)
            axis.set_ylim(bottom=0.8 * axis.get_ylim()[0])
            axis.set_title(workload_label(workload))
            axis.set_xlabel(f"violating seconds, % (budget {100 * budget:g})")
            axis.set_ylabel("mean replicas")
        handles = {
            label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="lower center", bbox_to_anchor=(0.5, 0.93), ncols=5, fontsize=8
        )
        return Picture(figure)


def topology(evaluation: Evaluation) -> Picture:
    """The mesh of the first scenario, drawn with the traffic of its mean load."""
    episode = evaluation.scenarios.episodes[0]
    rates = episode.mesh.arrays().mean_call_rates * float(episode.rps.mean())
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9.5, 4.6))
        axis.grid(False)
        draw_mesh(episode.mesh, axis, rates)
        return Picture(figure)
