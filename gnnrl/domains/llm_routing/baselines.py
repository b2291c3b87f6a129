"""The routers to compare with. Their rules are compiled in `choosing.py`; here are their names and what each is told.

All draw ties from the cluster's own generator, except `vidur_lor`, which is there for parity. How many requests are outstanding at a
replica a router counts itself; the waiting queue and the tokens to prefill it knows from the replica's report, which may be stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gnnrl.domains.llm_routing import choosing
from gnnrl.domains.llm_routing.errors import LLMRoutingError

__all__ = ["ROUTERS", "Router", "RouterError", "router_named"]


class RouterError(LLMRoutingError):
    """A router that is not known."""


@dataclass(frozen=True, kw_only=True)
class Router:
    """A compiled router."""

    code: int
    """What the kernels know it by."""
    summary: str
    told_speeds: bool = False
    """It is told every replica's time factor."""
    told_lengths: bool = False
    """It is told how long each answer will be."""

    @property
    def told(self) -> tuple[str, ...]:
        """What it knows that a gateway does not."""
        return tuple(what for what, known in (("speeds", self.told_speeds), ("lengths", self.told_lengths)) if known)


ROUTERS: Mapping[str, Router] = {
    "random": Router(code=choosing.RANDOM, summary="any replica"),
    "round_robin": Router(code=choosing.ROUND_ROBIN, summary="in turn"),
    "weighted_round_robin": Router(
        code=choosing.WEIGHTED_ROUND_ROBIN, summary="in turn, in proportion to speed", told_speeds=True
    ),
    "least_outstanding": Router(
        code=choosing.LEAST_OUTSTANDING, summary="fewest requests waiting and resident (true least outstanding)"
    ),
    "vidur_lor": Router(
        code=choosing.VIDUR_LOR,
        summary="fewest requests waiting, ties to the first replica (Vidur's least outstanding)",
    ),
    "jsq": Router(code=choosing.JSQ, summary="fewest requests waiting, random ties"),
    "power_of_two": Router(code=choosing.POWER_OF_TWO, summary="the less outstanding of two replicas drawn at random"),
    "least_pending_prefill": Router(code=choosing.LEAST_PREFILL, summary="fewest prompt tokens still to prefill"),
    "speed_weighted_outstanding": Router(
        code=choosing.SPEED_OUTSTANDING, summary="(outstanding + 1) x time factor", told_speeds=True
    ),
    "speed_weighted_prefill": Router(
        code=choosing.SPEED_PREFILL, summary="(tokens to prefill + this prompt) x time factor", told_speeds=True
    ),
    "multiplicative": Router(
        code=choosing.MULTIPLICATIVE, summary="(tokens to prefill + this prompt) x (outstanding + 1)"
    ),
    "paced_multiplicative": Router(
        code=choosing.PACED_MULTIPLICATIVE,
        summary="(tokens to prefill + this prompt) x (outstanding + 1) x pace^2; pace: resident-seconds per token given out so far",
    ),
    "known_length_greedy": Router(
        code=choosing.KNOWN_LENGTH,
        summary="least device time for everything there and this request, true lengths and speeds known",
        told_speeds=True,
        told_lengths=True,
    ),
}


def router_named(name: str) -> Router:
    """A router by name.

    Raises:
        RouterError: there is none of this name.
    """
    if name not in ROUTERS:
        raise RouterError(f"router {name!r} is not known; there are {', '.join(ROUTERS)}")
    return ROUTERS[name]
