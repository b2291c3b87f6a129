"""What a field may hold, in words: `-0.1 is not in (0, 1)`, from the field's own annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

__all__ = ["describe_violation"]

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


def _message(annotation: Any, value: object, fallback: str) -> str:
    base, bounds = _unwrap(annotation)
    if get_origin(base) is Literal:
        choices = [str(choice) for choice in get_args(base)]
        nearest = get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        return f"{_shown(value)} is not one of {', '.join(choices)}{hint}"
    if get_origin(base) is tuple:
        arguments = get_args(base)
        if not isinstance(value, list):
            return f"{_shown(value)} is not a list"
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            return f"{_shown(value)} has {len(value)} values, {len(arguments)} are expected"
        return f"{_shown(value)} is too short, at least one value is expected" if not value else fallback
    if base in (int, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        if base is int and isinstance(value, float):
            return f"{_shown(value)} is not an integer"
        return f"{_shown(value)} is not in {_interval(bounds, base)}"
    if is_dataclass(base):
        return f"{_shown(value)} is not a mapping"
    return f"{_shown(value)} is not {_KINDS[base]}"


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
        else repr(value)
    )


def _field(path: str) -> str:
    """The path of the whole field, which an error in one item of a list belongs to."""
    return path.partition("[")[0]


def _place(path: str) -> str:
    index = path.removeprefix(_field(path))
    return f"item {index[1:-1]}: " if index else ""
