"""From the JSON that Kiali answers (1.0 to 2.x) to a `ServiceGraph`. Pure: no network, no clock.

What has to be known about the answers: every number is a string; a rate that is missing is 0 and an error share is left
out when it is 0; `traffic` may be empty or have no `rates`; times and percentages may be "+Inf" or "NaN" (a division by
no traffic), rates may not; there is one edge per protocol for a pair of nodes; tcp is bytes; booleans stand there only
when true, and `hasVS: {}` means true; `box` nodes only group others; Kiali 1.29 renamed isUnused to isIdle and isGroup
to isBox.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, get_args

from kiali_client.errors import KialiPayloadError, KialiSchemaError
from kiali_client.models import Edge, GraphType, Node, NodeKey, NodeKind, ServiceGraph, Traffic

__all__ = ["parse_graph"]

SHOWN_CHARACTERS = 80


def parse_graph(payload: dict[str, Any] | str | bytes) -> ServiceGraph:
    """Read a graph answer.

    Args:
        payload: the body of the answer, or the object parsed from it.

    Raises:
        KialiPayloadError: the body is empty, cut off, a web page, no JSON object, or Kiali's own error.
        KialiSchemaError: it is no graph of a known kind, a node or edge is malformed, an edge leads to an unknown node,
        a rate is no
            finite number or negative; all of these at once.
    """
    document = _document(payload) if isinstance(payload, str | bytes) else payload
    return _Reader().graph(document)


def _document(payload: str | bytes) -> dict[str, Any]:
    try:
        text = payload.decode("utf-8-sig") if isinstance(payload, bytes) else payload
    except UnicodeDecodeError as error:
        raise KialiPayloadError(f"Kiali's answer is not UTF-8 text ({error}); is it compressed?") from error
    text = text.strip()
    if not text:
        raise KialiPayloadError("Kiali's answer is empty; fetch it again, and check the proxies in between")
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        what = f"a web page ({title[1].strip()!r})" if title else "a web page"
        raise KialiPayloadError(
            f"Kiali's answer is {what}, not JSON; check the web root in the URL (<web_root>/api/namespaces/graph) and "
            "that the session is logged in"
        )
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        is_object = text.startswith("{") and error.msg != "Extra data"
        if is_object and (error.pos >= len(text) or not text.endswith("}")):
            raise KialiPayloadError(
                f"Kiali's answer is cut off after {len(text)} characters ({error.msg}); fetch it again"
            ) from error
        raise KialiPayloadError(
            f"Kiali's answer is no JSON: {error.msg} at line {error.lineno}, column {error.colno}, it starts with "
            f"{text[:SHOWN_CHARACTERS]!r}"
        ) from error
    if not isinstance(document, dict):
        raise KialiPayloadError(f"Kiali's answer is a JSON {_kind(document)}, not an object; ask /api/namespaces/graph")
    return document


class _Reader:
    """Collects every problem on the way; ids are resolved to keys."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.keys: dict[str, NodeKey] = {}

    def graph(self, document: dict[str, Any]) -> ServiceGraph:
        if "elements" not in document:
            if "error" in document:
                detail = f" ({document['detail']})" if document.get("detail") else ""
                raise KialiPayloadError(f"Kiali answered with an error: {document['error']}{detail}")
            raise KialiSchemaError(
                [f"has no 'elements', only {', '.join(map(repr, document)) or 'nothing'}; ask /api/namespaces/graph"]
            )
        elements = document["elements"]
        if not isinstance(elements, dict):
            raise KialiSchemaError([f"elements: is a {_kind(elements)}, not an object; leave configVendor out"])
        graph_type: GraphType = document.get("graphType", "missing")
        if graph_type not in get_args(GraphType):
            self.problems.append(f"graphType: {graph_type!r} is none of {', '.join(get_args(GraphType))}")
        timestamp, duration = (self.whole_number(document, key) for key in ("timestamp", "duration"))
        nodes = self.nodes(self.items(elements, "nodes"))
        edges = self.edges(self.items(elements, "edges"))
        if self.problems:
            raise KialiSchemaError(self.problems)
        return ServiceGraph(
            timestamp=timestamp, duration_seconds=duration, graph_type=graph_type, nodes=nodes, edges=edges
        )

    def items(self, elements: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
        """(place, data) of every element; a list without elements may be null."""
        listed = elements.get(name)
        if listed is None and name in elements:
            return []
        if not isinstance(listed, list):
            self.problems.append(f"elements.{name}: is {_kind(listed)}, not a list")
            return []
        found = []
        for i, item in enumerate(listed):
            place = f"elements.{name}[{i}]"
            if isinstance(item, dict) and isinstance(item.get("data"), dict):
                found.append((place, item["data"]))
            else:
                self.problems.append(f"{place}: has no 'data' object")
        return found

    def nodes(self, items: list[tuple[str, dict[str, Any]]]) -> tuple[Node, ...]:
        nodes: dict[NodeKey, Node] = {}
        for place, data in items:
            # Before 1.29 a box was an app node with isGroup.
            if data.get("nodeType") == "box" or _flag(data, "isBox") or _flag(data, "isGroup"):
                continue
            identifier = data.get("id")
            key = self.key(place, data)
            if not isinstance(identifier, str) or not identifier:
                self.problems.append(f"{place}: has no id")
            elif key is not None:
                self.keys[identifier] = key
                # Two ids for one key are two views of the same thing (an app in two boxes); the first says what it is.
                nodes.setdefault(key, _node(key, data))
        return tuple(nodes.values())

    def key(self, place: str, data: dict[str, Any]) -> NodeKey | None:
        node_type = data.get("nodeType")
        names: dict[str, tuple[tuple[NodeKind, str], ...]] = {
            "workload": (("workload", "workload"),),
            "app": (("workload", "workload"), ("app", "app")),
            "service": (("service", "service"),),
            "aggregate": (("aggregate", "aggregateValue"), ("aggregate", "aggregate")),
            "unknown": (("unknown", "workload"), ("unknown", "service"), ("unknown", "app")),
        }
        if not isinstance(node_type, str) or node_type not in names:
            self.problems.append(f"{place}: nodeType {node_type!r} is none of {', '.join(names)}, box")
            return None
        for kind, field in names[node_type]:
            name = data.get(field)
            # An app node of a versionedApp graph stands for its workload, unless that is not known.
            hidden = node_type == "app" and field == "workload" and name == "unknown"
            if isinstance(name, str) and name and not hidden:
                return NodeKey(_text(data, "cluster"), _text(data, "namespace"), name, kind)
        if node_type == "unknown":
            return NodeKey(_text(data, "cluster"), _text(data, "namespace"), "unknown", "unknown")
        fields = " or ".join(field for _, field in names[node_type])
        self.problems.append(f"{place}: a node of type {node_type} without {fields}")
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
        self.problems.append(f"{place}.{name}: {identifier!r} is the id of no node")
        return None

    def traffic(self, place: str, data: dict[str, Any]) -> Traffic | None:
        """None for `traffic: {}`: an edge that exists but says nothing."""
        traffic = data.get("traffic") or {}
        if not isinstance(traffic, dict):
            self.problems.append(f"{place}.traffic: is {_kind(traffic)}, not an object")
            return None
        protocol = traffic.get("protocol")
        if protocol is None:
            return None
        rates = traffic.get("rates") or {}
        if not isinstance(rates, dict) or not isinstance(protocol, str):
            self.problems.append(f"{place}.traffic: protocol is {_kind(protocol)}, rates are {_kind(rates)}")
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
        value = _number(rates[name])
        if value is None or not math.isfinite(value):
            self.problems.append(f"{place}.{name}: {rates[name]!r} is no finite number; ask for a period with traffic")
            return 0.0
        if value < 0:
            self.problems.append(f"{place}.{name}: {value:g} is negative; a rate is >= 0 (counter reset?), ask again")
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
        if isinstance(value, bool) or not isinstance(value, int):
            self.problems.append(f"{name}: {value!r} is no whole number")
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
    )


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
    value = _number(data.get(name))
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
