import pytest
import torch

from gnnrl.rl.distributions import MaskedCategorical
from gnnrl.rl.policy_kernel import TERMS, plain_policy_terms, policy_terms


@pytest.mark.parametrize("clone_coef", [0.0, 0.7])
@pytest.mark.parametrize("select", [False, True])
def test_the_compiled_pass_equals_the_plain_one_in_value_and_gradient(select, clone_coef):
    torch.manual_seed(0)
    rows, moves = 600, 15
    pointer = torch.arange(rows + 1)
    if select:
        cuts = torch.randperm(rows - 1)[:150].add(1).sort().values
        pointer = torch.cat([torch.tensor([0]), cuts, torch.tensor([rows])])
    decisions = len(pointer) - 1
    row_graph = torch.repeat_interleave(torch.arange(decisions), pointer.diff())
    logits = (3 * torch.randn(rows, moves)).requires_grad_()
    mask = torch.rand(rows, moves) < 0.6
    mask[:, 0] = True
    chosen = pointer[:-1] * moves + torch.where(mask[pointer[:-1]], torch.rand(decisions, moves), -1.0).argmax(1)
    graphs = (row_graph, decisions) if select else (None, 0)
    reference = MaskedCategorical(torch.randn(rows, moves), mask, *graphs).log_probs
    old = MaskedCategorical(logits.detach() + 0.2 * torch.randn(rows, moves), mask, *graphs).log_prob(chosen)
    advantage, weight = torch.randn(decisions), torch.rand(decisions) / decisions
    weight[::7] = 0.0
    use = (chosen, old, advantage, weight, reference, 0.2, 0.03, clone_coef)
    plain, plain_terms = plain_policy_terms(MaskedCategorical(logits, mask, *graphs), *use)
    compiled, terms = policy_terms(logits, mask, pointer, *use)
    assert 0.05 < float(plain_terms[TERMS.index("clip_fraction")] / weight.sum()) < 0.95
    torch.testing.assert_close(terms, plain_terms, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(compiled, plain, atol=2e-6, rtol=1e-5)
    (expected,) = torch.autograd.grad(2.0 * plain, logits)
    (got,) = torch.autograd.grad(2.0 * compiled, logits)
    torch.testing.assert_close(got, expected, atol=1e-7, rtol=1e-4)
    assert expected.abs().max() > 1e-3
