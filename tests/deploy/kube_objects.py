"""Strict checks of manifests against the official client's model classes: no field that the API does not know, no value of another
type, nothing missing that is required."""

from __future__ import annotations

import re
from typing import Any

from kubernetes import client

MODELS = {
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "Service"): "V1Service",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
}
PRIMITIVES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}


def faults(manifest: dict[str, Any]) -> list[str]:
    """What the API server would refuse; one line a fault."""
    kind = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
    if kind not in MODELS:
        return [f"{kind}: not a kind that is known here"]
    return list(_faults(manifest, MODELS[kind], kind[1]))


def of_model(value: Any, model: str, path: str) -> list[str]:
    """The same for a part of an object."""
    return list(_faults(value, model, path))


def _faults(value: Any, model: str, path: str) -> list[str]:
    if found := re.fullmatch(r"List\[(.+)\]", model):
        if not isinstance(value, list):
            return [f"{path}: {value!r} is not a list"]
        return [fault for i, item in enumerate(value) for fault in _faults(item, found[1], f"{path}[{i}]")]
    if found := re.fullmatch(r"Dict\[(\w+), (.+)\]", model):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return [f"{path}: {value!r} is not a mapping of strings"]
        return [fault for key, item in value.items() for fault in _faults(item, found[2], f"{path}.{key}")]
    if model == "object":  # int-or-string and the like
        return [] if isinstance(value, (int, str)) else [f"{path}: {value!r} is neither a number nor a string"]
    if model in PRIMITIVES:
        right = isinstance(value, PRIMITIVES[model]) and (model == "bool" or not isinstance(value, bool))
        return [] if right else [f"{path}: {value!r} is not a {model}"]
    return _object_faults(value, model, path)


def _object_faults(value: Any, model: str, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is not an object"]
    cls = getattr(client, model)
    attributes = {name: attribute for attribute, name in cls.attribute_map.items()}
    found = [f"{path}.{key}: unknown" for key in value if key not in attributes]
    for key, item in value.items():
        if key in attributes:
            found += _faults(item, cls.openapi_types[attributes[key]], f"{path}.{key}")
    required = {cls.attribute_map[name] for name, field in cls.model_fields.items() if field.is_required()}
    return found + [f"{path}.{key}: missing" for key in sorted(required - set(value))]
