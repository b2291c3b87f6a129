"""The `/scale` subresource of a Deployment, as an API server of today reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.field_errors import FieldErrors

__all__ = ["check_scale", "scale_of"]


def scale_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """The Scale object of a stored Deployment, without kind and apiVersion.

    0 desired replicas are left out (`omitempty`: `spec: {}`), 0 present ones are not: `status.replicas` is required in the schema, and
    the Python client refuses a Scale without it.
    """
    metadata = deployment["metadata"]
    desired, present = deployment["spec"]["replicas"], deployment["status"].get("replicas", 0)
    selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "metadata": {key: metadata[key] for key in kept},
        "spec": {"replicas": desired} if desired else {},
        "status": {"replicas": present, "selector": selector},
    }


def check_scale(name: str, scale: Mapping[str, Any]) -> int:
    """The replicas that a Scale asks for; missing and null mean 0.

    Raises:
        ApiError: 422, they are negative.
    """
    replicas = int((scale.get("spec") or {}).get("replicas", 0))
    errors = FieldErrors()
    if replicas < 0:
        errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
    errors.raise_if_any("autoscaling", "Scale", name)
    return replicas
