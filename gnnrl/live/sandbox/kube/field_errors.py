"""What is wrong with the fields of an object, collected: the API server names all of it in one answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError

__all__ = ["FieldErrors"]


class FieldErrors:
    """A list of complaints (k8s.io/apimachinery, pkg/util/validation/field/errors.go)."""

    def __init__(self) -> None:
        self._causes: list[tuple[str, str, str]] = []

    def invalid(self, field: str, value: Any, why: str | Iterable[str]) -> None:
        """A value that is not allowed; one complaint for each reason."""
        for reason in (why,) if isinstance(why, str) else why:
            self._causes.append(("FieldValueInvalid", f"Invalid value: {_spell(value)}: {reason}", field))

    def required(self, field: str, why: str = "") -> None:
        """A value that is missing."""
        self._causes.append(("FieldValueRequired", f"Required value: {why}" if why else "Required value", field))

    def forbidden(self, field: str, why: str) -> None:
        """A value that may not be there."""
        self._causes.append(("FieldValueForbidden", f"Forbidden: {why}", field))

    def unsupported(self, field: str, value: Any, supported: Iterable[str]) -> None:
        """A value that is none of those that are known."""
        known = ", ".join(json.dumps(each) for each in supported)
        self._causes.append(
            ("FieldValueNotSupported", f"Unsupported value: {_spell(value)}: supported values: {known}", field)
        )

    def too_long(self, field: str, most: int) -> None:
        """A value with too many bytes."""
        self._causes.append(("FieldValueTooLong", f"Too long: may not be more than {most} bytes", field))

    def type_invalid(self, field: str, value: Any, why: str) -> None:
        """A value of the wrong type (custom resources)."""
        self._causes.append(("FieldValueTypeInvalid", f"Invalid value: {_spell(value)}: {why}", field))

    def raise_if_any(self, group: str, kind: str, name: str) -> None:
        """Refuse the object.

        Raises:
            ApiError: 422, something is wrong.
        """
        if self._causes:
            raise ApiError.invalid_fields(group, kind, name, self._causes)


def _spell(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)
