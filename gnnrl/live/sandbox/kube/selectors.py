"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.label_selectors import parse_label_selector
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["Selector", "label_selector", "selector_of"]

Selector = Callable[[Mapping[str, Any]], bool]
"""Whether an object is selected."""

EVERY_FIELD = ("metadata.name", "metadata.namespace")
FIELDS = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase"),
    "events": (
        "involvedObject.apiVersion", "involvedObject.fieldPath", "involvedObject.kind", "involvedObject.name",
        "involvedObject.namespace", "involvedObject.resourceVersion", "involvedObject.uid", "reason",
        "reportingComponent", "source", "type",
    ),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "replicasets": ("status.replicas",),
}  # fmt: skip
"""Fields that each kind can be selected by, as in the API server; the others are refused."""

REGARDING = re.compile(r"^regarding\.")
TERM = re.compile(r"(?:[^\\,]|\\.?)*", re.DOTALL)
OPERATOR = re.compile(r"!=|==|=")
ESCAPED = re.compile(r"\\([\\,=])")


def selector_of(kind: ResourceType, labels: str, fields: str) -> Selector | None:
    """Both selectors of a request as one predicate; None = everything.

    Raises:
        ApiError: 400, a selector cannot be parsed, or a field is not selectable.
    """
    tests: list[Selector] = []
    if labels:
        tests += [label_selector(labels)] if labels.strip() else []
    if fields:
        tests.append(_field_selector(kind, fields))
    if not tests:
        return None
    return lambda item: all(test(item) for test in tests)


def label_selector(text: str) -> Selector:
    """A label selector as a predicate on objects.

    Raises:
        ApiError: 400, it cannot be parsed.
    """
    try:
        requirements = parse_label_selector(text)
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    return lambda item: all(holds(item["metadata"].get("labels") or {}) for holds in requirements)


def _field_selector(kind: ResourceType, text: str) -> Selector:
    terms: list[tuple[list[str], str, bool]] = []
    for part in filter(None, _terms(text)):
        found = OPERATOR.search(part)
        if found is None:
            raise ApiError(400, f"invalid selector: '{text}'; can't understand '{part}'")
        field, value = part[: found.start()], _unescaped(part[found.end() :])
        if not field and not value:  # as good as no term
            continue
        # events.k8s.io names the object otherwise; it is stored as v1 has it.
        stored = REGARDING.sub("involvedObject.", field) if kind.group == "events.k8s.io" else field
        if stored not in EVERY_FIELD and stored not in FIELDS.get(kind.storage, ()):
            raise ApiError(400, f"field label not supported: {field}")
        terms.append((stored.split("."), value, found[0] != "!="))

    def matches(item: Mapping[str, Any]) -> bool:
        return all((_text_at(item, path) == value) is equal for path, value, equal in terms)

    return matches


def _terms(text: str) -> list[str]:
    """Split at commas that no backslash escapes."""
    terms, place = [], 0
    while place <= len(text):
        found = TERM.match(text, place)
        assert found is not None
        terms.append(found[0])
        place = found.end() + 1
    return terms


def _unescaped(value: str) -> str:
    rest = ESCAPED.sub("", value)
    if "\\" in rest:
        raise ApiError(400, "invalid field selector: invalid escape sequence: \\")
    if rune := next((each for each in rest if each in ",="), ""):
        raise ApiError(400, f"invalid field selector: unescaped character in value: {rune}")
    return ESCAPED.sub(r"\1", value)


def _text_at(item: Any, path: list[str]) -> str:
    for key in path:
        item = item.get(key) if isinstance(item, Mapping) else None
    if isinstance(item, Mapping):  # the field `source` of an event means its component
        item = item.get("component")
    return "" if item is None else str(item)
