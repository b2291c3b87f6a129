"""What the live loop asks of the Kubernetes API, as RBAC calls it; deploy/base/role.yaml grants it."""

from __future__ import annotations

from dataclasses import dataclass

from gnnrl.cluster.actuator import WriteMode
from gnnrl.cluster.errors import ClusterForbiddenError

__all__ = ["Permission", "wanted_permissions"]


@dataclass(frozen=True, kw_only=True)
class Permission:
    """A verb on a resource of the namespace."""

    verb: str
    group: str = ""
    resource: str
    subresource: str = ""
    needed: bool = True
    """Whether the loop must not start without it; otherwise it does less."""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if "." in self.group else self.resource
        return f"{self.verb} {resource}" + (f"/{self.subresource}" if self.subresource else "")

    def refusal(self, namespace: str) -> ClusterForbiddenError:
        """What a call without it ends with."""
        verb, resource = str(self).split()
        return ClusterForbiddenError(verb, resource, namespace)


def wanted_permissions(mode: WriteMode, *, leader_elect: bool) -> tuple[Permission, ...]:
    """All that is used, the reading first.

    Args:
        mode: what is written.
        leader_elect: whether a Lease is held.
    """
    wanted = [
        Permission(verb="list", group="apps", resource="deployments"),
        Permission(verb="list", resource="pods"),
        Permission(verb="list", group="metrics.k8s.io", resource="pods"),
        Permission(verb="list", group="autoscaling", resource="horizontalpodautoscalers"),
        Permission(verb="list", group="keda.sh", resource="scaledobjects"),
        Permission(verb="list", group="policy", resource="poddisruptionbudgets"),
        Permission(verb="list", resource="resourcequotas"),
        Permission(verb="get", resource="namespaces"),
    ]
    if mode == "shadow":
        return tuple(wanted)
    wanted += [
        Permission(verb=verb, group="apps", resource="deployments", subresource="scale") for verb in ("get", "patch")
    ]
    if leader_elect:
        wanted += [
            Permission(verb=verb, group="coordination.k8s.io", resource="leases")
            for verb in ("get", "create", "update")
        ]
    if mode == "live":
        wanted += [Permission(verb=verb, resource="events", needed=False) for verb in ("create", "patch")]
    return tuple(wanted)
