"""Queues of typed requests at several replicas, batched: one numba kernel, exact event times, one arrival a step.

    simulation = QueueSimulation(batch_size, max_replicas, max_types)
    simulation.load(b, model)                  # every environment its own model, or QueueSimulation.of(model, batch_size)
    simulation.reset(seed)                     # queues empty, the first request of every environment awaits its choice
    state = simulation.state                   # arrays [B, R] and [B], views that every call below brings up to date
    simulation.step(actions)                   # [B]: the awaiting request goes to that column; on to the next arrival
    simulation.run(Router.SED, requests=1000)  # the same a thousand times with a built-in router, without leaving the kernel
    simulation.lose(b, r); simulation.add(b, r, rates=None)
    simulation.metrics(), simulation.metrics_of(b)

Model. Requests of type k arrive as a Poisson process of rate `arrival_rates[k]`. Every replica serves one request at a time, first come,
first served; a request's service time is exponential with the rate of the replica for its type. A request is an inter-arrival time, a
type and a service requirement, all drawn from the environment's own stream when it arrives: environment b of a seed meets the same
requests whatever the batch size and whoever routes (paired comparison).

Replicas lost. The requests of a lost replica go, in the order of its queue, each to the end of the queue where it is expected to be
finished soonest (`sed`), or wait in that order if there is no replica. They keep their arrival times and requirements, except the one in
service, which starts again with a requirement drawn anew: what it had been given says nothing about the rest, service being memoryless.
Requests that arrive while there is no replica wait too (their action is `NOWHERE`); the first replica that comes gets them all, in their
order. Nothing is dropped.

A finished request is counted once the simulation has gone past its finish: at the next arrival, or in `drain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.queue_routing import kernel, snapshot
from gnnrl.domains.queue_routing.baselines import NOWHERE, Router, RoutingState
from gnnrl.domains.queue_routing.layout import ENVIRONMENT, QUEUED, REPLICA, TABLE_ROW, Arrays
from gnnrl.domains.queue_routing.metrics import LATENCY_EDGES_SECONDS, QueueMetrics, summarise
from gnnrl.domains.queue_routing.model import QueueModel
from gnnrl.domains.queue_routing.streams import stream_starts
from graph_space.arguments import whole_number, whole_numbers

__all__ = ["LATENCY_EDGES_SECONDS", "QueueOverflowError", "QueueSimulation", "QueueState"]

MEMORY_LIMIT_BYTES = 1 << 30
"""What the queues of a simulation may take, unless it is told otherwise."""

_FIRST_CAPACITY = 32


class QueueOverflowError(RuntimeError):
    """The queues have grown past the memory they may take: the load is above what the router can have served."""


@dataclass(frozen=True, eq=False)
class QueueState:
    """What there is to see when a request awaits its choice: views of the simulation's arrays, read-only, columns are replicas."""

    queue: NDArray[np.int64]  # [B, R] requests, the one in service included
    utilisation: NDArray[np.float64]  # [B, R] share of time busy, over about the last 16 arrivals (exponential weights)
    work_seconds: NDArray[np.float64]  # [B, R] expected: sum of 1 / rate over the types in the queue
    present_mask: NDArray[np.bool_]  # [B, R]
    request_type: NDArray[np.int64]  # [B] of the request that awaits its choice
    elapsed_seconds: NDArray[np.float64]  # [B] since the arrival before (since the reset, for the first)
    now_seconds: NDArray[np.float64]  # [B] since the reset
    integral: NDArray[
        np.float64
    ]  # [B] request-seconds in the system since the arrival before: its mean is the mean latency
    last_choice: NDArray[np.int64]  # [B] column of the request before, NOWHERE at the start
    last_fast_mask: NDArray[np.bool_]  # [B] whether that was a replica that is fastest for its type
    waiting: NDArray[np.int64]  # [B] requests that wait because there is no replica
    service_rates: NDArray[np.float64]  # [B, R, K] requests/s; 0 where the model of b has no such column


