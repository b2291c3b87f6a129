"""What the API server checks of an object before it keeps it, by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gnnrl.live.sandbox.kube.autoscaler_rules import check_autoscaler
from gnnrl.live.sandbox.kube.event_rules import check_event, check_event_update
from gnnrl.live.sandbox.kube.field_errors import FieldErrors
from gnnrl.live.sandbox.kube.metadata_rules import check_label_selector, check_metadata, check_metadata_update
from gnnrl.live.sandbox.kube.names import percent, qualified_name
from gnnrl.live.sandbox.kube.notation import quantity_value
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["check_new", "check_update"]

MOST_PERCENT = 100
LEASE_STRATEGIES = ("OldestEmulationVersion",)
EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
COUNTED = (
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
)  # fmt: skip
MEASURED = ("cpu", "memory", "ephemeral-storage")
QUOTA_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
QUOTAS = (
    *COUNTED, *MEASURED, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in MEASURED), "requests.storage",
)  # fmt: skip
HUGE_PAGES = ("hugepages-", "requests.hugepages-")

Content = Mapping[str, Any]


def check_new(kind: ResourceType, content: Content) -> None:
    """Check an object that is about to be created, in the fields in which it is stored.

    Raises:
        ApiError: 422, values are not allowed.
    """
    errors = FieldErrors()
    if kind.kind == "Event":
        check_event(content, errors, is_new_api=bool(kind.group))
    check_metadata(kind, content["metadata"], errors)
    _check_spec(kind, content, errors)
    errors.raise_if_any(kind.group, kind.kind, content["metadata"].get("name", ""))


def check_update(kind: ResourceType, content: Content, before: Content) -> None:
    """Check an object that is about to replace another, in the fields in which they are stored.

    Raises:
        ApiError: 422, values are not allowed.
    """
    errors = FieldErrors()
    check_metadata_update(content["metadata"], before["metadata"], errors)
    if kind.kind == "Event":
        check_event_update(content, before, errors, is_new_api=bool(kind.group))
    if kind.kind == "ResourceQuota" and set(_spec(content).get("scopes") or ()) != set(
        _spec(before).get("scopes") or ()
    ):
        errors.invalid("spec.scopes", _spec(content).get("scopes"), "field is immutable")
    _check_spec(kind, content, errors)
    errors.raise_if_any(kind.group, kind.kind, content["metadata"]["name"])


def _check_spec(kind: ResourceType, content: Content, errors: FieldErrors) -> None:
    check = SPECS.get(kind.kind)
    if check is not None:
        check(_spec(content), errors)


def _spec(content: Content) -> Content:
    return content.get("spec") or {}


def _check_lease(spec: Content, errors: FieldErrors) -> None:
    if spec.get("leaseDurationSeconds", 1) <= 0:
        errors.invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        errors.invalid("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0")
    strategy = spec.get("strategy")
    if strategy is not None:
        if "/" in strategy:
            errors.invalid("spec.strategy.strategy", strategy, qualified_name(strategy))
        elif strategy not in LEASE_STRATEGIES:
            errors.unsupported("spec.strategy.strategy", strategy, LEASE_STRATEGIES)
    if spec.get("preferredHolder") and not strategy:
        errors.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined")


def _check_budget(spec: Content, errors: FieldErrors) -> None:
    if "minAvailable" in spec and "maxUnavailable" in spec:
        errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field)
        if isinstance(value, int) and value < 0:
            errors.invalid(f"spec.{field}", value, "must be greater than or equal to 0")
        if isinstance(value, str):
            wrong = percent(value)
            errors.invalid(f"spec.{field}", value, wrong)
            if not wrong and int(value[:-1]) > MOST_PERCENT:
                errors.invalid(f"spec.{field}", value, f"must not be greater than {MOST_PERCENT}%")
    check_label_selector(spec.get("selector"), "spec.selector", errors)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        errors.unsupported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES)


def _check_quota(spec: Content, errors: FieldErrors) -> None:
    for name, text in (spec.get("hard") or {}).items():
        where = f"spec.hard[{name}]"
        errors.invalid(where, name, qualified_name(name))
        if "/" not in name and name not in QUOTAS and not name.startswith(HUGE_PAGES):
            errors.invalid(where, name, "must be a standard resource for quota")
        value = quantity_value(text)
        if value < 0:
            errors.invalid(where, text, "must be greater than or equal to 0")
        if name in COUNTED and value != value.to_integral_value():
            errors.invalid(where, text, "must be an integer")
    for scope in spec.get("scopes") or ():
        if scope not in QUOTA_SCOPES:
            errors.invalid("spec.scopes", spec["scopes"], "unsupported scope")


def _check_scaled_object(spec: Content, errors: FieldErrors) -> None:
    if not (spec.get("scaleTargetRef") or {}).get("name"):
        errors.required("spec.scaleTargetRef.name")
    if "triggers" not in spec:
        errors.required("spec.triggers")


SPECS: Mapping[str, Callable[[Content, FieldErrors], None]] = {
    "HorizontalPodAutoscaler": check_autoscaler,
    "Lease": _check_lease,
    "PodDisruptionBudget": _check_budget,
    "ResourceQuota": _check_quota,
    "ScaledObject": _check_scaled_object,
}
