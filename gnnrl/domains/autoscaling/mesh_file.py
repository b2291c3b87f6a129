"""Mesh files: YAML that a person can read and edit, with errors that name the file and the place.

    name: shop
    slo_ms: null
    node_cpu_millicores: null
    sidecar_millicores_per_rps: 0.35
    services:
    - {name: front, cpu_ms: 6.0}
    - {name: cart, cpu_ms: 2.5, cpu_limit_millicores: 300}
    calls:
    - {source: front, target: cart}
    classes:
    - name: index
      root: front
      weight: 1.0
      calls: {front -> cart: 2.0}

Fields of a service or call that are left out take the defaults of `Service` and `Call`; a call that a class does not
list is not made by it. Unknown and repeated keys are errors.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import yaml

from gnnrl.domains.autoscaling.mesh import Call, Mesh, MeshError, RequestClass, Service
from gnnrl.text_file import read_text
from gnnrl.whole_file import write_text

__all__ = ["load_mesh", "save_mesh"]

ARROW = " -> "


def load_mesh(path: str | Path) -> Mesh:
    """Read a mesh file.

    Raises:
        MeshError: the file cannot be read, is no YAML, has unknown, missing or repeated keys, values of a wrong type,
        or describes
            a mesh that cannot be; all problems of one kind at once, each with the file and the place.
    """
    path = Path(path)
    try:
        document = yaml.load(read_text(path), Loader=_StrictLoader)
    except OSError as error:
        raise MeshError(path.stem, [f"cannot be read: {error.strerror}"], str(path)) from error
    except UnicodeDecodeError as error:
        raise MeshError(path.stem, [f"is not UTF-8 text ({error.reason})"], str(path)) from error
    except yaml.YAMLError as error:
        raise MeshError(path.stem, [f"is no YAML: {' '.join(str(error).split())}"], str(path)) from error
    reader = _Reader()
    values = reader.mesh(document)
    name = str(values.get("name", path.stem))
    if reader.problems:
        raise MeshError(name, reader.problems, str(path))
    try:
        return Mesh(**values)
    except MeshError as error:
        raise MeshError(name, error.problems, str(path)) from error


def save_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh file that `load_mesh` reads back equal; an existing file is replaced in one step."""
    path = Path(path)
    document = {
        "name": mesh.name,
        "slo_ms": mesh.slo_ms,
        "node_cpu_millicores": mesh.node_cpu_millicores,
        "sidecar_millicores_per_rps": float(mesh.sidecar_millicores_per_rps),
        "services": [_changed_fields(service) for service in mesh.services],
        "calls": [_changed_fields(call) for call in mesh.calls],
        "classes": [
            {
                "name": request.name,
                "root": request.root,
                "weight": float(request.weight),
                "calls": {
                    f"{call.source}{ARROW}{call.target}": float(ratio)
                    for call, ratio in zip(mesh.calls, request.calls, strict=True)
                    if ratio > 0
                },
            }
            for request in mesh.classes
        ],
    }
    text = yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)
    write_text(path, text)


def _changed_fields(item: Service | Call) -> dict[str, Any]:
    return {f.name: getattr(item, f.name) for f in fields(item) if getattr(item, f.name) != f.default}


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Reader:
    """Turns a parsed document into the arguments of `Mesh`, collecting every problem with its place."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def mesh(self, document: object) -> dict[str, Any]:
        values = self._fields(document, "", Mesh)
        services = self._items(values.get("services"), "services", Service)
        calls = self._items(values.get("calls"), "calls", Call)
        classes = []
        listed = values.get("classes")
        for place, item in self._list(listed, "classes"):
            request = self._fields(item, place, RequestClass)
            if "calls" in request:
                request["calls"] = self._ratios(request["calls"], f"{place}.calls", calls)
            classes.append(request)
        if self.problems:
            return values
        values["services"] = tuple(Service(**item) for item in services)
        values["calls"] = tuple(Call(**item) for item in calls)
        values["classes"] = tuple(RequestClass(**item) for item in classes)
        return values

    def _items(self, value: object, place: str, kind: type[Service] | type[Call]) -> list[dict[str, Any]]:
        return [self._fields(item, where, kind) for where, item in self._list(value, place)]

    def _list(self, value: object, place: str) -> list[tuple[str, object]]:
        if value is None:
            return []
        if not isinstance(value, list):
            self.problems.append(f"{place}: must be a list, not {_kind(value)}")
            return []
        return [(f"{place}[{i}]", item) for i, item in enumerate(value)]

    def _fields(self, value: object, place: str, kind: type) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.problems.append(f"{place or 'the document'}: must be a mapping, not {_kind(value)}")
            return {}
        known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}
        prefix = f"{place}." if place else ""
        for key in value:
            if key not in known:
                self.problems.append(f"{prefix}{key}: unknown key; known are {', '.join(known)}")
        for name, spec in known.items():
            if name not in value and spec.default is MISSING:
                self.problems.append(f"{prefix}{name}: is missing")
        return {
            key: self._typed(item, f"{prefix}{key}", str(known[key].type))
            for key, item in value.items()
            if key in known
        }

    def _typed(self, value: object, place: str, annotation: str) -> object:
        """Check a scalar against the annotation of its field; lists and mappings are checked where they are read."""
        wanted = annotation.removesuffix(" | None")
        if value is None and wanted != annotation:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if wanted == "float":
            if is_number:
                return float(value)  # type: ignore[arg-type]
            self.problems.append(f"{place}: must be a number, not {_kind(value)}")
        elif wanted == "int" and not (is_number and isinstance(value, int)):
            self.problems.append(f"{place}: must be a whole number, not {_kind(value)}")
        elif wanted == "bool" and not isinstance(value, bool):
            self.problems.append(f"{place}: must be true or false, not {_kind(value)}")
        elif wanted == "str" and not isinstance(value, str):
            self.problems.append(f"{place}: must be text, not {_kind(value)}; quote it")
        return value

    def _ratios(self, value: object, place: str, calls: list[dict[str, Any]]) -> tuple[float, ...]:
        if not isinstance(value, dict):
            self.problems.append(f"{place}: must be a mapping of 'source{ARROW}target' to a number, not {_kind(value)}")
            return ()
        names = [f"{call.get('source')}{ARROW}{call.get('target')}" for call in calls]
        for key in value:
            if key not in names:
                self.problems.append(f"{place}: {key!r} is no call of the mesh; add it under calls")
        ratios = [self._typed(value.get(name, 0.0), f"{place}.{name}", "float") for name in names]
        return tuple(ratio for ratio in ratios if isinstance(ratio, float))


def _kind(value: object) -> str:
    kinds = {dict: "a mapping", list: "a list", type(None): "nothing"}
    return kinds.get(type(value), repr(value))
