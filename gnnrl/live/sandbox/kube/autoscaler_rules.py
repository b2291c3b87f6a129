"""What the API server checks of a HorizontalPodAutoscaler (pkg/apis/autoscaling/validation), in the fields of autoscaling/v2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.field_errors import FieldErrors
from gnnrl.live.sandbox.kube.names import path_segment

__all__ = ["check_autoscaler"]

SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
"""Type of a metric -> its field."""
TARGET_TYPES = ("Utilization", "Value", "AverageValue")
POLICY_TYPES = ("Percent", "Pods")
SELECT_POLICIES = ("Disabled", "Max", "Min")
LONGEST_STABILIZATION_SECONDS = 3600
LONGEST_PERIOD_SECONDS = 1800


def check_autoscaler(spec: Mapping[str, Any], errors: FieldErrors) -> None:
    """Of its spec, defaults filled in."""
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if least < 1:
        errors.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        errors.invalid("spec.maxReplicas", most, "must be greater than 0")
    if most < least:
        errors.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    _check_reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", errors)
    for place, metric in enumerate(spec.get("metrics") or ()):
        _check_metric(metric, f"spec.metrics[{place}]", errors)
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            _check_rules(rules, f"spec.behavior.{direction}", errors)


def _check_reference(target: Mapping[str, Any], where: str, errors: FieldErrors) -> None:
    for field in ("kind", "name"):
        if not target.get(field):
            errors.required(f"{where}.{field}")
        else:
            errors.invalid(f"{where}.{field}", target[field], path_segment(target[field]))


def _check_metric(metric: Mapping[str, Any], where: str, errors: FieldErrors) -> None:
    kind = metric.get("type", "")
    if not kind:
        errors.required(f"{where}.type", "must specify a metric source type")
    if kind not in SOURCES:
        errors.unsupported(f"{where}.type", kind, SOURCES)
        return
    wanted = SOURCES[kind]
    source = metric.get(wanted)
    if source is None:
        errors.required(f"{where}.{wanted}", "must populate information for the given metric source")
    for other in SOURCES.values():
        if other != wanted and metric.get(other) is not None:
            errors.forbidden(f"{where}.{other}", "must populate the given metric source only")
    if source is None:
        return
    if wanted in ("resource", "containerResource") and not source.get("name"):
        errors.required(f"{where}.{wanted}.name", "must specify a resource name")
    if wanted == "containerResource" and not source.get("container"):
        errors.required(f"{where}.{wanted}.container", "must specify a container")
    if wanted in ("object", "pods", "external") and not (source.get("metric") or {}).get("name"):
        errors.required(f"{where}.{wanted}.metric.name", "must specify a metric name")
    if wanted == "object":
        _check_reference(source.get("describedObject") or {}, f"{where}.object.describedObject", errors)
    _check_target(wanted, source.get("target") or {}, f"{where}.{wanted}.target", errors)


def _check_target(source: str, target: Mapping[str, Any], where: str, errors: FieldErrors) -> None:
    kind = target.get("type", "")
    if not kind:
        errors.required(f"{where}.type", "must specify a metric target type")
    if kind not in TARGET_TYPES:
        errors.invalid(f"{where}.type", kind, "must be either Utilization, Value, or AverageValue")
    utilization, value = target.get("averageUtilization"), target.get("averageValue")
    if utilization is not None and utilization < 1:
        errors.invalid(f"{where}.averageUtilization", utilization, "must be greater than 0")
    if source in ("resource", "containerResource"):
        if utilization is None and value is None:
            why = "must set either a target raw value or a target utilization"
            errors.required(f"{where}.averageUtilization", why)
        if utilization is not None and value is not None:
            errors.forbidden(f"{where}.averageValue", "may not set both a target raw value and a target utilization")
    elif value is None and (source == "pods" or target.get("value") is None):
        errors.required(f"{where}.averageValue", "must set either a target value or averageValue")


def _check_rules(rules: Mapping[str, Any], where: str, errors: FieldErrors) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        errors.invalid(f"{where}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window is not None and window > LONGEST_STABILIZATION_SECONDS:
        why = f"must be less than or equal to {LONGEST_STABILIZATION_SECONDS}"
        errors.invalid(f"{where}.stabilizationWindowSeconds", window, why)
    if rules.get("selectPolicy") is not None and rules["selectPolicy"] not in SELECT_POLICIES:
        errors.unsupported(f"{where}.selectPolicy", rules["selectPolicy"], SELECT_POLICIES)
    for place, policy in enumerate(rules.get("policies") or ()):
        at = f"{where}.policies[{place}]"
        if policy.get("type", "") not in POLICY_TYPES:
            errors.unsupported(f"{at}.type", policy.get("type", ""), POLICY_TYPES)
        for field in ("value", "periodSeconds"):
            if policy.get(field, 0) <= 0:
                errors.invalid(f"{at}.{field}", policy.get(field, 0), "must be greater than zero")
        if policy.get("periodSeconds", 0) > LONGEST_PERIOD_SECONDS:
            why = f"must be less than or equal to {LONGEST_PERIOD_SECONDS}"
            errors.invalid(f"{at}.periodSeconds", policy["periodSeconds"], why)
