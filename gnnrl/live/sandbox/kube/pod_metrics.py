"""The metrics.k8s.io API: what metrics-server would say of the simulated pods."""

from __future__ import annotations

from collections.abc import Sequence

from gnnrl.live.sandbox.kube.manifests import NODE
from gnnrl.live.sandbox.kube.notation import cpu_quantity, go_duration, memory_quantity, timestamp
from gnnrl.live.sandbox.kube.object_store import ObjectStore, StoredObject
from gnnrl.live.sandbox.views import PodUsageView

__all__ = ["node_metrics", "pod_metrics"]


def pod_metrics(usages: Sequence[PodUsageView], store: ObjectStore, namespace: str, now: float) -> list[StoredObject]:
    """PodMetrics by name, of the pods that are there: metrics-server starts from its list of pods."""
    found = []
    for usage in sorted(usages, key=lambda each: each.pod):
        pod = store.get("pods", namespace, usage.pod)
        if pod is None:
            continue
        metadata = {"name": usage.pod, "namespace": namespace, "creationTimestamp": timestamp(now)}
        content = {
            "metadata": {**metadata, "labels": pod.content["metadata"]["labels"]},
            "timestamp": timestamp(usage.timestamp_seconds),
            "window": go_duration(usage.window_seconds),
            "containers": [
                {"name": name, "usage": _usage(each.cpu_nanocores, each.memory_bytes)}
                for name, each in usage.containers.items()
            ],
        }
        found.append(StoredObject(content, 0))
    return found


def node_metrics(usages: Sequence[PodUsageView], store: ObjectStore, namespace: str, now: float) -> list[StoredObject]:
    """NodeMetrics of the one node: the sum over the pods that are there."""
    shown = [usage for usage in usages if store.get("pods", namespace, usage.pod) is not None]
    if not shown:
        return []
    containers = [each for usage in shown for each in usage.containers.values()]
    content = {
        "metadata": {"name": NODE, "creationTimestamp": timestamp(now)},
        "timestamp": timestamp(min(usage.timestamp_seconds for usage in shown)),
        "window": go_duration(shown[0].window_seconds),
        "usage": _usage(sum(each.cpu_nanocores for each in containers), sum(each.memory_bytes for each in containers)),
    }
    return [StoredObject(content, 0)]


def _usage(nanocores: int, size: int) -> dict[str, str]:
    return {"cpu": cpu_quantity(nanocores), "memory": memory_quantity(size)}
