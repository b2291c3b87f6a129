"""An environment, a fleet or a load that cannot be: in a configuration file and in a library call, an error that names the field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gnnrl.cli.main import main
from gnnrl.config.errors import ConfigError
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv

CONFIG = str(Path(__file__).parents[3] / "configs" / "llm_routing_hidden_speeds.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("environment.scheduler=sglang", "'sglang' is not one of sarathi, vllm, orca, faster_transformer"),
        ("environment.reward=best", "'best' is not one of minus_latency, delta, instant, hybrid"),
        ("environment.qps=0", "environment.qps: 0 is not in (0, inf)"),
        ("environment.qps=.nan", "environment.qps: nan is not finite"),
        ("environment.time_factors=[]", "environment.time_factors: [] is too short, at least one value is expected"),
        ("environment.time_factors=[1, 0]", "environment.time_factors"),
        ("environment.scenarios=[C]", "'C' is not a scenario; known: fixed, A, B, E, elastic"),
        ("environment.lengths=books", "'books' is not one of conversation, code, mixed, vidur, fixed"),
        ("environment.arrivals=uniform", "'uniform' is not one of poisson, gamma, vidur_poisson"),
        ("environment.length_hint=guess", "'guess' is not one of absent, predicted, true"),
        ("environment.max_replicas=0", "environment.max_replicas: 0 is not in [1, inf)"),
        ("evaluation.against=[round_robbin]", "'round_robbin' is not a router; did you mean round_robin?"),
        ("warm_start.teacher=guess", "'guess' is not a teacher; known: "),
    ],
)
def test_a_configuration_names_the_field(override: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", CONFIG, "--set", override]) == 2
    told = capsys.readouterr().err
    assert message in told and override.split("=")[0] in told


def test_an_unknown_router_is_not_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--policy", "lor", "--domain", "llm_routing"]) == 2
    assert "'lor' is not a router; known: random, round_robin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": "best"}, "environment.reward: 'best' is not one of minus_latency, delta, instant, hybrid"),
        ({"scheduler": "sglang"}, "environment.scheduler: 'sglang' is not one of sarathi, vllm"),
        ({"scenarios": ("C",)}, "environment.scenarios: 'C' is not a scenario; known: fixed, A, B"),
        ({"scenarios": (), "qps": 0.0}, "environment.qps: 0.0 is not in (0, inf)"),
        ({"scenarios": (), "time_factors": ()}, "environment.time_factors: () is too short"),
        ({"scenarios": (), "time_factors": (1.0,) * 5}, "environment.max_replicas: 4 is too few for the 5 replicas of"),
        ({"scenarios": (), "lengths": "books"}, "environment.lengths: 'books' is not one of conversation, code"),
        ({"scenarios": (), "arrivals": "uniform"}, "environment.arrivals: 'uniform' is not one of poisson"),
        ({"length_hint": "guess"}, "environment.length_hint: 'guess' is not one of absent"),
        ({"episode_requests": 0}, "environment.episode_requests: 0 is not in [1, inf)"),
        ({"max_replicas": 0}, "environment.max_replicas: 0 is not in [1, inf)"),
        ({"slow_factor": (3.0, 1.0)}, "environment.slow_factor: [3.0, 1.0] is not a range"),
    ],
)
def test_a_library_call_is_told_the_same(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        LLMRoutingVectorEnv(2, **changes)
