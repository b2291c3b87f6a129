"""A policy without its run: what travels with the weights, and `gnnrl export --weights`, which writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gnnrl import pretrained
from gnnrl.agents import PPO_GNN, CheckpointError
from gnnrl.agents.policy_file import read_policy, write_policy
from gnnrl.cli.main import main
from gnnrl.domains.autoscaling.trained_ranges import trained_on
from gnnrl.pretrained import shipped_policies
from gnnrl.training.model_card import card_of, filled, parts_of
from gnnrl.training.pretrained_policy import PretrainedPolicy
from tests.tiny_policy import tiny_config, tiny_policy, tiny_run

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 2 * 2**20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def path(run: Path, tmp_path: Path) -> Path:
    return tiny_policy(run, tmp_path / "tiny.safetensors")


def rewritten(path: Path, **about: Any) -> None:
    """The same weights, and something else said of them."""
    saved = read_policy(path)
    write_policy(path, PPO_GNN.pretrained(path), {**saved.about, **about})


def test_the_experiment_travels_with_the_weights(run: Path, path: Path) -> None:
    policy, checkpoint = PretrainedPolicy.open(path), PPO_GNN.load(run / "checkpoint.pt")
    assert policy.config == tiny_config() and policy.steps == 64 and policy.name == "tiny"
    assert policy.revision == PretrainedPolicy.of_run(run).revision != {}
    for name, weight in checkpoint.model.state_dict().items():
        assert weight.equal(policy.agent.model.state_dict()[name]), name
    assert policy.weights == sum(p.numel() for p in checkpoint.model.parameters()) > 1000


def test_another_configuration_is_told_and_mended(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = read_policy(path).about["experiment"]
    rewritten(path, experiment=text.replace("  change_weight: 0.02\n", "", 1))
    with pytest.raises(CheckpointError) as told:
        PretrainedPolicy.open(path)
    lines = str(told.value).splitlines()
    assert lines[0] == f"{path}: experiment: environment.change_weight: missing"
    assert lines[1].endswith(f"name what it lacks: gnnrl export {path} --weights {path} --set FIELD=VALUE")
    assert main(["export", str(path), "--weights", str(path), "--set", "environment.change_weight=0.07"]) == 0
    assert capsys.readouterr().err == ""
    assert PretrainedPolicy.open(path).config.environment.change_weight == 0.07
    rewritten(path, experiment=None)
    with pytest.raises(CheckpointError, match="its header has no 'experiment'"):
        PretrainedPolicy.open(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["nodes"].__setitem__(1, "wanted"),
            "column 1 of nodes was 'wanted', here it is 'desired_replicas'",
        ),
        (lambda c: c["edges"].append("more"), "column 4 of edges was 'more', here it is 'none'"),
        (lambda c: c.pop("globals"), "column 0 of globals was 'none', here it is 'total_pods'"),
    ],
)
def test_other_columns_are_refused(path: Path, change: Any, message: str) -> None:
    columns = read_policy(path).about["columns"]
    change(columns)
    rewritten(path, columns=columns)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: learned from other columns: {message}")):
        PretrainedPolicy.open(path)


def test_export_writes_the_file_and_brings_its_card_up_to_date(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.safetensors"
    card_of(path).write_text(
        "# mine\n<!-- facts -->\nSTALE\n<!-- /facts -->\nby hand\n<!-- ranges -->\n<!-- /ranges -->\n"
    )
    assert main(["export", str(run), "--weights", str(path)]) == 0
    policy = PretrainedPolicy.open(path)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{path}: {policy.weights:,} weights of tiny after 64 steps, ")
    assert out[1] == f"{card_of(path)}: its facts and ranges are those of these weights"
    card = card_of(path).read_text()
    assert "STALE" not in card and "by hand" in card and f"| weights | {policy.weights:,}, float32 |" in card
    for what, found in trained_on(policy.config.environment).items():
        assert f"| {what} | {found} |" in card
    assert "| services | 11 |" in card and "| violation weight | 20 to 800 |" in card
    assert filled(card, parts_of(policy)) == card
    before = path.read_bytes()
    assert main(["export", str(run / "checkpoint.pt"), "--weights", str(path)]) == 0
    assert path.read_bytes() == before, "the same run is the same file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("RUN --weights x.pt", "--weights x.pt: a policy is written as *.safetensors"),
        ("RUN --weights x.safetensors --columns eval/*", "--columns goes with a table"),
        ("RUN --csv x.csv --set seed=1", "--set goes with --weights"),
        ("none.safetensors --weights x.safetensors", "none.safetensors: no such file"),
        ("RUN --weights x.safetensors --set environment.x=1", "environment.x: unknown key"),
    ],
)
def test_what_cannot_be_exported(
    arguments: str, message: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments.replace("RUN", str(run)).split()]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_card_without_a_place_for_them_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.md").write_text("# x\n<!-- facts -->\n<!-- /facts -->\n")
    assert main(["export", str(run), "--weights", str(tmp_path / "x.safetensors")]) == 2
    assert "x.md: has no place <!-- ranges -->" in capsys.readouterr().err


def test_the_template_of_the_card_has_every_place(run: Path) -> None:
    text = (pretrained.FOLDER / "generalist.md").read_text(encoding="utf-8")
    assert filled(text, parts_of(PretrainedPolicy.of_run(run))).startswith("# generalist\n")


@pytest.mark.parametrize("name", shipped_policies())
def test_what_is_shipped_is_whole_small_and_described(name: str) -> None:
    policy = PretrainedPolicy.open(name)
    assert policy.path.stat().st_size <= LARGEST_BYTES
    assert policy.config.environment.telemetry == "kiali", "so that it runs a live cluster"
    card = card_of(policy.path).read_text(encoding="utf-8")
    assert filled(card, parts_of(policy)) == card, f"gnnrl export {policy.path} --weights {policy.path}"
    assert "TO BE WRITTEN" not in card
