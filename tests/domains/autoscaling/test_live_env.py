"""The live environment against the sandbox, over real sockets on a stepped clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import requests
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import gnnrl  # noqa: F401 - registers
from gnnrl.agents import PPO_GNN
from gnnrl.cluster.actuator import ScaleRequest, ScaleResult
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.errors import ClusterUnavailableError
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, EncoderConfig, PPOConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.domains.autoscaling.cluster_access import ClusterAccess
from gnnrl.domains.autoscaling.episode import Split, draw_episode, warm_up_seconds
from gnnrl.domains.autoscaling.live_env import LiveMeshEnv
from gnnrl.domains.autoscaling.sensing import CapacityExceeded, Sensing
from gnnrl.envs import LiveOnlineBoutique, OnlineBoutique
from gnnrl.evaluation.controllers import PolicyController
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.loop import LiveLoop
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from gnnrl.live.sandbox.server import Sandbox
from gnnrl.live.tracked import TrackedController
from graph_space import check_observation
from graph_space.actions import ActionError
from graph_space.schema import ACTION_MASK, MOVES, NODE_MASK

CONFIG = AutoscalingConfig(telemetry="kiali", max_edges=64, episode_decisions=200)
TOKEN = "a-token-that-nobody-should-read"
HPAS = "/apis/autoscaling/v2/namespaces/onlineboutique/horizontalpodautoscalers"
DEPLOYMENTS = "/apis/apps/v1/namespaces/onlineboutique/deployments"
NOTHING = np.zeros(CONFIG.max_nodes, np.int64)


class Stage:
    """A sandbox in mid-morning, and environments of it."""

    def __init__(self, folder: Path, config: AutoscalingConfig = CONFIG, workload: str = "bursty") -> None:
        self.clock = SteppedClock(1_700_000_000.25)
        episode = draw_episode(config, Split.VALIDATION, 0, workload=workload, violation_weight=200.0)
        self.sandbox = Sandbox(config, episode, clock=self.clock, repeat=True, token=TOKEN)
        self.config, self.world = config, self.sandbox.world
        self.kubeconfig = folder / "kubeconfig"
        self._open: list[gymnasium.Env] = []

    def start(self) -> None:
        self.sandbox.start()
        write_kubeconfig(self.kubeconfig, self.sandbox.urls["kubernetes"], TOKEN, "onlineboutique")
        self.clock.sleep_until(self.clock.now() + warm_up_seconds(self.config))
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"

    def access(self) -> dict[str, Any]:
        # A busy machine is not what these tests are about.
        patient = {"read_deadline_seconds": 30.0}
        return {"kiali_url": self.sandbox.urls["kiali"], "kubeconfig": self.kubeconfig, "clock": self.clock, **patient}

    def env(self, config: AutoscalingConfig | None = None, **arguments: Any) -> LiveMeshEnv:
        env = OnlineBoutique(k8s=True, config=config or self.config, **{**self.access(), **arguments})
        assert isinstance(env, LiveOnlineBoutique)
        self._open.append(env)
        return env

    def replicas(self) -> dict[str, int]:
        return {view.name: view.replicas for view in self.world.workloads()}

    def ask(self, method: str, path: str, body: Any, kind: str = "application/json") -> None:
        url = self.sandbox.urls["kubernetes"] + path
        self.session.request(method, url, json=body, headers={"Content-Type": kind}).raise_for_status()

    def own(self, name: str) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        self.ask("POST", HPAS, {"metadata": {"name": name}, "spec": {"scaleTargetRef": target, "maxReplicas": 9}})

    def annotate(self, path: str, **annotations: str | None) -> None:
        stated = {f"gnnrl.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
        self.ask("PATCH", path, {"metadata": {"annotations": stated}}, "application/merge-patch+json")

    def break_for(self, fault: str, intervals: float) -> None:
        """From now on, `target:kind[@path]`."""
        head, _, path = fault.partition("@")
        now = self.clock.now() - self.world.origin_seconds
        self.sandbox.plan.add(FaultSpec.parse(f"{head}:{now}:{now + 15 * intervals}" + (f"@{path}" if path else "")))
        self.sandbox.beat()

    def close(self) -> None:
        self.sandbox.plan.clear()
        self.sandbox.beat()
        for env in self._open:
            env.close()
        self.session.close()
        self.sandbox.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.start()
    yield made
    made.close()


def slot_of(env: LiveMeshEnv, name: str) -> int:
    return next(slot for slot, found in env.slot_names().items() if found == name)


def move(env: LiveMeshEnv, **replicas: int) -> np.ndarray:
    action = NOTHING.copy()
    for name, change in replicas.items():
        action[slot_of(env, name)] = MOVES.tolist().index(change)
    return action


def drawn(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Mostly no move, else any legal one."""
    weight = mask * np.where(np.arange(mask.shape[1]) == 0, 8.0, 1.0)
    return (np.log(rng.random(mask.shape)) / np.maximum(weight, 1e-9)).argmax(-1) * (mask.sum(-1) > 0)


