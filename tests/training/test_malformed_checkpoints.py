"""A training is gone on with as a whole or not at all: agent, environments and generators stand as before where it is refused."""

from __future__ import annotations

import copy
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnnrl.agents import CheckpointError, saved_training
from gnnrl.agents.archive import read_archive, write_archive
from gnnrl.agents.iteration import Collector
from gnnrl.agents.saved_training import Standing, held_training, load_training
from gnnrl.cli.main import main
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.queue_routing.env import QueueRoutingVectorEnv
from tests.agents.poisoned import STRUCTURAL, at, poison, poisoned, same
from tests.agents.small import small_agent
from tests.toy_mesh import ToyMesh
from tests.training.small import small_config

WORLDS = {
    "toy": lambda: ToyMesh(num_envs=3),
    "autoscaling": lambda: MeshVectorEnv(
        2, AutoscalingConfig(episode_decisions=20, telemetry="kiali", churn=ChurnConfig(pod_crashed_per_hour=60.0))
    ),
    "queue_routing": lambda: QueueRoutingVectorEnv(2, QueueRoutingConfig()),
    "llm_routing": lambda: LLMRoutingVectorEnv(2, LLMRoutingConfig(episode_requests=40)),
}
ABOUT = asdict(small_config())


def save_training(path, agent, collector, steps):
    write_archive(path, held_training(ABOUT, agent, collector, Standing(steps=steps)))


def training(world: str, seed: int = 0, steps: int = 9):
    """Agent and collector in mid-episode."""
    env = WORLDS[world]()
    agent = small_agent(env, seed=seed, credit="graph", rollout_length=64)
    collector = Collector(env, seed)
    collector.reset(agent)
    agent.scaler.update(collector.obs)
    agent.train()
    for _ in range(steps):
        action, collector.state = agent.act(collector.obs, collector.state)
        collector.obs, *answer = env.step(action)
        agent.store_transition(*answer)
    return agent, collector


@pytest.fixture(scope="module", params=WORLDS)
def saved(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "checkpoint.pt"
    agent, collector = training(request.param)
    save_training(path, agent, collector, 77)
    return path, read_archive(path), request.param, training(request.param, seed=5, steps=4)


def everything(agent, collector):
    generators = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())  # noqa: NPY002
    return copy.deepcopy((agent.state_dict(), collector.state_dict(), generators))


def test_the_good_one_is_gone_on_with(saved):
    path, tree, world, _ = saved
    agent, collector = training(world, seed=3, steps=2)
    assert load_training(path, ABOUT, agent, collector).steps == 77
    assert same(agent.state_dict(), tree["agent_state"])
    assert same(collector.state_dict(), tree["training"]["collector"])
    fresh = Collector(WORLDS[world](), 0)  # as a resumed process has it, before any reset
    assert load_training(path, ABOUT, small_agent(fresh.env, credit="graph", rollout_length=64), fresh).steps == 77
    assert same(fresh.state_dict(), tree["training"]["collector"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_wrong_thing_in_a_training_is_told_and_changes_nothing(saved, data):
    path, tree, _, (agent, collector) = saved
    drawn = poison(tree, STRUCTURAL, lambda place: place[0] == "training" or place in (("agent_state",), ("training",)))
    place, how, wrong = data.draw(drawn)
    before = everything(agent, collector)
    refused = ""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(saved_training, "read_archive", lambda _: wrong)
            load_training(path, ABOUT, agent, collector)
    except CheckpointError as error:
        refused = str(error)
    if refused:
        assert refused.startswith(f"{path}: "), refused[:300]
        assert same(everything(agent, collector), before), (place, how)
    else:
        # Names come and go: a table of slots without one is another table, not a wrong one.
        assert "tables" in place or place[-3:-1] == ("numpy", "rest"), (place, how)
        load_training(path, ABOUT, agent, collector)


def test_what_an_environment_refuses_leaves_it_as_it_was(tmp_path):
    agent, collector = training("toy")
    save_training(tmp_path / "checkpoint.pt", agent, collector, 8)
    tree = read_archive(tmp_path / "checkpoint.pt")
    tree["training"]["collector"]["env"]["rng"] = "{}"  # the last thing that a toy mesh reads
    write_archive(tmp_path / "checkpoint.pt", tree)
    agent, collector = training("toy", seed=5)
    before = everything(agent, collector)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: training\.collector\.env: "):
        load_training(tmp_path / "checkpoint.pt", ABOUT, agent, collector)
    assert same(everything(agent, collector), before)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("steps",), -1, "training.steps: -1 is no number of steps"),
        (("prepared",), "0", "training.prepared: 0 is no number of prepared"),
        (("newest",), ["reward"], "training.newest: is no row of texts"),
        (("pending",), {"steps": 3}, "training.pending"),
        (("config",), "{", "training.config: is no configuration"),
        (("config",), "[]", "training.config: is no configuration"),
        (("generators", "python"), "[3, [1, 2], null]", "generators.python: is no state of its generator"),
        (("generators", "numpy", "kind"), "PCG64", "generators.numpy: is no state of its generator"),
        (("generators", "torch"), torch.zeros(3, dtype=torch.uint8), "generators.torch: is no state of its generator"),
        (("collector", "state", 0), torch.full((3, 6, 8), torch.nan), "collector.state[0]: is not finite"),
        (("collector", "obs", "nodes"), np.full((3, 6, 4), np.nan, np.float32), "collector.obs.nodes: is not finite"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, place, value, said):
    agent, collector = training("toy")
    save_training(tmp_path / "checkpoint.pt", agent, collector, 8)
    tree = read_archive(tmp_path / "checkpoint.pt")
    at(tree["training"], place[:-1])[place[-1]] = value
    write_archive(tmp_path / "checkpoint.pt", tree)
    with pytest.raises(CheckpointError) as caught:
        load_training(tmp_path / "checkpoint.pt", ABOUT, agent, collector)
    assert said in str(caught.value)


def test_evaluate_and_resume_say_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[2] / "configs" / "queue_routing_high_load.yaml"
    run = tmp_path / "run"
    small = ["training.total_steps=64", "training.num_envs=2", "warm_start.teacher=''", "ppo.rollout_length=16"]
    small += ["training.evaluate_every_steps=0", "training.checkpoint_every_steps=32"]
    flags = [part for one in small for part in ("--set", one)]
    assert main(["train", str(config), "--out", str(run), *flags]) == 0
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        settings.replace("total_steps: 64", "total_steps: 128")
    )  # so that there is something to resume
    tree = read_archive(run / "checkpoint.pt")
    place = ("agent_state", "model", "head.logits.weight")
    for how, said in (("nan", "is not finite"), ("delete", "is missing"), ("reshaped", "has shape")):
        write_archive(run / "checkpoint.pt", poisoned(tree, place, how))
        for command in (
            ["evaluate", str(run), "--seeds", "2"],
            ["train", "--resume", str(run)],
        ):
            capsys.readouterr()
            assert main(command) != 0
            told = [line for line in capsys.readouterr().err.splitlines() if "checkpoint.pt" in line]
            assert len(told) == 1 and said in told[0] and "head.logits.weight" in told[0], told
    (run / "revision.json").write_text("[]")
    assert main(["evaluate", str(run)]) != 0
    assert "revision.json: is no JSON object" in capsys.readouterr().err
