"""The environment: what it shows, what it rewards, where it ends, and that it goes on where it was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from encoders import compact
from encoders.flat import flat_width, flatten
from gnnrl.agents.archive import read_archive, write_archive
from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.env import LLMRoutingEnv, LLMRoutingVectorEnv, graph_config
from gnnrl.domains.llm_routing.expectation import AHEAD, LATENCY_SQUARES, TTFT_SQUARES, outstanding_waits
from gnnrl.domains.llm_routing.metrics import latency_report
from gnnrl.domains.llm_routing.model import Change, Replica
from gnnrl.domains.llm_routing.observation import (
    BASE_FEATURES,
    HEAD_FEATURES,
    TEMPORAL_FEATURES,
    HistoryWindows,
    Watch,
    get_state_dimension,
)
from gnnrl.domains.llm_routing.physics import LLMSimulation
from gnnrl.domains.llm_routing.teachers import TEACHERS, taught
from gnnrl.domains.llm_routing.workloads import Requests
from graph_space import check_observation, llm_routing_schema
from graph_space.schema import GLOBALS, NODES

CHANGING = LLMRoutingConfig(
    scenarios=("elastic", "B"), max_replicas=5, changes_per_1000=60.0, slow_factor=(1.0, 3.0), episode_requests=130
)
SCHEMA = llm_routing_schema("compact")


def column(name: str) -> int:
    return SCHEMA.index(NODES, name)


def legal_choices(observation: dict[str, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    mask = observation["action_mask"][:, :, 0]
    choices: np.ndarray[Any, Any] = np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1)
    return choices


def test_gymnasium_takes_it() -> None:
    check_env(gymnasium.make("gnnrl/LLMRouting-v0").unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec("gnnrl/LLMRouting-v0", num_envs=3, config=CHANGING)
    observation, _ = vector.reset(seed=1)
    assert observation in vector.observation_space
    assert vector.single_action_space == gymnasium.spaces.Discrete(6)


@pytest.mark.parametrize("features", ["compact", "documented"])
@pytest.mark.parametrize("report_seconds", [0.0, 0.5])
def test_every_observation_keeps_the_invariants(features: Any, report_seconds: float) -> None:
    """Through failures, joins, drawn changes, and the starts of episodes."""
    env = LLMRoutingVectorEnv(
        6, CHANGING, strict_actions=True, staggered=True, features=features, report_seconds=report_seconds
    )
    rng = np.random.default_rng(3)
    observation, _ = env.reset(seed=4)
    seen, fresh, carried = set(), 0, 0
    for _ in range(400):
        check_observation(observation, graph_config(env.config))
        mask = observation["action_mask"][:, :, 0]
        assert (mask.sum(axis=1) >= 1).all()
        assert (mask[:, -1] == 0).all()
        assert (mask[:, :-1] <= observation["node_mask"][:, :-1]).all()
        assert np.isfinite(observation["nodes"]).all()
        seen |= set(observation["node_mask"].sum(axis=1).tolist())
        fresh += int((observation["prev_slot"][:, :-1] < 0)[observation["node_mask"][:, :-1] == 1].sum())
        carried += int((observation["prev_slot"] >= 0).sum())
        observation, *_ = env.step(legal_choices(observation, rng))
    assert {2, 3, 4, 5} <= seen
    assert 0 < fresh < carried / 10


def test_the_schema_names_what_is_watched() -> None:
    env = LLMRoutingVectorEnv(1, features="documented")
    watch = env.observation.watch
    schema = llm_routing_schema("documented")
    assert schema.names(NODES) == ("is_replica", *watch.replica_names)
    env.reset(seed=0)
    observation, *_ = env.step(np.array([1]))
    assert np.array_equal(observation["nodes"][0, :4, 1:], watch.replicas[0])
    assert np.array_equal(observation["globals"][0], np.concatenate([watch.requests[0], watch.globals[0]]))
    assert observation["globals"][0, schema.index(GLOBALS, "replicas_up")] == 4


def test_what_the_compact_columns_say_is_what_is_there() -> None:
    env = LLMRoutingVectorEnv(1, episode_requests=300, length_hint="true")
    observation, _ = env.reset(seed=2)
    watch = Watch(env.simulation, HistoryWindows())
    for _ in range(250):
        watch.observe()
        names = watch.replica_names
        nodes = observation["nodes"][0, :4]
        for ours, theirs in (
            ("waiting", "queue_length"),
            ("resident", "allocation_map_size"),
            ("outstanding", "outstanding"),
            ("free_share", "available_fraction"),
            ("pending_prefill_tokens", "pending_prefill_tokens"),
        ):
            assert np.array_equal(nodes[:, column(ours)], watch.replicas[0, :, names.index(theirs)])
        assert not nodes[:, column("time_factor")].any()
        assert np.allclose(
            nodes[:, column("weighted_outstanding")],
            (nodes[:, column("outstanding")] + 1) * nodes[:, column("inferred_time_factor")],
        )
        assert observation["globals"][0, 1] > 0.0
        observation, *_ = env.step(env.simulation.choose(ROUTERS["random"].code))


@pytest.mark.parametrize("report_seconds", [0.0, 1.0])
def test_hidden_speeds_are_inferred_to_a_tenth(report_seconds: float) -> None:
    env = LLMRoutingVectorEnv(
        8, scenarios=(), time_factors=(1.0, 1.5, 2.0, 4.0), qps=9.0, episode_requests=800, report_seconds=report_seconds
    )
    env.reset(seed=3)
    found = []
    for step in range(700):
        observation, *_ = env.step(env.simulation.choose(ROUTERS["speed_weighted_outstanding"].code))
        if step >= 200:
            found.append(observation["nodes"][:, :4, column("inferred_time_factor")])
    assert np.median(found, axis=(0, 1)) == pytest.approx([1.0, 1.5, 2.0, 4.0], rel=0.1)


def test_told_speeds_are_shown_and_used() -> None:
    env = LLMRoutingVectorEnv(1, show_speeds=True)
    observation, _ = env.reset(seed=4)
    nodes = observation["nodes"][0, :4]
    assert nodes[:, column("time_factor")].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert nodes[:, column("weighted_outstanding")].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert nodes[2, column("token_seconds")] == pytest.approx(2.0 * nodes[0, column("token_seconds")])


def test_a_replica_that_failed_and_came_back_is_a_new_node_even_between_two_decisions() -> None:
    env = LLMRoutingVectorEnv(1, strict_actions=True)
    env.reset(seed=5)
    episode = env.simulation.arrays.time[0, :6, 0]
    middle = (episode[2] + episode[3]) / 2.0
    late = (episode[4] + episode[5]) / 2.0
    requests = env._scenarios[0].requests(env._requests, int(np.random.SeedSequence([5, 0, 0]).generate_state(2)[0]))
    assert np.array_equal(requests.arrived_at[:6], episode)
    changes = [
        Change(at_seconds=middle, kind="fail", replica=3),
        Change(at_seconds=middle, kind="join", replica=3),
        Change(at_seconds=late, kind="fail", replica=2),
    ]
    env.simulation.load(0, [Replica()] * 4, requests, changes)
    env.observation.begin(0)
    env.observation.write()
    shown = [env.step(np.array([0]))[0] for _ in range(5)]
    slots = [observation["prev_slot"][0, :4].tolist() for observation in shown]
    assert slots == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, -1], [0, 1, 2, 3], [0, 1, -1, 3]]
    assert shown[-1]["node_mask"][0].tolist() == [1, 1, 0, 1, 1]
    assert shown[-1]["action_mask"][0, :, 0].tolist() == [1, 1, 0, 1, 0]


@pytest.mark.parametrize("charge_ahead", [False, True])
@pytest.mark.parametrize("scenario", ["B", "elastic"])
def test_the_mean_of_minus_the_reward_is_the_mean_latency(scenario: str, charge_ahead: bool) -> None:
    """Little's law, held against the times of the requests themselves: exact where all have been served."""
    env = LLMRoutingVectorEnv(
        3,
        scenarios=(scenario,),
        max_replicas=5,
        episode_requests=400,
        to_the_end=True,
        e2e_weight=1.0,
        ttft_weight=3.0,
        charge_ahead=charge_ahead,
        slow_start_weight=2.0,
        slow_end_weight=0.1,
    )
    env.reset(seed=6)
    sums, ended = np.zeros((5, 3)), np.zeros(3, np.bool_)
    tables: list[Any] = [None] * 3
    while not ended.all():
        _, reward, terminated, truncated, infos = env.step(env.simulation.choose(ROUTERS["power_of_two"].code))
        squares = (-infos["reward_slow_start"], -infos["reward_slow_end"])
        sums[:, ~ended] += np.stack([infos["latency_s"], infos["ttft_s"], -reward, *squares])[:, ~ended]
        assert not truncated.any()
        for k in np.flatnonzero(terminated & ~ended).tolist():
            tables[k] = env.simulation.table(k)
        ended |= terminated
    for b, table in enumerate(tables):
        report = latency_report(table)
        assert report.completed == 400
        assert sums[0, b] / 400 == pytest.approx(report.e2e_mean_s, rel=1e-6)
        assert sums[1, b] / 400 == pytest.approx(report.ttft_mean_s, rel=1e-6)
        slow_start, slow_end = float((table.ttft_s**2).mean()), float((table.e2e_s**2).mean())
        assert sums[3, b] / 400 == pytest.approx(2.0 * slow_start, rel=1e-6)
        assert sums[4, b] / 400 == pytest.approx(0.1 * slow_end, rel=1e-6)
        expected = report.e2e_mean_s + 3.0 * report.ttft_mean_s + 2.0 * slow_start + 0.1 * slow_end
        assert sums[2, b] / 400 == pytest.approx(expected, rel=1e-6)


