"""Types of the fields that the sandbox itself looks at, as the API server's decoder demands them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError

__all__ = ["check_field_types"]

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?", re.ASCII)
INTEGER_BITS = 63

Check = Callable[[Any], bool]


def is_map(value: Any) -> bool:
    """An object."""
    return isinstance(value, dict)


def is_text(value: Any) -> bool:
    """A string."""
    return isinstance(value, str)


def is_list(value: Any) -> bool:
    """An array."""
    return isinstance(value, list)


def is_int(value: Any) -> bool:
    """A whole number that a machine has room for."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**INTEGER_BITS


def is_text_map(value: Any) -> bool:
    """An object of strings."""
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def is_quantity_map(value: Any) -> bool:
    """An object of quantities."""
    return isinstance(value, dict) and all(
        is_int(each) or (isinstance(each, str) and QUANTITY.fullmatch(each)) for each in value.values()
    )


def is_pods_or_share(value: Any) -> bool:
    """A number of pods, or a percentage."""
    return (is_int(value) and value >= 0) or (
        isinstance(value, str) and re.fullmatch(r"\d{1,4}%", value, re.ASCII) is not None
    )


def is_time(value: Any) -> bool:
    """RFC 3339."""
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:  # the 31st of February
        return False
    return True


FIELDS: Mapping[str, Mapping[str, Check]] = {
    "": {"spec": is_map, "status": is_map, "metadata.name": is_text, "metadata.generateName": is_text, "metadata.uid": is_text,
         "metadata.resourceVersion": is_text, "metadata.labels": is_text_map, "metadata.annotations": is_text_map},
    "Lease": {"spec.holderIdentity": is_text, "spec.leaseDurationSeconds": is_int, "spec.leaseTransitions": is_int,
              "spec.acquireTime": is_time, "spec.renewTime": is_time},
    "HorizontalPodAutoscaler": {"spec.scaleTargetRef": is_map, "spec.scaleTargetRef.name": is_text,
                                "spec.scaleTargetRef.kind": is_text, "spec.minReplicas": is_int, "spec.maxReplicas": is_int},
    "ScaledObject": {"spec.scaleTargetRef": is_map, "spec.scaleTargetRef.name": is_text, "spec.scaleTargetRef.kind": is_text,
                     "spec.triggers": is_list, "spec.minReplicaCount": is_int, "spec.maxReplicaCount": is_int},
    "PodDisruptionBudget": {"spec.minAvailable": is_pods_or_share, "spec.maxUnavailable": is_pods_or_share,
                            "spec.selector": is_map, "spec.selector.matchLabels": is_text_map},
    "ResourceQuota": {"spec.hard": is_quantity_map},
    "Event": {"involvedObject": is_map, "involvedObject.name": is_text, "involvedObject.kind": is_text,
              "involvedObject.namespace": is_text, "regarding": is_map, "regarding.name": is_text, "regarding.kind": is_text,
              "regarding.namespace": is_text, "reason": is_text, "message": is_text, "note": is_text, "type": is_text,
              "action": is_text, "reportingController": is_text, "reportingComponent": is_text,
              "reportingInstance": is_text, "source": is_map, "source.component": is_text, "source.host": is_text,
              "deprecatedSource": is_map, "series": is_map, "series.lastObservedTime": is_time, "count": is_int,
              "eventTime": is_time, "firstTimestamp": is_time, "lastTimestamp": is_time,
              "deprecatedFirstTimestamp": is_time, "deprecatedLastTimestamp": is_time, "deprecatedCount": is_int},
}  # fmt: skip
"""By kind ("" = every kind) and path. Null is as good as absent."""


def check_field_types(kind: str, version: str, content: Mapping[str, Any]) -> None:
    """Check the types of what is about to be kept.

    Raises:
        ApiError: 400, as for a body that cannot be decoded.
    """
    for fields in (FIELDS[""], FIELDS.get(kind, {})):
        for path, check in fields.items():
            value: Any = content
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None and not check(value):
                wanted = (check.__doc__ or "").rstrip(".").lower()
                raise ApiError(
                    400,
                    f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal '
                    f"{type(value).__name__} into field {kind}.{path}: must be {wanted}",
                )
