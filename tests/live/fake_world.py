"""A world of a few Deployments for the tests of the sandbox's Kubernetes API: pods take 10 s to become ready and 5 s to go."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gnnrl.cluster.clock import Clock
from gnnrl.cluster.models import Container, ContainerUsage
from gnnrl.live.sandbox.views import PodUsageView, PodView, WorkloadView

START_UP_SECONDS = 10.0
DRAIN_SECONDS = 5.0
CONTAINERS = (
    Container(
        name="server",
        cpu_request_millicores=100.0,
        cpu_limit_millicores=200.0,
        memory_request_mib=64.0,
        memory_limit_mib=128.0,
    ),
    Container(name="istio-proxy", cpu_request_millicores=12.5, cpu_limit_millicores=2000.0),
)
USAGE = {
    "server": ContainerUsage(cpu_nanocores=1_234_567, memory_bytes=50 * 2**20),
    "istio-proxy": ContainerUsage(cpu_nanocores=95_000_000, memory_bytes=51_204 * 1024),
}


class FakeWorld:
    """What `SandboxWorld` promises, without a simulation."""

    namespace = "onlineboutique"

    def __init__(self, clock: Clock, names: Sequence[str] = ("cartservice", "frontend"), replicas: int = 2) -> None:
        self.clock = clock
        self.origin_seconds = clock.now() - 3600.0
        self.wanted = dict.fromkeys(names, replicas)
        self.calls: list[tuple[str, int]] = []
        self.stateful: set[str] = set()
        self.unschedulable: set[str] = set()
        self.broken: Exception | None = None
        self._lock = threading.RLock()
        self._serial = 0
        self._leaving: dict[str, float] = {}
        self._pods: Mapping[str, list[PodView]] = {name: [] for name in names}
        for name in names:
            self._fill(name, self.origin_seconds)
        self.advance()

    def add(self, name: str, replicas: int = 1) -> None:
        """A Deployment appears."""
        self.wanted[name] = replicas
        self._pods = {**self._pods, name: []}
        self._fill(name, self.clock.now())

    def remove(self, name: str) -> None:
        """A Deployment disappears."""
        del self.wanted[name]
        self._pods = {other: pods for other, pods in self._pods.items() if other != name}

    def advance(self) -> None:
        """Pods become ready, and go."""
        if self.broken is not None:
            raise self.broken
        with self._lock:
            now = self.clock.now()
            for name, pods in self._pods.items():
                pods[:] = [pod for pod in pods if self._leaving.get(pod.name, now) + DRAIN_SECONDS > now]
                for place, pod in enumerate(pods):
                    is_ready = pod.phase == "Running" and now - pod.created_seconds >= START_UP_SECONDS
                    if is_ready and not pod.deleting and not pod.ready:
                        pods[place] = replace(pod, ready=True)
                assert name in self.wanted

    def set_replicas(self, name: str, replicas: int) -> None:
        """Want so many."""
        with self._lock:
            if name in self.stateful:
                raise ValueError(f"{name!r} is stateful")
            self.calls.append((name, replicas))
            self.wanted[name] = replicas
            self._fill(name, self.clock.now())

    def workloads(self) -> list[WorkloadView]:
        """One per Deployment."""
        with self._lock:
            return [
                WorkloadView(
                    name=name,
                    replicas=replicas,
                    containers=CONTAINERS,
                    pods=tuple(self._pods[name]),
                    created_seconds=self.origin_seconds,
                    stateful=name in self.stateful,
                )
                for name, replicas in self.wanted.items()
            ]

    def pod_usage(self) -> list[PodUsageView]:
        """Of the ready pods, and of one that is gone."""
        names = [(name, pod.name) for name, pods in self._pods.items() for pod in pods if pod.ready]
        return [
            PodUsageView(
                pod=pod,
                workload=name,
                timestamp_seconds=self.clock.now() - 15.0,
                window_seconds=15.0,
                containers=USAGE,
            )
            for name, pod in [*names, ("frontend", "frontend-abcdef1234-gone")]
        ]

    def _fill(self, name: str, now: float) -> None:
        pods = self._pods[name]
        kept = [pod for pod in pods if not pod.deleting]
        for _ in range(self.wanted[name] - len(kept)):
            self._serial += 1
            phase = "Pending" if name in self.unschedulable else "Running"
            pods.append(
                PodView(
                    name=f"{name}-abcdef1234-{self._serial:05d}",
                    phase=phase,  # type: ignore[arg-type]
                    ready=False,
                    deleting=False,
                    created_seconds=now,
                )
            )
        for pod in kept[self.wanted[name] :]:
            pods[pods.index(pod)] = replace(pod, deleting=True, ready=False)
            self._leaving[pod.name] = now