def test_the_mean_reward_of_cut_episodes_is_near_the_mean_latency() -> None:
    env = LLMRoutingVectorEnv(16, scenarios=(), time_factors=(1.0, 1.0), qps=4.0, max_replicas=2, episode_requests=3000)
    env.reset(seed=7)
    latency = np.mean([env.step(env.simulation.choose(ROUTERS["jsq"].code))[4]["latency_s"] for _ in range(3000)])
    served = [env.simulation.table(b) for b in range(16)]
    mean = np.mean([latency_report(table).e2e_mean_s for table in served])
    assert latency == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize("scenario", ["B", "elastic"])
def test_a_router_stepped_through_the_environment_gives_the_same_requests(scenario: str) -> None:
    """As the router played by its own kernel, to the last bit; so does a teacher's rule that needs no ties."""
    code = ROUTERS["speed_weighted_prefill"].code
    env = LLMRoutingVectorEnv(2, scenarios=(scenario,), max_replicas=5, episode_requests=300, to_the_end=True)
    alone = LLMRoutingVectorEnv(2, scenarios=(scenario,), max_replicas=5, episode_requests=300, to_the_end=True)
    env.reset(seed=8)
    alone.reset(seed=8)
    alone.simulation.run(code)
    ended: dict[int, Any] = {}
    while len(ended) < 2:
        _, _, terminated, _, _ = env.step(env.simulation.choose(code))
        ended |= {int(b): env.simulation.table(int(b)) for b in np.flatnonzero(terminated) if int(b) not in ended}
    for b, table in ended.items():
        theirs = alone.simulation.table(b)
        assert np.array_equal(table.replica, theirs.replica)
        assert np.array_equal(table.completed_at, theirs.completed_at)


