"""Paths of the Kubernetes API, and what a call to one asks for in the words of RBAC."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

__all__ = [
    "Access",
    "access",
    "budgets_path",
    "deployment_path",
    "deployments_path",
    "events_path",
    "lease_path",
    "leases_path",
    "namespace_path",
    "pod_autoscalers_path",
    "pod_metrics_path",
    "pods_path",
    "quotas_path",
    "scale_path",
    "scaled_objects_path",
]

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Access(NamedTuple):
    """What a call needs to be allowed."""

    verb: str
    resource: str
    """Plural, with a dotted API group and a subresource: `pods`, `pods.metrics.k8s.io`, `deployments/scale`."""
    namespace: str
    """Empty = the whole cluster."""
    name: str = ""
    """Of the object; empty = the call names none (a list, and the creation of what is named in the body)."""


def access(method: str, path: str, *, watch: bool = False) -> Access:
    """What RBAC calls a request: `GET /apis/apps/v1/namespaces/shop/deployments` is `list deployments` in `shop`.

    Built as the API server does it (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).
    """
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, parts = "", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, parts = parts[1], parts[3:]
    else:
        return Access(method.lower(), path, "")
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2:
            parts = parts[2:]
    resource = f"{parts[0]}.{group}" if "." in group else parts[0]
    if len(parts) > 2:
        resource += f"/{parts[2]}"
    read = "watch" if watch else ("get" if len(parts) > 1 else "list")
    name = unquote(parts[1]) if len(parts) > 1 else ""
    return Access(VERBS.get(method, read), resource, namespace, name)


def _of(base: str, namespace: str, resource: str, name: str = "") -> str:
    path = f"{base}/namespaces/{quote(namespace, safe='')}/{resource}"
    return f"{path}/{quote(name, safe='')}" if name else path


def namespace_path(namespace: str) -> str:
    """A namespace."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}"


def deployments_path(namespace: str) -> str:
    """All Deployments of a namespace."""
    return _of("/apis/apps/v1", namespace, "deployments")


def deployment_path(namespace: str, name: str) -> str:
    """A Deployment."""
    return _of("/apis/apps/v1", namespace, "deployments", name)


def scale_path(namespace: str, name: str) -> str:
    """The `/scale` of a Deployment."""
    return deployment_path(namespace, name) + "/scale"


def pods_path(namespace: str) -> str:
    """All pods of a namespace."""
    return _of("/api/v1", namespace, "pods")


def pod_metrics_path(namespace: str) -> str:
    """What metrics-server measured of all pods of a namespace."""
    return _of("/apis/metrics.k8s.io/v1beta1", namespace, "pods")


def pod_autoscalers_path(namespace: str, version: str = "v2") -> str:
    """All HorizontalPodAutoscalers of a namespace."""
    return _of(f"/apis/autoscaling/{version}", namespace, "horizontalpodautoscalers")


def scaled_objects_path(namespace: str) -> str:
    """All ScaledObjects (KEDA) of a namespace."""
    return _of("/apis/keda.sh/v1alpha1", namespace, "scaledobjects")


def budgets_path(namespace: str) -> str:
    """All PodDisruptionBudgets of a namespace."""
    return _of("/apis/policy/v1", namespace, "poddisruptionbudgets")


def quotas_path(namespace: str) -> str:
    """All ResourceQuotas of a namespace."""
    return _of("/api/v1", namespace, "resourcequotas")


def events_path(namespace: str) -> str:
    """The Events of a namespace."""
    return _of("/api/v1", namespace, "events")


def leases_path(namespace: str) -> str:
    """All Leases of a namespace."""
    return _of("/apis/coordination.k8s.io/v1", namespace, "leases")


def lease_path(namespace: str, name: str) -> str:
    """A Lease."""
    return _of("/apis/coordination.k8s.io/v1", namespace, "leases", name)
