"""`gnnrl evaluate`: mistakes are named by the flag they came with, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnnrl.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a run (or checkpoint), or --policy NAME"),
        (["runs/x", "--policy", "hpa_80"], "give either a run (or checkpoint), or --policy NAME"),
        (["--policy", "hpa_80", "--against", "kpa"], "--against compares with a trained policy"),
        (["none"], "none: no such run or checkpoint"),
        (["."], "is not a run folder, it has no config.yaml"),
        (["--policy", "hpa_80", "--calibration", "none.yaml"], "none.yaml: No such file or directory"),
    ],
)
def test_what_cannot_be_evaluated(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_flag_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--policy hpa_x --workload flasch diurnal --seeds 0 --mesh nope.yaml"
    assert main(["evaluate", *arguments.split()]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--seeds: evaluation.seeds: 0 is not in [1, inf)",
        "--mesh: environment.mesh: nope.yaml: mesh 'nope': cannot be read: No such file or directory",
        "--workload: evaluation.workloads: 'flasch' is not a workload; did you mean flash?, or a .csv file",
        "--policy: evaluation.against: 'hpa_x' is not a baseline; did you mean hpa_80?",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("interval_seconds: 15", "interval_seconds: 30"),
            "interval_seconds: 30 is not the environment's decision_seconds",
        ),
        (("min_replicas: 1", "min_replicas: 25"), "guardrails.max_replicas: 20 is below guardrails.min_replicas"),
        (("fallback: hpa_80", "fallback: none"), "guardrails.fallback: 'none' is not a baseline"),
        (("  brake_share: 0.8\n", ""), "guardrails.brake_share: missing"),
    ],
)
def test_guardrails_that_cannot_be_used(
    change: tuple[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = (Path(__file__).parents[2] / "configs" / "live.yaml").read_text()
    assert change[0] in shipped
    path = tmp_path / "live.yaml"
    path.write_text(shipped.replace(*change))
    assert main(["evaluate", "--policy", "hpa_80", "--guardrails", str(path)]) == 2
    captured = capsys.readouterr()
    assert f"{path}: {message}" in captured.err
    assert captured.out == ""


def test_guardrails_that_leave_an_environment_no_replicas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = (Path(__file__).parents[2] / "configs" / "live.yaml").read_text()
    path = tmp_path / "live.yaml"
    path.write_text(
        shipped.replace("min_replicas: 1", "min_replicas: 25").replace("max_replicas: 20", "max_replicas: 30")
    )
    assert main(["evaluate", "--policy", "hpa_80", "--guardrails", str(path)]) == 2
    assert "guardrails allow 25 to 30 replicas, the environment 1 to 20" in capsys.readouterr().err


def test_a_table_says_which_guardrails_acted(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = str(Path(__file__).parents[2] / "configs" / "live.yaml")
    arguments = ["--policy", "random", "--workload", "diurnal", "--seeds", "1", "--guardrails", shipped]
    assert main(["evaluate", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "diurnal: guardrails" in printed
    assert "rate_down " in printed