def test_teachers_decide_as_the_routers_do() -> None:
    """From the observation alone, with told speeds; the routers break ties by chance, the teachers do not."""
    env = LLMRoutingVectorEnv(4, show_speeds=True, episode_requests=200)
    observation, _ = env.reset(seed=9)
    agreed = dict.fromkeys(TEACHERS, 0)
    for _ in range(150):
        for name in TEACHERS:
            if name != "speed_weighted_prefill":
                agreed[name] += int((taught(name, observation) == env.simulation.choose(ROUTERS[name].code)).sum())
        observation, *_ = env.step(env.simulation.choose(ROUTERS["random"].code))
    assert agreed["speed_weighted_outstanding"] > 0.9 * 600
    assert agreed["least_outstanding"] > 0.8 * 600
    assert agreed["least_pending_prefill"] > 0.5 * 600
    with pytest.raises(ValueError, match="'random' is not a teacher"):
        taught("random", observation)


def test_permuting_the_replicas_permutes_the_observation() -> None:
    factors, order = (1.0, 2.0, 4.0), [2, 0, 1]
    config = LLMRoutingConfig(scenarios=(), qps=6.0, max_replicas=3, episode_requests=250)
    env = LLMRoutingEnv(config, time_factors=factors)
    other = LLMRoutingEnv(config, time_factors=tuple(factors[r] for r in order))
    ours, _ = env.reset(seed=10)
    theirs, _ = other.reset(seed=10)
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert np.array_equal(ours["nodes"][:3][order], theirs["nodes"][:3])
        assert np.array_equal(ours["edges"][order], theirs["edges"])
        assert np.array_equal(ours["action_mask"][:3][order], theirs["action_mask"][:3])
        assert np.allclose(ours["globals"], theirs["globals"], rtol=1e-5)
        choice = int(rng.integers(3))
        ours, reward, *_ = env.step(order[choice])
        theirs, other_reward, *_ = other.step(choice)
        assert reward == pytest.approx(other_reward)


