"""One interval's reading of a cluster: all sources at once, under one deadline, what failed said and the rest kept.

Permissions that it needs in the namespace: get namespaces; list deployments (apps), pods, pods (metrics.k8s.io),
horizontalpodautoscalers (autoscaling), scaledobjects (keda.sh), poddisruptionbudgets (policy), resourcequotas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from gnnrl.cluster.api import ClusterApi, Objects
from gnnrl.cluster.budgets import fewest_pods, headroom
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.errors import ClusterAnswerError, ClusterError, ClusterNotFoundError, ClusterUnavailableError
from gnnrl.cluster.findings import Findings
from gnnrl.cluster.models import ClusterSnapshot, DeploymentState, PodUsage, Source
from gnnrl.cluster.objects import mapping, strings
from gnnrl.cluster.ownership import owners
from gnnrl.cluster.paths import (
    budgets_path,
    deployments_path,
    namespace_path,
    pod_autoscalers_path,
    pod_metrics_path,
    pods_path,
    quotas_path,
    scaled_objects_path,
)
from gnnrl.cluster.pod_metrics import MAX_SKEW_SECONDS, Measured, attribute, parse_metrics
from gnnrl.cluster.workloads import Declared, Pod, count_pods, parse_deployments, parse_pods
from kiali_client import KialiError, ServiceGraph

__all__ = ["ClusterReader", "GraphSource"]

LATE = "see why it is slow, or allow more (read_deadline_seconds)"


class GraphSource(Protocol):
    """Where the service graph comes from: Kiali, or Prometheus."""

    def fetch_service_graph(
        self,
        namespace: str,
        *,
        duration_seconds: int,
        at_seconds: float | None = None,
        deadline_seconds: float | None = None,
    ) -> ServiceGraph:
        """The service graph of a namespace over `duration_seconds` until `at_seconds`, or a `KialiError`."""


class _Parsed(NamedTuple):
    """What a source gave, and what was wrong with parts of it. Filled by its own thread, read once that is done."""

    value: Any
    findings: Findings


class _Task(NamedTuple):
    source: Source
    fetch: Callable[[float], _Parsed]
    """Takes the seconds that are left."""


class ClusterReader:
    """Reads a namespace. One reading at a time.

    Args:
        api: the Kubernetes API.
        graph: the service graph.
        namespace: whose Deployments are read.
        clock: says when, and what lies in the future.
        deadline_seconds: within which all sources must have answered, of the machine's time.
        graph_window_seconds: rates of the graph are means over it.

    Attributes:
        namespace_annotations: as last read. A pause or a limit does not end because the namespace could not be read once.
    """

    def __init__(
        self,
        api: ClusterApi,
        graph: GraphSource,
        namespace: str,
        clock: Clock,
        *,
        deadline_seconds: float = 5.0,
        graph_window_seconds: int = 60,
    ) -> None:
        self._api, self._graph, self.namespace, self._clock = api, graph, namespace, clock
        self.deadline_seconds, self.graph_window_seconds = deadline_seconds, graph_window_seconds
        self._tasks = {
            "namespace": _Task("namespace", self._namespace),
            "deployments": _Task("deployments", self._deployments),
            "pods": _Task("pods", self._pods),
            "metrics": _Task("metrics", self._metrics),
            "autoscalers": _Task("owners", self._autoscalers),
            "scaled objects": _Task("owners", self._scaled_objects),
            "budgets": _Task("budgets", self._budgets),
            "quota": _Task("quota", self._quotas),
            "graph": _Task("graph", self._service_graph),
        }
        self._pool = ThreadPoolExecutor(len(self._tasks), thread_name_prefix="read")
        self._late: dict[str, Future[_Parsed]] = {}
        self.namespace_annotations: Mapping[str, str] = {}

    def close(self) -> None:
        """Take no more readings; answers that are still under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def read(self) -> ClusterSnapshot:
        """What there is now. What could not be read is a `Problem`, not an exception."""
        taken = self._clock.now()
        findings = Findings()
        found = self._collect(findings)
        deployments, usage = self._workloads(found, findings)
        self.namespace_annotations = found.get("namespace", self.namespace_annotations)
        return ClusterSnapshot(
            namespace=self.namespace,
            taken_seconds=taken,
            deployments=tuple(sorted(deployments, key=lambda each: each.name)),
            usage=tuple(usage),
            graph=self._checked(found.get("graph"), findings),
            namespace_annotations=self.namespace_annotations,
            quota=headroom(found.get("quota", ()), findings),
            problems=findings.problems(),
        )

    def _collect(self, findings: Findings) -> dict[str, Any]:
        """What the sources gave by the deadline. Each has one thread at most, however long it hangs."""
        deadline = time.monotonic() + self.deadline_seconds
        running: dict[str, Future[_Parsed]] = {}
        for name, task in self._tasks.items():
            late = self._late.get(name)
            if late is not None and not late.done():
                findings.add(task.source, _of(name, task.source, "still waiting for the answer of an earlier interval"))
                continue
            # The late answer, if there is one, is that of another time: it is dropped.
            self._late.pop(name, None)
            running[name] = self._pool.submit(task.fetch, self.deadline_seconds)
        wait(running.values(), timeout=max(0.0, deadline - time.monotonic()))
        found: dict[str, Any] = {}
        for name, future in running.items():
            source = self._tasks[name].source
            if not future.done():
                self._late[name] = future
                late_by = f"no answer within {self.deadline_seconds:.1f} s; {LATE}"
                findings.add(source, _of(name, source, late_by))
                continue
            try:
                found[name], own = future.result()
            except (ClusterError, KialiError) as error:
                findings.add(source, _with_remedy(name, error, self.namespace))
            else:
                findings.extend(own)
        return found

    def _workloads(self, found: Mapping[str, Any], findings: Findings) -> tuple[list[DeploymentState], list[PodUsage]]:
        """Deployments with pods, owners and budgets, and the usage of their pods, from what there is of it."""
        declared: list[Declared] = found.get("deployments", [])
        states = [each.state for each in declared]
        usage: list[PodUsage] = []
        if "pods" in found:
            pods: list[Pod] = found["pods"]
            states = count_pods(declared, pods, findings)
            measured: list[Measured] = found.get("metrics", [])
            names = {each.name for each in states}
            usage = attribute(measured, {pod.name: pod for pod in pods}, names, self._clock.now(), findings)
        owner = owners(found.get("autoscalers", ()), found.get("scaled objects", ()), findings)
        fewest = fewest_pods(found.get("budgets", ()), states, findings)
        marked = [replace(s, owner=owner.get(s.name, ""), min_available=fewest.get(s.name, 0)) for s in states]
        return marked, usage

    def _checked(self, graph: ServiceGraph | None, findings: Findings) -> ServiceGraph | None:
        if graph is None:
            return None
        ahead = graph.timestamp - self._clock.now()
        if graph.timestamp <= 0:
            findings.add("graph", f"its time is {graph.timestamp}, not unix seconds")
        elif ahead > MAX_SKEW_SECONDS:
            findings.add("graph", f"it is {ahead:.0f} s in the future; compare the clocks of this machine and of Kiali")
        else:
            return graph
        return None

    def _namespace(self, seconds: float) -> _Parsed:
        answer = self._api.get(namespace_path(self.namespace), timeout_seconds=seconds)
        findings = Findings()
        if mapping(answer, "status").get("phase") == "Terminating":
            findings.add("namespace", f"namespace {self.namespace!r} is being deleted")
        return _Parsed(strings(mapping(answer, "metadata"), "annotations"), findings)

    def _deployments(self, seconds: float) -> _Parsed:
        return self._listed(deployments_path(self.namespace), seconds, parse_deployments)

    def _pods(self, seconds: float) -> _Parsed:
        return self._listed(pods_path(self.namespace), seconds, parse_pods)

    def _metrics(self, seconds: float) -> _Parsed:
        return self._listed(pod_metrics_path(self.namespace), seconds, parse_metrics)

    def _listed(self, path: str, seconds: float, parse: Callable[[Objects, Findings], list[Any]]) -> _Parsed:
        """A long list, parsed page by page: thousands of pods as they came take hundreds of MB."""
        findings = Findings()
        items = [item for page in self._api.pages(path, timeout_seconds=seconds) for item in parse(page, findings)]
        return _Parsed(items, findings)

    def _autoscalers(self, seconds: float) -> _Parsed:
        deadline = time.monotonic() + seconds
        try:
            items = self._api.list(pod_autoscalers_path(self.namespace), timeout_seconds=seconds)
        except ClusterNotFoundError:
            # Before Kubernetes 1.23 there is v1 only, which says as much of the target.
            path = pod_autoscalers_path(self.namespace, "v1")
            items = self._api.list(path, timeout_seconds=deadline - time.monotonic())
        return _Parsed(items, Findings())

    def _scaled_objects(self, seconds: float) -> _Parsed:
        return self._optional(scaled_objects_path(self.namespace), seconds)

    def _budgets(self, seconds: float) -> _Parsed:
        return self._optional(budgets_path(self.namespace), seconds)

    def _optional(self, path: str, seconds: float) -> _Parsed:
        """A list of a kind that a cluster need not know: then there is none of it."""
        try:
            return _Parsed(self._api.list(path, timeout_seconds=seconds), Findings())
        except ClusterNotFoundError:
            return _Parsed([], Findings())

    def _quotas(self, seconds: float) -> _Parsed:
        return _Parsed(self._api.list(quotas_path(self.namespace), timeout_seconds=seconds), Findings())

    def _service_graph(self, seconds: float) -> _Parsed:
        graph = self._graph.fetch_service_graph(
            self.namespace,
            duration_seconds=self.graph_window_seconds,
            at_seconds=self._clock.now(),
            deadline_seconds=seconds,
        )
        return _Parsed(graph, Findings())


def _of(name: str, source: Source, message: str) -> str:
    """Names the request, where its source has several."""
    return message if name == source else f"{name}: {message}"


def _with_remedy(name: str, error: ClusterError | KialiError, namespace: str) -> str:
    """What is told of a source that failed, with what its own error cannot know."""
    if name == "namespace" and isinstance(error, ClusterNotFoundError):
        return f"namespace {namespace!r} does not exist; `kubectl get namespaces` lists those that do"
    if name == "metrics" and isinstance(error, ClusterNotFoundError):
        return f"the metrics API is not installed; install metrics-server, `kubectl top pods -n {namespace}` must work"
    if name == "metrics" and isinstance(error, ClusterUnavailableError | ClusterAnswerError):
        return f"{error}; see `kubectl get apiservice v1beta1.metrics.k8s.io` and the pods of metrics-server"
    return str(error)
