"""Trees with one thing wrong in them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from hypothesis import strategies as st


def places(tree, above=()):
    """Every key path below a tree, containers too."""
    found = []
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += [(*above, key), *places(value, (*above, key))]
    return found


def at(tree, place):
    for key in place:
        tree = tree[key]
    return tree


def _reshaped(value):
    return value.reshape(1, *value.shape)


def _other_type(value):
    if isinstance(value, torch.Tensor):
        return value.to(torch.float16 if value.dtype != torch.float16 else torch.float64)
    return value.astype(np.float16 if value.dtype != np.float16 else np.float64)


def _one_entry(value, poison):
    found = value.clone() if isinstance(value, torch.Tensor) else np.array(value)
    found.reshape(-1)[-1] = poison
    return found


STRUCTURAL = ("delete", "none", "text", "reshaped", "other type", "list")
"""What makes a tree another one, whatever its numbers say."""
NUMBERS = ("nan", "infinite")


def poisoned(tree, place, how):
    """A copy of the tree with the thing at `place` made wrong; None where it cannot be in this way."""
    value = at(tree, place)
    array = isinstance(value, torch.Tensor | np.ndarray)
    floats = array and "float" in str(value.dtype) and value.size not in (0,) and np.prod(value.shape) > 0
    if how in ("reshaped", "other type") and not array:
        return None
    if how in NUMBERS and not (floats or type(value) is float):
        return None
    bad = {"nan": float("nan"), "infinite": float("-inf")}.get(how)
    wrong = {
        "none": lambda: None,
        "text": lambda: {"a": object()} if isinstance(value, str) else "text",
        "list": lambda: [7] * 3,
        "reshaped": lambda: _reshaped(value),
        "other type": lambda: _other_type(value),
        "nan": lambda: _one_entry(value, bad) if array else bad,
        "infinite": lambda: _one_entry(value, bad) if array else bad,
        "delete": lambda: None,
    }[how]()
    if how == "none" and value is None:
        return None
    top = copy.copy(tree)
    parent = top
    for key in place[:-1]:
        parent[key] = copy.copy(parent[key])
        parent = parent[key]
    if how == "delete":
        del parent[place[-1]]
    else:
        parent[place[-1]] = wrong
    return top


def poison(tree, hows=(*STRUCTURAL, *NUMBERS), within=lambda _: True):
    """Draws (place, how, tree)."""
    there = [place for place in places(tree) if within(place)]
    options = [(place, how) for place in there for how in hows]
    return (
        st.sampled_from(options)
        .map(lambda option: (*option, poisoned(tree, *option)))
        .filter(lambda drawn: drawn[2] is not None)
    )


def same(a, b):
    """Whether two trees are equal bit for bit."""
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor | np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b