def test_a_choice_that_is_no_replica_is_counted_and_goes_where_fewest_are_outstanding() -> None:
    env, twin = (LLMRoutingVectorEnv(2, scenarios=("elastic",), max_replicas=5) for _ in range(2))
    env.reset(seed=11)
    observation, _ = twin.reset(seed=11)
    for wrong in (4, 5):  # not up yet; the request
        fewest = taught("least_outstanding", observation)
        _, reward, _, _, infos = env.step(np.array([wrong, 0]))
        observation, other, _, _, _ = twin.step(np.array([fewest[0], 0]))
        assert infos["illegal_actions"].tolist() == [1.0, 0.0]
        assert np.array_equal(reward, other)
    strict = LLMRoutingVectorEnv(2, strict_actions=True)
    strict.reset(seed=11)
    with pytest.raises(ValueError, match="environment 1: action 4 is no replica that can take the request"):
        strict.step(np.array([0, 4]))


def test_an_episode_ends_by_truncation_and_the_next_one_is_another() -> None:
    env = LLMRoutingVectorEnv(2, episode_requests=5)
    first, _ = env.reset(seed=12)
    for step in range(1, 8):
        observation, reward, terminated, truncated, _ = env.step(np.zeros(2, np.int64))
        assert not terminated.any()
        assert truncated.all() == (step == 5) == truncated.any()
        if step == 6:  # the autoreset
            assert not reward.any()
            assert not observation["nodes"][:, :, column("outstanding")].any()
            assert not observation["elapsed_seconds"].any()
            assert (observation["prev_slot"] == -1).all()
            assert not np.array_equal(observation["globals"], first["globals"])
    again, _ = env.reset(seed=12)
    assert all(np.array_equal(again[key], first[key]) for key in first)


@pytest.mark.parametrize("again", [False, True])
def test_staggered_episodes_do_not_end_together(again: bool) -> None:
    """After a second reset without a seed too: a training makes one when its statistics have their first content."""
    env = LLMRoutingVectorEnv(4, episode_requests=20, staggered=True)
    env.reset(seed=13)
    if again:
        env.reset()
    ends = [np.flatnonzero(env.step(np.zeros(4, np.int64))[3]).tolist() for _ in range(30)]
    assert [ends.index([b]) + 1 for b in range(4)] == [5, 10, 15, 20]
    assert ends[5 + 20] == [0]  # the next one is whole


def test_where_nobody_is_left_the_episode_terminates() -> None:
    env = LLMRoutingVectorEnv(2, scenarios=(), time_factors=(1.0,), max_replicas=1, episode_requests=50)
    env.reset(seed=14)
    requests = env._scenarios[0].requests(20, 0)
    half = float(requests.arrived_at[9]) + 1e-6
    env.simulation.load(0, [Replica()], requests, [Change(at_seconds=half, kind="fail", replica=0)])
    env.observation.begin(0)
    env.observation.write()
    ended = [env.step(np.zeros(2, np.int64))[2].tolist() for _ in range(11)]
    assert ended == [[False, False]] * 9 + [[True, False], [False, False]]
    assert env.simulation.deciding.all()


@pytest.mark.parametrize(
    ("prompt", "answer", "together"), [(100, 300, 1), (2000, 50, 1), (600, 200, 2), (400, 300, 20)]
)
def test_what_is_charged_ahead_is_what_requests_will_take(prompt: int, answer: int, together: int) -> None:
    """Requests that come at one instant, on a replica half as fast: the forecast against what becomes of them."""
    simulation = LLMSimulation(1, 1, together + 1)
    at = np.linspace(1.0, 1.0 + 1e-9, together + 1, dtype=np.float64)
    requests = Requests(at, np.full(together + 1, prompt), np.full(together + 1, answer))
    simulation.load(0, [Replica(time_factor=2.0)], requests.first(together + 1))
    for _ in range(together):
        simulation.step(np.zeros(1, np.int64))
    forecast, so_far = np.zeros((3, 1)), np.zeros((3, 1))
    outstanding_waits(simulation.arrays, simulation.rules, simulation.timing, True, forecast)
    outstanding_waits(simulation.arrays, simulation.rules, simulation.timing, False, so_far)
    simulation.load(0, [Replica(time_factor=2.0)], requests.first(together))
    simulation.run(ROUTERS["random"].code)
    table = simulation.table(0)
    assert forecast[AHEAD, 0] == pytest.approx(table.e2e_s.sum(), rel=0.1)
    assert forecast[TTFT_SQUARES, 0] == pytest.approx((table.ttft_s**2).sum(), rel=0.1)
    assert forecast[LATENCY_SQUARES, 0] == pytest.approx((table.e2e_s**2).sum(), rel=0.2)
    assert so_far[:, 0] == pytest.approx(np.zeros(3), abs=1e-12)


