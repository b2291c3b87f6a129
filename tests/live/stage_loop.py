"""A loop over a cluster that is told, snapshot by snapshot: nothing but what the test says happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gnnrl.cluster.actuator import ScaleRequest, ScaleResult
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.models import (
    ClusterSnapshot,
    Container,
    ContainerUsage,
    DeploymentState,
    PodUsage,
    Problem,
)
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.sensing import Sensing
from gnnrl.live.decision import IntervalRecord, ServiceDecision
from gnnrl.live.loop import LiveLoop
from gnnrl.live.policies import baseline_controller, live_environment
from gnnrl.live.tracked import TrackedController
from kiali_client import Edge, Node, NodeKey, ServiceGraph, Traffic

NS = "shop"
SLO_MS = 500.0
CONTAINER = Container(name="server", cpu_request_millicores=100.0, cpu_limit_millicores=200.0)


def deployment(name: str, replicas: int = 4, **more: Any) -> DeploymentState:
    """All of whose pods are ready."""
    told: dict[str, Any] = {"uid": name, "resource_version": "7", "ready": replicas, "created_seconds": 1e6} | more
    return DeploymentState(name=name, desired=replicas, starting=0, pending=0, containers=(CONTAINER,), **told)


def call(source: str, target: str, rps: float) -> Edge:
    """Requests; a source with a dot is `name.namespace`, outside."""
    name, _, namespace = source.partition(".")
    traffic = Traffic(protocol="http", rps=rps, error_share=0.0, response_time_ms=20.0, mtls_share=1.0)
    ends = (NodeKey("", namespace or NS, name, "workload"), NodeKey("", NS, target, "workload"))
    return Edge(source=ends[0], target=ends[1], traffic=(traffic,))


def moved(edge: Edge, rps: float) -> Edge:
    """A call with so many more requests."""
    (traffic,) = edge.traffic
    return replace(edge, traffic=(replace(traffic, rps=traffic.rps + rps),))


class Stage:
    """The loop, and the cluster that it reads and writes.

    Attributes:
        replicas: of the Deployments; the loop's writes change them.
        calls, millicores, unmeasured, annotations, problems: what the next reading shows; millicores of a pod, by service.
        records: of the intervals.
    """

    def __init__(
        self,
        policy: str,
        replicas: Mapping[str, int],
        calls: Sequence[Edge],
        *,
        config: LiveConfig | None = None,
        fallback: str = "hpa_80",
        max_nodes: int = 8,
    ) -> None:
        self.replicas, self.calls = dict(replicas), list(calls)
        self.millicores: dict[str, float] = {}
        self.unmeasured: set[str] = set()
        self.annotations: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.uids: dict[str, str] = {}
        self.records: list[IntervalRecord] = []
        self.sent: list[dict[str, ScaleRequest]] = []
        self.config = config or LiveConfig()
        self.clock = SteppedClock(2_000_000.0)
        environment = live_environment(AutoscalingConfig(), self.config, max_nodes, 32)

        def tracked(name: str) -> TrackedController:
            return TrackedController(baseline_controller(name, environment), slo_ms=SLO_MS, violation_weight=400.0)

        self.loop = LiveLoop(
            config=self.config,
            namespace=NS,
            controller=tracked(policy),
            fallback=tracked(fallback),
            sensing=Sensing(
                max_nodes=max_nodes,
                max_edges=32,
                interval_seconds=15,
                stale_after_seconds=75.0,
                slo_ms=SLO_MS,
                past_capacity=self.config.past_capacity,
            ),
            reader=self,
            writer=self,
            clock=self.clock,
            policy=policy,
            mode="live",
            sinks=(self.records.append,),
        )

    def read(self) -> ClusterSnapshot:
        now = self.clock.now()
        deployments = [deployment(name, n, uid=self.uids.get(name, name)) for name, n in sorted(self.replicas.items())]
        usage = [
            PodUsage(
                pod=f"{each.name}-{i}",
                deployment=each.name,
                timestamp_seconds=now - 15.0,
                window_seconds=15.0,
                containers={
                    "server": ContainerUsage(cpu_nanocores=int(self.cpu(each.name) * 1e6), memory_bytes=1 << 26)
                },
            )
            for each in deployments
            if each.name not in self.unmeasured
            for i in range(each.ready)
        ]
        keys = sorted({key for edge in self.calls for key in (edge.source, edge.target)})
        graph = ServiceGraph(
            timestamp=int(now),
            duration_seconds=60,
            graph_type="workload",
            nodes=tuple(Node(key=key) for key in keys),
            # A graph that does not move at all is not believed for long.
            edges=tuple(moved(edge, 0.01 * len(self.records)) for edge in self.calls),
        )
        return ClusterSnapshot(
            namespace=NS,
            taken_seconds=now,
            deployments=tuple(deployments),
            usage=tuple(usage),
            graph=graph,
            namespace_annotations=self.annotations,
            problems=tuple(self.problems),
        )

    def cpu(self, name: str) -> float:
        """Millicores of one of its pods."""
        return self.millicores.get(name, 60.0)

    def apply(self, changes: Mapping[str, ScaleRequest], redecide: object = None) -> dict[str, ScaleResult]:  # noqa: ARG002
        self.sent.append(dict(changes))
        self.replicas |= {name: request.replicas for name, request in changes.items()}
        return {name: ScaleResult(outcome="patched", sent=request.replicas) for name, request in changes.items()}

    def interval(self) -> IntervalRecord:
        """One interval of the loop, and the time until the next."""
        record = self.loop.interval()
        self.clock.sleep_until(self.clock.now() + 15.0)
        return record

    def decision(self, name: str) -> ServiceDecision:
        """Of a service, in the last interval."""
        (found,) = (one for one in self.records[-1].services if one.service == name)
        return found
