"""YAML to a validated experiment of a domain, or `LiveConfig`, and back: strict, and all errors at once.

A file must spell every field, or name another one by `base: other.yaml` and spell what differs, so that an experiment (or a live
loop) can be read from its files alone; `--set a.b=c` overrides are merged before anything is checked. pydantic judges types and ranges
and is known to this module only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from gnnrl.config.checked import unchecked
from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import Experiment, ExperimentConfig
from gnnrl.config.live import LiveConfig
from gnnrl.config.llm_routing import LLMRoutingExperiment
from gnnrl.config.queue_routing import QueueRoutingExperiment
from gnnrl.config.ranges import describe_violation, unknown_key
from gnnrl.config.rules import COMMON_RULES, LIVE_RULES, QUEUE_ROUTING_RULES, RULES, Rule
from gnnrl.config.yaml_file import config_text, dumped, mapping, resolved, value

__all__ = [
    "ConfigError",
    "config_text",
    "dump_config",
    "is_live_config",
    "load_config",
    "load_experiment",
    "load_live_config",
    "parse_config",
    "parse_experiment",
    "parse_live_config",
]

Config = TypeVar("Config")


@dataclass(frozen=True)
class _Kind(Generic[Config]):
    """One kind of file."""

    cls: type[Config]
    rules: tuple[Rule[Config], ...]
    example: str
    """An override, for whoever mistypes one."""

    @cached_property
    def adapter(self) -> TypeAdapter[Config]:
        return TypeAdapter(self.cls)


_EXPERIMENT = _Kind(ExperimentConfig, (*COMMON_RULES, *RULES), "ppo.clip=0.1")
_DOMAINS: Mapping[str, _Kind[Any]] = {
    "autoscaling": _EXPERIMENT,
    "queue_routing": _Kind(QueueRoutingExperiment, (*COMMON_RULES, *QUEUE_ROUTING_RULES), "ppo.clip=0.1"),
    "llm_routing": _Kind(LLMRoutingExperiment, COMMON_RULES, "ppo.clip=0.1"),
}
"""Kinds of experiment by their `domain`."""
_LIVE = _Kind(LiveConfig, LIVE_RULES, "guardrails.max_replicas=10")


def _no_rules(domain: str) -> tuple[Rule[Any], ...]:  # noqa: ARG001
    """No further checks of a domain's experiments."""
    return ()


def load_config(
    path: str | Path, overrides: Sequence[str] = (), rules: Iterable[Rule[ExperimentConfig]] = ()
) -> ExperimentConfig:
    """Reads an autoscaling experiment from a YAML file.

    Args:
        path: the file.
        overrides: `a.b=c` assignments, `c` read as YAML, merged over the file before validation.
        rules: cross-field checks of the caller's, beside the built-in ones (`rules.RULES`).

    Raises:
        ConfigError: every fault of file and overrides at once; also when the file cannot be read, or is of another domain.
    """
    data, spelled_in = resolved(Path(path))
    return _autoscaling(data, overrides, str(path), rules, spelled_in)


def load_experiment(
    path: str | Path, overrides: Sequence[str] = (), rules: Callable[[str], Iterable[Rule[Any]]] = _no_rules
) -> Experiment:
    """Reads an experiment of the domain that the file names; `rules` gives a domain's further checks. Otherwise as `load_config`."""
    data, spelled_in = resolved(Path(path))
    return _experiment(data, overrides, str(path), rules, spelled_in)


def parse_experiment(
    text: str,
    overrides: Sequence[str] = (),
    *,
    source: str = "configuration",
    rules: Callable[[str], Iterable[Rule[Any]]] = _no_rules,
) -> Experiment:
    """The same from YAML text; `source` names it in errors."""
    return _experiment(mapping(text, source), overrides, source, rules)


def _experiment(
    data: dict[str, Any],
    overrides: Sequence[str],
    source: str,
    rules: Callable[[str], Iterable[Rule[Any]]],
    spelled_in: Mapping[str, str] | None = None,
) -> Experiment:
    domain = str(data.get("domain", "autoscaling"))
    if domain not in _DOMAINS:
        raise ConfigError([f"{source}: domain: {domain!r} is none of {', '.join(_DOMAINS)}"])
    experiment: Experiment = _parse(_DOMAINS[domain], data, overrides, source, rules(domain), spelled_in)
    return experiment


def parse_config(
    text: str,
    overrides: Sequence[str] = (),
    *,
    source: str = "configuration",
    rules: Iterable[Rule[ExperimentConfig]] = (),
) -> ExperimentConfig:
    """The same from YAML text; `source` names it in errors."""
    return _autoscaling(mapping(text, source), overrides, source, rules)


def _autoscaling(
    data: dict[str, Any],
    overrides: Sequence[str],
    source: str,
    rules: Iterable[Rule[ExperimentConfig]],
    spelled_in: Mapping[str, str] | None = None,
) -> ExperimentConfig:
    domain = data.get("domain", "autoscaling")
    if domain != "autoscaling" and domain in _DOMAINS:
        raise ConfigError([f"{source}: domain: this is a {domain} experiment, an autoscaling one is needed here"])
    return _parse(_EXPERIMENT, data, overrides, source, rules, spelled_in)


