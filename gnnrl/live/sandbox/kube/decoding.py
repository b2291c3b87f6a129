"""JSON values as the API server's decoder reads them into the fields of its types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gnnrl.live.sandbox.kube.api_types import LIST, MAP, fields_of
from gnnrl.live.sandbox.kube.json_text import JsonObject

__all__ = ["DecodeError", "Decoder"]

TIME = re.compile(r"(\d{4}-\d\d-\d\dT)(\d{1,2}):(\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
"""As Go's time.Parse takes RFC 3339: any fraction, an hour of one digit."""
MICRO_DIGITS = 6
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?", re.ASCII)
QUANTITY_FORM = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
BITS = {"int32": 32, "int64": 64}


class DecodeError(Exception):
    """A value does not fit the type of its field.

    Args:
        text: the decoder's.
        path: of the field.
    """

    def __init__(self, text: str, path: str = "") -> None:
        self.path = path
        super().__init__(text)


@dataclass
class Decoder:
    """Reads one body.

    There are two ways in the API server: from text (create, update, JSON patch, merge patch), where a number for an integer has
    neither a point nor too many digits; and from a map (strategic merge patch), where 2.0 is 2 and what is beyond the bits wraps around.
    What is null is absent, and what the type does not know is left out.

    Args:
        from_map: the second way.
    """

    from_map: bool = False
    complaints: list[str] = field(default_factory=list)
    """What a strict reader refuses: fields that are unknown or stand there twice."""

    def object(self, struct: str, value: Any, path: str = "") -> dict[str, Any]:
        """A struct's fields.

        Raises:
            DecodeError: it is no object, or a value in it does not fit.
        """
        fields = fields_of(struct)
        name = struct.rpartition(".")[2]
        if not isinstance(value, Mapping):
            raise self._misfit(value, name, path, f"v1.{name}")
        found: dict[str, Any] = {}
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            if key in fields:
                read = None if item is None else self._value(fields[key].type, item, name, where)
                if read is not None:
                    found[key] = read
            elif path or key not in ("kind", "apiVersion"):
                self.complaints.append(f'unknown field "{where}"')
        self._note_duplicates(value, path)
        return found

    def _note_duplicates(self, value: Any, path: str) -> None:
        for key in getattr(value, "duplicates", ()) if isinstance(value, JsonObject) else ():
            self.complaints.append(f'duplicate field "{path}.{key}"' if path else f'duplicate field "{key}"')

    def _value(self, type_: str, value: Any, struct: str, path: str) -> Any:
        if type_.startswith(LIST):
            if not isinstance(value, list):
                raise self._misfit(value, struct, path, f"[]{type_[len(LIST) :].rpartition('.')[2]}")
            inner = type_[len(LIST) :]
            items = enumerate(value)
            return [
                self._zero(inner) if item is None else self._value(inner, item, struct, f"{path}[{at}]")
                for at, item in items
            ]
        if type_.startswith(MAP):
            if not isinstance(value, Mapping):
                raise self._misfit(value, struct, path, "map[string]string")
            inner = type_[len(MAP) :]
            self._note_duplicates(value, path)
            return {
                key: self._zero(inner) if item is None else self._value(inner, item, struct, path)
                for key, item in value.items()
            }
        if type_ in BITS:
            return self._integer(type_, value, struct, path)
        if type_ in SCALARS:
            return SCALARS[type_](self, value, struct, path)
        return self.object(type_, value, path)

    def _zero(self, type_: str) -> Any:
        """What null is in a list or as a map's value."""
        if type_.startswith(LIST):
            return []
        return {"string": "", "bool": False, "int32": 0, "int64": 0, "quantity": "0", "raw": None}.get(type_, {})

    def _integer(self, type_: str, value: Any, struct: str, path: str) -> int:
        bits = BITS[type_]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.from_map and is_number and int(value) == value and abs(value) < 2.0**63:
            return (int(value) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        if not is_number or isinstance(value, float) or not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise self._misfit(value, struct, path, type_)
        return int(value)

    def _text(self, value: Any, struct: str, path: str) -> str:
        if not isinstance(value, str):
            raise self._misfit(value, struct, path, "string")
        return value

    def _bool(self, value: Any, struct: str, path: str) -> bool:
        if not isinstance(value, bool):
            raise self._misfit(value, struct, path, "bool")
        return value

    def _time(self, value: Any, struct: str, path: str) -> str | None:
        return self._moment(value, struct, path, None)

    def _micro_time(self, value: Any, struct: str, path: str) -> str | None:
        return self._moment(value, struct, path, MICRO_DIGITS)

    def _moment(self, value: Any, struct: str, path: str, digits: int | None) -> str | None:
        """A time as the API server writes it back; the first moment of Go's calendar is none."""
        text = self._text(value, struct, path)
        layout = f"2006-01-02T15:04:05{'.' + '0' * digits if digits else ''}Z07:00"
        found = TIME.fullmatch(text)
        if found is None or (digits is not None and len(found[4] or "") != digits):
            raise DecodeError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as that', path)
        day, hour, rest, fraction, zone = found.groups()
        try:
            at = datetime.fromisoformat(f"{day}{int(hour):02d}:{rest}{zone}").astimezone(UTC)
        except (ValueError, OverflowError) as error:  # the 31st of February
            raise DecodeError(f'parsing time "{text}": {error}', path) from error
        written = at.strftime("%Y-%m-%dT%H:%M:%S")
        if at.year == 1 and not int(fraction or 0) and written.endswith("-01-01T00:00:00"):
            return None
        return f"{at.year:04d}{written[written.index('-') :]}{'.' + fraction if digits else ''}Z"

    def _quantity(self, value: Any, struct: str, path: str) -> str:  # noqa: ARG002 (one signature for all)
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not QUANTITY.fullmatch(text):
            raise DecodeError(QUANTITY_FORM, path)
        return text

    def _int_or_string(self, value: Any, struct: str, path: str) -> int | str:
        if isinstance(value, str):
            return value
        if self.from_map and isinstance(value, float) and value.is_integer():
            value = int(value)  # it goes through text, which writes 2.0 as 2
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
            raise self._misfit(value, struct, path, "int32")
        return value

    def _raw(self, value: Any, struct: str, path: str) -> Any:  # noqa: ARG002
        return value

    def _misfit(self, value: Any, struct: str, path: str, type_: str) -> DecodeError:
        if self.from_map:
            return DecodeError(f"{path}: cannot convert {_spell(value)} to {type_}", path)
        where = f"Go struct field {struct}.{path}" if path else "Go value"
        return DecodeError(f"json: cannot unmarshal {_spell(value)} into {where} of type {type_}", path)


SCALARS: Mapping[str, Callable[[Decoder, Any, str, str], Any]] = {
    "string": Decoder._text,
    "bytes": Decoder._text,
    "bool": Decoder._bool,
    "time": Decoder._time,
    "microTime": Decoder._micro_time,
    "quantity": Decoder._quantity,
    "intOrString": Decoder._int_or_string,
    "raw": Decoder._raw,
}


def _spell(value: Any) -> str:
    """A value in the decoder's words."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
