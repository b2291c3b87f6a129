"""`gnnrl bench`: finds the repository's benchmarks, prints figures beside their aims. Nothing is timed here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnnrl.cli import bench
from gnnrl.cli.main import main


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "bench_speed.py").write_text(
        '"""How fast."""\n\n\ndef measure():\n'
        '    yield {"figure": "a", "value": 4.0, "unit": "x", "aim": ">= 3"}\n'
        '    yield {"figure": "b", "value": 4.0, "unit": "ms", "aim": "<= 3"}\n'
        '    yield {"figure": "c", "value": 4.0, "unit": "s"}\n'
    )
    (folder / "bench_extra.py").write_text('"""Needs more."""\n\n\ndef measure():\n    import not_installed_here\n')
    monkeypatch.setattr(bench, "FOLDER", folder)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("benchmarks")
def test_figures_stand_beside_their_aims(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "speed"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] in (["a"], ["b"], ["c"])]
    assert [row[-1] for row in rows] == ["yes", "no", "-"]
    assert main(["bench", "speed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speed"][1] == {"figure": "b", "value": 4.0, "unit": "ms", "aim": "<= 3"}


@pytest.mark.usefixtures("benchmarks")
def test_they_are_listed_and_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    assert capsys.readouterr().out == "extra: Needs more.\nspeed: How fast.\n"
    assert main(["bench", "sped"]) == 2
    assert "'sped' is not a benchmark; there are extra, speed" in capsys.readouterr().err
    assert main(["bench", "extra"]) == 2
    assert "benchmark extra needs not_installed_here" in capsys.readouterr().err


def test_without_the_repository_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    assert main(["bench"]) == 2
    assert "part of the repository" in capsys.readouterr().err
