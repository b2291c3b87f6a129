"""What is simulated: replicas, their scheduler, and what happens to them in an episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gnnrl.domains.llm_routing.errors import LLMRoutingError

__all__ = ["CHANGES", "SCHEDULERS", "Change", "ModelError", "Replica", "Scheduler", "check_changes"]

SCHEDULERS = ("sarathi", "vllm", "orca", "faster_transformer")
CHANGES = ("join", "leave", "fail", "slow")


class ModelError(LLMRoutingError):
    """A replica, scheduler or change that cannot be: says what, where and what would be right."""


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How every replica forms its batches; `schedulers.py` explains the four."""

    name: str = "sarathi"
    chunk_tokens: int = 512
    """`sarathi`: tokens of a batch."""
    batch_tokens: int = 4096
    """`vllm`: tokens of a prefill batch, padded to its longest prompt."""
    watermark_share: float = 0.01
    """`sarathi`, `vllm`: share of the blocks that admission leaves free."""
    longest_tokens: int = 4096
    """`orca`, `faster_transformer`: what a request reserves memory for; longer ones do not fit."""

    def __post_init__(self) -> None:
        if self.name not in SCHEDULERS:
            raise ModelError(f"scheduler {self.name!r} is not known; there are {', '.join(SCHEDULERS)}")
        for field in ("chunk_tokens", "batch_tokens", "longest_tokens"):
            if getattr(self, field) < 1:
                raise ModelError(f"scheduler {self.name!r}: {field} {getattr(self, field)} is not >= 1")
        if not 0.0 <= self.watermark_share < 1.0:
            raise ModelError(f"scheduler {self.name!r}: watermark_share {self.watermark_share} is not in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One inference engine on one device."""

    time_factor: float = 1.0
    """An iteration takes this many times the calibrated time: 2 = half as fast."""
    kv_blocks: int | None = None
    """Memory for KV caches; None = as calibrated."""
    batch_cap: int = 128
    """Requests that may be resident at once."""
    up: bool = True
    """Whether it takes requests from the beginning; one that is not up may join later."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time_factor) and self.time_factor > 0):
            raise ModelError(f"replica: time_factor {self.time_factor} is not a positive number")
        if self.kv_blocks is not None and self.kv_blocks < 1:
            raise ModelError(f"replica: kv_blocks {self.kv_blocks} is not >= 1")
        if self.batch_cap < 1:
            raise ModelError(f"replica: batch_cap {self.batch_cap} is not >= 1")


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that happens to a replica at a given time.

    `join`: it takes requests from now on. `leave`: it takes no more, and is gone when it has finished what it has. `fail`: it is gone at
    once, and what it had goes back to the router, to start again with the tokens that were already sent. `slow`: iterations begun from now
    on take `time_factor` times the calibrated time.
    """

    at_seconds: float
    kind: str
    replica: int
    time_factor: float = 1.0
    """Of `slow` alone."""

    def __post_init__(self) -> None:
        if self.kind not in CHANGES:
            raise ModelError(f"change {self.kind!r} is not known; there are {', '.join(CHANGES)}")
        if not (math.isfinite(self.at_seconds) and self.at_seconds >= 0):
            raise ModelError(f"change {self.kind!r}: at_seconds {self.at_seconds} is not a time >= 0")
        if not (math.isfinite(self.time_factor) and self.time_factor > 0):
            raise ModelError(f"change {self.kind!r}: time_factor {self.time_factor} is not a positive number")


def check_changes(changes: Sequence[Change], replicas: int) -> list[Change]:
    """The changes by time, those of one time in the order given.

    Raises:
        ModelError: one names a replica that is not there.
    """
    for change in changes:
        if not 0 <= change.replica < replicas:
            raise ModelError(
                f"change {change.kind!r} at {change.at_seconds:g} s: there is no replica {change.replica}; "
                f"there are 0..{replicas - 1}"
            )
    return sorted(changes, key=lambda change: change.at_seconds)
