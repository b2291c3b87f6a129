"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError
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
SET_BASED = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
KEY = re.compile(r"^([a-z0-9A-Z][-a-z0-9A-Z.]*/)?[a-z0-9A-Z]([-\w.]*[a-z0-9A-Z])?$")


def selector_of(kind: ResourceType, labels: str, fields: str) -> Selector | None:
    """Both selectors of a request as one predicate; None = everything.

    Raises:
        ApiError: 400, a selector cannot be parsed, or a field is not selectable.
    """
    tests = []
    if labels.strip():
        tests.append(label_selector(labels))
    if fields.strip():
        tests.append(_field_selector(kind, labels, fields))
    if not tests:
        return None
    return lambda item: all(test(item) for test in tests)


def label_selector(text: str) -> Selector:
    """Equality and set-based requirements, joined by commas: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

    Raises:
        ApiError: 400, it cannot be parsed.
    """
    requirements = [_requirement(part.strip(), text) for part in re.split(r",(?![^(]*\))", text)]

    def matches(item: Mapping[str, Any]) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(requirement(labels) for requirement in requirements)

    return matches


def _requirement(part: str, text: str) -> Callable[[Mapping[str, str]], bool]:
    if found := SET_BASED.match(part):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        wanted = found["op"] == "in"
        _check_key(key, text)
        # `notin` also selects objects without the label, as the API server does.
        return lambda labels: (labels.get(key) in values) if wanted else (labels.get(key) not in values)
    for operator, equal in (("!=", False), ("==", True), ("=", True)):
        if operator in part:
            key, value = (side.strip() for side in part.split(operator, 1))
            _check_key(key, text)
            return lambda labels: (labels.get(key) == value) is equal
    present = not part.startswith("!")
    key = part.removeprefix("!").strip()
    _check_key(key, text)
    return lambda labels: (key in labels) is present


def _check_key(key: str, text: str) -> None:
    if not KEY.match(key):
        raise ApiError(400, f"unable to parse requirement: found {key!r} in {text!r}, expected a label key")


def _field_selector(kind: ResourceType, labels: str, text: str) -> Selector:
    terms: list[tuple[list[str], str, bool]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        operator = next((operator for operator in ("!=", "==", "=") if operator in part), None)
        if operator is None:
            raise ApiError(400, f"invalid selector: {part!r}; can't understand {part!r}")
        field, value = part.split(operator, 1)
        # events.k8s.io names the object otherwise; it is stored as v1 has it.
        stored = REGARDING.sub("involvedObject.", field) if kind.group == "events.k8s.io" else field
        if stored not in EVERY_FIELD and stored not in FIELDS.get(kind.storage, ()):
            raise ApiError(
                400,
                f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match label selector "{labels}", '
                f'field selector "{text}": field label not supported: {field}',
            )
        terms.append((stored.split("."), value, operator != "!="))

    def matches(item: Mapping[str, Any]) -> bool:
        return all((_text_at(item, path) == value) is equal for path, value, equal in terms)

    return matches


def _text_at(item: Any, path: list[str]) -> str:
    for key in path:
        item = item.get(key) if isinstance(item, Mapping) else None
    if isinstance(item, Mapping):  # the field `source` of an event means its component
        item = item.get("component")
    return "" if item is None else str(item)
