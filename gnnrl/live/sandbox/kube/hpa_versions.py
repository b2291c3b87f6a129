"""HorizontalPodAutoscalers have two faces, `autoscaling/v1` and `v2`, over one storage; they are stored as v2 has them.

What v1 has no field for stands in its annotations (pkg/apis/autoscaling/v1/conversion.go).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.decoding import DecodeError, Decoder

__all__ = ["from_autoscaling_v1", "to_autoscaling_v1"]

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"


def _is_cpu_share(metric: Mapping[str, Any]) -> bool:
    resource = metric.get("resource") or {}
    return resource.get("name") == "cpu" and (resource.get("target") or {}).get("averageUtilization") is not None


def to_autoscaling_v1(content: Mapping[str, Any]) -> dict[str, Any]:
    """As autoscaling/v1 shows it: the first CPU target is a field of its own."""
    metadata, spec = dict(content["metadata"]), dict(content.get("spec") or {})
    metrics, behavior = list(spec.pop("metrics", None) or ()), spec.pop("behavior", None)
    share = next((metric for metric in metrics if _is_cpu_share(metric)), None)
    if share is not None:
        metrics.remove(share)
        spec["targetCPUUtilizationPercentage"] = share["resource"]["target"]["averageUtilization"]
    annotations = dict(metadata.get("annotations") or {})
    for key, value in ((METRICS, metrics), (BEHAVIOR, behavior)):
        if value:
            annotations[key] = json.dumps(value, separators=(",", ":"))
    if annotations:
        metadata["annotations"] = annotations
    status = {"currentReplicas": 0, "desiredReplicas": 0}
    return {**content, "metadata": metadata, "spec": spec, "status": status}


def from_autoscaling_v1(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it is stored; annotations that are no such JSON are let go, as in the API server."""
    metadata, spec = dict(content["metadata"]), dict(content.get("spec") or {})
    annotations = dict(metadata.get("annotations") or {})
    metrics: list[Any] = []
    share = spec.pop("targetCPUUtilizationPercentage", None)
    if share is not None:
        target = {"type": "Utilization", "averageUtilization": share}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    more = {"metrics": _parsed(annotations.pop(METRICS, "")), "behavior": _parsed(annotations.pop(BEHAVIOR, ""))}
    try:
        known = Decoder().object("autoscaling.v2.HorizontalPodAutoscalerSpec", more)
    except DecodeError:
        known = {}
    metrics += known.pop("metrics", [])
    if metrics:
        spec["metrics"] = metrics
    spec |= known
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    return {**content, "metadata": metadata, "spec": spec}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
