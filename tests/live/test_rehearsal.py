"""Over real sockets, through the real clients, the loop comes to what evaluation comes to; and with faults it comes through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import ChurnConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation.runner import play
from gnnrl.evaluation.scenarios import draw_scenarios
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.policies import LivePolicyError, load_run, policy_controller
from gnnrl.live.rehearsal import in_listing_order, rehearse, rehearse_all
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.session import LiveOptions

LIVE = LiveConfig(temperature=0.5, guardrails=GuardrailConfig(start_hold_seconds=0.0))
"""Without the hold after the start of a loop, which evaluation does not know."""
DECISIONS = 60


def lowered(record: IntervalRecord) -> list[str]:
    return [one.service for one in record.services if one.outcome == "patched" and one.final < one.current]


def test_an_episode_with_additions_comes_to_the_same_seconds_as_evaluated(run: Path) -> None:
    agent, experiment = load_run(run, LIVE)
    environment = replace(
        experiment.environment, churn=ChurnConfig(service_added_per_hour=6.0, pod_crashed_per_hour=6.0)
    )
    drawn = draw_scenarios(
        environment, ("bursty",), 1, split=Split.HELD_OUT, violation_weight=LIVE.violation_weight, decisions=DECISIONS
    )
    scenarios = replace(drawn, episodes=tuple(in_listing_order(episode) for episode in drawn.episodes))
    assert scenarios.episodes[0].churn.events
    live, rehearsals = rehearse_all("policy", LiveOptions(config=LIVE, namespace="", run=run), scenarios)
    evaluated = play(
        policy_controller(agent, environment, LIVE),
        scenarios,
        violation_weight=LIVE.violation_weight,
        guardrails=LIVE.guardrails,
    )
    records = rehearsals[0].records
    assert len(records) == DECISIONS and all(record.valid for record in records)
    for metric in ("replica_seconds", "violating_share", "scale_moves", "replica_changes"):
        np.testing.assert_allclose(live.metrics[metric], evaluated.metrics[metric], rtol=1e-6, err_msg=metric)
    np.testing.assert_allclose(live.replicas, evaluated.replicas, rtol=1e-6)
    assert live.metrics["scale_moves"][0] > 10, "something was decided"
    assert live.guardrails["birth_hold"].sum() > 0, "services came, and on the wire too nothing was lowered for it"
    for name in ("newborn", "young", "birth_hold", "errors_hold"):
        np.testing.assert_array_equal(live.guardrails[name], evaluated.guardrails[name], err_msg=name)


def test_without_kiali_everything_is_held_and_then_the_fallback_only_raises(run: Path) -> None:
    _, experiment = load_run(run, LIVE)
    environment = replace(experiment.environment, churn=ChurnConfig())
    (episode,) = draw_scenarios(
        environment, ("diurnal",), 1, split=Split.HELD_OUT, violation_weight=200.0, decisions=30
    ).episodes
    # A third of the load's replicas: CPU is high, and whoever decides raises.
    mesh = episode.mesh
    few = tuple(replace(s, replicas=max(1, s.replicas // 3)) for s in mesh.services)
    episode = replace(episode, mesh=replace(mesh, services=few))
    down = FaultSpec.parse("kiali:http_503:20:320")
    played = rehearse(LiveOptions(config=LIVE, namespace="", run=run), environment, episode, [down])
    blind = [record for record in played.records if not record.valid]
    patient = LIVE.guardrails.fallback_after_intervals
    assert len(blind) == pytest.approx(20, abs=1)
    assert not any(lowered(record) for record in blind)
    assert not any(one.changed for record in blind[: patient - 1] for one in record.services)
    raised = [one for record in blind[patient - 1 :] for one in record.services if one.changed]
    assert raised and all("fallback_floor" in one.guardrails for one in raised)
    assert all("503" in " ".join(record.problems) for record in blind)
    assert [record.valid for record in played.records[-8:]] == [True] * 8


def test_a_policy_trained_on_other_telemetry_or_timing_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(LivePolicyError, match=r"decides every 15 s, the loop every 30 s; set\s+interval_seconds"):
        load_run(run, replace(LIVE, interval_seconds=30))
    with pytest.raises(LivePolicyError, match="graph_window_seconds: 60, the loop asks for 90"):
        load_run(run, replace(LIVE, graph_window_seconds=90))
    exact = tmp_path / "exact"
    exact.mkdir()
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (exact / "config.yaml").write_text(text.replace("telemetry: kiali", "telemetry: exact"), encoding="utf-8")
    (exact / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes())
    with pytest.raises(LivePolicyError, match=r"train with telemetry: kiali \(configs/online_boutique_live.yaml\)"):
        load_run(exact, LIVE)
    # A checkpoint of another action space beside this configuration.
    environment = replace(load_run(run, LIVE)[1].environment, action_mode="select")
    env = MeshVectorEnv(1, environment)
    PPO_GNN(env.single_observation_space, env.single_action_space).save(exact / "checkpoint.pt")  # type: ignore[arg-type]
    (exact / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LivePolicyError, match="has the actions Discrete"):
        load_run(exact, LIVE)
