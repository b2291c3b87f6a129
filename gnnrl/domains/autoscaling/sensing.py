"""From what was read of a cluster to what a simulation would show of it: a mesh, and a window of telemetry.

Columns are the Deployments by name, then everything else that the graph shows: gateways, the unknown, outside and inaccessible nodes,
workloads of other kinds. Those are seen by a policy and never scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.annotations import STATEFUL
from gnnrl.cluster.models import ClusterSnapshot, DeploymentState, PodUsage
from gnnrl.domains.autoscaling.graph_nodes import GraphNodes
from gnnrl.domains.autoscaling.graph_trust import BUSY_SHARE, GraphTrust
from gnnrl.domains.autoscaling.kiali_import import LOAD_GENERATOR
from gnnrl.domains.autoscaling.known_deployments import KnownDeployment, KnownDeployments
from gnnrl.domains.autoscaling.mesh import Call
from gnnrl.domains.autoscaling.monitoring_kernel import assemble_calls, pod_sums
from gnnrl.domains.autoscaling.observed import ObservedMesh, ObservedService
from gnnrl.domains.autoscaling.rate_trust import RateJudgement, RateTrust
from gnnrl.domains.autoscaling.telemetry import Telemetry, make_telemetry
from kiali_client import NodeKey, ServiceGraph

__all__ = ["CapacityExceeded", "Reading", "Sensing"]

DEFAULT_REQUEST_MILLICORES = 100.0
LIMIT_OVER_REQUEST = 2.0
"""Where a manifest states no CPU limit; a note says so."""
LARGEST_LEAD_SECONDS = 15.0
"""Data from further in the future than this are of no known age."""
SATURATED_SHARE = 0.9
"""Of its limit: above it a service's CPU no longer follows its requests."""


class CapacityExceeded(ValueError):
    """More nodes or calls than the policy has slots for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A snapshot as a decision needs it; columns S = capacity, real ones first."""

    mesh: ObservedMesh
    window: Telemetry
    """Batch of one; valid until the next reading."""
    deployments: tuple[DeploymentState, ...]
    """Of the first columns, in their order."""
    untrusted_mask: NDArray[np.bool_]
    """[S] services whose data are missing or contradict themselves."""
    half_window_mask: NDArray[np.bool_]
    """[S] services whose rates' window may be half filled: nothing of it was read, or it is zero, thinly sampled or just back."""
    unmeasured_mask: NDArray[np.bool_]
    """[S] services whose pods are not all measured, or not lately: their CPU is no ground for more replicas."""
    service_age_seconds: NDArray[np.float64]
    """[S] since a Deployment was created, or, where that is less, first seen; infinite for all else."""
    measured_mask: NDArray[np.bool_]
    """[S] services that had metrics at least once; what is no Deployment counts as one."""
    age_seconds: Mapping[str, float]
    """Of `graph` and `metrics`."""
    blocking: tuple[str, ...]
    """Why no decision can rest on this reading; empty = one can."""
    slo_ms: float
    """Objective of the 95th percentile end to end."""
    problems: tuple[str, ...]
    """Everything that was wrong, for people."""
    left_out: tuple[str, ...] = ()
    """Services past capacity: held."""


