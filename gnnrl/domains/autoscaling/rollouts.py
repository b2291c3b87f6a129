"""ChangingMesh changes as they happen to a simulation: at once, or as rollouts that wait until new pods are ready.

Training, evaluation and sandbox play the events of their episodes through one `Rollouts`. Under `environment.churn.cutover: gated` a
service that comes first stands there with its pods starting and without a call. `cutover_delay_seconds` after the decision at which its
pods are seen ready it has its calls, or, with a `ramp`, a share of them a decision interval long each, and then all; whom it replaces goes
with the last. Ready are as many pods as it came with, or fewer if fewer are wanted by now; where the cluster has no room for them, no call
ever moves. A rollout whose service goes meanwhile ends without a trace. Under `hard` all of it happens at once.

A change that finds nothing it may hit, or that would not fit the observation at some moment of the rollouts under way, does not happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.changing_mesh import Change, ChangingMesh, Crash, Newcomer, draw_change
from gnnrl.domains.autoscaling.churn import ChurnEvent
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.observed import room_for_mesh
from gnnrl.domains.autoscaling.physics import MeshSimulation
from gnnrl.domains.autoscaling.pods import DESIRED, READY

__all__ = ["Rollouts", "TopologyChange"]

NEVER = np.iinfo(np.int64).max
WITHOUT_REPLICAS = 0
"""Of changes that nobody comes with, in the log."""


@dataclass(frozen=True, kw_only=True)
class TopologyChange:
    """Something that has happened to the simulation."""

    old: Mesh
    new: Mesh
    """The same object where only a pod crashed."""
    begins: bool
    """Whether an event happened, and not a further stage of one before."""
    moves_calls: bool
    """Whether calls go elsewhere for the first time after its event."""
    crashed_pods: int = 0


@dataclass
class _Watch:
    """When a rollout goes on."""

    event: int
    replicas: int
    """That it came with."""
    look_second: int
    """Nothing happens before."""
    ready_second: int = -1
    """When its pods were seen ready; -1 = they are not."""
    stage: int = 0
    """Shares of its calls that it has had."""


class _Course:
    """The events of one episode, and how far they have come."""

    def __init__(self, mesh: Mesh, events: Sequence[ChurnEvent]) -> None:
        self.topology = ChangingMesh(settled=mesh)
        self.events = events
        self.next_event = 0
        self.watches: dict[int, _Watch] = {}
        """By the number of the event, in their order."""
        self.log: list[tuple[int, int, int]] = []
        """(event, stage, replicas) of everything that changed the topology: with the events it is the topology."""

    def due_second(self) -> int:
        """Before it nothing happens."""
        event = self.events[self.next_event].second if self.next_event < len(self.events) else NEVER
        return min([event, *(watch.look_second for watch in self.watches.values())])


class Rollouts:
    """Plays the topology changes of B episodes.

    Args:
        config: of the environment; its `churn` says how services come.
        simulation: that they happen to, of B meshes.
    """

    def __init__(self, config: AutoscalingConfig, simulation: MeshSimulation) -> None:
        self._config, self._simulation = config, simulation
        self._gated = config.churn.cutover == "gated"
        self._shares = (*config.churn.ramp, 1.0)
        self._courses: list[_Course | None] = [None] * simulation.batch_size
        self._due = np.full(simulation.batch_size, NEVER, dtype=np.int64)

    def start(self, b: int, mesh: Mesh, events: Sequence[ChurnEvent]) -> None:
        """Begin an episode of environment `b`, whose simulation has this mesh."""
        self._keep(b, _Course(mesh, events))

    def _keep(self, b: int, course: _Course) -> None:
        self._courses[b] = course
        self._due[b] = course.due_second()

    def due(self, seconds: NDArray[np.int64] | int) -> list[int]:
        """The environments in which something may happen by `seconds` [B] after the warm-up."""
        due_mask = self._due <= seconds
        return np.flatnonzero(due_mask).tolist() if due_mask.any() else []

    def happen(self, b: int, second: int) -> Iterator[TopologyChange]:
        """Let everything happen to the simulation that is due by `second` after the warm-up; each is told when it has happened."""
        course = self._courses[b]
        assert course is not None
        while course.next_event < len(course.events) and course.events[course.next_event].second <= second:
            number = course.next_event
            course.next_event += 1
            yield from self._begin(b, course, number, second)
        for watch in list(course.watches.values()):
            if watch.event in course.watches and watch.look_second <= second:
                yield from self._go_on(b, course, watch, second)
        self._due[b] = course.due_second()

    def _begin(self, b: int, course: _Course, number: int, second: int) -> Iterator[TopologyChange]:
        """Event `number` happens."""
        before = course.topology
        change = draw_change(before, course.events[number])
        if change is None:
            return
        if isinstance(change, Crash):
            killed = self._simulation.crash_pods(b, change.service, 1)
            yield TopologyChange(old=before.mesh, new=before.mesh, begins=True, moves_calls=False, crashed_pods=killed)
            return
        change, replicas = self._staffed(change, self._desired(b, before.mesh, change))
        after = before.after(change, number, gated=self._gated)
        if not after.fits(*room_for_mesh(before.settled, self._config)):
            return
        waits = self._gated and isinstance(change, Newcomer)
        happened = self._applied(b, course, after, (number, 0, replicas), begins=True, moves_calls=not waits)
        if self._gated and isinstance(change, Newcomer):
            ready_second = second + round(change.service.startup_seconds)
            course.watches[number] = _Watch(event=number, replicas=replicas, look_second=ready_second)
        yield happened

    def _desired(self, b: int, mesh: Mesh, change: Change) -> int:
        """Replicas that are wanted now of the service that a newcomer follows."""
        if not isinstance(change, Newcomer):
            return WITHOUT_REPLICAS
        return int(self._simulation.counts(b)[mesh.index(change.follows), DESIRED])

    def _staffed(self, change: Change, following: int) -> tuple[Change, int]:
        """The change with the replicas that a newcomer starts with, within the environment's bounds."""
        if not isinstance(change, Newcomer):
            return change, WITHOUT_REPLICAS
        least, most = self._config.min_replicas, self._config.max_replicas
        replicas = min(max(change.start_replicas(following), least), most)
        return _with_replicas(change, replicas), replicas

    def _go_on(self, b: int, course: _Course, watch: _Watch, second: int) -> Iterator[TopologyChange]:
        """The next stage of a rollout, if its pods are there."""
        config, watch.look_second = self._config, second + self._config.decision_seconds
        if watch.stage == 0:
            if not self._ready(b, course, watch):
                watch.ready_second = -1
                return
            if watch.ready_second < 0:
                watch.ready_second = second
            cutover_second = watch.ready_second + config.churn.cutover_delay_seconds
            if second < cutover_second:
                watch.look_second = cutover_second
                return
        watch.stage += 1
        after = course.topology.moved(watch.event, self._shares[watch.stage - 1])
        entry = (watch.event, watch.stage, watch.replicas)
        yield self._applied(b, course, after, entry, begins=False, moves_calls=watch.stage == 1)

    def _ready(self, b: int, course: _Course, watch: _Watch) -> bool:
        (name,) = (one.newcomer.service.name for one in course.topology.rollouts if one.event == watch.event)
        counts = self._simulation.counts(b)[course.topology.mesh.index(name)]
        return bool(counts[READY] >= max(min(watch.replicas, counts[DESIRED]), 1))

    def _applied(
        self,
        b: int,
        course: _Course,
        after: ChangingMesh,
        entry: tuple[int, int, int],
        *,
        begins: bool,
        moves_calls: bool,
    ) -> TopologyChange:
        before, course.topology = course.topology, after
        course.log.append(entry)
        under_way = {rollout.event for rollout in after.rollouts}
        course.watches = {event: watch for event, watch in course.watches.items() if event in under_way}
        self._simulation.change_mesh(b, after.mesh)
        return TopologyChange(old=before.mesh, new=after.mesh, begins=begins, moves_calls=moves_calls)

    def state_dict(self) -> list[str]:
        """By environment, as JSON: which events are past, what has changed the topology, and what is under way."""
        return [json.dumps(None if course is None else _plain(course)) for course in self._courses]

    def load_state_dict(self, state: Sequence[str]) -> None:
        """Restore `state_dict`; the episodes must have been started, and the simulations are given their meshes as they stand.

        Raises:
            ValueError: a state is not one of these episodes.
        """
        for b, text in enumerate(state):
            course = self._courses[b]
            if course is None:
                continue
            restored = _Course(course.topology.settled, course.events)
            try:
                self._replay(restored, json.loads(text))
                if restored.topology.mesh is not course.topology.mesh:
                    self._simulation.change_mesh(b, restored.topology.mesh)
            except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
                raise ValueError(f"environment {b}: its rollouts are not of this episode ({error!r})") from error
            self._keep(b, restored)

    def _replay(self, course: _Course, saved: dict[str, Any]) -> None:
        """Do what a log says, without a simulation."""
        for number, stage, replicas in saved["log"]:
            if stage == 0:
                change = draw_change(course.topology, course.events[number])
                if change is None:
                    raise ValueError(f"event {number} hits nothing")
                if isinstance(change, Newcomer):
                    change = _with_replicas(change, replicas)
                course.topology = course.topology.after(change, number, gated=self._gated)
            else:
                course.topology = course.topology.moved(number, self._shares[stage - 1])
            course.log.append((number, stage, replicas))
        course.next_event = int(saved["next_event"])
        watches = [_Watch(**{name: int(value) for name, value in watch.items()}) for watch in saved["watches"]]
        course.watches = {watch.event: watch for watch in watches}
        if [*course.watches] != [rollout.event for rollout in course.topology.rollouts]:
            raise ValueError(f"events {[*course.watches]} are not those under way")

    def mesh(self, b: int) -> Mesh:
        """As it stands in environment `b`."""
        course = self._courses[b]
        assert course is not None
        return course.topology.mesh


def _with_replicas(newcomer: Newcomer, replicas: int) -> Newcomer:
    return replace(newcomer, service=replace(newcomer.service, replicas=replicas))


def _plain(course: _Course) -> dict[str, Any]:
    watches = [asdict(watch) for watch in course.watches.values()]
    return {"next_event": course.next_event, "log": course.log, "watches": watches}
