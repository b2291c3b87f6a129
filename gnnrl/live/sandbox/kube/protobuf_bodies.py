"""Bodies in Kubernetes' protobuf encoding, which kubectl sends for the few kinds that it creates itself.

Field numbers: `generated.proto` of k8s.io/api and k8s.io/apimachinery; the envelope: k8s.io/apimachinery, runtime/serializer/protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError

__all__ = ["MEDIA_TYPE", "decode"]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Text:
    """A string; with `field`, that of a message which stands for one (a quantity)."""

    field: int = 0


@dataclass(frozen=True)
class Message:
    """A message by field number: name and form. A name of several letters is a key of the JSON object."""

    fields: Mapping[int, tuple[str, Any]]


@dataclass(frozen=True)
class MapOf:
    """A map from strings."""

    value: Text


@dataclass(frozen=True)
class IntOrString:
    """A number or a text."""


LABELS = MapOf(Text())
METADATA = Message({1: ("name", Text()), 2: ("generateName", Text()), 3: ("namespace", Text()), 11: ("labels", LABELS)})
RESOURCE_ATTRIBUTES = Message(
    {
        number: (name, Text())
        for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
    }
)
PATH_ATTRIBUTES = Message({1: ("path", Text()), 2: ("verb", Text())})
SPECS: dict[str, Message] = {
    "SelfSubjectAccessReview": Message(
        {1: ("resourceAttributes", RESOURCE_ATTRIBUTES), 2: ("nonResourceAttributes", PATH_ATTRIBUTES)}
    ),
    "SelfSubjectRulesReview": Message({1: ("namespace", Text())}),
    "ResourceQuota": Message({1: ("hard", MapOf(Text(field=1)))}),
    "PodDisruptionBudget": Message(
        {
            1: ("minAvailable", IntOrString()),
            2: ("selector", Message({1: ("matchLabels", LABELS)})),
            3: ("maxUnavailable", IntOrString()),
        }
    ),
}
"""The specs that can be read, by kind; metadata is field 1 and spec field 2 of each."""


def decode(body: bytes) -> dict[str, Any]:
    """The object as its JSON would be, as far as its kind is known here.

    Raises:
        ApiError: 400, it is no such body; 415, a kind that is taken as JSON only.
    """
    if not body.startswith(MAGIC):
        raise ApiError(400, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        type_meta = Message({1: ("apiVersion", Text()), 2: ("kind", Text())})
        envelope = dict(_fields(body[len(MAGIC) :]))
        head = _read(envelope[1], type_meta)
        kind = head.get("kind", "")
        if kind not in SPECS:
            raise ApiError(415, f"the sandbox takes a {kind} as JSON only: kubectl create -f sends that")
        whole = Message({1: ("metadata", METADATA), 2: ("spec", SPECS[kind])})
        return {**head, "metadata": {}, **_read(envelope.get(2, b""), whole)}
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ApiError(400, f"the body cannot be decoded as protobuf: {type(error).__name__}") from error


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) in order."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if wire == BYTES:
            size, position = _varint(data, position)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if position + size > len(data):
            raise ValueError("the message ends early")
        yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number is too long")


def _read(data: bytes, form: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in form.fields:
            continue
        name, part = form.fields[number]
        if isinstance(part, MapOf):
            entry = dict(_fields(value))
            found.setdefault(name, {})[_text(entry[1], Text())] = _text(entry.get(2, b""), part.value)
        elif isinstance(part, Message):
            found[name] = _read(value, part)
        elif isinstance(part, IntOrString):
            union = dict(_fields(value))
            found[name] = union.get(3, b"").decode() if union.get(1) == 1 else union.get(2, 0)
        elif value:  # Go writes empty strings out; JSON leaves them away
            found[name] = _text(value, part)
    return found


def _text(value: bytes, form: Text) -> str:
    return (dict(_fields(value))[form.field] if form.field else value).decode()
