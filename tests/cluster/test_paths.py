"""Paths in the words of RBAC."""

from __future__ import annotations

import pytest

from gnnrl.cluster import paths


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", paths.namespace_path("shop"), ("get", "namespaces", "shop", "shop")),
        ("GET", "/api/v1/namespaces", ("list", "namespaces", "", "")),
        ("GET", paths.deployments_path("shop"), ("list", "deployments", "shop", "")),
        ("GET", paths.deployment_path("shop", "web"), ("get", "deployments", "shop", "web")),
        ("PATCH", paths.scale_path("shop", "web"), ("patch", "deployments/scale", "shop", "web")),
        ("GET", paths.pods_path("shop"), ("list", "pods", "shop", "")),
        ("GET", paths.pod_metrics_path("shop"), ("list", "pods.metrics.k8s.io", "shop", "")),
        ("PUT", paths.lease_path("shop", "gnnrl"), ("update", "leases.coordination.k8s.io", "shop", "gnnrl")),
        ("POST", paths.events_path("shop"), ("create", "events", "shop", "")),
        ("GET", paths.scaled_objects_path("shop"), ("list", "scaledobjects.keda.sh", "shop", "")),
        ("GET", "/version", ("get", "/version", "", "")),
    ],
)
def test_a_call_is_named_as_rbac_names_it(method: str, path: str, wanted: tuple[str, str, str, str]) -> None:
    assert tuple(paths.access(method, path)) == wanted


def test_a_watch_is_another_verb_than_a_list() -> None:
    assert paths.access("GET", paths.pods_path("shop"), watch=True).verb == "watch"


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert paths.access("GET", paths.scale_path("a", "../x?y")).name == "../x?y"
    assert paths.scale_path("a/b", "../x?y") == "/apis/apps/v1/namespaces/a%2Fb/deployments/..%2Fx%3Fy/scale"
