"""A policy as one file: the same weights, statistics and decisions; whatever is wrong with it is said."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnrl import pretrained
from gnnrl.agents import PPO_GNN, CheckpointError
from gnnrl.agents.policy_file import find_policy, read_policy, write_policy
from gnnrl.pretrained import is_policy, shipped_policies
from graph_space.schema import ACTION_MASK, EDGE_MASK, EDGES, NODE_MASK, NODES, PREV_SLOT
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh

ABOUT = {"experiment": "name: toy\n", "columns": {"nodes": ["pods"]}, "steps": 128}


@pytest.fixture(scope="module")
def agent() -> PPO_GNN:
    """Trained for one update, so that weights and statistics are nobody's defaults."""
    env = ToyMesh(num_envs=4)
    agent = small_agent(env)
    collector = collected(agent, env)
    agent.update(collector.obs, collector.state)
    return agent.train(False)


@pytest.fixture
def path(agent: PPO_GNN, tmp_path: Path) -> Path:
    write_policy(tmp_path / "toy.safetensors", agent, ABOUT)
    return tmp_path / "toy.safetensors"


def leaves(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, dict):
        return {k: v for key, part in tree.items() for k, v in leaves(part, f"{name}/{key}").items()}
    return {name: np.asarray(tree)}


def test_weights_and_statistics_come_back_bit_for_bit(agent: PPO_GNN, path: Path) -> None:
    saved = read_policy(path)
    assert saved.about == ABOUT and saved.description == agent.description()
    before, after = leaves(dict(agent.policy_state())), leaves(PPO_GNN.pretrained(path).policy_state())
    assert list(before) == list(after) and len(before) > 20
    for name, array in before.items():
        assert after[name].dtype == array.dtype and after[name].tobytes() == array.tobytes(), name
    assert before["/scaler/globals/count"] > 0 and before["/return_scale/count"].shape == ()
    assert path.read_bytes()[8:].startswith(b'{"__metadata__"'), "safetensors, no pickle"


def test_equal_policies_are_equal_files(path: Path, tmp_path: Path) -> None:
    write_policy(tmp_path / "again.safetensors", PPO_GNN.pretrained(path), ABOUT)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def widened(obs: dict[str, np.ndarray], slots: int, edges: int) -> dict[str, np.ndarray]:
    """The same graphs in more slots."""
    wide = dict(obs)
    for key, axis, size in (
        (NODES, 1, slots), (NODE_MASK, 1, slots), (PREV_SLOT, 1, slots), (ACTION_MASK, 1, slots),
        (EDGES, 1, edges), (EDGE_MASK, 1, edges), ("edge_index", 2, edges),
    ):  # fmt: skip
        array = obs[key]
        more = [(0, 0)] * array.ndim
        more[axis] = (0, size - array.shape[axis])
        wide[key] = np.pad(array, more, constant_values=-1 if key == PREV_SLOT else 0)
    return wide


