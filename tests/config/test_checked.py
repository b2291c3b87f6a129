"""The configuration classes refuse what a file may not hold, in the same words, and all of it at once."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import gnnrl
from gnnrl.config.checked import configured, unchecked
from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import (
    AutoscalingConfig,
    ChurnConfig,
    EncoderConfig,
    EvaluationConfig,
    ExperimentConfig,
    PPOConfig,
    RandomisationConfig,
    TemperatureConfig,
    TrainingConfig,
)
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.config.loader import dump_config, parse_config
from gnnrl.config.queue_routing import QueueRoutingConfig, QueueRoutingEvaluation, QueueRoutingExperiment


@pytest.mark.parametrize(
    ("cls", "values", "told"),
    [
        (PPOConfig, {"gamma": 2.0}, "ppo.gamma: 2.0 is not in (0, 1]"),
        (PPOConfig, {"epochs": 0}, "ppo.epochs: 0 is not in [1, inf)"),
        (PPOConfig, {"epochs": 2.0}, "ppo.epochs: 2.0 is not an integer"),
        (PPOConfig, {"learning_rate": float("nan")}, "ppo.learning_rate: nan is not finite"),
        (PPOConfig, {"clip": True}, "ppo.clip: true is not a number"),
        (PPOConfig, {"normalise_reward": 1}, "ppo.normalise_reward: 1 is not true or false"),
        (PPOConfig, {"chunk_length": 5}, "ppo.chunk_length: 5 does not divide ppo.rollout_length, which is 64"),
        (PPOConfig, {"temperature": {"base": 1.0}}, "ppo.temperature: {'base': 1.0} is not a TemperatureConfig"),
        (TemperatureConfig, {"base": 0.1}, "ppo.temperature.base: 0.1 is not in [lowest, highest], which is [0.8, 3.0]"),
        (TrainingConfig, {"num_envs": 0}, "training.num_envs: 0 is not in [1, inf)"),
        (EncoderConfig, {"heads": 3}, "encoder.heads: 3 does not divide encoder.hidden, which is 64"),
        (EncoderConfig, {"kind": "tgm"}, "encoder.kind: 'tgm' is not one of tgn, gnn, tgn+gnn, mlp, gru; did you mean tgn?"),
        (AutoscalingConfig, {"goal": "money"}, "environment.goal: 'money' is not one of slo, latency, cost"),
        (
            AutoscalingConfig,
            {"min_replicas": 30, "max_replicas": 5},
            "environment.max_replicas: 5 is below environment.min_replicas, which is 30",
        ),
        (
            AutoscalingConfig,
            {"mesh": "online_boutique"},
            "environment.mesh: 'online_boutique' is not a list; a list of it alone is ['online_boutique']",
        ),
        (AutoscalingConfig, {"workloads": ()}, "environment.workloads: () is too short, at least one value is expected"),
        (AutoscalingConfig, {"peak_replicas": (1.0, -2.0)}, "environment.peak_replicas: item 1: -2.0 is not in (0, inf)"),
        (AutoscalingConfig, {"peak_replicas": (1.0,)}, "environment.peak_replicas: (1.0,) has 1 values, 2 are expected"),
        (
            AutoscalingConfig,
            {"metrics_lag_seconds": 20},
            "environment.metrics_lag_seconds: 20 is not a multiple of environment.decision_seconds, which is 15",
        ),
        (
            RandomisationConfig,
            {"startup_factor": (2.0, 1.0)},
            "environment.randomisation.startup_factor: [2.0, 1.0] is not a range, its low end is above its high end",
        ),
        (ChurnConfig, {"pod_crashed_per_hour": -1}, "environment.churn.pod_crashed_per_hour: -1 is not in [0, inf)"),
        (ChurnConfig, {"cutover": "soft"}, "environment.churn.cutover: 'soft' is not one of gated, hard"),
        (ChurnConfig, {"ramp": (0.5, 1.0)}, "environment.churn.ramp: item 1: 1.0 is not in (0, 1)"),
        (ChurnConfig, {"ramp": (0.5, 0.5)}, "environment.churn.ramp: [0.5, 0.5] does not rise from one share to the next"),
        (EvaluationConfig, {"seeds": "3"}, "evaluation.seeds: '3' is not an integer"),
        (QueueRoutingConfig, {"types": ("A",)}, "environment.arrival_rates: 2 rates for 1 types"),
        (QueueRoutingConfig, {"max_replicas": 1}, "environment.max_replicas: 1 is too few for 2 replicas"),
        (LLMRoutingConfig, {"qps": None}, "environment.qps: nothing is not a number"),
        (GuardrailConfig, {"min_replicas": 30}, "guardrails.max_replicas: 20 is below guardrails.min_replicas, which is 30"),
        (LiveConfig, {"graph_window_seconds": 40}, "graph_window_seconds: 40 is not a multiple of interval_seconds, which is 15"),
    ],
)  # fmt: skip
def test_a_value_that_may_not_be_is_named_with_its_range(cls: type[Any], values: dict[str, Any], told: str) -> None:
    for make in (lambda: cls(**values), lambda: replace(cls(), **values)):
        with pytest.raises(ConfigError) as caught:
            make()
        assert f"{cls.__name__}: {told}" in caught.value.errors
    assert isinstance(caught.value, ValueError)
    assert pickle.loads(pickle.dumps(caught.value)).errors == caught.value.errors


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        PPOConfig(gamma=2.0, epochs=0, credit="nodes")
    assert [line.split(": ")[1] for line in caught.value.errors] == ["ppo.gamma", "ppo.epochs", "ppo.credit"]


def test_rules_across_sections_hold_for_a_whole_experiment() -> None:
    with pytest.raises(ConfigError, match=r"ExperimentConfig: training.total_steps: 64 is less than one rollout"):
        ExperimentConfig(training=TrainingConfig(total_steps=64))
    with pytest.raises(ConfigError, match=r"ppo.credit: encoder.kind gru has one value a graph"):
        replace(ExperimentConfig(), encoder=EncoderConfig(kind="gru"))
    with pytest.raises(
        ConfigError, match=r"ppo.temperature.enabled: environments of autoscaling do not say throughput"
    ):
        ExperimentConfig(ppo=PPOConfig(temperature=TemperatureConfig(enabled=True)))
    # What only another section could break is no fault of one section alone.
    assert PPOConfig(temperature=TemperatureConfig(enabled=True)).temperature.enabled
    assert LLMRoutingExperiment(ppo=PPOConfig(temperature=TemperatureConfig(enabled=True))).ppo.temperature.enabled
    with pytest.raises(ConfigError, match=r"environment.max_replicas: 2 is too few for 9 replicas"):
        QueueRoutingExperiment(evaluation=QueueRoutingEvaluation(replicas=(9,)))


def test_a_file_and_python_refuse_in_the_same_words() -> None:
    with pytest.raises(ConfigError) as by_file:
        parse_config(dump_config(ExperimentConfig()), ["ppo.gamma=2.0", "environment.goal=money"], source="f.yaml")
    with pytest.raises(ConfigError) as gamma:
        PPOConfig(gamma=2.0)
    with pytest.raises(ConfigError) as goal:
        AutoscalingConfig(goal="money")
    words = {line.split(": ", 1)[1] for line in (*gamma.value.errors, *goal.value.errors)}
    assert {line.split(": ", 1)[1] for line in by_file.value.errors} == words


def test_numbers_of_numpy_and_lists_are_taken_as_python_s_own() -> None:
    config = AutoscalingConfig(
        mesh=["online_boutique"],
        max_replicas=np.int64(7),
        peak_replicas=[np.float32(3.0), 5],
        change_weight=np.array(0.5),
    )
    assert config.mesh == ("online_boutique",)
    assert type(config.max_replicas) is int and config.peak_replicas == (3.0, 5) and config.change_weight == 0.5
    assert hash(config) == hash(copy.deepcopy(config)) and dump_config(ExperimentConfig(environment=config))


def test_the_defaults_are_sound_and_nothing_is_checked_where_that_is_asked_for() -> None:
    for cls in (ExperimentConfig, QueueRoutingExperiment, LLMRoutingExperiment, LiveConfig):
        assert replace(cls()) == cls()
    with unchecked():
        wrong = PPOConfig(gamma=2.0)
    with pytest.raises(ConfigError, match=r"gamma"):
        replace(wrong, epochs=3)


def test_changes_of_an_environment_are_judged_together() -> None:
    changes = {"episode_decision": 3, "goal": "money", "mesh": ("nope",)}
    with pytest.raises(ConfigError) as caught:
        configured(AutoscalingConfig, None, changes, where="Env")
    assert caught.value.errors == (
        "Env: environment.episode_decision: unknown key; did you mean episode_decisions?",
        "Env: environment.goal: 'money' is not one of slo, latency, cost",
    )
    with pytest.raises(ConfigError, match=r"Env: config: PPOConfig.* is not an AutoscalingConfig"):
        configured(AutoscalingConfig, PPOConfig(), {}, where="Env")  # type: ignore[type-var]


def test_every_section_says_where_it_stands() -> None:
    for cls in (ExperimentConfig, QueueRoutingExperiment, LLMRoutingExperiment, LiveConfig):
        for field in fields(cls):
            section = getattr(getattr(cls(), field.name), "section", field.name)
            assert section == field.name
    assert gnnrl.ConfigError is ConfigError
