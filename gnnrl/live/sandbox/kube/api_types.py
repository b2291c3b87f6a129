"""The fields of the API's objects: their types and their numbers in protobuf, as `api_types.json` lists them.

An entry of the file is a struct of k8s.io/api or k8s.io/apimachinery (`types.go`, v0.37) and gives for each field of its JSON
"NUMBER TYPE". Types: `string`, `bool`, `int32`, `int64`, `bytes`, `time`, `microTime`, `quantity`, `intOrString`, `raw` (anything),
`[]TYPE`, `map:TYPE` (keys are strings), or the name of a struct. A field whose name begins with `*` is a struct that JSON shows in line.
`ScaledObject` is KEDA's; custom resources have no protobuf, its numbers are 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["LIST", "MAP", "Field", "fields_of", "struct_of"]

LIST = "[]"
MAP = "map:"

PACKAGES = {"": "core", "keda.sh": "keda"}
"""Package of an API group, where it is not the first word of its name."""


@dataclass(frozen=True)
class Field:
    """A field of a struct."""

    numbers: tuple[int, ...]
    """In protobuf; two of them if JSON shows in line what is a message of its own there."""
    type: str


@cache
def _structs() -> Mapping[str, Mapping[str, str]]:
    text = files("gnnrl.live.sandbox.kube").joinpath("api_types.json").read_text(encoding="utf-8")
    structs: Mapping[str, Mapping[str, str]] = json.loads(text)
    return structs


@cache
def fields_of(struct: str) -> Mapping[str, Field]:
    """The fields of a struct by their names in JSON.

    Raises:
        KeyError: there is no such struct.
    """
    fields: dict[str, Field] = {}
    for name, entry in _structs()[struct].items():
        number, type_ = entry.split(" ")
        if name.startswith("*"):
            for inner, field in fields_of(type_).items():
                fields[inner] = Field((int(number), *field.numbers), field.type)
        else:
            fields[name] = Field((int(number),), type_)
    return fields


def struct_of(kind: ResourceType) -> str | None:
    """Name of a kind's struct; None for a kind that nobody sends (the metrics)."""
    package = PACKAGES.get(kind.group, kind.group.partition(".")[0])
    name = f"{package}.{kind.version}.{kind.kind}"
    return name if name in _structs() else None