def test_a_move_arrives_in_the_world_and_a_reset_takes_it_back(stage: Stage) -> None:
    initial = stage.replicas()
    env = stage.env()
    assert env.slo_ms == stage.world.slo_ms
    began = stage.clock.now()
    obs, info = env.reset(seed=1)
    assert stage.clock.now() == began, "nothing was to be put back, everything was ready"
    assert obs in env.observation_space
    check_observation({key: value[None] for key, value in obs.items()}, env.observation_space.config)
    assert info["replicas"] == sum(initial.values()) and info["node_reward"].sum() == 0.0
    obs, _, terminated, truncated, info = env.step(move(env, cartservice=2, frontend=-1))
    assert stage.replicas() == {
        **initial, "cartservice": initial["cartservice"] + 2, "frontend": initial["frontend"] - 1
    }  # fmt: skip
    assert stage.clock.now() == began + 15
    assert (info["scale_moves"], info["illegal_actions"], info["held"], info["problems"]) == (3.0, 0.0, (), ())
    assert (terminated, truncated) == (False, False)
    assert 0 <= info["graph_age_seconds"] < 30 and 0 <= info["metrics_age_seconds"] < 31
    # A reset waits for pods and until the graph shows nothing of the time before.
    written = stage.clock.now()
    obs, info = env.reset()
    assert stage.replicas() == initial and info["scale_moves"] == 3.0
    assert 60 <= stage.clock.now() - written <= 90
    assert all(len(stage.world.pods(name)) == count for name, count in initial.items())
    assert obs["elapsed_seconds"] == 0.0 and (obs["prev_slot"] == -1).all()
    env.reset(options={"replicas": {"adservice": 4}})
    assert stage.replicas() == {**initial, "adservice": 4}
    env.reset()
    assert stage.replicas() == initial


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"replica": {}}, r"\['replica'\] unknown"),
        ({"replicas": {"nobody": 2}}, "no Deployment 'nobody'; there are"),
        ({"replicas": {"adservice": 21}}, "21 is no whole number from 1 to 20"),
        ({"replicas": {"adservice": True}}, "True is no whole number"),
    ],
)
def test_options_that_make_no_sense_change_nothing(stage: Stage, options: dict[str, Any], match: str) -> None:
    initial = stage.replicas()
    env = stage.env()
    with pytest.raises(ValueError, match=match):
        env.reset(options=options)
    assert stage.replicas() == initial


class Watcher(PolicyController):
    """Decides nothing and keeps what it was shown."""

    def decide(self, window: Any, now_seconds: float) -> np.ndarray:
        wanted = super().decide(window, now_seconds)
        self.shown = {name: value[0].copy() for name, value in self.observation.items()}
        return wanted


class Idle:
    def act(self, obs: dict[str, np.ndarray], state: Any = None, *_: Any, **__: Any) -> tuple[np.ndarray, Any]:
        return np.zeros(obs[NODE_MASK].shape, np.int64), state


class Nobody:
    def apply(self, changes: dict[str, ScaleRequest], redecide: object = None) -> dict[str, ScaleResult]:
        raise AssertionError(f"an onlooker writes nothing: {changes} {redecide}")


