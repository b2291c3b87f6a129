"""Names beside the points of a picture, so placed that they cover neither one another nor points nor lines; and points that are off the
scale, marked at its edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Label", "label_points", "mark_beyond"]

Floats = NDArray[np.float64]

FONT_POINTS = 9.0
WIDTH_SHARE = 0.56
"""Mean width of a letter, as a share of the font's size."""
DISTANCES = (4.0, 11.0, 21.0, 33.0, 47.0, 63.0)
"""Of a label from the rim of its point, in points of 1/72 inch."""
DIRECTIONS = 16
LEADER = 15.0
"""From this distance on, a line leads from the label to its point."""
POINT_RADIUS, LINE_RADIUS = 5.0, 1.0
SPACING = 5.0
"""Between two looks along a line that is neither upright nor level."""
COVER_COST, OUTSIDE_COST, LEADER_COST = 4.0, 100.0, 25.0
"""Of an area of a square point that is covered, of a label that reaches out of its axes by a point, and of one that needs a line. A point's
distance costs 1."""
EDGE = 0.02
"""Share of the axes by which a mark stands inside of their edge."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Label:
    """A name at a point, in the units of the axes."""

    text: str
    x: float
    y: float
    colour: str
    radius: float = POINT_RADIUS
    """Of the point, in points of 1/72 inch."""


def label_points(
    axis: Axes, labels: Sequence[Label], lines: Sequence[Box] = (), paths: Sequence[Floats] = (), **style: Any
) -> None:
    """Write the labels, each at the nearest place where it covers least.

    Args:
        axis: its limits and scales must be set.
        labels: what to write, and where.
        lines: upright or level lines to keep clear of, from one corner of the box to the other, in the units of the axes.
        paths: other lines to keep clear of, each points [k, 2] in points of 1/72 inch from the figure's corner.
        style: of the text, beyond size and colour.
    """
    if not labels:
        return
    figure = axis.figure
    figure.canvas.draw()
    inch = 72.0 / figure.dpi
    points = axis.transData.transform([(label.x, label.y) for label in labels]) * inch
    frame = np.array(axis.bbox.extents) * inch
    radii = np.array([label.radius for label in labels])[:, None]
    taken = [np.hstack([points - radii, points + radii])]
    for line in lines:
        corners = axis.transData.transform([line[:2], line[2:]]) * inch
        taken.append(np.hstack([corners.min(axis=0) - LINE_RADIUS, corners.max(axis=0) + LINE_RADIUS])[None])
    taken += [_boxes_along(path) for path in paths]
    covered = np.concatenate(taken)
    for label, (x, y) in zip(labels, points.tolist(), strict=True):
        width, height = WIDTH_SHARE * FONT_POINTS * len(label.text), 1.2 * FONT_POINTS
        offsets, boxes = _places(x, y, width, height, label.radius)
        distance = np.hypot(*offsets.T)
        far = distance > LEADER + label.radius
        beyond = np.maximum(0.0, np.hstack([frame[:2] - boxes[:, :2], boxes[:, 2:] - frame[2:]])).sum(axis=1)
        cost = COVER_COST * _overlap(boxes, covered) + OUTSIDE_COST * beyond + distance + LEADER_COST * far
        place = int(cost.argmin())
        covered = np.concatenate([covered, boxes[place : place + 1]])
        dx, dy = offsets[place].tolist()
        _write(axis, label, dx, dy, bool(far[place]), style)


def _write(axis: Axes, label: Label, dx: float, dy: float, far: bool, style: dict[str, Any]) -> None:
    side = "left" if dx > 1.0 else "right" if dx < -1.0 else "center"
    leader = {
        "arrowstyle": "-",
        "color": label.colour,
        "linewidth": 0.6,
        "shrinkB": label.radius,
        "relpos": ({"left": 0.0, "right": 1.0, "center": 0.5}[side], 0.5),
    }
    axis.annotate(
        label.text,
        (label.x, label.y),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=FONT_POINTS,
        color=label.colour,
        bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0.0, "pad": 0.4},
        arrowprops=leader if far else None,
        **style,
    )


def mark_beyond(axis: Axes, labels: Sequence[Label]) -> list[Label]:
    """Draw an arrow at the edge for each point that is off the scale; returns the labels, those moved to the edge.

    Args:
        axis: its limits and scales must be set.
        labels: of points; the text of one that is off the scale should say where it is.
    """
    found = []
    for label in labels:
        place = axis.transAxes.inverted().transform(axis.transData.transform((label.x, label.y)))
        inside = np.clip(place, EDGE, 1.0 - EDGE)
        out = np.where((place < 0.0) | (place > 1.0), np.sign(place - inside), 0.0)
        if not out.any():
            found.append(label)
            continue
        towards = math.degrees(math.atan2(out[1], out[0]))
        axis.plot(
            *inside,
            marker=(3, 0, towards - 90.0),
            markersize=9.0,
            color=label.colour,
            transform=axis.transAxes,
            clip_on=False,
            zorder=5,
            gid=f"beyond-{label.text}",
        )
        x, y = axis.transData.inverted().transform(axis.transAxes.transform(inside))
        found.append(replace(label, x=float(x), y=float(y)))
    return found


def _boxes_along(path: Floats) -> Floats:
    """Small boxes [k, 4] along a line of points [n, 2]."""
    steps = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    looks = np.linspace(0.0, along[-1], max(2, int(along[-1] / SPACING)))
    at = np.column_stack([np.interp(looks, along, path[:, 0]), np.interp(looks, along, path[:, 1])])
    return np.hstack([at - 1.5 * LINE_RADIUS, at + 1.5 * LINE_RADIUS])


def _places(x: float, y: float, width: float, height: float, radius: float) -> tuple[Floats, Floats]:
    """Offsets [P, 2] of a label from its point and the boxes [P, 4] it fills there, near ones first, to the right first."""
    offsets, boxes = [], []
    for distance in DISTANCES:
        for k in range(DIRECTIONS):
            angle = math.pi * ((k + 1) // 2) * (-1) ** k * 2.0 / DIRECTIONS
            dx, dy = (radius + distance) * math.cos(angle), (radius + distance) * math.sin(angle)
            left = x + dx - (0.0 if dx > 1.0 else width if dx < -1.0 else width / 2.0)
            offsets.append((dx, dy))
            boxes.append((left, y + dy - height / 2.0, left + width, y + dy + height / 2.0))
    return np.array(offsets), np.array(boxes)


def _overlap(places: Floats, taken: Floats) -> Floats:
    """Area [P] that each place [P, 4] shares with the boxes [M, 4]."""
    a, b = places[:, None], taken[None]
    across = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    upright = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return (np.maximum(across, 0.0) * np.maximum(upright, 0.0)).sum(axis=1)
