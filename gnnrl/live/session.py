"""Everything `gnnrl live` consists of, put together from what the user gave, and taken apart again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from gnnrl.cluster.actuator import Actuator
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.events import EventPoster
from gnnrl.cluster.guardrails.annotations import SLO_MS
from gnnrl.cluster.lease import LeaderElector
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.cluster.reader import ClusterReader
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.sensing import Sensing
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.deployment_events import DeploymentEvents
from gnnrl.live.explainer import BaselineExplainer, PolicyExplainer
from gnnrl.live.keda.reader import UnownedReader
from gnnrl.live.loop import LiveLoop
from gnnrl.live.options import LiveOptions, LiveSetupError
from gnnrl.live.parts import LiveParts
from gnnrl.live.permissions import LEASE_NAME
from gnnrl.live.policies import baseline_controller, capacity_for, live_environment, policy_controller
from gnnrl.live.tracked import TrackedController
from gnnrl.pretrained import SUFFIX

__all__ = ["LiveOptions", "LiveSession", "LiveSetupError", "objective_ms", "sensing_for"]

BASELINE_NODES, BASELINE_EDGES = 64, 512
"""Slots of a baseline, which has no network to fit; more where the mesh is larger."""


def objective_ms(options: LiveOptions, snapshot: ClusterSnapshot) -> float:
    """The objective, milliseconds: the configuration's, or the namespace's annotation.

    Raises:
        LiveSetupError: there is none, or it is no number above 0.
    """
    if options.config.slo_ms > 0.0:
        return options.config.slo_ms
    text = snapshot.namespace_annotations.get(SLO_MS)
    how = f"kubectl annotate --overwrite namespace {options.namespace} {SLO_MS}=500, or --set slo_ms=500"
    if text is None:
        raise LiveSetupError(f"no objective for the 95th percentile end to end: {how}")
    try:
        slo = float(text)
    except ValueError:
        slo = 0.0
    if not 0.0 < slo < 1e7:
        raise LiveSetupError(f"annotation {SLO_MS}: {text[:40]!r} is no time in milliseconds; {how}")
    return slo


def sensing_for(options: LiveOptions, snapshot: ClusterSnapshot, trained: AutoscalingConfig, slo_ms: float) -> Sensing:
    """What reads snapshots, with room for this one.

    Args:
        options: what the user gave.
        snapshot: of the mesh as it is.
        trained: the environment of the policy, or the default.
        slo_ms: the objective.
    """
    graph, config = snapshot.graph, options.config
    nodes = len(snapshot.deployments) + (len(graph.nodes) if graph else 0)
    max_nodes, max_edges = capacity_for(nodes, len(graph.edges) if graph else 0, trained)
    if not options.learned:
        max_nodes, max_edges = max(max_nodes, BASELINE_NODES), max(max_edges, BASELINE_EDGES)
    return Sensing(
        max_nodes=max_nodes,
        max_edges=max_edges,
        interval_seconds=config.interval_seconds,
        stale_after_seconds=config.stale_after_seconds,
        slo_ms=slo_ms,
        past_capacity=config.past_capacity,
        cluster=config.cluster,
        start_hold_seconds=config.guardrails.start_hold_seconds,
    )


def write_deadline_seconds(options: LiveOptions) -> float:
    """For the writes of an interval: none may be under way for longer than the elector's margin, a third of the lease."""
    deadline = options.config.read_deadline_seconds
    return min(deadline, options.config.lease_seconds / 3.0) if options.leader_elect else deadline


class LiveSession:
    """A loop and all it needs; use as a context manager.

    `snapshot` reads the cluster once; `build` makes the loop for what was read; nothing is written before `run`.

    Args:
        options: what the user gave.
        clock: whose time it is.
        parts: made of these options before; the session closes them.

    Raises:
        LiveSetupError: everything that is wrong with the options, a line each.
    """

    def __init__(self, options: LiveOptions, clock: Clock, parts: LiveParts | None = None) -> None:
        self.options, self.clock = options, clock
        self.parts = LiveParts.of(options, clock) if parts is None else parts
        decider, api, graph = self.parts.decider, self.parts.api, self.parts.graph
        if self.parts.faults or decider is None or api is None or graph is None:
            self.parts.close()
            raise LiveSetupError("\n".join(f"{fault.what}: {fault.message}" for fault in self.parts.faults))
        config = options.config
        self.trained, self._agent = decider.trained, decider.agent
        self.api = api
        self.reader = ClusterReader(
            self.api,
            graph,
            options.namespace,
            clock,
            deadline_seconds=config.read_deadline_seconds,
            graph_window_seconds=config.graph_window_seconds,
        )
        self.elector: LeaderElector | None = None
        # What changes nothing takes no Lease: it would keep it from those that do.
        if options.leader_elect and options.mode == "live":
            self.elector = LeaderElector(
                self.api, options.namespace, LEASE_NAME, options.identity, clock, lease_seconds=config.lease_seconds
            )
        self.actuator = Actuator(
            self.api,
            options.namespace,
            clock,
            mode=options.mode,
            may_act=self.may_act,
            deadline_seconds=write_deadline_seconds(options),
        )
        poster = EventPoster(self.api, options.namespace, clock, identity=options.identity)
        self.events = DeploymentEvents(poster, self._uid_of)
        self.loop: LiveLoop | None = None

    @property
    def policy(self) -> str:
        """Name of who decides, for people."""
        run, policy = self.options.run, self.options.policy
        return run.name if run is not None else Path(policy).stem if policy.endswith(SUFFIX) else policy

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

    def build(self, snapshot: ClusterSnapshot, sinks: tuple[Callable[[IntervalRecord], None], ...] = ()) -> LiveLoop:
        """The loop, with room for what was read.

        Raises:
            LiveSetupError: no objective.
        """
        options, config = self.options, self.options.config
        slo_ms = objective_ms(options, snapshot)
        self.reader.namespace_annotations = snapshot.namespace_annotations
        sensing = sensing_for(options, snapshot, self.trained, slo_ms)
        environment = live_environment(self.trained, config, sensing.max_nodes, sensing.max_edges)
        told = {"slo_ms": slo_ms, "violation_weight": config.violation_weight}
        floor = baseline_controller(config.guardrails.fallback, environment)
        if self._agent is not None:
            policy = policy_controller(self._agent, environment, config)
            controller = TrackedController(policy, **told)
            explain: PolicyExplainer | BaselineExplainer = PolicyExplainer(policy, self._agent, fallback=floor)
        else:
            rule = baseline_controller(options.policy, environment)
            controller = TrackedController(rule, **told)
            explain = BaselineExplainer(rule, slo_ms=slo_ms, fallback=floor)
        event_sink = (self.events,) if options.mode == "live" else ()
        self.loop = LiveLoop(
            config=config,
            namespace=options.namespace,
            controller=controller,
            fallback=TrackedController(floor, **told),
            sensing=sensing,
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

    def once(self) -> IntervalRecord:
        """One interval; who must lead for it tries once to, and lets go of the Lease after."""
        assert self.loop is not None, "build the loop first"
        if self.elector is None:
            return self.loop.interval()
        self.elector.tick()
        try:
            return self.loop.interval()
        finally:
            self.elector.stop()

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
        self.parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