def test_charging_ahead_leaves_the_mean_reward() -> None:
    env = LLMRoutingVectorEnv(1, scenarios=("A",), charge_ahead=True, ttft_weight=0.0)
    env.reset(seed=17)
    code = ROUTERS["least_outstanding"].code
    told = [env.step(env.simulation.choose(code))[4] for _ in range(1500)]
    plain = np.array([float(each["reward_e2e"][0]) for each in told[300:]])
    ahead = plain + np.array([float(each["reward_ahead"][0]) for each in told[300:]])
    assert ahead.mean() == pytest.approx(plain.mean(), rel=0.1)


@pytest.mark.parametrize("features", ["compact", "documented"])
def test_it_goes_on_where_it_was_saved(tmp_path: Path, features: Any) -> None:
    env = LLMRoutingVectorEnv(3, CHANGING, features=features, staggered=True)
    rng = np.random.default_rng(1)
    observation, _ = env.reset(seed=15)
    for _ in range(100):
        observation, *_ = env.step(legal_choices(observation, rng))
    write_archive(tmp_path / "saved", env.state_dict())
    twin = LLMRoutingVectorEnv(3, CHANGING, features=features, staggered=True)
    twin.load_state_dict(read_archive(tmp_path / "saved"))
    for _ in range(120):
        choices = legal_choices(observation, rng)
        observation, reward, terminated, truncated, infos = env.step(choices)
        theirs = twin.step(choices)
        assert all(np.array_equal(observation[key], theirs[0][key]) for key in observation)
        for ours, other in zip((reward, terminated, truncated), theirs[1:4], strict=True):
            assert np.array_equal(ours, other)
        assert all(np.array_equal(infos[key], theirs[4][key]) for key in infos)
    with pytest.raises(ValueError, match="it had other sizes"):
        LLMRoutingVectorEnv(2, CHANGING, features=features).load_state_dict(read_archive(tmp_path / "saved"))


def test_bursts_leave_every_number_finite() -> None:
    """The gaps of strong bursts are down to 1e-100 seconds, the first one of an episode too."""
    env = LLMRoutingVectorEnv(64, scenarios=(), arrivals="gamma", cv=5.0, qps=8.0, episode_requests=3)
    observation, _ = env.reset(seed=18)
    for _ in range(8):
        assert all(np.isfinite(value).all() for value in observation.values())
        assert observation["globals"].max() < 1e9
        observation, *_ = env.step(np.zeros(64, np.int64))


def test_the_flat_state_holds_the_documents_vector() -> None:
    """`documented` columns of every replica and of the cluster, in the documents' order, at known places of the flattened observation."""
    env = LLMRoutingVectorEnv(2, LLMRoutingConfig(features="documented", scenarios=("B",)))
    schema = llm_routing_schema("documented")
    observation, _ = env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(400):
        observation, *_ = env.step(legal_choices(observation, rng))
    slots, columns, edges = 5, len(schema.nodes), 4
    flat = flatten(compact(observation), slots, edges).numpy()
    assert flat.shape[1] == flat_width(slots, edges, columns, len(schema.edges), len(schema.globals))

    heads = [f"head{k}_{name}" for k in range(4) for name in HEAD_FEATURES]
    documented = [*BASE_FEATURES, *TEMPORAL_FEATURES, *heads]
    own = schema.index(NODES, documented[0])
    assert [feature.name for feature in schema.nodes[own : own + len(documented)]] == documented
    by_replica = flat[:, : slots * (columns + 1)].reshape(2, slots, columns + 1)[:, :4, own : own + len(documented)]
    first = schema.index(GLOBALS, "queue_length")
    cluster = flat[:, flat.shape[1] - len(schema.globals) + first :][:, :10]
    state = np.concatenate([by_replica.reshape(2, -1), cluster], axis=1)
    assert state.shape == (2, get_state_dimension(4))

    watch = env.observation.watch
    expected = [watch.replicas[:, :, : len(documented)].reshape(2, -1), watch.globals[:, :10]]
    np.testing.assert_array_equal(state, np.concatenate(expected, axis=1))
    assert (np.abs(state).max(axis=0) > 0.0).mean() > 0.3
