"""What a field may hold, in words: `-0.1 is not in (0, 1)`, from the field's own annotation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt

__all__ = ["accepted", "describe_violation", "faults_of", "unknown_key"]

_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


def describe_violation(cls: type, location: Sequence[str | int], error: Mapping[str, Any]) -> tuple[str, str]:
    """The dotted path of a pydantic error inside dataclass `cls`, and what is wrong there with what would be right."""
    path, annotation = "", cls
    if error["type"] == "missing":  # an item of a list: the list is at fault, and the one kind that the loader leaves
        location = location[:-1]
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
            annotation = _item(annotation, step)
        else:
            path += f".{step}" if path else step
            annotation = get_type_hints(annotation, include_extras=True)[step]
    return _field(path), _place(path) + _message(annotation, error["input"], str(error["msg"]))


def faults_of(annotation: Any, value: Any) -> Iterator[str]:
    """What is wrong with a Python value of a field, in the words of `describe_violation`; nothing where the field may hold it."""
    base, bounds = _unwrap(annotation)
    value = _plain(value)
    if get_origin(base) in (Union, UnionType):
        if value is None and type(None) in get_args(base):
            return
        (base,) = (one for one in get_args(base) if one is not type(None))
        base, inner = _unwrap(base)
        bounds = (*bounds, *inner)
    if get_origin(base) is tuple:
        yield from _list_faults(annotation, base, bounds, value)
    elif isinstance(base, type) and is_dataclass(base):
        if not isinstance(value, base):
            yield f"{_shown(value)} is not a {base.__name__}"
    elif not _fits(base, bounds, value):
        if _is_number(value) and not math.isfinite(value):
            yield f"{_shown(value)} is not finite"
        else:
            yield _message(Annotated[(base, *bounds)] if bounds else base, value, "")


def _list_faults(annotation: Any, base: Any, bounds: Sequence[Any], value: object) -> Iterator[str]:
    kinds = get_args(base)
    endless = kinds[-1] is Ellipsis
    shortest = max((bound.min_length for bound in bounds if isinstance(bound, Len)), default=0)
    if not isinstance(value, list | tuple) or (len(value) < shortest if endless else len(value) != len(kinds)):
        yield _message(annotation, value, "")
        return
    for i, item in enumerate(value):
        for message in faults_of(_item(annotation, i), item):
            yield f"item {i}: {message}"


def _fits(base: Any, bounds: Sequence[Any], value: Any) -> bool:
    if get_origin(base) is Literal:
        return isinstance(value, str) and value in get_args(base)
    if base is bool:
        return isinstance(value, bool)
    if base in (int, float):
        kind = Integral if base is int else Real
        if not _is_number(value) or not isinstance(value, kind) or not math.isfinite(value):
            return False
        return all(_keeps(bound, value) for bound in bounds)
    return isinstance(value, base) if isinstance(base, type) else True


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


def _keeps(bound: Any, value: Any) -> bool:
    match bound:
        case Ge(ge):
            return bool(value >= ge)
        case Gt(gt):
            return bool(value > gt)
        case Le(le):
            return bool(value <= le)
        case Lt(lt):
            return bool(value < lt)
    return True


def accepted(annotation: Any, value: Any) -> Any:
    """A value without faults as the field holds it: Python's own numbers, and tuples."""
    base, _ = _unwrap(annotation)
    if get_origin(base) is tuple:
        taken = tuple(accepted(_item(annotation, i), item) for i, item in enumerate(value))
        return value if type(value) is tuple and all(a is b for a, b in zip(taken, value, strict=True)) else taken
    return _plain(value)


def _plain(value: Any) -> Any:
    """A scalar of numpy (or torch) as Python's; everything else as it is."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "shape", None) == () else value


def unknown_key(name: object, known: Sequence[str]) -> str:
    """What is wrong with a key that is none of the known ones."""
    nearest = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _message(annotation: Any, value: object, fallback: str) -> str:
    base, bounds = _unwrap(annotation)
    if get_origin(base) is Literal:
        choices = [str(choice) for choice in get_args(base)]
        nearest = get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        return f"{_shown(value)} is not one of {', '.join(choices)}{hint}"
    if get_origin(base) is tuple:
        arguments = get_args(base)
        if not isinstance(value, list | tuple):
            return f"{_shown(value)} is not a list" + (
                f"; a list of it alone is [{value!r}]" if isinstance(value, str) else ""
            )
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            return f"{_shown(value)} has {len(value)} values, {len(arguments)} are expected"
        return f"{_shown(value)} is too short, at least one value is expected" if not value else fallback
    if base in (int, float) and _is_number(value):
        if base is int and not isinstance(value, Integral):
            return f"{_shown(value)} is not an integer"
        return f"{_shown(value)} is not in {_interval(bounds, base)}"
    if is_dataclass(base):
        return f"{_shown(value)} is not a mapping"
    return f"{_shown(value)} is not {_KINDS.get(base, f'a {base.__name__}')}"


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return base, tuple(metadata)
    return annotation, ()


def _item(annotation: Any, index: int) -> Any:
    arguments = get_args(_unwrap(annotation)[0])
    return arguments[0] if arguments[-1] is Ellipsis else arguments[index]


def _interval(bounds: Sequence[Any], base: type) -> str:
    low, high = "(-inf", "inf)"
    for bound in bounds:
        match bound:
            case Ge(ge):
                low = f"[{_number(ge, base)}"
            case Gt(gt):
                low = f"({_number(gt, base)}"
            case Le(le):
                high = f"{_number(le, base)}]"
            case Lt(lt):
                high = f"{_number(lt, base)})"
    return f"{low}, {high}"


def _number(bound: Any, base: type) -> str:
    return str(int(bound)) if base is int or float(bound).is_integer() else str(bound)


def _shown(value: object) -> str:
    return (
        "nothing"
        if value is None
        else {True: "true", False: "false"}[value]
        if isinstance(value, bool)
        else repr(value)[:200]
    )


def _field(path: str) -> str:
    """The path of the whole field, which an error in one item of a list belongs to."""
    return path.partition("[")[0]


def _place(path: str) -> str:
    index = path.removeprefix(_field(path))
    return f"item {index[1:-1]}: " if index else ""
