"""Queue routing from the command line: train, resume, compare, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gnnrl.agents.archive import read_archive
from gnnrl.cli.main import main

ROOT = Path(__file__).parents[2]
BASE = str(ROOT / "configs" / "queue_routing_base.yaml")
SMALL = [
    argument
    for override in (
        "training.num_envs=4",
        "training.total_steps=512",
        "training.checkpoint_every_steps=128",
        "training.evaluate_every_steps=256",
        "ppo.rollout_length=32",
        "environment.episode_arrivals=50",
        "environment.replica_changes_per_1000=30.0",
        "environment.max_replicas=3",
        "environment.drawn_replicas=[2,3]",
        "encoder.hidden=16",
        "encoder.memory_dim=8",
        "evaluation.seeds=5",
        "evaluation.arrivals=60",
        "evaluation.warm_up=10",
        "evaluation.against=[jsq,oracle]",
        "evaluation.replicas=[3]",
    )
    for argument in ("--set", override)
]
EVALUATED = {"mean_latency", "p99_latency", "routing_accuracy", "throughput"}

pytestmark = pytest.mark.filterwarnings("ignore:.*the continuation may differ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "queue"
    assert main(["train", BASE, "--out", str(run), *SMALL]) == 0
    return run


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "checkpoints.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_logs_have_the_documented_names(trained: Path) -> None:
    names = set(EventAccumulator(str(trained / "tensorboard")).Reload().Tags()["scalars"])
    assert names >= {"train/reward", "train/policy_loss", "train/value_loss", "train/entropy"}
    assert names >= {f"eval/{metric}" for metric in EVALUATED}
    domain = {"latency_s", "routing_accuracy", "reward_queue", "reward_bonus", "illegal_actions"}
    assert {name for name in names if name.startswith("queue_routing/")} == {f"queue_routing/{name}" for name in domain}


def test_a_row_a_checkpoint(trained: Path) -> None:
    rows = rows_of(trained)
    assert [row["step"] for row in rows] == ["128", "256", "384", "512"]
    assert set(rows[0]) == {"step", "reward", *EVALUATED}
    assert [bool(row["mean_latency"]) for row in rows] == [False, True, True, True]
    assert rows[1]["mean_latency"] == rows[2]["mean_latency"]
    assert float(rows[3]["throughput"]) > 0.0


def test_a_run_that_is_resumed_ends_as_one_that_was_not(trained: Path, tmp_path: Path) -> None:
    """Drawn systems and replicas that come and go included."""
    from gnnrl.cli.domains import DOMAINS
    from gnnrl.training import RunFolder

    run = tmp_path / "run"
    folder = RunFolder.create(run, RunFolder.open_any(trained).config)
    trainer = DOMAINS["queue_routing"].trainer_for(folder)
    write = trainer.learning._write

    def write_and_stop() -> Path:
        if trainer.steps == 256:
            write()
            # Before the table has its row.
            raise KeyboardInterrupt
        return write()

    trainer.learning._write = write_and_stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert main(["train", str(run / "config.yaml"), "--resume", str(run)]) == 0
    assert rows_of(run) == rows_of(trained)
    ours, theirs = (read_archive(path / "checkpoint.pt")["training"]["collector"]["env"] for path in (run, trained))
    assert ours["generators"] == theirs["generators"]
    assert (ours["simulation"]["arrays"]["rings"] == theirs["simulation"]["arrays"]["rings"]).all()


def test_a_run_is_compared(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "evaluation.json", tmp_path / "report.html"
    assert main(["evaluate", str(trained), "--seeds", "6", "--json", str(out), "--report", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "configured: 6 streams of 60 requests" in printed
    assert "3 replicas, drawn" in printed
    found = json.loads(out.read_text())
    assert set(found["systems"]) == {"configured", "3 replicas, drawn"}
    for system in found["systems"].values():
        assert set(system["routers"]) == {"policy", "jsq", "oracle"}
        assert set(system["routers"]["policy"]) == EVALUATED
        for metrics in system["routers"].values():
            assert all(value["ci95"][0] <= value["mean"] <= value["ci95"][1] for value in metrics.values())
        assert set(system["regret"]["oracle"]) == {"policy", "jsq"}
    assert "Learning" in page.read_text()


def test_runs_stand_beside_one_another(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same checkpoint under two names has the same figures in all three rows, whatever it is compared with."""
    again = tmp_path / "again"
    shutil.copytree(trained, again)
    arguments = ["evaluate", str(trained), "--beside", str(again), "--json", "-"]
    assert main(arguments) == 0
    # A copy is not another training.
    assert all(not system["runs_together"] for system in json.loads(capsys.readouterr().out)["systems"].values())
    config = again / "config.yaml"
    config.write_text(re.sub(r"^seed: .*$", "seed: 101", config.read_text(), flags=re.MULTILINE))
    page = tmp_path / "report.html"
    assert main([*arguments, "--report", str(page)]) == 0
    for system in json.loads(capsys.readouterr().out)["systems"].values():
        routers, together = system["routers"], "queue_routing_base, 2 runs"
        assert list(routers) == ["policy", "again", together, "jsq", "oracle"]
        assert routers["again"] == routers["policy"]
        mean = routers["policy"]["mean_latency"]["mean"]
        assert routers[together]["mean_latency"] == {"mean": mean, "ci95": [mean, mean]}
        assert system["regret"]["oracle"][together]["p99_latency"]["mean"] != 0.0
        assert system["runs_together"] == {together: ["policy", "again"]}
    assert "mean over policy, again" in page.read_text()


