"""What the API server checks of Events (pkg/apis/core/validation/events.go), in the fields in which they are stored, those of v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.field_errors import FieldErrors
from gnnrl.live.sandbox.kube.names import dns_subdomain, qualified_name

__all__ = ["check_event", "check_event_update"]

LONGEST = {"reportingInstance": 128, "action": 128, "reason": 128}
LONGEST_NOTE = 1024
IMMUTABLE = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type", "eventTime", "action",
    "related", "reportingComponent", "reportingInstance",
)  # fmt: skip
FEWEST_IN_A_SERIES = 2


def check_event(event: Mapping[str, Any], errors: FieldErrors, *, is_new_api: bool) -> None:
    """Of an Event that is about to be created; `is_new_api`: through events.k8s.io."""
    _check_always(event, errors)
    if not is_new_api:
        return
    _check_series(event, errors)
    if not event.get("eventTime"):
        errors.required("eventTime")
    if event.get("type") not in ("Normal", "Warning"):
        errors.invalid("type", "", f"has invalid value: {event.get('type', '')}")
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if event.get(field):
            errors.invalid(field, "", "needs to be unset")
    if any((event.get("source") or {}).values()):
        errors.invalid("source", "", "needs to be unset")


def check_event_update(
    event: Mapping[str, Any], before: Mapping[str, Any], errors: FieldErrors, *, is_new_api: bool
) -> None:
    """Of an Event that is about to replace another."""
    _check_always(event, errors)
    if not is_new_api:
        return
    if event.get("series") != before.get("series"):
        _check_series(event, errors)
    for field in IMMUTABLE:
        if (event.get(field) or None) != (before.get(field) or None):
            name = "reportingController" if field == "reportingComponent" else field
            errors.invalid(name, event.get(field), "field is immutable")


def _check_series(event: Mapping[str, Any], errors: FieldErrors) -> None:
    series = event.get("series")
    if series is None:
        return
    if series.get("count", 0) < FEWEST_IN_A_SERIES:
        errors.invalid("series.count", "", f"should be at least {FEWEST_IN_A_SERIES}")
    if not series.get("lastObservedTime"):
        errors.required("series.lastObservedTime")


def _check_always(event: Mapping[str, Any], errors: FieldErrors) -> None:
    namespace = event["metadata"].get("namespace", "")
    about = (event.get("involvedObject") or {}).get("namespace", "")
    has_time = bool(event.get("eventTime"))
    at_home = ("default", "kube-system") if has_time else ("default",)  # Events of cluster-wide objects
    if namespace not in at_home if not about else about != namespace and not has_time:
        errors.invalid("involvedObject.namespace", about, "does not match event.namespace")
    if not has_time:
        return
    controller = event.get("reportingComponent") or ""
    if not controller:
        errors.required("reportingController")
    errors.invalid("reportingController", controller, qualified_name(controller))
    for field, most in LONGEST.items():
        text = event.get(field) or ""
        if not text:
            errors.required(field)
        if len(text.encode()) > most:
            errors.invalid(field, "", f"can have at most {most} characters")
    if len((event.get("message") or "").encode()) > LONGEST_NOTE:
        errors.invalid("message", "", f"can have at most {LONGEST_NOTE} characters")
    errors.invalid("namespace", namespace, dns_subdomain(namespace))