def loop_of(stage: Stage, watcher: Watcher, access: ClusterAccess) -> LiveLoop:
    sensing = Sensing(
        max_nodes=stage.config.max_nodes,
        max_edges=stage.config.max_edges,
        interval_seconds=15,
        stale_after_seconds=75.0,
        slo_ms=stage.world.slo_ms,
    )
    return LiveLoop(
        config=LiveConfig(guardrails=GuardrailConfig(newborn_replicas=0)),
        namespace="onlineboutique",
        controller=TrackedController(watcher, slo_ms=stage.world.slo_ms, violation_weight=400.0),
        fallback=None,
        sensing=sensing,
        reader=access.reader,
        writer=Nobody(),
        clock=stage.clock,
        policy="watcher",
        mode="shadow",
    )


def test_it_shows_what_the_policy_of_the_live_loop_sees_bit_for_bit(tmp_path: Path) -> None:
    churn = ChurnConfig(
        service_added_per_hour=30.0,
        service_renamed_per_hour=15.0,
        service_removed_per_hour=15.0,
        pod_crashed_per_hour=30.0,
    )
    stage = Stage(tmp_path, replace(CONFIG, episode_decisions=60, churn=churn))
    stage.start()
    access = ClusterAccess.open(
        "onlineboutique",
        stage.clock,
        kiali_url=stage.sandbox.urls["kiali"],
        kubeconfig=stage.kubeconfig,
        deadline_seconds=30.0,
    )
    try:
        env = stage.env(replace(stage.config, churn=ChurnConfig()))
        watcher = Watcher(Idle(), replace(stage.config, telemetry="exact", metrics_lag_seconds=0))
        loop = loop_of(stage, watcher, access)
        rng = np.random.default_rng(0)
        obs, _ = env.reset()
        meshes = set()
        for k in range(60):
            record = loop.interval()
            assert isinstance(record, IntervalRecord) and record.valid
            for name, value in watcher.shown.items():
                np.testing.assert_array_equal(obs[name], value, err_msg=f"decision {k}: {name}")
                assert obs[name].dtype == value.dtype
            meshes.add(env.mesh.names)
            obs, *_ = env.step(drawn(rng, obs[ACTION_MASK]))
        assert len(meshes) > 4, "services came and went"
    finally:
        access.close()
        stage.close()


def test_moves_outside_the_mask_are_counted_and_not_made(stage: Stage) -> None:
    env = stage.env()
    obs, _ = env.reset()
    initial = stage.replicas()
    action = move(env, cartservice=-7, frontend=1)
    action[obs[NODE_MASK].argmin()] = 3  # nobody stands there
    action[slot_of(env, "redis-cart")] = 1  # keeps state
    assert obs[ACTION_MASK][slot_of(env, "cartservice"), action[slot_of(env, "cartservice")]] == 0
    _, _, _, _, info = env.step(action)
    assert (info["illegal_actions"], info["scale_moves"]) == (3.0, 1.0)
    assert stage.replicas() == {**initial, "frontend": initial["frontend"] + 1}
    for wrong, told in (
        (NOTHING + 15, "15 is not in 0 .. 14"),
        (NOTHING[:3], "shape"),
        (NOTHING + 0.5, "dtype float64"),
        (NOTHING * np.nan, "nan is not an integer"),
    ):
        with pytest.raises(ActionError, match=told):
            env.step(wrong)
    assert stage.replicas() == {**initial, "frontend": initial["frontend"] + 1}


def test_select_moves_one_service(stage: Stage) -> None:
    env = stage.env(action_mode="select")
    env.reset()
    initial = stage.replicas()
    slot = slot_of(env, "emailservice")
    assert env.action_masks().shape == (300,) and env.action_masks()[slot * 15 + 2]
    _, _, _, _, info = env.step(slot * 15 + MOVES.tolist().index(2))
    assert stage.replicas() == {**initial, "emailservice": initial["emailservice"] + 2} and info["scale_moves"] == 2.0


