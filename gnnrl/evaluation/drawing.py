"""A mesh drawn left to right by call depth: node area by CPU demand, edge width by traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.evaluation.labelling import Label, label_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import FancyArrowPatch

__all__ = ["draw_mesh", "layered_positions", "tallest_layer"]

Floats = NDArray[np.float64]

INK, EDGE = "#1f2937", "#64748b"
KINDS: Mapping[str, str] = {
    "requests enter here": "#f59e0b",
    "scaled": "#3b82f6",
    "stateful, never scaled": "#94a3b8",
}
"""What a service is -> its colour."""
LARGEST_NODE, SMALLEST_NODE = 1500.0, 120.0
WIDEST_EDGE, THINNEST_EDGE = 5.0, 0.6
MOST_LABELS = 60
ROOMY_LAYER = 8
"""Nodes that a layer holds at full size."""
SWEEPS = 8


def layered_positions(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """(depth, height) of each node: depth is the longest path from a root, a cycle counting as one node.

    Within a layer nodes are ordered by the mean height of their neighbours, swept to and fro (the barycentre heuristic
    of Sugiyama, Tagawa and Toda, 1981).
    """
    condensed = nx.condensation(graph)
    depth: dict[str, int] = {}
    for generation, components in enumerate(nx.topological_generations(condensed)):
        for component in components:
            for member in condensed.nodes[component]["members"]:
                depth[member] = generation
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph:
        layers[depth[node]].append(node)
    height = {node: _centred(place, len(layer)) for layer in layers for place, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        neighbours = graph.predecessors if sweep % 2 == 0 else graph.successors
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            pull = {node: [height[n] for n in neighbours(node) if n != node] or [height[node]] for node in layer}
            layer.sort(key=lambda node: (float(np.mean(pull[node])), node))
            height.update({node: _centred(place, len(layer)) for place, node in enumerate(layer)})
    return {node: (float(depth[node]), height[node]) for node in graph}


def draw_mesh(mesh: Mesh, ax: Axes, rates: Floats | None = None) -> None:
    """Draws the mesh into `ax`.

    Args:
        mesh: what to draw.
        ax: a matplotlib axes; its own axis lines are switched off. What the colours mean has labels for a legend.
        rates: [E] traffic of each call of `mesh.calls`; None = mean calls per external request.

    Raises:
        ValueError: `rates` does not match the calls.
    """
    traffic = mesh.arrays().mean_call_rates if rates is None else np.asarray(rates, dtype=np.float64)
    if traffic.shape != (len(mesh.calls),):
        raise ValueError(
            f"rates has shape {traffic.shape}, one rate for each of the {len(mesh.calls)} calls is expected"
        )
    positions = layered_positions(mesh.to_networkx())
    arrays = mesh.arrays()
    area = SMALLEST_NODE + (LARGEST_NODE - SMALLEST_NODE) * _share(arrays.mean_visits * arrays.cpu_ms)
    area /= max(1.0, tallest_layer(positions) / ROOMY_LAYER)
    radius = dict(zip(mesh.names, np.sqrt(area / np.pi), strict=True))  # points, as shrinkA and shrinkB are
    arrows = _draw_calls(mesh, ax, positions, radius, traffic)
    kinds = _kinds(mesh)
    points = np.array([positions[name] for name in mesh.names])
    colours = [KINDS[kinds[name]] for name in mesh.names]
    ax.scatter(points[:, 0], points[:, 1], s=area, c=colours, edgecolors="white", linewidths=1.2, zorder=2)
    for kind, colour in KINDS.items():
        if kind in kinds.values():
            ax.plot([], [], "o", color=colour, markersize=7, label=kind)
    ax.margins(0.12)
    ax.set_axis_off()
    if len(mesh.services) <= MOST_LABELS:
        figure = ax.figure
        figure.canvas.draw()
        inch = 72.0 / figure.dpi
        lines = [line * inch for arrow in arrows for line in _drawn(arrow, ax)]
        names = [Label(name, *positions[name], INK, float(radius[name])) for name in mesh.names]
        label_points(ax, names, paths=lines, zorder=3)


def _draw_calls(
    mesh: Mesh, ax: Axes, positions: Mapping[str, tuple[float, float]], radius: Mapping[str, float], traffic: Floats
) -> list[FancyArrowPatch]:
    """An arrow a call."""
    from matplotlib.patches import FancyArrowPatch

    arrows = []
    for call, share in zip(mesh.calls, _share(traffic).tolist(), strict=True):
        line = THINNEST_EDGE + (WIDEST_EDGE - THINNEST_EDGE) * share
        (x0, y0), (x1, y1) = positions[call.source], positions[call.target]
        outwards = 0.18 if y0 + y1 <= 0.0 else -0.18
        arrow = FancyArrowPatch(
            positions[call.source],
            positions[call.target],
            arrowstyle=f"-|>,head_length={3 + line},head_width={1.5 + line / 2}",
            # An edge that skips layers, or goes back, bends around the nodes that stand between.
            connectionstyle=f"arc3,rad={0.0 if x1 - x0 == 1 else outwards}",
            shrinkA=radius[call.source],
            shrinkB=radius[call.target],
            linewidth=line,
            color=EDGE,
            alpha=0.55,
            zorder=1,
        )
        ax.add_patch(arrow)
        arrows.append(arrow)
    return arrows


def _drawn(arrow: FancyArrowPatch, ax: Axes) -> list[Floats]:
    """The lines of an arrow, each points [k, 2] in pixels."""
    path = ax.transData.transform_path(arrow.get_path())
    lines = [np.asarray(line, dtype=np.float64) for line in path.to_polygons(closed_only=False)]
    return [line for line in lines if len(line) > 1]


def _kinds(mesh: Mesh) -> dict[str, str]:
    """What each service is, by name."""
    enter, scaled, stateful = KINDS
    roots = {request.root for request in mesh.classes}
    return {s.name: enter if s.name in roots else stateful if s.stateful else scaled for s in mesh.services}


def tallest_layer(positions: Mapping[str, tuple[float, float]]) -> int:
    """Nodes of the layer that has most."""
    return max(Counter(depth for depth, _ in positions.values()).values())


def _centred(place: int, count: int) -> float:
    return (count - 1) / 2.0 - place


def _share(values: Floats) -> Floats:
    """Values as shares of the largest, so that areas and widths are in proportion; all 0 where nothing flows."""
    largest = float(values.max(initial=0.0))
    return values / largest if largest > 0 else np.zeros_like(values)
