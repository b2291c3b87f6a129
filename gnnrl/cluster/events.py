"""What happened to a Deployment, as Events that `kubectl describe` shows."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from gnnrl.cluster.errors import ClusterError, ClusterNotFoundError
from gnnrl.cluster.paths import events_path

if TYPE_CHECKING:
    from gnnrl.cluster.api import ClusterApi
    from gnnrl.cluster.clock import Clock

__all__ = ["EventPoster", "EventType"]

EventType = Literal["Normal", "Warning"]

MESSAGE_BYTES = 1024
"""Longest message that the API server takes."""

REASON_BYTES = 128
"""Longest reason that the API server takes."""

AGGREGATION_SECONDS = 600.0
"""An event repeated within this time raises the count of the one that is there (client-go: 10 minutes)."""

BURST = 25
"""Requests for one object before they are thinned out (client-go's spam filter)."""

REFILL_SECONDS = 300.0
"""After the burst, one request for an object in this time (client-go's spam filter)."""

MOST_REMEMBERED = 4096
"""Objects, and (object, reason) pairs, remembered; past that the longest unused are forgotten."""


class EventPoster:
    """Posts core/v1 Events about Deployments, few enough that the API server's store is not flooded.

    As client-go's recorder does, but simpler: a repeated reason on the same object patches the count, the time and the message of the
    event that is there; and each object has a bucket of requests. What the bucket withholds is counted, and told with the next
    request that it lets through.

    Calls may come from several threads; those about one object, one after the other.

    Args:
        api: the cluster's API.
        namespace: of the Deployments.
        clock: stamps the events and refills the buckets.
        component: who reports.
        identity: which process of it (the pod's name).
    """

    def __init__(
        self, api: ClusterApi, namespace: str, clock: Clock, *, component: str = "gnnrl", identity: str
    ) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._component, self._identity = component, identity
        self._path = events_path(namespace)
        self._lock = threading.Lock()
        self._posted: OrderedDict[tuple[str, ...], _Posted] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self.withheld = 0
        """Events that no request was made for."""

    def post(
        self,
        deployment: str,
        uid: str,
        reason: str,
        message: str,
        type: EventType = "Normal",
    ) -> ClusterError | None:
        """Tell that something happened to a Deployment.

        Args:
            deployment: its name.
            uid: its uid; `kubectl describe` finds events by it.
            reason: one CamelCase word, such as `ScaledUp`.
            message: for people; cut to 1024 bytes.
            type: `Warning` for what an operator should look at.

        Returns:
            what went wrong, for the caller to count: no loop stops because of an Event. None = posted, or withheld.
        """
        now = self._clock.now()
        reason, message = _cut(reason, REASON_BYTES), _cut(message, MESSAGE_BYTES)
        key = (deployment, uid, reason, type)
        with self._lock:
            known = self._posted.get(key)
            if known is None or now - known.last_seconds > AGGREGATION_SECONDS:
                known = _Posted(first_seconds=now, last_seconds=now)
            known.count += 1
            known.last_seconds = now
            _remember(self._posted, key, known)
            bucket = self._buckets.get(uid) or _Bucket(refilled_seconds=now)
            _remember(self._buckets, uid, bucket)
            if not bucket.take(now):
                self.withheld += 1
                return None
        try:
            if known.name:
                try:
                    self._api.patch(
                        f"{self._path}/{known.name}",
                        {"count": known.count, "lastTimestamp": _timestamp(now), "message": message},
                        content_type="application/merge-patch+json",
                    )
                    return None
                except ClusterNotFoundError:
                    # The API server forgets events, after an hour by default.
                    known.name = ""
            body = self._body(deployment, uid, reason, message, type, known)
            self._api.post(self._path, body)
            known.name = body["metadata"]["name"]
        except ClusterError as error:
            return error
        return None

    def _body(
        self,
        deployment: str,
        uid: str,
        reason: str,
        message: str,
        type: EventType,
        posted: _Posted,
    ) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            # A name is 253 characters at most; the suffix makes it unique over processes and restarts.
            "metadata": {"name": f"{deployment[:230]}.{uuid.uuid4().hex[:16]}", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "namespace": self._namespace,
                "name": deployment,
                "uid": uid,
            },
            "reason": reason,
            "message": message,
            "type": type,
            "count": posted.count,
            "firstTimestamp": _timestamp(posted.first_seconds),
            "lastTimestamp": _timestamp(posted.last_seconds),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._identity,
        }


@dataclass(kw_only=True)
class _Posted:
    first_seconds: float
    last_seconds: float
    count: int = 0
    name: str = ""
    """Of the Event object; empty = none could be created yet."""


@dataclass(kw_only=True)
class _Bucket:
    refilled_seconds: float
    tokens: float = float(BURST)

    def take(self, now: float) -> bool:
        self.tokens = min(float(BURST), self.tokens + (now - self.refilled_seconds) / REFILL_SECONDS)
        self.refilled_seconds = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


def _remember(table: OrderedDict[Any, Any], key: object, value: object) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MOST_REMEMBERED:
        table.popitem(last=False)


def _cut(text: str, most_bytes: int) -> str:
    """The text, or as many whole characters of it as fit with three dots."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: most_bytes - 3].decode("utf-8", "ignore") + "..."


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
