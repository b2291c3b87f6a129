"""The optimum of the two-queue model is known: learning has to come near it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnnrl.agents.iteration import iterations
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.config.loader import load_experiment
from gnnrl.config.queue_routing import QueueRoutingEvaluation, QueueRoutingExperiment
from gnnrl.domains.queue_routing.env import QueueRoutingVectorEnv
from gnnrl.evaluation.queue_routing.comparison import POLICY, compare
from gnnrl.evaluation.queue_routing.play import validate

TUNED = Path(__file__).parents[2] / "configs" / "queue_routing_tuned.yaml"


def learned(steps: int) -> tuple[QueueRoutingExperiment, PPO_GNN]:
    config = load_experiment(TUNED)
    assert isinstance(config, QueueRoutingExperiment)
    torch.set_num_threads(1)
    env = QueueRoutingVectorEnv(config.training.num_envs, config.environment, copy=False)
    agent = PPO_GNN(
        env.single_observation_space, env.single_action_space, config=config.ppo, encoder=config.encoder, seed=1
    )
    for _ in iterations(agent, env, steps):
        pass
    return config, agent.train(False)


def test_a_few_thousand_choices_teach_more_than_the_shortest_queue_knows() -> None:
    config, agent = learned(30_000)
    found = validate(config.environment, agent)
    # Joining the shortest queue takes 0.8975 s, sending every type to its fast replica 0.25 s.
    assert found["mean_latency"] <= 0.30
    assert found["routing_accuracy"] >= 0.8


@pytest.mark.slow
def test_a_minute_of_learning_comes_within_five_percent_of_the_optimum() -> None:
    config, agent = learned(400_000)
    asked = QueueRoutingEvaluation(against=("affinity", "oracle"), seeds=64, arrivals=10_000)
    (system,) = compare(replace(config, evaluation=asked), agent).systems
    assert system.mean(POLICY, "mean_latency").mean <= 0.245
    assert system.mean(POLICY, "p99_latency").mean <= 1.10
    assert system.mean(POLICY, "routing_accuracy").mean >= 0.90
    # Better than the best rule that does not look at the queues, whatever the requests.
    assert system.regret(POLICY, "affinity", "mean_latency").high < 0.0
    assert system.regret(POLICY, "oracle", "mean_latency").high <= 0.05
