"""Pods with names of their own, kept in step with the counts that the simulation knows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from gnnrl.live.sandbox.views import PodView

__all__ = ["PodCounts", "PodRoster"]

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Of the random parts of names in Kubernetes (no vowels, nothing that looks like a letter)."""


class PodCounts(NamedTuple):
    """How many pods of a service are in each state."""

    ready: int
    starting: int
    pending: int
    draining: int


@dataclass
class _Pod:
    name: str
    created_seconds: float
    since_seconds: float
    """When it came into its state."""
    restarts: int = 0


class PodRoster:
    """The pods of one Deployment.

    Args:
        deployment: its name.
        seed: of the names.
        created_seconds: of the Deployment, unix seconds.
        first_serial: number of its first pod, so that a Deployment that comes back does not repeat names.
    """

    def __init__(self, deployment: str, seed: int, created_seconds: float, first_serial: int = 0) -> None:
        self.deployment = deployment
        self.created_seconds = created_seconds
        self.serial = first_serial
        self._seed = seed
        self._stem = f"{deployment}-{_letters(f'{seed}/{deployment}', 10)}"
        self._ready: list[_Pod] = []
        self._starting: list[_Pod] = []
        self._pending: list[_Pod] = []
        self._draining: list[_Pod] = []

    def reconcile(self, counts: PodCounts, now_seconds: float) -> None:
        """Follow the simulation to these counts.

        What goes is taken as the simulation takes it: pending pods, then the youngest starting, then the youngest ready, which drain.
        What drains longest is gone first. A ready pod that is not ready any more although its service keeps it has crashed.

        Args:
            counts: as they stand.
            now_seconds: unix seconds.
        """
        self._drain(max(0, counts.draining - len(self._draining)), now_seconds)
        kept = counts.ready + counts.starting + counts.pending
        self._remove(len(self._ready) + len(self._starting) + len(self._pending) - kept, now_seconds)
        del self._draining[: max(0, len(self._draining) - counts.draining)]
        for _ in range(kept - len(self._ready) - len(self._starting) - len(self._pending)):
            self._pending.append(self._create(now_seconds))
        while len(self._ready) > counts.ready:
            crashed = self._ready.pop()
            crashed.restarts += 1
            crashed.since_seconds = now_seconds
            self._starting.append(crashed)
        for waiting, further, wanted in (
            (self._pending, self._starting, counts.ready + counts.starting - len(self._ready)),
            (self._starting, self._ready, counts.ready),
        ):
            while len(further) < wanted and waiting:
                pod = waiting.pop(0)
                pod.since_seconds = now_seconds
                further.append(pod)
        # Pods that crashed start before those that wait for room.
        while len(self._starting) > counts.starting:
            self._pending.insert(0, self._starting.pop())

    def _drain(self, number: int, now_seconds: float) -> None:
        """Ready pods that must have gone into draining; a starting one may have become ready and gone in one second."""
        for _ in range(number):
            pods = self._ready or self._starting
            if not pods:
                return
            self._stop(pods.pop(-1 if pods is self._ready else 0), now_seconds)

    def _remove(self, number: int, now_seconds: float) -> None:
        for _ in range(number):
            if self._pending:
                self._pending.pop()
            elif self._starting:
                self._starting.pop()
            else:
                self._stop(self._ready.pop(), now_seconds)

    def _stop(self, pod: _Pod, now_seconds: float) -> None:
        pod.since_seconds = now_seconds
        self._draining.append(pod)

    def _create(self, now_seconds: float) -> _Pod:
        name = f"{self._stem}-{_letters(f'{self._seed}/{self.deployment}/{self.serial}', 5)}"
        self.serial += 1
        return _Pod(name, now_seconds, now_seconds)

    @property
    def ready(self) -> tuple[str, ...]:
        """Names of the ready pods."""
        return tuple(pod.name for pod in self._ready)

    def views(self) -> tuple[PodView, ...]:
        """Ready, starting, pending, draining."""
        return (
            *(_view(pod, ready=True) for pod in self._ready),
            *(_view(pod) for pod in self._starting),
            *(_view(pod, pending=True) for pod in self._pending),
            *(_view(pod, deleting=True) for pod in self._draining),
        )


def _view(pod: _Pod, *, ready: bool = False, pending: bool = False, deleting: bool = False) -> PodView:
    return PodView(
        name=pod.name,
        phase="Pending" if pending else "Running",
        ready=ready,
        deleting=deleting,
        created_seconds=pod.created_seconds,
        restarts=pod.restarts,
    )


def _letters(text: str, length: int) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:length])
