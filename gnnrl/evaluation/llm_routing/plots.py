"""Pictures of an LLM-routing comparison: the frontier of two tails, latency distributions, load of the replicas over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.model import Change
from gnnrl.evaluation.canvas import ACCENT, INK, REPLICA_COLOURS, Panel, Picture, count_ticks, palette
from gnnrl.evaluation.contenders import POLICY
from gnnrl.evaluation.labelling import Label, label_points, mark_beyond
from gnnrl.evaluation.llm_routing.comparison import REFERENCE, LLMSystem
from gnnrl.evaluation.llm_routing.load_trace import LoadTrace
from gnnrl.evaluation.llm_routing.play import LATENCY_EDGES_S, LLMPlayback

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

__all__ = ["LEARNED", "colours", "frontiers", "latencies", "loads"]

COLOURS: Mapping[str, str] = {
    POLICY: ACCENT,
    REFERENCE: "#111827",
    "random": "#c4807e",
    "round_robin": "#a8a29e",
    "weighted_round_robin": "#78716c",
    "vidur_lor": "#92400e",
    "jsq": "#b45309",
    "power_of_two": "#a16207",
    "least_pending_prefill": "#ea580c",
    "speed_weighted_outstanding": "#65a30d",
    "speed_weighted_prefill": "#15803d",
    "multiplicative": "#d97706",
    "paced_multiplicative": "#be185d",
    "known_length_greedy": "#b91c1c",
}
LEARNED: Mapping[str, str] = {
    "train/reward": "reward a choice",
    "eval/ttft_p99_s": "TTFT p99, s (validation)",
    "eval/e2e_mean_s": "e2e mean, s (validation)",
    "eval/e2e_p99_s": "e2e p99, s (validation)",
    "train/entropy": "entropy",
    "train/explained_variance": "explained variance",
}
"""Scalars of the learning curve, and what each is called."""
DISTRIBUTED = (
    REFERENCE,
    "round_robin",
    "least_pending_prefill",
    "speed_weighted_outstanding",
    "speed_weighted_prefill",
    "multiplicative",
    "paced_multiplicative",
)
"""Routers whose latency distributions are drawn beside the policies'."""
TAILS = ("ttft_p99_s", "e2e_p99_s")
FARTHEST = 4.0
"""Times the reference's tail; who is beyond is marked at the edge or drawn up to there, or the others would be squeezed together."""
FEW_TICKS, MANY_DECADES = 5.0, 500.0
"""Last over first number of an axis, below which 1, 2 and 5 are too few to mark, and above which they are too many."""
MOST_DISTRIBUTED_POLICIES, MOST_LOADS = 4, 2
RARE = 1e-3
"""Distributions are drawn up to the slowest request in so many."""
BEFORE_SECONDS, AFTER_SECONDS, LONGEST_SECONDS = 60.0, 120.0, 600.0
"""What is drawn of a stream: from before its first change to after its last one, or as much after its beginning, and no more than that."""
MOST_LOOKS = 500
"""Of the load, that are drawn."""
MOST_SAID = 8
"""Changes that are named; more would be on top of one another."""
SAID: Mapping[str, tuple[str, str]] = {
    "fail": ("fails", "fail"),
    "join": ("joins", "join"),
    "leave": ("leaves", "leave"),
}
"""Kind of change -> what one replica does, and what several do."""


def colours(system: LLMSystem) -> dict[str, str]:
    """Of each row, the same in every picture and table."""
    return palette(system.rows, COLOURS)


def frontiers(systems: Sequence[LLMSystem]) -> Picture:
    """TTFT p99 against e2e p99, a panel a system: everybody as a point with its intervals, better than the reference in both shaded; who
    is far beyond the reference as an arrow at the edge, with its numbers."""
    return Picture([Panel(draw=partial(_frontier, system), height=4.6) for system in systems])


