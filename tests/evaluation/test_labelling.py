"""Names beside points cover neither one another nor the points, where there is room."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text

from gnnrl.evaluation.canvas import _figure
from gnnrl.evaluation.labelling import Label, label_points


@pytest.mark.parametrize("together", [False, True])
def test_labels_do_not_cover_one_another(together: bool) -> None:
    """Points far apart, or twelve in a cluster, where labels that all stood to the right would be on top of one another."""
    rng = np.random.default_rng(0)
    spread = 0.01 if together else 0.4
    labels = [Label(f"router_{i}", *(0.5 + spread * rng.uniform(-1, 1, 2)).tolist(), "#000000") for i in range(12)]
    figure = _figure(8.0, 6.0)
    axis = figure.subplots()
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    label_points(axis, labels)
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert [text.get_text() for text in axis.texts] == [label.text for label in labels]
    covered = [
        (a, b)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1.5
    ]
    assert len(boxes) == 12 and not covered
    frame = axis.bbox
    assert all(box.x0 >= frame.x0 - 2 and box.x1 <= frame.x1 + 2 for box in boxes)