def load_live_config(
    path: str | Path, overrides: Sequence[str] = (), rules: Iterable[Rule[LiveConfig]] = ()
) -> LiveConfig:
    """Reads what the live loop is told from a YAML file; arguments and errors as `load_config`."""
    data, spelled_in = resolved(Path(path))
    return _parse(_LIVE, data, overrides, str(path), rules, spelled_in)


def parse_live_config(
    text: str, overrides: Sequence[str] = (), *, source: str = "configuration", rules: Iterable[Rule[LiveConfig]] = ()
) -> LiveConfig:
    """The same from YAML text; `source` names it in errors."""
    return _parse(_LIVE, mapping(text, source), overrides, source, rules)


def is_live_config(path: str | Path) -> bool:
    """Whether a file has more keys of a live loop than of an experiment.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    keys = set(resolved(Path(path))[0])
    live, experiment = ({field.name for field in fields(cls)} for cls in (LiveConfig, ExperimentConfig))
    return len(keys & live) > len(keys & experiment)


def _parse(
    kind: _Kind[Config],
    data: dict[str, Any],
    overrides: Sequence[str],
    source: str,
    rules: Iterable[Rule[Config]],
    spelled_in: Mapping[str, str] | None = None,
) -> Config:
    origin, errors = _merge(data, overrides, kind.example)

    def located(path: str, message: str) -> str:
        spelled = next((p for p in origin if path == p or path.startswith(p + ".")), None)
        if spelled:
            return f"--set {origin[spelled]}: {path}: {message}"
        return f"{(spelled_in or {}).get(path, source)}: {path}: {message}"

    faults = dict(_shape_faults(data, kind.cls, ""))
    usable = _without(data, set(faults))
    for path, message in _value_faults(usable, kind):
        faults.setdefault(path, message)
    # What is at fault falls back to its default here, only so that the rules which do not read it can speak as well.
    with unchecked():
        config = kind.adapter.validate_json(json.dumps(_without(usable, set(faults))), strict=True)
    for rule in (*kind.rules, *rules):
        if not any(_related(path, involved) for path in faults for involved in rule.paths):
            errors += [located(path, message) for path, message in rule.check(config)]
    errors = [located(path, message) for path, message in faults.items()] + errors
    if errors:
        raise ConfigError(errors)
    return config


def dump_config(config: Experiment | LiveConfig) -> str:
    """The configuration as YAML that `load_config` or `load_live_config` reads back to an equal one."""
    return dumped(json.loads(json.dumps(asdict(config))))


def _merge(data: dict[str, Any], overrides: Sequence[str], example: str) -> tuple[dict[str, str], list[str]]:
    """Writes the overrides into `data`.

    Returns:
        Which override spelled each dotted path, and the faults of the overrides themselves.
    """
    origin: dict[str, str] = {}
    errors: list[str] = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            errors.append(f"--set {override}: an assignment such as {example} is expected")
            continue
        try:
            assigned = value(text)
        except ValueError as error:
            errors.append(f"--set {override}: the value is not valid YAML: {error}")
            continue
        target = data
        for depth, key in enumerate(keys[:-1]):
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                errors.append(f"--set {override}: {'.'.join(keys[: depth + 1])} is a value and has no fields")
                break
            target = inner
        else:
            target[keys[-1]] = assigned
            origin[".".join(keys)] = override
    return origin, errors


def _shape_faults(data: Mapping[Any, Any], cls: type, prefix: str) -> Iterator[tuple[str, str]]:
    """Unknown keys, missing keys, sections that are not mappings, numbers that are not finite."""
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls)]
    for key in data:
        if key not in known:
            yield f"{prefix}{key}", unknown_key(key, known)
    for name in known:
        path = f"{prefix}{name}"
        if name not in data:
            yield path, "missing"
        elif is_dataclass(hints[name]):
            if isinstance(data[name], Mapping):
                yield from _shape_faults(data[name], hints[name], f"{path}.")
            else:
                yield path, f"a mapping with the keys {', '.join(f.name for f in fields(hints[name]))} is expected"
        elif any(isinstance(v, float) and not math.isfinite(v) for v in _leaves(data[name])):
            yield path, f"{data[name]!r} is not finite"


def _value_faults(data: Mapping[str, Any], kind: _Kind[Any]) -> Iterator[tuple[str, str]]:
    try:
        with unchecked():
            kind.adapter.validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            yield describe_violation(kind.cls, error["loc"], error)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _without(data: Mapping[str, Any], paths: set[str], prefix: str = "") -> dict[str, Any]:
    """A copy of `data` without the faulty leaves and sections."""
    return {
        key: _without(value, paths, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in data.items()
        if f"{prefix}{key}" not in paths
    }


def _related(path: str, involved: str) -> bool:
    return path == involved or path.startswith(involved + ".") or involved.startswith(path + ".")
