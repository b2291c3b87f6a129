"""What holds for the environments of every domain at their doors: actions, seeds, options, partial resets, when to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

import gnnrl
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from gnnrl.domains.autoscaling.episode import Split, draw_episode
from gnnrl.domains.llm_routing.env import LLMRoutingEnv, LLMRoutingVectorEnv
from gnnrl.domains.queue_routing.env import QueueRoutingEnv, QueueRoutingVectorEnv
from gnnrl.wrappers import DocumentedObservation, StableBaselines3Observation
from graph_space.actions import ActionError
from graph_space.vector_env import GraphVectorEnv

MESHES = AutoscalingConfig(
    episode_decisions=8,
    max_edges=64,
    churn=ChurnConfig(service_added_per_hour=40.0, service_removed_per_hour=40.0, pod_crashed_per_hour=60.0),
)
QUEUES: dict[str, Any] = {
    "drawn_replicas": (2, 4), "max_replicas": 4, "replica_changes_per_1000": 200.0, "episode_arrivals": 8,
}  # fmt: skip
CLUSTERS: dict[str, Any] = {
    "scenarios": ("elastic",),
    "max_replicas": 5,
    "changes_per_1000": 200.0,
    "episode_requests": 8,
}

BATCHES: dict[str, Callable[..., GraphVectorEnv]] = {
    "autoscaling": lambda n, **more: MeshVectorEnv(n, MESHES, **more),
    "autoscaling, Kiali": lambda n, **more: MeshVectorEnv(n, MESHES, telemetry="kiali", action_mode="select", **more),
    "queue_routing": lambda n, **more: QueueRoutingVectorEnv(n, **QUEUES, **more),
    "llm_routing": lambda n, **more: LLMRoutingVectorEnv(n, **CLUSTERS, **more),
    "llm_routing, documented": lambda n, **more: LLMRoutingVectorEnv(n, **CLUSTERS, features="documented", reward="delta", **more),
}  # fmt: skip
SINGLES: dict[str, Callable[[], gymnasium.Env]] = {
    "autoscaling": lambda: MeshEnv(MESHES),
    "autoscaling, select": lambda: MeshEnv(MESHES, action_mode="select"),
    "documented": lambda: StableBaselines3Observation(DocumentedObservation(MeshEnv(MESHES))),
    "queue_routing": lambda: QueueRoutingEnv(**QUEUES),
    "llm_routing": lambda: LLMRoutingEnv(**CLUSTERS),
}
IDS = ("gnnrl/OnlineBoutique-v0", "gnnrl/QueueRouting-v0", "gnnrl/LLMRouting-v0")
batches = pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
singles = pytest.mark.parametrize("make", SINGLES.values(), ids=SINGLES)


def same(one: dict[str, Any], other: dict[str, Any], rows: Any = slice(None)) -> bool:
    """Whether two observations, or infos, are the same in some environments, bit for bit."""
    return all(np.array_equal(one[key][rows], other[key][rows]) for key in one)


def close(one: dict[str, Any], other: dict[str, Any], rows: Any) -> bool:
    """The same but for rounding: what a mesh shares a block with decides the order of some sums."""
    return all(np.allclose(one[key][rows], other[key][rows], rtol=1e-5, atol=1e-6) for key in one)


@batches
def test_nothing_moves_on_a_wrong_action(make: Callable[..., GraphVectorEnv]) -> None:
    env, twin = make(2), make(2)
    env.action_space.seed(0)
    for each in (env, twin):
        each.reset(seed=4)
    good = env.action_space.sample()
    beyond = good.copy()
    beyond[1] = 10_000
    for wrong in (good[:1], good.astype(float), beyond, -1 - good, np.full(good.shape, np.nan), good[..., None], None):
        with pytest.raises(ActionError, match=rf"{type(env).__name__}\.step: "):
            env.step(wrong)
    ours, theirs = env.step(good), twin.step(good)
    assert same(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1]) and same(ours[4], theirs[4])


@singles
def test_a_single_environment_refuses_a_wrong_action_and_plays_on(make: Callable[[], gymnasium.Env]) -> None:
    env = make()
    env.action_space.seed(0)
    env.reset(seed=4)
    good = np.asarray(env.action_space.sample())
    for wrong in (good[None], good + 0.5, np.full(good.shape, 10_000), np.full((4, 11), np.nan), "up", None):
        with pytest.raises(ActionError):
            env.step(wrong)
    assert not env.step(good)[3]


@singles
def test_a_single_environment_is_stepped_between_its_reset_and_its_end(make: Callable[[], gymnasium.Env]) -> None:
    env = make()
    action = env.action_space.sample() * 0
    with pytest.raises(ResetNeeded, match=r"call reset"):
        env.step(action)
    env.reset(seed=0)
    ends = [env.step(action)[2:4] for _ in range(8)]
    assert [any(end) for end in ends] == [False] * 7 + [True]
    with pytest.raises(ResetNeeded, match=r"has ended"):
        env.step(action)
    env.reset()
    env.step(action)
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.step(action)
    with pytest.raises(ClosedEnvironmentError):
        env.reset()


@batches
def test_a_batch_is_stepped_between_its_reset_and_its_closing(make: Callable[..., GraphVectorEnv]) -> None:
    env = make(2)
    action = env.action_space.sample() * 0
    with pytest.raises(ResetNeeded, match=r"call reset"):
        env.step(action)
    with pytest.raises(ValueError, match=r"have not begun"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    for _ in range(12):  # past an end: the next episode begins by itself
        env.step(action)
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.step(action)
    with pytest.raises(ClosedEnvironmentError):
        env.reset(seed=0)


@batches
def test_without_a_seed_a_reset_is_fresh_and_goes_on(make: Callable[..., GraphVectorEnv]) -> None:
    first, second = make(2), make(2)
    one, _ = first.reset()
    other, _ = second.reset()
    again, _ = first.reset()
    assert not same(one, other) and not same(one, again)
    seeded = [env.reset(seed=5)[0] for env in (first, second)]
    later = [env.reset()[0] for env in (first, second)]
    assert same(*seeded) and same(*later) and not same(seeded[0], later[0])
    # One environment's episodes are those of its number, whatever the others' seeds.
    mixed, _ = first.reset(seed=[9, 5])
    assert same(mixed, seeded[0], 1) and not same(mixed, seeded[0], 0)


@singles
def test_a_single_environment_too(make: Callable[[], gymnasium.Env]) -> None:
    first, second = make(), make()
    assert not same(first.reset()[0], second.reset()[0], ...)
    assert same(first.reset(seed=5)[0], second.reset(seed=5)[0], ...)
    assert same(first.reset()[0], second.reset()[0], ...)


@batches
def test_a_reset_of_a_part_leaves_the_others_where_they_are(make: Callable[..., GraphVectorEnv]) -> None:
    env, twin, alone = make(3), make(3), make(3)
    env.action_space.seed(1)
    for each in (env, twin):
        each.reset(seed=2)
    for _ in range(5):
        action = env.action_space.sample()
        before, theirs = env.step(action)[0], twin.step(action)[0]
    assert same(before, theirs)
    mask = np.array([True, False, True])
    shown, infos = env.reset(options={"reset_mask": mask})
    assert infos == {} and mask.tolist() == [True, False, True]
    assert same(shown, before, 1)
    assert not shown["elapsed_seconds"][mask].any() and not same(shown, before, 0)
    # Those that begin anew play the next episode of their seed, as if all had begun anew.
    alone.reset(seed=2)
    fresh, _ = alone.reset()
    assert same(shown, fresh, mask)
    ended = np.zeros(3, bool)
    for step in range(6):
        action = env.action_space.sample()
        ours, theirs, others = env.step(action), twin.step(action), alone.step(action)
        assert close(ours[0], theirs[0], 1) and close(ours[4], theirs[4], 1), step
        assert close(ours[0], others[0], mask) and close(ours[4], others[4], mask), step
        assert np.allclose(ours[1], np.where(mask, others[1], theirs[1]), rtol=1e-5), step
        ended |= ours[2] | ours[3]
    assert ended.tolist() == [False, True, False]  # the middle one kept its age


@batches
def test_a_reset_of_a_part_right_after_loading_and_with_a_seed(make: Callable[..., GraphVectorEnv]) -> None:
    env, other = make(2), make(2)
    env.reset(seed=3)
    shown = env.step(env.action_space.sample() * 0)[0]
    other.load_state_dict(env.state_dict())  # type: ignore[attr-defined]
    for each in (env, other):
        after, _ = each.reset(seed=8, options={"reset_mask": np.array([False, True])})
        assert same(after, shown, 0) and same(after, make(2).reset(seed=8)[0], 1)
    action = env.action_space.sample() * 0
    assert same(env.step(action)[0], other.step(action)[0])


@batches
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"reset_mask": [True, False]}}, r"reset_mask is \[True, False\], expected a numpy array of bool \(2,\)"),
        ({"options": {"reset_mask": np.array([1, 0])}}, r"reset_mask is int64 \(2,\)"),
        ({"options": {"reset_mask": np.array([True])}}, r"reset_mask is bool \(1,\)"),
        ({"options": {"reset_mask": np.zeros(2, bool)}}, "false everywhere"),
        ({"options": {"rest_mask": np.ones(2, bool)}}, "option 'rest_mask' is not known; known: reset_mask"),
        ({"options": ["reset_mask"]}, "are not a dictionary"),
        ({"seed": -1}, "seed -1 is not >= 0"),
        ({"seed": 1.5}, "seed 1.5 is not an integer"),
        ({"seed": True}, "seed True is not an integer"),
        ({"seed": [1, 2, 3]}, "3 seeds for 2 environments"),
        ({"seed": np.array(np.nan)}, "seed nan is not an integer"),
        ({"seed": np.array([[1, 2]])}, r"seeds of shape \(1, 2\) for 2 environments"),
    ],
)  # fmt: skip
def test_what_a_reset_cannot_mean_is_refused_and_the_episodes_go_on(
    make: Callable[..., GraphVectorEnv], arguments: dict[str, Any], message: str
) -> None:
    env, twin = make(2), make(2)
    for each in (env, twin):
        each.reset(seed=4)
    with pytest.raises(ValueError, match=message):
        env.reset(**arguments)
    action = env.action_space.sample() * 0
    assert same(env.step(action)[0], twin.step(action)[0])
    assert same(env.reset()[0], twin.reset()[0])


@batches
def test_an_array_of_one_number_is_that_seed(make: Callable[..., GraphVectorEnv]) -> None:
    env, twin = make(2), make(2)
    assert same(env.reset(seed=np.array(7))[0], twin.reset(seed=7)[0])


@singles
def test_a_single_environment_knows_its_own_options_alone(make: Callable[[], gymnasium.Env]) -> None:
    env = make()
    for options in ({"reset_mask": np.ones(1, bool)}, {"episodes": []}, "x"):
        with pytest.raises(ValueError, match=r"option"):
            env.reset(options=options)  # type: ignore[arg-type]
    env.reset(seed=0, options={})


def test_given_episodes_are_judged_before_anything_begins() -> None:
    env, twin = MeshVectorEnv(2, MESHES), MeshVectorEnv(2, MESHES)
    for each in (env, twin):
        each.reset(seed=1)
    episode = draw_episode(MESHES, Split.TRAIN, 0)
    for wrong in ([episode], episode, [episode, "x"], 3):
        with pytest.raises(ValueError, match=r"option 'episodes'"):
            env.reset(options={"episodes": wrong})
    still = np.zeros((2, MESHES.max_nodes), int)
    assert same(env.step(still)[0], twin.step(still)[0])
    shown, _ = env.reset(options={"episodes": [episode, episode]})
    assert np.array_equal(shown["nodes"][0], shown["nodes"][1])
    with pytest.raises(ValueError, match=r"MeshEnv|episodes"):
        MeshEnv(MESHES).reset(options={"episode": "x"})


@pytest.mark.parametrize("name", IDS)
def test_by_name_too_and_as_gymnasium_s_own_batch_does_it(name: str) -> None:
    envs = {
        mode: gymnasium.make_vec(name, num_envs=2, vectorization_mode=mode) for mode in ("vector_entry_point", "sync")
    }
    for env in envs.values():
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(5):
            before = env.step(env.action_space.sample())[0]
        shown, _ = env.reset(options={"reset_mask": np.array([True, False])})
        assert shown["elapsed_seconds"][0] == 0.0 and shown["elapsed_seconds"][1] == before["elapsed_seconds"][1] > 0.0
        assert same(shown, before, 1)
    single = gymnasium.make(name, disable_env_checker=True)
    single.reset(seed=0)
    with pytest.raises(ActionError):
        single.step(np.full((4, 11), np.nan))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (IDS[0], {"min_replicas": 30, "max_replicas": 5}, "environment.max_replicas: 5 is below environment.min_replicas"),
        (IDS[0], {"goal": "money"}, "environment.goal: 'money' is not one of slo, latency, cost"),
        (IDS[0], {"goal_reward": "money"}, "goal_reward: 'money' is not one of slo, latency, cost"),
        (IDS[0], {"decision_seconds": 0}, r"environment.decision_seconds: 0 is not in \[1, inf\)"),
        (IDS[0], {"mesh": "online_boutique"}, "environment.mesh: 'online_boutique' is not a list"),
        (IDS[0], {"workloads": ("durnal",)}, "environment.workloads: 'durnal' is not a workload; did you mean diurnal"),
        (IDS[0], {"mesh": ("random:5-60",)}, "environment.max_nodes: 20 is too few for random:5-60"),
        (IDS[0], {"episode_decision": 3}, "environment.episode_decision: unknown key; did you mean episode_decisions"),
        (IDS[0], {"config": "x"}, "config: 'x' is not an AutoscalingConfig"),
        (IDS[1], {"max_replicas": 1}, "environment.max_replicas: 1 is too few for 2 replicas"),
        (IDS[1], {"types": ("A", "A")}, "environment.types: types: 'A' appears 2 times"),
        (IDS[2], {"scenarios": ("Z",)}, "environment.scenarios: 'Z' is not a scenario"),
        (IDS[2], {"scenarios": ("E",), "max_replicas": 2}, "environment.max_replicas: 2 is too few for the 4 replicas of E"),
        (IDS[2], {"slow_factor": (3.0, 1.0)}, "environment.slow_factor: .* is not a range"),
    ],
)  # fmt: skip
def test_an_environment_is_made_of_what_a_configuration_may_say(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    for make in (gymnasium.make, lambda *a, **b: gymnasium.make_vec(*a, num_envs=2, **b)):
        with pytest.raises(gnnrl.ConfigError, match=message):
            make(name, **arguments)


@batches
def test_there_is_one_environment_at_least(make: Callable[..., GraphVectorEnv]) -> None:
    for count in (0, -1, 2.0, "2", True, None):
        with pytest.raises(ValueError, match=r"num_envs = .* is not|num_envs"):
            make(count)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_graph": "no"}, "use_graph: 'no' is not True or False"),
        ({"use_graph": None}, "use_graph: None is not"),
        ({"k8s": "yes"}, "k8s: 'yes' is not True or False"),
        ({"max_replicas": 2**70}, r"max_replicas: \d+ is not in \[1, 32767\]"),
        ({"max_nodes": 10**9}, "max_nodes"),
    ],
)
def test_online_boutique_is_made_of_what_its_arguments_mean(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gnnrl.OnlineBoutique(**changes)


@pytest.mark.parametrize("services", [True, "x", None, 1.5, 0, -1, 10**9])
def test_the_documented_layout_is_of_a_number_of_services_of_a_graph(services: Any) -> None:
    with pytest.raises(ValueError, match="services"):
        DocumentedObservation(gnnrl.OnlineBoutique(), services)
    with pytest.raises(ValueError, match="no graph"):
        DocumentedObservation(gymnasium.make("CartPole-v1"))
