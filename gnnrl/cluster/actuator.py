"""The one place that writes replicas: `/scale` of a Deployment, each target on its own, never over somebody else's change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gnnrl.cluster.errors import ClusterAnswerError, ClusterConflictError, ClusterError
from gnnrl.cluster.paths import scale_path

if TYPE_CHECKING:
    from gnnrl.cluster.api import ClusterApi
    from gnnrl.cluster.clock import Clock

__all__ = ["FIELD_MANAGER", "INT32_MAX", "Actuator", "Outcome", "ScaleRequest", "ScaleResult", "WriteMode"]

WriteMode = Literal["live", "dry-run", "shadow"]
"""`live` writes; `dry-run` lets the API server check the write and throw it away; `shadow` never sends anything."""

Outcome = Literal["none", "patched", "dry-run", "shadow", "unchanged", "conflict", "failed", "not-leader"]
"""`none`: nothing to send; `unchanged`: the cluster already has it; `conflict`: somebody else changed it, decided again next time."""

FIELD_MANAGER = "gnnrl"
"""Name under which the API server records who set `spec.replicas`."""

INT32_MAX = 2**31 - 1
"""Largest number of replicas: `spec.replicas` is an int32."""


@dataclass(frozen=True, kw_only=True)
class ScaleRequest:
    """What one Deployment shall have, and what it had when that was decided.

    Raises:
        ValueError: a number that must never leave the process: not an int, or not in [minimum, maximum].
    """

    replicas: int
    expected: int
    """`spec.replicas` that the decision rests on."""
    minimum: int = 1
    maximum: int = INT32_MAX
    resource_version: str | None = None
    """Of the object that `expected` was read from; None = `/scale` is read first."""

    def __post_init__(self) -> None:
        for name in ("replicas", "expected", "minimum", "maximum"):
            if type(getattr(self, name)) is not int:
                raise ValueError(f"scale request: {name} is {getattr(self, name)!r}: must be an int")
        if not 0 < self.minimum <= self.maximum <= INT32_MAX:
            raise ValueError(f"scale request: bounds [{self.minimum}, {self.maximum}] are not within [1, {INT32_MAX}]")
        if not 0 <= self.expected <= INT32_MAX:
            raise ValueError(f"scale request: expected {self.expected} is not within [0, {INT32_MAX}]")
        self.check(self.replicas)

    def check(self, replicas: int) -> None:
        """Raise ValueError unless it is an int (a bool is none) within the bounds."""
        if type(replicas) is not int:
            raise ValueError(f"scale request: replicas is {replicas!r}: must be an int")
        if not self.minimum <= replicas <= self.maximum:
            raise ValueError(f"scale request: replicas {replicas} is not in [{self.minimum}, {self.maximum}]")


@dataclass(frozen=True, kw_only=True)
class ScaleResult:
    """What became of one request."""

    outcome: Outcome
    answer: str = ""
    """What stood in the way, for people; empty where nothing did."""
    sent: int | None = None
    """Replicas of the last write that left the process; None = none did."""
    echoed: int | None = None
    """Replicas in the API server's answer to it; None = no answer that could be read."""
    seconds: float | None = None
    """Unix seconds when that write was sent."""


class _Scale(NamedTuple):
    replicas: int
    resource_version: str


Redecide = Callable[[str, int], int | None]
"""`(name, replicas now) -> replicas, or None to leave it`; asked from several threads, one at a time."""