class Sensing:
    """Reads snapshots one after the other.

    Args:
        max_nodes, max_edges: capacity S and E.
        interval_seconds: between readings.
        stale_after_seconds: graph or metrics older than this block a decision.
        slo_ms: objective of the 95th percentile end to end.
        past_capacity: `error`, or `drop_least_active`.
        cluster: whose Deployments these are, as the graph names it; "" = there is only one.
        start_hold_seconds: for so long after the first reading nothing of its rates is a ground to lower.
    """

    def __init__(
        self,
        *,
        max_nodes: int,
        max_edges: int,
        interval_seconds: float,
        stale_after_seconds: float,
        slo_ms: float,
        past_capacity: str = "error",
        cluster: str = "",
        start_hold_seconds: float = 0.0,
    ) -> None:
        self.max_nodes, self.max_edges = max_nodes, max_edges
        self.interval_seconds = interval_seconds
        self.stale_after_seconds = stale_after_seconds
        self.slo_ms = slo_ms
        self.past_capacity = past_capacity
        self._known = KnownDeployments()
        self._trust = GraphTrust(stale_after_seconds, cluster)
        self._rates = RateTrust(start_hold_seconds)
        self._window = make_telemetry(1, max_nodes, max_edges, histogram=False)
        self._active = np.ones(1, np.bool_)

    def read(self, snapshot: ClusterSnapshot) -> Reading:
        """What this snapshot says.

        Raises:
            CapacityExceeded: there are more nodes or calls than fit, and `past_capacity` is `error`.
        """
        problems = [_told(problem.service, problem.message) for problem in snapshot.problems]
        ages = self._ages(snapshot)
        self._window.metrics_age_seconds[0] = max(0.0, *ages.values()) if ages else 0.0
        blocking = self._blocking(snapshot, ages)
        self._known.remember(snapshot)
        graph = snapshot.graph
        frozen = self._trust.frozen(snapshot, graph) if graph is not None else ""
        problems += [frozen] if frozen else []
        if graph is not None and (impossible := self._trust.impossible(snapshot, graph)):
            # As if there were none: what it shows need not fit, and the fallback does without.
            blocking, graph = (*blocking, impossible), None
        nodes = GraphNodes.of(snapshot, graph, self._trust.cluster)
        left_out = self._fit(nodes, graph)
        shorted = nodes.shorted(graph)
        if shorted:
            problems.append(f"graph: calls past capacity are not seen; {len(shorted)} services are not lowered for it")
        mesh = self._mesh(nodes)
        # Whatever could not be read might forbid a lowering: a pause, a disruption budget. A quota only forbids raises.
        blind = any(not problem.service and problem.source != "quota" for problem in snapshot.problems)
        untrusted_mask = np.full(self.max_nodes, blind or bool(frozen), np.bool_)
        column = {name: i for i, name in enumerate(mesh.names)}
        for problem in snapshot.problems:
            if problem.service in column:
                untrusted_mask[column[problem.service]] = True
        self._fill_counts(nodes.deployments, snapshot.taken_seconds)
        missing = self._fill_pods(nodes.deployments, snapshot)
        self._fill_calls(mesh, nodes)
        without_rates = bool(frozen or _without_rates(blocking, snapshot, graph))
        half_window_mask = np.full(self.max_nodes, without_rates, np.bool_)
        if graph is not None and not without_rates:
            judged = self._judged(nodes, snapshot, graph.duration_seconds, {name for name, _ in missing})
            untrusted_mask |= self._and_behind(mesh, judged.doubted)
            half_window_mask |= self._and_behind(mesh, judged.half_filled | nodes.thinly_sampled())
            problems += [_told(name, message) for name, message in judged.doubted.items()]
        unmeasured_mask = np.zeros(self.max_nodes, np.bool_)
        unmeasured_mask[[column[name] for name, _ in missing]] = True
        untrusted_mask[[column[name] for name in shorted]] = True
        contradictions = self._contradictions(nodes.deployments)
        if contradictions and self._window.external_rps[0] == 0.0:
            # The load of every service is told from what enters the mesh.
            untrusted_mask[:] = True
            problems.append(
                "graph: no requests enter the mesh, though its pods are busy; is the gateway still scraped?"
            )
        for name, message in (*missing, *contradictions):
            untrusted_mask[column[name]] = True
            problems.append(_told(name, message))
        return Reading(
            mesh=mesh,
            window=self._window,
            deployments=tuple(nodes.deployments),
            untrusted_mask=untrusted_mask,
            half_window_mask=half_window_mask,
            unmeasured_mask=unmeasured_mask,
            service_age_seconds=self._known.ages(nodes.deployments, snapshot.taken_seconds, self.max_nodes),
            measured_mask=self._known.measured_mask(nodes.deployments, self.max_nodes),
            age_seconds=ages,
            blocking=blocking,
            slo_ms=self.slo_ms,
            problems=(*problems, *(reason for reason in blocking if reason not in problems)),
            left_out=left_out,
        )

    def _ages(self, snapshot: ClusterSnapshot) -> dict[str, float]:
        ages = {}
        if snapshot.graph is not None:
            ages["graph"] = snapshot.taken_seconds - snapshot.graph.timestamp
        if snapshot.usage:
            ages["metrics"] = snapshot.taken_seconds - max(usage.timestamp_seconds for usage in snapshot.usage)
        return ages

    def _blocking(self, snapshot: ClusterSnapshot, ages: Mapping[str, float]) -> tuple[str, ...]:
        failed = [
            _told("", problem.message)
            for problem in snapshot.problems
            if not problem.service and problem.source in ("graph", "deployments", "pods", "metrics")
        ]
        if not failed and not snapshot.deployments:
            failed.append(f"namespace {snapshot.namespace!r} has no Deployments")
        if snapshot.graph is not None and not snapshot.graph.edges:
            failed.append("graph: empty; nothing can be told of a mesh without traffic")
        if not snapshot.usage and not snapshot.failed("metrics") and any(d.ready for d in snapshot.deployments):
            failed.append("metrics: none, though pods are ready")
        for source, age in ages.items():
            if age > self.stale_after_seconds:
                failed.append(f"{source}: {age:.0f} s old, more than {self.stale_after_seconds:.0f} s")
            elif age < -LARGEST_LEAD_SECONDS:
                failed.append(f"{source}: {-age:.0f} s in the future; its clock or ours is wrong")
        return tuple(failed)

    def _fit(self, nodes: GraphNodes, graph: ServiceGraph | None) -> tuple[str, ...]:
        """Leave out what does not fit, the least active first, if that is allowed."""
        excess = len(nodes.deployments) + len(nodes.others) - self.max_nodes
        if excess <= 0 and len(nodes.edges) <= self.max_edges:
            return ()
        if self.past_capacity == "error":
            raise CapacityExceeded(
                f"{len(nodes.deployments)} Deployments, {len(nodes.others)} other nodes and {len(nodes.edges)} calls; the "
                f"policy's observation has {self.max_nodes} node and {self.max_edges} edge slots; make room "
                "(gnnrl live: start it anew; training: raise environment.max_nodes / max_edges), or set past_capacity: "
                "drop_least_active"
            )
        rate: dict[NodeKey | str, float] = {}
        for edge in graph.edges if graph else ():
            for end in (edge.source, edge.target):
                name = end.name if nodes.is_deployment(end) else end
                rate[name] = rate.get(name, 0.0) + edge.rps
        dropped: list[str] = []
        others = sorted(nodes.others, key=lambda key: (rate.get(key, 0.0), key), reverse=True)
        while excess > 0 and others:
            nodes.drop_other(others.pop())
            excess -= 1
        by_activity = sorted(nodes.deployments, key=lambda d: (rate.get(d.name, 0.0), d.name))
        for deployment in by_activity[: max(excess, 0)]:
            nodes.drop_deployment(deployment)
            dropped.append(deployment.name)
        nodes.keep_busiest_edges(self.max_edges)
        return tuple(dropped)

    def _mesh(self, nodes: GraphNodes) -> ObservedMesh:
        requested = {nodes.name_of[target] for (_, target), edge in nodes.edges.items() if edge.rps > 0.0}
        over_tcp = {
            nodes.name_of[target] for (_, target), edge in nodes.edges.items() if edge.tcp_bytes_per_second > 0.0
        }
        for name, known in self._known.items():
            known.had_requests |= name in requested
            known.over_tcp = name not in requested and (known.over_tcp or name in over_tcp)
        services = [self._service(deployment) for deployment in nodes.deployments]
        services += [
            ObservedService(name=nodes.name_of[key], stateful=True, outside=nodes.is_outside(key))
            for key in nodes.others
        ]
        calls = tuple(
            Call(source=nodes.name_of[source], target=nodes.name_of[target], mtls=edge.mtls_share)
            for (source, target), edge in nodes.edges.items()
        )
        return ObservedMesh(name=nodes.namespace, services=tuple(services), calls=calls)

    def _service(self, deployment: DeploymentState) -> ObservedService:
        is_source = bool(LOAD_GENERATOR.search(deployment.name))
        request = deployment.cpu_request_millicores or DEFAULT_REQUEST_MILLICORES
        return ObservedService(
            name=deployment.name,
            cpu_request_millicores=request,
            cpu_limit_millicores=deployment.cpu_limit_millicores or LIMIT_OVER_REQUEST * request,
            stateful=self.is_stateful(deployment) or bool(deployment.owner) or is_source,
            outside=is_source,
        )

    def is_stateful(self, deployment: DeploymentState) -> bool:
        """Said to be by its annotation, or reached over tcp alone: its replicas do not share its work."""
        known = self._known.get(deployment.name)
        said = deployment.annotations.get(STATEFUL)
        return said == "true" if said is not None else known is not None and known.over_tcp

    def _fill_counts(self, deployments: Sequence[DeploymentState], now: float) -> None:
        window = self._window
        for name in ("ready", "starting", "pending", "draining", "desired", "seconds_since_change"):
            array = getattr(window, name)[0]
            array[:] = 0
            for i, deployment in enumerate(deployments):
                if name == "seconds_since_change":
                    array[i] = now - self._known[deployment.name].changed_seconds
                else:
                    array[i] = getattr(deployment, name)

    def _fill_pods(self, deployments: Sequence[DeploymentState], snapshot: ClusterSnapshot) -> list[tuple[str, str]]:
        """CPU and memory; returns the services whose pods are not all measured, or not lately."""
        columns = self.max_nodes
        app, proxy, memory, ready = (np.zeros((1, columns), np.int64) for _ in range(4))
        missing = []
        for i, deployment in enumerate(deployments):
            known = self._known[deployment.name]
            usage = snapshot.usage_of.get(deployment.name, [])
            if usage:
                known.usage, known.was_measured = _one_pod(usage), True
                ready[0, i] = _ready_at(known.ready, max(u.timestamp_seconds for u in usage), len(usage))
                known.measured_ready = int(ready[0, i])
                doubt = self._doubt(usage, known, snapshot.taken_seconds)
                missing += [(deployment.name, doubt)] if doubt else []
            elif deployment.ready:
                # New pods are measured with the next scrape only; what stays without metrics is shown as it last was.
                since = next((seconds for seconds, count in reversed(known.ready) if count == 0), None)
                waited = snapshot.taken_seconds - (known.ready[0][0] if since is None else since)
                late = waited > self.stale_after_seconds
                # As many pods as were measured, or every replica that is added would add the load of one.
                ready[0, i] = known.measured_ready if late else 0
                missing.append((deployment.name, f"metrics: its pods are not measured{'' if late else ' yet'}"))
            else:
                known.usage, known.measured_ready = (0, 0, 0), 0
            app[0, i], proxy[0, i], memory[0, i] = known.usage
        window = self._window
        window.metric_ready[:] = ready
        pod_sums(
            self._active, app, proxy, memory, ready, window.app_cpu_millicores, window.cpu_millicores, window.memory_mib
        )
        return missing

    def _doubt(self, usage: Sequence[PodUsage], known: KnownDeployment, now: float) -> str:
        """Why the mean over these pods may not be that of the service; empty = it is."""
        age = now - min(pod.timestamp_seconds for pod in usage)
        if age > self.stale_after_seconds:
            return f"metrics: of one of its pods {age:.0f} s old, more than {self.stale_after_seconds:.0f} s"
        # New pods are measured with the next scrape only: this many have been ready for long.
        lately = [count for seconds, count in known.ready if seconds >= now - self.stale_after_seconds]
        fewest = min(lately) if known.ready[0][0] < now - self.stale_after_seconds else 0
        return f"metrics: of {fewest} pods {len(usage)} are measured" if len(usage) < fewest else ""

    def _fill_calls(self, mesh: ObservedMesh, nodes: GraphNodes) -> None:
        window, e = self._window, self.max_edges
        source, target = np.zeros((1, e), np.int64), np.zeros((1, e), np.int64)
        rps, p95, errors = np.zeros((1, e)), np.zeros((1, e)), np.zeros((1, e))
        column = {name: i for i, name in enumerate(mesh.names)}
        for i, (key, edge) in enumerate(nodes.edges.items()):
            source[0, i], target[0, i] = (column[nodes.name_of[end]] for end in key)
            rps[0, i], errors[0, i] = edge.rps, round(edge.error_share, 6)
            p95[0, i] = edge.response_time_ms or 0.0
        outside_mask = np.zeros((1, self.max_nodes), np.bool_)
        outside_mask[0, : len(mesh.services)] = [service.outside for service in mesh.services]
        assemble_calls(
            self._active, np.array([len(nodes.edges)]), source, target, outside_mask, np.array([self.slo_ms]),
            rps, p95, errors, window.call_rps, window.call_p95_ms, window.call_error_share, window.rps_in, window.rps_out,
            window.p95_ms, window.error_share, window.external_rps, window.latency_p95_ms, window.violating_seconds,
            window.seconds, np.array([self.interval_seconds]),
        )  # fmt: skip

    def _judged(
        self, nodes: GraphNodes, snapshot: ClusterSnapshot, window_seconds: int, unmeasured: set[str]
    ) -> RateJudgement:
        """The rates of the Deployments against their pods' CPU, where that is measured."""
        names = [deployment.name for deployment in nodes.deployments]
        rps = {name: float(self._window.rps_in[0, i]) for i, name in enumerate(names)}
        cpu = {
            name: float(self._window.app_cpu_millicores[0, i]) for i, name in enumerate(names) if name not in unmeasured
        }
        saturated = {
            deployment.name
            for i, deployment in enumerate(nodes.deployments)
            if self._window.app_cpu_millicores[0, i]
            > SATURATED_SHARE * self._service(deployment).cpu_limit_millicores * self._window.metric_ready[0, i]
        }
        partly = {
            name
            for i, name in enumerate(names)
            if len(snapshot.usage_of.get(name, [])) < self._window.metric_ready[0, i]
        }
        return self._rates.judge(snapshot.taken_seconds, float(window_seconds), rps, cpu, saturated, partly)

    def _and_behind(self, mesh: ObservedMesh, names: Iterable[str]) -> NDArray[np.bool_]:
        """[S] these services, and all that they call, directly or not: what those are said to need follows from them."""
        targets: dict[str, list[str]] = {}
        for call in mesh.calls:
            targets.setdefault(call.source, []).append(call.target)
        column = {name: i for i, name in enumerate(mesh.names)}
        mask = np.zeros(self.max_nodes, np.bool_)
        waiting = [name for name in names if name in column]
        while waiting:
            name = waiting.pop()
            if not mask[column[name]]:
                mask[column[name]] = True
                waiting += targets.get(name, ())
        return mask

    def _contradictions(self, deployments: Sequence[DeploymentState]) -> list[tuple[str, str]]:
        """Services that work, have been called before, and are said to receive nothing now."""
        window, found = self._window, []
        for i, deployment in enumerate(deployments):
            limit = self._service(deployment).cpu_limit_millicores * max(deployment.ready, 1)
            busy = window.app_cpu_millicores[0, i] > BUSY_SHARE * limit
            if window.rps_in[0, i] == 0.0 and busy and self._known[deployment.name].had_requests:
                found.append((deployment.name, "graph: no requests, though its pods are busy"))
        return found


