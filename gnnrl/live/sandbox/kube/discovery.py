"""What the API server says about itself: versions, groups, resources, and an OpenAPI document without schemas."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gnnrl.live.sandbox.http_server import Request, Response
from gnnrl.live.sandbox.kube.resource_types import GROUP_VERSIONS, RESOURCE_TYPES, ResourceType

__all__ = ["VERSION", "discover"]

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2+gnnrl-sandbox",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
OPENAPI_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""As it is asked for; `@` is no part of a valid media type, so the answer is called otherwise."""
OPENAPI_PROTOBUF_ANSWER = OPENAPI_PROTOBUF.replace("@", ".")


def discover(request: Request, absent_groups: Collection[str]) -> Response | None:
    """The discovery document at the request's path; None if it is no discovery path.

    Args:
        request: a GET.
        absent_groups: groups that are left out, as on a cluster without them.
    """
    path = request.path.rstrip("/")
    served = [group_version for group_version in GROUP_VERSIONS if group_version[0] not in absent_groups]
    if path == "/api":
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": request.headers.get("host", "")}
        return Response.of_json(
            {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}
        )  # fmt: skip
    if path == "/apis":
        groups = [_group(group) for group in dict.fromkeys(group for group, _ in served) if group]
        return Response.of_json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    if path == "/openapi/v2":
        if OPENAPI_PROTOBUF in request.headers.get("accept", ""):
            return Response(content_type=OPENAPI_PROTOBUF_ANSWER)  # no bytes are an empty document
        info = {"title": "gnnrl sandbox", "version": VERSION["gitVersion"]}
        return Response.of_json({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})
    if path == "/openapi/v3":
        return Response.of_json({"paths": {}})
    for group, version in served:
        if group and path == f"/apis/{group}":
            return Response.of_json({"kind": "APIGroup", "apiVersion": "v1", **_group(group)})
        if path == (f"/apis/{group}/{version}" if group else f"/api/{version}"):
            return Response.of_json(_resources(group, version))
    return None


def _group(group: str) -> dict[str, Any]:
    # The newest version is the preferred one and comes first.
    versions = sorted((version for name, version in GROUP_VERSIONS if name == group), reverse=True)
    spelled = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": spelled, "preferredVersion": spelled[0]}


def _resources(group: str, version: str) -> dict[str, Any]:
    resources = []
    for kind in RESOURCE_TYPES:
        if kind.group_version == (group, version):
            resources.append(_resource(kind))
            if kind.kind == "Deployment":
                resources.append(
                    {
                        "name": "deployments/scale",
                        "singularName": "",
                        "namespaced": True,
                        "group": "autoscaling",
                        "version": "v1",
                        "kind": "Scale",
                        "verbs": ["get", "patch", "update"],
                    }
                )
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _resource(kind: ResourceType) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    return resource
