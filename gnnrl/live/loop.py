"""The control loop: read, decide, guard, write, record; every interval, whatever fails."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.actuator import Redecide, ScaleRequest, ScaleResult, WriteMode
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.guardrails import NO_FLOOR, Guardrails, Limits, Verdict
from gnnrl.cluster.models import ClusterSnapshot, Problem
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.observed import ObservedMesh
from gnnrl.domains.autoscaling.scaling_proposal import changes_of, limits_in, proposal_of
from gnnrl.domains.autoscaling.sensing import CapacityExceeded, Reading, Sensing
from gnnrl.evaluation.controllers import column_sources
from gnnrl.live.decision import IntervalRecord, ServiceDecision
from gnnrl.live.tracked import PolicyFailure, TrackedController

__all__ = ["Explainer", "LiveLoop", "Reader", "Writer"]


class Reader(Protocol):
    """Reads the cluster, as `ClusterReader` does."""

    def read(self) -> ClusterSnapshot:
        """One snapshot; what failed is a problem in it."""


class Writer(Protocol):
    """Writes replicas, as `Actuator` does."""

    def apply(self, changes: Mapping[str, ScaleRequest], redecide: Redecide | None = None) -> dict[str, ScaleResult]:
        """Write every target, whatever becomes of the others."""


class Explainer(Protocol):
    """Says why, once the decisions stand."""

    def __call__(self, decisions: Sequence[ServiceDecision], reading: Reading, decided: bool) -> list[ServiceDecision]:
        """The decisions with inputs, influences and reason; `decided` = the policy was asked in this interval."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """What one reading came to."""

    reading: Reading
    wish: NDArray[np.float64]  # [S]
    limits: tuple[Limits, ...]
    verdict: Verdict
    problems: tuple[str, ...]
    valid: bool


class LiveLoop:
    """Runs a controller against a cluster.

    A reading that no decision can rest on is not consumed: slots, memory and histories stay as they are, everything is held, and after
    `fallback_after_intervals` such intervals the fallback's wish becomes a floor.

    Args:
        config: the loop's configuration.
        namespace: what is scaled.
        controller: who decides.
        fallback: whose wish is the floor when nobody has decided for long; it needs Deployments and pod metrics, not the graph.
        sensing, reader, writer: in and out.
        clock: when.
        policy: name of the controller, for people.
        mode: how the writer writes, for the record.
        may_act: whether this process leads; the record says so, the writer asks for itself.
        explain: fills in reasons; None = none.
        sinks: shown every record, in order; what one raises ends the loop.
    """

    def __init__(
        self,
        *,
        config: LiveConfig,
        namespace: str,
        controller: TrackedController,
        fallback: TrackedController | None,
        sensing: Sensing,
        reader: Reader,
        writer: Writer,
        clock: Clock,
        policy: str,
        mode: WriteMode,
        may_act: Callable[[], bool] = lambda: True,
        explain: Explainer | None = None,
        sinks: Sequence[Callable[[IntervalRecord], None]] = (),
    ) -> None:
        self.config, self.namespace, self.policy, self.mode = config, namespace, policy, mode
        self.controller, self.fallback = controller, fallback
        self.sensing, self.reader, self.writer = sensing, reader, writer
        self.clock, self.may_act, self.explain, self.sinks = clock, may_act, explain, tuple(sinks)
        self.guardrails = Guardrails(config.guardrails, 1, sensing.max_nodes, float(config.interval_seconds))
        self.latest: IntervalRecord | None = None
        self.reading: Reading | None = None
        """The last one, consumed or not."""
        self._guarded: ObservedMesh | None = None
        self._uids: dict[str, str] = {}
        self._number = 0
        self._write_failed = False

    def run(self, stop: threading.Event, intervals: int | None = None) -> None:
        """Decide every interval until `stop` is set, or so many times; one that takes too long costs those it overran."""
        began, turn = self.clock.now(), 0
        while not stop.is_set():
            self.interval()
            if intervals is not None and self._number >= intervals:
                return
            overrun = int((self.clock.now() - began) / self.config.interval_seconds)
            turn = max(turn, overrun) + 1
            if not self.clock.sleep_until(began + turn * self.config.interval_seconds, stop):
                return

    def interval(self) -> IntervalRecord:
        """One turn of the loop; when it returns, its record has gone to every sink."""
        seconds, started = self.clock.now(), time.perf_counter()
        snapshot = self.reader.read()
        read = time.perf_counter()
        plan, problem = self._planned(snapshot)
        decided = time.perf_counter()
        services = self._written(plan) if plan is not None else []
        written = time.perf_counter()
        if plan is not None and self.explain is not None:
            services = self.explain(services, plan.reading, plan.valid)
        # Without a graph nothing is known of the traffic, and the window still shows what it showed before.
        known = plan is not None and "graph" in plan.reading.age_seconds
        window = plan.reading.window if plan is not None and known else None
        record = IntervalRecord(
            number=self._number,
            seconds=seconds,
            policy=self.policy,
            mode=self.mode,
            valid=plan is not None and plan.valid,
            data_age_seconds={} if plan is None else dict(plan.reading.age_seconds),
            problems=problem if plan is None else plan.problems,
            api_errors=dict(Counter(found.source for found in snapshot.problems if not found.service)),
            services=tuple(services),
            external_rps=math.nan if window is None else float(window.external_rps[0]),
            latency_p95_ms=math.nan if window is None else float(window.latency_p95_ms[0]),
            slo_ms=self.sensing.slo_ms,
            read_seconds=read - started,
            decide_seconds=decided - read + (time.perf_counter() - written),
            write_seconds=written - decided,
            is_leader=self.may_act(),
        )
        self._number += 1
        self.latest = record
        for sink in self.sinks:
            sink(record)
        return record

    def _planned(self, snapshot: ClusterSnapshot) -> tuple[_Plan | None, tuple[str, ...]]:
        """What to do about this snapshot; without Deployments nothing, and why."""
        try:
            reading = self._read(snapshot)
        except CapacityExceeded as error:
            self.guardrails.miss()
            return None, (str(error),)
        self.reading = reading
        if snapshot.failed("deployments") or not reading.deployments:
            self.guardrails.miss()
            return None, reading.problems
        problems = list(reading.problems)
        problems += [f"{name}: left out, the policy has no slot for it; held" for name in reading.left_out]
        columns = self.sensing.max_nodes
        wish, valid = np.full(columns, np.nan), False
        if not reading.blocking:
            try:
                wish, valid = self.controller.wish(reading, snapshot.taken_seconds).astype(np.float64), True
            except PolicyFailure as error:
                problems.append(f"policy: {error}")
        floor = np.full(columns, NO_FLOOR, dtype=np.int64)
        if self.fallback is not None and self._has_metrics(snapshot, reading):
            try:
                floor = self.fallback.wish(reading, snapshot.taken_seconds)
                floor[reading.unmeasured_mask] = NO_FLOOR
            except PolicyFailure as error:
                problems.append(f"fallback: {error}")
        limits = limits_in(snapshot, reading, self.config.guardrails)
        for deployment, limit in zip(reading.deployments, limits, strict=True):
            problems += [f"{deployment.name}: {problem}" for problem in limit.problems]
        self._follow(reading)
        # A quota that cannot be read only forbids raises.
        unread = any(not problem.service and problem.source != "quota" for problem in snapshot.problems)
        has_error = unread or bool(reading.blocking) or self._write_failed or not valid
        proposal = proposal_of(
            snapshot, reading, limits, wish, self.config.guardrails, floor=floor, has_error=has_error
        )
        verdict = self.guardrails.apply(proposal)
        plan = _Plan(reading=reading, wish=wish, limits=limits, verdict=verdict, problems=tuple(problems), valid=valid)
        return plan, ()

    def _read(self, snapshot: ClusterSnapshot) -> Reading:
        """What the snapshot says; past capacity what it says without the graph, on which the fallback's floor can rest.

        Raises:
            CapacityExceeded: there are more Deployments than slots.
        """
        try:
            return self.sensing.read(snapshot)
        except CapacityExceeded as error:
            told = Problem(source="graph", message=str(error))
            return self.sensing.read(replace(snapshot, graph=None, problems=(*snapshot.problems, told)))

    def _has_metrics(self, snapshot: ClusterSnapshot, reading: Reading) -> bool:
        age = reading.age_seconds.get("metrics")
        fresh = age is not None and age <= self.config.stale_after_seconds
        return fresh and not snapshot.failed("metrics") and not snapshot.failed("pods")

    def _follow(self, reading: Reading) -> None:
        """Move what the guardrails remember to the columns of this mesh; a Deployment that was made anew begins anew."""
        mesh, uids = reading.mesh, {deployment.name: deployment.uid for deployment in reading.deployments}
        if self._guarded is not None and (mesh.names != self._guarded.names or uids != self._uids):
            source = np.full(self.sensing.max_nodes, -1, dtype=np.int64)
            moved = column_sources(self._guarded, mesh)
            source[: len(moved)] = moved
            anew = [self._uids.get(name, uid) != uid for name, uid in uids.items()]
            source[: len(anew)][anew] = -1
            self.guardrails.remesh(0, source)
        self._guarded, self._uids = mesh, uids

    def _written(self, plan: _Plan) -> list[ServiceDecision]:
        """Send what is to be changed; one decision per Deployment."""
        changes = changes_of(plan.reading, plan.limits, plan.verdict)
        results = self.writer.apply(changes, self._redecide(changes)) if changes else {}
        self._write_failed = any(result.outcome == "failed" for result in results.values())
        return [self._decision(plan, i, results) for i in range(len(plan.reading.deployments))]

    def _redecide(self, changes: Mapping[str, ScaleRequest]) -> Redecide:
        """Somebody else changed it since it was read: a raise still holds if it is one, a lowering waits for the next interval."""
        most = self.config.guardrails.max_up_replicas

        def redecide(name: str, current: int) -> int | None:
            wanted = changes[name].replicas
            if wanted <= changes[name].expected or wanted <= current or current < changes[name].minimum:
                return None
            return min(wanted, current + most)

        return redecide

    def _decision(self, plan: _Plan, i: int, results: Mapping[str, ScaleResult]) -> ServiceDecision:
        deployment = plan.reading.deployments[i]
        result = results.get(deployment.name)
        wish = plan.wish[i]
        return ServiceDecision(
            service=deployment.name,
            current=deployment.desired,
            ready=deployment.ready,
            wish=int(wish) if np.isfinite(wish) else deployment.desired,
            final=int(plan.verdict.final[0, i]),
            guardrails=plan.verdict.names(0, i),
            outcome="none" if result is None else result.outcome,
            sent=None if result is None else result.sent,
            echoed=None if result is None else result.echoed,
            answer="" if result is None else result.answer,
        )
