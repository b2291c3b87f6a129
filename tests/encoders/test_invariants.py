"""What every encoder promises about graphs whose nodes come and go, in both kernels. Tolerances are absolute."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from encoders import EncoderState, GraphEncoder, build_encoder, compact, remap
from tests.encoders.graphs import FE, F, G, at_step, random_observations, reslotted

SLOTS, BATCH, STEPS = 8, 3, 6
KINDS = ("tgn", "gnn", "tgn+gnn")
MEMORY_KINDS = ("tgn", "tgn+gnn")

pytestmark = pytest.mark.parametrize("kernel", ["torch", "numba"])


def make(kind: str, kernel: str, **options: object) -> GraphEncoder:
    torch.manual_seed(0)
    sizes = {"in_dim": F, "edge_dim": FE, "global_dim": G, "max_nodes": SLOTS, "max_edges": 24}
    return build_encoder(kind, **sizes, hidden=16, memory_dim=8, message_dim=8, kernel=kernel, **options)


def remembering(encoder: GraphEncoder, seed: int = 9) -> EncoderState:
    """A state in which every slot, dead or alive, remembers something."""
    generator = torch.Generator().manual_seed(seed)
    memory = torch.randn(BATCH, SLOTS, encoder.memory_dim, generator=generator)
    return EncoderState(memory, 100 * torch.rand(BATCH, SLOTS, generator=generator))


def two_nodes(**changes: object) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One step of BATCH equal environments: slots 2 and 5 live since before, 2 calls 5."""
    obs, _ = random_observations(0, steps=1, batch=BATCH, slots=SLOTS, max_edges=2)
    obs = at_step(obs, 0)
    obs["node_mask"][:] = 0
    obs["node_mask"][:, [2, 5]] = 1
    obs["nodes"][:, [2, 5]] = np.random.default_rng(1).normal(size=(2, F))
    obs["prev_slot"][:] = -1
    obs["prev_slot"][:, [2, 5]] = [2, 5]
    obs["edge_mask"][:] = [1, 0]
    obs["edge_index"][:, :, 0] = [2, 5]
    for key, value in changes.items():
        obs[key][:] = value
    return obs, np.zeros(BATCH, dtype=bool)


