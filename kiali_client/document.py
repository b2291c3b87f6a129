"""From the body of an answer to a JSON object, whatever the body is: bounded in depth, in numbers and in what errors repeat of it."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Sequence
from typing import Any, NoReturn

from kiali_client.errors import KialiPayloadError
from kiali_client.text import decode_text

__all__ = ["json_kind", "one_line", "read_document", "shown"]

SHOWN_CHARACTERS = 80
LINE_CHARACTERS = 240
TITLE_SEARCHED_CHARACTERS = 4096
"""A title stands at the top of a page; searching a hostile one to its end takes quadratic time."""


def read_document(payload: str | bytes, source: str = "Kiali") -> dict[str, Any]:
    """The JSON object in the body of an answer.

    NaN and Infinity (no JSON, though Python reads them) and objects that name a key twice are refused.

    Args:
        payload: the body.
        source: who answered, for the messages.

    Raises:
        KialiPayloadError: it is empty, cut off, a web page, no JSON or no object.
    """
    document, problem = _parse(payload)
    # Raised here and not where it was found: the exceptions of the parser hold the whole body.
    if problem:
        raise KialiPayloadError(f"{source}'s answer {problem}")
    if not isinstance(document, dict):
        raise KialiPayloadError(f"{source}'s answer is JSON, but {json_kind(document)}, not an object; check the URL")
    return document


def _parse(payload: str | bytes) -> tuple[object, str]:
    """(document, what is wrong with it)."""
    try:
        text = decode_text(payload) if isinstance(payload, bytes) else payload
    except UnicodeDecodeError as error:
        # What is compressed holds bytes of every kind: the first that fits no text says which it is.
        return None, f"is no text: {error.reason}" + ("" if "save it" in error.reason else "; is it compressed?")
    text = text.strip()
    if not text:
        return None, "is empty; fetch it again, and check the proxies in between"
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", text[:TITLE_SEARCHED_CHARACTERS], re.IGNORECASE)
        what = f"a web page ({shown(title[1].strip())})" if title else "a web page"
        return None, (
            f"is {what}, not JSON; check the web root in the URL (<web_root>/api/namespaces/graph) and that the session "
            "is logged in"
        )
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object), ""
    except json.JSONDecodeError as error:
        is_object = text.startswith("{") and error.msg != "Extra data"
        if is_object and (error.pos >= len(text) or not text.endswith("}")):
            return None, f"is cut off after {len(text)} characters ({error.msg}); fetch it again"
        return None, (
            f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}, it starts with "
            f"{shown(text[:SHOWN_CHARACTERS])}; check the URL"
        )
    except RecursionError:
        return None, "is no JSON that a graph can be in: nested too deep; check what answers at this URL"
    except ValueError as error:
        # The two hooks, and Python's own refusal of whole numbers of thousands of digits.
        return None, f"is no JSON that a graph can be in: {error}; check what answers at this URL"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return document


class _Short(reprlib.Repr):
    """`repr` of bounded length and depth."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxdict = self.maxlist = self.maxtuple = 3
        self.maxstring = self.maxother = SHOWN_CHARACTERS

    def repr_int(self, x: int, level: int) -> str:
        # Python does not write out whole numbers of thousands of digits.
        return super().repr_int(x, level) if x.bit_length() < 256 else f"a whole number of {x.bit_length()} bits"


def shown(value: object) -> str:
    """`value` as an error message repeats it: `repr`, cut short."""
    return _Short().repr(value)


def one_line(value: object) -> str:
    """A text of the server as a message repeats it: without quotes, on one line, cut short."""
    text = " ".join(value[: 2 * LINE_CHARACTERS].split()) if isinstance(value, str) else shown(value)
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= LINE_CHARACTERS else f"{text[:LINE_CHARACTERS]}..."


def json_kind(value: object) -> str:
    """What a JSON value is, in words."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
