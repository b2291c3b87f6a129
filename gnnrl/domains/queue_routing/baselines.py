"""The routers that people use, and the best that is known, as functions of what a router sees. numpy only.

Each is a pure function of a `RoutingState` of B environments. `router_kernel.py` has the same rules compiled for the simulator
alone; the tests hold the two against each other, choice by choice.

What "fast" means: the replicas that serve a type at the highest rate among those present. Ties that are not named are broken towards
the replica that is faster for the request, then towards the lower column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOWHERE", "ROUTERS", "Router", "RoutingState", "route", "router_named"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NOWHERE = -1
"""The choice where no replica is present: the request waits for one to come."""

COUNT_GAP = 4
"""Requests by which the fast replica's queue must be the longer one, for `count_gap`."""
WORK_GAP = 3.0
"""As expected work, in services of the request on the fast replica, for `work_gap`: 0.3 s in the base model."""
ORACLE_GAP = 6.5
"""The same for `oracle`: 0.65 s in the base model."""
ORACLE_IDLE = 2.5
"""Expected work on the fast replica above which `oracle` uses an idle one, in the same unit: 0.25 s in the base model."""
ROUNDING = 1e-9
"""Relative differences of expected work and delay below this are ties."""


class Router(IntEnum):
    """Routers by number, as the compiled simulator knows them."""

    RANDOM = 0
    ROUND_ROBIN = 1
    JSQ = 2
    JSQ_AFFINITY = 3
    POWER_OF_TWO = 4
    SED = 5
    SED_OWN_RATE = 6
    AFFINITY = 7
    COUNT_GAP = 8
    WORK_GAP = 9
    ORACLE = 10


