"""Whether a saved tree can be what an object saved: held against what the object would save itself, before anything is loaded from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnrl.agents.archive import CheckpointError

__all__ = ["field", "require", "require_alike", "require_finite", "require_generator"]

SHOWN = 60
"""Characters of a wrong value that a message repeats."""


def require(holds: bool, place: str, problem: str) -> None:
    """Raise `CheckpointError` where something does not hold."""
    if not holds:
        raise CheckpointError(f"{place}: {problem}; use a checkpoint written by gnnrl, or an earlier one")


def field(tree: Any, name: str, place: str) -> Any:
    """`tree[name]` of a mapping.

    Raises:
        CheckpointError: it is no mapping, or has no such key.
    """
    require(isinstance(tree, Mapping), place, f"is {_kind(tree)}, not named values")
    require(name in tree, f"{place}.{name}", "is missing")
    return tree[name]


def require_alike(saved: Any, own: Any, place: str) -> None:
    """Check that `saved` has the names, types and shapes of `own`, down to the leaves; their values may be others.

    Raises:
        CheckpointError: names the first place that differs, and how.
    """
    if _is_names(own) and _is_names(saved):
        return  # Who is there: names come and go, and whoever loads them checks the numbers behind them.
    if isinstance(own, Mapping):
        for name in own:
            require_alike(field(saved, name, place), own[name], f"{place}.{name}")
        unknown = [str(name) for name in saved if name not in own]
        require(not unknown, place, f"holds {', '.join(unknown)[:SHOWN]}, which nothing here reads")
    elif isinstance(own, list | tuple):
        require(isinstance(saved, list | tuple), place, f"is {_kind(saved)}, not a list")
        require(len(saved) == len(own), place, f"has {len(saved)} entries, {len(own)} are expected")
        for index, (theirs, ours) in enumerate(zip(saved, own, strict=True)):
            require_alike(theirs, ours, f"{place}[{index}]")
    elif isinstance(own, Tensor | np.ndarray | np.generic):
        shape, dtype = tuple(np.shape(own)), own.dtype
        arrays = (Tensor,) if isinstance(own, Tensor) else (np.ndarray, np.generic)
        require(isinstance(saved, arrays), place, f"is {_kind(saved)}, not an array {list(shape)}")
        found = tuple(saved.shape)
        require(found == shape, place, f"has shape {list(found)}, {list(shape)} is expected")
        require(saved.dtype == dtype, place, f"holds {saved.dtype}, {dtype} is expected")
    elif isinstance(own, bool) or own is None or isinstance(own, str):
        require(type(saved) is type(own), place, f"is {_kind(saved)}, {_kind(own)} is expected")
    else:
        kind = int if isinstance(own, int) else (int, float)
        right = isinstance(saved, kind) and not isinstance(saved, bool)
        require(right, place, f"is {_kind(saved)}, a number is expected")


def _is_names(tree: Any) -> bool:
    """Names with a whole number each, as a table of slots keeps them; also empty."""
    return isinstance(tree, Mapping) and all(isinstance(value, int) for value in tree.values())


def require_finite(tree: Any, place: str) -> None:
    """Check that no number of a tree is NaN or infinite.

    Raises:
        CheckpointError: names the place of the first that is.
    """
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            require_finite(value, f"{place}.{name}")
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            require_finite(value, f"{place}[{index}]")
    elif isinstance(tree, Tensor):
        require(bool(torch.isfinite(tree).all()), place, "is not finite (NaN or infinite)")
    elif isinstance(tree, np.ndarray | np.generic | float):
        require(bool(np.isfinite(np.asarray(tree)).all()), place, "is not finite (NaN or infinite)")


def require_generator(saved: Any, own: np.random.Generator, place: str) -> None:
    """Check that a JSON text is a state of a generator of the kind of `own`.

    Raises:
        CheckpointError: it is not.
    """
    bits = type(own.bit_generator)()
    try:
        bits.state = json.loads(saved)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise CheckpointError(f"{place}: is no state of a {type(bits).__name__} generator ({error})") from error


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "named values"
    if isinstance(value, Tensor | np.ndarray):
        return f"an array {list(value.shape)}"
    return f"{type(value).__name__} {str(value)[:SHOWN]!r}"
