"""Who may do what: everything, or what Roles grant; and never what a table denies."""

from __future__ import annotations

from typing import Any

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.request_info import RequestInfo
from gnnrl.live.sandbox.kube.resource_types import RESOURCE_TYPES
from gnnrl.live.sandbox.kube.roles import Grants

__all__ = ["AccessRules"]

REVIEWS = "authorization.k8s.io"
"""Whoever has logged in may ask what it may (ClusterRole system:basic-user)."""


class AccessRules:
    """The permissions of the one account there is.

    Args:
        user: its name in messages.
        deny: (verb, resource) pairs that are refused, as `("patch", "deployments/scale")`; resource also with its group, as
            `pods.metrics.k8s.io` (which plain `pods` does not mean) or `deployments.apps/scale`; `*` = any. May be changed at any time.

    Attributes:
        grants: what is granted, and nothing else; None = everything. May be changed at any time.
    """

    def __init__(self, user: str, deny: set[tuple[str, str]]) -> None:
        self.user = user
        self.deny = deny
        self.grants: Grants | None = None

    def allows(self, asked: RequestInfo) -> bool:
        """Whether a verb on a resource is granted."""
        granted = self.grants is None or self.grants.allow(asked) or (asked.group == REVIEWS and asked.verb == "create")
        return granted and not self._denies(asked)

    def _denies(self, asked: RequestInfo) -> bool:
        suffix = f"/{asked.subresource}" if asked.subresource else ""
        names = {"*", f"{asked.resource}.{asked.group}{suffix}" if asked.group else asked.path}
        if asked.group != "metrics.k8s.io":
            names.add(asked.path)
        return any(denied in (asked.verb, "*") and name in names for denied, name in tuple(self.deny))

    def check(self, request: Request) -> None:
        """Raises `ApiError` 403 if what it asks for is not granted, whether the server has such a thing or not."""
        asked = RequestInfo.of(request)
        if asked is not None and not self.allows(asked):
            raise ApiError.forbidden(self.user, asked)

    def review(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer of a SelfSubjectAccessReview.

        Raises:
            ApiError: 422, it asks for nothing, or for two things.
        """
        spec = body.get("spec")
        asked = spec.get("resourceAttributes") if isinstance(spec, dict) else None
        path = spec.get("nonResourceAttributes") if isinstance(spec, dict) else None
        if isinstance(asked, dict) == isinstance(path, dict):
            why = "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise ApiError.invalid(
                "authorization.k8s.io", "SelfSubjectAccessReview", "", "spec.resourceAttributes", why
            )  # fmt: skip
        status: dict[str, Any] = {"allowed": True}
        if isinstance(asked, dict) and not self.allows(info := RequestInfo.asked(asked)):
            # RBAC itself gives no reason.
            told = {"reason": f"denied to {self.user} by the sandbox's table"} if self._denies(info) else {}
            status = {"allowed": False, **told}
        return {"metadata": {}, "spec": spec, "status": status}

    def rules(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer of a SelfSubjectRulesReview: every verb that is granted."""
        spec = body.get("spec")
        namespace = spec.get("namespace") if isinstance(spec, dict) else None
        rules = self._offered() if self.grants is None else self.grants.told(str(namespace or ""))
        status = {
            "resourceRules": rules,
            "nonResourceRules": [],
            "incomplete": self.grants is not None and bool(self.deny),
        }
        return {"metadata": {}, "spec": body.get("spec", {}), "status": status}

    def _offered(self) -> list[dict[str, Any]]:
        """All that the server has, but what is denied."""
        rules = []
        for kind in RESOURCE_TYPES:
            offered = [(kind.plural, "", kind.verbs)]
            if kind.kind == "Deployment":
                offered.append((kind.plural, "scale", ("get", "patch", "update")))
            for plural, subresource, verbs in offered:
                asked = [
                    RequestInfo(verb=verb, group=kind.group, resource=plural, subresource=subresource) for verb in verbs
                ]
                granted = [one.verb for one in asked if self.allows(one)]
                if granted:
                    rules.append({"verbs": granted, "apiGroups": [kind.group], "resources": [asked[0].path]})
        return rules
