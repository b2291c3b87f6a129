"""Whether a mesh is made of what its annotations say: numbers, names, truth values, services; asked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import numpy as np

if TYPE_CHECKING:
    from gnnrl.domains.autoscaling.mesh import Mesh

__all__ = ["kind_problems"]

_PARTS = ("services", "calls", "classes")
_NUMBERS = "numbers"
"""Kind of a tuple whose items are judged here; those of other tuples are judged as parts."""
_WORDS = {str: "text", bool: "true or false", int: "an integer", float: "a number"}


def kind_problems(mesh: Mesh) -> list[str]:
    """Every field of another kind than its annotation, each with the name of the service, call or class."""
    problems = [*_faults(mesh)]
    for field in _PARTS:
        parts = getattr(mesh, field)
        if isinstance(parts, tuple):
            (kind, _) = get_args(_kinds_of(mesh)[field])
            for place, part in enumerate(parts):
                if isinstance(part, kind):
                    problems += [f"{_named(field, place, part)}: {fault}" for fault in _faults(part)]
                else:
                    problems.append(f"{field}[{place}]: {part!r:.80} is not a {kind.__name__}")
    return problems


def _faults(part: Any) -> Iterator[str]:
    cls: Any = type(part)
    for name, shape, kind in _checks(cls):
        value = getattr(part, name)
        if type(value) is kind:
            continue
        if shape is tuple:
            if not isinstance(value, tuple):
                yield f"{name} {value!r:.80} is not a tuple"
            elif kind is _NUMBERS:
                yield from (
                    f"{name}[{i}] {item!r:.80} is not a number"
                    for i, item in enumerate(value)
                    if not _fits(float, item)
                )
        elif not (value is None and shape is UnionType) and not _fits(kind, value):
            yield f"{name} {value!r:.80} is not {_WORDS[kind]}"


def _fits(kind: Any, value: Any) -> bool:
    if type(value) is kind:
        return True
    if kind is bool:
        return isinstance(value, np.bool_)
    if kind in (int, float):
        number = Integral if kind is int else Real
        return isinstance(value, number) and not isinstance(value, bool | np.bool_)
    return isinstance(value, kind)


def _kinds_of(part: Any) -> dict[str, Any]:
    kind: Any = type(part)
    return _kinds(kind)


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


@cache
def _checks(cls: Any) -> tuple[tuple[str, Any, Any], ...]:
    """(name, tuple or a union or None, kind) of each field; a mesh is made anew with every change, and annotations are slow to read."""
    found = []
    for name, annotation in _kinds(cls).items():
        shape = get_origin(annotation)
        if shape is None:
            kind = annotation
        elif shape is tuple:
            kind = _NUMBERS if get_args(annotation)[0] is float else None
        else:
            (kind,) = (one for one in get_args(annotation) if one is not type(None))
        found.append((name, shape, kind))
    return tuple(found)


def _named(field: str, place: int, part: Any) -> str:
    if field == "calls":
        return f"call {part.source!r:.80} -> {part.target!r:.80}"
    what = "service" if field == "services" else "request class"
    return f"{what} {part.name!r:.80}" if isinstance(part.name, str) else f"{field}[{place}]"
