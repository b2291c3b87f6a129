"""Objects in Kubernetes' protobuf encoding, which kubectl and controllers written in Go send and ask for.

Field numbers: `api_types.json`; the envelope: k8s.io/apimachinery, runtime/serializer/protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.api_types import LIST, MAP, fields_of

__all__ = ["MEDIA_TYPE", "decode", "encode", "encode_list", "watch_event"]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NANOSECONDS = 1_000_000_000


def decode(body: bytes, struct: str) -> dict[str, Any]:
    """The object as its JSON would be, kind and apiVersion included.

    Raises:
        ApiError: 400, it is no such body.
    """
    if not body.startswith(MAGIC):
        raise ApiError(400, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = dict(_fields(body[len(MAGIC) :]))
        head = dict(_fields(envelope.get(1, b"")))
        names = {"apiVersion": head.get(1, b"").decode(), "kind": head.get(2, b"").decode()}
        return {**{key: value for key, value in names.items() if value}, **_read(envelope.get(2, b""), struct)}
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ApiError(400, f"the body cannot be decoded as protobuf: {type(error).__name__}") from error


def encode(content: Mapping[str, Any], struct: str, kind: str, api_version: str) -> bytes:
    """An object in its envelope."""
    head = _bytes(1, api_version.encode()) + _bytes(2, kind.encode())
    return MAGIC + _bytes(1, head) + _bytes(2, _write(content, struct))


def encode_list(head: Mapping[str, Any], items: Sequence[Mapping[str, Any]], struct: str) -> bytes:
    """A list in its envelope: metadata is field 1 and items are field 2 of each."""
    listed = _bytes(1, _write(head["metadata"], "meta.v1.ListMeta"))
    listed += b"".join(_bytes(2, _write(item, struct)) for item in items)
    named = _bytes(1, head["apiVersion"].encode()) + _bytes(2, head["kind"].encode())
    return MAGIC + _bytes(1, named) + _bytes(2, listed)


def watch_event(name: str, whole: bytes) -> bytes:
    """A frame of a watch: its length, then a `WatchEvent` around the object's envelope."""
    event = _bytes(1, name.encode()) + _bytes(2, _bytes(1, whole))
    return len(event).to_bytes(4, "big") + event


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


def _read(data: bytes, struct: str) -> dict[str, Any]:
    """A message's fields by their names in JSON."""
    fields = {field.numbers: (name, field.type) for name, field in fields_of(struct).items()}
    outer = {numbers[0] for numbers in fields if len(numbers) > 1}
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        parts = (
            [((number, deeper), item) for deeper, item in _fields(value)] if number in outer else [((number,), value)]
        )
        for numbers, part in parts:
            if numbers in fields:
                name, type_ = fields[numbers]
                _add(found, name, type_, part)
    return found


def _add(found: dict[str, Any], name: str, type_: str, value: Any) -> None:
    if type_.startswith(MAP):
        entry = dict(_fields(value))
        found.setdefault(name, {})[entry.get(1, b"").decode()] = _value(entry.get(2, b""), type_[len(MAP) :])
    elif type_.startswith(LIST):
        found.setdefault(name, []).append(_value(value, type_[len(LIST) :]))
    elif value != b"" or type_ not in ("string", "bytes"):  # Go writes empty strings out; JSON leaves them away
        found[name] = _value(value, type_)


def _value(value: Any, type_: str) -> Any:
    if type_ in ("string", "bytes"):
        return value.decode()
    if type_ == "bool":
        return bool(value)
    if type_ in ("int32", "int64"):
        return value - 2**64 if value >= 2**63 else int(value)
    if type_ in ("time", "microTime"):
        parts = dict(_fields(value))
        return _moment(parts.get(1, 0), parts.get(2, 0), micro=type_ == "microTime")
    if type_ == "quantity":
        return dict(_fields(value)).get(1, b"0").decode()
    if type_ == "intOrString":
        union = dict(_fields(value))
        return union.get(3, b"").decode() if union.get(1) == 1 else _value(union.get(2, 0), "int32")
    if type_ == "raw":
        return dict(_fields(value)).get(1, b"").decode()
    return _read(value, type_)


def _moment(seconds: int, nanoseconds: int, *, micro: bool) -> str | None:
    if seconds >= 2**63:
        return None  # the year 1: Go's time that is not set
    at = datetime.fromtimestamp(seconds, UTC)
    if not micro:
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{nanoseconds // 1000:06d}Z"


def _number(value: int) -> bytes:
    value %= 2**64
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


def _bytes(number: int, value: bytes) -> bytes:
    return _number(number << 3 | BYTES) + _number(len(value)) + value


def _write(content: Mapping[str, Any], struct: str) -> bytes:
    written = bytearray()
    inner: dict[int, bytes] = {}
    for name, field in fields_of(struct).items():
        value = content.get(name)
        if value is None:
            continue
        encoded = _encoded(field.numbers[-1], value, field.type)
        if len(field.numbers) > 1:
            inner[field.numbers[0]] = inner.get(field.numbers[0], b"") + encoded
        else:
            written += encoded
    for number, value in inner.items():
        written += _bytes(number, value)
    return bytes(written)


def _encoded(number: int, value: Any, type_: str) -> bytes:
    if type_.startswith(MAP):
        inner = type_[len(MAP) :]
        return b"".join(
            _bytes(number, _bytes(1, key.encode()) + _encoded(2, item, inner)) for key, item in value.items()
        )
    if type_.startswith(LIST):
        return b"".join(_encoded(number, item, type_[len(LIST) :]) for item in value)
    if type_ in ("bool", "int32", "int64"):
        return _number(number << 3 | VARINT) + _number(int(value))
    if type_ in ("string", "bytes"):
        return _bytes(number, value.encode())
    if type_ in ("time", "microTime"):
        at = datetime.fromisoformat(value)
        seconds = _number(1 << 3 | VARINT) + _number(int(at.timestamp() // 1))
        return _bytes(number, seconds + _number(2 << 3 | VARINT) + _number(at.microsecond * 1000))
    if type_ in ("quantity", "raw"):
        return _bytes(number, _bytes(1, str(value).encode()))
    if type_ == "intOrString":
        tag = _number(1 << 3 | VARINT) + _number(int(isinstance(value, str)))
        part = _bytes(3, value.encode()) if isinstance(value, str) else _number(2 << 3 | VARINT) + _number(value)
        return _bytes(number, tag + part)
    return _bytes(number, _write(value, type_))
