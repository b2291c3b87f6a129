"""Service graphs from Kiali, or from Prometheus in its place: answers as data, errors with their remedy."""

from kiali_client.client import KialiClient
from kiali_client.errors import (
    KialiAuthenticationError,
    KialiAuthorizationError,
    KialiError,
    KialiNotFoundError,
    KialiPayloadError,
    KialiSchemaError,
    KialiUnavailableError,
)
from kiali_client.identity import UNNAMED_CLUSTERS
from kiali_client.istio_queries import istio_queries
from kiali_client.models import Edge, Node, NodeKey, ServiceGraph, Traffic
from kiali_client.parse import parse_graph
from kiali_client.prometheus import PrometheusClient
from kiali_client.secret import Secret
from kiali_client.versions import Status, Version

__all__ = [
    "UNNAMED_CLUSTERS",
    "Edge",
    "KialiAuthenticationError",
    "KialiAuthorizationError",
    "KialiClient",
    "KialiError",
    "KialiNotFoundError",
    "KialiPayloadError",
    "KialiSchemaError",
    "KialiUnavailableError",
    "Node",
    "NodeKey",
    "PrometheusClient",
    "Secret",
    "ServiceGraph",
    "Status",
    "Traffic",
    "Version",
    "istio_queries",
    "parse_graph",
]
