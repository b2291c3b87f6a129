"""`Checked`: a configuration dataclass refuses, when it is made, what a file that spells it may not hold.

The ranges are those of the fields' own annotations (`ranges.py`), the rules across fields those of `rules.py`: one set for files, for
`dataclasses.replace` and for whoever makes the object in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints

from gnnrl.config.errors import ConfigError
from gnnrl.config.ranges import accepted, faults_of, unknown_key

if TYPE_CHECKING:
    from gnnrl.config.rules import Rule

__all__ = ["Checked", "configured", "unchecked"]

Config = TypeVar("Config", bound="Checked")

_UNCHECKED: ContextVar[bool] = ContextVar("unchecked", default=False)


@contextmanager
def unchecked() -> Iterator[None]:
    """Objects made inside are not checked: for whoever judges them himself, as the loader does, which names file and line."""
    token = _UNCHECKED.set(True)
    try:
        yield
    finally:
        _UNCHECKED.reset(token)


class Checked:
    """Base of configuration dataclasses.

    Numbers of numpy become Python's, lists become tuples. A section says where it stands in a file: `class PPOConfig(Checked,
    section="ppo")`.

    Raises:
        ConfigError: every field that holds what it may not, at once, each with its dotted path, the value and the allowed range; where
            there is none, what the rules say that read nothing but this object.
    """

    section: ClassVar[str] = ""

    def __init_subclass__(cls, *, section: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if section is not None:
            cls.section = section

    def __post_init__(self) -> None:
        if _UNCHECKED.get():
            return
        faults = [*_field_faults(self)] or [*_rule_faults(self)]
        if faults:
            raise ConfigError([f"{type(self).__name__}: {path}: {message}" for path, message in faults])


def configured(
    cls: type[Config],
    config: Config | None,
    changes: Mapping[str, Any],
    rules: Iterable[Rule[Any]] = (),
    *,
    where: str,
) -> Config:
    """The configuration of an environment: `config`, or the defaults, with some fields replaced.

    Args:
        cls: of the configuration.
        config: to start from; None = the defaults.
        changes: fields to replace.
        rules: of the domain; those that read nothing but this section are asked.
        where: begins every line of an error.

    Raises:
        ConfigError: every fault at once: a field that does not exist, a value that a field may not hold, a rule that is broken.
    """
    if config is not None and not isinstance(config, cls):
        raise ConfigError([f"{where}: config: {config!r:.80} is not {_article(cls)}"])
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    errors = [
        f"{where}: {_dotted(cls.section, name)}: {unknown_key(name, known)}" for name in changes if name not in known
    ]
    usable = {name: value for name, value in changes.items() if name in known}
    made: Config | None = None
    try:
        made = replace(cls() if config is None else config, **usable)  # type: ignore[type-var]
    except ConfigError as error:
        errors += [f"{where}: {line.partition(': ')[2]}" for line in error.errors]
    if made is not None:
        errors += [f"{where}: {path}: {message}" for path, message in _rule_faults(made, rules)]
    if errors or made is None:
        raise ConfigError(errors)
    return made


def _field_faults(config: Checked) -> Iterator[tuple[str, str]]:
    kind: Any = type(config)
    for name, annotation in _annotations(kind):
        value = getattr(config, name)
        faults = [*faults_of(annotation, value)]
        yield from ((_dotted(config.section, name), message) for message in faults)
        if not faults:
            taken = accepted(annotation, value)
            if taken is not value:
                object.__setattr__(config, name, taken)


def _rule_faults(config: Checked, rules: Iterable[Rule[Any]] | None = None) -> Iterator[tuple[str, str]]:
    from gnnrl.config.rules import rules_within  # it knows every configuration, so is known by none

    whole, within = rules_within(config, rules)
    for rule in within:
        yield from rule.check(whole)


@cache
def _annotations(cls: Any) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple((field.name, hints[field.name]) for field in fields(cls))


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _article(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'AEIOL' else 'a'} {cls.__name__}"
