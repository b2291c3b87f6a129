"""From the JSON that Kiali answers (1.0 to 2.x) to a `ServiceGraph`. Pure: no network, no clock.

What has to be known about the answers: every number is a string; a rate that is missing is 0 and an error share is left
out when it is 0; `traffic` may be empty or have no `rates`; times and percentages may be "+Inf" or "NaN" (a division by
no traffic), rates may not; there is one edge per protocol for a pair of nodes; tcp is bytes; booleans stand there only
when true, and `hasVS: {}` means true; `box` nodes only group others; Kiali 1.29 renamed isUnused to isIdle and isGroup
to isBox; a workload may stand there twice, with its traffic under its cluster and idle under the cluster "unknown"; one
operation's name may stand there once for each service that has it.

Whatever the bytes are, nothing but a `KialiError` is raised, and an error repeats little of them.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, get_args

from kiali_client.document import json_kind, one_line, read_document, shown
from kiali_client.errors import KialiPayloadError, KialiSchemaError
from kiali_client.identity import UNNAMED_CLUSTERS, one_identity
from kiali_client.models import Edge, GraphType, Node, NodeKey, NodeKind, ServiceEntryPlace, ServiceGraph, Traffic

__all__ = ["LARGEST_RATE", "SHOWN_PROBLEMS", "number", "parse_graph"]

SHOWN_PROBLEMS = 20
"""Faults that an error lists; the others are counted."""

LARGEST_RATE = 1e15
"""Requests/s or bytes/s, and ms: what is above was not measured, and sums of it would leave the numbers."""

LATEST_SECONDS = 2**53
"""Of a timestamp or a period, so that floats hold it."""

LONGEST_NUMBER = 64
"""Characters."""

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""As Go writes a number; Python's `float` would also take "1_000", blanks and digits of other scripts."""

TEXTS = ("cluster", "namespace", "app", "version", "workload", "service", "aggregate", "aggregateValue")

NAMES: dict[str, tuple[tuple[NodeKind, str], ...]] = {
    "workload": (("workload", "workload"),),
    "app": (("workload", "workload"), ("app", "app")),
    "service": (("service", "service"),),
    "aggregate": (("aggregate", "aggregateValue"), ("aggregate", "aggregate")),
    "unknown": (("unknown", "workload"), ("unknown", "service"), ("unknown", "app")),
}
"""Type of a node -> (kind of the key, field that names it), the first that is filled."""


def parse_graph(payload: dict[str, Any] | str | bytes) -> ServiceGraph:
    """Read a graph answer.

    Args:
        payload: the body of the answer, or the object parsed from it.

    Raises:
        KialiPayloadError: the body is empty, cut off, a web page, no JSON object, or Kiali's own error.
        KialiSchemaError: it is no graph of a known kind, a node or edge is malformed, an edge leads to an unknown node, a
            rate is no finite number or negative; the first of these, and how many more there are.
    """
    document = read_document(payload) if isinstance(payload, str | bytes) else payload
    if not isinstance(document, dict):
        raise KialiPayloadError(f"a graph answer is an object, not {json_kind(document)}")
    return _Reader().graph(document)


