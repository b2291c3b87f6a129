"""What the API server fills in."""

from __future__ import annotations

from typing import Any

from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["with_defaults"]

CPU_TARGET_PERCENT = 80


def with_defaults(kind: ResourceType, content: dict[str, Any]) -> dict[str, Any]:
    """An object, in the fields in which it is stored, with its defaults: an HPA's least replicas and metric, an Event's type."""
    if kind.kind == "HorizontalPodAutoscaler":
        spec = {"minReplicas": 1, **(content.get("spec") or {})}
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": CPU_TARGET_PERCENT}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        status = content.get("status") or {"currentMetrics": None, "desiredReplicas": 0}
        return {**content, "spec": spec, "status": status}
    if kind.kind == "Event" and kind.group == "" and not content.get("type"):
        return {**content, "type": "Normal"}
    return content
