import itertools

import numpy as np
import pytest
import torch

from gnnrl.rl.distributions import EmptyMaskError, MaskedCategorical, mode_action, sample_action

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [1.0, 0.0, 0.5], [-0.7, 0.2, 0.1]])
MASK = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])
ROW_GRAPH = torch.tensor([0, 0, 1])


def enumerated(rows):
    """Probabilities of every joint action of the given rows, by brute force."""
    out = {}
    for moves in itertools.product(range(3), repeat=len(rows)):
        p = 1.0
        for row, move in zip(rows, moves, strict=True):
            weights = torch.where(MASK[row], LOGITS[row].double().exp(), 0.0)
            p *= float(weights[move] / weights.sum())
        out[moves] = p
    return out


def test_the_entropy_of_joint_is_that_of_the_enumerated_joint_distribution():
    policy = MaskedCategorical(LOGITS, MASK)
    joint = np.array([p for p in enumerated([0, 1, 2]).values() if p > 0])
    assert policy.entropy().sum().item() == pytest.approx(-(joint * np.log(joint)).sum(), abs=1e-6)


def test_the_log_probability_of_joint_is_that_of_the_enumerated_joint_distribution():
    policy = MaskedCategorical(LOGITS, MASK)
    for moves, p in enumerated([0, 1, 2]).items():
        flat = torch.arange(3) * 3 + torch.tensor(moves)
        assert policy.log_prob(flat).sum().exp().item() == pytest.approx(p, abs=1e-6)


def test_select_is_one_categorical_over_the_legal_pairs_of_each_graph():
    policy = MaskedCategorical(LOGITS, MASK, ROW_GRAPH, 2)
    weights = torch.where(MASK, LOGITS.double().exp(), 0.0)
    for graph, rows in ((0, [0, 1]), (1, [2])):
        p = (weights[rows] / weights[rows].sum()).flatten()
        legal = p > 0
        assert policy.entropy()[graph].item() == pytest.approx(-(p[legal] * p[legal].log()).sum().item(), abs=1e-6)
        got = policy.log_prob(torch.tensor([r * 3 + k for r in rows for k in range(3)])).exp()
        torch.testing.assert_close(got, p.float(), atol=1e-6, rtol=0)


def test_select_factorises_into_node_and_move_given_node():
    policy = MaskedCategorical(LOGITS, MASK, ROW_GRAPH, 2)
    p = policy.log_probs.exp()[:2] * MASK[:2]
    node = p.sum(1)
    move = p / node.unsqueeze(1)
    h_node = -(node * node.log()).sum()
    h_move = -torch.where(move > 0, move * move.clamp(min=1e-30).log(), 0.0).sum(1)
    assert policy.entropy()[0].item() == pytest.approx((h_node + (node * h_move).sum()).item(), abs=1e-6)


def test_kl_is_zero_to_itself_and_equals_the_definition():
    other = MaskedCategorical(LOGITS * -0.5, MASK, ROW_GRAPH, 2)
    policy = MaskedCategorical(LOGITS, MASK, ROW_GRAPH, 2)
    assert policy.kl(policy.log_probs).abs().max().item() == 0.0
    p, q = policy.log_probs.exp() * MASK, other.log_probs.exp() * MASK
    by_hand = torch.where(MASK, p * (p.clamp(min=1e-30) / q.clamp(min=1e-30)).log(), 0.0).sum(1)
    torch.testing.assert_close(policy.kl(other.log_probs), torch.stack([by_hand[:2].sum(), by_hand[2]]))


def test_illegal_moves_have_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    policy = MaskedCategorical(logits, MASK)
    (policy.entropy().sum() + policy.log_prob(torch.tensor([0, 4, 8])).sum()).backward()
    assert (logits.grad[~MASK] == 0).all()
    assert (logits.grad[MASK].abs() > 0).all()


@pytest.mark.parametrize("pointer", [None, np.array([0, 2, 3])])
def test_draws_follow_the_distribution_and_report_its_log_probability(pointer):
    graphs = (None, 0) if pointer is None else (ROW_GRAPH, 2)
    policy = MaskedCategorical(LOGITS, MASK, *graphs)
    p = policy.log_probs.exp().numpy() * MASK.numpy()
    count = 3 if pointer is None else 2
    rng = np.random.default_rng(0)
    hits, draws = np.zeros((3, 3)), 20_000
    for _ in range(draws):
        row, move, log_prob = sample_action(LOGITS.numpy(), MASK.numpy(), pointer, rng.random(count))
        hits[row, move] += 1
    np.testing.assert_allclose(log_prob, np.log(p[row, move]), atol=1e-6)
    np.testing.assert_allclose(hits / draws, p, atol=4 * np.sqrt(0.25 / draws))
    assert (hits[~MASK.numpy()] == 0).all()


def test_the_extremes_of_the_uniform_stay_legal():
    mask = MASK.numpy()
    for u in (0.0, np.nextafter(1.0, 0.0)):
        row, move, _ = sample_action(LOGITS.numpy(), mask, None, np.full(3, u))
        assert mask[row, move].all()


def test_the_mode_is_the_likeliest_legal_move():
    row, move, log_prob = mode_action(LOGITS.numpy(), MASK.numpy(), None)
    assert move.tolist() == [0, 0, 1]
    expected = MaskedCategorical(LOGITS, MASK).log_prob(torch.tensor([0, 3, 7]))
    np.testing.assert_allclose(log_prob, expected.numpy(), atol=1e-6)
    row, move, _ = mode_action(LOGITS.numpy(), MASK.numpy(), np.array([0, 2, 3]))
    assert (row.tolist(), move.tolist()) == ([1, 2], [0, 1])


def test_a_pointer_is_select_with_one_move():
    policy = MaskedCategorical(LOGITS[:, :1], MASK[:, :1] | True, ROW_GRAPH, 2)
    torch.testing.assert_close(policy.log_probs[:2, 0], torch.log_softmax(LOGITS[:2, 0], 0))
    assert policy.log_probs[2, 0].item() == 0.0


def test_an_empty_mask_row_is_an_error_that_says_where():
    mask = MASK.clone()
    mask[1] = False
    with pytest.raises(EmptyMaskError, match="row 1 "):
        MaskedCategorical(LOGITS, mask)
    with pytest.raises(EmptyMaskError, match="row 1 "):
        sample_action(LOGITS.numpy(), mask.numpy(), None, np.full(3, 0.5))
    MaskedCategorical(LOGITS, mask, ROW_GRAPH, 2)  # the graph's other node can still be chosen
    mask[2] = False
    with pytest.raises(EmptyMaskError, match="graph 1 "):
        MaskedCategorical(LOGITS, mask, ROW_GRAPH, 2)
    with pytest.raises(EmptyMaskError, match="graph 1 "):
        mode_action(LOGITS.numpy(), mask.numpy(), np.array([0, 2, 3]))


@pytest.mark.parametrize("pointer", [None, np.array([0, 1])])
def test_what_has_no_probability_is_not_drawn_at_the_lowest_uniform(pointer):
    logits = np.array([[-2000.0, 0.0, 1.0]], np.float32)
    row, move, log_prob = sample_action(logits, np.ones((1, 3), bool), pointer, np.zeros(1))
    assert (row[0], move[0]) == (0, 1)
    assert log_prob[0] == pytest.approx(-np.log(1.0 + np.e), rel=1e-6)
