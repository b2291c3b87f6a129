"""Names beside the points of a scatter picture, so placed that they cover neither one another nor the points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Label", "label_points"]

FONT_POINTS = 8.0
WIDTH_SHARE = 0.56
"""Mean width of a letter, as a share of the font's size."""
DISTANCES = (9.0, 16.0, 26.0, 38.0, 52.0, 68.0)
"""Of a label from its point, in points of 1/72 inch."""
DIRECTIONS = 16
LEADER = 20.0
"""From this distance on, a line leads from the label to its point."""
POINT_RADIUS, LINE_RADIUS = 5.0, 1.0
OUTSIDE_COST, LEADER_COST = 100.0, 25.0
"""Of a label that reaches out of its axes by a point, and of one that needs a line. An area of a square point that is covered costs 1, and
so does a point's distance."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top; of labels in points of 1/72 inch."""


@dataclass(frozen=True)
class Label:
    """A name at a point, in the units of the axes."""

    text: str
    x: float
    y: float
    colour: str


def label_points(axis: Axes, labels: Sequence[Label], lines: Sequence[Box] = ()) -> None:
    """Write the labels, each at the nearest place where it covers least.

    Args:
        axis: its limits and scales must be set.
        labels: what to write, and where.
        lines: upright or level lines to keep clear of, from one corner of the box to the other, in the units of the axes.
    """
    figure = axis.figure
    figure.canvas.draw()
    points = axis.transData.transform([(label.x, label.y) for label in labels]) * 72.0 / figure.dpi
    left, bottom, right, top = (float(edge) * 72.0 / figure.dpi for edge in axis.bbox.extents)
    taken: list[Box] = [
        (x - POINT_RADIUS, y - POINT_RADIUS, x + POINT_RADIUS, y + POINT_RADIUS) for x, y in points.tolist()
    ]
    for line in lines:
        (x0, y0), (x1, y1) = (axis.transData.transform([line[:2], line[2:]]) * 72.0 / figure.dpi).tolist()
        taken.append((x0 - LINE_RADIUS, y0 - LINE_RADIUS, x1 + LINE_RADIUS, y1 + LINE_RADIUS))
    for label, (x, y) in zip(labels, points.tolist(), strict=True):
        width, height = WIDTH_SHARE * FONT_POINTS * len(label.text), 1.2 * FONT_POINTS

        def cost(place: tuple[float, float, Box]) -> float:
            dx, dy, box = place
            beyond = (left - box[0], box[2] - right, bottom - box[1], box[3] - top)
            covered = sum(_overlap(box, other) for other in taken)
            return (
                covered
                + OUTSIDE_COST * sum(max(0.0, by) for by in beyond)
                + math.hypot(dx, dy)
                + LEADER_COST * _far(dx, dy)
            )

        dx, dy, box = min(_places(x, y, width, height), key=cost)
        taken.append(box)
        axis.annotate(
            label.text,
            (label.x, label.y),
            xytext=(dx, dy),
            textcoords="offset points",
            ha="left" if dx > 1.0 else "right" if dx < -1.0 else "center",
            va="center",
            fontsize=FONT_POINTS,
            color=label.colour,
            bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0.0, "pad": 0.4},
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "linewidth": 0.6,
                "shrinkB": POINT_RADIUS,
                "relpos": (0.0 if dx > 1.0 else 1.0 if dx < -1.0 else 0.5, 0.5),
            }
            if _far(dx, dy)
            else None,
        )


def _far(dx: float, dy: float) -> bool:
    return math.hypot(dx, dy) > LEADER


def _places(x: float, y: float, width: float, height: float) -> Iterator[tuple[float, float, Box]]:
    """Offsets of a label from its point and the box it fills there, near ones first, to the right first."""
    for distance in DISTANCES:
        for k in range(DIRECTIONS):
            angle = math.pi * ((k + 1) // 2) * (-1) ** k * 2.0 / DIRECTIONS
            dx, dy = distance * math.cos(angle), distance * math.sin(angle)
            left = x + dx - (0.0 if dx > 1.0 else width if dx < -1.0 else width / 2.0)
            yield dx, dy, (left, y + dy - height / 2.0, left + width, y + dy + height / 2.0)


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
