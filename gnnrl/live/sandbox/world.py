"""The world behind the sandbox's APIs: one simulated mesh that lives by a clock, with Deployments, pods and telemetry."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from gnnrl.cluster.clock import Clock
from gnnrl.cluster.models import Container, ContainerUsage
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.episode import Episode, warm_up_seconds
from gnnrl.domains.autoscaling.mesh import Mesh, Service
from gnnrl.domains.autoscaling.observed import GATEWAY
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.rollouts import Rollouts
from gnnrl.domains.autoscaling.telemetry import Telemetry
from gnnrl.live.sandbox.history import MetricsHistory
from gnnrl.live.sandbox.lead_in import lead_in
from gnnrl.live.sandbox.pods import PodCounts, PodRoster
from gnnrl.live.sandbox.score import WorldScore
from gnnrl.live.sandbox.scraped_metrics import ScrapedMetrics
from gnnrl.live.sandbox.scraping import ScrapePlan
from gnnrl.live.sandbox.views import GraphView, PodUsageView, PodView, WorkloadView

__all__ = ["DEPLOYED_SECONDS", "SandboxWorld"]

APP_CONTAINER = "server"
"""As Online Boutique calls it."""
PROXY = Container(
    name="istio-proxy",
    cpu_request_millicores=100.0,
    cpu_limit_millicores=2000.0,
    memory_request_mib=128.0,
    memory_limit_mib=1024.0,
)
"""With Istio's default resources."""
GATEWAY_NAMESPACE = "istio-system"
DEPLOYED_SECONDS = 86_400.0
"""The Deployments of the beginning are so much older than their pods: a mesh that nobody has just deployed."""
QUERY_GRAIN_SECONDS = 5.0
"""A time this little ago is taken for now: callers round it down to a second, and their clock may be a little behind."""
CLOCK_GRAIN_SECONDS = 1e-6
"""Unix seconds in a float are good to 0.24 microseconds: what is this close to a second has reached it."""


