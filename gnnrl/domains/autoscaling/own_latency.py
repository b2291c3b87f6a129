"""Who makes requests wait, as far as a cluster shows it: what a service adds to the response time above its lowest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.observed import ObservedMesh
from gnnrl.domains.autoscaling.telemetry import Telemetry

__all__ = ["OwnLatency"]


class OwnLatency:
    """Estimates each service's share of the queueing, from 95th percentiles that include the calls made downstream."""

    def __init__(self) -> None:
        self._lowest_ms: dict[str, float] = {}

    def excess(self, mesh: ObservedMesh, window: Telemetry) -> NDArray[np.float32]:
        """What to split a violation by, [1, S], in request-milliseconds a second; 0 where nothing is known."""
        raise
