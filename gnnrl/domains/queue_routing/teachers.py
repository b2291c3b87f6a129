"""Routers as teachers of behaviour cloning: they decide from one observation, and so see only what the policy sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.baselines import NOWHERE, RoutingState, route, router_named
from graph_space.schema import EDGE_INDEX, EDGE_MASK, EDGES, NODE_MASK, NODES

__all__ = ["NEEDING_WORK", "TEACHERS", "taught"]

NEEDING_WORK = ("sed", "work_gap", "oracle")
"""Teachers that look at the expected work, which the observation has with `show_work`."""
TEACHERS = ("jsq_affinity", "sed_own_rate", "affinity", "count_gap", *NEEDING_WORK)
"""Routers that need neither chance nor the choice before."""


def taught(name: str, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The choice of a teacher, slots [B], for a batch of observations.

    Raises:
        ValueError: the router is no teacher.
    """
    if name not in TEACHERS:
        raise ValueError(f"{name!r} is not a teacher; there are {', '.join(TEACHERS)}")
    nodes, present_mask = observation[NODES][:, :-1].astype(np.float64), observation[NODE_MASK][:, :-1] == 1
    batch, columns = present_mask.shape
    seconds = np.full((batch, columns, 1), np.inf)
    b, e = np.nonzero(observation[EDGE_MASK])
    seconds[b, observation[EDGE_INDEX][b, 1, e], 0] = 1.0 / observation[EDGES][b, e, 0]
    state = RoutingState(
        queue=nodes[:, :, 1].astype(np.int64),
        work_seconds=nodes[:, :, 3] if name in NEEDING_WORK else np.zeros((batch, columns)),
        present_mask=present_mask,
        # The edges hold the rates for the request's own type: that is the one type there is here.
        request_type=np.zeros(batch, np.int64),
        service_seconds=seconds,
        last_choice=np.full(batch, NOWHERE),
    )
    return route(router_named(name), state, np.zeros((batch, 2)))
