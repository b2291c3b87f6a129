"""Label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>3`, with the grammar of k8s.io/apimachinery, pkg/labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gnnrl.live.sandbox.kube.names import label_value, qualified_name

__all__ = ["LabelTest", "parse_label_selector"]

LabelTest = Callable[[Mapping[str, str]], bool]
"""Whether labels fulfil a requirement."""

TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^=!(),<> \t\r\n]+|$)")
SYMBOLS = ("==", "!=", "=", "!", "(", ")", ",", "<", ">")
OPERATORS = ("in", "notin", "=", "==", "!=", ">", "<")
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def parse_label_selector(text: str) -> list[LabelTest]:
    """The requirements of a selector, all of which hold.

    Raises:
        ValueError: it cannot be parsed, or names keys or values that no label can have.
    """
    return _Parser(text).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [found[1] for found in TOKEN.finditer(text)]
        self._tokens.append("")
        self._place = 0

    @property
    def _next(self) -> str:
        return self._tokens[self._place]

    def _take(self) -> str:
        token = self._next
        self._place += 1
        return token

    def selector(self) -> list[LabelTest]:
        requirements: list[LabelTest] = []
        while self._next:
            if self._next != "!" and self._next in SYMBOLS:
                raise ValueError(f"found '{self._next}', expected: !, identifier, or 'end of string'")
            requirements.append(self._requirement())
            token = self._take()
            if not token:
                break
            if token != ",":
                raise ValueError(f"found '{token}', expected: ',' or 'end of string'")
            if self._next in ("", *SYMBOLS) and self._next != "!":
                raise ValueError(f"found '{self._next}', expected: identifier after ','")
        return requirements

    def _requirement(self) -> LabelTest:
        is_absent = self._next == "!"
        if is_absent:
            self._take()
        key = self._identifier()
        _check(qualified_name(key), "key", key)
        if is_absent or self._next in ("", ","):
            # Whatever follows `!key` that is no comma is refused by the caller.
            return lambda labels: (key in labels) is not is_absent
        operator = self._take()
        if operator not in OPERATORS:
            raise ValueError(f"unable to parse requirement: found '{operator}', expected: {', '.join(OPERATORS)}")
        values = self._values() if operator in ("in", "notin") else {self._value()}
        for value in values:
            _check(label_value(value), f"values[{key}]", value)
        if operator in ("<", ">"):
            return _compared(key, operator, *values)
        if operator in ("notin", "!="):  # they also select objects without the label
            return lambda labels: labels.get(key) not in values
        return lambda labels: labels.get(key) in values

    def _identifier(self) -> str:
        token = self._take()
        if not token or token in SYMBOLS:
            raise ValueError(f"unable to parse requirement: found '{token}', expected: identifier")
        return token

    def _value(self) -> str:
        return "" if self._next in ("", ",") else self._identifier()

    def _values(self) -> set[str]:
        if self._next != "(":
            raise ValueError(f"unable to parse requirement: found '{self._next}' expected: '('")
        self._take()
        values: set[str] = set()
        while True:
            values.add("" if self._next in (",", ")") else self._identifier())
            token = self._take()
            if token == ")":
                return values
            if token != ",":
                raise ValueError(f"unable to parse requirement: found '{token}', expected: ',' or ')'")


def _compared(key: str, operator: str, bound: str) -> LabelTest:
    if not WHOLE.fullmatch(bound):
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise ValueError(f'unable to parse requirement: values[0]: Invalid value: "{bound}": {why}')
    limit = int(bound)

    def holds(labels: Mapping[str, str]) -> bool:
        text = labels.get(key, "")
        return bool(WHOLE.fullmatch(text)) and (int(text) > limit if operator == ">" else int(text) < limit)

    return holds


def _check(wrong: list[str], field: str, value: str) -> None:
    if wrong:
        raise ValueError(f'unable to parse requirement: {field}: Invalid value: "{value}": {"; ".join(wrong)}')
