"""What Roles and ClusterRoles grant, read from their manifests.

Source: `VerbMatches`, `ResourceMatches` and their siblings of Kubernetes' pkg/apis/rbac/v1/evaluation_helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from gnnrl.live.sandbox.kube.request_info import RequestInfo

__all__ = ["Grants", "RoleError"]

KINDS = ("Role", "ClusterRole")
ALL = "*"
LISTS = ("apiGroups", "resources", "resourceNames", "verbs", "nonResourceURLs")


class RoleError(ValueError):
    """A manifest is no Role."""


@dataclass(frozen=True)
class _Rule:
    namespace: str
    """That it holds in; empty = everywhere."""
    listed: Mapping[str, tuple[str, ...]]
    """Its lists, by name."""

    def allows(self, asked: RequestInfo) -> bool:
        verbs, groups, resources, names = (
            self.listed[key] for key in ("verbs", "apiGroups", "resources", "resourceNames")
        )
        return (
            self.namespace in ("", asked.namespace)
            and any(verb in (ALL, asked.verb) for verb in verbs)
            and any(group in (ALL, asked.group) for group in groups)
            and any(_covers(resource, asked) for resource in resources)
            and (not names or asked.name in names)
        )


def _covers(resource: str, asked: RequestInfo) -> bool:
    """`deployments` does not cover `deployments/scale`; `*/scale` does."""
    return resource in (ALL, asked.path) or bool(asked.subresource and resource == f"{ALL}/{asked.subresource}")


class Grants:
    """All that some Roles grant together: RBAC only ever adds.

    Args:
        rules: of the Roles.
    """

    def __init__(self, rules: Iterable[_Rule]) -> None:
        self._rules = tuple(rules)

    @classmethod
    def of(cls, manifests: Iterable[object], namespace: str) -> Self:
        """Of Roles and ClusterRoles; whatever else is among them is passed over.

        Args:
            manifests: as they would be applied.
            namespace: of a Role that names none.

        Raises:
            RoleError: there is no Role among them, or one that the API server would not take.
        """
        rules: list[_Rule] = []
        roles = [one for one in manifests if isinstance(one, Mapping) and one.get("kind") in KINDS]
        if not roles:
            raise RoleError("there is no Role among these manifests; give deploy/base/role.yaml, or one like it")
        for role in roles:
            metadata = role.get("metadata")
            named: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
            place = f"{role['kind']} {named.get('name')!r}"
            own = "" if role["kind"] == "ClusterRole" else str(named.get("namespace") or namespace)
            listed = role.get("rules") or []
            if not isinstance(listed, list):
                raise RoleError(f"{place}: rules is no list")
            rules += [_Rule(own, _lists(rule, f"{place}: rules[{index}]")) for index, rule in enumerate(listed)]
        return cls(rules)

    def allow(self, asked: RequestInfo) -> bool:
        """Whether one of the rules grants it."""
        return any(rule.allows(asked) for rule in self._rules)

    def told(self, namespace: str) -> list[dict[str, Any]]:
        """The rules that hold in a namespace, as a SelfSubjectRulesReview lists them."""
        keys = ("verbs", "apiGroups", "resources", "resourceNames")
        held = [rule.listed for rule in self._rules if rule.namespace in ("", namespace) and rule.listed["resources"]]
        return [{key: list(listed[key]) for key in keys if listed[key]} for listed in held]


def _lists(rule: object, place: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(rule, Mapping):
        raise RoleError(f"{place}: is no rule")
    unknown = sorted(set(rule) - set(LISTS))
    if unknown:
        raise RoleError(f"{place}: unknown: {', '.join(unknown)}")
    found: dict[str, tuple[str, ...]] = {}
    for key in LISTS:
        values = rule.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise RoleError(f"{place}: {key} is no list of names")
        found[key] = tuple(values)
    if not found["verbs"] or bool(found["resources"]) == bool(found["nonResourceURLs"]):
        raise RoleError(f"{place}: a rule has verbs, and resources or nonResourceURLs")
    if found["resources"] and not found["apiGroups"]:
        raise RoleError(f'{place}: resources without apiGroups ("" is that of pods)')
    return found
