"""The recurrent network by itself: memory, masks, branches, bounds, tempered probabilities."""

import pytest
import torch

from gnnrl.agents.actor_critic import LOGIT_BOUND, ActorCritic
from gnnrl.rl.distributions import EmptyMaskError

STATE, ACTIONS, ENVS, STEPS = 7, 5, 3, 6


def network(seed=0, **given):
    torch.manual_seed(seed)
    net = ActorCritic(STATE, ACTIONS, **{"hidden": 16, "layers": 1, "gru_layers": 2, **given})
    # As drawn, the last layers are so small that nothing could be told apart.
    torch.nn.init.orthogonal_(net.logits.weight)
    torch.nn.init.orthogonal_(net.value.weight)
    return net


def episode(seed=1, starts=((3, 1), (4, 0), (4, 2))):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.ones(STEPS, ENVS, 1)
    for t, n in starts:
        masks[t, n] = 0.0
    return torch.randn(STEPS, ENVS, STATE, generator=generator), masks


def memory(net, seed=2):
    return torch.randn(net.state_layers, ENVS, net.hidden, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("decoupled", [True, False])
def test_time_first_is_step_by_step(decoupled):
    net = network(decoupled=decoupled)
    s, masks = episode()
    hxs = memory(net)
    actions = torch.randint(0, ACTIONS, (STEPS, ENVS))
    with torch.no_grad():
        log_prob, entropy, value, after = net.evaluate_actions(
            s.flatten(0, 1), hxs, masks.flatten(0, 1), actions.view(-1)
        )
        for t in range(STEPS):
            one = net.evaluate_actions(s[t], hxs, masks[t], actions[t])
            hxs = one[3]
            for whole, single in zip((log_prob, entropy, value), one, strict=False):
                torch.testing.assert_close(whole.view(STEPS, ENVS)[t], single, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(after, hxs, atol=1e-6, rtol=1e-5)
    assert after.shape == ((4 if decoupled else 2), ENVS, 16)


def test_a_mask_of_zero_forgets_whatever_was_remembered():
    net = network()
    s, _ = episode()
    masks = torch.tensor([[1.0], [0.0], [1.0]])
    poisoned = memory(net)
    poisoned[:, 1] = torch.nan
    empty = memory(net)
    empty[:, 1] = 0.0
    with torch.no_grad():
        forgot, value, after = net.judge(s[0], poisoned, masks)
        fresh, fresh_value, fresh_after = net.judge(s[0], empty, torch.ones(ENVS, 1))
        kept, _, _ = net.judge(s[0], memory(net), torch.ones(ENVS, 1))
    assert torch.equal(forgot, fresh)
    assert torch.equal(value, fresh_value)
    assert torch.equal(after, fresh_after)
    # The control: memory that is kept does matter.
    assert (kept[1] - fresh[1]).abs().max() > 1e-2


def test_what_came_before_an_episode_is_not_seen_in_it_and_what_came_before_in_it_is():
    net = network()
    s, masks = episode(starts=((3, 1),))
    other = s.clone()
    other[:3] = episode(seed=5)[0][:3]
    with torch.no_grad():
        a, _, _ = net.judge(s.flatten(0, 1), memory(net), masks.flatten(0, 1))
        b, _, _ = net.judge(other.flatten(0, 1), memory(net), masks.flatten(0, 1))
    change = (a - b).abs().view(STEPS, ENVS, ACTIONS).amax(-1)
    assert (change[3:, 1] == 0.0).all()
    assert (change[3:, [0, 2]] > 1e-4).all()


def gradients(net, of):
    s, masks = episode(starts=())
    logits, value, _ = net.judge(s.flatten(0, 1), memory(net), masks.flatten(0, 1))
    (logits.square().sum() if of == "logits" else value.square().sum()).backward()
    touched = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    net.zero_grad(set_to_none=True)
    return touched


def test_decoupled_the_value_shapes_no_memory_of_the_policy():
    shared = {"projection", "mlp"}
    net = network()
    assert gradients(net, "logits") == shared | {"gru", "actor", "logits"}
    assert gradients(net, "value") == shared | {"critic", "critic_gru", "value"}
    net = network(decoupled=False)
    assert gradients(net, "logits") == shared | {"gru", "logits"}
    assert gradients(net, "value") == shared | {"gru", "value"}


def test_the_layers_are_the_documented_ones():
    net = network(layers=3, gru_layers=1)
    kinds = [type(m).__name__ for m in net.projection]
    assert kinds == ["LayerNorm", "Linear", "GELU", "Linear"]
    assert [[type(m).__name__ for m in block] for block in net.mlp] == [["Linear", "LayerNorm", "ReLU"]] * 4
    assert [[type(m).__name__ for m in block] for block in net.actor] == [["Linear", "LayerNorm", "ReLU"]] * 2
    assert net.state_layers == 2
    assert not net.gru.batch_first


def test_logits_are_bounded():
    net = network()
    with torch.no_grad():
        net.logits.weight.mul_(1e4)
        s, masks = episode()
        logits, _, _ = net.judge(s.flatten(0, 1), memory(net), masks.flatten(0, 1))
    assert logits.abs().max() <= LOGIT_BOUND
    assert logits.max() > 0.99 * LOGIT_BOUND
    # Small logits pass as they are.
    with torch.no_grad():
        net.logits.weight.mul_(1e-8)
        net.logits.bias[:] = torch.linspace(-0.01, 0.01, ACTIONS)
        small, _, _ = net.judge(s.flatten(0, 1), memory(net), masks.flatten(0, 1))
    torch.testing.assert_close(small[0], net.logits.bias.detach(), atol=2e-4, rtol=1e-3)


def test_the_log_probability_is_that_of_the_tempered_distribution():
    net = network()
    s, masks = episode()
    s, masks, hxs = s[0].repeat(1000, 1), masks[0].repeat(1000, 1), memory(net).repeat(1, 1000, 1)
    legal = torch.ones(3000, ACTIONS, dtype=torch.bool)
    legal[1::3, 2] = False
    generator = torch.Generator().manual_seed(0)
    action, log_prob, value, after = net.act_value(s, hxs, masks, 2.5, legal, generator)
    with torch.no_grad():
        logits, expected_value, expected_after = net.judge(s, hxs, masks)
    probability = torch.where(legal, logits / 2.5, -torch.inf).softmax(-1)
    torch.testing.assert_close(log_prob.exp(), probability.gather(1, action.unsqueeze(1)).squeeze(1))
    assert torch.equal(value, expected_value)
    assert torch.equal(after, expected_after)
    assert not (action[1::3] == 2).any()
    for n in range(3):
        share = torch.bincount(action[n::3], minlength=ACTIONS) / 1000
        assert (share - probability[n]).abs().max() < 5 * 0.5 / 1000**0.5
    again, entropy, _, _ = net.evaluate_actions(s, hxs, masks, action, 2.5, legal)
    torch.testing.assert_close(again, log_prob)
    torch.testing.assert_close(entropy, -(probability * probability.clamp(min=1e-30).log()).sum(-1))
    # The control: at another temperature it is another number.
    assert (net.evaluate_actions(s, hxs, masks, action, 1.0, legal)[0] - log_prob).abs().max() > 0.1


def test_misuse_is_told():
    net = network()
    s, masks = episode()
    hxs = memory(net)
    with pytest.raises(ValueError, match=r"expected \(4, N, 16\)"):
        net.act_value(s[0], hxs[:2], masks[0])
    with pytest.raises(ValueError, match=r"T \* N rows"):
        net.act_value(s.flatten(0, 1)[:4], hxs, masks[0])
    with pytest.raises(ValueError, match="above 0"):
        net.act_value(s[0], hxs, masks[0], 0.0)
    with pytest.raises(EmptyMaskError):
        net.act_value(s[0], hxs, masks[0], 1.0, torch.zeros(ENVS, ACTIONS, dtype=torch.bool))
