"""Which system an episode is played on: the configured one, or one drawn from a range of sizes, rates and loads."""

from __future__ import annotations

import numpy as np

from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.model import QueueModel

__all__ = ["configured_model", "drawn_model"]


def configured_model(config: QueueRoutingConfig) -> QueueModel:
    """The system of the configuration.

    Raises:
        QueueModelError: it cannot be.
    """
    return QueueModel(
        types=config.types,
        arrival_rates=config.arrival_rates,
        replicas=tuple(f"replica_{r}" for r in range(len(config.service_rates))),
        service_rates=config.service_rates,
    )


def drawn_model(config: QueueRoutingConfig, replicas: int, rng: np.random.Generator) -> QueueModel:
    """A system of so many replicas: log-uniform rates, and arrivals that load its fast replicas to a drawn share.

    The load is that of the best static split by type alone: each type's requests shared by the replicas in proportion to their rates.
    """
    low, high = np.log(config.drawn_rates)
    rates = np.exp(rng.uniform(low, high, (replicas, len(config.types))))
    mix = rng.dirichlet(np.full(len(config.types), 4.0))
    # Requests/s that all replicas serve together of this mix, each serving every type in turn.
    capacity = (1.0 / (mix / rates).sum(axis=1)).sum()
    arrivals = rng.uniform(*config.drawn_load) * capacity * mix
    return QueueModel(
        types=config.types,
        arrival_rates=tuple(float(rate) for rate in arrivals),
        replicas=tuple(f"replica_{r}" for r in range(replicas)),
        service_rates=tuple(tuple(float(rate) for rate in row) for row in rates),
    )
