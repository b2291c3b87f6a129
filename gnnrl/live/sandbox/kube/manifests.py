"""A Deployment of the simulated world as the objects that a cluster keeps of it: Deployment, ReplicaSet, Pods."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from gnnrl.cluster.models import Container
from gnnrl.live.sandbox.kube.notation import cpu_quantity, memory_quantity, timestamp
from gnnrl.live.sandbox.views import PodView, WorkloadView

__all__ = ["NODE", "deployment", "deployment_metadata", "node", "pod", "pod_template_hash", "replica_set", "uid_of"]

NODE = "sandbox-node"
"""The node that every running pod is shown on: the simulation knows the room there is, not the machines."""
GRACE_SECONDS = 30
HASH_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
UID_SPACE = uuid.UUID("6f0d7a0e-5a0c-4a4e-9d62-3c5f0b6e2a11")

Content = dict[str, Any]


def uid_of(*parts: object) -> str:
    """A uid that depends on nothing but these."""
    return str(uuid.uuid5(UID_SPACE, "/".join(map(str, parts))))


def pod_template_hash(view: WorkloadView) -> str:
    """The middle part of its pods' names; where it has none, one made of its name and containers."""
    for pod_view in view.pods:
        middle, _, random_part = pod_view.name.removeprefix(f"{view.name}-").partition("-")
        if pod_view.name.startswith(f"{view.name}-") and middle and random_part and "-" not in random_part:
            return middle
    digest = hashlib.sha256(repr((view.name, view.containers)).encode()).digest()
    return "".join(HASH_LETTERS[byte % len(HASH_LETTERS)] for byte in digest[:10])