class _Reader:
    """Collects every problem on the way; ids are resolved to keys."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.further_problems = 0
        self.keys: dict[str, NodeKey] = {}
        self.operations: dict[NodeKey, int] = {}

    def problem(self, text: str) -> None:
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(text)
        else:
            self.further_problems += 1

    def graph(self, document: dict[str, Any]) -> ServiceGraph:
        if "elements" not in document:
            if "error" in document:
                detail = f" ({one_line(document['detail'])})" if document.get("detail") else ""
                raise KialiPayloadError(f"Kiali answered with an error: {one_line(document['error'])}{detail}")
            names = ", ".join(map(shown, list(document)[:SHOWN_PROBLEMS])) or "nothing"
            raise KialiSchemaError([f"has no 'elements', only {names}; ask /api/namespaces/graph"])
        elements = document["elements"]
        if not isinstance(elements, dict):
            raise KialiSchemaError([f"elements: is {json_kind(elements)}, not an object; leave configVendor out"])
        graph_type: GraphType = document.get("graphType", "missing")
        if graph_type not in get_args(GraphType):
            self.problem(f"graphType: {shown(graph_type)} is none of {', '.join(get_args(GraphType))}")
        timestamp, duration = (self.whole_number(document, key) for key in ("timestamp", "duration"))
        nodes = self.nodes(self.items(elements, "nodes"))
        edges = self.edges(self.items(elements, "edges"))
        nodes = self.without_doubtful_twins(nodes, edges)
        if self.problems:
            more = [f"and {self.further_problems} more problems"] if self.further_problems else []
            raise KialiSchemaError([*self.problems, *more])
        return ServiceGraph(
            timestamp=timestamp, duration_seconds=duration, graph_type=graph_type, nodes=nodes, edges=edges
        )

    def items(self, elements: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
        """(place, data) of every element; a list without elements may be null."""
        listed = elements.get(name)
        if listed is None and name in elements:
            return []
        if not isinstance(listed, list):
            self.problem(f"elements.{name}: is {json_kind(listed)}, not a list")
            return []
        found = []
        for i, item in enumerate(listed):
            place = f"elements.{name}[{i}]"
            if isinstance(item, dict) and isinstance(item.get("data"), dict):
                found.append((place, item["data"]))
            else:
                self.problem(f"{place}: has no 'data' object")
        return found

    def nodes(self, items: list[tuple[str, dict[str, Any]]]) -> tuple[Node, ...]:
        found: list[tuple[NodeKey, dict[str, Any]]] = []
        for place, data in items:
            # Before 1.29 a box was an app node with isGroup.
            if data.get("nodeType") == "box" or _flag(data, "isBox") or _flag(data, "isGroup"):
                continue
            identifier = data.get("id")
            key = self.key(place, data)
            if key is not None and key.kind == "aggregate":
                # Two ids of an operation are two nodes: requests to different services pass through them.
                count = self.operations[key] = self.operations.get(key, 0) + 1
                key = key._replace(name=f"{key.name}#{count}") if count > 1 else key
            if not isinstance(identifier, str) or not identifier:
                self.problem(f"{place}: has no id")
            elif key is not None and self.keys.setdefault(identifier, key) != key:
                self.problem(f"{place}: its id {shown(identifier)} is that of {self.keys[identifier]} already")
            elif key is not None:
                found.append((key, data))
        same = one_identity(key for key, _ in found)
        self.keys = {identifier: same.get(key, key) for identifier, key in self.keys.items()}
        nodes: dict[NodeKey, Node] = {}
        # Two ids for one key are two views of the same thing (an app in two boxes); the first says what it is, and the one
        # under the cluster's own name before the others.
        for key, data in sorted(found, key=lambda item: item[0] in same):
            own = same.get(key, key)
            node = _node(own, data)
            nodes[own] = replace(nodes[own], is_idle=nodes[own].is_idle and node.is_idle) if own in nodes else node
        return tuple(nodes[key] for key in dict.fromkeys(same.get(key, key) for key, _ in found))

    def without_doubtful_twins(self, nodes: tuple[Node, ...], edges: tuple[Edge, ...]) -> tuple[Node, ...]:
        """Without nodes of no named cluster that nothing calls and that several clusters have: no further workloads."""
        touched = {key for edge in edges for key in (edge.source, edge.target)}
        named = {node.key[1:] for node in nodes if node.key.cluster not in UNNAMED_CLUSTERS}
        return tuple(
            node
            for node in nodes
            if node.key.cluster not in UNNAMED_CLUSTERS or node.key in touched or node.key[1:] not in named
        )

    def key(self, place: str, data: dict[str, Any]) -> NodeKey | None:
        for field in TEXTS:
            value = data.get(field)
            # What cannot be printed (half of a surrogate pair, a line break) would break every log that names the node.
            if isinstance(value, str) and not value.isprintable():
                self.problem(f"{place}.{field}: {shown(value)} is no name")
                return None
        node_type = data.get("nodeType")
        if not isinstance(node_type, str) or node_type not in NAMES:
            self.problem(f"{place}: nodeType {shown(node_type)} is none of {', '.join(NAMES)}, box")
            return None
        for kind, field in NAMES[node_type]:
            name = data.get(field)
            # An app node of a versionedApp graph stands for its workload, unless that is not known.
            hidden = node_type == "app" and field == "workload" and name == "unknown"
            if isinstance(name, str) and name and not hidden:
                if kind == "aggregate":
                    name += _owner(data)
                return NodeKey(_text(data, "cluster"), _text(data, "namespace"), name, kind)
        if node_type == "unknown":
            return NodeKey(_text(data, "cluster"), _text(data, "namespace"), "unknown", "unknown")
        fields = " or ".join(field for _, field in NAMES[node_type])
        self.problem(f"{place}: a node of type {node_type} without {fields}")
        return None

    def edges(self, items: list[tuple[str, dict[str, Any]]]) -> tuple[Edge, ...]:
        pairs: dict[tuple[NodeKey, NodeKey], dict[str, Traffic]] = {}
        for place, data in items:
            ends = [self.end(place, data, name) for name in ("source", "target")]
            source, target = ends
            traffic = self.traffic(place, data)
            if source is None or target is None:
                continue
            by_protocol = pairs.setdefault((source, target), {})
            if traffic is not None:
                known = by_protocol.get(traffic.protocol)
                by_protocol[traffic.protocol] = traffic if known is None else _merged(known, traffic)
        return tuple(
            Edge(source=source, target=target, traffic=tuple(by_protocol.values()))
            for (source, target), by_protocol in pairs.items()
        )

    def end(self, place: str, data: dict[str, Any], name: str) -> NodeKey | None:
        identifier = data.get(name)
        if isinstance(identifier, str) and identifier in self.keys:
            return self.keys[identifier]
        self.problem(f"{place}.{name}: {shown(identifier)} is the id of no node")
        return None

    def traffic(self, place: str, data: dict[str, Any]) -> Traffic | None:
        """None for `traffic: {}`: an edge that exists but says nothing."""
        traffic = data.get("traffic") or {}
        if not isinstance(traffic, dict):
            self.problem(f"{place}.traffic: is {json_kind(traffic)}, not an object")
            return None
        protocol = traffic.get("protocol")
        if protocol is None:
            return None
        rates = traffic.get("rates") or {}
        if not isinstance(rates, dict) or not isinstance(protocol, str):
            self.problem(f"{place}.traffic: protocol is {json_kind(protocol)}, rates are {json_kind(rates)}")
            return None
        if not protocol.isprintable():
            self.problem(f"{place}.traffic.protocol: {shown(protocol)} is no name")
            return None
        rate = self.rate(f"{place}.traffic.rates", rates, protocol)
        is_tcp = protocol == "tcp"
        mtls = _measure(data, "isMTLS")
        return Traffic(
            protocol=protocol,
            rps=0.0 if is_tcp else rate,
            bytes_per_second=rate if is_tcp else 0.0,
            error_share=self.error_share(f"{place}.traffic.rates", rates, protocol, rate),
            response_time_ms=_measure(data, "responseTime"),
            throughput_bytes_per_second=_measure(data, "throughput"),
            mtls_share=min(mtls / 100.0, 1.0) if mtls is not None else 0.0,
        )

    def rate(self, place: str, rates: dict[str, Any], name: str) -> float:
        """A rate that must be a finite number >= 0 where it is given, and is 0 where it is not."""
        if name not in rates:
            return 0.0
        value = number(rates[name])
        if value is None or not math.isfinite(value) or value > LARGEST_RATE:
            self.problem(f"{place}.{name}: {shown(rates[name])} is no finite number; ask for a period with traffic")
            return 0.0
        if value < 0:
            self.problem(f"{place}.{name}: {value:g} is negative; a rate is >= 0 (counter reset?), ask again")
            return 0.0
        return value

    def error_share(self, place: str, rates: dict[str, Any], protocol: str, rate: float) -> float:
        """Kiali's percentage, or (where that is left out or was divided by nothing) failed / all."""
        percent = _measure(rates, f"{protocol}PercentErr")
        if percent is not None:
            return min(percent / 100.0, 1.0)
        failed = sum(self.rate(place, rates, f"{protocol}{kind}") for kind in ("4xx", "5xx", "Err", "NoResponse"))
        return min(failed / rate, 1.0) if rate > 0 else 0.0

    def whole_number(self, document: dict[str, Any], name: str) -> int:
        value = document.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LATEST_SECONDS:
            self.problem(f"{name}: {shown(value)} is no whole number of seconds")
            return 0
        return value


