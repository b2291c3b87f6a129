"""The sandbox: a simulated cluster behind four servers on loopback (Kubernetes, Kiali, Prometheus, control)."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from gnnrl.cluster.clock import Clock, SteppedClock
from gnnrl.cluster.guardrails.annotations import SLO_MS
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.episode import Episode
from gnnrl.live.sandbox.control_api import ControlApi
from gnnrl.live.sandbox.faults import TARGETS, FaultPlan, FaultSpec, FaultTarget
from gnnrl.live.sandbox.http_server import JsonServer
from gnnrl.live.sandbox.kiali_api import KialiApi, KialiAuth
from gnnrl.live.sandbox.kubernetes_api import KubernetesApi
from gnnrl.live.sandbox.prometheus_api import PrometheusApi
from gnnrl.live.sandbox.scraping import ScrapePlan
from gnnrl.live.sandbox.world import SandboxWorld

__all__ = ["Sandbox", "SandboxPorts"]

BEAT_SECONDS = 0.05
"""Machine seconds between two looks at the clock."""


@dataclass(frozen=True, kw_only=True)
class SandboxPorts:
    """Where the servers listen; 0 = any free port."""

    kubernetes: int = 0
    kiali: int = 0
    prometheus: int = 0
    control: int = 0


class Sandbox:
    """A cluster in one process. A context manager.

    A clock that runs carries the world along in the background; one that is moved by hand (`SteppedClock`) carries it along with each
    move.

    Args:
        config: of the environment.
        episode: what happens in it.
        clock: whose time it is.
        namespace: of the Deployments.
        repeat: start the load over at its end.
        faults: what goes wrong, in seconds after the start.
        token: that the Kubernetes API, and Kiali unless anonymous, accept; None = a random one.
        ports: of the servers.
        kiali_version, kiali_auth: see `KialiApi`.
        scraping: see `SandboxWorld`.
        history_seconds: see `SandboxWorld`.

    Raises:
        ValueError: the mesh is too large for the configuration, or Kiali's version or strategy unknown.
    """

    def __init__(
        self,
        config: AutoscalingConfig,
        episode: Episode,
        *,
        clock: Clock,
        namespace: str = "onlineboutique",
        repeat: bool = False,
        faults: Sequence[FaultSpec] = (),
        token: str | None = None,
        ports: SandboxPorts | None = None,
        kiali_version: str = "2.31.0",
        kiali_auth: KialiAuth = "anonymous",
        scraping: ScrapePlan | None = None,
        history_seconds: int = 0,
    ) -> None:
        ports = ports or SandboxPorts()
        self.clock = clock
        self.token = token or secrets.token_urlsafe(24)
        self.world = SandboxWorld(
            config,
            episode,
            clock,
            namespace=namespace,
            repeat=repeat,
            scraping=scraping,
            history_seconds=history_seconds,
        )
        self.plan = FaultPlan(clock, self.world.origin_seconds, tuple(faults))
        hook = self.plan.hook
        self.kubernetes = KubernetesApi(
            self.world,
            clock,
            self.token,
            fault=hook("kubernetes"),
            port=ports.kubernetes,
            namespace_annotations={SLO_MS: repr(float(self.world.slo_ms))},
        )
        self.kiali = KialiApi(
            self.world,
            clock,
            version=kiali_version,
            strategy=kiali_auth,
            token=self.token,
            fault=hook("kiali"),
            port=ports.kiali,
        )
        self.prometheus = PrometheusApi(self.world, clock, fault=hook("prometheus"), port=ports.prometheus)
        self.control = ControlApi(self.world, self.plan, clock, port=ports.control)
        self._servers: Mapping[FaultTarget, JsonServer] = {
            "kubernetes": self.kubernetes,
            "kiali": self.kiali,
            "prometheus": self.prometheus,
        }
        self._refusing: dict[FaultTarget, socket.socket] = {}
        self._beat_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_open = False

    @property
    def servers(self) -> tuple[JsonServer, ...]:
        """All four."""
        return (*self._servers.values(), self.control)

    @property
    def urls(self) -> dict[str, str]:
        """Base URL of each server, by name; known once started."""
        return {**{name: server.url for name, server in self._servers.items()}, "control": self.control.url}

    def start(self) -> None:
        """Listen, and let the world live.

        Raises:
            OSError: a port is taken; nothing listens then.
        """
        started: list[JsonServer] = []
        try:
            for server in self.servers:
                server.start()
                started.append(server)
        except OSError:
            for server in started:
                server.close()
            raise
        self._is_open = True
        if isinstance(self.clock, SteppedClock):
            before = self.clock.on_advance

            def follow(now: float) -> None:
                if before is not None:
                    before(now)
                self.beat()

            self.clock.on_advance = follow
        else:
            self._thread = threading.Thread(target=self._live, name="sandbox-world", daemon=True)
            self._thread.start()
        self.beat()

    def _live(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self.beat()

    def beat(self) -> None:
        """Bring the world up to the clock, and refuse connections where that is planned."""
        with self._beat_lock:
            if not self._is_open:
                return
            self.world.advance()
            for target in TARGETS:
                if self.plan.refuses(target) != (target in self._refusing):
                    self._turn(target)

    def _turn(self, target: FaultTarget) -> None:
        server = self._servers[target]
        if target in self._refusing:
            server.start()
            self._refusing.pop(target).close()
            return
        server.close()
        # Bound but not listening: connections are refused, and nobody else gets the port in the meantime.
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((server.host, server.port))
        self._refusing[target] = holder

    def close(self) -> None:
        """Stop listening; the score can still be asked for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._beat_lock:
            self._is_open = False
            for server in self.servers:
                server.close()
            for holder in self._refusing.values():
                holder.close()
            self._refusing.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
