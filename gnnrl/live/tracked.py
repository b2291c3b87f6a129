"""A controller that follows a live mesh: told of it once, then of every change, then shown each reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.observed import ObservedMesh
from gnnrl.domains.autoscaling.sensing import Reading
from gnnrl.evaluation.controllers import Controller

__all__ = ["LiveMesh", "PolicyFailure", "TrackedController"]


class PolicyFailure(Exception):
    """The controller could not decide on a reading that was sound; it starts anew, with empty memory, at the next one."""


@dataclass(frozen=True, kw_only=True)
class LiveMesh:
    """What a controller is told at the start."""

    mesh: ObservedMesh
    slo_ms: float
    violation_weight: float
    metrics_lag_seconds: float = 0.0
    """A reading is as old as it says."""


class TrackedController:
    """Plays a controller of `gnnrl evaluate` on a cluster, as a batch of one.

    Args:
        controller: a policy or a baseline.
        slo_ms, violation_weight: of the mesh.
    """

    def __init__(self, controller: Controller, *, slo_ms: float, violation_weight: float) -> None:
        self.controller = controller
        self.slo_ms = slo_ms
        self.violation_weight = violation_weight
        self.mesh: ObservedMesh | None = None
        """As it was at the last reading that was consumed."""
        self._began = 0.0

    def wish(self, reading: Reading, now_seconds: float) -> NDArray[np.int64]:
        """Replicas wanted, int64 [S]; the reading counts as consumed: slots and memory move on.

        Raises:
            PolicyFailure: nothing sensible came of it.
        """
        try:
            if self.mesh is None:
                start = LiveMesh(mesh=reading.mesh, slo_ms=self.slo_ms, violation_weight=self.violation_weight)
                self.controller.reset([start])
                self._began = now_seconds
            elif reading.mesh != self.mesh:
                self.controller.remesh(0, self.mesh, reading.mesh)
            self.mesh = reading.mesh
            self.controller.observe(reading.window)
            wanted = self.controller.decide(reading.window, now_seconds - self._began)
        except (ValueError, ArithmeticError, RuntimeError) as error:
            self.mesh = None
            raise PolicyFailure(f"{self.controller.name} could not decide ({error}); it starts anew") from error
        return np.asarray(wanted, dtype=np.int64)[0]