def _node(key: NodeKey, data: dict[str, Any]) -> Node:
    return Node(
        key=key,
        app=_text(data, "app"),
        version=_text(data, "version"),
        is_root=_flag(data, "isRoot"),
        is_outside=_flag(data, "isOutside"),
        is_inaccessible=_flag(data, "isInaccessible"),
        is_idle=_flag(data, "isIdle") or _flag(data, "isUnused"),
        is_dead=_flag(data, "isDead"),
        is_gateway=_flag(data, "isGateway"),
        is_waypoint=_flag(data, "isWaypoint"),
        has_virtual_service=_flag(data, "hasVS"),
        has_workload_entry=data.get("hasWorkloadEntry") not in (None, False, []),
        service_entry=_service_entry(data),
    )


def _owner(data: dict[str, Any]) -> str:
    """Of an operation: services share names such as GET, and are told apart by whose it is."""
    owner = next((_text(data, field) for field in ("service", "app", "workload") if _text(data, field)), "")
    return f"@{owner}" if owner else ""


def _service_entry(data: dict[str, Any]) -> ServiceEntryPlace | None:
    """Where what a ServiceEntry describes runs; its location was a text before it was an object. Istio's default is outside."""
    if not _flag(data, "isServiceEntry"):
        return None
    value = data["isServiceEntry"]
    location = value.get("location") if isinstance(value, dict) else value
    return "inside" if location == "MESH_INTERNAL" else "outside"


