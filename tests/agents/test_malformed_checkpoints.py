"""Whatever is wrong in a checkpoint: it is told as a CheckpointError, with what and where, and nothing of it has been taken over."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnrl.agents import PPO_GNN, CheckpointError
from gnnrl.agents import ppo_gnn as module
from gnnrl.agents.archive import read_archive, write_archive
from gnnrl.agents.clone import FrozenClone
from gnnrl.agents.saved_agent import ADAM
from tests.agents.poisoned import NUMBERS, STRUCTURAL, at, poison, poisoned, same
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh


def trained(seed=0, **ppo):
    """An agent with everything that a checkpoint can hold: moments, a clone that remembers, statistics, a recorder."""
    env = ToyMesh(num_envs=4)
    agent = small_agent(env, seed=seed, epochs=1, **ppo)
    collector = collected(agent, env)
    agent.clone, agent.clone_coef, agent.clone_schedule = FrozenClone(agent.model, agent.scaler), 0.1, (0.1, 100)
    agent.update(collector.obs, collector.state)
    return agent


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "agent.pt"
    agent = trained()
    agent.save(path)
    return path, read_archive(path), trained(1)


HARMLESS = {("agent", "config"), ("agent", "encoder")}
"""Of the description: a field of the settings that is missing has its default, as in files of before it was there."""


@pytest.fixture(scope="module")
def drawn(good):
    return poison(good[1])


@settings(max_examples=150)
@given(data=st.data())
def test_one_wrong_thing_is_a_checkpoint_error_and_changes_nothing(good, drawn, data):
    _, _, agent = good
    place, how, tree = data.draw(drawn)
    refused = None
    before = copy.deepcopy(agent.state_dict())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "read_archive", lambda _: tree)
            PPO_GNN.load("somewhere.pt")
        if "agent_state" in tree:
            agent.load_state_dict(tree["agent_state"])
    except CheckpointError as error:
        refused = str(error)
    if refused is None:
        agent.load_state_dict(before)
        settings_alone = how == "delete" and place[:2] in HARMLESS and len(place) > 2
        nobody = place[:2] == ("agent_state", "clone") and len(place) in (2, 3) and how == "none"
        nobody |= place == ("agent_state", "recorder") and how == "none"
        # What torch's Adam says of itself beside the five that count is its own business, and is not taken over.
        of_torch = "param_groups" in place and len(place) > 4 and place[4] not in ADAM
        assert settings_alone or nobody or of_torch, (place, how)
        return
    assert refused.startswith("somewhere.pt: ")
    # The place is named, or one above or below it.
    names = [str(key) for key in place[1:3]]
    assert not names or any(name in refused for name in (*names, str(place[0]), str(place[-1]))), (place, how, refused)
    if place[0] == "agent_state" and len(place) > 1:
        with pytest.raises(CheckpointError, match=r"^agent_state"):
            agent.load_state_dict(tree["agent_state"])
    assert same(agent.state_dict(), before), (place, how)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("agent_state", "scaler", "nodes", "variance"), -1.0, r"scaler\.nodes\.variance: is negative"),
        (
            ("agent_state", "clone", "scaler", "edges", "variance"),
            -1e-30,
            r"clone\.scaler\.edges\.variance: is negative",
        ),
        (("agent_state", "return_scale", "variance"), -2.0, r"return_scale\.variance: is negative"),
        (("agent_state", "scaler", "globals", "count"), -1.0, r"scaler\.globals\.count: is negative"),
        (("agent_state", "return_scale", "clip"), 0.0, r"return_scale\.clip: is not above 0"),
        (
            ("agent_state", "optimiser", "state", 3, "exp_avg_sq"),
            -1e-9,
            r"optimiser\.state\[3\]\.exp_avg_sq: is negative",
        ),
        (("agent_state", "optimiser", "state", 0, "step"), -1.0, r"optimiser\.state\[0\]\.step: is negative"),
    ],
)
def test_numbers_out_of_their_range_are_told(good, place, value, said):
    _, tree, agent = good
    tree = copy.deepcopy(tree)
    at(tree, place)[...] = value
    with pytest.raises(CheckpointError, match=said):
        agent.load_state_dict(tree["agent_state"])


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("agent_state", "progress"), 1.5, r"progress: 1\.5 is not in \[0, 1\]"),
        (("agent_state", "rng"), '{"bit_generator": "MT19937"}', r"rng: is no state of a PCG64 generator"),
        (("agent_state", "rng"), "{", r"rng: is no state"),
        (("agent_state", "optimiser", "param_groups", 0, "lr"), float("nan"), r"lr: nan is no step size"),
        (("agent_state", "optimiser", "param_groups", 0, "betas"), [0.5, 0.5], r"betas: is \[0\.5, 0\.5\], here it is"),
        (("agent_state", "optimiser", "state", 99), {}, r"optimiser\.state: is not of the \d+ parameters"),
        (("agent_state", "recorder", "num_envs"), 5, r"recorder\.carry: is not of 5 environments"),
        (("agent", "sizes", "nodes"), [6, -4], r"sizes\.nodes: \[6, -4\] is no shape of 2 axes"),
        (("agent", "sizes", "nodes"), [2**62, 4], r"sizes\.nodes"),
        (("agent", "sizes", "nodes"), [6, 5], r"agent_state\.model\..*has shape .* is expected"),
        (("agent", "sizes", "mode"), "both", r"sizes\.mode: 'both' is none of joint, select"),
        (("agent", "encoder", "hidden"), 17, r"(agent\.encoder|agent_state\.model)"),
        (("agent", "encoder", "hidden"), 2**61, r"(agent\.encoder|agent_state\.model)"),
        (("agent", "encoder", "colour"), "red", r"encoder\.colour: is no field of EncoderConfig"),
        (("agent", "config", "credit"), "graph", r"agent_state\.model"),
        (("agent", "config", "gamma"), "x", r"config\.gamma: is str 'x', a number is expected"),
        (("agent", "seed"), -1, r"seed: is no whole number"),
        (
            ("agent_state", "model", "head.extra"),
            torch.zeros(1),
            r"agent_state\.model: holds head\.extra, which nothing",
        ),
    ],
)
def test_values_that_cannot_be_are_told(good, monkeypatch, place, value, said):
    _, tree, _ = good
    tree = copy.deepcopy(tree)
    at(tree, place[:-1])[place[-1]] = value
    monkeypatch.setattr(module, "read_archive", lambda _: tree)
    with pytest.raises(CheckpointError, match=f"^here.pt: .*{said}"):
        PPO_GNN.load("here.pt")


def test_the_good_one_loads_and_its_poisons_through_a_file_do_not(good, tmp_path):
    path, tree, _ = good
    assert same(PPO_GNN.load(path).state_dict(), tree["agent_state"])
    place = ("agent_state", "model", "head.logits.weight")
    for how in (*STRUCTURAL, *NUMBERS):
        wrong = poisoned(tree, place, how)
        write_archive(tmp_path / "wrong.pt", wrong)
        with pytest.raises(CheckpointError, match=r"wrong\.pt: agent_state\.model\.head\.logits\.weight"):
            PPO_GNN.load(tmp_path / "wrong.pt")


def test_before_its_first_step_an_agent_has_no_moments_and_loads(tmp_path):
    agent = small_agent(ToyMesh())
    agent.save(tmp_path / "a.pt")
    assert PPO_GNN.load(tmp_path / "a.pt").state_dict()["optimiser"]["state"] == {}


@settings(max_examples=80)
@given(data=st.data())
def test_damaged_bytes_are_a_checkpoint_error(tmp_path_factory, data):
    buffer = io.BytesIO()
    tree = {"__ndarray__": torch.zeros(3)}
    torch.save({"format": "gnnrl-checkpoint", "version": 1, "tree": {"agent": tree, "x": [1.0, "a", None]}}, buffer)
    whole = bytearray(buffer.getvalue())
    cut = data.draw(st.integers(0, len(whole)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(bytes(whole[:cut] if data.draw(st.booleans()) else whole))
    with contextlib.suppress(CheckpointError):
        read_archive(path)


class _Code:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"format": "gnnrl-checkpoint", "version": 1}, "holds no named values"),
        ({"format": "gnnrl-checkpoint", "version": 1, "tree": [1]}, "holds no named values"),
        ({"format": "gnnrl-checkpoint", "version": 1, "tree": {"x": {"__ndarray__": 3}}}, "an array in it is none"),
        ({"format": "gnnrl-checkpoint", "version": "1", "tree": {}}, "version 1, this gnnrl reads"),
        ({"format": "gnnrl-checkpoint", "version": None, "tree": {}}, "version None"),
        ([1, 2], "not a gnnrl checkpoint"),
        (3, "not a gnnrl checkpoint"),
        ({"format": "gnnrl-checkpoint", "version": 1, "tree": _Code()}, "refused"),
    ],
)
def test_files_of_other_things_are_told(tmp_path, held, said):
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"x\.pt: .*{said}"):
        PPO_GNN.load(tmp_path / "x.pt")


def test_what_is_no_file_of_ours_at_all_is_told(tmp_path):
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("not a checkpoint\n" * 100)
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"weights": np.zeros(3)}))
    for name, said in (("empty.pt", "truncated"), ("text.pt", "refused|not a checkpoint"), ("pickle.pt", "refused")):
        with pytest.raises(CheckpointError, match=rf"{name}: .*({said})"):
            PPO_GNN.load(tmp_path / name)
    with pytest.raises(CheckpointError, match="is a folder; give the checkpoint in it"):
        PPO_GNN.load(tmp_path)
    write_archive(tmp_path / "nobody.pt", {"other": 1})
    with pytest.raises(CheckpointError, match="holds no agent"):
        PPO_GNN.load(tmp_path / "nobody.pt")
