"""A sandbox API server over a world of a few Deployments, for tests."""

from __future__ import annotations

import json
from typing import Any

import requests

from gnnrl.cluster.clock import SteppedClock
from gnnrl.live.sandbox.kubernetes_api import KubernetesApi
from tests.live.fake_world import FakeWorld

NS = FakeWorld.namespace
TOKEN = "a-token-that-nobody-should-read"
ORIGIN = 1_800_000_000.0
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"


class Cluster:
    """A running API server, its world and its clock."""

    def __init__(self, **options: Any) -> None:
        self.clock = SteppedClock(ORIGIN)
        self.world = FakeWorld(self.clock)
        self.api = KubernetesApi(self.world, self.clock, TOKEN, **options)
        self.api.start()
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json", **params: str) -> Any:
        """Answer and status of a request."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        return self.session.request(
            method, self.api.url + path, data=data, params=params, headers={"Content-Type": kind}, timeout=10.0
        )

    def get(self, path: str, **params: str) -> Any:
        """JSON of a successful GET."""
        answer = self.call("GET", path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def patch(self, path: str, body: Any, kind: str = STRATEGIC, **params: str) -> Any:
        """Answer of a PATCH."""
        return self.call("PATCH", path, body, kind, **params)

    def pass_seconds(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.sleep_until(self.clock.now() + seconds)

    def close(self) -> None:
        """Stop."""
        self.session.close()
        self.api.close()


def assert_status(answer: Any, code: int, reason: str) -> str:
    """The answer is a Status object as the API server writes it; its message."""
    assert answer.status_code == code, answer.text
    body = answer.json()
    assert (body["kind"], body["apiVersion"], body["status"]) == ("Status", "v1", "Failure")
    assert (body["code"], body["reason"]) == (code, reason)
    return str(body["message"])
