"""LLM routers and policies on the same streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gnnrl.config.experiment import PPOConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingEvaluation, LLMRoutingExperiment
from gnnrl.domains.llm_routing.teachers import taught
from gnnrl.evaluation.llm_routing.comparison import POLICY, compare
from gnnrl.evaluation.llm_routing.play import METRICS


class ByRule:
    """A policy that decides as a teacher does."""

    def act(self, obs: Any, state: Any = None, *_: Any, **__: Any) -> tuple[np.ndarray[Any, Any], Any]:
        return taught("speed_weighted_outstanding", obs), state


def test_a_policy_meets_the_requests_that_the_routers_meet() -> None:
    """By inferred speeds it comes near the router that is told them, and both are better than the reference."""
    config = LLMRoutingExperiment(
        ppo=PPOConfig(credit="graph"),
        environment=LLMRoutingConfig(changes_per_1000=500.0),
        evaluation=LLMRoutingEvaluation(
            seeds=4, requests=1500, against=("least_outstanding", "speed_weighted_outstanding")
        ),
    )
    evaluation = compare(config, ByRule(), label="by rule")
    told = evaluation.playbacks["speed_weighted_outstanding"].values("e2e_mean_s")
    assert evaluation.playbacks[POLICY].values("e2e_mean_s") == pytest.approx(told, rel=0.03)
    assert evaluation.change(POLICY, "e2e_mean_s").high < 0.0
    assert evaluation.change("least_outstanding", "e2e_p99_s").mean == 0.0
    document = evaluation.to_json()
    assert set(document["routers"][POLICY]) == set(METRICS)
    assert document["unfinished"] == dict.fromkeys(evaluation.playbacks, 0)
