"""Who may do what: everything, but for what a table denies."""

from __future__ import annotations

from typing import Any

from gnnrl.live.sandbox.kube.api_status import ApiError
from gnnrl.live.sandbox.kube.resource_types import RESOURCE_TYPES, ResourceType

__all__ = ["AccessRules"]


class AccessRules:
    """The permissions of the one account there is.

    Args:
        user: its name in messages.
        deny: (verb, resource) pairs that are refused, as `("patch", "deployments/scale")`; resource also with its group, as
            `pods.metrics.k8s.io` (which plain `pods` does not mean) or `deployments.apps/scale`; `*` = any. May be changed at any time.
    """

    def __init__(self, user: str, deny: set[tuple[str, str]]) -> None:
        self.user = user
        self.deny = deny

    def allows(self, verb: str, group: str, resource: str, subresource: str = "") -> bool:
        """Whether a verb on a resource is granted."""
        suffix = f"/{subresource}" if subresource else ""
        names = {"*", f"{resource}.{group}{suffix}" if group else f"{resource}{suffix}"}
        if group != "metrics.k8s.io":
            names.add(f"{resource}{suffix}")
        return not any(denied in (verb, "*") and name in names for denied, name in tuple(self.deny))

    def check(self, verb: str, kind: ResourceType, subresource: str, namespace: str, name: str) -> None:
        """Raises `ApiError` 403 if the verb is not granted."""
        if not self.allows(verb, kind.group, kind.plural, subresource):
            raise ApiError.forbidden(self.user, verb, kind, subresource, namespace, name)

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
        allowed = not isinstance(asked, dict) or self.allows(
            asked.get("verb", ""), asked.get("group", ""), asked.get("resource", ""), asked.get("subresource", "")
        )
        reason = "" if allowed else f"denied to {self.user} by the sandbox's table"
        return {"metadata": {}, "spec": spec, "status": {"allowed": allowed, **({"reason": reason} if reason else {})}}

    def rules(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer of a SelfSubjectRulesReview: every verb that is granted."""
        rules = []
        for kind in RESOURCE_TYPES:
            offered = [(kind.plural, "", kind.verbs)]
            if kind.kind == "Deployment":
                offered.append((kind.plural, "scale", ("get", "patch", "update")))
            for plural, subresource, verbs in offered:
                granted = [verb for verb in verbs if self.allows(verb, kind.group, plural, subresource)]
                resource = f"{plural}/{subresource}" if subresource else plural
                if granted:
                    rules.append({"verbs": granted, "apiGroups": [kind.group], "resources": [resource]})
        status = {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}
        return {"metadata": {}, "spec": body.get("spec", {}), "status": status}
