"""`-` is standard output: what was asked for is there and nothing else, and no file of that name."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from gnnrl.cli.main import main
from gnnrl.domains.autoscaling.mesh_file import load_mesh

GRAPH = {
    "timestamp": 1,
    "duration": 60,
    "graphType": "workload",
    "elements": {
        "nodes": [
            {"data": {"id": "u", "nodeType": "unknown"}},
            {"data": {"id": "w", "nodeType": "workload", "namespace": "shop", "workload": "web"}},
        ],
        "edges": [{"data": {"source": "u", "target": "w", "traffic": {"protocol": "http", "rates": {"http": "5.00"}}}}],
    },
}
QUEUE = ["simulate", "queue", "--router", "jsq", "--requests", "50"]
LLM = ["simulate", "llm", "--router", "jsq", "--replicas", "2", "--qps", "4", "--requests", "50"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    assert not Path("-").exists()
    return capsys.readouterr().out


def test_export_prints_the_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "training.jsonl").write_text('{"step": 100, "loss": 0.5}\n{"step": 200, "loss": 0.25}\n')
    assert main(["export", ".", "--csv", "-"]) == 0
    told = capsys.readouterr()
    assert told.out == "step,loss\n100,0.5\n200,0.25\n"
    assert "2 steps, 1 series" in told.err


@pytest.mark.parametrize("arguments", [QUEUE, LLM], ids=["queue", "llm"])
def test_simulate_prints_a_row_a_request(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed([*arguments, "--requests-csv", "-"], capsys))))
    assert len(rows) == 50 and None not in rows[0]
    assert main([*arguments, "--requests-csv", "-", "--json", "-"]) == 2
    assert "two outputs cannot share standard output" in capsys.readouterr().err


def test_meshes_are_printed_as_files_hold_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "graph.json").write_text(json.dumps(GRAPH))
    for arguments in (["import", "graph.json"], ["random", "--services", "5", "--seed", "3"]):
        assert main(["mesh", *arguments, "-o", "file.yaml"]) == 0
        capsys.readouterr()
        text = printed(["mesh", *arguments, "-o", "-"], capsys)
        assert text == (here / "file.yaml").read_text()
        assert yaml.safe_load(text)["services"] and load_mesh(here / "file.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", ".", "--parquet", "-"], "-: Parquet is no text for standard output; name a file, or write CSV"),
        ([*QUEUE, "--requests-parquet", "-"], "-: Parquet is no text for standard output"),
        ([*LLM, "--requests-parquet", "-"], "-: Parquet is no text for standard output"),
        (
            ["evaluate", "--policy", "hpa_80", "--report", "-"],
            "--report -: standard output takes tables and JSON alone",
        ),
        (["evaluate", "--policy", "hpa_80", "--pictures", "-"], "--pictures -: standard output takes"),
        (["rehearse", "--run", "x", "--screen", "-"], "--screen -: standard output takes"),
        (["mesh", "show", "online_boutique", "--png", "-"], "--png -: standard output takes"),
    ],
)
def test_pages_pictures_and_parquet_need_a_file(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "training.jsonl").write_text('{"step": 100, "loss": 0.5}\n')
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert message in told.err and told.out == ""
    assert not Path("-").exists()
