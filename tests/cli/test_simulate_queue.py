"""`gnnrl simulate queue`: figures, files, progress, and what it says to mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from gnnrl.cli import request_progress, simulate_queue
from gnnrl.cli.main import main

BASE = ["--arrivals", "A=6,B=6", "--rates", "A=10,B=5", "--rates", "A=5,B=10"]


def simulated(tmp_path: Path, *arguments: str) -> dict[str, object]:
    path = tmp_path / "out" / "figures.json"
    assert main(["simulate", "queue", *arguments, "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert isinstance(figures, dict)
    return figures


def without_speed(figures: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in figures.items() if name != "requests_per_wall_second"}


def test_the_figures_are_those_of_the_router(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = simulated(tmp_path, "--router", "affinity", "--requests", "1000000", "--seed", "3")
    assert figures["mean_latency_s"] == pytest.approx(0.25, rel=0.01)
    assert figures["p99_latency_s"] == pytest.approx(1.1513, rel=0.02)
    assert figures["routing_accuracy"] == 1.0
    assert figures["mean_in_system"] == pytest.approx(3.0, rel=0.01)
    assert float(str(figures["requests_per_wall_second"])) > 0
    shown = capsys.readouterr()
    assert f"{figures['p99_latency_s']:.4g}" in shown.out
    assert "warning" not in shown.out


@pytest.mark.parametrize("what", [["queue"], ["llm", "--replicas", "2", "--qps", "4"]])
def test_a_dash_prints_the_figures_and_nothing_else(
    what: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *what, "--router", "random", "--requests", "200", "--json", "-"]) == 0
    assert "requests_per_wall_second" in json.loads(capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_figures_and_the_model_may_come_from_three_places(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text("arrivals: {A: 6, B: 6}\nreplicas:\n  x: {A: 10, B: 5}\n  y: {A: 5, B: 10}\n")
    common = ("--router", "jsq", "--requests", "5000")
    base = without_speed(simulated(tmp_path, *common))
    assert without_speed(simulated(tmp_path, *common, *BASE)) == base
    assert without_speed(simulated(tmp_path, *common, "--config", str(path))) == base
    assert without_speed(simulated(tmp_path, *common, "--seed", "1")) != base


def test_every_request_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "new" / "requests.csv"
    figures = simulated(tmp_path, "--router", "sed", "--requests", "3000", "--requests-csv", str(path))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["request_id"]) for row in rows] == list(range(3000))
    latencies = [float(row["latency_s"]) for row in rows]
    assert sum(latencies) / 3000 == pytest.approx(figures["mean_latency_s"], rel=1e-9)
    assert all(
        float(row["completed_at"]) - float(row["arrived_at"]) == pytest.approx(latency)
        for row, latency in zip(rows, latencies, strict=True)
    )
    fast = sum((row["type"], row["replica"]) in (("A", "replica_0"), ("B", "replica_1")) for row in rows)
    assert fast / 3000 == pytest.approx(figures["routing_accuracy"])


def test_overload_is_simulated_and_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = simulated(tmp_path, "--router", "jsq", "--requests", "9000", "--arrivals", "A=30", "--rates", "A=10")
    assert figures["load_at_best"] == pytest.approx(3.0)
    assert figures["in_system_at_the_end"] == pytest.approx(6000, rel=0.05)
    (warning,) = figures["warnings"]  # type: ignore[misc]
    assert "under any router the queues grow without end" in warning
    assert f"warning: {warning}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--router", "randm"], "--router: 'randm' is not a router; there are random, round_robin"),
        (["--router", "jsq", "--requests", "0"], "--requests: 0 is not at least 1"),
        (["--router", "jsq", "--seed", "-1"], "--seed: -1 is not at least 0"),
        (["--router", "jsq", "--arrivals", "A=1"], "--arrivals and --rates go together"),
        (["--router", "jsq", "--rates", "A=1"], "--arrivals and --rates go together"),
        (["--router", "jsq", "--config", "x.yaml", *BASE], "--config: the file has the rates"),
        (["--router", "jsq", "--config", "none.yaml"], "none.yaml: cannot be read: No such file"),
        (["--router", "jsq", "--arrivals", "A", "--rates", "A=1"], "--arrivals A: 'A' is no assignment"),
        (["--router", "jsq", "--arrivals", "A=x", "--rates", "A=1"], "--arrivals A=x: 'A=x' is no assignment"),
        (["--router", "jsq", "--arrivals", "A=1,A=2", "--rates", "A=1"], "type 'A' appears twice"),
        (["--router", "jsq", "--arrivals", "A=1", "--rates", "A=nan"], "for type 'A': nan is not a positive number"),
        (["--router", "jsq", "--arrivals", "A=0", "--rates", "A=1"], "arrival rate of type 'A': 0.0 is not a positive"),
        (["--router", "jsq", "--requests-parquet", "x.parquet"], "x.parquet: Parquet needs pyarrow"),
    ],
)  # fmt: skip
def test_mistakes_are_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnnrl.column_files.find_spec", lambda _: None)
    assert main(["simulate", "queue", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_all_problems_of_a_model_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    rates = ["--arrivals", "A=0,B=1", "--rates", "A=1", "--rates", "A=-1,B=1,C=1"]
    assert main(["simulate", "queue", "--router", "jsq", *rates]) == 2
    problems = [line.partition(";")[0] for line in capsys.readouterr().err.splitlines()]
    assert problems == [
        "queue model: replica 'replica_0': no rate for type 'B'",
        "queue model: replica 'replica_1': unknown type 'C'",
        "queue model: arrival rate of type 'A': 0.0 is not a positive number of requests/s",
        "queue model: service rate of replica 'replica_1' for type 'A': -1.0 is not a positive number of requests/s",
    ]


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "queue", "--help"])
    assert ended.value.code == 0
    assert "usage: gnnrl simulate queue" in capsys.readouterr().out


def test_queues_beyond_the_memory_are_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gnnrl.domains.queue_routing.physics.MEMORY_LIMIT_BYTES", 1 << 20)
    code = main(
        ["simulate", "queue", "--router", "jsq", "--requests", "900000", "--arrivals", "A=30", "--rates", "A=10"]
    )
    assert code == 2
    assert "more arrives than this router has served" in capsys.readouterr().err


def test_long_runs_tell_how_far_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(simulate_queue, "CHUNK", 2000)
    monkeypatch.setattr(request_progress, "LINE_SECONDS", 0.0)
    assert main(["simulate", "queue", "--router", "jsq", "--requests", "2500"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" requests")[0] for line in lines] == ["1,000 of 2,500", "2,000 of 2,500", "2,500 of 2,500"]
    assert lines[-1].endswith("/s, 0 s left")
    monkeypatch.setattr(request_progress, "LINE_SECONDS", 10.0)
    assert main(["simulate", "queue", "--router", "jsq", "--requests", "2500"]) == 0
    assert capsys.readouterr().err == ""
