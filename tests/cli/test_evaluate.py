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
