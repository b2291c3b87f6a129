"""Everything `gnnrl live` consists of, put together from what the user gave, and taken apart again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gnnrl.cluster.actuator import Actuator, WriteMode
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.events import EventPoster
from gnnrl.cluster.guardrails.annotations import SLO_MS
from gnnrl.cluster.lease import LeaderElector
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.cluster.reader import ClusterReader, GraphSource
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.sensing import Sensing
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.deployment_events import DeploymentEvents
from gnnrl.live.explainer import BaselineExplainer, PolicyExplainer
from gnnrl.live.keda.reader import UnownedReader
from gnnrl.live.loop import LiveLoop
from gnnrl.live.policies import (
    LivePolicyError,
    baseline_controller,
    capacity_for,
    live_environment,
    load_run,
    policy_controller,
)
from gnnrl.live.tracked import TrackedController
from kiali_client import KialiClient, PrometheusClient

__all__ = ["LiveOptions", "LiveSession", "LiveSetupError", "graph_source"]

LEASE_NAME = "gnnrl"
"""In the scaled namespace; the Role names it."""
BASELINE_NODES, BASELINE_EDGES = 64, 512
"""Slots of a baseline, which has no network to fit; more where the mesh is larger."""


class LiveSetupError(Exception):
    """What was given does not add up to a loop; one line a problem, each with its remedy."""


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """What the user gave."""

    config: LiveConfig
    namespace: str
    run: Path | None = None
    """A trained run; None = `policy` names a baseline."""
    policy: str = ""
    mode: WriteMode = "live"
    kiali_url: str | None = None
    prometheus_url: str | None = None
    """Instead of Kiali, where there is none."""
    token_file: Path | None = None
    """Token for Kiali or Prometheus."""
    ca_file: Path | None = None
    verify: bool = True
    kubeconfig: Path | None = None
    context: str | None = None
    for_keda: bool = False
    """KEDA writes: a Deployment that its HPA scales is decided on all the same."""
    leader_elect: bool = False
    identity: str = "gnnrl"


def graph_source(options: LiveOptions, clock: Clock) -> KialiClient | PrometheusClient:
    """Where the service graph comes from.

    Raises:
        LiveSetupError: neither or both URLs were given.
        KialiError: a URL or file that cannot be used.
    """
    if (options.kiali_url is None) == (options.prometheus_url is None):
        raise LiveSetupError("give either --kiali-url URL, or, where there is no Kiali, --prometheus-url URL")
    most, timeout = options.config.max_answer_bytes, options.config.read_deadline_seconds
    if options.kiali_url is not None:
        return KialiClient(
            options.kiali_url,
            token_file=options.token_file,
            ca_file=options.ca_file,
            verify=options.verify,
            timeout_seconds=timeout,
            max_answer_bytes=most,
            now=clock.now,
        )
    assert options.prometheus_url is not None
    return PrometheusClient(
        options.prometheus_url,
        token_file=options.token_file,
        ca_file=options.ca_file,
        verify=options.verify,
        timeout_seconds=timeout,
        max_answer_bytes=most,
        now=clock.now,
    )


class LiveSession:
    """A loop and all it needs; use as a context manager.

    `snapshot` reads the cluster once; `build` makes the loop for what was read; nothing is written before `run`.

    Args:
        options: what the user gave.
        clock: whose time it is.

    Raises:
        LiveSetupError, LivePolicyError, ClusterConfigError, KialiError, RunError, ConfigError, CheckpointError: see there.
    """

    def __init__(self, options: LiveOptions, clock: Clock) -> None:
        self.options, self.clock = options, clock
        if (options.run is None) == (not options.policy):
            raise LiveSetupError("give either --run RUN for a trained policy, or --policy NAME for a baseline")
        config = options.config
        self.trained = AutoscalingConfig()
        if options.run is not None:
            self._agent, experiment = load_run(options.run, config)
            self.trained = experiment.environment
        else:
            baseline_controller(options.policy, live_environment(self.trained, config, 1, 1))
        self.api = ClusterApi.connect(
            options.kubeconfig,
            options.context,
            timeout_seconds=config.read_deadline_seconds,
            max_answer_bytes=config.max_answer_bytes,
        )
        self.graph: GraphSource = graph_source(options, clock)
        self.reader = ClusterReader(
            self.api,
            self.graph,
            options.namespace,
            clock,
            deadline_seconds=config.read_deadline_seconds,
            graph_window_seconds=config.graph_window_seconds,
        )
        self.elector: LeaderElector | None = None
        if options.leader_elect:
            self.elector = LeaderElector(
                self.api, options.namespace, LEASE_NAME, options.identity, clock, lease_seconds=config.lease_seconds
            )
        self.actuator = Actuator(
            self.api,
            options.namespace,
            clock,
            mode=options.mode,
            may_act=self.may_act,
            deadline_seconds=config.read_deadline_seconds,
        )
        poster = EventPoster(self.api, options.namespace, clock, identity=options.identity)
        self.events = DeploymentEvents(poster, self._uid_of)
        self.loop: LiveLoop | None = None

    @property
    def policy(self) -> str:
        """Name of who decides, for people."""
        return self.options.run.name if self.options.run is not None else self.options.policy

    def may_act(self) -> bool:
        """Whether this process may write now."""
        return self.elector is None or self.elector.is_leader()

    def _uid_of(self, service: str) -> str:
        reading = self.loop.reading if self.loop is not None else None
        found = (deployment.uid for deployment in reading.deployments if deployment.name == service) if reading else ()
        return next(iter(found), "")

    def snapshot(self) -> ClusterSnapshot:
        """Read the cluster once."""
        return self.reader.read()

    def slo_ms(self, snapshot: ClusterSnapshot) -> float:
        """The objective: the configuration's, or the namespace's annotation.

        Raises:
            LiveSetupError: there is none, or it is no number above 0.
        """
        if self.options.config.slo_ms > 0.0:
            return self.options.config.slo_ms
        text = snapshot.namespace_annotations.get(SLO_MS)
        how = f"kubectl annotate namespace {self.options.namespace} {SLO_MS}=500, or --set slo_ms=500"
        if text is None:
            raise LiveSetupError(f"no objective for the 95th percentile end to end: {how}")
        try:
            slo = float(text)
        except ValueError:
            slo = 0.0
        if not 0.0 < slo < 1e7:
            raise LiveSetupError(f"annotation {SLO_MS}: {text[:40]!r} is no time in milliseconds; {how}")
        return slo

    def build(self, snapshot: ClusterSnapshot, sinks: tuple[Callable[[IntervalRecord], None], ...] = ()) -> LiveLoop:
        """The loop, with room for what was read.

        Raises:
            LiveSetupError: no objective.
            LivePolicyError: a baseline, or a fallback, that a cluster does not show enough to.
        """
        options, config = self.options, self.options.config
        slo_ms = self.slo_ms(snapshot)
        graph = snapshot.graph
        nodes = len(snapshot.deployments) + (len(graph.nodes) if graph else 0)
        edges = len(graph.edges) if graph else 0
        max_nodes, max_edges = capacity_for(nodes, edges, self.trained)
        if options.run is None:
            max_nodes, max_edges = max(max_nodes, BASELINE_NODES), max(max_edges, BASELINE_EDGES)
        environment = live_environment(self.trained, config, max_nodes, max_edges)
        told = {"slo_ms": slo_ms, "violation_weight": config.violation_weight}
        if options.run is not None:
            policy = policy_controller(self._agent, environment, config)
            controller = TrackedController(policy, **told)
            explain: PolicyExplainer | BaselineExplainer = PolicyExplainer(policy, self._agent)
        else:
            controller = TrackedController(baseline_controller(options.policy, environment), **told)
            explain = BaselineExplainer(slo_ms=slo_ms)
        try:
            fallback = TrackedController(baseline_controller(config.guardrails.fallback, environment), **told)
        except LivePolicyError as error:
            raise LivePolicyError(str(error).replace("--policy", "guardrails.fallback:")) from error
        event_sink = (self.events,) if options.mode == "live" else ()
        self.loop = LiveLoop(
            config=config,
            namespace=options.namespace,
            controller=controller,
            fallback=fallback,
            sensing=Sensing(
                max_nodes=max_nodes,
                max_edges=max_edges,
                interval_seconds=config.interval_seconds,
                stale_after_seconds=config.stale_after_seconds,
                slo_ms=slo_ms,
                past_capacity=config.past_capacity,
            ),
            reader=UnownedReader(self.reader) if options.for_keda else self.reader,
            writer=self.actuator,
            clock=self.clock,
            policy=self.policy,
            mode=options.mode,
            may_act=self.may_act,
            explain=explain,
            sinks=(*sinks, *event_sink),
        )
        return self.loop

    def run(self, stop: threading.Event, intervals: int | None = None) -> bool:
        """Run the loop; False = leadership was lost, and somebody else acts now."""
        assert self.loop is not None, "build the loop first"
        if self.elector is None:
            self.loop.run(stop, intervals)
            return True
        self.elector.start()
        watch = threading.Thread(target=self._stop_when_lost, args=(self.elector, stop), name="leadership", daemon=True)
        watch.start()
        try:
            self.loop.run(stop, intervals)
        finally:
            lost = self.elector.lost_event.is_set()
            stop.set()
            self.elector.stop()
        return not lost

    def _stop_when_lost(self, elector: LeaderElector, stop: threading.Event) -> None:
        while not stop.is_set():
            if elector.lost_event.wait(0.2):
                stop.set()

    def close(self) -> None:
        """Close connections and pools."""
        self.events.close()
        self.reader.close()
        self.actuator.close()
        self.api.close()
        if isinstance(self.graph, KialiClient | PrometheusClient):
            self.graph.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
