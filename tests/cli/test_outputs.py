"""What a command is to write is looked at before its work, and nothing stays of the trial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gnnrl.cli.main import build_parser, main
from gnnrl.cli.outputs import check_outputs

COMMANDS = {
    "evaluate": (["evaluate", "--policy", "hpa_80"], ("--json", "--report"), ("--pictures",)),
    "rehearse": (["rehearse", "--run", "none"], ("--json", "--report", "--screen"), ()),
    "export csv": (["export", "none"], ("--csv",), ()),
    "export parquet": (["export", "none"], ("--parquet",), ()),
    "queue": (["simulate", "queue", "--router", "jsq"], ("--json", "--requests-csv"), ()),
    "queue parquet": (["simulate", "queue", "--router", "jsq"], ("--requests-parquet",), ()),
    "llm": (["simulate", "llm", "--router", "random", "--replicas", "2"], ("--json", "--requests-csv"), ()),
    "llm parquet": (["simulate", "llm", "--router", "random", "--replicas", "2"], ("--requests-parquet",), ()),
    "calibrate": (["baselines", "calibrate", "none.yaml"], ("--output",), ()),
    "train": (["train", "none.yaml"], (), ("--out",)),
}


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_written_is_refused_before_the_work(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, files, folders = COMMANDS[command]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = everything(tmp_path)
    for flag in files:
        for name, said in (
            ("file/missing/out", f"{tmp_path}/file is a file, not a folder"),
            ("file/out", f"{tmp_path}/file is a file, not a folder"),
            ("folder", "is a folder; name a file"),
        ):
            assert main([*arguments, flag, str(tmp_path / name)]) == 2
            assert capsys.readouterr().err == f"{flag} {tmp_path / name}: {said}\n"
    for flag in folders:
        for name, said in (
            ("file", "is a file; name a folder"),
            ("file/out", f"{tmp_path}/file is a file, not a folder"),
        ):
            assert main([*arguments, flag, str(tmp_path / name)]) == 2
            assert capsys.readouterr().err == f"{flag} {tmp_path / name}: {said}\n"
    if len(files) > 1:
        same = [part for flag in files[:2] for part in (flag, str(tmp_path / "out"))]
        assert main([*arguments, *same]) == 2
        assert f"{files[1]} {tmp_path}/out: is what {files[0]} writes too" in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_a_folder_that_nothing_can_be_written_in_is_found_by_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.open

    def read_only(path: str, flags: int, *more: int, **options: object) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise OSError(30, "Read-only file system")
        return real(path, flags, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    for arguments in (
        ["train", "none.yaml", "--out", f"{tmp_path}/runs/new"],
        ["evaluate", "--policy", "hpa_80", "--report", f"{tmp_path}/a"],
        ["evaluate", "--policy", "hpa_80", "--json", f"{tmp_path}/new/folder/a"],
    ):
        assert main(arguments) == 2
        assert f"nothing can be written in {tmp_path} (Read-only file system)" in capsys.readouterr().err


def test_what_can_be_written_is_let_through_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("replaced")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for arguments in (
        ["evaluate", "r", "--json", "-", "--report", f"{tmp_path}/new/page", "--pictures", f"{tmp_path}/a/b"],
        ["evaluate", "r", "--json", f"{tmp_path}/old", "--report", "/dev/null"],
        ["evaluate", "r", "--json", f"{tmp_path}/link"],
        ["train", "c", "--out", f"{tmp_path}/a/b/c"],
        ["train", "c"],
        ["envs"],
    ):
        check_outputs(build_parser().parse_args(arguments))
    assert everything(tmp_path) == {tmp_path / "old", tmp_path / "link"}
    assert (tmp_path / "old").read_text() == "replaced"
