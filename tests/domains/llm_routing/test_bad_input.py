"""An environment, a fleet or a load that cannot be: in a configuration file and in a library call, an error that names the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnnrl.cli.main import main
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.llm_routing.errors import LLMRoutingError

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
        ({"reward": "best"}, "reward 'best' is not known; there are minus_latency, delta, instant, hybrid"),
        ({"scheduler": "sglang"}, "scheduler 'sglang' is not known"),
        ({"scenarios": ("C",)}, "scenario 'C' is not known"),
        ({"scenarios": (), "qps": 0.0}, "qps 0.0 is not a positive number"),
        ({"scenarios": (), "time_factors": ()}, "0 replicas; there must be 1..4"),
        ({"scenarios": (), "time_factors": (1.0,) * 5}, "5 replicas; there must be 1..4"),
        ({"scenarios": (), "lengths": "books"}, "lengths 'books' are not known; there are conversation, code"),
        ({"scenarios": (), "arrivals": "uniform"}, "arrivals 'uniform' are not known"),
        ({"length_hint": "guess"}, "length hint 'guess' is not known"),
        ({"episode_requests": 0}, "episode_requests 0 is not >= 1"),
        ({"max_replicas": 0}, "max_replicas 0 is not >= 1"),
        ({"slow_factor": (3.0, 1.0), "changes_per_1000": 5.0}, r"slow_factor \(3.0, 1.0\) is not a range"),
    ],
)
def test_a_library_call_is_told_the_same(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LLMRoutingError, match=message):
        LLMRoutingVectorEnv(2, **changes).reset(seed=0)
