"""The three documented rewards and minus the latency: by hand, at their edges, and on a played episode against the request table."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnnrl.config.llm_routing import DocumentedRewardConfig, LLMRoutingConfig
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.llm_routing.objective import LLMRoutingReward, documented_terms
from gnnrl.domains.llm_routing.observation import GLOBAL_FEATURES
from gnnrl.domains.llm_routing.request_table import RequestTable

MODES = ("delta", "instant", "hybrid")
BEFORE = (0.03, 7.5, 2.0)
NOW = (0.04, 9.0, 0.5)
WINDOW = 10


def terms(mode: Any, now: tuple[float, ...] = NOW, before: tuple[float, ...] = BEFORE, **weights: float) -> Any:
    config = LLMRoutingConfig(reward=mode, documented_reward=DocumentedRewardConfig(**weights))
    found = documented_terms(config, np.array(now)[:, None], np.array(before)[:, None])
    return {name: float(value[0]) for name, value in found.items()}


def test_delta_by_hand() -> None:
    assert terms("delta") == pytest.approx(
        {
            "reward_throughput": 0.01,
            "reward_latency": -1.5,
            "reward_balance": -0.05,
            "reward_threshold": -0.950212931632136,  # 1 - exp(-3)
        }
    )
    weighed = terms("delta", latency_weight=2.0, balance_weight=0.4, threshold_scale=3.0, latency_threshold=8.0)
    assert weighed == pytest.approx(
        {
            "reward_throughput": 0.01,
            "reward_latency": -3.0,
            "reward_balance": -0.2,
            "reward_threshold": -1.896361676485673,  # 3 (1 - exp(-1))
        }
    )


def test_instant_by_hand() -> None:
    assert terms("instant", before=(5.0, 5.0, 5.0)) == pytest.approx(
        {
            "reward_throughput": 0.04,
            "reward_latency": -9.0,
            "reward_balance": -0.05,
            "reward_threshold": -0.950212931632136,
        }
    )


def test_hybrid_by_hand() -> None:
    assert terms("hybrid") == pytest.approx(
        {
            "reward_absolute": 0.52,  # 0.8 (0.04 / 0.05 - 0.1 x 9 / 6)
            "reward_delta": -0.01,  # 0.2 (0.01 / 0.05 - 1.5 / 6)
            "reward_balance": -0.05,
            "reward_penalty": -0.952574126822433,  # 1 / (1 + exp(-3))
        }
    )
    weighed = terms(
        "hybrid", alpha=0.2, beta=3.0, gamma=0.5, kappa=4.0, sigma=2.0, absolute_weight=0.5, delta_weight=2.0
    )
    assert weighed == pytest.approx(
        {
            "reward_absolute": 0.25,  # 0.5 (0.8 - 0.3)
            "reward_delta": 0.95,  # 2 (0.6 - 0.125)
            "reward_balance": -0.05,
            "reward_penalty": -3.2702978935731674,  # 4 / (1 + exp(-1.5))
        }
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_threshold_at_its_edges(mode: str) -> None:
    name, at, far_above = ("reward_penalty", -0.5, -1.0) if mode == "hybrid" else ("reward_threshold", 0.0, -1.0)

    def penalty(latency: float, **weights: float) -> float:
        return float(terms(mode, (0.04, latency, 0.0), **weights)[name])

    assert penalty(6.0) == at
    assert penalty(1e9) == far_above
    assert penalty(0.0) == pytest.approx(-1.0 / (1.0 + math.exp(6.0)) if mode == "hybrid" else 0.0)
    assert penalty(0.0, sigma=1e-6) == pytest.approx(0.0, abs=1e-300)  # nothing overflows
    assert penalty(6.1) < penalty(6.0)
    # `hybrid` has an edge to both sides, the soft threshold nothing below.
    assert (penalty(5.9) > penalty(6.0)) == (mode == "hybrid")


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_cluster_is_balanced(mode: Any) -> None:
    env = LLMRoutingVectorEnv(1, scenarios=("B",), reward=mode)
    env.reset(seed=0)
    *_, infos = env.step(np.zeros(1, np.int64))
    assert env.observation.watch.globals[0, 0] == 0.0
    assert infos["reward_balance"][0] == 0.0


def shown(table: RequestTable, times: list[float], replicas: int, d: int) -> tuple[float, float, float]:
    """Throughput, mean latency and balance at decision `d`, counted request by request."""
    now = times[d]
    since = 0.0 if d == 0 else times[max(0, d - WINDOW)]
    latencies, waiting = [], [0] * replicas
    for i in range(d):
        done = float(table.completed_at[i])
        if since < done <= now:
            latencies.append(done - float(table.arrived_at[i]))
        if not float(table.scheduled_at[i]) <= now:
            waiting[int(table.replica[i])] += 1
    throughput = len(latencies) / (now - since)
    mean = sum(latencies) / len(latencies) if latencies else 0.0
    queue = sum(waiting) / replicas
    spread = math.sqrt(sum((length - queue) ** 2 for length in waiting) / replicas)
    return throughput, mean, spread / queue if queue else 0.0


def reference(
    mode: str, w: DocumentedRewardConfig, now: tuple[float, ...], before: tuple[float, ...]
) -> dict[str, float]:
    """The documents' formulas, spelled out."""
    throughput, latency, balance = now
    gained, slower = throughput - before[0], latency - before[1]
    found = {"reward_balance": -w.balance_weight * balance}
    if mode == "hybrid":
        found["reward_absolute"] = w.absolute_weight * (
            throughput / w.throughput_target - w.alpha * latency / w.latency_threshold
        )
        found["reward_delta"] = w.delta_weight * (
            w.beta * gained / w.throughput_target - w.gamma * slower / w.latency_threshold
        )
        found["reward_penalty"] = -w.kappa / (1.0 + math.exp(-(latency - w.latency_threshold) / w.sigma))
        return found
    found["reward_throughput"] = gained if mode == "delta" else throughput
    found["reward_latency"] = -w.latency_weight * (slower if mode == "delta" else latency)
    above = latency > w.latency_threshold
    found["reward_threshold"] = (
        -w.threshold_scale * (1.0 - math.exp(-(latency - w.latency_threshold))) if above else 0.0
    )
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_played_episode_earns_what_its_requests_say(mode: Any) -> None:
    weights = DocumentedRewardConfig(throughput_target=8.0, latency_threshold=1.5, sigma=0.7, gamma=0.5, beta=2.0)
    env = LLMRoutingVectorEnv(
        1, scenarios=("E",), max_replicas=4, episode_requests=400, reward=mode, documented_reward=weights
    )
    env.reset(seed=4)
    rewards, parts, said, times = [], [], [], [float(env.simulation.arrays.now[0, 0])]
    for _ in range(220):
        _, reward, _, _, infos = env.step(env.simulation.choose(ROUTERS["round_robin"].code))
        rewards.append(float(reward[0]))
        parts.append({name: float(value[0]) for name, value in infos.items() if name.startswith("reward_")})
        said.append([float(infos[name][0]) for name in ("throughput", "mean_latency", "load_balance")])
        times.append(float(env.simulation.arrays.now[0, 0]))
    table = env.simulation.table(0)
    assert times == pytest.approx(table.arrived_at[:221].tolist())  # nothing waited at the router
    assert not table.restarts.any()
    seen = [shown(table, times, 4, d) for d in range(221)]
    for d in range(220):
        assert said[d] == pytest.approx(seen[d + 1], rel=1e-5)
        expected = reference(mode, weights, seen[d + 1], seen[d])
        assert parts[d] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert rewards[d] == pytest.approx(sum(expected.values()), rel=1e-4, abs=1e-4)
    # The episode is one in which every term has something to say.
    latencies, balances = ([each[k] for each in seen] for k in (1, 2))
    assert min(latencies) == 0.0
    assert sum(latency > 1.5 for latency in latencies) > 20 < sum(0.0 < latency < 1.5 for latency in latencies)
    assert sum(balance > 0.0 for balance in balances) > 20


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_starts_without_the_last_ones_past(mode: Any) -> None:
    env, fresh = (LLMRoutingVectorEnv(1, scenarios=("E",), reward=mode, episode_requests=60) for _ in range(2))
    env.reset(seed=7)
    fresh.reset(seed=7)
    fresh.reset()  # the second episode of the seed, from the beginning
    code = ROUTERS["round_robin"].code
    for _ in range(60):
        env.step(env.simulation.choose(code))
    _, reward, _, _, infos = env.step(np.zeros(1, np.int64))
    assert reward[0] == 0.0
    assert not any(value.any() for name, value in infos.items() if name.startswith("reward_"))
    for _ in range(20):
        theirs = fresh.step(fresh.simulation.choose(code))
        ours = env.step(env.simulation.choose(code))
        assert ours[1][0] == theirs[1][0]
        assert all(np.array_equal(ours[4][name], theirs[4][name]) for name in ours[4])


