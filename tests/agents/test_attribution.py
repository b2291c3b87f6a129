import numpy as np
import pytest
import torch
from gymnasium import spaces

from gnnrl.agents import PPO_GNN
from gnnrl.agents.attribution import attribute
from gnnrl.config.experiment import EncoderConfig
from tests.agents.small import ENCODER
from tests.toy_mesh import toy_space

SLOTS, EDGES, MOVES = 8, 12, 5
CHANGE = np.array([0.0, 1.0, 2.0, -1.0, -2.0])
FIRST, SECOND = [0, 2, 3, 5], [1, 6]
"""Slots of two components without a call between them; 4 and 7 are empty."""
CALLS = [(5, 2), (0, 2), (2, 3), (0, 3), (6, 1), (3, 0)]


def observation(seed=0):
    rng = np.random.default_rng(seed)
    obs = {key: np.zeros(box.shape, box.dtype) for key, box in toy_space(SLOTS, EDGES, MOVES).items()}
    real = sorted(FIRST + SECOND)
    obs["node_mask"][real] = 1
    obs["nodes"][real] = rng.normal(3.0, 2.0, (len(real), 4))
    obs["edge_index"][:, : len(CALLS)] = np.array(CALLS).T
    obs["edge_mask"][: len(CALLS)] = 1
    obs["edges"][: len(CALLS)] = rng.uniform(0.5, 4.0, (len(CALLS), 2))
    obs["globals"][:] = rng.uniform(1.0, 3.0, 2)
    obs["prev_slot"][:] = -1
    obs["prev_slot"][real] = [2, 0, 1, 5, 3, 6]  # everybody but slot 5's node has moved
    obs["elapsed_seconds"] = np.float32(15.0)
    obs["action_mask"][real] = 1
    obs["action_mask"][2, 4] = 0
    return obs


def make_agent(kind="tgn+gnn", mode="joint", seed=0):
    """Weights away from their timid start, and statistics of observations that vary."""
    actions = spaces.MultiDiscrete([MOVES] * SLOTS) if mode == "joint" else spaces.Discrete(SLOTS * MOVES)
    config = EncoderConfig(kind=kind, **ENCODER)
    agent = PPO_GNN(toy_space(SLOTS, EDGES, MOVES), actions, encoder=config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head = agent.model.head.logits
        head.weight.copy_((0.3 if mode == "select" else 1.0) * torch.randn(head.weight.shape, generator=generator))
        head.bias.zero_()
    seen = [observation(100 + i) for i in range(6)]
    agent.scaler.update({key: np.stack([one[key] for one in seen]) for key in seen[0]})
    return agent


def state_before(agent, seed=1):
    generator = torch.Generator().manual_seed(seed)
    state = agent.initial_state(1, SLOTS)
    return state._replace(
        memory=4.0 * torch.rand(state.memory.shape, generator=generator) - 2.0, age_seconds=state.age_seconds + 30.0
    )


def expected_change(agent, obs, state, start=(False,), temperature=1.0):
    """[N], as `act` would see it: through the compiled kernels, in numpy. The oracle of these tests."""
    batch = {key: np.asarray(value)[None] for key, value in obs.items()}
    sequence = agent.scaler.sequence(batch, np.array(start))
    with torch.inference_mode():
        logits, _ = agent.model.decide(sequence, state)
    slots = sequence.row_slot.numpy()
    masked = np.where(obs["action_mask"][slots] > 0, logits.numpy().astype(np.float64) / temperature, -np.inf)
    likely = np.exp(masked - (masked.max() if agent.mode == "select" else masked.max(axis=1, keepdims=True)))
    likely /= likely.sum() if agent.mode == "select" else likely.sum(axis=1, keepdims=True)
    found = np.zeros(SLOTS)
    found[slots] = likely @ CHANGE
    return found


def central(agent, obs, state, key, index, slot, **how):
    """x * de/dx by central differences, x the entry of `obs[key]` at `index`."""
    x = float(obs[key][index])
    step = 1e-3 * max(abs(x), 0.5)
    ends = []
    for sign in (1, -1):
        moved = {name: value.copy() for name, value in obs.items()}
        moved[key][index] = x + sign * step
        ends.append((expected_change(agent, moved, state, **how)[slot], float(moved[key][index])))
    return x * (ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1])


