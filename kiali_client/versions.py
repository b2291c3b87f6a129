"""What the versions of Kiali, 1.0 to 2.x, call themselves and the parameters of their graphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kiali_client.document import one_line, shown
from kiali_client.errors import KialiSchemaError
from kiali_client.models import GraphType

__all__ = ["Status", "Version", "graph_parameters", "read_status"]

VERSION_NAMES = ("Kiali version", "Kiali core version")
"""Of `/api/status`, the newer first."""

SHOWN_WARNINGS = 20


class Version(NamedTuple):
    """A version of Kiali; compares with plain tuples, as `version >= (1, 36)`."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, kw_only=True)
class Status:
    """`GET /api/status`."""

    version: Version
    state: str = ""
    """`running`."""
    warnings: tuple[str, ...] = ()
    """What Kiali warns of itself, such as an Istio that does not fit it."""


def read_status(document: dict[str, Any]) -> Status:
    """Read the answer of `/api/status`.

    Raises:
        KialiSchemaError: it has no version.
    """
    status = document.get("status")
    if not isinstance(status, dict):
        raise KialiSchemaError([f"/api/status has no 'status', only {shown(list(document))}; check the web root"])
    text = next((status[name] for name in VERSION_NAMES if isinstance(status.get(name), str)), None)
    found = re.match(r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?![0-9])", text or "")
    if found is None:
        raise KialiSchemaError(
            [
                f"/api/status names no version ({shown(text)}); a build without one is not supported, use a released Kiali"
            ]
        )
    warnings = document.get("warningMessages")
    return Status(
        version=Version(*(int(part or 0) for part in found.groups())),
        state=one_line(status.get("Kiali state", "")),
        warnings=tuple(map(one_line, warnings[:SHOWN_WARNINGS])) if isinstance(warnings, list) else (),
    )


def graph_parameters(
    version: Version,
    *,
    namespaces: Sequence[str],
    graph_type: GraphType,
    duration_seconds: int,
    query_seconds: int,
) -> dict[str, str]:
    """Parameters of `GET /api/namespaces/graph` that this version knows; an unknown appender would be a 400.

    `queryTime` is always sent: since 2.21 Kiali answers from a cache of up to 60 s otherwise, and keeps refreshing it, which is
    why `refreshInterval` has no use here. `appenders` names what the graph is read for, as all of them are expensive.
    """
    appenders = ["deadNode", "idleNode" if version >= (1, 29) else "unusedNode", "istio", "responseTime"]
    appenders += ["securityPolicy", "serviceEntry"]
    if version >= (2, 0):
        appenders.append("ambient")
    parameters = {
        "namespaces": ",".join(namespaces),
        "graphType": graph_type,
        # Only "<N>s" is understood by all of them.
        "duration": f"{duration_seconds}s",
        "queryTime": str(query_seconds),
        # A service node in the middle would count every call twice.
        "injectServiceNodes": "false",
        "appenders": ",".join(appenders),
    }
    parameters |= {"responseTime": "95"} if version >= (1, 36) else {"responseTimeQuantile": "0.95"}
    if version >= (1, 29):
        parameters["includeIdleEdges"] = "true"
    if version >= (1, 38):
        parameters |= {"rateGrpc": "requests", "rateHttp": "requests", "rateTcp": "sent"}
    return parameters
