"""What the README shows works as it stands there."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from gnnrl.cli.domains.autoscaling import print_summary
from gnnrl.cli.main import build_parser
from gnnrl.config.loader import load_config
from gnnrl.evaluation.evaluated import Evaluation
from tests.evaluation.made_up import evaluation

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
        build_parser().parse_args(shlex.split(line, comments=True)[1:])


def test_every_file_and_make_target_it_names_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for path in re.findall(r"`((?:configs|docs|gnnrl|graph_space|encoders|kiali_client)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path


def fill_readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_readme", ROOT / "docs" / "fill_readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def block(kind: str) -> str:
    found = re.search(rf"<!-- demo-{kind} -->\n(.*?)<!-- /demo-{kind} -->", README, flags=re.DOTALL)
    assert found, kind
    return found[1]


def test_the_demos_tables_have_everybody_and_what_they_are_means_over() -> None:
    config = load_config(ROOT / "configs" / "generalist.yaml")
    for load in config.evaluation.workloads:
        part = block("rows").split(f"{load}: *")[1].split("over = more than")[1]
        for row in ("policy", *config.evaluation.against):
            assert re.search(rf"^ *{row}( \*)? ", part, flags=re.MULTILINE), (load, row)
    first = " ".join(block("table").split())
    assert re.search(r"1 training seed of [\d,]+ steps on diurnal, noisy", first)
    (seeds,) = re.findall(
        r"evaluate --policy generalist .* --seeds (\d+)", (ROOT / "Makefile").read_text(encoding="utf-8")
    )
    assert f"{seeds} held-out scenarios a workload" in first
    assert f"J = replica-seconds + {config.evaluation.violation_weight:g} x violating seconds" in first
    assert re.search(r"(has|have) the low(er|est) J", block("table").splitlines()[1])


def test_the_documents_are_filled_with_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    made: Evaluation = evaluation(
        ["diurnal"],
        {
            name: {"objective": [cost, cost], "replica_seconds": [cost, cost]}
            for name, cost in (("policy", 900.0), ("hpa_80", 1200.0))
        },
    )
    document = json.loads(json.dumps(made.to_json()))
    print_summary(document["summary"])
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    module = fill_readme()
    text = "a\n<!-- demo-table -->\nSTALE\n<!-- /demo-table -->\nb\n<!-- demo-rows -->\n<!-- /demo-rows -->\n"
    filled, count = module.filled(text, "demo", module.blocks(document))
    assert count == 2 and "STALE" not in filled and filled.startswith("a\n<!-- demo-table -->\n```text\n")
    shown = [line for line in filled.splitlines() if line and not line.startswith(("```", "<!--")) and line not in "ab"]
    assert [line for line in printed if line and line in shown] == [line for line in printed if line]
    assert module.filled(filled, "demo", module.blocks(document)) == (filled, 2)
