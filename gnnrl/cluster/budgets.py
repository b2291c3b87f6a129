"""What a namespace holds its pods to: PodDisruptionBudgets from below, ResourceQuotas from above."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gnnrl.cluster.errors import ClusterAnswerError
from gnnrl.cluster.findings import Findings
from gnnrl.cluster.models import DeploymentState, Quota
from gnnrl.cluster.objects import INT32_MOST, Object, children, mapping, strings
from gnnrl.cluster.quantity import QuantityError, count, cpu_millicores, memory_mib

__all__ = ["fewest_pods", "headroom"]

PERCENT = re.compile(r"([0-9]{1,3})%", re.ASCII)
OTHER_PODS = {"Terminating", "BestEffort"}
"""Scopes of quotas that do not count the pods of a Deployment with resource requests."""

QUOTA_FIELDS: Mapping[str, tuple[str, Callable[[Any], float]]] = {
    "pods": ("pods", count),
    "count/pods": ("pods", count),
    "cpu": ("cpu_request_millicores", cpu_millicores),
    "requests.cpu": ("cpu_request_millicores", cpu_millicores),
    "limits.cpu": ("cpu_limit_millicores", cpu_millicores),
    "memory": ("memory_request_mib", memory_mib),
    "requests.memory": ("memory_request_mib", memory_mib),
    "limits.memory": ("memory_limit_mib", memory_mib),
}


def fewest_pods(
    budgets: Iterable[Object], deployments: Sequence[DeploymentState], findings: Findings
) -> dict[str, int]:
    """Pods that PodDisruptionBudgets want at least, by Deployment; those without a budget are left out.

    As the disruption controller counts: percentages and `maxUnavailable` are of the replicas that are desired now, rounded
    up. A budget over several Deployments is shared out by their replicas, rounded up, so that it holds however many of
    them are lowered at once. Several budgets on one Deployment: the largest.
    """
    fewest: dict[str, int] = {}
    for budget in budgets:
        try:
            spec = mapping(budget, "spec")
            covered = [each for each in deployments if _selects(spec, each.labels)]
            expected = sum(each.desired for each in covered)
            wanted = _wanted(spec, expected)
        except ClusterAnswerError as error:
            findings.add("budgets", f"a PodDisruptionBudget cannot be understood: {error}")
            continue
        for each in covered:
            share = -(-wanted * each.desired // expected) if expected else 0
            fewest[each.name] = max(fewest.get(each.name, 0), share)
    return fewest


def headroom(quotas: Iterable[Object], findings: Findings) -> Quota:
    """What the ResourceQuotas still allow: the least of all, never below 0."""
    left: dict[str, float] = {}
    for quota in quotas:
        try:
            spec, status = mapping(quota, "spec"), mapping(quota, "status")
            if OTHER_PODS & set(_scopes(spec)):
                continue
            hard, used = mapping(status, "hard") or mapping(spec, "hard"), mapping(status, "used")
            for key, (field, parse) in QUOTA_FIELDS.items():
                if key in hard:
                    free = max(0.0, parse(hard[key]) - parse(used.get(key, "0")))
                    left[field] = min(left.get(field, free), free)
        except (ClusterAnswerError, QuantityError) as error:
            findings.add("quota", f"a ResourceQuota cannot be understood: {error}")
    pods = left.pop("pods", None)
    return Quota(pods=None if pods is None else int(pods), **left)


def _scopes(spec: Object) -> list[str]:
    scopes = spec.get("scopes")
    named = [scope for scope in scopes if isinstance(scope, str)] if isinstance(scopes, list) else []
    selected = children(mapping(spec, "scopeSelector"), "matchExpressions")
    return named + [str(each.get("scopeName")) for each in selected if each.get("operator") in ("Exists", None)]


def _wanted(spec: Object, expected: int) -> int:
    if spec.get("maxUnavailable") is not None:
        return max(0, expected - _pods(spec["maxUnavailable"], expected))
    return _pods(spec["minAvailable"], expected) if spec.get("minAvailable") is not None else 0


def _pods(value: object, expected: int) -> int:
    """A number of pods, or a percentage of those expected."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INT32_MOST:
        return value
    match = PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ClusterAnswerError(f"{value!r} is neither a number of pods nor a percentage like 50%")
    return -(-expected * int(match[1]) // 100)


def _selects(spec: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything, a missing one nothing (policy/v1)."""
    if spec.get("selector") is None:
        return False
    selector = mapping(spec, "selector")
    if any(labels.get(key) != value for key, value in strings(selector, "matchLabels").items()):
        return False
    return all(_holds(each, labels) for each in children(selector, "matchExpressions"))


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression.get("key"), expression.get("operator"), expression.get("values") or []
    if not isinstance(key, str) or not isinstance(values, list):
        raise ClusterAnswerError(f"a label expression without a key or with values {values!r}")
    match operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ClusterAnswerError(f"label operator {operator!r}; known are In, NotIn, Exists, DoesNotExist")
