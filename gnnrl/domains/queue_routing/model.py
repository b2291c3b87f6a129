"""A routing problem as data: replicas, request types, who serves what how fast, and what arrives.

A `QueueModel` is valid by construction: every problem is found at once and named in one `QueueModelError`. Whether any router can keep
its queues finite is another question (`stability.py`): a model that is overloaded is a valid one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["QueueModel", "QueueModelError", "base_model", "uniform_model"]


class QueueModelError(ValueError):
    """A model that cannot be: `problems` lists every fault, each with the name of the replica or type."""

    def __init__(self, problems: Sequence[str], place: str = "queue model") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{place}: {problem}" for problem in self.problems))


@dataclass(frozen=True, kw_only=True)
class QueueModel:
    """Replicas that serve typed requests first come, first served, each from its own queue.

    Requests of type k arrive as a Poisson process; service times are exponential with a rate per (replica, type).
    """

    types: tuple[str, ...]
    arrival_rates: tuple[float, ...]
    """Requests/s of each type, [K]."""
    replicas: tuple[str, ...]
    service_rates: tuple[tuple[float, ...], ...]
    """Requests/s that a replica serves of a type while it serves nothing else, [R][K]. Every replica can serve every type."""

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise QueueModelError(problems)

    @cached_property
    def rates(self) -> NDArray[np.float64]:
        """`service_rates` as an array [R, K]."""
        return np.array(self.service_rates, dtype=np.float64)

    @cached_property
    def arrivals(self) -> NDArray[np.float64]:
        """`arrival_rates` as an array [K]."""
        return np.array(self.arrival_rates, dtype=np.float64)

    @property
    def total_arrival_rate(self) -> float:
        """Requests/s of all types."""
        return math.fsum(self.arrival_rates)


def base_model() -> QueueModel:
    """Two replicas, each twice as fast for one of two types: the base configuration, whose optimum is known."""
    return QueueModel(
        types=("A", "B"),
        arrival_rates=(6.0, 6.0),
        replicas=("replica_0", "replica_1"),
        service_rates=((10.0, 5.0), (5.0, 10.0)),
    )


def uniform_model(replicas: int, *, service_rate: float, arrival_rate: float) -> QueueModel:
    """Equal replicas and one type of request, `arrival_rate` in all: M/M/1 with one replica, the textbook's routing problem with more."""
    return QueueModel(
        types=("all",),
        arrival_rates=(arrival_rate,),
        replicas=tuple(f"replica_{r}" for r in range(replicas)),
        service_rates=((service_rate,),) * replicas,
    )


def _problems(model: QueueModel) -> Iterator[str]:
    for what, names in (("types", model.types), ("replicas", model.replicas)):
        if not names:
            yield f"{what}: at least one is needed"
        for name in dict.fromkeys(names):
            if not isinstance(name, str) or not name or any(character.isspace() for character in name):
                yield f"{what}: {name!r} is no name; a name is not empty and has no spaces"
            if names.count(name) > 1:
                yield f"{what}: {name!r} appears {names.count(name)} times"
    if len(model.arrival_rates) != len(model.types):
        yield f"arrival_rates: {len(model.arrival_rates)} rates for {len(model.types)} types"
    for name, rate in zip(model.types, model.arrival_rates, strict=False):
        if not _positive(rate):
            yield f"arrival rate of type {name!r}: {rate!r} is not a positive number of requests/s; leave out a type that never arrives"
    if len(model.service_rates) != len(model.replicas):
        yield f"service_rates: rates of {len(model.service_rates)} replicas for {len(model.replicas)} replicas"
    for replica, rates in zip(model.replicas, model.service_rates, strict=False):
        if len(rates) != len(model.types):
            yield f"service rates of replica {replica!r}: {len(rates)} rates for {len(model.types)} types"
        for name, rate in zip(model.types, rates, strict=False):
            if not _positive(rate):
                yield (
                    f"service rate of replica {replica!r} for type {name!r}: {rate!r} is not a positive number of requests/s; "
                    "every replica serves every type"
                )


def _positive(rate: object) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and math.isfinite(rate) and rate > 0
