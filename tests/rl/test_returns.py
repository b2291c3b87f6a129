import numpy as np
import pytest

from gnnrl.rl.returns import discounted_sums, graph_advantages, node_advantages


def column(*values, dtype=np.float32):
    return np.array(values, dtype)[:, None]


def flags(*values):
    return column(*values, dtype=np.bool_)


def test_a_truncation_bootstraps_from_the_final_observation_and_cuts():
    # Rows 0, 1 | row 2 is the final observation | row 3 starts the next episode.
    adv = graph_advantages(
        column(1, 2, 0, 4),
        column(10, 20, 30, 40, 50),
        terminated=flags(0, 0, 0, 0),
        truncated=flags(0, 1, 0, 0),
        loss_mask=flags(1, 1, 0, 1),
        gamma=0.5,
        lam=0.5,
    )
    delta1 = 2 + 0.5 * 30 - 20
    delta0 = 1 + 0.5 * 20 - 10
    assert adv[:, 0].tolist() == [delta0 + 0.25 * delta1, delta1, 0.0, 4 + 0.5 * 50 - 40]


def test_a_termination_is_worth_nothing_afterwards():
    adv = graph_advantages(
        column(1, 2, 0, 4),
        column(10, 20, 30, 40, 50),
        terminated=flags(0, 1, 0, 0),
        truncated=flags(0, 0, 0, 0),
        loss_mask=flags(1, 1, 0, 1),
        gamma=0.5,
        lam=0.5,
    )
    assert adv[:, 0].tolist() == [1 + 0.25 * -18, 2 - 20.0, 0.0, -11.0]


def test_taking_a_truncation_for_a_termination_gives_another_answer():
    args = (column(1, 2, 0, 4), column(10, 20, 30, 40, 50))
    right = graph_advantages(*args, flags(0, 0, 0, 0), flags(0, 1, 0, 0), flags(1, 1, 0, 1), 0.5, 0.5)
    wrong = graph_advantages(*args, flags(0, 1, 0, 0), flags(0, 1, 0, 0), flags(1, 1, 0, 1), 0.5, 0.5)
    assert abs(right[1, 0] - wrong[1, 0]) == 0.5 * 30


@pytest.mark.parametrize("by_node", [False, True])
def test_a_truncation_cuts_and_a_final_row_passes_nothing_on_each_by_itself(by_node):
    """Rows 0 | 1 truncated | 2 live, as if nothing had been reset | 3 not learned from, with no end before it | 4."""
    arguments = {
        "terminated": flags(0, 0, 0, 0, 0),
        "truncated": flags(0, 1, 0, 0, 0),
        "loss_mask": flags(1, 1, 1, 0, 1),
        "gamma": 0.5,
        "lam": 0.5,
    }
    reward, value = column(1, 2, 3, 7, 4), column(10, 20, 30, 40, 50, 60)
    if by_node:
        kept = {"node_mask": np.ones((6, 1, 1), np.int8), "prev_slot": np.zeros((6, 1, 1), np.int64)}
        found = node_advantages(reward[..., None], value[..., None], **kept, **arguments)[..., 0]
    else:
        found = graph_advantages(reward, value, **arguments)
    one, two, four = 2 + 0.5 * 30 - 20, 3 + 0.5 * 40 - 30, 4 + 0.5 * 60 - 50
    assert found[:, 0].tolist() == [1 + 0.5 * 20 - 10 + 0.25 * one, one, two, 0.0, four]


def test_a_node_that_moves_is_followed_and_one_that_leaves_ends():
    # Node a: slot 0 -> 1 -> 1. Node b: slot 1, gone at t = 1. Node c appears in a's old slot at t = 1.
    reward = np.array([[[1.0, 2.0]], [[3.0, 4.0]]], np.float32)
    value = np.array([[[10.0, 20.0]], [[30.0, 40.0]], [[50.0, 60.0]]], np.float32)
    prev_slot = np.array([[[-1, -1]], [[-1, 0]], [[0, 1]]])
    adv = node_advantages(
        reward, value, np.ones((3, 1, 2), np.int8), prev_slot, flags(0, 0), flags(0, 0), flags(1, 1), 0.5, 0.5
    )
    a1, c1 = 4 + 0.5 * 60 - 40, 3 + 0.5 * 50 - 30
    assert adv[1, 0].tolist() == [c1, a1]
    assert adv[0, 0].tolist() == [1 + 0.5 * 40 - 10 + 0.25 * a1, 2.0 - 20.0]