class Actuator:
    """Writes `/scale` of Deployments with the resourceVersion of what was decided on, so that nobody's change is overwritten.

    A target is written once. If the cluster has another number than the decision rests on, or answers 409, `/scale` is read
    again and `redecide` is asked once with the fresh number (a 409 without another number, as after a status update, leaves the
    decision standing); then it is written once more, and another 409 is the outcome `conflict`.

    Args:
        api: the cluster's API.
        namespace: of the Deployments.
        clock: stamps the writes.
        mode: `shadow` makes no request at all.
        may_act: asked immediately before each write, from several threads; False = the outcome `not-leader`.
        workers: targets written at the same time.
        deadline_seconds: for all targets of one `apply`, in the network's seconds, not the clock's: acceleration does not reach
            sockets. What has not begun to be written by then never is; what waits for its answer is reported as failed.
    """

    def __init__(
        self,
        api: ClusterApi,
        namespace: str,
        clock: Clock,
        *,
        mode: WriteMode,
        may_act: Callable[[], bool],
        workers: int = 16,
        deadline_seconds: float = 5.0,
    ) -> None:
        if mode not in ("live", "dry-run", "shadow"):
            raise ValueError(f"actuator mode {mode!r}: must be live, dry-run or shadow")
        if not deadline_seconds > 0.0:
            raise ValueError(f"actuator deadline {deadline_seconds} s: must be above 0")
        self.mode = mode
        self.deadline_seconds = deadline_seconds
        self._api, self._namespace, self._clock, self._may_act = api, namespace, clock, may_act
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="actuator")
        self._redecide_lock = threading.Lock()

    def apply(self, changes: Mapping[str, ScaleRequest], redecide: Redecide | None = None) -> dict[str, ScaleResult]:
        """Write every target, whatever becomes of the others.

        Args:
            changes: by Deployment.
            redecide: asked when a Deployment has another number than expected; None = that is a conflict.

        Returns:
            a result for each of them; what the API refuses or fails at is one, never an exception.

        Raises:
            ValueError: `redecide` gave a number outside the bounds. The other targets have been written by then.
        """
        results = {name: ScaleResult(outcome="unchanged") for name in changes}
        wanted = {name: request for name, request in changes.items() if request.replicas != request.expected}
        if self.mode == "shadow":
            return results | {name: ScaleResult(outcome="shadow") for name in wanted}
        deadline = time.monotonic() + self.deadline_seconds
        attempts = {name: _Attempt(name, request, redecide, deadline) for name, request in wanted.items()}
        futures = {name: self._pool.submit(self._run, attempt) for name, attempt in attempts.items()}
        wait(futures.values(), timeout=self.deadline_seconds)
        for name, future in futures.items():
            results[name] = future.result() if future.done() else self._abandon(attempts[name], future)
        return results

    def close(self) -> None:
        """End the threads; requests in flight are waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, attempt: _Attempt) -> ScaleResult:
        request = attempt.request
        try:
            version = request.resource_version
            scale = self._read(attempt) if version is None else _Scale(request.expected, version)
            return self._write(attempt, request.replicas, request.expected, scale, again=True)
        except ClusterError as error:
            return attempt.result("failed", str(error))

    def _write(self, attempt: _Attempt, replicas: int, expected: int, scale: _Scale, *, again: bool) -> ScaleResult:
        if scale.replicas not in (replicas, expected):
            fresh = self._decide_again(attempt, scale.replicas)
            if fresh is None:
                return attempt.result(
                    "conflict", f"it has {scale.replicas} replicas, the decision was made at {expected}"
                )
            replicas, expected = fresh, scale.replicas
        if scale.replicas == replicas:
            return attempt.result("unchanged")
        attempt.request.check(replicas)
        with attempt.lock:
            if attempt.abandoned:
                return attempt.result("failed", self._late)
            if not self._may_act():
                return attempt.result("not-leader", "not sent: this process is not the leader")
            attempt.sent, attempt.seconds = replicas, self._clock.now()
        try:
            echoed = self._patch(attempt, replicas, scale.resource_version).replicas
        except ClusterConflictError as error:
            if not again:
                return attempt.result("conflict", str(error))
            return self._write(attempt, replicas, expected, self._read(attempt), again=False)
        if echoed != replicas:
            return attempt.result("failed", f"sent {replicas} replicas, the API server answered {echoed}", echoed)
        return attempt.result("patched" if self.mode == "live" else "dry-run", echoed=echoed)

    def _decide_again(self, attempt: _Attempt, current: int) -> int | None:
        if attempt.asked or attempt.redecide is None:
            return None
        attempt.asked = True
        with self._redecide_lock:
            return attempt.redecide(attempt.name, current)

    def _abandon(self, attempt: _Attempt, future: Future[ScaleResult]) -> ScaleResult:
        future.cancel()
        # Under the lock, so that what is reported as not sent cannot be sent a moment later.
        with attempt.lock:
            attempt.abandoned = True
            if attempt.sent is None:
                return attempt.result("failed", self._late)
            return attempt.result(
                "failed", f"no answer within {self.deadline_seconds:g} s; the write may still take effect"
            )

    @property
    def _late(self) -> str:
        return f"not sent: the {self.deadline_seconds:g} s for all targets had passed"

    def _read(self, attempt: _Attempt) -> _Scale:
        path = scale_path(self._namespace, attempt.name)
        return _parse(self._api.get(path, timeout_seconds=attempt.seconds_left), attempt.name)

    def _patch(self, attempt: _Attempt, replicas: int, resource_version: str) -> _Scale:
        query = {"fieldManager": FIELD_MANAGER}
        if self.mode == "dry-run":
            query["dryRun"] = "All"
        path = scale_path(self._namespace, attempt.name)
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        return _parse(self._api.patch(path, body, query=query, timeout_seconds=attempt.seconds_left), attempt.name)


@dataclass(eq=False)
class _Attempt:
    """One target's way to its result; written by one pool thread, read by the thread of `apply` under the lock."""

    name: str
    request: ScaleRequest
    redecide: Redecide | None
    deadline: float
    """Of the machine's monotonic clock."""
    asked: bool = False
    sent: int | None = None
    seconds: float | None = None
    abandoned: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline - time.monotonic()

    def result(self, outcome: Outcome, answer: str = "", echoed: int | None = None) -> ScaleResult:
        """What is known of it by now."""
        return ScaleResult(outcome=outcome, answer=answer, sent=self.sent, echoed=echoed, seconds=self.seconds)


def _parse(answer: Mapping[str, Any], name: str) -> _Scale:
    """Number and version in an answer of `/scale`; at 0 replicas it has `spec: {}`."""
    spec, metadata = answer.get("spec"), answer.get("metadata")
    if isinstance(spec, Mapping) and isinstance(metadata, Mapping):
        replicas, version = spec.get("replicas"), metadata.get("resourceVersion")
        replicas = 0 if replicas is None else replicas
        if type(replicas) is int and replicas >= 0 and isinstance(version, str) and version:
            return _Scale(replicas, version)
    raise ClusterAnswerError(
        f"deployments/{name}/scale: no readable spec.replicas and metadata.resourceVersion in the answer; "
        "is this address a Kubernetes API server?"
    )
