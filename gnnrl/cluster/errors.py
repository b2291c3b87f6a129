"""What can go wrong with a cluster, as one tree of exceptions. A message says what, where and the remedy; never a token.

ClusterError
    ClusterConfigError       kubeconfig, context or certificate unusable
    ClusterAuthError         401: the credentials are not accepted (expired token)
    ClusterForbiddenError    403: a verb on a resource is not granted; `verb`, `resource`, `namespace`, `name`
    ClusterNotFoundError     404: namespace, object or API (metrics.k8s.io) absent
    ClusterConflictError     409: somebody else changed the object since it was read
    ClusterInvalidError      422: the API server refused the object; 403 of an admission policy, a webhook or a quota
    ClusterUnavailableError  no connection, TLS failure, deadline passed, or 5xx / 429
    ClusterAnswerError       an answer that cannot be understood
"""

from __future__ import annotations

__all__ = [
    "ClusterAnswerError",
    "ClusterAuthError",
    "ClusterConfigError",
    "ClusterConflictError",
    "ClusterError",
    "ClusterForbiddenError",
    "ClusterInvalidError",
    "ClusterNotFoundError",
    "ClusterUnavailableError",
]


class ClusterError(Exception):
    """Anything that keeps the cluster from being read or written."""


class ClusterConfigError(ClusterError):
    """The kubeconfig, its context or a certificate cannot be used."""


class ClusterAuthError(ClusterError):
    """The API server does not accept the credentials."""


class ClusterForbiddenError(ClusterError):
    """A permission is missing: which verb on which resource stands in the message and the attributes."""

    def __init__(self, verb: str, resource: str, namespace: str, name: str = "") -> None:
        self.verb, self.resource, self.namespace, self.name = verb, resource, namespace, name
        plural, _, subresource = resource.partition("/")
        # With the name, since a Role may grant the one object only.
        one = f"{plural}/{name}" if name else plural
        # kubectl would read deployments/scale as a Deployment named scale.
        asked = f"{one} --subresource={subresource}" if subresource else one
        super().__init__(
            f"not allowed to {verb} {resource} in namespace {namespace!r}; grant it to this account and try "
            f"kubectl auth can-i {verb} {asked} -n {namespace} (deploy/base/role.yaml has every rule)"
        )


class ClusterNotFoundError(ClusterError):
    """The namespace, the object or the API does not exist."""


class ClusterConflictError(ClusterError):
    """The object was changed since it was read: read it again and decide again."""


class ClusterInvalidError(ClusterError):
    """The API server refused the object."""


class ClusterUnavailableError(ClusterError):
    """The API server cannot be reached, is late, or fails."""


class ClusterAnswerError(ClusterError):
    """An answer that is not what the API promises."""