class QueueSimulation:
    """B systems of at most R replicas and K types. See the module's docstring.

    Args:
        batch_size: B.
        max_replicas: R, columns; a model with fewer leaves the others absent, free for `add`.
        max_types: K.
        record: the first so many requests of each environment are kept one by one (`table`).
        memory_limit_bytes: the queues may take, None = `MEMORY_LIMIT_BYTES`; more raises `QueueOverflowError`.
    """

    def __init__(
        self,
        batch_size: int,
        max_replicas: int,
        max_types: int,
        *,
        record: int = 0,
        memory_limit_bytes: int | None = None,
    ) -> None:
        for what, count in (("batch_size", batch_size), ("max_replicas", max_replicas), ("max_types", max_types)):
            whole_number(count, f"QueueSimulation: {what}", 1)
        whole_number(record, "QueueSimulation: record")
        self.batch_size, self.max_replicas, self.max_types = batch_size, max_replicas, max_types
        self.memory_limit_bytes = MEMORY_LIMIT_BYTES if memory_limit_bytes is None else memory_limit_bytes
        columns = max_replicas + 1
        self._arrays = Arrays(
            environments=np.zeros(batch_size, ENVIRONMENT),
            replicas=np.zeros((batch_size, columns), REPLICA),
            rings=np.zeros((batch_size, columns, _FIRST_CAPACITY), QUEUED),
            seconds=np.full((batch_size, max_replicas, max_types), np.inf),
            fastest=np.full((batch_size, max_types), np.inf),
            shares=np.full((batch_size, max_types), 2.0),
            histograms=np.zeros((batch_size, kernel.LATENCY_BINS), np.int64),
            tables=np.zeros((batch_size, record), TABLE_ROW),
        )
        self._rates = np.zeros((batch_size, max_replicas, max_types))
        self._models: list[QueueModel | None] = [None] * batch_size
        self._awaiting_mask = np.zeros(batch_size, np.bool_)
        self._all_await = False
        self._measured_from = np.zeros(batch_size)
        self.state = self._make_state()

    @classmethod
    def of(cls, model: QueueModel, batch_size: int = 1, *, record: int = 0) -> QueueSimulation:
        """B copies of one model."""
        simulation = cls(batch_size, len(model.replicas), len(model.types), record=record)
        for b in range(batch_size):
            simulation.load(b, model)
        return simulation

    def load(self, b: int, model: QueueModel) -> None:
        """Give environment `b` a model; it takes part again from its next `reset`.

        Raises:
            ValueError: the model has more replicas or types than there are columns.
        """
        self._number(b)
        if not isinstance(model, QueueModel):
            raise ValueError(f"environment {b}: {model!r:.60} is not a QueueModel")
        for what, count, most in (
            ("replicas", len(model.replicas), self.max_replicas),
            ("types", len(model.types), self.max_types),
        ):
            if count > most:
                raise ValueError(f"environment {b}: the model has {count} {what}, the simulation holds at most {most}")
        self._models[b] = model
        self._await(b, False)

    def reset(self, seed: int, these: ArrayLike | None = None) -> None:
        """Empty the queues, forget what was measured, restore each model's replicas and draw the first request.

        Args:
            seed: with the number of the environment, what its streams start from.
            these: environments, by number; None = all.

        Raises:
            ValueError: a seed that is not an integer >= 0, or an environment that is not there or has no model.
        """
        seed = whole_number(seed, "seed")
        chosen = np.arange(self.batch_size)
        if these is not None:
            chosen = whole_numbers(these, np.shape(these), "these").reshape(-1)
            for named in chosen.tolist():
                self._number(named)
        starts = [stream_starts(seed, int(b)) for b in chosen]
        for b, start in zip(chosen, starts, strict=True):
            self._restart(int(b), start)
        kernel.first_arrivals(self._arrays, chosen)
        self._await(chosen, True)

    def step(self, actions: ArrayLike) -> None:
        """Put the awaiting request of every environment into a queue and go to the next arrival.

        Args:
            actions: columns [B]; `NOWHERE` (-1) where no replica is present, and only there.

        Raises:
            ValueError: a column without a replica, with the environment; nothing has moved then.
            QueueOverflowError: the queues have become too long.
        """
        self._check_awaiting()
        chosen = whole_numbers(actions, (self.batch_size,), "actions")
        wrong = kernel.step_all(self._arrays, chosen)
        if wrong == kernel.FULL:
            self._make_room(self._arrays.rings.shape[2])
        elif wrong != kernel.MOVED:
            present = np.flatnonzero(self.state.present_mask[wrong])
            right = f"one of {', '.join(map(str, present))}" if present.size else f"{NOWHERE}, as no replica is present"
            raise ValueError(f"environment {wrong}: action {chosen[wrong]} is no present replica; it must be {right}")

    def run(self, router: Router, requests: int) -> None:
        """Route the next `requests` requests of every environment with a built-in router.

        Raises:
            ValueError: a router that is not known, or a number of requests that is not an integer >= 0.
            QueueOverflowError: the queues have become too long.
        """
        self._check_awaiting()
        router = Router(router)
        remaining = np.full(self.batch_size, whole_number(requests, "requests", 0, 2**62), np.int64)
        while remaining.any():
            kernel.run_all(self._arrays, int(router), remaining)
            if self._arrays.environments["full"].any():
                self._make_room(self._arrays.rings.shape[2])

    def choose(self, router: Router) -> NDArray[np.int64]:
        """What a built-in router would choose now, [B]; `step` with it is `run` by one request, chance included."""
        self._check_awaiting()
        actions = np.empty(self.batch_size, np.int64)
        kernel.route_all(self._arrays, int(Router(router)), actions)
        return actions

    def chance(self) -> NDArray[np.float64]:
        """What `choose` and `run` draw next for a router that uses chance, [B, 2] in [0, 1); the streams stay where they are."""
        drawn = np.empty((self.batch_size, 2))
        kernel.peek_chance(self._arrays, drawn)
        return drawn

    def routing_state(self) -> RoutingState:
        """What the routers of `baselines.py` look at; views."""
        state = self.state
        return RoutingState(
            queue=state.queue,
            work_seconds=state.work_seconds,
            present_mask=state.present_mask,
            request_type=state.request_type,
            service_seconds=self._arrays.seconds,
            last_choice=state.last_choice,
        )

    def drain(self) -> None:
        """Finish all requests that are in a queue, as if no more came. What awaits its choice does so no longer: `reset` comes next."""
        self._check_awaiting()
        kernel.drain_all(self._arrays)
        self._await(slice(None), False)

    def lose(self, b: int, r: int) -> None:
        """Replica `r` of environment `b` is gone; see the module's docstring for its requests.

        Raises:
            ValueError: it is not present.
        """
        self._check_column(b, r, present=True)
        self._make_room(int(self._arrays.replicas["queue"][b].sum()))
        self._arrays.replicas["present"][b, r] = False
        self._know_fastest(b)
        kernel.lose_replica(self._arrays, b, r)

    def add(self, b: int, r: int, rates: ArrayLike | None = None) -> None:
        """A replica comes, idle, in the free column `r` of environment `b`.

        Args:
            b: environment.
            r: column.
            rates: its requests/s by type, [K]; None = those that the column had before (in the model, or when it was lost).

        Raises:
            ValueError: the column is taken, has no rates, or a rate is not a positive number.
        """
        self._check_column(b, r, present=False)
        types = len(self._model_of(b).types)
        given = self._rates[b, r, :types] if rates is None else np.asarray(rates, np.float64)
        if given.shape != (types,) or not (np.isfinite(given) & (given > 0.0)).all():
            raise ValueError(f"environment {b}: rates {given.tolist()} of column {r} are not {types} positive numbers")
        self._make_room(int(self._arrays.replicas["queue"][b].sum()))
        self._set_rates(b, r, given)
        self._arrays.replicas["present"][b, r] = True
        self._know_fastest(b)
        kernel.release_waiting(self._arrays, b)

    def forget_measurements(self) -> None:
        """Measure from here on: after a warm-up."""
        for name in ("latency_sum", "in_system_sum", "routed", "fast", "finished"):
            self._arrays.environments[name] = 0
        self._arrays.histograms[:] = 0
        self._measured_from[:] = self._arrays.environments["now"]

    def metrics(self) -> QueueMetrics:
        """Of all environments together, since their reset or `forget_measurements`."""
        return self._summary(slice(None))

    def metrics_of(self, b: int) -> QueueMetrics:
        """Of one environment."""
        self._number(b)
        return self._summary(slice(b, b + 1))

    @property
    def latency_histograms(self) -> NDArray[np.int64]:
        """Finished requests by latency, [B, bins] over `metrics.LATENCY_EDGES_SECONDS`; a view."""
        return self._arrays.histograms

    def state_dict(self) -> dict[str, Any]:
        """Everything but the models, as plain arrays."""
        own = {"rates": self._rates, "awaiting": self._awaiting_mask, "measured_from": self._measured_from}
        return {"arrays": snapshot.taken(self._arrays), **{name: array.copy() for name, array in own.items()}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore `state_dict` once every environment has its model again; `state` is another object then.

        Raises:
            ValueError: it was taken from a simulation of other sizes.
        """
        self._arrays = snapshot.restored(saved["arrays"], self._arrays)
        self._rates[:] = saved["rates"]
        self._measured_from[:] = saved["measured_from"]
        self._await(slice(None), np.asarray(saved["awaiting"]))
        self.state = self._make_state()

    @property
    def table(self) -> NDArray[Any]:
        """The recorded requests, [B, record] of `layout.TABLE_ROW`; a view. The row of the awaiting request is the last one filled."""
        return self._arrays.tables

    def _summary(self, rows: slice) -> QueueMetrics:
        environments = self._arrays.environments[rows]
        return summarise(
            routed=environments["routed"],
            fast=environments["fast"],
            finished=environments["finished"],
            latency_sum=environments["latency_sum"],
            in_system_sum=environments["in_system_sum"],
            seconds=environments["now"] - self._measured_from[rows],
            histograms=self._arrays.histograms[rows],
            edges=LATENCY_EDGES_SECONDS,
        )

    def _make_state(self) -> QueueState:
        environments, replicas = self._arrays.environments, self._arrays.replicas[:, : self.max_replicas]
        state = QueueState(
            queue=replicas["queue"],
            utilisation=replicas["utilisation"],
            work_seconds=replicas["work"],
            present_mask=replicas["present"],
            request_type=environments["type"],
            elapsed_seconds=environments["elapsed"],
            now_seconds=environments["now"],
            integral=environments["integral"],
            last_choice=environments["last_choice"],
            last_fast_mask=environments["last_fast"],
            waiting=environments["waiting"],
            service_rates=self._rates[:],
        )
        for view in vars(state).values():
            view.flags.writeable = False
        return state

    def _number(self, b: int) -> int:
        return whole_number(b, "environment", 0, self.batch_size - 1)

    def _model_of(self, b: int) -> QueueModel:
        model = self._models[b]
        if model is None:
            raise ValueError(f"environment {b} has no model; load one first")
        return model

    def _restart(self, b: int, start: NDArray[np.uint64]) -> None:
        model = self._model_of(b)
        environment = self._arrays.environments[b : b + 1]
        environment[:] = np.zeros(1, ENVIRONMENT)
        environment["number"] = environment["last_choice"] = -1
        environment["mean_gap"] = 1.0 / model.total_arrival_rate
        environment["requests"], environment["chance"] = start
        self._arrays.replicas[b] = np.zeros(self.max_replicas + 1, REPLICA)
        self._arrays.histograms[b] = 0
        self._measured_from[b] = 0.0
        self._arrays.shares[b] = 2.0
        self._arrays.shares[b, : len(model.types) - 1] = np.cumsum(model.arrivals)[:-1] / model.total_arrival_rate
        self._rates[b] = 0.0
        self._arrays.seconds[b] = np.inf
        for r, rates in enumerate(model.rates):
            self._set_rates(b, r, rates)
        self._arrays.replicas["present"][b, : len(model.replicas)] = True
        self._know_fastest(b)

    def _set_rates(self, b: int, r: int, rates: NDArray[np.float64]) -> None:
        self._rates[b, r, : len(rates)] = rates
        self._arrays.seconds[b, r, : len(rates)] = 1.0 / rates

    def _know_fastest(self, b: int) -> None:
        present_mask = self.state.present_mask[b]
        self._arrays.fastest[b] = np.where(present_mask[:, None], self._arrays.seconds[b], np.inf).min(axis=0)

    def _await(self, these: Any, awaiting: ArrayLike) -> None:
        self._awaiting_mask[these] = awaiting
        self._all_await = bool(self._awaiting_mask.all())

    def _check_awaiting(self) -> None:
        if not self._all_await:
            b = int(np.flatnonzero(~self._awaiting_mask)[0])
            raise ValueError(f"environment {b}: no request awaits a choice; reset it first")

    def _check_column(self, b: int, r: int, *, present: bool) -> None:
        self._check_awaiting()
        self._number(b)
        whole_number(r, f"environment {b}: column", 0, self.max_replicas - 1)
        if bool(self.state.present_mask[b, r]) != present:
            raise ValueError(f"environment {b}: column {r} {'has no replica' if present else 'has a replica already'}")

    def _make_room(self, requests: int) -> None:
        """Rings for more than `requests` requests; a full queue has no room for another."""
        capacity = old = self._arrays.rings.shape[2]
        while capacity <= requests:
            capacity *= 2
        if capacity == old:
            return
        size = self._arrays.rings.nbytes // old * capacity
        if size > self.memory_limit_bytes:
            raise QueueOverflowError(
                f"a queue holds {int(self._arrays.replicas['queue'].max())} requests, and longer ones take {size >> 20} MiB, above the "
                f"limit of {self.memory_limit_bytes >> 20} MiB: more arrives than this router has served; lower the arrival rates"
            )
        rings = np.zeros((*self._arrays.rings.shape[:2], capacity), QUEUED)
        # A request's place is its number modulo the capacity: those from `head` on move to where they are looked for next.
        place = self._arrays.replicas["head"][:, :, None] + np.arange(old)
        np.put_along_axis(rings, place % capacity, np.take_along_axis(self._arrays.rings, place % old, axis=2), axis=2)
        self._arrays = self._arrays._replace(rings=rings)
        self._arrays.environments["full"] = False
