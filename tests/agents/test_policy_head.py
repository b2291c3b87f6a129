import pytest
import torch

from gnnrl.agents.policy_head import BLOCK, PolicyHead, ValueHead, two_heads


@pytest.mark.parametrize("rows", [1, 40, 2 * BLOCK + 3])
def test_both_heads_at_once_equal_them_one_by_one_in_value_and_gradient(rows):
    torch.manual_seed(0)
    head, value = PolicyHead(20, 5), ValueHead(20, per_node=True)
    torch.nn.init.normal_(head.hidden.bias)
    torch.nn.init.normal_(value.hidden.bias)
    x = (2.0 * torch.randn(rows, 20)).requires_grad_()
    parameters = [x, *head.parameters(), *value.parameters()]
    logits, values = two_heads(x, head, value)
    torch.testing.assert_close(logits, head(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(values, value(x, None), atol=1e-6, rtol=1e-5)
    slopes = [torch.randn(rows, 5), torch.randn(rows)]
    got = torch.autograd.grad([logits, values], parameters, slopes)
    expected = torch.autograd.grad([head(x), value(x, None)], parameters, slopes)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * max(1.0, float(other.abs().max())), rtol=1e-5)
        assert other.abs().max() > 1e-4


def test_a_value_whose_gradient_is_the_same_everywhere_is_learned_from_as_well():
    torch.manual_seed(0)
    head, value = PolicyHead(8, 3), ValueHead(8, per_node=True)
    x = torch.randn(30, 8)
    parameters = [*head.parameters(), *value.parameters()]
    logits, values = two_heads(x, head, value)
    # The gradient of a sum is one number in every place, without memory of its own.
    got = torch.autograd.grad(values.sum() + logits.sum(), parameters)
    expected = torch.autograd.grad(value(x, None).sum() + head(x).sum(), parameters)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_nan_is_not_hidden_and_stays_in_its_row():
    head, value = PolicyHead(8, 3), ValueHead(8, per_node=True)
    x = torch.randn(5, 8)
    x[2, 1] = torch.nan
    logits, values = two_heads(x, head, value)
    assert torch.isnan(logits).any(dim=1).tolist() == torch.isnan(values).tolist() == [False, False, True, False, False]


def test_other_numbers_than_float32_take_the_plain_way():
    head, value = PolicyHead(8, 3).double(), ValueHead(8, per_node=True).double()
    x = torch.randn(5, 8, dtype=torch.float64)
    logits, values = two_heads(x, head, value)
    assert torch.equal(logits, head(x))
    assert torch.equal(values, value(x, None))
