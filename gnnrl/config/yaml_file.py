"""Configuration files as mappings: YAML as people write it, and files that differ from a base."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gnnrl.config.errors import ConfigError
from gnnrl.text_file import read_text

__all__ = ["config_text", "dumped", "mapping", "resolved", "value"]

BASE = "base"
"""The key that names the file which a file differs from."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but floats as in YAML 1.2 (`3e-4` is a number) and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """A key a line, but a list on one."""


_Dumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)


def value(text: str) -> Any:
    """One value, as it would stand in a file.

    Raises:
        ValueError: it is no YAML, with what is wrong.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(_yaml_problem(error)) from error


def config_text(path: str | Path) -> str:
    """What stands in a configuration file; where it names a base, both merged.

    Raises:
        ConfigError: it or a base cannot be read, or is no text.
    """
    text = _text(Path(path))
    if BASE not in mapping(text, str(path)):
        return text
    return dumped(resolved(Path(path))[0])


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text ({error.reason})"]) from error


def resolved(path: Path, heirs: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """What a file and its bases say, and in which file each dotted path is spelled.

    A base is found from the folder of the file that names it. Sections are merged, everything else is replaced.
    """
    data = mapping(_text(path), str(path))
    spelled_in = {dotted: str(path) for dotted in _paths(data)}
    if BASE not in data:
        return data, spelled_in
    base = data.pop(BASE)
    if not isinstance(base, str):
        raise ConfigError([f"{path}: {BASE}: the name of a file is expected, this is {_kind(base)}"])
    found = path.parent / base
    line = (*heirs, path)
    if any(found.resolve() == heir.resolve() for heir in line):
        raise ConfigError([f"{path}: {BASE}: {base} has this file as its own base; one of them must spell every field"])
    if not found.is_file():
        raise ConfigError([f"{path}: {BASE}: {found} is no file; it is looked for beside {path.name}"])
    merged, spelled_in_base = resolved(found, line)
    if "domain" in data and "domain" in merged and data["domain"] != merged["domain"]:
        raise ConfigError(
            [f"{path}: {BASE}: {found} is an experiment of {merged['domain']}, this one of {data['domain']}"]
        )
    return _over(merged, data), spelled_in_base | spelled_in


def _over(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the changes in it, in the order of the base."""
    return base | {
        key: _over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }


def _paths(data: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """Dotted path of everything that is no section."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def mapping(text: str, source: str) -> dict[str, Any]:
    """What stands in a text; `source` names it in errors.

    Raises:
        ConfigError: it is no YAML, or no mapping.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError([f"{source}: is not valid YAML: {_yaml_problem(error)}"]) from error
    if not isinstance(data, dict):
        raise ConfigError([f"{source}: a mapping of configuration keys is expected, this is {_kind(data)}"])
    return data


def dumped(data: Mapping[str, Any]) -> str:
    """As YAML, a key a line."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120))


def _kind(data: object) -> str:
    return "empty" if data is None else f"a {type(data).__name__}"


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
