"""JSON and YAML as text, read as Go's decoders read them."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import yaml

__all__ = ["JsonObject", "read_json", "read_yaml"]

MOST_VALUES = 100_000
"""Of a YAML document, every alias counted as what it stands for."""
LARGEST_PLAIN_FLOAT = 1e21
"""From here on Go writes floats with an exponent."""


class JsonObject(dict[str, Any]):
    """An object that remembers which of its keys stood there more than once; the last one counts."""

    duplicates: tuple[str, ...] = ()


def read_json(body: bytes) -> Any:
    """The value in a body; bytes that are no UTF-8 become U+FFFD.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    text = body.decode("utf-8", errors="replace")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("exceeded max depth") from error


def read_yaml(body: bytes) -> Any:
    """The value of a YAML document as JSON has it: keys are strings, a float that is whole is an integer.

    Raises:
        ValueError: it is not YAML, or of what JSON cannot hold.
    """
    try:
        loaded = yaml.load(body.decode("utf-8", errors="replace"), Loader=_JsonLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"error converting YAML to JSON: {error}") from error
    return _as_json(loaded, [MOST_VALUES])


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        found.duplicates = tuple(dict.fromkeys(twice))
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"invalid character {text[0]!r} looking for beginning of value")


class _JsonLoader(yaml.SafeLoader):
    """YAML without what JSON does not know: dates stay texts."""

    def mapping(self, node: yaml.MappingNode) -> JsonObject:
        """A mapping whose keys are strings, as `JsonObject`."""
        self.flatten_mapping(node)
        pairs = [(_key(self.construct_object(key)), value) for key, value in node.value]
        return _object([(key, self.construct_object(value, deep=True)) for key, value in pairs])


_JsonLoader.add_constructor("tag:yaml.org,2002:map", _JsonLoader.mapping)

_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _as_json(value: Any, left: list[int]) -> Any:
    """The value without what only YAML can say; `left` counts down the values that aliases may still blow up to."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("error converting YAML to JSON: yaml: document contains excessive aliasing")
    if isinstance(value, JsonObject):
        found = JsonObject({key: _as_json(item, left) for key, item in value.items()})
        found.duplicates = value.duplicates
        return found
    if isinstance(value, list):
        return [_as_json(item, left) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"error converting YAML to JSON: {value} is no JSON")
        return int(value) if value.is_integer() and abs(value) < LARGEST_PLAIN_FLOAT else value
    if value is None or isinstance(value, str | int):
        return value
    raise ValueError(f"error converting YAML to JSON: a {type(value).__name__} is no JSON")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise ValueError(f"error converting YAML to JSON: {key!r} is no key of a JSON object")
