"""How much load a queue model can take: at best, and under routers that do not look at the queues."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.model import QueueModel

__all__ = ["best_load", "load_warnings", "static_loads"]

Floats = NDArray[np.float64]

TOLERANCE = 1e-9


def best_load(model: QueueModel) -> float:
    """The share of the capacity that the arrivals need at best: a router that keeps the queues finite exists if and only if it is below 1.

    The reciprocal of the largest factor s by which all arrivals can be multiplied: maximise s over time shares y >= 0 with
    sum_k y[r, k] <= 1 at each replica and sum_r rate[r, k] y[r, k] >= s arrivals[k] for each type (Armony and Bambos 2003).
    """
    replicas, types = model.rates.shape
    shares = replicas * types
    constraints = np.zeros((replicas + types, shares + 1))
    for r in range(replicas):
        constraints[r, r * types : (r + 1) * types] = 1.0
    for k in range(types):
        constraints[replicas + k, k:shares:types] = -model.rates[:, k]
        constraints[replicas + k, shares] = model.arrivals[k]
    bounds = np.r_[np.ones(replicas), np.zeros(types)]
    return 1.0 / _maximum_of_last(constraints, bounds)


def static_loads(model: QueueModel, router: Router) -> Floats | None:
    """The share of time that each replica would have to be busy, [R], under `random`, `round_robin` and `affinity`; None for the others."""
    rates, arrivals = model.rates, model.arrivals
    if router in (Router.RANDOM, Router.ROUND_ROBIN):
        sent = np.full_like(rates, 1.0 / len(rates))
    elif router is Router.AFFINITY:
        fast_mask = rates == rates.max(axis=0)
        sent = fast_mask / fast_mask.sum(axis=0)
    else:
        return None
    return np.asarray((sent * arrivals / rates).sum(axis=1))


def load_warnings(model: QueueModel, router: Router) -> list[str]:
    """What to tell about a model whose queues grow without end, under any router or under this one; empty if nothing."""
    load = best_load(model)
    if load >= 1.0 - TOLERANCE:
        return [f"the arrivals need {load:.3g} of the capacity at best: under any router the queues grow without end"]
    loads = static_loads(model, router)
    if loads is None:
        return []
    return [
        f"{router.name.lower()} needs {load:.3g} of the capacity of {replica}: its queue grows without end"
        for replica, load in zip(model.replicas, loads, strict=True)
        if load >= 1.0 - TOLERANCE
    ]


def _maximum_of_last(constraints: Floats, bounds: Floats) -> float:
    """The maximum of the last variable under `constraints @ x <= bounds`, x >= 0, bounds >= 0.

    The simplex method on a tableau from the origin, with Bland's rule, which cannot cycle.
    """
    rows, variables = constraints.shape
    tableau = np.zeros((rows + 1, variables + rows + 1))
    tableau[:rows, :variables] = constraints
    tableau[:rows, variables:-1] = np.eye(rows)
    tableau[:rows, -1] = bounds
    tableau[-1, variables - 1] = -1.0
    basis = np.arange(variables, variables + rows)
    while True:
        entering = np.flatnonzero(tableau[-1, :-1] < -TOLERANCE)
        if entering.size == 0:
            return float(tableau[-1, -1])
        column = int(entering[0])
        positive_mask = tableau[:rows, column] > TOLERANCE
        ratio = np.full(rows, np.inf)
        np.divide(tableau[:rows, -1], tableau[:rows, column], out=ratio, where=positive_mask)
        tied = np.flatnonzero(ratio <= ratio.min() + TOLERANCE)
        row = int(tied[basis[tied].argmin()])
        tableau[row] /= tableau[row, column]
        others = np.arange(rows + 1) != row
        tableau[others] -= np.outer(tableau[others, column], tableau[row])
        basis[row] = column