def slow_node_advantages(reward, value, node_mask, prev_slot, terminated, truncated, loss_mask, gamma, lam):
    """Forward sum of discounted deltas along the trajectory of every node, one at a time."""
    steps, batch, slots = reward.shape
    out = np.zeros(reward.shape)
    for t in range(steps):
        for b in range(batch):
            for s in range(slots):
                if not (loss_mask[t, b] and node_mask[t, b, s]):
                    continue
                weight, now, u, total = 1.0, s, t, 0.0
                while True:
                    after = [x for x in range(slots) if node_mask[u + 1, b, x] and prev_slot[u + 1, b, x] == now]
                    alive = bool(after) and not terminated[u, b]
                    bootstrap = gamma * value[u + 1, b, after[0]] if alive else 0.0
                    total += weight * (reward[u, b, now] + bootstrap - value[u, b, now])
                    if not alive or truncated[u, b] or u + 1 == steps:
                        break
                    weight, now, u = weight * gamma * lam, after[0], u + 1
                out[t, b, s] = total
    return out


def random_rollout(seed, steps=14, batch=5, slots=6):
    rng = np.random.default_rng(seed)
    terminated, truncated = rng.random((2, steps, batch)) < 0.12
    truncated &= ~terminated
    loss_mask = np.ones((steps, batch), bool)
    node_mask = rng.random((steps + 1, batch, slots)) < 0.6
    prev_slot = np.full((steps + 1, batch, slots), -1)
    for b in range(batch):
        live = True
        for t in range(steps):
            loss_mask[t, b] = live
            if live:
                live = not (terminated[t, b] or truncated[t, b])
            else:
                terminated[t, b] = truncated[t, b] = False
                live = True
        for t in range(1, steps + 1):
            old, new = np.flatnonzero(node_mask[t - 1, b]), np.flatnonzero(node_mask[t, b])
            count = rng.integers(0, min(len(old), len(new)) + 1)
            if t >= 2 and not loss_mask[t - 1, b]:
                count = 0  # the observation after a final one starts an episode
            prev_slot[t, b, rng.permutation(new)[:count]] = rng.permutation(old)[:count]
    reward = (rng.normal(size=(steps, batch, slots)) * node_mask[:-1]).astype(np.float32)
    value = rng.normal(size=(steps + 1, batch, slots)).astype(np.float32)
    return reward, value, node_mask, prev_slot, terminated, truncated, loss_mask


@pytest.mark.parametrize("seed", range(5))
def test_node_advantages_equal_a_slow_walk_along_every_node(seed):
    rollout = random_rollout(seed)
    np.testing.assert_allclose(node_advantages(*rollout, 0.9, 0.8), slow_node_advantages(*rollout, 0.9, 0.8), atol=1e-5)


def test_without_churn_the_sum_over_nodes_is_the_advantage_of_the_sum():
    reward, value, _, _, terminated, truncated, loss_mask = random_rollout(7)
    steps, batch, slots = reward.shape
    still = np.broadcast_to(np.arange(slots), (steps + 1, batch, slots)).copy()
    mask = np.ones(still.shape, np.int8)
    nodes = node_advantages(reward, value, mask, still, terminated, truncated, loss_mask, 0.9, 0.8)
    whole = graph_advantages(reward.sum(-1), value.sum(-1), terminated, truncated, loss_mask, 0.9, 0.8)
    np.testing.assert_allclose(nodes.sum(-1), whole, atol=1e-4)


def test_discounted_sums_follow_nodes_over_the_seam_of_two_rollouts():
    reward = np.array([[[1.0, 2.0]], [[4.0, 8.0]]], np.float32)
    mask, carry = np.ones((2, 1, 2), np.int8), np.array([[100.0, 200.0]])
    prev_slot = np.array([[[1, -1]], [[1, 0]]])
    out = discounted_sums(reward, mask, prev_slot, np.zeros((2, 1), bool), 0.5, carry)
    assert out[:, 0].tolist() == [[1 + 100.0, 2.0], [4 + 1.0, 8 + 50.5]]
    assert carry.tolist() == [[5.0, 58.5]]
    out = discounted_sums(reward[:1], mask[:1], prev_slot[:1], np.ones((1, 1), bool), 0.5, carry)
    assert out[0, 0].tolist() == [1.0, 2.0]


def test_shapes_that_do_not_agree_are_named():
    with pytest.raises(ValueError, match=r"value has shape \(4, 1\), needs \(5, 1\)"):
        graph_advantages(column(1, 2, 3, 4), column(1, 2, 3, 4), *[flags(0, 0, 0, 0)] * 3, 0.9, 0.9)
