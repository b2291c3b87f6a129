"""A policy as one safetensors file: weights, statistics, and in its header what it was made for. Nothing in it is code.

Only acting and learning anew need what is in it: the optimiser, the generator and rollouts are a checkpoint's (`archive.py`). The header's
`gnnrl` is one JSON text, so that equal policies are equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gnnrl import pretrained
from gnnrl.agents.archive import CheckpointError, write_bytes
from gnnrl.pretrained import SUFFIX, shipped_policies

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["SavedPolicy", "find_policy", "read_policy", "write_policy"]

HEADER, VERSION = "gnnrl", 1
AGAIN = "write it again from its run with: gnnrl export RUN --weights FILE.safetensors"
MODEL, SCALER, RETURN_SCALE = "model", "scaler", "return_scale"


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedPolicy:
    """What is in a file."""

    description: Mapping[str, Any]
    """`PPO_GNN.description`."""
    state: Mapping[str, Any]
    """`PPO_GNN.policy_state`."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else was said of it, plain values."""


def find_policy(name: str | Path) -> Path:
    """The file of a policy.

    Args:
        name: of a shipped one, or a path that ends in `.safetensors`.

    Raises:
        CheckpointError: there is no such policy.
    """
    if str(name).endswith(SUFFIX):
        return Path(name)
    if str(name) not in shipped_policies():
        known = ", ".join(shipped_policies()) or "none in this installation"
        raise CheckpointError(f"{name}: no pretrained policy of this name; there is {known}, or give a file *{SUFFIX}")
    return pretrained.FOLDER / f"{name}{SUFFIX}"


def write_policy(path: str | Path, agent: PPO_GNN, about: Mapping[str, Any]) -> None:
    """Write weights and statistics of an agent, atomically; equal ones give the same bytes.

    Args:
        path: the file.
        agent: with a described encoder.
        about: plain values for the header, such as what it was trained for.

    Raises:
        CheckpointError: the agent has an encoder of your own, which no file describes; or it cannot be written.
    """
    path, description = Path(path), agent.description()
    if description["encoder"] is None:
        raise CheckpointError(
            f"{path}: a policy with an encoder of your own is not described by a file; use PPO_GNN.save"
        )
    arrays = {name: np.array(array, order="C") for name, array in _flat(agent.policy_state()).items()}
    said = {"agent": description, "about": dict(about)}
    header = {"version": VERSION, "digest": _digest(arrays, said), **said}
    write_bytes(path, save(arrays, metadata={HEADER: json.dumps(header, sort_keys=True)}))


def read_policy(path: str | Path) -> SavedPolicy:
    """Read what `write_policy` wrote; whether the weights are those of the description is for whoever builds the agent to see.

    Raises:
        CheckpointError: no such file, truncated, changed since it was written, not a policy, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a policy is one file *{SUFFIX}, {AGAIN}")
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(HEADER)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or not a safetensors file ({error}); {AGAIN}") from error
    said = _header(header, path)
    for name in ("agent", "about"):
        if not isinstance(said.get(name), dict):
            raise CheckpointError(f"{path}: its header says nothing of {name!r}; {AGAIN}")
    if said.get("digest") != _digest(arrays, {name: said[name] for name in ("agent", "about")}):
        raise CheckpointError(f"{path}: damaged or changed, its content is not what was written; {AGAIN}")
    return SavedPolicy(description=said["agent"], state=_tree(arrays), about=said["about"])


def _header(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        raise CheckpointError(f"{path}: not a policy of gnnrl, its header has no {HEADER!r}; {AGAIN}")
    try:
        said = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: its header is damaged ({error}); {AGAIN}") from error
    if not isinstance(said, dict) or said.get("version") != VERSION:
        version = said.get("version") if isinstance(said, dict) else None
        raise CheckpointError(
            f"{path}: policy file of version {version}, this gnnrl reads version {VERSION}; use the gnnrl that wrote it, or {AGAIN}"
        )
    return said


def _flat(state: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """`model.NAME`, `scaler.KEY.NAME`, `return_scale.NAME` -> array."""
    model = {f"{MODEL}.{name}": value.detach().cpu().numpy() for name, value in state[MODEL].items()}
    scaler = {f"{SCALER}.{key}.{name}": part for key, parts in state[SCALER].items() for name, part in parts.items()}
    return model | scaler | {f"{RETURN_SCALE}.{name}": part for name, part in state[RETURN_SCALE].items()}


def _tree(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """The state of `_flat`; a name that is none of its kinds stays, for the check of the state to refuse."""
    tree: dict[str, Any] = {MODEL: {}, SCALER: {}, RETURN_SCALE: {}}
    for name, array in arrays.items():
        kind, _, rest = name.partition(".")
        if kind == SCALER:
            key, _, rest = rest.partition(".")
            tree[SCALER].setdefault(key, {})[rest] = array
        elif kind == RETURN_SCALE:
            tree[RETURN_SCALE][rest] = array
        else:
            tree[MODEL][rest if kind == MODEL else name] = torch.from_numpy(array)
    return tree


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]], said: Mapping[str, Any]) -> str:
    """SHA-256 of all that is in a file: safetensors has no checksum, and a changed weight would be read as a learned one."""
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        found.update(array.tobytes())
    return found.hexdigest()
