"""What a request asks for in the words of RBAC, from its method and path alone.

Source: `NewRequestInfo` of k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gnnrl.live.sandbox.http_server import Request

__all__ = ["RequestInfo"]

WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch"}
WHOLE_NAME = "metadata.name="


@dataclass(frozen=True, kw_only=True)
class RequestInfo:
    """A verb on a resource."""

    verb: str
    group: str = ""
    """Empty = core."""
    resource: str
    subresource: str = ""
    namespace: str = ""
    """Empty = the whole cluster."""
    name: str = ""
    """Empty = none is named: a list, or what is to be created."""

    @classmethod
    def of(cls, request: Request) -> RequestInfo | None:
        """None = it is about no resource: discovery, the version, health."""
        root, *parts = [part for part in request.path.split("/") if part] or [""]
        if root == "api" and len(parts) >= 2:
            group, rest = "", parts[1:]
        elif root == "apis" and len(parts) >= 3:
            group, rest = parts[0], parts[2:]
        else:
            return None
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 1:
            # A namespace lies in itself: that is how a Role in it can grant it.
            namespace, rest = rest[1], rest[2:] or rest
        resource, name, subresource = (*rest, "", "")[:3]
        if request.method in ("GET", "HEAD"):
            verb = "get" if name else "watch" if request.param("watch") in ("true", "1") else "list"
            selected = request.param("fieldSelector") if not name else ""
            if selected.startswith(WHOLE_NAME) and "," not in selected:
                name = selected.removeprefix(WHOLE_NAME)
        elif request.method == "DELETE":
            verb = "delete" if name else "deletecollection"
        else:
            verb = WRITES.get(request.method, request.method.lower())
        return cls(verb=verb, group=group, resource=resource, subresource=subresource, namespace=namespace, name=name)

    @classmethod
    def asked(cls, attributes: dict[str, Any]) -> RequestInfo:
        """Of the `resourceAttributes` of an access review."""
        texts = {key: str(value) for key, value in attributes.items() if isinstance(value, str)}
        names = ("group", "subresource", "namespace", "name")
        return cls(
            verb=texts.get("verb", ""),
            resource=texts.get("resource", ""),
            **{name: texts.get(name, "") for name in names},
        )

    @property
    def path(self) -> str:
        """`deployments/scale`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def refusal(self) -> str:
        """What the API server says when nobody allows it, after the name of the user."""
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'cannot {self.verb} resource "{self.path}" in API group "{self.group}" {where}'
