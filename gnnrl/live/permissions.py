"""What the live loop asks of the Kubernetes API, as RBAC calls it; deploy/base/role.yaml grants it."""

from __future__ import annotations

from dataclasses import dataclass

from gnnrl.cluster.actuator import WriteMode
from gnnrl.cluster.errors import ClusterForbiddenError

__all__ = ["LEASE_NAME", "Permission", "wanted_permissions"]

LEASE_NAME = "gnnrl"
"""In the scaled namespace; the Role grants no other."""


@dataclass(frozen=True, kw_only=True)
class Permission:
    """A verb on a resource of the namespace."""

    verb: str
    group: str = ""
    resource: str
    subresource: str = ""
    name: str = ""
    """Of the one object that is asked for; empty = any, as of a list. A Role that names objects (`resourceNames`) grants nothing else."""
    needed: bool = True
    """Whether the loop must not start without it; otherwise it does less."""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if "." in self.group else self.resource
        return f"{self.verb} {resource}" + (f"/{self.subresource}" if self.subresource else "")

    def refusal(self, namespace: str) -> ClusterForbiddenError:
        """What a call without it ends with."""
        verb, resource = str(self).split()
        return ClusterForbiddenError(verb, resource, namespace, self.name)


def wanted_permissions(mode: WriteMode, namespace: str, *, leader_elect: bool) -> tuple[Permission, ...]:
    """All that is used, the reading first, each as the requests themselves ask for it.

    Args:
        mode: what is written. What writes nothing holds no Lease and posts no Event.
        namespace: that is scaled.
        leader_elect: whether a Lease is held where something is written.
    """
    wanted = [
        Permission(verb="list", group="apps", resource="deployments"),
        Permission(verb="list", resource="pods"),
        Permission(verb="list", group="metrics.k8s.io", resource="pods"),
        Permission(verb="list", group="autoscaling", resource="horizontalpodautoscalers"),
        Permission(verb="list", group="keda.sh", resource="scaledobjects"),
        Permission(verb="list", group="policy", resource="poddisruptionbudgets"),
        Permission(verb="list", resource="resourcequotas"),
        Permission(verb="get", resource="namespaces", name=namespace),
    ]
    if mode == "shadow":
        return tuple(wanted)
    wanted += [
        Permission(verb=verb, group="apps", resource="deployments", subresource="scale") for verb in ("get", "patch")
    ]
    if mode == "dry-run":
        return tuple(wanted)
    if leader_elect:
        # Nothing has a name before it is created, so that RBAC cannot grant `create` by name.
        wanted += [
            Permission(verb=verb, group="coordination.k8s.io", resource="leases", name=name)
            for verb, name in (("get", LEASE_NAME), ("create", ""), ("update", LEASE_NAME))
        ]
    wanted += [Permission(verb=verb, resource="events", needed=False) for verb in ("create", "patch")]
    return tuple(wanted)
