"""Keeps the object store in step with the simulated world: Deployments, ReplicaSets and Pods as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.kube import manifests
from gnnrl.live.sandbox.kube.object_store import ObjectStore
from gnnrl.live.sandbox.views import PodUsageView, WorkloadView

__all__ = ["Workloads", "WorldMirror"]


class Workloads(Protocol):
    """What the Kubernetes API asks of the world."""

    namespace: str

    def advance(self) -> None:
        """Bring the simulation up to the clock's time."""

    def workloads(self) -> list[WorkloadView]:
        """One per Deployment."""

    def set_replicas(self, name: str, replicas: int) -> None:
        """Want so many replicas; `KeyError` without the Deployment, `ValueError` if it cannot have them."""

    def pod_usage(self) -> list[PodUsageView]:
        """What metrics-server knows."""


class WorldMirror:
    """Writes what changed in the world into the store, each change under a revision of its own.

    Args:
        world: what is mirrored.
        store: where it is written; nobody else writes Deployments' spec and status, ReplicaSets and Pods.
        clock: whose time transitions are stamped with.
    """

    def __init__(self, world: Workloads, store: ObjectStore, clock: Clock) -> None:
        self._world, self._store, self._clock = world, store, clock
        self._shown: dict[str, WorkloadView] = {}
        self._hashes: dict[str, str] = {}

    def sync(self) -> None:
        """Bring world and store up to now; the caller holds the store's lock."""
        self._world.advance()
        views = {view.name: view for view in self._world.workloads()}
        now = self._clock.now()
        for name, shown in list(self._shown.items()):
            view = views.get(name)
            if view is None or view.created_seconds != shown.created_seconds:
                self._remove(shown)
        for name, view in views.items():
            if view != self._shown.get(name):
                self._write(view, now)

    def show_replicas(self, name: str, replicas: int) -> None:
        """Show what was just wanted of a Deployment; its pods follow with the next `sync`, as controllers take their time."""
        self._write(replace(self._shown[name], replicas=replicas), self._clock.now())

    def _write(self, view: WorkloadView, now: float) -> None:
        shown = self._shown.get(view.name)
        namespace = self._world.namespace
        stored = self._store.get("deployments", namespace, view.name)
        if shown is None or stored is None:
            metadata = manifests.deployment_metadata(view, namespace)
            self._hashes[view.name] = manifests.pod_template_hash(view)
        else:
            changed = view.replicas != shown.replicas
            metadata = dict(stored.content["metadata"])
            metadata["generation"] += changed
        before = stored.content if stored else None
        owner = self._store.put("deployments", manifests.deployment(view, metadata, before, now))
        replica_set = manifests.replica_set(
            view, owner.content["metadata"], self._hashes[view.name], metadata["generation"]
        )
        owner = self._store.put("replicasets", replica_set)
        self._write_pods(view, shown, owner.content["metadata"], now)
        self._shown[view.name] = view

    def _write_pods(self, view: WorkloadView, shown: WorkloadView | None, owner: Mapping[str, Any], now: float) -> None:
        known = {pod.name: pod for pod in shown.pods} if shown else {}
        wanted = {pod.name: pod for pod in view.pods}
        for name in known.keys() - wanted.keys():
            self._store.remove("pods", self._world.namespace, name)
        for name, pod in wanted.items():
            if pod != known.get(name):
                stored = self._store.get("pods", self._world.namespace, name)
                self._store.put("pods", manifests.pod(pod, view, owner, stored.content if stored else None, now))

    def _remove(self, shown: WorkloadView) -> None:
        namespace = self._world.namespace
        self._store.remove("deployments", namespace, shown.name)
        self._store.remove("replicasets", namespace, f"{shown.name}-{self._hashes.pop(shown.name)}")
        for pod in shown.pods:
            self._store.remove("pods", namespace, pod.name)
        del self._shown[shown.name]