def taken(request_seconds: list[float], unanswered_seconds: list[float]) -> Any:
    """Sums of two episodes up to now."""
    return SimpleNamespace(request_seconds=np.array(request_seconds), unanswered_seconds=np.array(unanswered_seconds))


def test_minus_latency_by_hand() -> None:
    config = LLMRoutingConfig(
        reward="minus_latency",
        e2e_weight=2.0,
        ttft_weight=3.0,
        charge_ahead=True,
        slow_start_weight=5.0,
        slow_end_weight=7.0,
    )
    reward, restored = LLMRoutingReward(config, 2), LLMRoutingReward(config, 2)
    assert reward.counts_waits
    shown, going_on = np.zeros((2, len(GLOBAL_FEATURES)), np.float32), np.array([False, False])
    counted = np.array([[1.0, 2.0], [0.5, 4.0], [10.0, 20.0]])
    reward.terms(taken([1.0, 4.0], [0.5, 1.0]), counted, shown, going_on)
    counted += np.array([[0.25, 100.0], [0.1, 100.0], [2.0, 100.0]])  # kept by whom it belongs to
    restored.load_state_dict(reward.state_dict())
    for each in (reward, restored):
        # The second episode begins: nothing of the last one is charged.
        found = each.terms(taken([3.0, 0.0], [0.75, 0.0]), counted, shown, np.array([False, True]))
        expected = {
            "reward_e2e": -2.0 * 2.0,
            "reward_ttft": -3.0 * 0.25,
            "reward_ahead": -2.0 * 0.25,
            "reward_slow_start": -5.0 * 0.1,
            "reward_slow_end": -7.0 * 2.0,
            "latency_s": 2.0,
            "ttft_s": 0.25,
        }
        assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(expected)
        assert all(value[1] == 0.0 for value in found.values())
        # And what it begins with is what the next decision is counted from.
        found = each.terms(taken([3.0, 1.5], [0.75, 0.5]), counted, shown, going_on)
        assert (found["reward_e2e"].tolist(), found["reward_ttft"].tolist()) == ([0.0, -3.0], [0.0, -1.5])


def test_waits_are_asked_for_by_minus_latency_alone() -> None:
    plain = LLMRoutingConfig(reward="minus_latency", charge_ahead=False, slow_start_weight=0.0, slow_end_weight=0.0)
    assert not LLMRoutingReward(plain, 1).counts_waits
    assert not LLMRoutingReward(replace(plain, reward="delta", slow_start_weight=1.0), 1).counts_waits
    found = LLMRoutingReward(plain, 2).terms(
        taken([1.0, 2.0], [0.5, 0.5]),
        np.zeros((3, 2)),
        np.zeros((2, len(GLOBAL_FEATURES)), np.float32),
        np.zeros(2, bool),
    )
    assert list(found) == ["reward_e2e", "reward_ttft", "latency_s", "ttft_s"]
