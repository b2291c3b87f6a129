"""A pretrained policy on a cluster: it acts as its run does, and what it was not trained on is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gnnrl import pretrained
from gnnrl.agents import PPO_GNN
from gnnrl.agents.policy_file import read_policy, write_policy
from gnnrl.cli.main import main
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.sensing import Reading
from gnnrl.live.conditions import idle_bounds_ms, outside_of_training, unreachable_objective
from gnnrl.live.journal import read_journal
from gnnrl.live.options import LiveOptions
from tests.live.live_stage import Stage
from tests.tiny_policy import tiny_config, tiny_policy

LIVE = LiveConfig()
WARM = ("--set", "temperature=20.0")
"""A policy that learned nothing would rather stay where it is; warm, it does something."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def shipped(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the tiny policy came with the package."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    return tiny_policy(run, folder / "generalist.safetensors")


def decided(stage: Stage, **who: str | None) -> dict[str, tuple[int, int]]:
    """Service -> (wish, final) of one interval of which nothing is sent."""
    journal = stage.folder / "journal"
    journal.unlink(missing_ok=True)
    assert stage.live("--once", "--shadow", "--journal", str(journal), *WARM, **who) == 0
    (record,) = read_journal(journal)
    assert record.valid
    return {one.service: (one.wish, one.final) for one in record.services}