def test_a_router_alone_needs_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--policy", "sed", "--seeds", "16", "--requests", "1000", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]["configured"]
    assert set(found["routers"]) == {"sed", "oracle"}
    assert found["routers"]["sed"]["mean_latency"]["mean"] == pytest.approx(0.2705, rel=0.1)
    assert found["optimum"]["mean_latency"] == 0.2332
    # A name that two domains know: the first one, unless told otherwise.
    arguments = ["--policy", "oracle", "--domain", "queue_routing", "--seeds", "5", "--requests", "100", "--json", "-"]
    assert main(["evaluate", *arguments]) == 0
    assert set(json.loads(capsys.readouterr().out)["systems"]["configured"]["routers"]) == {"oracle"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "sedd"], "--policy: evaluation.against: 'sedd' is not a router; did you mean sed?"),
        (["--policy", "sed", "--seeds", "0"], "--seeds: evaluation.seeds: 0 is not in [1, inf)"),
        (["--policy", "sed", "--workload", "flash"], "--workload: not for queue_routing"),
        (["--policy", "hpa_80", "--requests", "5"], "--requests: not for autoscaling"),
        (["RUN", "--domain", "queue_routing"], "--domain goes with --policy"),
        (["RUN", "--against", "hpa_80"], "'hpa_80' is not a router"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *(str(trained) if argument == "RUN" else argument for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.credit=node", "ppo.credit: 'node' needs a reward a node"),
        ("evaluation.against=[hpa_80]", "evaluation.against: 'hpa_80' is not a router; known: random"),
        ("warm_start.teacher=jsq", "warm_start.teacher: 'jsq' is not a teacher; known: jsq_affinity"),
        ("warm_start.teacher=sed", "environment.show_work: warm_start.teacher 'sed' looks at the expected work"),
        ("environment.types=[A, A]", "environment.types: types: 'A' appears 2 times"),
        ("environment.arrival_rates=[6.0]", "environment.arrival_rates: 1 rates for 2 types"),
        ("environment.arrival_rates=[6.0, 0.0]", "item 1: 0.0 is not in (0, inf)"),
        ("environment.queue_wieght=1.0", "environment.queue_wieght: unknown key; did you mean queue_weight?"),
        ("evaluation.replicas=[9]", "environment.max_replicas: 2 is too few for 9 replicas"),
    ],
)
def test_a_configuration_that_cannot_be_is_told(
    override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", BASE, "--set", override]) == 2
    assert message in capsys.readouterr().err


def test_a_router_can_teach(tmp_path: Path) -> None:
    run = tmp_path / "run"
    warm = [
        "warm_start.teacher=affinity",
        "warm_start.clone_steps=256",
        "warm_start.clone_epochs=4",
        "training.total_steps=128",
    ]
    overrides = [argument for override in warm for argument in ("--set", override)]
    assert main(["train", BASE, "--out", str(run), *SMALL, *overrides]) == 0
    cloned = json.loads((run / "training.jsonl").read_text().splitlines()[0])
    # Better than the 2 in 5 that choosing at random among two or three replicas would give.
    assert cloned["clone/agreement"] > 0.45
