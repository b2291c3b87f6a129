"""Which of several processes may act: leader election by a `coordination.k8s.io/v1` Lease.

At no time do two of them act. The holder counts its time from the *start* of its last successful renewal, and stops `margin_seconds`
before the lease is over; another takes it no sooner than a whole lease after it *finished* reading the record that has not changed
since. Both are measured on the own clock, never by the time stamps in the record, so clocks may be skewed. The margin is for what this
cannot see: a write that is under way when the holder's time ends, and clocks that do not run equally fast.

One gap is left, as in every election by Lease: whoever deletes the Lease of a living holder lets a process that never saw it lead at once,
until the holder's next renewal fails.
"""

from __future__ import annotations

import math
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gnnrl.cluster.errors import ClusterAnswerError, ClusterConflictError, ClusterError, ClusterNotFoundError
from gnnrl.cluster.paths import lease_path, leases_path

if TYPE_CHECKING:
    from gnnrl.cluster.api import ClusterApi
    from gnnrl.cluster.clock import Clock

__all__ = ["LeaderElector"]

RETRIES_PER_RENEWAL = 5
"""After an error it is tried again this many times as often."""


class LeaderElector:
    """Holds a Lease, or waits for it. Whoever lost it never leads again in this process, which should exit with an error.

    Run it with `start` and `stop`, or call `tick` when it is due.

    Args:
        api: the cluster's API.
        namespace: of the Lease.
        name: of the Lease.
        identity: of this process, for people (the pod's name). A random suffix makes it unique: a process that found its own name in
            the record could not tell itself from another one.
        clock: measures every duration.
        lease_seconds: for how long others must leave an unrenewed Lease alone.
        renew_seconds: between two renewals, or looks at the holder's; None = a third of the lease.
        margin_seconds: the holder stops this long before its lease is over; longer than a write may be under way. None = a third of
            the lease.
        on_lost: called once with the reason when leadership is lost, from whichever thread notices.

    Raises:
        ValueError: durations that leave no time for a renewal.
    """

    def __init__(
        self,
        api: ClusterApi,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        *,
        lease_seconds: float = 15.0,
        renew_seconds: float | None = None,
        margin_seconds: float | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self.lease_seconds = lease_seconds
        self.renew_seconds = lease_seconds / 3.0 if renew_seconds is None else renew_seconds
        self.margin_seconds = lease_seconds / 3.0 if margin_seconds is None else margin_seconds
        if not (self.margin_seconds >= 0.0 and 0.0 < self.renew_seconds < lease_seconds - self.margin_seconds):
            raise ValueError(
                f"lease {lease_seconds:g} s, renewal {self.renew_seconds:g} s, margin {self.margin_seconds:g} s: "
                "renewal must be above 0 and below lease - margin"
            )
        # Two attempts fit between the time of a renewal and the end of leading.
        self._timeout_seconds = (lease_seconds - self.margin_seconds - self.renew_seconds) / 2.0
        self.identity = f"{identity}_{uuid.uuid4().hex[:8]}"
        self.lost_event = threading.Event()
        """Set once leadership is lost, or the thread has died."""
        self.lost_reason = ""
        self.last_error: ClusterError | None = None
        """Of the last attempt; None = it succeeded."""
        self.holder = ""
        """Identity in the record as last seen; empty = nobody."""
        self._api, self._clock, self._on_lost = api, clock, on_lost
        self._namespace, self._name = namespace, name
        self._collection, self._path = leases_path(namespace), lease_path(namespace, name)
        self._state_lock = threading.Lock()
        self._tick_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._until: float | None = None
        self._held: _Lease | None = None
        self._watched: _Watched | None = None

    def is_leader(self) -> bool:
        """Whether this process may act now. Never blocks on the network; once False after True, it stays False."""
        with self._state_lock:
            if self._until is None:
                return False
            if self._clock.now() < self._until:
                return True
        self._lose(
            f"it could not be renewed for {self.lease_seconds - self.margin_seconds:g} s: {self.last_error or 'no answer'}"
        )
        return False

    def start(self) -> None:
        """Acquire and renew in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop leading, then release the Lease, so that another can have it at once. The caller has stopped acting before.

        A failure to release is in `last_error`: the others wait until it expires.
        """
        self._stop.set()
        with self._state_lock:
            self._until = None
        if self._thread is not None:
            self._thread.join()
        with self._tick_lock:
            held, self._held = self._held, None
            if held is None or self.lost_event.is_set():
                return
            try:
                self._put(held, holder="")
                self.holder = ""
            except ClusterError as error:
                self.last_error = error

    def tick(self) -> float:
        """Try once to acquire or renew.

        Returns:
            unix seconds when the next attempt is due.
        """
        with self._tick_lock:
            started = self._clock.now()
            leads = self.is_leader()
            if self._stop.is_set() or self.lost_event.is_set():
                return started + self.renew_seconds
            try:
                if leads and self._held is not None:
                    self._renew(self._held)
                else:
                    self._acquire()
            except ClusterError as error:
                self.last_error = error
                return started + self.renew_seconds / RETRIES_PER_RENEWAL
            self.last_error = None
            due = started + self.renew_seconds
            return due if leads or self._watched is None else min(due, max(started, self._watched.expires))

    def _run(self) -> None:
        try:
            while not self.lost_event.is_set():
                if not self._clock.sleep_until(self.tick(), self._stop):
                    return
        finally:
            # Whatever ends this thread, nobody renews any more.
            error = sys.exception()
            if error is not None:
                self._lose(f"the renewing thread died: {type(error).__name__}: {error}")

    def _renew(self, held: _Lease) -> None:
        try:
            started = self._clock.now()
            renewed = self._put(held, holder=self.identity)
        except ClusterNotFoundError:
            self._lose("somebody deleted the Lease")
            return
        except ClusterConflictError:
            # Either it is lost, or the answer to an earlier renewal of ours was.
            found = self._read()
            if found.holder != self.identity:
                self._lose(f"{found.holder or 'nobody'} holds it now")
                return
            started = self._clock.now()
            renewed = self._put(found, holder=self.identity)
        self._lead(started, renewed)

    def _acquire(self) -> None:
        found: _Lease | None = None
        try:
            found = self._read()
        except ClusterNotFoundError:
            if self._watched is not None and not self._expired("", self._watched.duration_seconds):
                return
        if found is not None and found.holder not in ("", self.identity):
            promised = found.duration_seconds or math.ceil(self.lease_seconds)
            if not self._expired(found.version, promised):
                return
        started = self._clock.now()
        try:
            taken = self._post() if found is None else self._put(found, holder=self.identity)
        except ClusterConflictError:
            return
        self._lead(started, taken)

    def _expired(self, version: str, duration_seconds: float) -> bool:
        """Whether the record has stayed as it is for its whole duration, since it was first read so."""
        now = self._clock.now()
        if self._watched is None or self._watched.version != version:
            self._watched = _Watched(version, duration_seconds, now + duration_seconds)
        return now >= self._watched.expires

    def _lead(self, started: float, lease: _Lease) -> None:
        if lease.holder != self.identity:
            raise ClusterAnswerError(
                f"Lease {self._name}: written for {self.identity}, the answer names {lease.holder!r}"
            )
        with self._state_lock:
            self._held, self._watched = lease, None
            if self._stop.is_set() or self.lost_event.is_set():
                return
            until = started + self.lease_seconds - self.margin_seconds
            # An answer that comes after the time was over does not bring it back: somebody may have been told already.
            if self._clock.now() < (until if self._until is None else self._until):
                self._until = until

    def _lose(self, reason: str) -> None:
        with self._state_lock:
            self._until = None
            if self.lost_event.is_set():
                return
            self.lost_reason = f"leadership by Lease {self._namespace}/{self._name} lost: {reason}"
            self.lost_event.set()
        if self._on_lost is not None:
            self._on_lost(self.lost_reason)

    def _read(self) -> _Lease:
        lease = _Lease.of(self._api.get(self._path, timeout_seconds=self._timeout_seconds))
        self.holder = lease.holder
        return lease

    def _post(self) -> _Lease:
        body = self._body(None, self.identity)
        written = _Lease.of(self._api.post(self._collection, body, timeout_seconds=self._timeout_seconds))
        self.holder = written.holder
        return written

    def _put(self, lease: _Lease, *, holder: str) -> _Lease:
        body = self._body(lease, holder)
        written = _Lease.of(self._api.put(self._path, body, timeout_seconds=self._timeout_seconds))
        self.holder = written.holder
        return written

    def _body(self, lease: _Lease | None, holder: str) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        spec: dict[str, Any] = {
            "leaseDurationSeconds": math.ceil(self.lease_seconds),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        if holder:
            # Left out where it is released: an empty name is not taken by every API server.
            spec["holderIdentity"] = holder
        if lease is not None:
            metadata |= lease.kept_metadata | {"resourceVersion": lease.version}
            taken = bool(holder) and lease.holder != holder
            spec["leaseTransitions"] = lease.transitions + taken
            spec["acquireTime"] = now if taken else lease.acquired or now
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


@dataclass(frozen=True)
class _Watched:
    version: str
    """Of the record; empty = it vanished while somebody held it."""
    duration_seconds: float
    expires: float


@dataclass(frozen=True, kw_only=True)
class _Lease:
    version: str
    holder: str
    duration_seconds: int | None
    transitions: int
    acquired: str
    kept_metadata: dict[str, Any]
    """Labels and annotations that others put there."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> _Lease:
        metadata, spec = answer.get("metadata"), answer.get("spec")
        spec = {} if spec is None else spec
        version = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
        if (
            not isinstance(metadata, Mapping)
            or not isinstance(spec, Mapping)
            or not isinstance(version, str)
            or not version
        ):
            raise ClusterAnswerError(
                "a Lease without metadata.resourceVersion; is this address a Kubernetes API server?"
            )
        duration, transitions, holder = (
            spec.get(k) for k in ("leaseDurationSeconds", "leaseTransitions", "holderIdentity")
        )
        return cls(
            version=version,
            holder=holder if isinstance(holder, str) else "",
            duration_seconds=duration if type(duration) is int and duration > 0 else None,
            transitions=transitions if type(transitions) is int and transitions >= 0 else 0,
            acquired=str(spec.get("acquireTime") or ""),
            kept_metadata={key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)},
        )