def _merged(first: Traffic, second: Traffic) -> Traffic:
    """Two edges of one protocol between the same nodes, as one: rates add, shares are weighted by them."""
    rps = first.rps + second.rps
    total = rps + first.bytes_per_second + second.bytes_per_second
    part = (first.rps + first.bytes_per_second) / total if total else 0.5
    busier = first if part >= 0.5 else second
    return Traffic(
        protocol=first.protocol,
        rps=rps,
        bytes_per_second=first.bytes_per_second + second.bytes_per_second,
        error_share=part * first.error_share + (1.0 - part) * second.error_share,
        response_time_ms=busier.response_time_ms,
        throughput_bytes_per_second=busier.throughput_bytes_per_second,
        mtls_share=part * first.mtls_share + (1.0 - part) * second.mtls_share,
    )


def _flag(data: dict[str, Any], name: str) -> bool:
    """Flags stand there only when they are true, as `true`, as a text or as an object that may be empty."""
    return data.get(name) not in (None, False)


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _measure(data: dict[str, Any], name: str) -> float | None:
    """A time or percentage; None where it is missing, "+Inf", "NaN" or negative (nothing was measured)."""
    value = number(data.get(name))
    return value if value is not None and 0.0 <= value <= LARGEST_RATE else None


def number(value: object) -> float | None:
    """NaN and the infinities too, from text and from numbers; None for what is no number."""
    if isinstance(value, str):
        if value in ("NaN", "+Inf", "-Inf"):
            return float(value)
        return float(value) if len(value) <= LONGEST_NUMBER and NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A whole number may be too large for a float.
    return float(value) if abs(value) <= LARGEST_RATE else math.inf