def deployment(
    view: WorkloadView, metadata: Mapping[str, Any], before: Mapping[str, Any] | None, now: float
) -> Content:
    """The Deployment; its metadata is kept by the caller, since labels and annotations are its users'."""
    kept = [each for each in view.pods if not each.deleting]
    ready = sum(each.ready for each in kept)
    is_available = ready >= view.replicas - view.replicas // 4
    counts = {
        "replicas": len(kept),
        "updatedReplicas": len(kept),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(view.replicas - ready, 0),
        "terminatingReplicas": len(view.pods) - len(kept),
    }
    conditions = [
        _condition("Available", is_available, now, *_availability(is_available)),
        _condition("Progressing", True, now, "NewReplicaSetAvailable", "ReplicaSet has successfully progressed."),
    ]
    for condition in conditions:
        condition["lastUpdateTime"] = condition["lastTransitionTime"]
    return {
        "metadata": dict(metadata),
        "spec": {
            "replicas": view.replicas,
            "selector": {"matchLabels": {"app": view.name}},
            "template": {"metadata": {"labels": {"app": view.name}}, "spec": _pod_spec(view)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
        "status": {
            "observedGeneration": metadata["generation"],
            **{name: number for name, number in counts.items() if number},
            "conditions": _carry_times(conditions, before),
        },
    }


def deployment_metadata(view: WorkloadView, namespace: str) -> Content:
    """Metadata of a Deployment that nobody has touched yet."""
    annotations = {"deployment.kubernetes.io/revision": "1"}
    if view.stateful:
        # What keeps an autoscaler off it, in the words of the guardrails.
        annotations["gnnrl.io/stateful"] = "true"
    return {
        "name": view.name,
        "namespace": namespace,
        "uid": uid_of("deployment", namespace, view.name, view.created_seconds),
        "generation": 1,
        "creationTimestamp": timestamp(view.created_seconds),
        "labels": {"app": view.name},
        "annotations": annotations,
    }


def replica_set(view: WorkloadView, owner: Mapping[str, Any], template_hash: str, generation: int) -> Content:
    """The Deployment's only ReplicaSet; `owner` is the Deployment's metadata."""
    kept = [each for each in view.pods if not each.deleting]
    labels = {"app": view.name, "pod-template-hash": template_hash}
    ready = sum(each.ready for each in kept)
    counts = {"fullyLabeledReplicas": len(kept), "readyReplicas": ready, "availableReplicas": ready}
    return {
        "metadata": {
            "name": f"{view.name}-{template_hash}",
            "namespace": owner["namespace"],
            "uid": uid_of("replicaset", owner["uid"], template_hash),
            "generation": generation,
            "creationTimestamp": owner["creationTimestamp"],
            "labels": labels,
            "annotations": {
                "deployment.kubernetes.io/desired-replicas": str(view.replicas),
                "deployment.kubernetes.io/max-replicas": str(view.replicas + -(-view.replicas // 4)),
                "deployment.kubernetes.io/revision": "1",
            },
            "ownerReferences": [_owner("apps/v1", "Deployment", owner)],
        },
        "spec": {
            "replicas": view.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(view)},
        },
        "status": {
            "replicas": len(kept),
            **{name: number for name, number in counts.items() if number},
            "observedGeneration": generation,
        },
    }


def pod(
    view: PodView, workload: WorkloadView, owner: Mapping[str, Any], before: Mapping[str, Any] | None, now: float
) -> Content:
    """A Pod; `owner` is the ReplicaSet's metadata, `before` the Pod as it was shown last, for the times of its transitions."""
    uid = uid_of("pod", owner["uid"], view.name)
    metadata: Content = {
        "name": view.name,
        "generateName": f"{owner['name']}-",
        "namespace": owner["namespace"],
        "uid": uid,
        "creationTimestamp": timestamp(view.created_seconds),
        "labels": dict(owner["labels"]),
        "ownerReferences": [_owner("apps/v1", "ReplicaSet", owner)],
    }
    if view.deleting:
        ends = before["metadata"].get("deletionTimestamp") if before else None
        metadata["deletionTimestamp"] = ends or timestamp(now + GRACE_SECONDS)
        metadata["deletionGracePeriodSeconds"] = GRACE_SECONDS
    spec = _pod_spec(workload)
    status: Content = {"phase": view.phase}
    # A pod that was there before the first look became what it is when it was created, as far as anybody knows.
    since = now if before or now - view.created_seconds < GRACE_SECONDS else view.created_seconds
    if view.phase == "Pending":
        message = "0/1 nodes are available: 1 Insufficient cpu."
        conditions = [_condition("PodScheduled", False, since, "Unschedulable", message)]
    else:
        spec["nodeName"] = NODE
        unready = () if view.ready else ("ContainersNotReady", "containers with unready status")
        conditions = [
            _condition("PodReadyToStartContainers", True, since),
            _condition("Initialized", True, since),
            _condition("Ready", view.ready, since, *unready),
            _condition("ContainersReady", view.ready, since, *unready),
            _condition("PodScheduled", True, since),
        ]
        number = int(hashlib.sha256(uid.encode()).hexdigest()[:6], 16)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        status |= {
            "hostIP": "127.0.0.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": timestamp(view.created_seconds),
            "containerStatuses": [_container_status(each, view, uid) for each in workload.containers],
        }
    status["conditions"] = _carry_times(conditions, before)
    status["qosClass"] = "Burstable"
    return {"metadata": metadata, "spec": spec, "status": status}


def node(created_seconds: float) -> Content:
    """The node that pods are shown on."""
    room = {"cpu": "1k", "memory": "4Ti", "pods": "10k"}
    return {
        "metadata": {
            "name": NODE,
            "uid": uid_of("node", NODE),
            "creationTimestamp": timestamp(created_seconds),
            "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"},
        },
        "spec": {},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [_condition("Ready", True, created_seconds, "KubeletReady", "the simulation is running")],
            "addresses": [{"type": "Hostname", "address": NODE}],
        },
    }


def _pod_spec(view: WorkloadView) -> Content:
    return {
        "containers": [_container(each) for each in view.containers],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "schedulerName": "default-scheduler",
    }


def _container(container: Container) -> Content:
    resources: Content = {}
    for kind, millicores, mib in (
        ("limits", container.cpu_limit_millicores, container.memory_limit_mib),
        ("requests", container.cpu_request_millicores, container.memory_request_mib),
    ):
        stated = {}
        if millicores is not None:
            stated["cpu"] = cpu_quantity(round(millicores * 1_000_000))
        if mib is not None:
            stated["memory"] = memory_quantity(round(mib * 1024 * 1024))
        if stated:
            resources[kind] = stated
    return {
        "name": container.name,
        "image": _image(container),
        "resources": resources,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def _image(container: Container) -> str:
    return f"sandbox.local/{container.name}:v1"


def _container_status(container: Container, view: PodView, uid: str) -> Content:
    is_ready = view.ready or container.is_proxy
    return {
        "name": container.name,
        "state": {"running": {"startedAt": timestamp(view.created_seconds)}},
        "lastState": {},
        "ready": is_ready,
        "restartCount": 0 if container.is_proxy else view.restarts,
        "image": _image(container),
        "imageID": f"{_image(container)}@sha256:{hashlib.sha256(container.name.encode()).hexdigest()}",
        "containerID": f"containerd://{hashlib.sha256(f'{uid}/{container.name}'.encode()).hexdigest()}",
        "started": is_ready,
    }


def _condition(name: str, holds: bool, since: float, reason: str = "", message: str = "") -> Content:
    condition = {"type": name, "status": "True" if holds else "False", "lastTransitionTime": timestamp(since)}
    if reason:
        condition |= {"reason": reason, "message": message}
    return condition


def _carry_times(conditions: list[Content], before: Mapping[str, Any] | None) -> list[Content]:
    """Conditions that are as they were keep the time since when."""
    known = {each["type"]: each for each in before["status"]["conditions"]} if before else {}
    same = ((each, known.get(each["type"])) for each in conditions)
    return [old if old is not None and old["status"] == each["status"] else each for each, old in same]


def _availability(is_available: bool) -> tuple[str, str]:
    if is_available:
        return "MinimumReplicasAvailable", "Deployment has minimum availability."
    return "MinimumReplicasUnavailable", "Deployment does not have minimum availability."


def _owner(api_version: str, kind: str, metadata: Mapping[str, Any]) -> Content:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
