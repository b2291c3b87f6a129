"""`ConfigError`: everything that is wrong with a configuration, whoever spelled it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A configuration that cannot be used.

    Attributes:
        errors: one line a fault, each `<file, --set or class>: <dotted path>: <what is wrong>`.
    """

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.errors,)
