"""Who in a cluster said no: RBAC, an admission policy, a webhook, a quota, Pod Security; each has its own remedy.

All of them answer 403 with the reason Forbidden, so that only the words tell them apart. Sources, in Kubernetes: `forbiddenMessage` of
k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go; of k8s.io/apiserver/pkg/admission plugin/policy/validating/dispatcher.go,
plugin/webhook/errors/statuserror.go, plugin/resourcequota and plugin/namespace/lifecycle; plugin/pkg/admission/limitranger and
plugin/pkg/admission/security/podsecurity.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Denial", "denial_in", "is_missing_right"]

QUOTED = r'"(?:[^"\\]|\\.)*"'
RBAC: Final = re.compile(
    rf"(?:\S+(?: {QUOTED})? is )?forbidden: User {QUOTED} cannot \S+ (?:resource {QUOTED} in API group {QUOTED}|path {QUOTED})"
)
"""From the first word on: a policy's own message may quote it."""


class Denial(NamedTuple):
    """Somebody behind the API server's authorization who refuses."""

    who: str
    remedy: str
    """`{namespace}` stands for its name."""


DENIALS: Final = (
    (
        re.compile(r"ValidatingAdmissionPolicy .*denied request"),
        Denial(
            "an admission policy of the cluster",
            "no right is missing: let the policy pass this account (`kubectl get validatingadmissionpolicies`)",
        ),
    ),
    (
        re.compile(r"admission webhook .*denied the request"),
        Denial(
            "an admission webhook of the cluster",
            "no right is missing: let it pass this account (`kubectl get validatingwebhookconfigurations`)",
        ),
    ),
    (
        re.compile(r"exceeded quota: |failed quota: |status unknown for quota: "),
        Denial("a quota of the namespace", "make room in it (`kubectl describe resourcequota -n {namespace}`)"),
    ),
    (
        re.compile(r"violates PodSecurity "),
        Denial(
            "the Pod Security level of the namespace",
            "mend the pod's template, or the labels pod-security.kubernetes.io of namespace {namespace}",
        ),
    ),
    (
        re.compile(r"(?:maximum|minimum) \S+ usage per |max limit to request ratio per "),
        Denial("a LimitRange of the namespace", "see `kubectl describe limitrange -n {namespace}`"),
    ),
    (
        re.compile(r"because it is being terminated"),
        Denial("the namespace's end", "namespace {namespace} is being deleted: end what scales it"),
    ),
    (
        re.compile(r"denied (?:the )?request"),
        Denial("an admission control of the cluster", "no right is missing: ask who set it up"),
    ),
)
"""The first that is found in a message counts."""


def is_missing_right(said: str) -> bool:
    """Whether a 403 says in RBAC's own words that a right is not granted."""
    return RBAC.match(said) is not None


def denial_in(said: str) -> Denial | None:
    """Who refuses, from the words of the refusal; None = nobody who is known."""
    return next((found for pattern, found in DENIALS if pattern.search(said)), None)
