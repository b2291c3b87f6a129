"""`--policy` with a pretrained policy, by name and by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnnrl import pretrained
from gnnrl.cli.main import main
from gnnrl.domains.autoscaling.mesh_file import save_mesh
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from tests.tiny_policy import tiny_policy, tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(autouse=True)
def shipped(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the tiny policy came with the package."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    return tiny_policy(run, folder / "generalist.safetensors")


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict, str]:
    assert main(["evaluate", *arguments, "--json", "-"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_by_name_by_file_and_as_a_run_it_plays_the_same(
    run: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named, err = evaluated(capsys, "--policy", "generalist")
    assert err == "" and named["outside_of_training"] == [] and named["label"] == "generalist"
    assert named["config"]["evaluation"]["workloads"] == ["diurnal", "flash"], "those that travel with it"
    filed, _ = evaluated(capsys, "--policy", str(shipped))
    ran, _ = evaluated(capsys, str(run))
    assert named["scenarios"] == filed["scenarios"] == ran["scenarios"]
    assert set(named["scenarios"]["flash"]) == {"policy", "hpa_80"}
    assert named["scenarios"]["flash"]["policy"] != named["scenarios"]["flash"]["hpa_80"]


def test_on_a_mesh_of_ones_own_it_says_what_it_was_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = tmp_path / "shop.yaml"
    save_mesh(random_mesh(30, seed=3), mesh)
    asked = ["--policy", "generalist", "--mesh", str(mesh), "--workload", "bursty", "--against", "hpa_60,kpa"]
    found, err = evaluated(capsys, *asked)
    assert list(found["scenarios"]) == ["bursty"] and set(found["scenarios"]["bursty"]) == {"policy", "hpa_60", "kpa"}
    assert found["outside_of_training"] == [{"what": "services", "asked": [30, 30], "trained": [11, 11]}]
    assert err.count("\n") == 1 and err.startswith("note: not what the policy was trained on")
    assert "30 services (trained on 11)" in err
    assert any("30 services (trained on 11)" in note for note in found["summary"]["notes"])
    assert found["config"]["environment"]["max_nodes"] >= 31, "the gateway is seen too"


def test_the_slo_factors_that_are_asked_for_are_held_against_those_of_the_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["--policy", "generalist", "--workload", "diurnal", "--slo-factor", "2", "2.5"]
    found, err = evaluated(capsys, *asked)
    assert found["outside_of_training"] == [{"what": "SLO over idle P95", "asked": [2.0, 2.5], "trained": [2.0, 2.0]}]
    assert "an SLO of 2 to 2.5 x the idle P95 (trained on 2)" in err


def test_a_run_stands_beside_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = evaluated(capsys, "--policy", "generalist", "--beside", str(run), "--workload", "diurnal")
    assert set(found["scenarios"]["diurnal"]) == {"policy", "tiny", "hpa_80"}
    assert found["scenarios"]["diurnal"]["tiny"] == found["scenarios"]["diurnal"]["policy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--policy generalisst", "--policy generalisst: did you mean generalist?"),
        ("--policy generalist --domain llm_routing", "is one of autoscaling, not of llm_routing"),
        ("--policy none.safetensors", "none.safetensors: no such file"),
        ("--policy generalist --requests 5", "--requests: not for autoscaling"),
        ("--policy generalist --mesh nope.yaml", "--mesh: environment.mesh: nope.yaml"),
        ("--policy hpa_80 --against kpa", "--against compares with a trained policy; with a baseline alone"),
        ("runs/x --policy generalist", "give either a run (or checkpoint), or --policy NAME"),
    ],
)
def test_what_cannot_be_played(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def test_a_damaged_file_is_told(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = shipped.read_bytes()
    shipped.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main(["evaluate", "--policy", "generalist"]) == 2
    assert "generalist.safetensors: damaged or changed" in capsys.readouterr().err
