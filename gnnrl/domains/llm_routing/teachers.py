"""Routers as teachers of behaviour cloning: they decide from one compact observation, and so see only what the policy sees.

Where speeds are not told, the weighted ones go by the inferred ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graph_space.schema import ACTION_MASK, NODES, llm_routing_schema

__all__ = ["TEACHERS", "taught"]

TEACHERS: Mapping[str, str] = {
    "least_outstanding": "outstanding",
    "least_pending_prefill": "pending_prefill_tokens",
    "speed_weighted_outstanding": "weighted_outstanding",
    "speed_weighted_prefill": "first_token_seconds",
}
"""Name -> the column that it makes small."""


def taught(name: str, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The choice of a teacher, slots [B], for a batch of compact observations; ties go to the first.

    Raises:
        ValueError: the router is no teacher.
    """
    if name not in TEACHERS:
        raise ValueError(f"{name!r} is not a teacher; there are {', '.join(TEACHERS)}")
    column = llm_routing_schema("compact").index(NODES, TEACHERS[name])
    may_mask = observation[ACTION_MASK][:, :, 0] == 1
    return np.where(may_mask, observation[NODES][:, :, column], np.inf).argmin(axis=1)