def test_what_has_an_owner_is_never_written(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    env.step(move(env, frontend=2, adservice=1))
    grown = stage.replicas()
    stage.own("frontend")
    # It is owned only since the reading that this action is for: the next one shows it.
    obs, *_ = env.step(NOTHING)
    assert obs[ACTION_MASK][slot_of(env, "frontend")].tolist() == [1] + [0] * 14
    _, _, _, _, info = env.step(move(env, frontend=3))
    assert info["illegal_actions"] == 1.0 and stage.replicas() == grown
    initial = {**grown, "adservice": grown["adservice"] - 1}
    _, info = env.reset()
    assert stage.replicas() == initial, "frontend keeps what it had"
    assert info["held"] == ("frontend",)
    assert info["problems"] == (f"frontend: wanted {grown['frontend'] - 2}, allowed {grown['frontend']} (owned)",)
    env.step(move(env, adservice=1))
    env.close()
    assert stage.replicas() == initial


def test_what_is_paused_or_limited_by_annotation_is_held_and_named(stage: Stage) -> None:
    stage.annotate(f"{DEPLOYMENTS}/cartservice", pause="true")
    most = stage.replicas()["frontend"] + 1
    stage.annotate(f"{DEPLOYMENTS}/frontend", max=str(most))
    env = stage.env()
    env.reset()
    initial = stage.replicas()
    _, _, _, _, info = env.step(move(env, cartservice=2, frontend=4, adservice=1))
    assert stage.replicas() == {**initial, "frontend": most, "adservice": initial["adservice"] + 1}
    assert sorted(info["held"]) == ["cartservice", "frontend"] and info["scale_moves"] == 2.0
    assert (
        f"cartservice: wanted {initial['cartservice'] + 2}, allowed {initial['cartservice']} (paused)"
        in info["problems"]
    )


def test_while_owners_or_budgets_cannot_be_read_it_holds_or_never_lowers(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    initial = stage.replicas()
    stage.break_for("kubernetes:http_500@horizontalpodautoscalers", 1.5)
    _, _, _, _, info = env.step(NOTHING)
    assert info["waited_intervals"] == 0.0 and any(
        "horizontalpodautoscalers" in problem for problem in info["problems"]
    )
    _, _, _, _, info = env.step(move(env, adservice=2))
    assert info["held"] == ("adservice",) and info["scale_moves"] == 0.0, "it might have an owner"
    stage.break_for("kubernetes:http_500@poddisruptionbudgets", 1.5)
    env.step(NOTHING)
    _, _, _, _, info = env.step(move(env, frontend=-1, adservice=2))
    assert info["held"] == ("frontend",) and "(untrusted)" in info["problems"][0]
    assert stage.replicas() == {**initial, "adservice": initial["adservice"] + 2}


def test_what_somebody_switched_off_stays_off(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    initial = stage.replicas()
    stage.ask("PATCH", f"{DEPLOYMENTS}/adservice/scale", {"spec": {"replicas": 0}}, "application/merge-patch+json")
    env.step(NOTHING)
    _, _, _, _, info = env.step(move(env, adservice=1, frontend=1))
    assert info["held"] == ("adservice",) and info["scale_moves"] == 1.0
    _, info = env.reset()
    assert stage.replicas() == {**initial, "adservice": 0} and info["held"] == ("adservice",)


def test_guardrails_can_be_narrower_and_bound_the_mask(stage: Stage) -> None:
    narrow = GuardrailConfig(max_up_replicas=1, max_up_share=0.1, max_replicas=12)
    env = stage.env(guardrails=narrow)
    obs, _ = env.reset()
    initial = stage.replicas()
    slot = slot_of(env, "frontend")
    legal = MOVES[obs[ACTION_MASK][slot].astype(bool)]
    assert initial["frontend"] + legal.max() == min(12, initial["frontend"] + 7)
    _, _, _, _, info = env.step(move(env, adservice=5))
    assert stage.replicas()["adservice"] == initial["adservice"] + 1 and info["held"] == ("adservice",)


def test_nobody_elses_change_is_overwritten_in_a_step(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    initial = stage.replicas()
    stage.ask("PATCH", f"{DEPLOYMENTS}/frontend/scale", {"spec": {"replicas": 9}}, "application/merge-patch+json")
    _, _, _, _, info = env.step(move(env, frontend=1, adservice=1))
    assert stage.replicas() == {**initial, "frontend": 9, "adservice": initial["adservice"] + 1}
    assert info["scale_moves"] == 1.0
    assert any("frontend: it has 9 replicas" in problem for problem in info["problems"])
    env.reset()
    assert stage.replicas() == initial


def test_the_reward_is_the_objective_of_what_is_visible(stage: Stage) -> None:
    calm, strict = stage.env(slo_ms=1e5), stage.env(slo_ms=20.0)
    total = sum(stage.replicas().values())
    rewards = []
    for env in (calm, strict):
        env.reset()
        _, reward, _, _, info = env.step(NOTHING)
        assert info["node_reward"].sum() == pytest.approx(reward)
        assert info["replicas"] == total
        rewards.append(reward)
    # -0.01 (replicas + a x violating) / sqrt(a / 100), a = 400
    assert rewards == pytest.approx([-0.01 * total / 2, -0.01 * (total + 400) / 2])
    assert rewards[1] < rewards[0] - 1.9
    calm.reset()
    _, reward, _, _, info = calm.step(move(calm, cartservice=2))
    assert reward == pytest.approx(-0.01 * (info["replicas"] + 0.02 * 2) / 2)
    by_service = {name: info["node_reward"][slot] for slot, name in calm.slot_names().items()}
    assert by_service["istio-ingressgateway"] == 0.0
    assert by_service["cartservice"] == pytest.approx(-0.01 * (stage.replicas()["cartservice"] + 0.04) / 2, rel=1e-5)
    latency = stage.env(goal_reward="latency", slo_ms=250.0)
    latency.reset()
    _, reward, _, _, info = latency.step(NOTHING)
    services = len(stage.replicas())
    assert reward == pytest.approx(
        -(info["latency_p95_ms"] / 250.0 + 0.2 * info["replicas"] / (20 * services)), rel=1e-5
    )


def test_short_of_replicas_the_starved_service_is_charged(stage: Stage) -> None:
    env = stage.env()
    starving = "recommendationservice"
    env.reset()
    for _ in range(2):
        env.step(NOTHING)
    env.step(move(env, **{starving: 1 - stage.replicas()[starving]}))
    for _ in range(5):
        _, _, _, _, info = env.step(NOTHING)
    assert info["violating_share"] == 1.0
    charged = -info["node_reward"]
    assert charged.argmax() == slot_of(env, starving)
    assert charged.max() > 0.7 * charged.sum()


def test_an_episode_ends_by_truncation(stage: Stage) -> None:
    env = stage.env(episode_decisions=3)
    env.reset()
    assert [env.step(NOTHING)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    with pytest.raises(ResetNeeded, match="after the end of an episode"):
        env.step(NOTHING)


def test_a_short_fault_is_waited_out(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    initial, began = stage.replicas(), stage.clock.now()
    stage.break_for("kiali:http_503", 2.5)  # this interval and two readings
    obs, _, _, _, info = env.step(move(env, frontend=1))
    assert info["waited_intervals"] == 2.0 and stage.clock.now() == began + 45
    assert obs["elapsed_seconds"] == 45.0
    assert stage.replicas() == {**initial, "frontend": initial["frontend"] + 1}
    stage.break_for("kubernetes:http_500", 2.5)
    _, info = env.reset()
    assert info["waited_intervals"] == 3.0 and stage.replicas() == initial


def test_a_long_fault_is_an_error_that_says_what_stands(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    initial, began = stage.replicas(), stage.clock.now()
    stage.break_for("kiali:http_503", 40)
    with pytest.raises(ClusterUnavailableError, match=r"5 readings, 15 s apart, .*503.*call reset\(\)") as caught:
        env.step(move(env, frontend=2))
    assert caught.value.__notes__ == [
        f"written before, and left so: frontend {initial['frontend']} -> {initial['frontend'] + 2}"
    ]
    assert TOKEN not in str(caught.value)
    assert stage.clock.now() == began + 75
    assert stage.replicas() == {**initial, "frontend": initial["frontend"] + 2}, "left as it is"
    with pytest.raises(ResetNeeded, match="after an exception too"):
        env.step(NOTHING)
    # Putting replicas back needs no graph, an observation does.
    with pytest.raises(ClusterUnavailableError, match="503") as caught:
        env.reset()
    assert stage.replicas() == initial
    assert caught.value.__notes__ == [
        f"written before, and left so: frontend {initial['frontend'] + 2} -> {initial['frontend']}"
    ]
    stage.clock.sleep_until(began + 600)
    env.reset()
    _, _, _, _, info = env.step(NOTHING)
    assert info["waited_intervals"] == 0.0


def test_replicas_that_cannot_be_put_back_are_tried_again_and_then_named(stage: Stage) -> None:
    env = stage.env(patience_intervals=2)
    env.reset()
    initial = stage.replicas()
    env.step(move(env, frontend=2))
    stage.break_for("kubernetes:conflict", 1.5)
    _, info = env.reset()
    assert stage.replicas() == initial and info["waited_intervals"] == 2.0
    env.step(move(env, frontend=2))
    stage.break_for("kubernetes:http_500@frontend/scale", 20)
    with pytest.raises(
        ClusterUnavailableError, match=rf"not put back, in 3 attempts: frontend to {initial['frontend']}: "
    ) as e:
        env.reset()
    assert e.value.__notes__ == ["written before, and left so: nothing"] and TOKEN not in str(e.value)
    with pytest.raises(ClusterUnavailableError, match="not put back"):
        env.close()
    env.close()


def test_a_write_that_fails_is_told_and_not_counted(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    initial = stage.replicas()
    stage.break_for("kubernetes:http_500@frontend/scale", 0.5)
    _, _, _, _, info = env.step(move(env, frontend=2, adservice=1))
    assert stage.replicas() == {**initial, "adservice": initial["adservice"] + 1}
    assert info["scale_moves"] == 1.0 and [p for p in info["problems"] if p.startswith("frontend: ") and "500" in p]


@pytest.mark.parametrize(("restore", "left"), [(True, 0), (False, 2)])
def test_closing_puts_back_what_it_wrote_and_nothing_else(stage: Stage, restore: bool, left: int) -> None:
    initial = stage.replicas()
    with stage.env(restore_on_close=restore) as env:
        env.reset()
        env.step(move(env, adservice=2))
        stage.ask("PATCH", f"{DEPLOYMENTS}/frontend/scale", {"spec": {"replicas": 9}}, "application/merge-patch+json")
    assert stage.replicas() == {**initial, "frontend": 9, "adservice": initial["adservice"] + left}
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.reset()
    with pytest.raises(ClosedEnvironmentError):
        env.step(NOTHING)


def test_a_dry_run_changes_nothing(stage: Stage) -> None:
    initial = stage.replicas()
    env = stage.env(dry_run=True)
    env.reset()
    _, _, _, _, info = env.step(move(env, adservice=2))
    env.reset(options={"replicas": {"frontend": 3}})
    env.close()
    assert stage.replicas() == initial and info["scale_moves"] == 0.0 and info["problems"] == ()


def test_an_action_that_comes_late_has_half_an_interval_at_least(stage: Stage) -> None:
    env = stage.env()
    env.reset()
    began = stage.clock.now()
    for late, until in ((3.0, 15.0), (10.0, 45.0), (40.0, 105.0)):
        stage.clock.sleep_until(stage.clock.now() + late)
        obs, *_ = env.step(NOTHING)
        assert stage.clock.now() == began + until
    assert obs["elapsed_seconds"] == 60.0


def test_too_many_services_or_no_objective_or_no_cluster_is_said_at_once(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(CapacityExceeded, match=r"11 Deployments, 1 other nodes.* 8 node and 64 edge slots"):
        stage.env(max_nodes=8)
    few = stage.env(max_nodes=8, past_capacity="drop_least_active")
    _, info = few.reset()
    assert sum("left out" in problem for problem in info["problems"]) == 3
    with pytest.raises(ValueError, match="kiali_url or"):
        stage.env(kiali_url=None)
    with pytest.raises(ValueError, match="kiali_url or"):
        stage.env(prometheus_url="http://127.0.0.1:9090")
    with pytest.raises(ClusterUnavailableError, match=r"'onlineboutique' cannot be read: .*127\.0\.0\.1:9"):
        stage.env(kiali_url="http://127.0.0.1:9/kiali")
    write_kubeconfig(tmp_path / "expired", stage.sandbox.urls["kubernetes"], "expired-and-secret", "onlineboutique")
    with pytest.raises(ClusterUnavailableError, match="401") as caught:
        stage.env(kubeconfig=tmp_path / "expired")
    assert "expired-and-secret" not in str(caught.value)
    stage.annotate("/api/v1/namespaces/onlineboutique", slo_ms="soon")
    with pytest.raises(ValueError, match="'soon' is no time in milliseconds; give slo_ms, or kubectl annotate"):
        stage.env()
    stage.annotate("/api/v1/namespaces/onlineboutique", slo_ms=None)
    with pytest.raises(ValueError, match="no objective"):
        stage.env()
    assert stage.env(slo_ms=300.0).slo_ms == 300.0


def test_prometheus_stands_in_for_kiali(stage: Stage) -> None:
    env = stage.env(kiali_url=None, prometheus_url=stage.sandbox.urls["prometheus"])
    obs, info = env.reset()
    assert obs in env.observation_space and info["external_rps"] > 1.0


def test_gymnasium_accepts_it(stage: Stage) -> None:
    check_env(stage.env(), skip_render_check=True, skip_close_check=True)
    check_env(stage.env(use_graph=False), skip_render_check=True, skip_close_check=True)
    made = gymnasium.make("gnnrl/OnlineBoutique-v0", k8s=True, config=CONFIG, **stage.access())
    obs, _ = made.reset(seed=0)
    assert obs in made.observation_space
    made.step(NOTHING)
    made.close()


def remembered(env: SyncVectorEnv) -> tuple[Callable[[np.ndarray], Any], list[Any]]:
    steps: list[Any] = []
    step = env.step

    def recorded(actions: np.ndarray) -> Any:
        outcome = step(actions)
        steps.append((outcome[1][0], bool(outcome[3][0]), outcome[4]["node_reward"][0].copy()))
        return outcome

    return recorded, steps


def test_an_agent_learns_on_it(stage: Stage) -> None:
    with pytest.raises(ValueError, match="there is one of it"):
        gymnasium.make_vec("gnnrl/OnlineBoutique-v0", num_envs=2, k8s=True, **stage.access())
    initial = stage.replicas()
    config = replace(CONFIG, episode_decisions=50)
    envs = gymnasium.make_vec("gnnrl/OnlineBoutique-v0", num_envs=1, k8s=True, config=config, **stage.access())
    assert isinstance(envs, SyncVectorEnv) and envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    agent = PPO_GNN(
        envs.single_observation_space,
        envs.single_action_space,
        encoder=EncoderConfig(hidden=16, memory_dim=8),
        config=PPOConfig(rollout_length=32, chunk_length=16, epochs=1),
    )
    assert agent.config.credit == "node"
    before = [weight.clone() for weight in agent.model.parameters()]
    envs.step, steps = remembered(envs)
    agent.learn(envs, total_steps=256)
    assert len(steps) == 32 + 256, "one rollout for the statistics"
    assert agent.replay_checked
    assert any(not weight.equal(old) for weight, old in zip(agent.model.parameters(), before, strict=True))
    for (_, ended, _), (reward, _, split) in pairwise(steps):
        assert reward == pytest.approx(split.sum(), rel=1e-5)
        assert (reward == 0.0) == ended, "the step after the end resets"
    # Every episode takes 50 decisions and a reset; the rollout for the statistics is left in mid-episode.
    ends = np.flatnonzero([ended for _, ended, _ in steps]) - 32
    assert ends.tolist() == [49, 100, 151, 202, 253]
    envs.close()
    assert stage.replicas() == initial
