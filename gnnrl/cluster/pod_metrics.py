"""What metrics-server measured of each pod (metrics.k8s.io/v1beta1, PodMetrics)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gnnrl.cluster.errors import ClusterAnswerError
from gnnrl.cluster.findings import Findings
from gnnrl.cluster.models import ContainerUsage, PodUsage
from gnnrl.cluster.objects import (
    Object,
    children,
    duration_seconds,
    mapping,
    name_of,
    text,
    timestamp_seconds,
)
from gnnrl.cluster.quantity import QuantityError, cpu_nanocores, memory_bytes
from gnnrl.cluster.workloads import Pod

__all__ = ["MAX_SKEW_SECONDS", "Measured", "attribute", "parse_metrics"]

MAX_SKEW_SECONDS = 5.0
"""How far in the future a measurement may lie: clocks differ, and time passes while it is read."""


class Measured(NamedTuple):
    """A PodMetrics, its pod not looked up yet."""

    pod: str
    timestamp_seconds: float
    window_seconds: float
    containers: Mapping[str, ContainerUsage]
    fault: str
    """Why it cannot be used; empty = it can."""


def parse_metrics(items: Iterable[Object], findings: Findings) -> list[Measured]:
    """All of them; one that cannot be understood says why, to be told to the service of its pod."""
    found = []
    for item in items:
        try:
            pod = name_of(item)
        except ClusterAnswerError as error:
            findings.add("metrics", f"PodMetrics of an unknown pod: {error}")
            continue
        try:
            found.append(
                Measured(
                    pod,
                    timestamp_seconds(item, "timestamp"),
                    duration_seconds(item, "window"),
                    _containers(item),
                    "",
                )
            )
        except (ClusterAnswerError, QuantityError) as error:
            found.append(Measured(pod, 0.0, 0.0, {}, str(error)))
    return found


def attribute(
    measured: Iterable[Measured], pods: Mapping[str, Pod], services: set[str], now: float, findings: Findings
) -> list[PodUsage]:
    """The measurements of the pods of `services`, without those that contradict themselves.

    A pod that is not there any more, or belongs to no Deployment, is left out without a word.

    Args:
        measured: what the metrics API says.
        pods: all pods of Deployments, by name.
        services: names of the Deployments that there are.
        now: unix seconds, of the clock that measurements are compared with.
        findings: takes the problems.
    """
    once: dict[str, PodUsage] = {}
    for each in measured:
        pod = pods.get(each.pod)
        if pod is None or pod.deployment not in services:
            continue
        fault = each.fault or _contradiction(each, pod, now)
        if fault:
            findings.add("metrics", f"pod {each.pod}: {fault}", pod.deployment)
        elif each.pod in once:
            findings.add("metrics", f"pod {each.pod}: measured twice", pod.deployment)
        else:
            once[each.pod] = PodUsage(
                pod=each.pod,
                deployment=pod.deployment,
                timestamp_seconds=each.timestamp_seconds,
                window_seconds=each.window_seconds,
                containers=each.containers,
            )
    return list(once.values())


def _containers(item: Object) -> dict[str, ContainerUsage]:
    found = {}
    for container in children(item, "containers"):
        name, usage = text(container, "name"), mapping(container, "usage")
        if usage.get("cpu") is None or usage.get("memory") is None:
            raise ClusterAnswerError(f"container {name} has no usage of cpu or memory")
        if name in found:
            raise ClusterAnswerError(f"container {name} is there twice")
        found[name] = ContainerUsage(
            cpu_nanocores=cpu_nanocores(usage["cpu"]), memory_bytes=memory_bytes(usage["memory"])
        )
    if not found:
        raise ClusterAnswerError("no containers")
    return found


def _contradiction(measured: Measured, pod: Pod, now: float) -> str:
    if measured.timestamp_seconds > now + MAX_SKEW_SECONDS:
        return f"measured {measured.timestamp_seconds - now:.0f} s in the future; compare the clocks"
    if measured.timestamp_seconds <= pod.created_seconds:
        return "measured before it was there"
    return ""