def _frontier(system: LLMSystem, axis: Axes) -> None:
    shades = colours(system)
    labels: list[Label] = []
    lines: list[tuple[float, float, float, float]] = []
    beyond: list[Label] = []
    corner = [system.mean(REFERENCE, metric).mean for metric in TAILS] if system.reference else [np.inf, np.inf]
    for name in system.playbacks:
        x, y = (system.mean(name, metric) for metric in TAILS)
        if x.mean > FARTHEST * corner[0] or y.mean > FARTHEST * corner[1]:
            beyond.append(Label(f"{name} {x.mean:.3g} / {y.mean:.3g}", x.mean, y.mean, shades[name]))
            continue
        axis.errorbar(
            x.mean,
            y.mean,
            xerr=[[max(x.mean - x.low, 0.0)], [max(x.high - x.mean, 0.0)]],
            yerr=[[max(y.mean - y.low, 0.0)], [max(y.high - y.mean, 0.0)]],
            color=shades[name],
            elinewidth=0.8,
            zorder=4 if name == POLICY else 3,
            gid=f"frontier-{system.name}-{name}",
            **_marker(name),
        )
        labels.append(Label(name, x.mean, y.mean, shades[name]))
        lines += [(x.low, y.mean, x.high, y.mean), (x.mean, y.low, x.mean, y.high)]
    axis.margins(x=0.22, y=0.22 if beyond else 0.12)
    axis.set_xscale("log")
    axis.set_yscale("log")
    (x_low, x_high), (y_low, y_high) = axis.get_xlim(), axis.get_ylim()
    _plain_ticks(axis.xaxis)
    _plain_ticks(axis.yaxis)
    if system.reference:
        better = Rectangle((x_low, y_low), corner[0] - x_low, corner[1] - y_low, color="#dcfce7", linewidth=0, zorder=0)
        axis.add_patch(better)
    axis.set_xlim(x_low, x_high)
    axis.set_ylim(y_low, y_high)
    axis.set_title(system.name)
    axis.set_xlabel("TTFT p99, s")
    axis.set_ylabel("e2e p99, s")
    label_points(axis, [*labels, *mark_beyond(axis, beyond)], lines)


def _plain_ticks(side: XAxis | YAxis) -> None:
    """Plain numbers along a logarithmic axis whose limits are set, few enough to be read and more than one."""
    low, high = side.get_view_interval()
    few = high / low > MANY_DECADES
    locator = LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)) if high / low > FEW_TICKS else MaxNLocator(6)
    side.set_major_locator(locator)
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())


def _marker(name: str) -> dict[str, Any]:
    """Trained policies are stars, routers dots, hollow where they are told what others must infer."""
    router = ROUTERS.get(name)
    if router is None:
        return {"fmt": "*", "markersize": 15 if name == POLICY else 11, "markeredgecolor": "white"}
    if router.told_speeds or router.told_lengths:
        return {"fmt": "o", "markersize": 6.5, "markerfacecolor": "white"}
    return {"fmt": "D" if name == REFERENCE else "o", "markersize": 6.5, "markeredgecolor": "white"}


def latencies(systems: Sequence[LLMSystem]) -> Picture:
    """Share of the requests slower than a time to first token, and than a latency; a row of panels a system."""
    return Picture([Panel(draw=partial(_latency, system, what)) for system in systems for what in ("TTFT", "e2e")])


