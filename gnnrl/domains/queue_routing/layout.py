"""Layout of the simulator's state: one record an environment, a replica, a request; and all its arrays together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENVIRONMENT", "QUEUED", "REPLICA", "TABLE_ROW", "Arrays"]

ENVIRONMENT = np.dtype(
    [
        ("now", "f8"),  # seconds since the reset, at the arrival of the request that awaits its choice
        ("elapsed", "f8"),  # seconds since the arrival before
        ("requirement", "f8"),  # of the awaiting request: its service time, in mean service times
        ("integral", "f8"),  # request-seconds in system since the arrival before
        ("mean_gap", "f8"),  # 1 / arrival rate of all types, seconds
        ("window", "f8"),  # discounted seconds that utilisation is a share of
        ("latency_sum", "f8"),  # of the finished requests
        ("in_system_sum", "f8"),  # of `integral`
        ("type", "i8"),  # of the awaiting request
        ("number", "i8"),  # of the awaiting request since the reset
        ("last_choice", "i8"),
        ("last_fast", "?"),  # whether that was a fast replica of its request's type
        ("waiting", "i8"),  # requests that wait because no replica is present
        ("full", "?"),  # whether a queue has reached the capacity; never so between calls
        ("routed", "i8"),
        ("fast", "i8"),  # of the routed: to a fast replica
        ("finished", "i8"),
        ("requests", "u8"),  # state of the stream that makes the requests
        ("chance", "u8"),  # state of the stream for everything else
    ],
    align=True,
)

REPLICA = np.dtype(
    [
        ("present", "?"),
        ("queue", "i8"),  # requests, the one in service included
        ("head", "i8"),  # of the ring
        ("work", "f8"),  # expected seconds of work, by the types in the queue
        ("busy_until", "f8"),
        ("busy", "f8"),  # discounted seconds of service
        ("utilisation", "f8"),
    ],
    align=True,
)

QUEUED = np.dtype(
    [("finish", "f8"), ("arrival", "f8"), ("requirement", "f8"), ("number", "i8"), ("type", "i8")], align=True
)

TABLE_ROW = np.dtype(
    [("arrival", "f8"), ("finish", "f8"), ("requirement", "f8"), ("type", "i8"), ("replica", "i8")], align=True
)
"""A recorded request: seconds since the reset, finish not-a-number until it is finished; replica is where it was last put."""


class Arrays(NamedTuple):
    """The state of B environments, R replicas and K types, as the kernel takes it."""

    environments: Any  # [B] of ENVIRONMENT
    replicas: (
        Any  # [B, R + 1] of REPLICA; the last one is the line of the requests that wait because no replica is present
    )
    rings: Any  # [B, R + 1, capacity] of QUEUED; capacity is a power of two
    seconds: NDArray[np.float64]  # [B, R, K] 1 / rate, infinite where there is none
    fastest: NDArray[np.float64]  # [B, K] the least of them among the present replicas
    shares: NDArray[np.float64]  # [B, K] of the arrivals, cumulative; above 1 from the last type on
    histograms: NDArray[np.int64]  # [B, bins] finished requests by latency
    tables: Any  # [B, recorded] of TABLE_ROW