def _one_pod(usage: Sequence[PodUsage]) -> tuple[int, int, int]:
    """Nanocores of application and proxy and bytes of a pod, means in whole numbers over those that were measured."""
    app = proxy = memory = 0
    for pod in usage:
        for name, container in pod.containers.items():
            if name in ("istio-proxy", "linkerd-proxy"):
                proxy += container.cpu_nanocores
            else:
                app += container.cpu_nanocores
            memory += container.memory_bytes
    return round(app / len(usage)), round(proxy / len(usage)), round(memory / len(usage))


def _ready_at(history: Sequence[tuple[float, int]], when: float, measured: int) -> int:
    """Pods that were ready when the metrics window ended: as they were counted then, and at least those that were measured."""
    before = [count for seconds, count in history if seconds <= when + 1e-3]
    return max(before[-1], measured) if before else measured


def _without_rates(blocking: Sequence[str], snapshot: ClusterSnapshot, graph: ServiceGraph | None) -> bool:
    """Whether this reading has no rates of now: the graph failed, is empty, late or cannot be true."""
    if graph is None:
        return snapshot.graph is not None or snapshot.failed("graph")
    return any(reason.startswith("graph:") for reason in blocking)


def _told(service: str, message: str) -> str:
    return f"{service}: {message}" if service else message
