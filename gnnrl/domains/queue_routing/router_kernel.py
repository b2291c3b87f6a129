"""The routers of `baselines.py`, compiled for one environment of the simulator."""

from __future__ import annotations

import numpy as np

from gnnrl.domains.queue_routing.baselines import (
    COUNT_GAP,
    NOWHERE,
    ORACLE_GAP,
    ORACLE_IDLE,
    ROUNDING,
    WORK_GAP,
    Router,
)
from gnnrl.domains.queue_routing.compilation import inlined
from gnnrl.domains.queue_routing.layout import Arrays
from gnnrl.domains.queue_routing.streams import advance, uniform

__all__ = ["choose", "shortest_delay"]

# Plain integers compile faster than members of an enumeration.
RANDOM, ROUND_ROBIN, JSQ, POWER_OF_TWO = (
    int(Router.RANDOM), int(Router.ROUND_ROBIN), int(Router.JSQ), int(Router.POWER_OF_TWO)
)  # fmt: skip
COUNT_GAP_RULE, WORK_GAP_RULE, ORACLE = int(Router.COUNT_GAP), int(Router.WORK_GAP), int(Router.ORACLE)
FEWEST, DELAY, OWN_RATE_DELAY, FASTEST = (
    int(Router.JSQ_AFFINITY), int(Router.SED), int(Router.SED_OWN_RATE), int(Router.AFFINITY)
)  # fmt: skip


@inlined
def choose(state: Arrays, b: int, router: int) -> int:
    """The column a router (a `Router`) chooses for the awaiting request of environment b; `NOWHERE` where no replica is present.

    The chance stream of the environment moves on if the router uses it.
    """
    environment = state.environments[b]
    if router in (RANDOM, JSQ, POWER_OF_TWO):
        chance = advance(environment.chance)
        first = uniform(chance)
        chance = advance(chance)
        environment.chance = chance
        if router == JSQ:
            return _any_shortest(state, b, first)
        if router == RANDOM:
            return _number(state, b, int(first * _present(state, b)))
        return _shorter_of_two(state, b, first, uniform(chance))
    if router == ROUND_ROBIN:
        return _next(state, b, environment.last_choice)
    if router < COUNT_GAP_RULE:
        return _least(state, b, router, environment.type, NOWHERE)
    own = _least(state, b, FASTEST, environment.type, NOWHERE)
    other = _least(state, b, FEWEST if router == COUNT_GAP_RULE else DELAY, environment.type, own)
    if other == NOWHERE:
        return own
    if router == COUNT_GAP_RULE:
        return other if state.replicas[b, own].queue - state.replicas[b, other].queue >= COUNT_GAP else own
    work, service = state.replicas[b, own].work, state.seconds[b, own, environment.type]
    gap = work - state.replicas[b, other].work
    if router == WORK_GAP_RULE:
        return other if gap > service * (WORK_GAP + ROUNDING) else own
    idle = state.replicas[b, other].queue == 0 and work > service * (ORACLE_IDLE + ROUNDING)
    return other if idle or gap > service * (ORACLE_GAP + ROUNDING) else own


@inlined
def shortest_delay(state: Arrays, b: int, k: int) -> int:
    """Where a request of type `k` is expected to be finished soonest; `NOWHERE` where no replica is present."""
    return _least(state, b, DELAY, k, NOWHERE)


@inlined
def _least(state: Arrays, b: int, rule: int, k: int, without: int) -> int:
    """The present replica of least cost by a rule, `without` left out; ties up to rounding go by the rule's second figure."""
    columns = state.replicas.shape[1] - 1
    least = np.inf
    for r in range(columns):
        if state.replicas[b, r].present and r != without:
            least = min(least, _cost(state, b, rule, r, k))
    limit, best, tie = least * (1.0 + ROUNDING), NOWHERE, np.inf
    for r in range(columns):
        if state.replicas[b, r].present and r != without and _cost(state, b, rule, r, k) <= limit:
            second = float(state.replicas[b, r].queue) if rule == FASTEST else state.seconds[b, r, k]
            if second < tie:
                best, tie = r, second
    return best


@inlined
def _cost(state: Arrays, b: int, rule: int, r: int, k: int) -> float:
    if rule == FASTEST:
        return state.seconds[b, r, k]
    if rule == DELAY:
        return float(state.replicas[b, r].work) + state.seconds[b, r, k]
    if rule == OWN_RATE_DELAY:
        return (state.replicas[b, r].queue + 1) * state.seconds[b, r, k]
    return float(state.replicas[b, r].queue)


@inlined
def _any_shortest(state: Arrays, b: int, chance: float) -> int:
    """One of the present replicas with the fewest requests, at random."""
    columns = state.replicas.shape[1] - 1
    shortest, ties = 0, 0
    for r in range(columns):
        if state.replicas[b, r].present:
            queue = state.replicas[b, r].queue
            if ties == 0 or queue < shortest:
                shortest, ties = queue, 1
            elif queue == shortest:
                ties += 1
    left = int(chance * ties)
    for r in range(columns):
        if state.replicas[b, r].present and state.replicas[b, r].queue == shortest:
            if left == 0:
                return r
            left -= 1
    return NOWHERE


@inlined
def _shorter_of_two(state: Arrays, b: int, first: float, second: float) -> int:
    present = _present(state, b)
    i = int(first * present)
    one = _number(state, b, i)
    if present < 2:
        return one
    j = int(second * (present - 1))
    other = _number(state, b, j + 1 if j >= i else j)
    return other if state.replicas[b, other].queue < state.replicas[b, one].queue else one


@inlined
def _present(state: Arrays, b: int) -> int:
    count = 0
    for r in range(state.replicas.shape[1] - 1):
        count += state.replicas[b, r].present
    return count


@inlined
def _number(state: Arrays, b: int, which: int) -> int:
    """The column of the `which`-th present replica."""
    for r in range(state.replicas.shape[1] - 1):
        if state.replicas[b, r].present:
            if which == 0:
                return r
            which -= 1
    return NOWHERE


@inlined
def _next(state: Arrays, b: int, last: int) -> int:
    """The first present replica after column `last`, in a circle."""
    columns = state.replicas.shape[1] - 1
    for distance in range(1, columns + 1):
        r = (last + distance) % columns
        if state.replicas[b, r].present:
            return r
    return NOWHERE
