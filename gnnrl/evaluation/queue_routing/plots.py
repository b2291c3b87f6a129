"""Pictures of a routing comparison: latency distributions, the policy over queue lengths, queues over time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnrl.domains.queue_routing.metrics import LATENCY_EDGES_SECONDS
from gnnrl.evaluation.canvas import ACCENT, REPLICA_COLOURS, Panel, Picture, count_ticks, palette
from gnnrl.evaluation.labelling import Label, label_points, mark_beyond
from gnnrl.evaluation.queue_routing.comparison import POLICY, REFERENCE, System
from gnnrl.evaluation.queue_routing.play import SHARE_CAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LEARNED", "OPTIMUM", "choices", "colours", "latencies", "queues"]

COLOURS: Mapping[str, str] = {
    POLICY: ACCENT,
    REFERENCE: "#111827",
    "random": "#c4807e",
    "round_robin": "#a3aab5",
    "jsq": "#ea580c",
    "jsq_affinity": "#d97706",
    "power_of_two": "#a16207",
    "sed": "#9333ea",
    "sed_own_rate": "#0d9488",
    "affinity": "#16a34a",
    "count_gap": "#65a30d",
    "work_gap": "#be185d",
}
OPTIMUM = "#78716c"
LEARNED: Mapping[str, str] = {
    "train/reward": "reward a choice",
    "eval/mean_latency": "mean latency, s (validation)",
    "eval/p99_latency": "p99 latency, s (validation)",
    "eval/routing_accuracy": "to the fast replica (validation)",
    "train/entropy": "entropy",
    "train/explained_variance": "explained variance",
}
"""Scalars of the learning curve, and what each is called."""
FEWEST_VISITS = 5
"""Below so many visits, the share of a cell is not drawn."""
PREFERRED = (POLICY, REFERENCE, "affinity", "sed_own_rate", "jsq")
"""Whose queues are drawn, where they were played."""


def colours(system: System) -> dict[str, str]:
    """Of each row, the same in every picture and table."""
    return palette(system.rows, COLOURS)


def latencies(system: System) -> Picture:
    """Share of the requests slower than a latency, everybody in one panel, up to the slowest in 10,000."""
    return Picture([Panel(draw=partial(_latency, system), width=5.4, height=3.8)], columns=1)


def _latency(system: System, axis: Axes) -> None:
    shades = colours(system)
    # As far as the faster half needs: the others would squeeze it together.
    limit = 2.5 * float(np.median([playback.p99() for playback in system.playbacks.values()]))
    beyond = []
    for name, playback in system.playbacks.items():
        counts = playback.histograms.sum(axis=0)
        slower = 1.0 - np.cumsum(counts) / counts.sum()
        shown = slower > 0
        style: dict[str, Any] = {"linestyle": (0, (3, 1.5))} if name == REFERENCE else {}
        width = 2.2 if name == POLICY else 1.2
        edges = LATENCY_EDGES_SECONDS[1:][shown]
        axis.plot(edges, slower[shown], color=shades[name], linewidth=width, label=name, **style)
        if playback.p99() > limit:
            beyond.append(Label(f"{name}: p99 {playback.p99():.3g} s", playback.p99(), 0.01, shades[name]))
    axis.axhline(0.01, color="#f87171", linewidth=0.8, linestyle=":")
    axis.set_yscale("log")
    axis.set_ylim(1e-4, 1.0)
    axis.set_xlim(0.0, limit)
    axis.set_xlabel("latency, s")
    axis.set_ylabel("slower requests")
    label_points(axis, mark_beyond(axis, beyond))


def choices(system: System) -> Picture | None:
    """Where requests went by type and by the lengths of the two queues, policy above oracle; None unless there are two replicas."""
    shown = [name for name in (POLICY, REFERENCE) if name in system.playbacks]
    environment = system.environment
    if system.drawn or len(environment.service_rates) != 2 or not shown:
        return None
    types = len(environment.types)
    panels = [
        Panel(draw=partial(_choice, system, name, kind), width=4.6, height=3.9)
        for name in shown
        for kind in range(types)
    ]
    return Picture(panels, columns=types)


def _choice(system: System, name: str, kind: int, axis: Axes) -> None:
    playback = system.playbacks[name]
    visits, to_first = playback.visits[kind], playback.to_first[kind]
    share = np.where(visits >= FEWEST_VISITS, to_first / np.maximum(visits, 1), np.nan)
    mesh = axis.pcolormesh(share.T, cmap="RdBu", vmin=0.0, vmax=1.0, edgecolors="white", linewidth=0.4)
    axis.grid(False)
    axis.set_facecolor("#cbd5e1")
    axis.set_title(f"{name}, type {system.environment.types[kind]}")
    axis.set_xlabel("requests at replica_0")
    axis.set_ylabel("requests at replica_1")
    ticks = np.arange(0, SHARE_CAP + 1, 2)
    axis.set_xticks(ticks + 0.5, [str(tick) for tick in ticks])
    axis.set_yticks(ticks + 0.5, [str(tick) for tick in ticks])
    axis.set_aspect("equal")
    axis.figure.colorbar(mesh, ax=axis, shrink=0.8, label="share sent to replica_0")


def queues(system: System) -> Picture:
    """Requests at each replica over time in the first stream, a panel a router."""
    names = [name for name in PREFERRED if name in system.playbacks][:4] or list(system.playbacks)[:4]
    top = max(int(system.playbacks[name].trace_queue.max()) for name in names)
    return Picture([Panel(draw=partial(_queue, system, name, top), height=2.6) for name in names])


def _queue(system: System, name: str, top: int, axis: Axes) -> None:
    playback = system.playbacks[name]
    for r in np.flatnonzero(playback.trace_queue.any(axis=0)):
        axis.step(
            playback.trace_seconds,
            playback.trace_queue[:, r],
            where="post",
            color=REPLICA_COLOURS[r % len(REPLICA_COLOURS)],
            linewidth=1.1,
            label=f"replica_{r}",
        )
    axis.set_title(name)
    axis.set_ylim(0, 1.05 * top)
    count_ticks(axis.yaxis)
    axis.set_xlabel("seconds")
    axis.set_ylabel("requests")
