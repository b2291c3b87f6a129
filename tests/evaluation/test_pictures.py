"""Pictures are legible: in the dark, on a telephone, with nothing dropped that is off the scale."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from gnnrl.evaluation import over_slo, plots
from gnnrl.evaluation.canvas import Panel, Picture, _figure
from gnnrl.evaluation.document import Report
from gnnrl.evaluation.drawing import KINDS, draw_mesh
from gnnrl.evaluation.evaluated import Evaluation
from gnnrl.evaluation.learning import learning_curve, rises
from gnnrl.evaluation.page import page, swatch, training_facts
from gnnrl.evaluation.theme import DARK, themed
from tests.evaluation.made_up import CONFIG, SECONDS, evaluation

NARROW, MARGINS, SMALLEST = 420.0, 44.0, 9.0
"""Pixels: of a telephone, of what the page leaves around a picture there, and of the smallest letters."""


def contrast(one: str, other: str) -> float:
    """Ratio of two colours' luminances (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        shares = np.array([int(colour[k : k + 2], 16) / 255.0 for k in (1, 3, 5)])
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def compared() -> Evaluation:
    """`static` violates 50 % and has many replicas, `random` many replicas, `kpa` neither."""
    values = {
        "policy": ([0.005, 0.006], [50.0, 52.0]),
        "kpa": ([0.02, 0.03], [60.0, 61.0]),
        "static": ([0.5, 0.5], [400.0, 400.0]),
        "random": ([0.5, 0.7], [45.0, 49.0]),
    }
    rows = {
        name: {
            "violating_share": shares,
            "replica_seconds": [SECONDS * count for count in counts],
            "objective": [SECONDS * count for count in counts],
        }
        for name, (shares, counts) in values.items()
    }
    return evaluation(["diurnal"], rows)


def over_factors(compared: Evaluation) -> Picture:
    return over_slo.picture(replace(compared, over_slo={1.5: compared, 2.0: compared}), plots.colours(compared))


def test_points_off_the_scale_are_marked_at_its_edge_with_their_numbers(compared: Evaluation) -> None:
    figure = plots.frontiers(compared)._figure
    figure.canvas.draw()
    (axis,) = figure.axes
    marks = {line.get_gid(): line for line in axis.lines if str(line.get_gid()).startswith("beyond-")}
    assert set(marks) == {"beyond-static 50.0 %, 400", "beyond-random 60.0 %, 47"}
    assert {"static 50.0 %, 400", "random 60.0 %, 47"} == {text.get_text() for text in axis.texts}
    right_and_up, right = (marks[f"beyond-{text}"] for text in ("static 50.0 %, 400", "random 60.0 %, 47"))
    assert right_and_up.get_xydata().tolist() == [[0.98, 0.98]]
    x, y = right.get_xydata()[0]
    assert x == 0.98 and 0.02 < y < 0.98
    assert right.get_marker()[2] == pytest.approx(-90.0)  # a triangle that points up, turned to the right
    assert right_and_up.get_marker()[2] == pytest.approx(-45.0)
    # Who is on the scale stands where it is, and has no mark.
    low, high = axis.get_ylim()
    assert low < 50.0 and 61.0 < high < 100.0


def test_counts_have_whole_numbers_along_their_axes(compared: Evaluation) -> None:
    axis = plots.timelines(compared)._figure.axes[0]
    assert all(tick == int(tick) for tick in axis.get_yticks())
    curve = learning_curve([{"step": k, "train/reward": float(k)} for k in range(3)], {"train/reward": "reward"})
    assert curve is not None
    assert all(tick == int(tick) for tick in curve._figure.axes[0].get_xticks())


def test_letters_have_their_size_on_a_telephone(compared: Evaluation) -> None:
    pictures = [
        plots.timelines(compared),
        plots.frontiers(compared),
        plots.latencies(compared),
        plots.topology(compared),
        over_factors(compared),
    ]
    for picture in pictures:
        for panel in picture.html().split("<svg")[1:]:
            width = float(re.search(r'width="([\d.]+)pt"', panel)[1])  # type: ignore[index]
            sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", panel)]
            assert sizes and min(sizes) * (NARROW - MARGINS) / width >= SMALLEST


def test_every_colour_of_a_picture_has_one_for_the_dark(compared: Evaluation) -> None:
    drawn = "".join(
        picture.html()
        for picture in (
            plots.timelines(compared),
            plots.frontiers(compared),
            plots.latencies(compared),
            plots.topology(compared),
            over_factors(compared),
        )
    )
    assert re.findall(r"#[0-9a-f]{6}\b", re.sub(r"url\(#\w+\)|href=\"#\w+\"|id=\"\w+\"", "", drawn)) == []
    for panel in re.findall(r"<svg.*?</svg>", drawn, flags=re.DOTALL):
        ElementTree.fromstring(panel)


