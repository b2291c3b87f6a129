"""LLM routing from the command line: train, compare on other cases and beside other runs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnnrl.cli.main import main

ROOT = Path(__file__).parents[2]
HIDDEN = str(ROOT / "configs" / "llm_routing_hidden_speeds.yaml")
QUEUE = str(ROOT / "configs" / "queue_routing_base.yaml")
TINY = (
    "training.num_envs=4",
    "training.total_steps=128",
    "training.checkpoint_every_steps=128",
    "training.evaluate_every_steps=0",
    "ppo.rollout_length=32",
    "encoder.hidden=16",
    "encoder.memory_dim=8",
)
SMALL = ("evaluation.seeds=3", "evaluation.requests=150", "evaluation.against=[least_outstanding,round_robin]")

pytestmark = pytest.mark.filterwarnings("ignore:.*the continuation may differ")


def train(folder: Path, config: str, *overrides: str) -> Path:
    arguments = [argument for override in (*TINY, *overrides) for argument in ("--set", override)]
    assert main(["train", config, "--out", str(folder), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one experiment, one of other features, one that is told the speeds, one of another domain."""
    folder = tmp_path_factory.mktemp("runs")
    episode = "environment.episode_requests=50"
    train(folder / "seed0", HIDDEN, *SMALL, episode)
    train(folder / "seed1", HIDDEN, *SMALL, episode, "seed=1")
    train(folder / "documents", HIDDEN, *SMALL, episode, "name=documents", "environment.features=documented")
    train(folder / "told", HIDDEN, *SMALL, episode, "environment.show_speeds=true")
    train(folder / "flat", HIDDEN, *SMALL, episode, "name=flat", "encoder.kind=gru")
    train(folder / "queue", QUEUE, "environment.episode_arrivals=50", "evaluation.seeds=5", "evaluation.arrivals=50")
    return folder


def test_a_run_is_compared_on_other_cases(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page, pictures = tmp_path / "evaluation.json", tmp_path / "report.html", tmp_path / "pictures"
    files = ["--json", str(out), "--report", str(page), "--pictures", str(pictures)]
    assert main(["evaluate", str(runs / "seed0"), "--scenario", "E8, fixed", *files]) == 0
    printed = capsys.readouterr().out
    assert "E8: 3 streams of 150 requests" in printed
    assert "E8: TTFT p99 against least_outstanding" in printed
    found = json.loads(out.read_text())
    assert list(found["systems"]) == ["E8", "fixed"]
    assert [len(found["systems"][name]["share"]["policy"]) for name in ("E8", "fixed")] == [8, 4]
    for system in found["systems"].values():
        assert set(system["routers"]) == {"policy", "least_outstanding", "round_robin"}
        assert sum(system["share"]["policy"]) == pytest.approx(1.0)
        for metrics in system["routers"].values():
            assert all(value["ci95"][0] <= value["mean"] <= value["ci95"][1] for value in metrics.values())
    assert "<h2>Frontier of the two tails</h2>" in page.read_text()
    assert {path.name for path in pictures.iterdir()} >= {
        "frontier.png",
        "latency.png",
        "load_E8.png",
        "load_fixed.png",
    }


def test_runs_stand_beside_one_another(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beside = ["--beside", str(runs / "seed1"), str(runs / "documents" / "checkpoint.pt")]
    assert main(["evaluate", str(runs / "seed0"), *beside, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    system = found["systems"]["B"]
    together = "llm_routing_hidden_speeds, 2 runs"
    documents = "documents/checkpoint.pt"
    assert list(system["routers"]) == ["policy", "seed1", documents, together, "least_outstanding", "round_robin"]
    assert system["runs_together"] == {together: ["policy", "seed1"]}
    change = system["change"]["least_outstanding"]
    for metric in ("ttft_p99_s", "e2e_mean_s"):
        each = [change[row][metric]["mean"] for row in ("policy", "seed1")]
        assert change[together][metric]["mean"] == pytest.approx(sum(each) / 2)
        low, high = change[together][metric]["ci95"]
        assert low < min(each) <= max(each) < high
    assert found["beside"][documents]["environment"]["features"] == "documented"
    # Alone it fares as it does beside the others.
    assert main(["evaluate", str(runs / "seed1"), "--json", "-"]) == 0
    alone = json.loads(capsys.readouterr().out)["systems"]["B"]
    assert alone["routers"]["policy"] == system["routers"]["seed1"] != system["routers"]["policy"]
    assert alone["routers"]["round_robin"] == system["routers"]["round_robin"]


def test_a_router_alone_needs_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--policy", "jsq", "--domain", "llm_routing", "--seeds", "2", "--requests", "200"]
    assert main(["evaluate", *arguments, "--scenario", "A8", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]["A8"]
    assert set(found["routers"]) == {"jsq", "least_outstanding"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed0", "--scenario", "E9"], "--scenario: evaluation.scenarios: 'E9' is not a scenario; did you mean E?"),
        (["seed0", "--scenario", "B,B"], "--scenario: evaluation.scenarios: 'B' is there 2 times"),
        (["queue", "--scenario", "B"], "--scenario: not for queue_routing"),
        (["seed0", "--beside", "queue"], "queue: is a run of queue_routing, "),
        (["queue", "--beside", "seed0"], "seed0: is a run of llm_routing, "),
        (["seed0", "--beside", "told"], "told: environment.show_speeds is True, not False: policies that are shown"),
        (["seed0", "--beside", "seed0"], "seed0 is there twice"),
        (["seed0", "--beside", "nowhere"], "nowhere: no such run or checkpoint"),
        (["--policy", "vidur_lor", "--beside", "seed0"], "--beside: stands beside a trained policy"),
        (["--policy", "hpa_80", "--beside", "seed0"], "--beside: stands beside a trained policy"),
        (["--policy", "hpa_80", "--scenario", "B"], "--scenario: not for autoscaling"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"seed0", "queue", "told", "nowhere"}
    assert main(["evaluate", *(str(runs / a) if a in names else a for a in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_a_policy_without_a_graph_is_bound_to_its_fleet(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(runs / "flat"), "--scenario", "fixed"]) == 0
    assert main(["evaluate", str(runs / "flat"), "--scenario", "fixed,B8"]) == 2
    assert "has 9 slots, this flat network was made for 5" in capsys.readouterr().err


def test_a_configuration_that_names_no_case_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", HIDDEN, "--set", "evaluation.scenarios=[C]"]) == 2
    assert "evaluation.scenarios: 'C' is not a scenario; known: fixed, A, B, E, elastic, A8" in capsys.readouterr().err