def test_it_acts_on_the_sandbox_as_its_run_does(
    stage: Stage, run: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_run, before = decided(stage, policy=None, run=str(run)), stage.replicas()
    for name in ("generalist", str(shipped)):
        capsys.readouterr()
        assert decided(stage, policy=name) == by_run
        out = capsys.readouterr().out
        assert "what generalist would do now" in out
        assert f"ok       policy: {name}, trained with 20 slots on means over 60 s, every 15 s" in out
    assert by_run != decided(stage, policy="hpa_80")
    assert any(wish != before[name] for name, (wish, _) in by_run.items()), "something is wished for"
    assert stage.live("--once", *WARM, policy="generalist") == 0
    after = stage.replicas()
    assert after == {name: final for name, (_, final) in by_run.items()} and after != before


def test_what_it_was_not_trained_on_is_said_and_it_goes_on(
    stage: Stage, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--set", "guardrails.max_replicas=40", "--set", "violation_weight=1000"]
    assert stage.live("--once", "--dry-run", *more, policy="generalist") == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warnings == [
        "warning  policy: not what the policy was trained on, so how it does there is not known: up to 40 replicas of a service "
        "(trained on 20); a violation weight of 1000 (trained on 20 to 800)"
    ]
    # The rules were not trained on anything.
    assert stage.live("--once", "--dry-run", *more, policy="hpa_80") == 0
    assert "warning" not in capsys.readouterr().out
    saved = read_policy(shipped)
    text = saved.about["experiment"].replace("[online_boutique]", "['random:12-19']")
    write_policy(shipped, PPO_GNN.pretrained(shipped), {**saved.about, "experiment": text})
    assert stage.live("--once", "--dry-run", policy="generalist") == 0
    assert "11 services (trained on 12 to 19)" in capsys.readouterr().out, "the gateway is none of them"


def test_an_objective_that_replicas_cannot_keep_names_the_service(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.live("--once", "--shadow", policy="generalist") == 0
    assert "warning" not in capsys.readouterr().out, "the way there is right"
    stage.annotate(slo_ms="20")
    assert stage.live("--once", "--shadow", policy="hpa_80") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert line.startswith("warning  objective: the P95 is 478 ms though no service uses more than 71 % of its CPU")
    assert "hardly bring it to 20 ms; recommendationservice adds most, 169 ms a request" in line
    assert stage.live("--once", "--shadow", policy="generalist") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert [line.split()[1] for line in lines] == ["policy:", "objective:"]
    assert " x the idle P95 (trained on 2)" in lines[0]


def reading(p95_ms: float, cpu_millicores: float, slo_ms: float) -> Reading:
    """Two services, a in front of b; a does 60 of a response time of p95_ms, b the rest; b has two pods of 1000 millicores."""
    mesh = SimpleNamespace(
        services=[SimpleNamespace(cpu_limit_millicores=1000.0, outside=False)] * 2,
        names=("a", "b"),
        calls=[SimpleNamespace(source="a", target="b")],
    )
    window = SimpleNamespace(
        latency_p95_ms=np.array([p95_ms], np.float32),
        cpu_millicores=np.array([[100.0, cpu_millicores, 0.0]]),
        metric_ready=np.array([[1, 2, 0]]),
        rps_in=np.array([[10.0, 20.0, 0.0]], np.float32),
        external_rps=np.array([10.0]),
        p95_ms=np.array([[p95_ms, (p95_ms - 60.0) / 2.0, 0.0]], np.float32),
        call_rps=np.array([[20.0, 0.0]], np.float32),
        call_p95_ms=np.array([[(p95_ms - 60.0) / 2.0, 0.0]], np.float32),
    )
    found = SimpleNamespace(mesh=mesh, window=window, deployments=(1, 2), slo_ms=slo_ms, age_seconds={"metrics": 20.0})
    return found  # type: ignore[return-value]


def test_bounds_of_the_latency_without_load() -> None:
    assert idle_bounds_ms(reading(400.0, 500.0, 100.0)) == (pytest.approx(300.0), 400.0)
    assert idle_bounds_ms(reading(400.0, 5000.0, 100.0)) == (0.0, 400.0), "overloaded: nothing is known"
    told = unreachable_objective(reading(400.0, 500.0, 299.0))
    assert told is not None and "400 ms though no service uses more than 25 % of its CPU" in told
    assert "b adds most, 340 ms a request" in told
    assert unreachable_objective(reading(400.0, 500.0, 301.0)) is None
    assert unreachable_objective(reading(400.0, 5000.0, 10.0)) is None
    assert unreachable_objective(reading(0.0, 500.0, 10.0)) is None, "no requests, no latency"


def test_the_objective_is_outside_only_where_it_is_for_certain() -> None:
    trained = replace(tiny_config().environment, slo_factor=(1.5, 3.0), mesh=("random:2-9",))

    def outside(slo_ms: float) -> list[float]:
        found = outside_of_training(trained, LIVE, reading(400.0, 500.0, slo_ms))
        return [departure.asked.low for departure in found if departure.what == "SLO over idle P95"]

    # The P95 without load is 300 to 400 ms: objectives from 450 / 1.1 to 1200 * 1.1 may have been trained on.
    assert outside(500.0) == outside(1200.0) == outside(410.0) == []
    assert outside(400.0) == [pytest.approx(400.0 / 300.0)]
    assert outside(1400.0) == [pytest.approx(1400.0 / 400.0)]


def test_rehearsed_it_comes_to_what_its_run_comes_to(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for who in (["--policy", "generalist"], ["--run", str(run)]):
        assert main(["rehearse", *who, "--hours", "0.1", "--against", "", "--json", "-"]) == 0
        captured = capsys.readouterr()
        assert "note" not in captured.err
        documents.append(json.loads(captured.out))
    assert documents[0]["scenarios"] == documents[1]["scenarios"]
    assert documents[0]["label"] == "generalist on the sandbox" and documents[0]["outside_of_training"] == []
    arguments = ["rehearse", "--policy", "generalist", "--mesh", "random:14-14", "--hours", "0.05", "--against", ""]
    assert main([*arguments, "--json", str(tmp_path / "x.json")]) == 0
    assert "note: not what the policy was trained on" in (err := capsys.readouterr().err)
    assert "14 services (trained on 11)" in err
    assert json.loads((tmp_path / "x.json").read_text())["outside_of_training"][0]["asked"] == [14, 14]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--policy hpa_80", "--policy hpa_80: is no pretrained policy (generalist, or a file *.safetensors)"),
        ("--policy generalist --mesh none.yaml", "--mesh: environment.mesh: none.yaml: "),
        ("--policy generalist --set interval_seconds=30", "generalist: it decides every 15 s, the loop every 30 s"),
        ("--policy none.safetensors", "none.safetensors: no such file"),
    ],
)
def test_what_cannot_be_rehearsed(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_who_is_learned() -> None:
    def learned(**who: object) -> bool:
        return LiveOptions(config=LIVE, namespace="", **who).learned  # type: ignore[arg-type]

    assert learned(policy="generalist") and learned(policy="x/y.safetensors") and learned(run=Path("runs/x"))
    assert not learned(policy="hpa_80") and not learned(policy="generalist.pt")


def test_a_damaged_or_unknown_policy_is_a_finding(
    stage: Stage, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.live("--once", "--dry-run", policy="generalst") == 2
    assert "pretrained policies are generalist" in capsys.readouterr().out
    shipped.write_bytes(shipped.read_bytes()[:-1])
    assert stage.live("--once", "--dry-run", policy="generalist") == 2
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and errors[0].startswith(f"error    policy: {shipped}: truncated or not a safetensors file")
