"""What the monitoring has measured before a world begins: a mesh that has long been there at the load of the first second."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnnrl.domains.autoscaling.episode import Episode
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.telemetry import Telemetry

__all__ = ["lead_in"]

SETTLING_WINDOWS = 4
"""Played before the first window that is told, so that the mesh is not just starting in it."""


def lead_in(
    episode: Episode, *, services: int, calls: int, window_seconds: int, windows: int
) -> Iterator[tuple[int, Telemetry]]:
    """(second at which it ends, window) of those before second 0, oldest first; each is valid until the next.

    They come from a simulation of their own, so that the world's is at its second 0 what it would be without them.

    Args:
        episode: whose mesh and load.
        services, calls: columns of the telemetry.
        window_seconds: length of each.
        windows: how many.
    """
    simulation = MeshSimulation(1, services, calls, len(episode.mesh.classes), PhysicsSettings(histogram=True))
    simulation.load(0, episode.mesh, slo_ms=episode.slo_ms)
    load = np.full((1, window_seconds), episode.rps[0], dtype=np.float32)
    for window in range(-SETTLING_WINDOWS - windows, 0):
        simulation.advance(load)
        scraped = simulation.scrape()
        if window >= -windows:
            yield (window + 1) * window_seconds, scraped
