"""Deployments and the pods that belong to them.

A pod belongs to a Deployment by the ReplicaSet in its ownerReferences: the Deployment controller names it
`<deployment>-<pod-template-hash>` and writes the hash into the pod's labels, so that the list of ReplicaSets, and a
permission for it, is not needed. ReplicaSets of anything else carry no such label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple

from gnnrl.cluster.errors import ClusterAnswerError
from gnnrl.cluster.findings import Findings
from gnnrl.cluster.models import Container, DeploymentState
from gnnrl.cluster.objects import (
    INT64_MOST,
    Object,
    children,
    mapping,
    name_of,
    strings,
    text,
    timestamp_seconds,
    whole,
)
from gnnrl.cluster.quantity import QuantityError, cpu_millicores, memory_mib

__all__ = ["Declared", "Pod", "count_pods", "parse_deployments", "parse_pods"]

HASH_LABEL = "pod-template-hash"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""A whole manifest, with the values of its environment variables: not for logs and reports."""

Stage = Literal["ready", "starting", "pending", "draining", "ended"]


class Pod(NamedTuple):
    """A pod of a Deployment."""

    name: str
    deployment: str
    stage: Stage
    """`ended`: failed or evicted, it counts for nothing."""
    created_seconds: float


class Declared(NamedTuple):
    """A Deployment as it describes itself; the counts of `state` are those of its own status."""

    state: DeploymentState
    is_current: bool
    """Whether the status is that of the present spec."""


def parse_pods(items: Iterable[Object], findings: Findings) -> list[Pod]:
    """The pods that belong to a Deployment."""
    pods = []
    for item in items:
        deployment = ""
        try:
            metadata = mapping(item, "metadata")
            deployment = _deployment_of(metadata)
            if deployment:
                stage = _stage(metadata, mapping(item, "status"))
                pods.append(Pod(name_of(item), deployment, stage, timestamp_seconds(metadata, "creationTimestamp")))
        except ClusterAnswerError as error:
            findings.add("pods", f"a pod cannot be understood: {error}", deployment)
    return pods


def parse_deployments(items: Iterable[Object], findings: Findings) -> list[Declared]:
    """The Deployments, but those that are being deleted."""
    found: dict[str, Declared] = {}
    for item in items:
        name = ""
        try:
            name = name_of(item)
            declared = _declared(item, name, findings)
        except ClusterAnswerError as error:
            findings.add("deployments", f"a Deployment cannot be understood: {error}", name)
            continue
        if name in found:
            findings.add("deployments", "listed twice", name)
        elif "deletionTimestamp" not in mapping(item, "metadata"):
            found[name] = declared
    return list(found.values())


def count_pods(declared: Iterable[Declared], pods: Iterable[Pod], findings: Findings) -> list[DeploymentState]:
    """Deployments with the counts that their pods give; a pod that is listed twice counts once."""
    names = {each.state.name for each in declared}
    once: dict[str, Pod] = {}
    for pod in pods:
        if pod.name in once:
            findings.add("pods", f"pod {pod.name} is listed twice", pod.deployment if pod.deployment in names else "")
        else:
            once[pod.name] = pod
    stages: dict[str, Counter[Stage]] = {}
    newest: dict[str, float] = {}
    for pod in once.values():
        stages.setdefault(pod.deployment, Counter())[pod.stage] += 1
        if pod.stage in ("ready", "starting", "pending"):
            newest[pod.deployment] = max(newest.get(pod.deployment, pod.created_seconds), pod.created_seconds)
    states = []
    for state, is_current in declared:
        counts = stages.get(state.name, Counter())
        if is_current and state.ready > counts.total():
            message = f"its status says {state.ready} ready, there are {counts.total()} pods"
            findings.add("pods", message, state.name)
        alive = counts["ready"] + counts["starting"] + counts["pending"]
        states.append(
            replace(
                state,
                ready=counts["ready"],
                starting=counts["starting"],
                pending=counts["pending"] + max(0, state.desired - alive),
                draining=counts["draining"],
                newest_pod_seconds=newest.get(state.name),
            )
        )
    return states


def _deployment_of(metadata: Object) -> str:
    """The Deployment of a pod; empty = it has none."""
    suffix = f"-{strings(metadata, 'labels').get(HASH_LABEL, '')}"
    if suffix == "-":
        return ""
    for owner in children(metadata, "ownerReferences"):
        if owner.get("kind") == "ReplicaSet" and owner.get("controller") is not False:
            set_name = text(owner, "name")
            return set_name.removesuffix(suffix) if set_name.endswith(suffix) else ""
    return ""


def _stage(metadata: Object, status: Object) -> Stage:
    phase = text(status, "phase", "Pending")
    if phase in ("Succeeded", "Failed"):
        return "ended"
    if metadata.get("deletionTimestamp") is not None:
        return "draining"
    if phase != "Running":
        return "pending"
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in children(status, "conditions"))
    return "ready" if ready else "starting"


def _declared(item: Object, name: str, findings: Findings) -> Declared:
    metadata, spec, status = mapping(item, "metadata"), mapping(item, "spec"), mapping(item, "status")
    template = mapping(spec, "template")
    desired = whole(spec, "replicas", 1)
    there, ready = whole(status, "replicas", 0), whole(status, "readyReplicas", 0)
    annotations = strings(metadata, "annotations")
    annotations.pop(LAST_APPLIED, None)
    state = DeploymentState(
        name=name,
        uid=text(metadata, "uid"),
        resource_version=text(metadata, "resourceVersion"),
        desired=desired,
        ready=ready,
        starting=max(0, there - ready),
        pending=max(0, desired - there),
        containers=_containers(mapping(template, "spec"), name, findings),
        annotations=annotations,
        labels=strings(mapping(template, "metadata"), "labels"),
        created_seconds=timestamp_seconds(metadata, "creationTimestamp"),
    )
    observed = whole(status, "observedGeneration", 0, most=INT64_MOST)
    return Declared(state, observed >= whole(metadata, "generation", 0, most=INT64_MOST))


def _containers(spec: Object, service: str, findings: Findings) -> tuple[Container, ...]:
    """Containers and native sidecars (init containers that are always restarted)."""
    sidecars = [each for each in children(spec, "initContainers") if each.get("restartPolicy") == "Always"]
    return tuple(_container(each, service, findings) for each in (*children(spec, "containers"), *sidecars))


def _container(item: Object, service: str, findings: Findings) -> Container:
    stated: dict[str, float | None] = {}
    resources = mapping(item, "resources")
    for kind in ("request", "limit"):
        quantities = mapping(resources, f"{kind}s")
        for resource, unit, parse in (("cpu", "millicores", cpu_millicores), ("memory", "mib", memory_mib)):
            value = quantities.get(resource)
            try:
                stated[f"{resource}_{kind}_{unit}"] = None if value is None else parse(value)
            except QuantityError as error:
                findings.add("deployments", f"{kind} of {resource}: {error}", service)
    return Container(name=text(item, "name"), **stated)