ROUTERS: Mapping[str, str] = {
    "random": "any replica",
    "round_robin": "the replica after the last one",
    "jsq": "fewest requests, ties at random",
    "jsq_affinity": "fewest requests, ties to the fast replica",
    "power_of_two": "the one with fewer requests of two drawn at random",
    "sed": "shortest expected delay, by the types in the queues",
    "sed_own_rate": "shortest expected delay, as if all in the queue were of this request's type: (n + 1) / rate",
    "affinity": "the fast replica: the best rule that does not look at the queues",
    "count_gap": f"the fast replica, unless its queue is {COUNT_GAP} or more requests longer",
    "work_gap": f"the fast replica, unless its expected work is more than {WORK_GAP:g} services larger",
    "oracle": f"the fast replica, unless its expected work is {ORACLE_GAP:g} services larger, or {ORACLE_IDLE:g} and the other idle",
}
"""Name -> what it does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingState:
    """What a router sees of B environments when a request awaits its choice; R columns for replicas, K for types."""

    queue: Ints  # [B, R] requests in each queue, the one in service included
    work_seconds: Floats  # [B, R] expected: sum of 1 / rate over the types in the queue
    present_mask: NDArray[np.bool_]  # [B, R]
    request_type: Ints  # [B] type of the request that awaits its choice
    service_seconds: Floats  # [B, R, K] 1 / rate
    last_choice: Ints  # [B] column chosen for the request before, NOWHERE at the start

    @property
    def own_seconds(self) -> Floats:
        """Expected service time of the waiting request on each replica, [B, R]; infinite where there is no replica."""
        own = np.take_along_axis(self.service_seconds, self.request_type[:, None, None], axis=2)[:, :, 0]
        return np.where(self.present_mask, own, np.inf)


def router_named(name: str) -> Router:
    """The router of this name.

    Raises:
        ValueError: there is none; with those there are.
    """
    if name not in ROUTERS:
        raise ValueError(f"{name!r} is not a router; there are {', '.join(ROUTERS)}")
    return Router[name.upper()]


def route(router: Router, state: RoutingState, uniforms: Floats) -> Ints:
    """The choice of a router in B environments.

    Args:
        router: which.
        state: what it sees.
        uniforms: [B, 2] in [0, 1), the chance that `random`, `jsq` and `power_of_two` use.

    Returns:
        Columns [B], `NOWHERE` where no replica is present.
    """
    choice = _RULES[router](state, uniforms)
    return np.where(state.present_mask.any(axis=1), choice, NOWHERE)


def _random(state: RoutingState, uniforms: Floats) -> Ints:
    return _number(state.present_mask, _index(uniforms[:, 0], state.present_mask.sum(axis=1)))


def _round_robin(state: RoutingState, _: Floats) -> Ints:
    columns = np.arange(state.queue.shape[1])
    distance = (columns - state.last_choice[:, None] - 1) % len(columns)
    return np.where(state.present_mask, distance, len(columns)).argmin(axis=1)


def _jsq(state: RoutingState, uniforms: Floats) -> Ints:
    queue = _counts(state)
    shortest_mask = state.present_mask & (queue == queue.min(axis=1, keepdims=True))
    return _number(shortest_mask, _index(uniforms[:, 0], shortest_mask.sum(axis=1)))


def _jsq_affinity(state: RoutingState, _: Floats) -> Ints:
    return _least(_counts(state), state.own_seconds)


def _power_of_two(state: RoutingState, uniforms: Floats) -> Ints:
    present = state.present_mask.sum(axis=1)
    first = _index(uniforms[:, 0], present)
    second = _index(uniforms[:, 1], present - 1)
    second += second >= first
    candidates = [_number(state.present_mask, np.minimum(which, present - 1)) for which in (first, second)]
    lengths = [np.take_along_axis(state.queue, which[:, None], axis=1)[:, 0] for which in candidates]
    return np.where(lengths[1] < lengths[0], candidates[1], candidates[0])


def _sed(state: RoutingState, _: Floats) -> Ints:
    own = state.own_seconds
    return _least(state.work_seconds + own, own)


def _sed_own_rate(state: RoutingState, _: Floats) -> Ints:
    own = state.own_seconds
    return _least((state.queue + 1) * own, own)


def _affinity(state: RoutingState, _: Floats) -> Ints:
    return _least(state.own_seconds, _counts(state))


def _count_gap(state: RoutingState, uniforms: Floats) -> Ints:
    own = _affinity(state, uniforms)
    other = _least(_without(_counts(state), own), state.own_seconds)
    return _deflected(own, other, _at(state.queue, own) - _at(state.queue, other) >= COUNT_GAP)


def _work_gap(state: RoutingState, uniforms: Floats) -> Ints:
    own, other, service, gap = _gaps(state, uniforms)
    return _deflected(own, other, gap > service * (WORK_GAP + ROUNDING))


def _oracle(state: RoutingState, uniforms: Floats) -> Ints:
    own, other, service, gap = _gaps(state, uniforms)
    idle = (_at(state.queue, other) == 0) & (_at(state.work_seconds, own) > service * (ORACLE_IDLE + ROUNDING))
    return _deflected(own, other, idle | (gap > service * (ORACLE_GAP + ROUNDING)))


_RULES: Mapping[Router, Callable[[RoutingState, Floats], Ints]] = {
    Router.RANDOM: _random,
    Router.ROUND_ROBIN: _round_robin,
    Router.JSQ: _jsq,
    Router.JSQ_AFFINITY: _jsq_affinity,
    Router.POWER_OF_TWO: _power_of_two,
    Router.SED: _sed,
    Router.SED_OWN_RATE: _sed_own_rate,
    Router.AFFINITY: _affinity,
    Router.COUNT_GAP: _count_gap,
    Router.WORK_GAP: _work_gap,
    Router.ORACLE: _oracle,
}


def _gaps(state: RoutingState, uniforms: Floats) -> tuple[Ints, Ints, Floats, Floats]:
    """The fast replica, the other one of shortest expected delay, the service time on the fast one, and its excess of work; all [B]."""
    own = _affinity(state, uniforms)
    seconds = state.own_seconds
    other = _least(_without(state.work_seconds + seconds, own), seconds)
    return own, other, _at(seconds, own), _at(state.work_seconds, own) - _at(state.work_seconds, other)


def _deflected(own: Ints, other: Ints, wanted_mask: NDArray[np.bool_]) -> Ints:
    return np.where(wanted_mask & (other != own), other, own)


def _counts(state: RoutingState) -> Floats:
    return np.where(state.present_mask, state.queue, np.inf)


def _without(cost: Floats, column: Ints) -> Floats:
    """`cost` [B, R] with one column of each row ruled out; where it is the only one it stays, so that there is a choice."""
    rest = cost.copy()
    np.put_along_axis(rest, column[:, None], np.inf, axis=1)
    return np.where(np.isfinite(rest).any(axis=1, keepdims=True), rest, cost)


def _least(cost: Floats, tie: Floats) -> Ints:
    """The column of least cost, up to rounding; among equals that of least `tie`."""
    tied_mask = cost <= cost.min(axis=1, keepdims=True) * (1.0 + ROUNDING)
    return np.where(tied_mask, tie, np.inf).argmin(axis=1)


def _at(values: NDArray[Any], column: Ints) -> NDArray[Any]:
    return np.take_along_axis(values, column[:, None], axis=1)[:, 0]


def _index(uniform: Floats, count: Ints) -> Ints:
    return (uniform * count).astype(np.int64)


def _number(mask: NDArray[np.bool_], which: Ints) -> Ints:
    """The column of the `which`-th true entry of each row."""
    return ((mask.cumsum(axis=1) == which[:, None] + 1) & mask).argmax(axis=1)
