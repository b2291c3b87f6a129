"""The `/scale` subresource of a Deployment, as an API server of today reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError

__all__ = ["patched_replicas", "scale_of", "updated_replicas"]

INT32 = 2**32
MOST_INT32 = 2**31 - 1


def scale_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """The Scale object of a stored Deployment.

    0 desired replicas are left out (`omitempty`: `spec: {}`), 0 present ones are not: `status.replicas` is required in the schema, and
    the Python client refuses a Scale without it.
    """
    metadata = deployment["metadata"]
    desired, present = deployment["spec"]["replicas"], deployment["status"].get("replicas", 0)
    selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept},
        "spec": {"replicas": desired} if desired else {},
        "status": {"replicas": present, "selector": selector},
    }


def patched_replicas(scale: Mapping[str, Any]) -> int:
    """Replicas of a Scale that a patch was applied to. Missing and null mean 0; beyond 32 bits the number wraps around.

    Raises:
        ApiError: 422, it is no whole number, or negative.
    """
    value = _wish(scale)
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**63:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ApiError.bad_patch(f"unrecognized type: cannot convert {_spell(value)} to int32 (spec.replicas)")
    return _not_negative(scale, (value + 2**31) % INT32 - 2**31)


def updated_replicas(scale: Mapping[str, Any]) -> int:
    """Replicas of a Scale that was sent whole. Missing and null mean 0.

    Raises:
        ApiError: 400, it is no 32 bit number; 422, it is negative.
    """
    value = _wish(scale)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not -MOST_INT32 - 1 <= value <= MOST_INT32:
        raise ApiError(
            400,
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal '
            f"{_spell(value)} into Go struct field ScaleSpec.spec.replicas of type int32",
        )
    return _not_negative(scale, value)


def _wish(scale: Mapping[str, Any]) -> Any:
    spec = scale.get("spec")
    if spec is None:
        return None
    if not isinstance(spec, Mapping):
        raise ApiError(422, f"spec: cannot unmarshal {_spell(spec)} into Go struct field Scale.spec")
    return spec.get("replicas")


def _not_negative(scale: Mapping[str, Any], replicas: int) -> int:
    if replicas < 0:
        name = str(scale["metadata"].get("name", ""))
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise ApiError.invalid("autoscaling", "Scale", name, "spec.replicas", why)
    return replicas


def _spell(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return f"number {value}" if isinstance(value, int | float) else f"string {str(value)[:40]!r}"
