"""The little of Helm's template language that the chart uses, so that it is rendered where there is no helm.

Known: `define`, `include`, `if`, `else`, `range`, `end`, paths, strings, pipes and the functions below. Anything else is an error, as is
a path that the values do not have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

TOKEN = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
WORD = re.compile(r'"[^"]*"|[^\s"]+')


def render(chart: Path, values: dict[str, Any], *, name: str, namespace: str) -> list[dict[str, Any]]:
    """All objects of a release."""
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    scope = {
        "Values": values,
        "Release": {"Name": name, "Namespace": namespace, "Service": "Helm"},
        "Chart": {"AppVersion": described["appVersion"], "Name": described["name"]},
    }
    named: dict[str, list[Any]] = {}
    _write(_parse((chart / "templates" / "_helpers.tpl").read_text()), scope, named)
    objects = []
    for file in sorted((chart / "templates").glob("*.yaml")):
        text = _write(_parse(file.read_text()), scope, named)
        objects += [document for document in yaml.safe_load_all(text) if document]
    return objects


def notes(chart: Path, values: dict[str, Any], *, name: str, namespace: str) -> str:
    """What `helm install` says at the end."""
    scope = {
        "Values": values,
        "Release": {"Name": name, "Namespace": namespace, "Service": "Helm"},
        "Chart": {"AppVersion": "1", "Name": "gnnrl"},
    }
    named: dict[str, list[Any]] = {}
    _write(_parse((chart / "templates" / "_helpers.tpl").read_text()), scope, named)
    return _write(_parse((chart / "templates" / "NOTES.txt").read_text()), scope, named)


def _parse(text: str) -> list[Any]:
    pieces: list[Any] = []
    position, trim = 0, False
    for token in TOKEN.finditer(text):
        plain = text[position : token.start()]
        plain = plain.lstrip() if trim else plain
        pieces.append(plain.rstrip() if token[1] else plain)
        pieces.append(("do", token[2]))
        position, trim = token.end(), bool(token[3])
    pieces.append(text[position:].lstrip() if trim else text[position:])
    rest = iter(pieces)
    tree, closed = _block(rest)
    if closed is not None:
        raise ValueError(f"{closed} without a beginning")
    return tree


def _block(rest: Iterator[Any]) -> tuple[list[Any], str | None]:
    tree: list[Any] = []
    for piece in rest:
        if isinstance(piece, str):
            tree.append(piece)
            continue
        word, _, argument = piece[1].partition(" ")
        if word in ("end", "else"):
            return tree, word
        if word in ("if", "range", "define"):
            body, closed = _block(rest)
            other: list[Any] = []
            if closed == "else":
                other, closed = _block(rest)
            if closed != "end":
                raise ValueError(f"{piece[1]} has no end")
            tree.append((word, argument, body, other))
        else:
            tree.append(piece)
    return tree, None


def _write(tree: list[Any], scope: Any, named: dict[str, list[Any]]) -> str:
    written = []
    for piece in tree:
        if isinstance(piece, str):
            written.append(piece)
        elif piece[0] == "do":
            value = _evaluate(piece[1], scope, named)
            written.append(value if isinstance(value, str) else json.dumps(value))
        elif piece[0] == "define":
            named[json.loads(piece[1])] = piece[2]
        elif piece[0] == "if":
            written.append(_write(piece[2] if _evaluate(piece[1], scope, named) else piece[3], scope, named))
        else:
            written += [_write(piece[2], item, named) for item in _evaluate(piece[1], scope, named)]
    return "".join(written)


def _evaluate(expression: str, scope: Any, named: dict[str, list[Any]]) -> Any:
    functions: dict[str, Callable[..., Any]] = {
        "include": lambda template, of: _write(named[template], of, named),
        "toYaml": lambda value: yaml.safe_dump(value, sort_keys=True, default_flow_style=False).rstrip("\n"),
        "nindent": lambda spaces, text: "\n" + "\n".join(" " * spaces + line for line in text.split("\n")),
        "quote": lambda value: json.dumps(str(value)),
        "default": lambda other, value: value or other,
        "not": lambda value: not value,
        "ne": lambda left, right: left != right,
        "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    }
    piped: list[Any] = []
    for command in expression.split("|"):
        first, *words = WORD.findall(command)
        arguments = [_value(word, scope) for word in words] + piped
        if first in functions:
            piped = [functions[first](*arguments)]
        elif arguments:
            raise ValueError(f"{expression}: {first} is not known here")
        else:
            piped = [_value(first, scope)]
    return piped[0]


def _value(word: str, scope: Any) -> Any:
    if word.startswith('"') or word.isdigit():
        return json.loads(word)
    if not word.startswith("."):
        raise ValueError(f"{word} is not known here")
    value = scope
    for part in word[1:].split(".") if word != "." else []:
        value = value[part]
    return value