def assert_close(found, expected, scale):
    """Relative 1e-2; of the small ones, to a thousandth of the largest weight, which is what single precision can say."""
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3 * scale)


@pytest.mark.parametrize("mode", ["joint", "select"])
@pytest.mark.parametrize("kind", ["tgn+gnn", "tgn", "gnn", "mlp"])
def test_weights_equal_finite_differences_of_the_expected_change(kind, mode):
    agent, obs = make_agent(kind, mode), observation()
    state = state_before(agent)
    decided = [3, 2, 6]
    found = attribute(agent, obs, state, None, decided, CHANGE)
    base = expected_change(agent, obs, state)
    np.testing.assert_allclose(found.expected_change, base[decided], atol=1e-5)
    for d, slot in enumerate(decided):
        by_node = np.array(
            [
                [central(agent, obs, state, "nodes", (n, f), slot) for f in range(4)]
                if obs["node_mask"][n]
                else [0.0] * 4
                for n in range(SLOTS)
            ]
        )
        by_edge = np.array(
            [
                sum(central(agent, obs, state, "edges", (e, f), slot) for f in range(2)) if obs["edge_mask"][e] else 0.0
                for e in range(EDGES)
            ]
        )
        by_global = np.array([central(agent, obs, state, "globals", (g,), slot) for g in range(2)])
        scale = np.abs(by_node).max()
        assert scale > 3e-3
        assert_close(found.node_column_weight[d], by_node[slot], scale)
        assert_close(found.node_weight[d], by_node.sum(axis=1), scale)
        assert_close(found.edge_weight[d], by_edge, scale)
        assert_close(found.global_weight[d], by_global, scale)
        if kind != "mlp" and slot in FIRST:
            assert np.abs(found.edge_weight[d]).max() > 1e-3