@pytest.mark.parametrize("kind", KINDS)
def test_permutation_equivariance(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    obs, start = random_observations(1, steps=1, batch=BATCH, slots=SLOTS, empty=0.0)
    obs["prev_slot"][0] = np.where(obs["node_mask"][0] == 1, np.arange(SLOTS), -1)
    moved, place = reslotted(obs, seed=2)
    state = remembering(encoder)
    before, after = encoder.step(at_step(obs, 0), state, start[0])
    # The state handed in stays where it was: `prev_slot` says where to look.
    permuted, permuted_after = encoder.step(at_step(moved, 0), state, start[0])
    rows = np.arange(BATCH)[:, None]
    torch.testing.assert_close(permuted[rows, place[0]], before, rtol=0, atol=1e-6)
    torch.testing.assert_close(permuted_after.memory[rows, place[0]], after.memory, rtol=0, atol=1e-6)
    assert float(before.detach().abs().max()) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_reslotting_at_every_step_changes_nothing(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    for seed in range(3):
        obs, start = random_observations(seed, steps=STEPS, batch=BATCH, slots=SLOTS)
        moved, place = reslotted(obs, seed=seed + 10)
        state = remembering(encoder)
        before, after = encoder.unroll(obs, state, start)
        permuted, permuted_after = encoder.unroll(moved, state, start)
        t, b = np.arange(STEPS)[:, None, None], np.arange(BATCH)[:, None]
        torch.testing.assert_close(permuted[t, b, place], before, rtol=0, atol=1e-5)
        torch.testing.assert_close(permuted_after.memory[b, place[-1]], after.memory, rtol=0, atol=1e-5)
        if encoder.memory_dim:
            torch.testing.assert_close(permuted_after.age_seconds[b, place[-1]], after.age_seconds)


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_a_wrong_prev_slot_is_noticed(kind: str, kernel: str) -> None:
    """Negative control of the two tests above: slots moved, `prev_slot` left as it was."""
    encoder = make(kind, kernel)
    obs, start = random_observations(1, steps=STEPS, batch=BATCH, slots=SLOTS, churn=0.0, empty=0.0, restart=0.0)
    moved, place = reslotted(obs, seed=2)
    before, _ = encoder.unroll(obs, encoder.initial_state(BATCH, SLOTS), start)
    moved["prev_slot"] = np.where(moved["node_mask"] == 1, np.arange(SLOTS), -1)
    stale, _ = encoder.unroll(moved, encoder.initial_state(BATCH, SLOTS), start)
    t, b = np.arange(STEPS)[:, None, None], np.arange(BATCH)[:, None]
    assert float((stale[t, b, place] - before).detach()[2:].abs().max()) > 1e-2


@pytest.mark.parametrize("kind", [*KINDS, "mlp"])
def test_padding_is_not_read(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    clean, start = random_observations(4, steps=STEPS, batch=BATCH, slots=SLOTS)
    dirty, _ = random_observations(4, steps=STEPS, batch=BATCH, slots=SLOTS, garbage=float("nan"))
    assert np.isnan(dirty["nodes"]).any()
    assert np.isnan(dirty["edges"]).any()
    state = remembering(encoder)
    a, a_state = encoder.unroll(clean, state, start)
    b, b_state = encoder.unroll(dirty, state, start)
    assert torch.equal(a, b)
    assert torch.equal(a_state.memory, b_state.memory)
    absent = torch.from_numpy(clean["node_mask"] == 0)
    assert not a[absent].any()
    if encoder.memory_dim:
        assert not a_state.memory[absent[-1]].any()
        assert not a_state.age_seconds[absent[-1]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_more_slots_change_nothing(kind: str, kernel: str) -> None:
    """Weights made for 8 slots run at 200."""
    encoder = make(kind, kernel)
    obs, start = random_observations(5, steps=STEPS, batch=BATCH, slots=SLOTS)
    wide = dict(obs)
    for key, fill in (("nodes", 0.0), ("node_mask", 0), ("prev_slot", -1)):
        padding = [(0, 0)] * obs[key].ndim
        padding[2] = (0, 200 - SLOTS)
        wide[key] = np.pad(obs[key], padding, constant_values=fill)
    a, a_state = encoder.unroll(obs, encoder.initial_state(BATCH, SLOTS), start)
    b, b_state = encoder.unroll(wide, encoder.initial_state(BATCH, 200), start)
    assert torch.equal(a, b[:, :, :SLOTS])
    assert torch.equal(a_state.memory, b_state.memory[:, :SLOTS])
    assert not b[:, :, SLOTS:].any()


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_a_survivor_without_calls_keeps_its_memory_bit_for_bit(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    state = remembering(encoder)
    obs, start = two_nodes(edge_mask=0, elapsed_seconds=15.0)
    _, after = encoder.step(obs, state, start)
    assert torch.equal(after.memory[:, [2, 5]], state.memory[:, [2, 5]])
    assert torch.equal(after.age_seconds[:, [2, 5]], state.age_seconds[:, [2, 5]] + 15.0)
    obs, start = two_nodes(elapsed_seconds=15.0)
    _, after = encoder.step(obs, state, start)
    assert float((after.memory - state.memory)[:, [2, 5]].detach().abs().min()) > 1e-6
    assert not after.age_seconds.any()


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_a_new_node_starts_from_zero(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    full, empty = remembering(encoder), encoder.initial_state(BATCH, SLOTS)
    obs, start = two_nodes(edge_mask=0)
    obs["prev_slot"][:, 5] = -1
    _, after = encoder.step(obs, full, start)
    assert not after.memory[:, 5].any()
    obs["prev_slot"][:, 2] = -1
    obs["edge_mask"][:, 0] = 1
    a, a_state = encoder.step(obs, full, start)
    b, b_state = encoder.step(obs, empty, start)
    assert torch.equal(a, b)
    assert torch.equal(a_state.memory, b_state.memory)


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_an_episode_starts_from_zero_whatever_prev_slot_says(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    obs, _ = two_nodes()
    start = np.array([True, False, True])
    a, _ = encoder.step(obs, remembering(encoder), start)
    fresh, _ = encoder.step(obs, encoder.initial_state(BATCH, SLOTS), start)
    assert torch.equal(a[[0, 2]], fresh[[0, 2]])
    assert float((a[1] - fresh[1]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_memory_of_the_dead_is_not_read(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    state = remembering(encoder)
    poisoned = EncoderState(state.memory.clone(), state.age_seconds.clone())
    dead = [0, 1, 3, 4, 6, 7]
    poisoned.memory[:, dead] = torch.nan
    poisoned.age_seconds[:, dead] = torch.nan
    obs, start = two_nodes()
    a, a_state = encoder.step(obs, state, start)
    b, b_state = encoder.step(obs, poisoned, start)
    assert torch.equal(a, b)
    assert torch.equal(a_state.memory, b_state.memory)
    weights = list(encoder.parameters())
    for x, y in zip(torch.autograd.grad(a.sum(), weights), torch.autograd.grad(b.sum(), weights), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_a_slot_reused_in_one_step_starts_from_zero(kind: str, kernel: str) -> None:
    """At t = 1 the node of slot 5 moves to 2, and a newcomer takes slot 5."""
    encoder = make(kind, kernel)
    first, _ = two_nodes()
    second, _ = two_nodes(edge_mask=0)
    second["prev_slot"][:, [2, 5]] = [5, -1]
    obs = {key: np.stack([first[key], second[key]]) for key in first}
    _, after = encoder.unroll(obs, remembering(encoder), np.zeros((2, BATCH), dtype=bool))
    _, before = encoder.step(first, remembering(encoder), np.zeros(BATCH, dtype=bool))
    assert torch.equal(after.memory[:, 2], before.memory[:, 5])
    assert not after.memory[:, 5].any()


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_gradients_reach_gru_and_messages(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    obs, start = random_observations(6, steps=STEPS, batch=BATCH, slots=SLOTS)
    out, _ = encoder.unroll(obs, encoder.initial_state(BATCH, SLOTS), start)
    out.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 1e-6, name


def test_gradients_go_through_time(kernel: str) -> None:
    """What was seen at t = 0 moves the embedding at the last step, through memory alone."""
    encoder = make("tgn", kernel)
    obs, start = random_observations(7, steps=STEPS, batch=BATCH, slots=SLOTS, churn=0.0, restart=0.0, empty=0.0)
    state = EncoderState(torch.zeros(BATCH, SLOTS, 8, requires_grad=True), torch.zeros(BATCH, SLOTS))
    obs["prev_slot"][0] = np.where(obs["node_mask"][0] == 1, np.arange(SLOTS), -1)
    out, _ = encoder.unroll(obs, state, start)
    (gradient,) = torch.autograd.grad(out[-1].sum(), state.memory)
    assert float(gradient.abs().max()) > 1e-4
    start[2] = True
    out, _ = encoder.unroll(obs, state, start)
    (gradient,) = torch.autograd.grad(out[-1].sum(), state.memory)
    assert not gradient.any()


@pytest.mark.parametrize("kind", [*KINDS, "mlp"])
def test_a_batch_is_its_environments(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    obs, start = random_observations(8, steps=STEPS, batch=BATCH, slots=SLOTS)
    state = remembering(encoder)
    together, after = encoder.unroll(obs, state, start)
    for b in range(BATCH):
        one = slice(b, b + 1)
        alone, alone_after = encoder.unroll(
            {key: value[:, one] for key, value in obs.items()},
            EncoderState(state.memory[one], state.age_seconds[one]),
            start[:, one],
        )
        torch.testing.assert_close(alone, together[:, one], rtol=0, atol=1e-6)
        torch.testing.assert_close(alone_after.memory, after.memory[one], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "mlp"])
def test_unroll_is_steps(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    obs, start = random_observations(9, steps=STEPS, batch=BATCH, slots=SLOTS)
    state = remembering(encoder)
    whole, after = encoder.unroll(obs, state, start)
    weights = list(encoder.parameters())
    gradients = torch.autograd.grad(whole.square().sum(), weights)
    outputs = []
    for t in range(STEPS):
        out, state = encoder.step(at_step(obs, t), state, start[t])
        outputs.append(out)
    steps = torch.stack(outputs)
    torch.testing.assert_close(steps, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(state.memory, after.memory, rtol=0, atol=1e-6)
    torch.testing.assert_close(state.age_seconds, after.age_seconds)
    for one, other in zip(torch.autograd.grad(steps.square().sum(), weights), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_messages_does_not_matter(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    obs, start = random_observations(10, steps=STEPS, batch=BATCH, slots=SLOTS)
    shuffled = {key: value.copy() for key, value in obs.items()}
    rng = np.random.default_rng(0)
    for t in range(STEPS):
        for b in range(BATCH):
            order = rng.permutation(int(obs["edge_mask"][t, b].sum()))
            shuffled["edges"][t, b, : len(order)] = obs["edges"][t, b, order]
            shuffled["edge_index"][t, b, :, : len(order)] = obs["edge_index"][t, b][:, order]
    a, a_state = encoder.unroll(obs, remembering(encoder), start)
    b, b_state = encoder.unroll(shuffled, remembering(encoder), start)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    torch.testing.assert_close(a_state.memory, b_state.memory, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_callers_callees_and_edges_are_seen(kind: str, kernel: str) -> None:
    """A change of the caller reaches the callee, of the callee the caller, of the call both; its direction matters."""
    encoder = make(kind, kernel)

    def embedded(**changes: object) -> torch.Tensor:
        obs, start = two_nodes(edge_mask=[1, 1])
        obs["edge_index"][:, :, 1] = [5, 5]
        for name, (place, value) in changes.items():  # type: ignore[misc]
            obs[name][place] = value
        return encoder.step(obs, remembering(encoder), start)[0].detach()

    base = embedded()
    for change, reached in (
        ({"nodes": ((slice(None), 2), 1.0)}, 5),
        ({"nodes": ((slice(None), 5), 1.0)}, 2),
        ({"edges": ((slice(None), 0), 1.0)}, 2),
        ({"edges": ((slice(None), 0), 1.0)}, 5),
        ({"edge_index": ((slice(None), slice(None), 0), [5, 2])}, 5),
        ({"globals": (slice(None), 3.0)}, 2),
    ):
        assert float((embedded(**change) - base)[:, reached].abs().max()) > 1e-4, change


@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_without_edges_the_graph_is_not_seen_but_memory_moves(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel, use_edges=False)
    obs, start = two_nodes()
    state = remembering(encoder)
    before, after = encoder.step(obs, state, start)
    assert float((after.memory - state.memory)[:, [2, 5]].detach().abs().max()) > 1e-3
    obs["nodes"][:, 2] += 1.0
    moved, _ = encoder.step(obs, state, start)
    assert torch.equal(moved[:, 5], before[:, 5])
    assert not torch.equal(moved[:, 2], before[:, 2])
    obs["edge_mask"][:] = 0
    assert torch.equal(encoder.step(obs, state, start)[0], moved)


@pytest.mark.parametrize("kind", [*KINDS, "mlp"])
def test_forward_changes_no_module_and_no_argument(kind: str, kernel: str) -> None:
    encoder = make(kind, kernel)
    weights = copy.deepcopy(encoder.state_dict())
    obs, start = random_observations(11, steps=STEPS, batch=BATCH, slots=SLOTS)
    given = {key: value.copy() for key, value in obs.items()}
    state = remembering(encoder)
    kept = EncoderState(state.memory.clone(), state.age_seconds.clone())
    first, _ = encoder.unroll(obs, state, start)
    second, _ = encoder.unroll(obs, state, start)
    assert torch.equal(first, second)
    assert not list(encoder.buffers())
    assert all(torch.equal(weights[name], value) for name, value in encoder.state_dict().items())
    assert all(np.array_equal(given[key], value) for key, value in obs.items())
    assert torch.equal(state.memory, kept.memory)
    assert torch.equal(state.age_seconds, kept.age_seconds)


def test_remap_is_what_the_sequence_gathers(kernel: str) -> None:
    encoder = make("tgn", kernel)
    obs, start = two_nodes(edge_mask=0, elapsed_seconds=0.0)
    obs["prev_slot"][:, [2, 5]] = [7, 2]
    start[1] = True
    state = remembering(encoder)
    state.memory[:, 0] = torch.nan
    _, after = encoder.step(obs, state, start)
    moved = remap(state, torch.from_numpy(obs["prev_slot"]), torch.from_numpy(start))
    assert torch.equal(moved.memory, after.memory)
    assert torch.equal(moved.age_seconds, after.age_seconds)
    assert torch.equal(moved.memory[0, 2], state.memory[0, 7])
    assert not moved.memory[1].any()


def test_a_state_of_another_size_is_an_error(kernel: str) -> None:
    encoder = make("tgn", kernel)
    obs, start = two_nodes()
    with pytest.raises(ValueError, match="the state is of 3 environments with 20 slots, the observation of 3 with 8"):
        encoder.step(obs, encoder.initial_state(BATCH, 20), start)


def test_empty_steps(kernel: str) -> None:
    """All nodes gone at t = 1 and t = 3: memory is gone with them, and gradients are finite."""
    encoder = make("tgn+gnn", kernel)
    obs, start = random_observations(12, steps=4, batch=BATCH, slots=SLOTS, empty=0.0)
    for t in (1, 3):
        obs["node_mask"][t] = 0
        obs["edge_mask"][t] = 0
    sequence = compact(obs, start)
    rows, state = encoder.forward_compact(sequence, remembering(encoder))
    assert not state.memory.any()
    assert sequence.prev_row[sequence.row_time == 2].tolist() == [-1] * int((sequence.row_time == 2).sum())
    rows.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in encoder.parameters() if p.grad is not None)