def test_it_acts_as_the_agent_that_was_written_in_any_number_of_slots(agent: PPO_GNN, path: Path) -> None:
    loaded, env = PPO_GNN.pretrained(path), ToyMesh(num_envs=3)
    obs, _ = env.reset(seed=5)
    slots, edges = obs[NODE_MASK].shape[1], obs[EDGE_MASK].shape[1]
    state = wide_state = their_state = None
    start, rngs = np.ones(3, np.bool_), [np.random.default_rng(7) for _ in range(3)]
    moved = 0
    for _ in range(12):
        theirs, their_state = agent.act(obs, their_state, start, rng=rngs[0])
        ours, state = loaded.act(obs, state, start, rng=rngs[1])
        wide, wide_state = loaded.act(widened(obs, 3 * slots, 2 * edges), wide_state, start, rng=rngs[2])
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(wide[:, :slots], theirs)
        assert not wide[:, slots:].any()
        torch.testing.assert_close(state.memory, their_state.memory, rtol=0, atol=0)
        moved += int((theirs != 0).sum())
        obs, *_ = env.step(theirs)
        start = np.zeros(3, np.bool_)
    assert moved > 10, "something was decided"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what follows it."""
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def put(path: Path, header: dict[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def with_state(agent: PPO_GNN, path: Path, change: Any) -> None:
    """A file that is whole, and holds something else than the agent."""
    state = agent.policy_state()
    state = {key: dict(value) for key, value in state.items()}
    change(state)
    twin = small_agent(ToyMesh(num_envs=4))
    twin.policy_state = lambda: state  # type: ignore[method-assign]
    write_policy(path, twin, ABOUT)


def test_weights_that_are_not_those_of_the_network_are_refused(agent: PPO_GNN, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    name = next(iter(agent.model.state_dict()))
    weight = agent.model.state_dict()[name]
    broken = weight.clone()
    broken.view(-1)[0] = float("nan")
    for change, message in (
        (lambda s: s["model"].pop(name), f"weights.model.{name}: is missing"),
        (lambda s: s["model"].update(own=torch.zeros(2)), r"weights.model: holds own, which nothing here reads"),
        (lambda s: s["model"].update({name: torch.zeros(3, 7)}), rf"weights.model.{name}: has shape \[3, 7\], \["),
        (lambda s: s["model"].update({name: weight.double()}), "holds torch.float64, torch.float32 is expected"),
        (lambda s: s["model"].update({name: broken}), rf"weights.model.{name}: is not finite"),
        (lambda s: s["return_scale"].pop("mean"), "weights.return_scale.mean: is missing"),
        (
            lambda s: s["scaler"]["nodes"].update(variance=-s["scaler"]["nodes"]["variance"]),
            "scaler.nodes.variance: is negative",
        ),
    ):
        with_state(agent, path, change)
        with pytest.raises(CheckpointError, match=message) as told:
            PPO_GNN.pretrained(path)
        assert str(told.value).startswith(str(path))
    with_state(agent, path, lambda _: None)
    assert PPO_GNN.pretrained(path).max_nodes == agent.max_nodes, "the way there is right"


def test_a_file_that_was_changed_or_cut_is_told(path: Path) -> None:
    whole = path.read_bytes()
    header, body = parts(path)
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            CheckpointError, match=r"toy.safetensors: truncated or not a safetensors file .* gnnrl export"
        ):
            read_policy(path)
    for place in (0, len(body) // 2, len(body) - 1):
        flipped = bytearray(body)
        flipped[place] ^= 1
        put(path, header, bytes(flipped))
        with pytest.raises(CheckpointError, match="damaged or changed"):
            read_policy(path)
    said = json.loads(header["__metadata__"]["gnnrl"])
    said["agent"]["config"]["gamma"] = 0.5
    header["__metadata__"]["gnnrl"] = json.dumps(said)
    put(path, header, body)
    with pytest.raises(CheckpointError, match="damaged or changed"):
        read_policy(path)


def test_other_versions_and_other_files_are_told(path: Path) -> None:
    header, body = parts(path)
    said = json.loads(header["__metadata__"]["gnnrl"])
    for text, message in (
        (None, "not a policy of gnnrl, its header has no 'gnnrl'"),
        ("{", "its header is damaged"),
        ("[]", "policy file of version None, this gnnrl reads version 1"),
        (json.dumps(said | {"version": 2}), "policy file of version 2, this gnnrl reads version 1; use the gnnrl that"),
        (json.dumps({k: v for k, v in said.items() if k != "agent"}), "its header says nothing of 'agent'"),
    ):
        put(path, {**header, "__metadata__": {} if text is None else {"gnnrl": text}}, body)
        with pytest.raises(CheckpointError, match=message):
            PPO_GNN.pretrained(path)


def test_a_name_that_nobody_has_lists_those_there_are(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "empty")
    with pytest.raises(CheckpointError, match="toy: no pretrained policy of this name; there is none in this"):
        PPO_GNN.pretrained("toy")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    (tmp_path / "other.safetensors").write_bytes(b"")
    assert shipped_policies() == ("other", "toy") and is_policy("toy") and not is_policy("hpa_80")
    assert find_policy("toy") == path and PPO_GNN.pretrained("toy").max_nodes > 0
    with pytest.raises(CheckpointError, match=r"tay: no pretrained policy of this name; there is other, toy, or"):
        PPO_GNN.pretrained("tay")
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such file"):
        PPO_GNN.pretrained(tmp_path / "none.safetensors")


def test_an_encoder_of_ones_own_is_no_file(tmp_path: Path) -> None:
    env = ToyMesh(num_envs=4)
    own = PPO_GNN(env.single_observation_space, env.single_action_space, encoder=small_agent(env).model.encoder)
    with pytest.raises(CheckpointError, match="an encoder of your own is not described by a file"):
        write_policy(tmp_path / "own.safetensors", own, {})
    assert list(tmp_path.iterdir()) == []
