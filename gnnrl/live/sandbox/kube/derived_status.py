"""What a cluster's controllers would write: how much of a ResourceQuota is used, how many disruptions a budget allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gnnrl.cluster.quantity import cpu_nanocores, memory_bytes
from gnnrl.live.sandbox.kube.notation import cpu_quantity, memory_quantity
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject

__all__ = ["write_derived_status"]


def write_derived_status(store: ObjectStore) -> None:
    """Bring the status of quotas and budgets up to the pods that there are; the caller holds the store's lock."""
    for storage, status_of in (("resourcequotas", _quota_status), ("poddisruptionbudgets", _budget_status)):
        for item in store.objects(storage):
            status = status_of(store, item)
            if item.content.get("status") != status:
                store.put(storage, {**item.content, "status": status})


def _quota_status(store: ObjectStore, quota: StoredObject) -> dict[str, Any]:
    namespace = quota.key[0]
    hard = quota.content.get("spec", {}).get("hard") or {}
    pods = store.objects("pods", namespace)
    used: dict[str, str] = {}
    for name in hard:
        kind, _, resource = name.rpartition(".")
        if name in ("pods", "count/pods"):
            used[name] = str(len(pods))
        elif name == "count/deployments.apps":
            used[name] = str(len(store.objects("deployments", namespace)))
        elif resource in ("cpu", "memory") and kind in ("", "requests", "limits"):
            used[name] = _sum(pods, kind or "requests", resource)
    return {"hard": hard, "used": used}


def _sum(pods: Sequence[StoredObject], kind: str, resource: str) -> str:
    stated = [
        container["resources"].get(kind, {}).get(resource)
        for pod in pods
        for container in pod.content["spec"]["containers"]
    ]
    if resource == "cpu":
        return cpu_quantity(sum(cpu_nanocores(text) for text in stated if text is not None))
    return memory_quantity(sum(memory_bytes(text) for text in stated if text is not None))


def _budget_status(store: ObjectStore, budget: StoredObject) -> dict[str, Any]:
    metadata, spec = budget.content["metadata"], budget.content.get("spec", {})
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    healthy = sum(_is_healthy(pod.content, labels) for pod in store.objects("pods", metadata["namespace"]))
    expected = sum(
        int(item.content["spec"]["replicas"])
        for item in store.objects("deployments", metadata["namespace"])
        if _matches(item.content["spec"]["template"]["metadata"]["labels"], labels)
    )
    if spec.get("maxUnavailable") is not None:
        desired = max(expected - _count(spec["maxUnavailable"], expected), 0)
    else:
        desired = _count(spec.get("minAvailable", 1), expected)
    return {
        "observedGeneration": metadata["generation"],
        "disruptionsAllowed": max(healthy - desired, 0),
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    }


def _is_healthy(pod: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])
    return ready and "deletionTimestamp" not in pod["metadata"] and _matches(pod["metadata"]["labels"], labels)


def _matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _count(value: int | str, of: int) -> int:
    """A number of pods, or a percentage rounded up."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        return -(-of * int(value[:-1]) // 100)
    return int(value)
