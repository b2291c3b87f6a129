"""What is remembered of each Deployment of a namespace from one reading to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.births import ALWAYS
from gnnrl.cluster.models import ClusterSnapshot, DeploymentState

__all__ = ["KnownDeployment", "KnownDeployments"]

READY_HISTORY = 64
"""Readings of a service's ready pods that are kept, to know how many its metrics belong to."""


@dataclass(eq=False)
class KnownDeployment:
    """What is remembered of one."""

    uid: str
    desired: int
    changed_seconds: float
    born_seconds: float
    """When it came into the mesh, by our clock."""
    ready: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=READY_HISTORY))
    usage: tuple[int, int, int] = (0, 0, 0)  # nanocores of application and proxy, bytes, of one pod
    measured_ready: int = 0  # pods that were ready when that was measured
    was_measured: bool = False
    over_tcp: bool = False
    had_requests: bool = False


class KnownDeployments(dict[str, KnownDeployment]):
    """By name; one that is made anew under its old name is another one."""

    def __init__(self) -> None:
        super().__init__()
        self._began = False
        """Whether Deployments were ever read."""

    def remember(self, snapshot: ClusterSnapshot) -> None:
        """Who is there now, and who is not any more."""
        now = snapshot.taken_seconds
        if not snapshot.failed("deployments"):
            for name in self.keys() - snapshot.by_name.keys():
                del self[name]
        for deployment in snapshot.deployments:
            known = self.get(deployment.name)
            if known is None or known.uid != deployment.uid:
                # What stands at the first reading was there before: a restart of the loop makes nothing young.
                born = now if self._began else min(deployment.created_seconds, now)
                # Its newest pod was made when its replicas were last raised, as far as can be told.
                changed = max(deployment.created_seconds, deployment.newest_pod_seconds or 0.0)
                known = KnownDeployment(deployment.uid, deployment.desired, changed, born)
                self[deployment.name] = known
            elif known.desired != deployment.desired:
                # Changed by whoever patched it since the last reading: us, just after that.
                known.desired = deployment.desired
                known.changed_seconds = known.ready[-1][0] if known.ready else now
            known.ready.append((now, deployment.ready))
        self._began |= not snapshot.failed("deployments")

    def ages(self, deployments: Sequence[DeploymentState], now: float, columns: int) -> NDArray[np.float64]:
        """[columns] seconds since each was created, or, where that is less, first seen; infinite past them."""
        ages = np.full(columns, ALWAYS)
        ages[: len(deployments)] = [now - self[deployment.name].born_seconds for deployment in deployments]
        return ages

    def measured_mask(self, deployments: Sequence[DeploymentState], columns: int) -> NDArray[np.bool_]:
        """[columns] whether each had metrics at least once; true past them."""
        mask = np.ones(columns, np.bool_)
        mask[: len(deployments)] = [self[deployment.name].was_measured for deployment in deployments]
        return mask