def _latency(system: LLMSystem, what: str, axis: Axes) -> None:
    shades = colours(system)
    policies = [name for name in system.playbacks if name not in ROUTERS][:MOST_DISTRIBUTED_POLICIES]
    shown = [*policies, *(name for name in DISTRIBUTED if name in system.playbacks)] or [*system.playbacks][:5]
    slowest, fastest, known = 0.0, np.inf, np.inf
    for name in reversed(shown):
        counts = _counts(system.playbacks[name], what)
        slower = 1.0 - np.cumsum(counts) / counts.sum()
        style: dict[str, Any] = {"linestyle": (0, (3, 1.5))} if name == REFERENCE else {}
        width = 2.2 if name == POLICY else 1.7 if name in policies else 1.2
        axis.plot(LATENCY_EDGES_S[1:], slower, color=shades[name], linewidth=width, label=name, **style)
        last = float(LATENCY_EDGES_S[1:][slower >= RARE][-1])
        slowest, known = max(slowest, last), last if name == REFERENCE else known
        fastest = min(fastest, float(LATENCY_EDGES_S[1:][slower >= 0.98][-1]))
    axis.axhline(0.01, color="#f87171", linewidth=0.8, linestyle=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(fastest, 1.2 * min(slowest, FARTHEST * known))
    _plain_ticks(axis.xaxis)
    axis.set_ylim(RARE, 1.05)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axis.set_title(f"{system.name}: {what}")
    axis.set_xlabel("seconds")
    axis.set_ylabel("slower requests")


def _counts(playback: LLMPlayback, what: str) -> Any:
    return playback.ttft_counts if what == "TTFT" else playback.e2e_counts


def loads(system: LLMSystem) -> Picture:
    """Requests outstanding at each replica over time in the first stream, the policy above the reference, with what happens to replicas."""
    names = [name for name in (POLICY, REFERENCE) if name in system.playbacks]
    names = (names or list(system.playbacks))[:MOST_LOADS]
    traces = [system.playbacks[name].load for name in names]
    begin, end = _window(traces[0])
    seen = [np.flatnonzero((trace.seconds >= begin) & (trace.seconds <= end)) for trace in traces]
    seen = [rows[:: -(-len(rows) // MOST_LOOKS)] for rows in seen]
    ever = np.any([(trace.outstanding[rows] > 0).any(axis=0) for trace, rows in zip(traces, seen, strict=True)], axis=0)
    top = max(np.nanmax(trace.outstanding[rows], initial=1.0) for trace, rows in zip(traces, seen, strict=True))

    def draw(place: int, axis: Axes) -> None:
        trace, shown = traces[place], seen[place]
        for r in np.flatnonzero(ever).tolist():
            factor = trace.time_factor[0, r]
            axis.step(
                trace.seconds[shown],
                trace.outstanding[shown, r],
                where="post",
                color=REPLICA_COLOURS[r % len(REPLICA_COLOURS)],
                linestyle="-" if r < len(REPLICA_COLOURS) else (0, (3, 1)),
                linewidth=1.0,
                label=f"replica {r}, time x {factor:.3g}",
            )
        axis.set_title(f"{system.name}: {names[place]}")
        axis.set_ylim(0, 1.15 * top)
        count_ticks(axis.yaxis)
        axis.set_xlim(begin, end)
        axis.set_xlabel("seconds")
        axis.set_ylabel("outstanding requests")
        _mark_changes(axis, [change for change in traces[0].changes if begin <= change.at_seconds <= end], place == 0)

    panels = [Panel(draw=partial(draw, place), width=5.4, height=2.5) for place in range(len(names))]
    return Picture(panels, columns=1)


def _mark_changes(axis: Axes, changes: Sequence[Change], named: bool) -> None:
    """A line at each change of a replica, and where asked what happens."""
    for change in changes:
        axis.axvline(change.at_seconds, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    said = _said(changes)
    for (at, _), text in said.items() if named and len(said) <= MOST_SAID else ():
        axis.annotate(
            text,
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color=INK,
        )


def _window(trace: LoadTrace) -> tuple[float, float]:
    """Seconds from which and to which a stream is drawn."""
    last = float(trace.seconds[-1])
    if not trace.changes:
        return 0.0, min(2.0 * AFTER_SECONDS, last)
    begin = max(trace.changes[0].at_seconds - BEFORE_SECONDS, 0.0)
    return begin, min(trace.changes[-1].at_seconds + AFTER_SECONDS, begin + LONGEST_SECONDS, last)


def _said(changes: Sequence[Change]) -> dict[tuple[float, str], str]:
    """What happens in words, by its time and kind: several replicas may do the same at once."""
    together: dict[tuple[float, str], list[Change]] = {}
    for change in changes:
        together.setdefault((change.at_seconds, change.kind), []).append(change)
    found = {}
    for (at, kind), same in together.items():
        who = ", ".join(str(change.replica) for change in same)
        does = SAID[kind][len(same) > 1] if kind in SAID else f"time x {same[0].time_factor:.3g}"
        found[at, kind] = f"replica{'s' if len(same) > 1 else ''} {who} {does}"
    return found
