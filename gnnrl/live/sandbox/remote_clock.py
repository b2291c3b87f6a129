"""The sandbox's clock, read from another process."""

from __future__ import annotations

import logging
import math
import threading
import time

import requests

from gnnrl.cluster.errors import ClusterAnswerError, ClusterUnavailableError
from kiali_client.bounded_http import bound_session, bounded_until

__all__ = ["RemoteClock"]

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.02


class RemoteClock:
    """Asks `GET /clock` of a sandbox's control server, and extrapolates by its speed in between. Never goes back.

    An answer is taken for the moment in the middle between request and reply. If a later request fails, it goes on by the speed it knows.
    A clock that is moved by hand (speed 0) is asked every time.

    Args:
        url: of the control server.
        resync_seconds: of the machine's clock, between two questions.

    Raises:
        ClusterUnavailableError: there is no such server.
        ClusterAnswerError: it is none of a sandbox.
    """

    def __init__(self, url: str, *, resync_seconds: float = 5.0) -> None:
        self.url = url.rstrip("/")
        self._resync_seconds = resync_seconds
        self._lock = threading.Lock()
        self._session = bound_session(requests.Session())
        self._last = -math.inf
        self._read, self._read_at, self.speed = self._ask()
        self._asked_at = self._read_at

    def _ask(self) -> tuple[float, float, float]:
        """(now, the machine's monotonic time at which it was that, speed)."""
        place = f"{self.url}/clock"
        before = time.monotonic()
        try:
            with bounded_until(before + TIMEOUT_SECONDS):
                response = self._session.get(place, timeout=TIMEOUT_SECONDS)
            content = response.json() if response.ok else None
        except requests.exceptions.JSONDecodeError as error:
            raise ClusterAnswerError(
                f"{place}: the answer is not JSON; give the URL of the sandbox's control server"
            ) from error
        except requests.RequestException as error:
            raise ClusterUnavailableError(
                f"{place}: no answer ({type(error).__name__}); is `gnnrl sandbox` running, and is this its control URL?"
            ) from error
        numbers = [content.get(name) if isinstance(content, dict) else None for name in ("now", "speed")]
        now, speed = (math.nan if isinstance(n, bool) or not isinstance(n, int | float) else float(n) for n in numbers)
        if not (math.isfinite(now) and math.isfinite(speed) and speed >= 0.0):
            raise ClusterAnswerError(
                f"{place}: answered {response.status_code} without now and speed; give the URL of the sandbox's control "
                "server"
            )
        return now, 0.5 * (before + time.monotonic()), speed

    def now(self) -> float:
        """Unix seconds.

        Raises:
            ClusterUnavailableError, ClusterAnswerError: the clock is moved by hand and cannot be asked.
        """
        with self._lock:
            if self.speed == 0.0 or time.monotonic() - self._asked_at > self._resync_seconds:
                self._resync()
            self._last = max(self._last, self._read + self.speed * (time.monotonic() - self._read_at))
            return self._last

    def _resync(self) -> None:
        self._asked_at = time.monotonic()
        try:
            self._read, self._read_at, self.speed = self._ask()
        except (ClusterUnavailableError, ClusterAnswerError) as error:
            if self.speed == 0.0:
                raise
            logger.warning("%s; going on at speed %g", error, self.speed)

    def sleep_until(self, when: float, stop: threading.Event | None = None) -> bool:
        """Wait until `when`; False if `stop` was set before.

        Raises:
            ClusterUnavailableError, ClusterAnswerError: as `now`.
        """
        event = stop or threading.Event()
        while (left := when - self.now()) > 0.0:
            wait = POLL_SECONDS if self.speed == 0.0 else min(left / self.speed, self._resync_seconds)
            if event.wait(wait):
                return False
        return not event.is_set()
