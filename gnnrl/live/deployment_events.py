"""Tells every Deployment what was done to it, beside the loop: no interval waits for an Event, and none fails because of one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from gnnrl.cluster.events import EventPoster, EventType
from gnnrl.live.decision import IntervalRecord

__all__ = ["DeploymentEvents"]

MOST_WAITING = 256
"""Events that wait to be posted; what comes beyond them is not posted, and counted."""


class DeploymentEvents:
    """A sink of the loop.

    Args:
        poster: posts, and thins out.
        uid_of: uid of a Deployment by its name; empty = it is gone.

    Attributes:
        on_error: called for every Event that could not be posted.
    """

    def __init__(self, poster: EventPoster, uid_of: Callable[[str], str]) -> None:
        self._poster, self._uid_of = poster, uid_of
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events")
        self._waiting: list[Future[None]] = []
        self.on_error: Callable[[], None] = lambda: None

    def __call__(self, record: IntervalRecord) -> None:
        """Post what this interval did."""
        self._waiting = [future for future in self._waiting if not future.done()]
        for one in record.services:
            if one.outcome == "patched":
                text = one.reason
                if one.sent not in (None, one.final):
                    text = f"{one.reason}; {one.sent} was sent, since somebody else had changed it"
                self._post(one.service, "ScaledUp" if one.final > one.current else "ScaledDown", text, "Normal")
            elif one.outcome in ("failed", "conflict"):
                text = f"{one.current} -> {one.final} was not written: {one.answer}"
                self._post(one.service, "ScalingFailed", text, "Warning")

    def _post(self, service: str, reason: str, message: str, kind: EventType) -> None:
        uid = self._uid_of(service)
        if not uid or len(self._waiting) >= MOST_WAITING:
            self.on_error()
            return
        self._waiting.append(self._pool.submit(self._posted, service, uid, reason, message, kind))

    def _posted(self, service: str, uid: str, reason: str, message: str, kind: EventType) -> None:
        if self._poster.post(service, uid, reason, message, kind) is not None:
            self.on_error()

    def flush(self, seconds: float) -> None:
        """Wait for what is to be posted, so long at most."""
        wait(self._waiting, timeout=seconds)

    def close(self) -> None:
        """Post what is under way; what has not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
