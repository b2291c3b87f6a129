"""Server-side printing: the columns that `kubectl get` shows of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gnnrl.live.sandbox.kube.notation import age
from gnnrl.live.sandbox.kube.resource_types import ResourceType

__all__ = ["table"]

Content = Mapping[str, Any]
Cell = Callable[[Content, float], Any]
"""(object, unix seconds now) -> what stands in the column."""

NONE = "<none>"


@dataclass(frozen=True)
class Column:
    """A column. `wide` ones are shown by `-o wide` only."""

    name: str
    cell: Cell
    type: str = "string"
    wide: bool = False

    def definition(self) -> dict[str, Any]:
        """As the Table object describes it."""
        format_ = "name" if self.name == "Name" else ""
        return {"name": self.name, "type": self.type, "format": format_, "description": "", "priority": int(self.wide)}


def table(
    kind: ResourceType,
    contents: Sequence[Content],
    *,
    now: float,
    include_object: str,
    metadata: Mapping[str, Any],
    with_columns: bool = True,
) -> dict[str, Any]:
    """A `meta.k8s.io/v1` Table.

    Args:
        kind: of the objects.
        contents: a row each.
        now: unix seconds, for ages.
        include_object: what comes with each row: `None`, `Metadata` or `Object`.
        metadata: of the list.
        with_columns: whether the columns are described (a watch does so once).
    """
    columns = COLUMNS.get(kind.kind, PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(metadata),
        "columnDefinitions": [column.definition() for column in columns] if with_columns else None,
        "rows": [
            {
                "cells": [column.cell(content, now) for column in columns],
                "object": _object(kind, content, include_object),
            }
            for content in contents
        ],
    }


def _object(kind: ResourceType, content: Content, include_object: str) -> dict[str, Any] | None:
    if include_object == "None":
        return None
    if include_object == "Object":
        return {"kind": kind.kind, "apiVersion": kind.api_version, **content}
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": content["metadata"]}


def at(*path: str, default: Any = NONE) -> Cell:
    """The value at a path; `default` if it is absent, null or empty."""

    def cell(content: Any, _now: float) -> Any:
        for key in path:
            content = content.get(key) if isinstance(content, Mapping) else None
        return default if content in (None, "") else content

    return cell


def number(*path: str) -> Cell:
    """The number at a path, 0 if absent."""
    return at(*path, default=0)


def since(*path: str) -> Cell:
    """Age of the time at a path."""
    value = at(*path, default="")

    def cell(content: Content, now: float) -> str:
        text = value(content, now)
        return age(now - datetime.fromisoformat(text).timestamp()) if text else "<unknown>"

    return cell


def _ready_of_deployment(content: Content, _now: float) -> str:
    return f"{content['status'].get('readyReplicas', 0)}/{content['spec']['replicas']}"


def _containers_of(*path: str) -> tuple[Column, Column]:
    spec = at(*path, default={})
    return (
        Column(
            "Containers", lambda item, now: ",".join(each["name"] for each in spec(item, now)["containers"]), wide=True
        ),
        Column(
            "Images", lambda item, now: ",".join(each["image"] for each in spec(item, now)["containers"]), wide=True
        ),
    )


def _selector(content: Content, _now: float) -> str:
    return ",".join(f"{key}={value}" for key, value in content["spec"]["selector"]["matchLabels"].items())


def _ready_of_pod(content: Content, _now: float) -> str:
    statuses = content["status"].get("containerStatuses", [])
    return f"{sum(status['ready'] for status in statuses)}/{len(content['spec']['containers'])}"


def _state_of_pod(content: Content, _now: float) -> str:
    return "Terminating" if "deletionTimestamp" in content["metadata"] else str(content["status"]["phase"])


def _restarts(content: Content, _now: float) -> str:
    return str(sum(status["restartCount"] for status in content["status"].get("containerStatuses", [])))


def _object_of_event(content: Content, now: float) -> str:
    about = at("involvedObject", default={})(content, now)
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _last_seen(content: Content, now: float) -> str:
    for path in (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("firstTimestamp",)):
        if at(*path, default="")(content, now):
            return str(since(*path)(content, now))
    return "<unknown>"


def _source_of_event(content: Content, now: float) -> str:
    parts = (at("source", "component", default="")(content, now), at("source", "host", default="")(content, now))
    return ", ".join(filter(None, parts)) or str(at("reportingComponent", default="")(content, now))


def _target(content: Content, now: float) -> str:
    target = at("spec", "scaleTargetRef", default={})(content, now)
    return f"{target.get('kind', 'Deployment')}/{target.get('name', NONE)}"


def _quota(*, of_limits: bool) -> Cell:
    def cell(content: Content, now: float) -> str:
        hard = at("status", "hard", default={})(content, now)
        used = at("status", "used", default={})(content, now)
        names = [name for name in sorted(hard) if name.startswith("limits.") == of_limits]
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


def _usage(resource: str) -> Cell:
    def cell(content: Content, _now: float) -> str:
        usages = [each["usage"] for each in content["containers"]] if "containers" in content else [content["usage"]]
        return "+".join(str(usage[resource]) for usage in usages)

    return cell


NAME = Column("Name", at("metadata", "name"))
AGE = Column("Age", since("metadata", "creationTimestamp"))
PLAIN = (NAME, AGE)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "Namespace": (NAME, Column("Status", at("status", "phase")), AGE),
    "Node": (NAME, Column("Status", lambda *_: "Ready"), Column("Roles", lambda *_: NONE), AGE),
    "Deployment": (
        NAME,
        Column("Ready", _ready_of_deployment),
        Column("Up-to-date", number("status", "updatedReplicas"), "integer"),
        Column("Available", number("status", "availableReplicas"), "integer"),
        AGE,
        *_containers_of("spec", "template", "spec"),
        Column("Selector", _selector, wide=True),
    ),
    "ReplicaSet": (
        NAME,
        Column("Desired", number("spec", "replicas"), "integer"),
        Column("Current", number("status", "replicas"), "integer"),
        Column("Ready", number("status", "readyReplicas"), "integer"),
        AGE,
        *_containers_of("spec", "template", "spec"),
        Column("Selector", _selector, wide=True),
    ),
    "Pod": (
        NAME,
        Column("Ready", _ready_of_pod),
        Column("Status", _state_of_pod),
        Column("Restarts", _restarts),
        AGE,
        Column("IP", at("status", "podIP"), wide=True),
        Column("Node", at("spec", "nodeName"), wide=True),
        Column("Nominated Node", lambda *_: NONE, wide=True),
        Column("Readiness Gates", lambda *_: NONE, wide=True),
    ),
    "Event": (
        Column("Last Seen", _last_seen),
        Column("Type", at("type")),
        Column("Reason", at("reason")),
        Column("Object", _object_of_event),
        Column("Subobject", at("involvedObject", "fieldPath", default=""), wide=True),
        Column("Source", _source_of_event, wide=True),
        Column("Message", at("message", default="")),
        Column("First Seen", since("firstTimestamp"), wide=True),
        Column("Count", at("count", default=1), "integer", wide=True),
        Column("Name", at("metadata", "name"), wide=True),
    ),
    "Lease": (NAME, Column("Holder", at("spec", "holderIdentity", default="")), AGE),
    "HorizontalPodAutoscaler": (
        NAME,
        Column("Reference", _target),
        Column("Targets", lambda *_: "<unknown>"),
        Column("MinPods", at("spec", "minReplicas", default="<unset>"), "string"),
        Column("MaxPods", number("spec", "maxReplicas"), "integer"),
        Column("Replicas", number("status", "currentReplicas"), "integer"),
        AGE,
    ),
    "Scale": (
        NAME,
        Column("Desired", number("spec", "replicas"), "integer"),
        Column("Available", number("status", "replicas"), "integer"),
        AGE,
    ),
    "ScaledObject": (
        NAME,
        Column("ScaleTargetName", at("spec", "scaleTargetRef", "name")),
        Column("Min", number("spec", "minReplicaCount"), "integer"),
        Column("Max", number("spec", "maxReplicaCount"), "integer"),
        AGE,
    ),
    "PodDisruptionBudget": (
        NAME,
        Column("Min Available", at("spec", "minAvailable", default="N/A")),
        Column("Max Unavailable", at("spec", "maxUnavailable", default="N/A")),
        Column("Allowed Disruptions", number("status", "disruptionsAllowed"), "integer"),
        AGE,
    ),
    "ResourceQuota": (NAME, Column("Request", _quota(of_limits=False)), Column("Limit", _quota(of_limits=True)), AGE),
    "PodMetrics": (
        NAME,
        Column("CPU", _usage("cpu")),
        Column("Memory", _usage("memory")),
        Column("Window", at("window")),
    ),
    "NodeMetrics": (
        NAME,
        Column("CPU", _usage("cpu")),
        Column("Memory", _usage("memory")),
        Column("Window", at("window")),
    ),
}
"""By kind. Names and order are the API server's (`kubectl get` prints them upper-case)."""
