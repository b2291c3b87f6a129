"""The report of an LLM-routing comparison: what it says is what was measured."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from gnnrl.config.experiment import PPOConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingEvaluation, LLMRoutingExperiment
from gnnrl.domains.llm_routing.model import Change
from gnnrl.domains.llm_routing.teachers import taught
from gnnrl.evaluation.contenders import POLICY, Contender
from gnnrl.evaluation.llm_routing import plots, report
from gnnrl.evaluation.llm_routing.comparison import REFERENCE, LLMRoutingEvaluated, compare
from gnnrl.evaluation.llm_routing.play import LATENCY_EDGES_S

AGAINST = ("random", "round_robin", "least_outstanding", "speed_weighted_outstanding")


class ByRule:
    """A policy that decides as a teacher does."""

    def act(self, obs: Any, state: Any = None, *_: Any, **__: Any) -> tuple[np.ndarray[Any, Any], Any]:
        return taught("speed_weighted_outstanding", obs), state


@pytest.fixture(scope="module")
def compared() -> LLMRoutingEvaluated:
    config = LLMRoutingExperiment(
        name="speeds <hidden>",
        ppo=PPOConfig(credit="graph"),
        environment=LLMRoutingConfig(),
        evaluation=LLMRoutingEvaluation(seeds=3, requests=1500, scenarios=("B", "elastic"), against=AGAINST),
    )
    beside = [Contender(name="seed 1", policy=ByRule(), config=replace(config, seed=1))]
    return compare(config, ByRule(), beside=beside, label="by rule")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    lines = [{"step": step, "train/reward": -1.0 / step, "eval/e2e_mean_s": 8.0} for step in (10, 20, 30)]
    (folder / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def page(compared: LLMRoutingEvaluated, run: Path) -> str:
    return report.compose(compared, run).html()


def test_it_is_whole_and_well_formed(page: str, compared: LLMRoutingEvaluated) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Side by side", "Figures to reach", "Frontier of the two tails", "Latency", "Load over time", "Where requests go",
        "Learning", "Small print",
    ]  # fmt: skip
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert page.count("<figure>") == 5
    # Two cases, two panels of latency and two of load each, and two curves.
    assert len(drawn) == 2 + 4 + 2 + 2 + 2
    for svg in drawn:
        ElementTree.fromstring(svg)
    # Without the pictures the page is XML but for its document type and void elements.
    plain = re.sub(r"<svg.*?</svg>|<!doctype html>|<meta[^>]*>", "", page, flags=re.DOTALL)
    ElementTree.fromstring(plain)
    assert html.escape(compared.config.name) in plain and "<hidden>" not in plain
    addresses = set(re.findall(r"https?://[^/\"']+", page))
    assert addresses <= {"http://www.w3.org", "http://purl.org", "http://creativecommons.org"}
    assert len(page) < 3_000_000


def cells(page: str) -> list[list[str]]:
    """Text of every cell, a list a table row, small print of a cell in brackets as it stands."""
    rows = re.findall(r"<tr(?: class='\w+')?>(.*?)</tr>", page)
    return [
        [html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in rows
    ]


def test_numbers_in_the_tables_are_those_of_the_json(page: str, compared: LLMRoutingEvaluated) -> None:
    rows = [row for row in cells(page.partition("<h2>Figures to reach")[0]) if row]
    document = compared.to_json()
    taken = 0
    for system in compared.systems:
        found = document["systems"][system.name]
        for part, names in (("routers", system.rows), ("change", [row for row in system.rows if row != REFERENCE])):
            values = found["routers"] if part == "routers" else found["change"][REFERENCE]
            for name in names:
                row, taken = rows[taken], taken + 1
                assert row[0] == name
                for (metric, (_, scale, digits)), text in zip(report.SHOWN.items(), row[1:], strict=True):
                    value = values[name][metric]
                    scale, digits = (scale, digits) if part == "routers" else (100.0, 1)
                    stated = [value["mean"], *value["ci95"]]
                    expected = "{} [{}, {}]".format(*(f"{scale * number:,.{digits}f}" for number in stated))
                    assert text == expected
    assert taken == len(rows)


def test_figures_are_there_as_measured(page: str, compared: LLMRoutingEvaluated) -> None:
    rows = cells(page.partition("<h2>Figures to reach")[2].partition("</section>")[0])
    for figure in compared.figures():
        assert [figure.claim, figure.target, figure.measured, "reached" if figure.reached else "missed"] in rows
    claims = [figure.claim for figure in compared.figures()]
    assert sum("stretch" in claim for claim in claims) == 6  # of the policy, and of the two runs together


def test_points_of_the_frontier_are_the_metrics(compared: LLMRoutingEvaluated) -> None:
    """Every one of them; who is far beyond the reference is an arrow at the edge, with its numbers."""
    figure = plots.frontiers(compared.systems)._figure
    for system, axis in zip(compared.systems, figure.axes, strict=True):
        points = {line.get_gid(): line for line in axis.lines if line.get_gid()}
        written = "\n".join(text.get_text() for text in axis.texts)
        limit = [plots.FARTHEST * system.mean(REFERENCE, metric).mean for metric in plots.TAILS]
        for name in system.playbacks:
            x, y = (system.mean(name, metric) for metric in plots.TAILS)
            point = points.pop(f"frontier-{system.name}-{name}", None)
            if x.mean > limit[0] or y.mean > limit[1]:
                assert point is None
                assert f"{name} {x.mean:.3g} / {y.mean:.3g}" in written
                mark = points.pop(f"beyond-{name} {x.mean:.3g} / {y.mean:.3g}")
                assert max(mark.get_xydata()[0]) == 0.98  # of the axes
                continue
            assert point is not None and name in written
            assert (point.get_xdata()[0], point.get_ydata()[0]) == (x.mean, y.mean)
        assert not points
    beyond = {
        a.get_title("left"): [str(line.get_gid()) for line in a.lines if "beyond" in str(line.get_gid())]
        for a in figure.axes
    }
    assert any("random" in mark for mark in beyond["B"])
    assert beyond["elastic"] == []


def test_distributions_are_those_of_the_requests(compared: LLMRoutingEvaluated) -> None:
    axes = plots.latencies(compared.systems)._figure.axes
    system = compared.systems[0]
    ttft = {line.get_label(): line for line in axes[0].lines}
    assert {"policy", "seed 1", "round_robin", REFERENCE} <= set(ttft)
    seconds, slower = (np.asarray(data) for data in ttft[REFERENCE].get_data())
    assert np.array_equal(seconds, LATENCY_EDGES_S[1:])
    where = int(np.argmin(np.abs(slower - 0.01)))
    assert seconds[where] == pytest.approx(system.mean(REFERENCE, "ttft_p99_s").mean, rel=0.1)


def test_the_load_marks_what_happens_to_replicas(page: str, compared: LLMRoutingEvaluated) -> None:
    load = page.partition("<h2>Load over time")[2].partition("</section>")[0]
    assert "replica 1 fails" in load and "replica 4 joins" in load
    assert load.count("fails<") == 1  # of the case in which one does
    assert "replica 2, time x 2" in load
    shares = cells(page.partition("<h2>Where requests go")[2].partition("</section>")[0])
    third = next(row for row in shares if row and row[0] == "replica 2")
    share = {name: float(text) for name, text in zip(compared.systems[0].playbacks, third[3:], strict=True)}
    assert third[1:3] == ["2.00", "100"]
    assert share["round_robin"] == pytest.approx(25.0, abs=0.1)
    assert share[POLICY] < share[REFERENCE] < 25.0
    gone = [row for row in shares if row and row[0] == "replica 1"][1]
    assert 30.0 < float(gone[2]) < 50.0


def test_what_happens_at_once_is_said_at_once() -> None:
    changes = [
        Change(at_seconds=1.0, kind="fail", replica=1),
        Change(at_seconds=1.0, kind="fail", replica=6),
        Change(at_seconds=2.0, kind="join", replica=4),
        Change(at_seconds=3.0, kind="slow", replica=0, time_factor=2.5),
    ]
    assert list(plots._said(changes).values()) == ["replicas 1, 6 fail", "replica 4 joins", "replica 0 time x 2.5"]


def test_pictures_become_files(compared: LLMRoutingEvaluated, run: Path, tmp_path: Path) -> None:
    composed = report.compose(compared, run)
    composed.write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == composed.html()
    paths = composed.write_pictures(tmp_path / "new" / "pictures")
    assert [path.name for path in paths] == [
        "frontier.png", "latency.png", "load_B.png", "load_elastic.png", "learning.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in paths)


def test_routers_alone_have_a_report_too(compared: LLMRoutingEvaluated) -> None:
    config = compared.config
    alone = LLMRoutingExperiment(
        name="routers",
        ppo=config.ppo,
        environment=LLMRoutingConfig(scenarios=()),
        evaluation=LLMRoutingEvaluation(seeds=2, requests=200, against=("random", "jsq")),
    )
    text = report.compose(compare(alone)).html()
    assert "<h3>as configured " in text
    assert "Figures to reach" not in text and "Learning" not in text and "change against" not in text