class SandboxWorld:
    """One episode of one mesh, played in the time of a clock.

    Second 0 of the episode's load, warm-up included, is the clock's time at construction. At a multiple t of `decision_seconds` things
    happen in the order of `gnnrl evaluate`: the simulation reaches t, telemetry is scraped, topology changes that are due happen, and
    requests made at t meet the mesh after them. Every method may be called from any thread.

    Args:
        config: of the environment that the episode was drawn for.
        episode: what happens.
        clock: whose time it is.
        namespace: of the Deployments.
        scraping: rates are those of samples that are scraped so; None = those of the simulation, to the last digit as in training.
        history_seconds: the monitoring knows the mesh for so long already at second 0, at the load of that second, and its pods are as
            old; the simulation and the score are as without. 0 = it knows nothing, as in an evaluation.
        repeat: the scored part of the load starts over at the end, with the mesh of the beginning and its changes; otherwise the load
            stays at its last value and the score at what it was.

    Raises:
        ValueError: the mesh has more services or calls than the configuration allows.
    """

    def __init__(
        self,
        config: AutoscalingConfig,
        episode: Episode,
        clock: Clock,
        *,
        namespace: str = "onlineboutique",
        repeat: bool = False,
        scraping: ScrapePlan | None = None,
        history_seconds: int = 0,
    ) -> None:
        self.namespace, self.clock, self.gateway_namespace = namespace, clock, GATEWAY_NAMESPACE
        self.slo_ms = episode.slo_ms
        self.repeat = repeat
        self._config, self._episode, self._mesh = config, episode, episode.mesh
        self._warm_up = warm_up_seconds(config)
        # The gateway is a service to the monitoring.
        services, calls = config.max_nodes + 1, config.max_edges + len(episode.mesh.classes)
        self._simulation = MeshSimulation(
            1, services, calls, len(episode.mesh.classes), PhysicsSettings(histogram=True)
        )
        self._simulation.load(0, episode.mesh, slo_ms=episode.slo_ms)
        self._rollouts = Rollouts(config, self._simulation)
        self._rollouts.start(0, episode.mesh, episode.churn.events)
        self._history = MetricsHistory(
            max_services=services,
            max_calls=calls,
            scrape_seconds=config.decision_seconds,
            graph_window_seconds=config.graph_window_seconds,
            mesh=episode.mesh,
            slo_ms=episode.slo_ms,
        )
        self.scraped = None if scraping is None else ScrapedMetrics(scraping, GATEWAY)
        self._score = WorldScore(
            self._simulation.window.latency_histogram.shape[1],
            episode.violation_weight,
            config.change_weight * config.decision_seconds,
        )
        self._lock = threading.RLock()
        self._second = 0
        self._scraped_second = 0
        self._round = 0
        self._wanted: dict[str, int] = {}
        """Set in the present second; the simulation is told all of them at once before the next one."""
        self._serials: dict[str, int] = {}
        """Pods ever made of Deployments that are gone."""
        self.origin_seconds = clock.now()
        """Unix seconds of second 0."""
        windows = -(-history_seconds // config.decision_seconds)
        born_seconds = self._unix(-windows * config.decision_seconds)
        self._rosters = {name: self._new_roster(name, born_seconds - DEPLOYED_SECONDS) for name in self._mesh.names}
        self._reconcile(born_seconds)
        before = lead_in(
            episode, services=services, calls=calls, window_seconds=config.decision_seconds, windows=windows
        )
        for end_second, window in before if windows else ():
            self._record(end_second, window)

    @property
    def second(self) -> int:
        """Seconds simulated so far."""
        return self._second

    def advance(self) -> None:
        """Bring the simulation up to the clock's present second."""
        with self._lock:
            target = math.floor(self.clock.now() - self.origin_seconds + CLOCK_GRAIN_SECONDS)
            period = self._config.decision_seconds
            while self._second < target:
                self._apply_wanted()
                boundary = (self._second // period + 1) * period
                stop = min(target, boundary)
                self._simulation.advance(self._load(self._second, stop))
                self._second = stop
                self._reconcile(self._unix(stop))
                if stop == boundary:
                    self._scrape()
                    self._churn()

    def _load(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """External requests/s of these seconds, [1, k]."""
        rps = self._episode.rps
        seconds = np.arange(start, stop)
        if self.repeat:
            past = seconds >= len(rps)
            seconds[past] = self._warm_up + (seconds[past] - self._warm_up) % (len(rps) - self._warm_up)
        return np.asarray(rps[np.minimum(seconds, len(rps) - 1)][None, :], dtype=np.float32)

    def _unix(self, second: int) -> float:
        return self.origin_seconds + second

    @property
    def _is_scored(self) -> bool:
        """Whether the second that begins now is scored."""
        return self._second >= self._warm_up and (self.repeat or self._second < len(self._episode.rps))

    def _apply_wanted(self) -> None:
        """Tell the simulation what was wanted in the present second, all services at once, as an evaluated decision does."""
        if not self._wanted:
            return
        desired = np.zeros((1, self._simulation.max_services), np.int64)
        current = self._simulation.counts(0)[:, -1]
        desired[0, : len(current)] = current
        for name, replicas in self._wanted.items():
            desired[0, self._mesh.index(name)] = replicas
        self._wanted.clear()
        moved = np.abs(desired[0, : len(current)] - current)
        if moved.any():
            self._simulation.set_desired(desired)
            if self._is_scored:
                self._score.moved(int((moved > 0).sum()), int(moved.sum()))
            self._reconcile(self._unix(self._second))

    def _record(self, end_second: int, window: Telemetry) -> None:
        """What the monitoring measured of a window."""
        ready_pods = {name: roster.ready for name, roster in self._rosters.items()}
        self._history.push(end_second, window, ready_pods)
        if self.scraped is not None:
            start = end_second - self._config.decision_seconds
            self.scraped.push(start, end_second, self._history.latest_calls(), ready_pods)

    def _scrape(self) -> None:
        window = self._simulation.scrape()
        self._scraped_second = self._second
        self._record(self._second, window)
        if self._second > self._warm_up and (self.repeat or self._second <= len(self._episode.rps)):
            self._score.add(window)

    def _churn(self) -> None:
        """Apply the topology changes that are due; a round of a repeated episode begins with the mesh of the first."""
        second = self._second - self._warm_up
        if second < 0:
            return
        round_ = 0
        if self.repeat:
            round_, second = divmod(second, len(self._episode.rps) - self._warm_up)
        if round_ > self._round:
            self._round = round_
            self._rollouts.start(0, self._episode.mesh, self._episode.churn.events)
            if self._mesh is not self._episode.mesh:
                self._simulation.change_mesh(0, self._episode.mesh)
                self._score.topology_changes += self._is_scored
                self._show_mesh(self._episode.mesh)
        if not self._rollouts.due(second):
            return
        for change in self._rollouts.happen(0, second):
            if change.crashed_pods:
                self._score.pod_crashes += self._is_scored
                self._reconcile(self._unix(self._second))
            if change.new is not change.old:
                self._score.topology_changes += change.begins and self._is_scored
                self._show_mesh(change.new)

    def _show_mesh(self, mesh: Mesh) -> None:
        """The simulation has another mesh: Deployments come and go."""
        now = self._unix(self._second)
        self._history.remesh(mesh)
        for name in set(self._mesh.names) - set(mesh.names):
            self._serials[name] = self._rosters.pop(name).serial
        self._mesh = mesh
        for name in mesh.names:
            if name not in self._rosters:
                self._rosters[name] = self._new_roster(name, now)
        self._reconcile(now)

    def _new_roster(self, name: str, created_seconds: float) -> PodRoster:
        return PodRoster(name, self._episode.seed, created_seconds, self._serials.get(name, 0))

    def _reconcile(self, now_seconds: float) -> None:
        for name, counts in zip(self._mesh.names, self._simulation.counts(0).tolist(), strict=True):
            self._rosters[name].reconcile(PodCounts(*counts[:4]), now_seconds)

    def _service(self, name: str) -> Service:
        """Raises `KeyError`, which names what there is."""
        return self._mesh.services[self._mesh.index(name)]

    def set_replicas(self, name: str, replicas: int) -> None:
        """Want so many replicas of a Deployment from the present second on.

        The Deployment shows them at once, pods follow with the next second, as controllers need their time in a cluster.

        Raises:
            KeyError: there is no such Deployment.
            ValueError: it is stateful, or the number negative.
        """
        with self._lock:
            self.advance()
            service = self._service(name)
            if replicas < 0:
                raise ValueError(f"{replicas} replicas of {name!r}: must be 0 or more")
            if service.stateful:
                raise ValueError(f"{name!r} is stateful and keeps its replicas; {replicas} were asked for")
            self._wanted[name] = replicas

    def workloads(self) -> list[WorkloadView]:
        """One per Deployment, in the order of the mesh."""
        with self._lock:
            self.advance()
            counts = self._simulation.counts(0)
            return [
                WorkloadView(
                    name=service.name,
                    replicas=self._wanted.get(service.name, int(counts[s, -1])),
                    containers=(_container(service), PROXY),
                    pods=self._rosters[service.name].views(),
                    created_seconds=self._rosters[service.name].created_seconds,
                    stateful=service.stateful,
                )
                for s, service in enumerate(self._mesh.services)
            ]

    def pods(self, name: str) -> tuple[PodView, ...]:
        """The pods of one Deployment. Raises `KeyError` without it."""
        with self._lock:
            self.advance()
            return self._rosters[self._service(name).name].views()

    @property
    def _shown_second(self) -> int:
        """End of the newest window that can be seen from outside."""
        return self._scraped_second - self._config.metrics_lag_seconds

    def pod_usage(self) -> list[PodUsageView]:
        """What metrics-server knows: the pods that were ready when the newest visible window ended, those gone since included."""
        with self._lock:
            self.advance()
            timestamp = self._unix(self._shown_second)
            return [
                PodUsageView(
                    pod=pod,
                    workload=name,
                    timestamp_seconds=timestamp,
                    window_seconds=float(self._config.decision_seconds),
                    containers={
                        # The simulation knows no memory of the proxy: the application's is that of the pod.
                        APP_CONTAINER: ContainerUsage(
                            cpu_nanocores=figures.app_nanocores, memory_bytes=figures.memory_bytes
                        ),
                        PROXY.name: ContainerUsage(cpu_nanocores=figures.proxy_nanocores, memory_bytes=0),
                    },
                )
                for name, figures in self._history.pods(self._shown_second).items()
                for pod in figures.pods
            ]

    def graph_view(self, window_seconds: int, at_seconds: float | None = None) -> GraphView:
        """What Kiali and Prometheus know.

        Args:
            window_seconds: span of the means.
            at_seconds: unix seconds in the past (up to 10 minutes) as of which it is asked; None = now.
        """
        with self._lock:
            self.advance()
            shown = self._shown_second
            age = 0.0 if at_seconds is None else self.clock.now() - at_seconds
            if age >= QUERY_GRAIN_SECONDS:
                period = self._config.decision_seconds
                shown = (self._second - math.floor(age)) // period * period - self._config.metrics_lag_seconds
            calls = all_calls = self._history.calls(shown, window_seconds)
            if self.scraped is not None:
                calls = self.scraped.calls(shown, window_seconds, all_calls)
            return GraphView(
                timestamp_seconds=self._unix(shown),
                window_seconds=window_seconds,
                gateway=GATEWAY,
                gateway_namespace=GATEWAY_NAMESPACE,
                workloads=self._mesh.names,
                calls=calls,
                all_calls=all_calls,
                shown_second=shown,
            )

    @property
    def scored(self) -> WorldScore:
        """The sums behind `score`, with every window."""
        return self._score

    def score(self) -> dict[str, Any]:
        """What the scored seconds have cost so far, in whole decision intervals; see `WorldScore`."""
        with self._lock:
            self.advance()
            finished = not self.repeat and self._second >= len(self._episode.rps)
            return {**self._score.to_json(), "slo_ms": self.slo_ms, "finished": finished}


def _container(service: Service) -> Container:
    return Container(
        name=APP_CONTAINER,
        cpu_request_millicores=service.cpu_request_millicores,
        cpu_limit_millicores=service.cpu_limit_millicores,
        memory_request_mib=service.memory_request_mib,
        memory_limit_mib=service.memory_limit_mib,
    )
