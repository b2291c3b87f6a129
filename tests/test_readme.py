"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gnnrl.cli.main import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_every_python_snippet_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, code in enumerate(blocks("python")):
        exec(compile(code, f"README.md snippet {number}", "exec"), names)
    assert (tmp_path / "policy.pt").is_file()
    assert list(names["graph"].edges) == [("web", "cart"), ("cart", "db")]  # type: ignore[attr-defined]
    assert tuple(names["embeddings"].shape) == (1, 8, 64)  # type: ignore[attr-defined]
    assert not names["embeddings"][0, 3:].any()  # type: ignore[index]


def test_every_command_line_is_understood() -> None:
    commands = "\n".join(blocks("sh")).replace("\\\n", " ").replace(".venv/bin/gnnrl", "gnnrl")
    lines = [line for line in commands.splitlines() if line.startswith("gnnrl ")]
    assert len(lines) >= 10
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])


def test_every_file_and_make_target_it_names_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for path in re.findall(r"`((?:configs|docs|gnnrl|graph_space|encoders|kiali_client)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path
