"""A Kiali graph answer, written as Kiali writes it: numbers as text, one edge per protocol, opaque ids."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gnnrl.live.sandbox.views import CallView, GraphView

__all__ = ["GraphOptions", "GraphType", "write_graph"]

GraphType = Literal["app", "service", "versionedApp", "workload"]
Quantile = Literal["avg", "50", "95", "99"]
PER_P95: Mapping[Quantile, float] = {
    "avg": 1.0 / math.log(20.0),
    "50": math.log(2.0) / math.log(20.0),
    "95": 1.0,
    "99": math.log(100.0) / math.log(20.0),
}
"""Other figures of a response time whose P95 is known, as of an exponential time."""
CLUSTER = "Kubernetes"
LONG_IDS, CLUSTERS, IDLE_NAMES, GATEWAYS = (1, 30), (1, 30), (1, 29), (1, 60)
"""Versions from which ids are SHA-256, nodes name their cluster, "idle" stands for "unused", and gateways are marked."""


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """What was asked for, checked."""

    namespaces: tuple[str, ...]
    duration_seconds: int
    timestamp: int
    graph_type: GraphType
    appenders: frozenset[str]
    quantile: Quantile = "95"
    inject_service_nodes: bool = False
    include_idle_edges: bool = False


class _Place(NamedTuple):
    """A workload, or the service in front of it."""

    namespace: str
    name: str
    kind: Literal["workload", "service"] = "workload"


class _Flow(NamedTuple):
    """A call between two places of the graph."""

    source: _Place
    target: _Place
    call: CallView
    timed: bool
    """Whether a response time is shown."""


def write_graph(
    view: GraphView, options: GraphOptions, version: tuple[int, int], namespace: str, dead: Collection[str]
) -> dict[str, Any]:
    """The answer of `GET /api/namespaces/graph`.

    Args:
        view: the traffic.
        options: what was asked for.
        version: of Kiali.
        namespace: of the workloads.
        dead: workloads without pods.
    """
    writer = _Writer(view, options, version, namespace, dead)
    flows = writer.flows()
    return {
        "timestamp": options.timestamp,
        "duration": options.duration_seconds,
        "graphType": options.graph_type,
        "elements": {"nodes": writer.nodes(flows), "edges": writer.edges(flows)},
    }


class _Writer:
    def __init__(
        self, view: GraphView, options: GraphOptions, version: tuple[int, int], namespace: str, dead: Collection[str]
    ) -> None:
        self.view, self.options, self.version, self.namespace, self.dead = view, options, version, namespace, dead

    def flows(self) -> list[_Flow]:
        """The calls that touch the namespaces asked for, through service nodes where they are wanted."""
        found: list[_Flow] = []
        for call in self.view.calls:
            source, target = self.place(call.source), self.place(call.target)
            asked = {source.namespace, target.namespace} & set(self.options.namespaces)
            if not asked or (_is_idle(call) and not self.options.include_idle_edges):
                continue
            service = _Place(target.namespace, target.name, "service")
            if self.options.graph_type == "service":
                front = source if source.name == self.view.gateway else _Place(source.namespace, source.name, "service")
                found.append(_Flow(front, service, call, timed=True))
            elif self.options.inject_service_nodes:
                found += [_Flow(source, service, call, timed=False), _Flow(service, target, call, timed=True)]
            else:
                found.append(_Flow(source, target, call, timed=True))
        return found

    def place(self, workload: str) -> _Place:
        is_gateway = workload == self.view.gateway
        return _Place(self.view.gateway_namespace if is_gateway else self.namespace, workload)

    def nodes(self, flows: list[_Flow]) -> list[dict[str, Any]]:
        received: dict[_Place, list[CallView]] = defaultdict(list)
        sent: dict[_Place, list[CallView]] = defaultdict(list)
        for flow in flows:
            sent[flow.source].append(flow.call)
            received[flow.target].append(flow.call)
        places = dict.fromkeys(place for flow in flows for place in (flow.source, flow.target))
        if self.options.appenders & {"idleNode", "unusedNode"} and self.namespace in self.options.namespaces:
            kind: Literal["workload", "service"] = "service" if self.options.graph_type == "service" else "workload"
            places |= dict.fromkeys(_Place(self.namespace, name, kind) for name in self.view.workloads)
        return [{"data": self.node(place, received[place], sent[place])} for place in sorted(places)]

    def node(self, place: _Place, received: list[CallView], sent: list[CallView]) -> dict[str, Any]:
        idle = all(_is_idle(call) for call in (*received, *sent))
        data: dict[str, Any] = {"id": self.identifier(place), **self.names(place)}
        if received:
            data["destServices"] = [{**self.cluster(), "namespace": place.namespace, "name": place.name}]
        traffic = _node_traffic(received, sent)
        if traffic:
            data["traffic"] = traffic
        if self.version >= (2, 0):
            data["healthData"] = None
        flags = {
            "isRoot": not received and bool(sent),
            "isOutside": place.namespace not in self.options.namespaces,
            "isIdle" if self.version >= IDLE_NAMES else "isUnused": idle,
            "isDead": "deadNode" in self.options.appenders and place.name in self.dead and place.kind == "workload",
        }
        data |= {name: True for name, value in flags.items() if value}
        is_gateway = place.name == self.view.gateway and self.version >= GATEWAYS
        if is_gateway and "istio" in self.options.appenders:
            data["isGateway"] = {"egressInfo": {}, "gatewayAPIInfo": {}, "ingressInfo": {"hostnames": ["*"]}}
        return data

    def names(self, place: _Place) -> dict[str, Any]:
        """Type and names; every workload has an app of its own name and no version."""
        here = {**self.cluster(), "namespace": place.namespace}
        if place.kind == "service":
            return {"nodeType": "service", **here, "app": place.name, "service": place.name}
        if self.options.graph_type == "app":
            return {"nodeType": "app", **here, "app": place.name}
        if self.options.graph_type == "versionedApp":
            return {"nodeType": "app", **here, "workload": place.name, "app": place.name, "version": "unknown"}
        return {"nodeType": "workload", **here, "workload": place.name, "app": place.name}

    def cluster(self) -> dict[str, str]:
        return {"cluster": CLUSTER} if self.version >= CLUSTERS else {}

    def identifier(self, *parts: object) -> str:
        text = "/".join(map(str, (self.options.graph_type, *parts))).encode()
        if self.version >= LONG_IDS:
            return hashlib.sha256(text).hexdigest()
        return hashlib.md5(text, usedforsecurity=False).hexdigest()

    def edges(self, flows: list[_Flow]) -> list[dict[str, Any]]:
        total: dict[tuple[_Place, str], float] = defaultdict(float)
        for flow in flows:
            total[flow.source, flow.call.protocol] += _amount(flow.call)
        return [
            {"data": self.edge(flow, _share(_amount(flow.call), total[flow.source, flow.call.protocol]))}
            for flow in flows
        ]

    def edge(self, flow: _Flow, share: float) -> dict[str, Any]:
        call = flow.call
        source, target = self.identifier(flow.source), self.identifier(flow.target)
        data: dict[str, Any] = {
            "id": self.identifier(source, target, call.protocol),
            "source": source,
            "target": target,
            "traffic": {"protocol": call.protocol, **self.traffic(flow, share)},
        }
        if _is_idle(call):
            return data
        if "responseTime" in self.options.appenders and flow.timed and call.p95_ms > 0.0:
            data["responseTime"] = f"{call.p95_ms * PER_P95[self.options.quantile]:.0f}"
        if "securityPolicy" in self.options.appenders and call.mtls_share > 0.0:
            data["isMTLS"] = f"{100.0 * call.mtls_share:.0f}"
        return data

    def traffic(self, flow: _Flow, share: float) -> dict[str, Any]:
        call = flow.call
        if _is_idle(call):
            return {}
        host = f"{flow.target.name}.{flow.target.namespace}.svc.cluster.local"
        if call.protocol == "tcp":
            return {
                "rates": {"tcp": _rate(call.bytes_per_second)},
                "responses": {"-": {"flags": {"-": "100.0"}, "hosts": {host: "100.0"}}},
            }
        failed = call.rps * call.error_share
        codes = ("200", "503") if call.protocol == "http" else ("0", "14")
        rates: dict[str, str] = {call.protocol: _rate(call.rps)}
        responses = {codes[0]: _response(1.0 - call.error_share, host)}
        if _percent(call.error_share) != "0.0":
            rates["http5xx" if call.protocol == "http" else "grpcErr"] = _rate(failed)
            rates[f"{call.protocol}PercentErr"] = _percent(call.error_share)
            responses[codes[1]] = _response(call.error_share, host)
        rates[f"{call.protocol}PercentReq"] = _percent(share)
        return {"rates": rates, "responses": responses}


def _node_traffic(received: Iterable[CallView], sent: Iterable[CallView]) -> list[dict[str, Any]]:
    sums: dict[str, dict[str, float]] = {}
    for direction, calls in (("In", received), ("Out", sent)):
        for call in calls:
            if _is_idle(call):
                continue
            rates = sums.setdefault(call.protocol, defaultdict(float))
            rates[f"{call.protocol}{direction}"] += _amount(call)
            failed = call.rps * call.error_share
            if direction == "In" and failed > 0.0:
                rates["httpIn5xx" if call.protocol == "http" else "grpcInErr"] += failed
    return [
        {"protocol": protocol, "rates": {name: _rate(value) for name, value in rates.items()}}
        for protocol, rates in sorted(sums.items())
    ]


def _response(share: float, host: str) -> dict[str, Any]:
    return {"flags": {"-": _percent(share)}, "hosts": {host: _percent(share)}}


def _amount(call: CallView) -> float:
    return call.bytes_per_second if call.protocol == "tcp" else call.rps


def _is_idle(call: CallView) -> bool:
    return _amount(call) <= 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def _rate(value: float) -> str:
    """Two decimals, or as many (up to five) as the first digit of a smaller number needs."""
    decimals = 2
    while 0.0 < value * 10.0**decimals < 1.0 and decimals < 5:
        decimals += 1
    return f"{value:.{decimals}f}"
