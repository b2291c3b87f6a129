"""A way into a namespace of a cluster: what reads it and what writes it, opened and closed together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gnnrl.cluster.actuator import Actuator
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.reader import ClusterReader
from kiali_client import KialiClient, PrometheusClient

__all__ = ["ClusterAccess"]


@dataclass(frozen=True, eq=False)
class ClusterAccess:
    """Reader and writer of one namespace."""

    reader: ClusterReader
    actuator: Actuator
    api: ClusterApi
    graph: KialiClient | PrometheusClient

    @classmethod
    def open(
        cls,
        namespace: str,
        clock: Clock,
        *,
        kiali_url: str | None = None,
        prometheus_url: str | None = None,
        kubeconfig: Path | str | None = None,
        context: str | None = None,
        token_file: Path | str | None = None,
        ca_file: Path | str | None = None,
        cluster: str = "",
        dry_run: bool = False,
        graph_window_seconds: int = 60,
        deadline_seconds: float = 5.0,
    ) -> Self:
        """Find the cluster and the source of its graph; sends nothing yet.

        Args:
            namespace: whose Deployments are read and scaled.
            clock: whose time it is.
            kiali_url, prometheus_url: where the graph comes from, one of both.
            kubeconfig, context: see `ClusterApi.connect`.
            token_file, ca_file: of Kiali or Prometheus.
            cluster: that is scaled, where the graph shows several.
            dry_run: the API server checks each write and throws it away.
            graph_window_seconds: rates are means over it.
            deadline_seconds: for all reads at once, and for all writes, of the machine's time.

        Raises:
            ValueError: neither or both URLs.
            ClusterConfigError, KialiError: a kubeconfig, a URL or a file that cannot be used.
        """
        if (kiali_url is None) == (prometheus_url is None):
            raise ValueError(
                "a live cluster needs the URL of its service graph: give either kiali_url or, where there is no Kiali, "
                "prometheus_url"
            )
        source = KialiClient if kiali_url is not None else PrometheusClient
        graph = source(
            str(kiali_url or prometheus_url),
            token_file=token_file,
            ca_file=ca_file,
            timeout_seconds=deadline_seconds,
            cluster=cluster or None,
            now=clock.now,
        )
        api = ClusterApi.connect(
            None if kubeconfig is None else Path(kubeconfig), context, timeout_seconds=deadline_seconds
        )
        reader = ClusterReader(
            api,
            graph,
            namespace,
            clock,
            deadline_seconds=deadline_seconds,
            graph_window_seconds=graph_window_seconds,
        )
        actuator = Actuator(
            api,
            namespace,
            clock,
            mode="dry-run" if dry_run else "live",
            may_act=lambda: True,
            deadline_seconds=deadline_seconds,
        )
        return cls(reader, actuator, api, graph)

    def close(self) -> None:
        """Close pools and connections."""
        self.reader.close()
        self.actuator.close()
        self.api.close()
        self.graph.close()
