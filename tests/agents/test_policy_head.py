import torch

from gnnrl.agents.policy_head import PolicyHead, ValueHead, two_heads


def test_both_heads_at_once_equal_them_one_by_one_in_value_and_gradient():
    torch.manual_seed(0)
    head, value = PolicyHead(16, 5), ValueHead(16, per_node=True)
    x = torch.randn(40, 16, requires_grad=True)
    parameters = [x, *head.parameters(), *value.parameters()]
    logits, values = two_heads(x, head, value)
    torch.testing.assert_close(logits, head(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(values, value(x, None), atol=1e-6, rtol=1e-5)
    slopes = [torch.randn(40, 5), torch.randn(40)]
    got = torch.autograd.grad([logits, values], parameters, slopes)
    expected = torch.autograd.grad([head(x), value(x, None)], parameters, slopes)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert other.abs().max() > 1e-4