def test_memory_weights_equal_finite_differences_at_the_slots_nodes_have_now():
    agent, obs = make_agent("tgn+gnn"), observation()
    state = state_before(agent)
    found = attribute(agent, obs, state, None, [3], CHANGE)
    expected = np.zeros(SLOTS)
    for slot in np.flatnonzero(obs["node_mask"]):
        # All of a node's memory scaled at once: the slope along it is the sum of gradient x memory.
        ends = []
        for factor in (1.02, 0.98):
            memory = state.memory.clone()
            memory[0, obs["prev_slot"][slot]] *= factor
            ends.append(expected_change(agent, obs, state._replace(memory=memory))[3])
        expected[slot] = (ends[0] - ends[1]) / 0.04
    assert_close(found.memory_weight[0], expected, np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3
    by_old_slot = np.zeros(SLOTS)
    by_old_slot[obs["prev_slot"][obs["node_mask"] > 0]] = expected[obs["node_mask"] > 0]
    assert not np.allclose(found.memory_weight[0], by_old_slot, rtol=1e-2, atol=1e-3)


def test_memory_of_new_nodes_and_at_the_start_of_an_episode_weighs_nothing():
    agent, obs = make_agent("tgn+gnn"), observation()
    state = state_before(agent)
    obs["prev_slot"][3] = -1
    found = attribute(agent, obs, state, None, [3], CHANGE).memory_weight[0]
    assert found[3] == 0.0 and found[2] != 0.0
    assert not attribute(agent, obs, state, np.array([True]), [3], CHANGE).memory_weight.any()
    stateless = make_agent("gnn")
    assert not attribute(stateless, obs, None, None, [3], CHANGE).memory_weight.any()


@pytest.mark.parametrize("kind", ["tgn+gnn", "tgn", "gnn"])
def test_nodes_and_calls_of_another_component_weigh_exactly_nothing(kind):
    agent, obs = make_agent(kind), observation()
    found = attribute(agent, obs, state_before(agent), None, [3, 6], CHANGE)
    other_calls = [e for e, (source, _) in enumerate(CALLS) if source in SECOND]
    own_calls = [e for e, (source, _) in enumerate(CALLS) if source in FIRST]
    for row, own, other, calls, others in (
        (0, FIRST, SECOND, own_calls, other_calls),
        (1, SECOND, FIRST, other_calls, own_calls),
    ):
        assert (found.node_weight[row, other] == 0.0).all()
        assert (found.memory_weight[row, other] == 0.0).all()
        assert (found.edge_weight[row, others] == 0.0).all()
        assert (found.node_weight[row, own] != 0.0).all()
        assert (found.edge_weight[row, calls] != 0.0).any()
    assert (found.node_weight[:, [4, 7]] == 0.0).all() and (found.edge_weight[:, len(CALLS) :] == 0.0).all()


def test_under_select_the_other_component_weighs_too_because_one_choice_is_made_among_all():
    agent, obs = make_agent("gnn", "select"), observation()
    assert (attribute(agent, obs, None, None, [3], CHANGE).node_weight[0, SECOND] != 0.0).all()


@pytest.mark.parametrize("kind", ["tgn+gnn", "gnn"])
def test_permuting_slots_and_edges_permutes_weights(kind):
    agent, obs = make_agent(kind), observation()
    state = state_before(agent)
    rng = np.random.default_rng(3)
    to, edge_to = rng.permutation(SLOTS), rng.permutation(len(CALLS))
    moved = {name: np.array(value) for name, value in obs.items()}
    for key in ("nodes", "node_mask", "prev_slot", "action_mask"):
        moved[key][to] = obs[key]
    moved["edge_index"][:, edge_to] = to[obs["edge_index"][:, : len(CALLS)]]
    moved["edges"][edge_to] = obs["edges"][: len(CALLS)]
    plain = attribute(agent, obs, state, None, [3, 6], CHANGE)
    permuted = attribute(agent, moved, state, None, to[[3, 6]], CHANGE)
    close = {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(permuted.node_weight[:, to], plain.node_weight, **close)
    np.testing.assert_allclose(permuted.memory_weight[:, to], plain.memory_weight, **close)
    np.testing.assert_allclose(permuted.edge_weight[:, edge_to], plain.edge_weight[:, : len(CALLS)], **close)
    np.testing.assert_allclose(permuted.node_column_weight, plain.node_column_weight, **close)
    np.testing.assert_allclose(permuted.global_weight, plain.global_weight, **close)
    assert not np.allclose(permuted.node_weight, plain.node_weight, **close)


FIELDS = ("expected_change", "node_weight", "node_column_weight", "edge_weight", "global_weight", "memory_weight")


def test_nan_in_padding_and_in_dead_memory_changes_nothing():
    agent, obs = make_agent(), observation()
    state = state_before(agent)
    plain = attribute(agent, obs, state, None, [3, 6], CHANGE)
    poisoned = {name: np.array(value) for name, value in obs.items()}
    poisoned["nodes"][[4, 7]] = np.nan
    poisoned["edges"][len(CALLS) :] = np.nan
    memory = state.memory.clone()
    dead = sorted(set(range(SLOTS)) - set(obs["prev_slot"].tolist()))
    memory[0, dead] = np.nan
    assert len(dead) == 2
    after = attribute(agent, poisoned, state._replace(memory=memory), None, [3, 6], CHANGE)
    for name in FIELDS:
        assert np.array_equal(getattr(after, name), getattr(plain, name)), name


def test_a_clipped_column_weighs_nothing_however_large_it_is():
    agent, obs = make_agent("gnn"), observation()
    obs["nodes"][3, 1] = 1e9
    column = attribute(agent, obs, None, None, [3], CHANGE).node_column_weight[0]
    plain_scale = agent.scaler.normalisers["nodes"]
    assert abs(plain_scale(obs["nodes"][[3]])[0, 5]) == plain_scale.clip
    assert column[1] == 0.0 and column[0] != 0.0


def test_a_cooler_policy_reads_a_cooler_distribution():
    agent, obs = make_agent(), observation()
    state = state_before(agent)
    found = attribute(agent, obs, state, None, [3, 6], CHANGE, temperature=0.5)
    cool, warm = (expected_change(agent, obs, state, temperature=t)[[3, 6]] for t in (0.5, 1.0))
    np.testing.assert_allclose(found.expected_change, cool, atol=1e-5)
    assert np.abs(cool - warm).min() > 1e-3


def test_weights_do_not_sum_to_the_change_and_the_agent_acts_as_before():
    agent, obs = make_agent(), observation()
    state = state_before(agent)
    twin = make_agent()
    found = attribute(agent, obs, state, None, [3], CHANGE)
    total = found.node_weight.sum() + found.edge_weight.sum() + found.global_weight.sum() + found.memory_weight.sum()
    assert abs(total - found.expected_change[0]) > 1e-2
    for _ in range(3):
        ours, theirs = agent.act(obs, state), twin.act(obs, state)
        assert np.array_equal(ours[0], theirs[0]) and torch.equal(ours[1].memory, theirs[1].memory)
    assert all(parameter.grad is None for parameter in agent.model.parameters())
    assert all(getattr(module, "kernel", "auto") == "auto" for module in agent.model.modules())


def test_the_state_that_act_returned_is_taken_as_it_is_also_under_inference_mode():
    agent, obs = make_agent(), observation()
    _, state = agent.act(obs)
    obs["prev_slot"][:] = np.where(obs["node_mask"] > 0, np.arange(SLOTS), -1)
    assert state.memory.is_inference()
    plain = attribute(agent, obs, state, None, [3], CHANGE)
    with torch.inference_mode():
        guarded = attribute(agent, {key: value[None] for key, value in obs.items()}, state, None, [3], CHANGE)
    assert np.array_equal(plain.node_weight, guarded.node_weight) and plain.memory_weight.any()


def test_nothing_decided_and_nodes_without_calls_are_answered():
    agent, obs = make_agent(), observation()
    assert attribute(agent, obs, None, None, [], CHANGE).edge_weight.shape == (0, EDGES)
    obs["edge_mask"][:] = 0
    alone = attribute(agent, obs, None, None, [3], CHANGE)
    assert not alone.edge_weight.any()
    assert np.flatnonzero(alone.node_weight[0]).tolist() == [3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [4]}, "slot 4 holds no node"),
        ({"nodes": [-1]}, "slot -1 holds no node"),
        ({"nodes": [99]}, "slot 99 holds no node"),
        ({"moves": CHANGE[:3]}, "policy has 5 moves"),
        ({"temperature": 0.0}, "temperature 0.0: must be above 0"),
    ],
)
def test_what_cannot_be_explained_is_refused(change, message):
    asked = {"nodes": [3], "moves": CHANGE, "temperature": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        attribute(
            make_agent(), observation(), None, None, asked["nodes"], asked["moves"], temperature=asked["temperature"]
        )


def test_a_batch_and_a_node_without_a_legal_move_are_refused():
    agent, obs = make_agent(), observation()
    with pytest.raises(ValueError, match="2 observations at once"):
        attribute(agent, {key: np.stack([value, value]) for key, value in obs.items()}, None, None, [3], CHANGE)
    obs["action_mask"][3] = 0
    with pytest.raises(ValueError, match="slot 3 has no legal move"):
        attribute(agent, obs, None, None, [3], CHANGE)
    assert np.isfinite(attribute(agent, obs, None, None, [2], CHANGE).node_weight).all()
