"""Service graphs from Kiali: answers as data."""

from kiali_client.errors import KialiError, KialiPayloadError, KialiSchemaError
from kiali_client.models import Edge, Node, NodeKey, ServiceGraph, Traffic
from kiali_client.parse import parse_graph

__all__ = [
    "Edge",
    "KialiError",
    "KialiPayloadError",
    "KialiSchemaError",
    "Node",
    "NodeKey",
    "ServiceGraph",
    "Traffic",
    "parse_graph",
]
