"""The compiled paths give the numbers and gradients of the plain ones, and those are PyG's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba import njit
from numba.core.errors import TypingError
from torch_geometric.nn import TransformerConv

from encoders import EncoderState, SequenceBatch, build_encoder, compact
from encoders.attention import GraphAttention, attend, attend_compiled
from encoders.base import GraphEncoder, use_numba
from encoders.memory import TemporalMemory
from encoders.vector import add_scaled, dot, fast_exp, sigmoid, signed_log, tanh
from tests.encoders.graphs import FE, F, G, at_step, random_observations

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

CASES = {
    "churn": {"steps": 6},
    "one step": {"steps": 1},
    "one node": {"slots": 1, "max_edges": 3},
    "dense": {"slots": 5, "max_edges": 60, "empty": 0.0},
    "no edges": {"max_edges": 0},
    "mostly empty": {"empty": 0.7},
    "many graphs": {"steps": 3, "batch": 80, "slots": 12},
}


def sequence_of(case: str, seed: int = 0) -> SequenceBatch:
    obs, start = random_observations(seed, **CASES[case])
    return compact(obs, start)


def random_state(encoder: GraphEncoder, s: SequenceBatch) -> EncoderState:
    generator = torch.Generator().manual_seed(5)
    memory = torch.randn(s.batch_size, s.max_nodes, encoder.memory_dim, generator=generator)
    return EncoderState(memory.requires_grad_(), 60 * torch.rand(s.batch_size, s.max_nodes, generator=generator))


def set_kernel(encoder: GraphEncoder, kernel: str) -> None:
    for module in encoder.modules():
        if isinstance(module, GraphAttention | TemporalMemory):
            module.kernel = kernel


def values_and_gradients(encoder: GraphEncoder, s: SequenceBatch) -> dict[str, torch.Tensor]:
    state = random_state(encoder, s)
    rows, after = encoder.forward_compact(s, state)
    generator = torch.Generator().manual_seed(6)
    loss = (rows * torch.randn(rows.shape, generator=generator)).sum()
    loss = loss + (after.memory * torch.randn(after.memory.shape, generator=generator)).sum()
    wanted = {**dict(encoder.named_parameters()), "first memory": state.memory}
    loss.backward()
    gradients = {f"d {name}": torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in wanted.items()}
    encoder.zero_grad()
    return {"rows": rows.detach(), "memory": after.memory.detach(), "age": after.age_seconds, **gradients}


@pytest.mark.parametrize("use_edges", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_numba_is_torch_forward_and_backward(case: str, use_edges: bool) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(
        "tgn+gnn",
        in_dim=F,
        edge_dim=FE,
        global_dim=G,
        max_nodes=8,
        max_edges=24,
        hidden=24,
        heads=2,
        memory_dim=10,
        message_dim=12,
        time_dim=3,
        use_edges=use_edges,
    )
    s = sequence_of(case)
    set_kernel(encoder, "torch")
    plain = values_and_gradients(encoder, s)
    set_kernel(encoder, "numba")
    fast = values_and_gradients(encoder, s)
    for name, value in plain.items():
        scale = max(1.0, float(value.abs().max()) if value.numel() else 1.0)
        torch.testing.assert_close(fast[name] / scale, value / scale, msg=lambda m, n=name: f"{n}: {m}", **TOLERANCE)


def test_a_wrong_gradient_would_be_seen() -> None:
    """Negative control: the comparison above fails if one gradient is off by 1 %."""
    torch.manual_seed(0)
    encoder = build_encoder("tgn", in_dim=F, edge_dim=FE, global_dim=G, max_nodes=8, max_edges=24, hidden=8)
    values = values_and_gradients(encoder, sequence_of("churn"))
    off = values["d memory.gru.weight_hh"] * 1.01
    with pytest.raises(AssertionError):
        torch.testing.assert_close(off, values["d memory.gru.weight_hh"], **TOLERANCE)


def test_one_small_step_without_gradient_is_the_same() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("tgn+gnn", in_dim=F, edge_dim=FE, global_dim=G, max_nodes=8, max_edges=24, hidden=16)
    obs, start = random_observations(3, steps=5, batch=2)
    plain = small = encoder.initial_state(2, 8)
    for t in range(5):
        set_kernel(encoder, "torch")
        expected, plain = encoder.step(at_step(obs, t), plain, start[t])
        set_kernel(encoder, "numba")
        with torch.no_grad():
            rows, small = encoder.step(at_step(obs, t), small, start[t])
        torch.testing.assert_close(rows, expected.detach(), **TOLERANCE)
        torch.testing.assert_close(small.memory, plain.memory.detach(), **TOLERANCE)
        assert torch.equal(small.age_seconds, plain.age_seconds)


@pytest.mark.parametrize("path", [attend, attend_compiled])
@pytest.mark.parametrize("case", ["churn", "dense", "many graphs"])
def test_attention_is_transformer_conv(case: str, path) -> None:  # type: ignore[no-untyped-def]
    """Against PyG on the calls written out in both directions, with the direction as the last edge feature."""
    torch.manual_seed(0)
    s, heads, dim = sequence_of(case), 3, 12
    conv = TransformerConv(F, dim // heads, heads=heads, edge_dim=FE + 1, concat=True)
    ours = GraphAttention(F, FE, dim, heads)
    with torch.no_grad():
        layers = (conv.lin_query, conv.lin_key, conv.lin_value, conv.lin_skip)
        ours.project.weight.copy_(torch.cat([layer.weight for layer in layers]))
        ours.project.bias.copy_(torch.cat([layer.bias for layer in layers]))
        ours.edge.weight.copy_(conv.lin_edge.weight)
    there, back = torch.zeros(s.num_edges, 1), torch.ones(s.num_edges, 1)
    edge_attr = torch.cat([torch.cat([s.edges, there], 1), torch.cat([s.edges, back], 1)])
    source, target = s.edge_source, s.edge_target
    edge_index = torch.stack([torch.cat([source, target]), torch.cat([target, source])])
    rows = torch.randn(s.num_rows, F)
    expected = torch.relu(conv(rows, edge_index, edge_attr))
    result = path(s, heads, ours.project.weight, ours.project.bias, ours.edge.weight, rows)
    torch.testing.assert_close(result, expected, **TOLERANCE)

    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (result * weight).sum().backward()
    grad = torch.cat([layer.weight.grad for layer in layers])
    torch.testing.assert_close(ours.project.weight.grad, grad, rtol=1e-5, atol=1e-5 * float(grad.abs().max()))
    grad = conv.lin_edge.weight.grad
    torch.testing.assert_close(ours.edge.weight.grad, grad, rtol=1e-5, atol=1e-5 * float(grad.abs().max()))


def test_hundreds_of_calls_and_huge_scores() -> None:
    """A hub of 300 calls; scores in the thousands must not overflow the softmax."""
    torch.manual_seed(0)
    obs, start = random_observations(0, steps=1, batch=1, slots=40, max_edges=300, empty=0.0, churn=0.0)
    obs["edge_mask"][:] = 1
    obs["edge_index"][:, :, 0] = np.flatnonzero(obs["node_mask"][0, 0])[0]
    obs["edge_index"][:, :, 1] = np.flatnonzero(obs["node_mask"][0, 0])[-1]
    s = compact(obs, start)
    layer = GraphAttention(F, FE, 16, 2)
    weights = (100 * layer.project.weight, layer.project.bias, 100 * layer.edge.weight)
    plain, fast = attend(s, 2, *weights, s.nodes), attend_compiled(s, 2, *weights, s.nodes)
    assert torch.isfinite(fast).all()
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-3 * float(plain.detach().abs().max()))


def test_nan_in_a_real_feature_is_not_hidden() -> None:
    s = sequence_of("churn")
    s.nodes[0, 0] = torch.nan
    encoder = build_encoder("tgn+gnn", in_dim=F, edge_dim=FE, global_dim=G, max_nodes=8, max_edges=24, hidden=8)
    for kernel in ("torch", "numba"):
        set_kernel(encoder, kernel)
        rows, _ = encoder.forward_compact(s, encoder.initial_state(s.batch_size, 8))
        assert torch.isnan(rows[0]).all()
        assert torch.isfinite(rows[s.row_graph > 0][s.row_time[s.row_graph > 0] == 0]).all()


def test_kernel_choice_is_explicit() -> None:
    cpu, meta = torch.device("cpu"), torch.device("meta")
    assert use_numba("auto", cpu)
    assert use_numba("numba", cpu)
    assert not use_numba("torch", cpu)
    assert not use_numba("auto", meta)
    with pytest.raises(ValueError, match="kernel='numba' runs on the CPU, the tensors are on meta"):
        use_numba("numba", meta)


@njit
def _each(values):  # type: ignore[no-untyped-def]
    out = np.empty((3, len(values)), np.float32)
    for i in range(len(values)):
        out[0, i] = fast_exp(values[i])
        out[1, i] = sigmoid(values[i])
        out[2, i] = tanh(values[i])
    return out


def test_exponential_sigmoid_tanh() -> None:
    x = np.linspace(-87, 87, 200_001).astype(np.float32)
    exponential, logistic, hyperbolic = _each(x)
    exact = x.astype(np.float64)
    assert np.max(np.abs(exponential / np.exp(exact) - 1)) < 3e-7
    assert np.max(np.abs(logistic - 1 / (1 + np.exp(-exact)))) < 2e-7
    assert np.max(np.abs(hyperbolic - np.tanh(exact))) < 3e-7
    assert np.isfinite(_each(np.array([-1e30, 1e30], dtype=np.float32))).all()


@njit(error_model="numpy")
def _signed_logs(values):  # type: ignore[no-untyped-def]
    out = np.empty_like(values)
    for i in range(len(values)):
        out[i] = signed_log(values[i])
    return out


def test_the_signed_logarithm_is_exact_to_a_unit_in_the_last_place() -> None:
    size = np.exp(np.random.default_rng(0).uniform(-700.0, 700.0, 50_001))
    near_one = np.linspace(0.0, 3.0, 50_001)
    x = np.concatenate([size, -size, near_one, -near_one, [5e-324, 1.7e308]])
    exact = np.sign(x) * np.log1p(np.abs(x))
    assert np.max(np.abs(_signed_logs(x) - exact) / np.spacing(np.abs(exact))) <= 1.0
    # Alone as among others: the loop over vectors and the one over what is left give the same bits.
    assert np.array_equal(_signed_logs(x[7:12]), _signed_logs(x)[7:12])
    assert np.isnan(_signed_logs(np.array([np.nan, np.inf, -np.inf]))).all()


@njit
def _products(a, i, b, j, n, out):  # type: ignore[no-untyped-def]
    add_scaled(np.float32(2.0), a, i, out, j, n)
    return dot(a, i, b, j, n)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 29, 64])
def test_dot_and_add_scaled_touch_n_values_and_no_more(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b, out = (rng.normal(size=(4, 32)).astype(np.float32) for _ in range(3))
    expected = out.copy()
    expected.flat[11 : 11 + n] += 2 * a.flat[5 : 5 + n]
    result = _products(a, 5, b, 11, n, out)
    assert result == pytest.approx(float(a.flat[5 : 5 + n].astype(np.float64) @ b.flat[11 : 11 + n]), abs=1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.zeros((4, 32)), np.zeros((32, 8), dtype=np.float32).T])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    right = np.zeros((4, 32), dtype=np.float32)
    with pytest.raises(TypingError, match="takes C-contiguous float32 arrays"):
        _products(wrong, 0, right, 0, 8, right)


def test_two_threads_on_halves_give_the_gradient_of_the_whole() -> None:
    """Kernels run without the lock and write nothing that is shared; weights are."""
    torch.manual_seed(0)
    encoder = build_encoder("tgn+gnn", in_dim=F, edge_dim=FE, global_dim=G, max_nodes=8, max_edges=24, hidden=16)
    obs, start = random_observations(7, steps=4, batch=60)
    whole = compact(obs, start)
    halves = [
        compact({key: value[:, half] for key, value in obs.items()}, start[:, half])
        for half in (slice(0, 30), slice(30, 60))
    ]
    weights = list(encoder.parameters())

    def gradients(sequence: SequenceBatch) -> tuple[torch.Tensor, ...]:
        rows, _ = encoder.forward_compact(sequence, encoder.initial_state(sequence.batch_size, 8))
        return torch.autograd.grad(rows.square().sum(), weights)

    expected = gradients(whole)
    with ThreadPoolExecutor(2) as pool:
        for one, other in [pool.map(gradients, halves) for _ in range(5)]:
            for a, b, both in zip(one, other, expected, strict=True):
                torch.testing.assert_close(a + b, both, rtol=1e-4, atol=1e-5 * float(both.abs().max()))