def test_rows_stand_out_from_the_paper_in_both_lights() -> None:
    for name, colour in plots.COLOURS.items():
        assert contrast(colour, "#ffffff") > 2.2, name
        assert contrast(DARK[colour], DARK["#ffffff"]) > 3.5, name
    for ink in ("#1f2937", "#4b5563"):
        assert contrast(ink, "#ffffff") > 4.5 and contrast(DARK[ink], DARK["#ffffff"]) > 4.5


def test_a_page_says_what_its_colours_are_in_the_dark() -> None:
    text = page("x", ["y"], swatch("#2563eb"))
    assert "color:var(--c2563eb)" in text
    light, dark = text.split("@media (prefers-color-scheme:dark)", 1)
    assert "--c2563eb:#2563eb" in light and f"--c2563eb:{DARK['#2563eb']}" in dark
    assert themed("fill: #2563eb; stroke: #12ab34") == "fill: var(--c2563eb); stroke: #12ab34"


def test_a_legend_shows_each_name_once() -> None:
    def draw(axis: object) -> None:
        axis.plot([0, 1], [0, 1], color="#2563eb", label="a < b")  # type: ignore[attr-defined]
        axis.plot([0, 1], [1, 0], "o", color="#ea580c", label="point")  # type: ignore[attr-defined]

    text = Picture([Panel(draw=draw), Panel(draw=draw)]).html()
    legend = text.split("</div>")[0]
    assert legend.count("<span>") == 2 and "a &lt; b" in legend
    assert "class='line' style='border-top:2px solid var(--c2563eb)'" in legend
    assert "class='dot' style='color:var(--cea580c)'" in legend
    assert text.count("<svg") == 2


def test_pictures_become_files_of_all_their_panels(compared: Evaluation, tmp_path: Path) -> None:
    report = Report(CONFIG, "compared", "streams", "")
    assert "<div class='panels'" in report.picture("frontiers", plots.frontiers(compared), "caption")
    (path,) = report.write_pictures(tmp_path)
    assert path.name == "frontiers.png" and path.stat().st_size > 5_000


def drawn(mesh: Mesh) -> Figure:
    figure = _figure(7.0, 6.0)
    draw_mesh(mesh, figure.subplots())
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_names_on_a_mesh_cover_neither_each_other_nor_the_calls(seed: int) -> None:
    mesh = random_mesh(12, seed=seed)
    figure = drawn(mesh)
    (axis,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axis.texts if isinstance(text, Annotation)}
    assert set(boxes) == set(mesh.names)
    names = list(boxes)
    for i, name in enumerate(names):
        for other in names[:i]:
            a, b = boxes[name], boxes[other]
            across, upright = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 2.0 or upright < 2.0, (name, other)
    lines = [axis.transData.transform_path(patch.get_path()) for patch in axis.patches]
    points = np.concatenate([line for path in lines for line in path.to_polygons(closed_only=False)])
    covered = sum(box.x0 < x < box.x1 and box.y0 < y < box.y1 for box in boxes.values() for x, y in points)
    assert covered <= 0.02 * len(points)
    # Names are above whatever they could not keep clear of.
    assert min(text.zorder for text in axis.texts) > max(patch.zorder for patch in axis.patches)


def test_a_mesh_says_what_its_colours_mean() -> None:
    figure = drawn(random_mesh(12, seed=0))
    handles, names = figure.axes[0].get_legend_handles_labels()
    assert {"requests enter here", "scaled"} <= set(names) <= set(KINDS)
    assert [handle.get_color() for handle in handles] == [KINDS[name] for name in names]


def test_a_curve_rises_where_it_does_and_not_where_it_only_shakes() -> None:
    rng, steps = np.random.default_rng(0), np.linspace(0.0, 1.0, 80)
    shaking = [rng.normal(size=80) for _ in range(200)]
    slow = [np.convolve(rng.normal(size=99), np.ones(20) / 20, mode="valid") for _ in range(200)]
    assert np.mean([rises(curve) for curve in shaking]) < 0.05
    assert np.mean([rises(curve) for curve in slow]) < 0.25
    assert np.mean([rises(4.0 * steps + curve) for curve in shaking]) > 0.7
    assert np.mean([rises(5.0 * (1.0 - np.exp(-6.0 * steps)) + curve) for curve in shaking]) > 0.9
    assert not any(rises(curve - 4.0 * steps) for curve in shaking)
    assert not rises(np.ones(30)) and rises(np.arange(5.0))


def test_a_flat_curve_has_no_point_after_which_it_improved_no_more() -> None:
    noise = np.random.default_rng(1).normal(size=60)
    flat = [{"step": 100.0 * k, "train/reward": float(value)} for k, value in enumerate(noise)]
    assert "of the improvement" not in training_facts(flat, 10)
    rising = [{**line, "train/reward": line["train/reward"] + 0.2 * k} for k, line in enumerate(flat)]
    assert "95 % of the improvement after" in training_facts(rising, 10)
