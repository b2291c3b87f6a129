"""What a Role grants, rule by rule, as RBAC evaluates it."""

from __future__ import annotations

from typing import Any

import pytest

from gnnrl.live.sandbox.http_server import Request
from gnnrl.live.sandbox.kube.request_info import RequestInfo
from gnnrl.live.sandbox.kube.roles import Grants, RoleError


def role(*rules: Any, kind: str = "Role", **metadata: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "one", **metadata}, "rules": list(rules)}


def rule(verbs: list[str], resources: list[str], group: str = "", names: list[str] | None = None) -> dict[str, Any]:
    found = {"verbs": verbs, "apiGroups": [group], "resources": resources}
    return found if names is None else {**found, "resourceNames": names}


def asked(verb: str, resource: str, group: str = "", *, namespace: str = "shop", name: str = "") -> RequestInfo:
    plural, _, subresource = resource.partition("/")
    return RequestInfo(verb=verb, group=group, resource=plural, subresource=subresource, namespace=namespace, name=name)


LEASES = rule(["get", "update"], ["leases"], "coordination.k8s.io", ["gnnrl"])


@pytest.mark.parametrize(
    ("granted", "wanted", "allowed"),
    [
        (LEASES, asked("get", "leases", "coordination.k8s.io", name="gnnrl"), True),
        # A question without a name is about every Lease: no.
        (LEASES, asked("get", "leases", "coordination.k8s.io"), False),
        (LEASES, asked("get", "leases", "coordination.k8s.io", name="other"), False),
        (LEASES, asked("patch", "leases", "coordination.k8s.io", name="gnnrl"), False),
        # What is created has no name yet.
        (rule(["create"], ["leases"], names=["gnnrl"]), asked("create", "leases"), False),
        (rule(["get"], ["deployments"], "apps"), asked("get", "deployments/scale", "apps", name="web"), False),
        (rule(["get"], ["deployments/scale"], "apps"), asked("get", "deployments", "apps", name="web"), False),
        (rule(["get"], ["deployments/scale"], "apps"), asked("get", "deployments/scale", "apps", name="web"), True),
        (rule(["get"], ["*/scale"], "apps"), asked("get", "deployments/scale", "apps", name="web"), True),
        (rule(["get"], ["*/scale"], "apps"), asked("get", "deployments", "apps", name="web"), False),
        (rule(["*"], ["*"], "*"), asked("delete", "deployments/scale", "apps"), True),
        (rule(["list"], ["pods"]), asked("list", "pods", "metrics.k8s.io"), False),
        (rule(["list"], ["pods"]), asked("list", "pods", namespace="elsewhere"), False),
        (rule(["list"], ["pods"]), asked("list", "pods", namespace=""), False),
        (rule(["get"], ["namespaces"]), asked("get", "namespaces", name="shop"), True),
    ],
)
def test_a_rule_grants_what_rbac_says(granted: dict[str, Any], wanted: RequestInfo, allowed: bool) -> None:
    assert Grants.of([role(granted)], "shop").allow(wanted) is allowed


def test_a_role_holds_in_its_namespace_and_a_cluster_role_everywhere() -> None:
    pods = rule(["list"], ["pods"])
    elsewhere = asked("list", "pods", namespace="elsewhere")
    assert Grants.of([role(pods, namespace="elsewhere")], "shop").allow(elsewhere)
    assert not Grants.of([role(pods, namespace="elsewhere")], "shop").allow(asked("list", "pods"))
    assert Grants.of([role(pods, kind="ClusterRole")], "shop").allow(elsewhere)
    both = Grants.of(
        [role(pods), role(rule(["get"], ["nodes"]), kind="ClusterRole"), {"kind": "Service"}, None], "shop"
    )
    assert both.allow(asked("list", "pods")) and both.allow(asked("get", "nodes", namespace=""))
    assert both.told("elsewhere") == [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"kind": "Deployment"}, "no Role among these manifests"),
        (role("get pods"), r"Role 'one': rules\[0\]: is no rule"),
        (role({"verbs": "get", "apiGroups": [""], "resources": ["pods"]}), "verbs is no list"),
        (role({"verbs": ["get"], "resources": ["pods"]}), "resources without apiGroups"),
        (role({"verbs": ["get"], "apiGroups": [""]}), "a rule has verbs, and resources"),
        (role({"verbs": ["get"], "apiGroup": [""], "resources": ["pods"]}), "unknown: apiGroup"),
        ({**role(), "rules": {"verbs": []}}, "rules is no list"),
    ],
)
def test_what_is_no_role_is_refused(manifest: Any, said: str) -> None:
    with pytest.raises(RoleError, match=said):
        Grants.of([manifest], "shop")


@pytest.mark.parametrize(
    ("method", "path", "query", "wanted"),
    [
        ("GET", "/api/v1/namespaces/shop", {}, asked("get", "namespaces", name="shop")),
        ("GET", "/api/v1/namespaces", {}, asked("list", "namespaces", namespace="")),
        ("GET", "/api/v1/namespaces/shop/pods", {"watch": ["true"]}, asked("watch", "pods")),
        ("GET", "/api/v1/namespaces/shop/pods", {"fieldSelector": ["metadata.name=a"]}, asked("list", "pods", name="a")),
        ("HEAD", "/api/v1/namespaces/shop/pods/a", {}, asked("get", "pods", name="a")),
        ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web/scale", {}, asked("patch", "deployments/scale", "apps", name="web")),
        ("DELETE", "/api/v1/namespaces/shop/events", {}, asked("deletecollection", "events")),
        ("POST", "/api/v1/namespaces/shop/events", {}, asked("create", "events")),
        ("GET", "/version", {}, None),
        ("GET", "/apis/apps/v1", {}, None),
        ("GET", "/", {}, None),
    ],
)  # fmt: skip
def test_a_request_asks_for_what_the_api_server_makes_of_it(
    method: str, path: str, query: dict[str, list[str]], wanted: RequestInfo | None
) -> None:
    assert RequestInfo.of(Request(method=method, path=path, query=query, headers={}, body=b"")) == wanted
