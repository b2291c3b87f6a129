"""What the sandbox's Kubernetes API serves: groups, versions, kinds and the verbs of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["GROUP_VERSIONS", "RESOURCE_TYPES", "SCALE", "ResourceType", "find_type"]

READ = ("get", "list", "watch")
ANNOTATE = ("get", "list", "patch", "update", "watch")
CRUD = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One resource of one group and version."""

    group: str
    """Empty = core."""
    version: str
    plural: str
    kind: str
    verbs: tuple[str, ...]
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    storage: str = ""
    """Objects are kept under this name; empty = not kept, computed for each request."""
    unconditional_update: bool = True
    """Whether an update may leave resourceVersion out (each kind's strategy in the API server)."""
    create_on_update: bool = False
    """Whether an update of an absent object creates it."""
    custom: bool = False
    """From a CustomResourceDefinition: no strategic merge patch, no protobuf."""
    translated: bool = False
    """Stored in the fields of another version than this one."""

    @cached_property
    def api_version(self) -> str:
        """As in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def qualified(self) -> str:
        """`plural.group`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def singular(self) -> str:
        """Lower-case kind."""
        return self.kind.lower()

    @cached_property
    def group_version(self) -> tuple[str, str]:
        """(group, version)."""
        return self.group, self.version


RESOURCE_TYPES = (
    ResourceType(
        group="", version="v1", plural="namespaces", kind="Namespace", verbs=ANNOTATE, namespaced=False,
        short_names=("ns",), storage="namespaces",
    ),
    ResourceType(
        group="", version="v1", plural="nodes", kind="Node", verbs=READ, namespaced=False, short_names=("no",),
        storage="nodes",
    ),
    ResourceType(
        group="", version="v1", plural="pods", kind="Pod", verbs=READ, short_names=("po",), categories=("all",),
        storage="pods",
    ),
    ResourceType(
        group="", version="v1", plural="events", kind="Event", verbs=CRUD, short_names=("ev",), storage="events",
        create_on_update=True,
    ),
    ResourceType(
        group="", version="v1", plural="resourcequotas", kind="ResourceQuota", verbs=CRUD, short_names=("quota",),
        storage="resourcequotas",
    ),
    ResourceType(
        group="apps", version="v1", plural="deployments", kind="Deployment", verbs=ANNOTATE, short_names=("deploy",),
        categories=("all",), storage="deployments",
    ),
    ResourceType(
        group="apps", version="v1", plural="replicasets", kind="ReplicaSet", verbs=READ, short_names=("rs",),
        categories=("all",), storage="replicasets",
    ),
    ResourceType(
        group="autoscaling", version="v1", plural="horizontalpodautoscalers", kind="HorizontalPodAutoscaler", verbs=CRUD,
        short_names=("hpa",), categories=("all",), storage="horizontalpodautoscalers", translated=True,
    ),
    ResourceType(
        group="autoscaling", version="v2", plural="horizontalpodautoscalers", kind="HorizontalPodAutoscaler", verbs=CRUD,
        short_names=("hpa",), categories=("all",), storage="horizontalpodautoscalers",
    ),
    ResourceType(
        group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget", verbs=CRUD,
        short_names=("pdb",), storage="poddisruptionbudgets", unconditional_update=False,
    ),
    ResourceType(
        group="coordination.k8s.io", version="v1", plural="leases", kind="Lease", verbs=CRUD, storage="leases",
        unconditional_update=False, create_on_update=True,
    ),
    ResourceType(
        group="events.k8s.io", version="v1", plural="events", kind="Event", verbs=CRUD, short_names=("ev",),
        storage="events", create_on_update=True, translated=True,
    ),
    ResourceType(
        group="authorization.k8s.io", version="v1", plural="selfsubjectaccessreviews", kind="SelfSubjectAccessReview",
        verbs=("create",), namespaced=False,
    ),
    ResourceType(
        group="authorization.k8s.io", version="v1", plural="selfsubjectrulesreviews", kind="SelfSubjectRulesReview",
        verbs=("create",), namespaced=False,
    ),
    ResourceType(
        group="metrics.k8s.io", version="v1beta1", plural="pods", kind="PodMetrics", verbs=("get", "list"),
    ),
    ResourceType(
        group="metrics.k8s.io", version="v1beta1", plural="nodes", kind="NodeMetrics", verbs=("get", "list"),
        namespaced=False,
    ),
    ResourceType(
        group="keda.sh", version="v1alpha1", plural="scaledobjects", kind="ScaledObject", verbs=CRUD, short_names=("so",),
        storage="scaledobjects", unconditional_update=False, custom=True,
    ),
)  # fmt: skip

SCALE = ResourceType(group="autoscaling", version="v1", plural="scales", kind="Scale", verbs=("get", "patch", "update"))
"""What the subresource `deployments/scale` shows of a Deployment."""

GROUP_VERSIONS = tuple(dict.fromkeys(kind.group_version for kind in RESOURCE_TYPES))
"""Every (group, version) served, in order of discovery."""

_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in RESOURCE_TYPES}


def find_type(group: str, version: str, plural: str) -> ResourceType | None:
    """The resource served at a path, if there is one."""
    return _BY_PATH.get((group, version, plural))
