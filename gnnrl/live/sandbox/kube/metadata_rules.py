"""What the API server checks of every object's metadata (k8s.io/apimachinery, pkg/api/validation/objectmeta.go)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gnnrl.live.sandbox.kube.field_errors import FieldErrors
from gnnrl.live.sandbox.kube.names import (
    dns_subdomain,
    label_value,
    path_segment,
    path_segment_prefix,
    qualified_name,
)
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["check_label_selector", "check_labels", "check_metadata", "check_metadata_update"]

MOST_ANNOTATION_BYTES = 256 * 1024
FREE_NAMES = (("", "Event"), ("policy", "PodDisruptionBudget"))
"""Kinds whose names need only fit into a path: nothing checks them further."""
OPERATORS_WITH_VALUES, OPERATORS_WITHOUT = ("In", "NotIn"), ("Exists", "DoesNotExist")

Rule = Callable[[str], list[str]]


def check_metadata(kind: ResourceType, metadata: Mapping[str, Any], errors: FieldErrors) -> None:
    """Of an object that is about to be created, its name generated."""
    is_free = (kind.group, kind.kind) in FREE_NAMES
    if prefix := metadata.get("generateName"):
        rule: Rule = path_segment_prefix if is_free else dns_subdomain
        masked = f"{prefix[:-1]}a" if not is_free and prefix.endswith("-") else prefix
        errors.invalid("metadata.generateName", prefix, rule(masked))
    name = metadata.get("name", "")
    if not name:
        errors.required("metadata.name", "name or generateName is required")
    else:
        errors.invalid("metadata.name", name, (path_segment if is_free else dns_subdomain)(name))
    _check_common(metadata, errors)


def check_metadata_update(metadata: Mapping[str, Any], before: Mapping[str, Any], errors: FieldErrors) -> None:
    """Of an object that is about to replace another."""
    for field in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(field) != before.get(field):
            errors.invalid(f"metadata.{field}", metadata.get(field), "field is immutable")
    if before.get("deletionTimestamp"):
        new = sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if new:
            quoted = ", ".join(f'"{each}"' for each in new)
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{quoted}}}"
            errors.forbidden("metadata.finalizers", why)
    _check_common(metadata, errors)


def _check_common(metadata: Mapping[str, Any], errors: FieldErrors) -> None:
    check_labels(metadata.get("labels"), "metadata.labels", errors)
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        errors.invalid("metadata.annotations", key, qualified_name(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MOST_ANNOTATION_BYTES:
        errors.too_long("metadata.annotations", MOST_ANNOTATION_BYTES)
    for place, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                errors.required(f"metadata.ownerReferences[{place}].{field}", "must not be empty")
    for finalizer in metadata.get("finalizers") or ():
        errors.invalid("metadata.finalizers", finalizer, qualified_name(finalizer))


def check_labels(labels: Mapping[str, str] | None, field: str, errors: FieldErrors) -> None:
    """Keys and values of labels."""
    for key, value in (labels or {}).items():
        errors.invalid(field, key, qualified_name(key))
        errors.invalid(field, value, label_value(value))


def check_label_selector(selector: Mapping[str, Any] | None, field: str, errors: FieldErrors) -> None:
    """A `LabelSelector` in an object (k8s.io/apimachinery, pkg/apis/meta/v1/validation)."""
    if selector is None:
        return
    check_labels(selector.get("matchLabels"), f"{field}.matchLabels", errors)
    for place, term in enumerate(selector.get("matchExpressions") or ()):
        where = f"{field}.matchExpressions[{place}]"
        operator, values = term.get("operator", ""), term.get("values") or []
        if operator in OPERATORS_WITH_VALUES and not values:
            errors.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in OPERATORS_WITHOUT and values:
            errors.forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif operator not in (*OPERATORS_WITH_VALUES, *OPERATORS_WITHOUT):
            errors.invalid(f"{where}.operator", operator, "not a valid selector operator")
        errors.invalid(f"{where}.key", term.get("key", ""), qualified_name(term.get("key", "")))
        for number, value in enumerate(values):
            errors.invalid(f"{where}.values[{number}]", value, label_value(value))
