"""The cluster as it is read where KEDA writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from gnnrl.cluster.models import ClusterSnapshot

__all__ = ["UnownedReader"]


class Reader(Protocol):
    """Reads the cluster, as `ClusterReader` does."""

    def read(self) -> ClusterSnapshot:
        """One snapshot."""


class UnownedReader:
    """Reads through another reader, and leaves out whom a Deployment's replicas belong to.

    A Deployment that asks this process through KEDA belongs to its ScaledObject and to KEDA's HPA by nature; the guardrail `owned`
    would hold it for ever. Only for a loop that writes nothing.

    Args:
        reader: what reads.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def read(self) -> ClusterSnapshot:
        """One snapshot without owners."""
        snapshot = self._reader.read()
        return replace(snapshot, deployments=tuple(replace(found, owner="") for found in snapshot.deployments))
