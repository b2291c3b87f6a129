"""A sandbox that stands still, `gnnrl live` in this process against it, and a record of every request that reached it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from gnnrl.cli.main import main
from gnnrl.cluster.clock import Clock, SteppedClock
from gnnrl.domains.autoscaling.episode import warm_up_seconds
from gnnrl.live.sandbox.http_server import Fault, JsonServer
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from gnnrl.live.sandbox.server import Sandbox
from tests.live.sandbox_worlds import ORIGIN, small_config, small_episode

NS = "onlineboutique"
KUBE_TOKEN = "kube0tokenQ7f3Zk9pXw2LmN5s"
"""Looks like no credential: what keeps it off the screen is that it is never told, not that it is masked."""
ASKING = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
"""A POST that changes nothing."""
Answer = Callable[[str, str], Fault | None]


@dataclass
class Asked:
    """A request that reached a server."""

    server: str
    method: str
    path: str


class Stage:
    """The sandbox, and what to start `gnnrl live` with."""

    def __init__(self, folder: Path, *, clock: Clock | None = None, kiali_auth: Any = "anonymous") -> None:
        self.folder = folder
        self.config = small_config()
        self.clock = clock or SteppedClock(ORIGIN)
        self.sandbox = Sandbox(
            self.config, small_episode(self.config), clock=self.clock, token=KUBE_TOKEN, kiali_auth=kiali_auth
        )
        self.asked: list[Asked] = []
        self.answers: dict[str, Answer] = {}
        """By server: what is answered instead, by method and path."""
        for server in (self.sandbox.kubernetes, self.sandbox.kiali, self.sandbox.prometheus):
            self._listen(server)
        self.sandbox.start()
        self.kubeconfig = folder / "kubeconfig"
        write_kubeconfig(self.kubeconfig, self.sandbox.urls["kubernetes"], KUBE_TOKEN, NS)
        if isinstance(self.clock, SteppedClock):
            self.pass_seconds(warm_up_seconds(self.config) + 60.25)

    def _listen(self, server: JsonServer) -> None:
        planned = server.fault

        def hook(name: str, method: str, path: str) -> Fault | None:
            self.asked.append(Asked(name, method, path))
            own = self.answers.get(name)
            found = own(method, path) if own is not None else None
            return found or (planned(name, method, path) if planned is not None else None)

        server.fault = hook

    def pass_seconds(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.sleep_until(self.clock.now() + seconds)

    def reset(self) -> None:
        """No faults, nothing denied, nothing recorded."""
        self.sandbox.plan.clear()
        self.sandbox.kubernetes.deny.clear()
        self.sandbox.kubernetes.absent_groups.clear()
        self.answers.clear()
        self.asked.clear()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Somebody else's request to the Kubernetes API, not recorded; the answer."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {KUBE_TOKEN}", "Content-Type": kind}
        before = len(self.asked)
        answer = requests.request(
            method, self.sandbox.urls["kubernetes"] + path, json=body, headers=headers, timeout=10
        )
        del self.asked[before:]
        assert answer.ok, answer.text
        return answer.json()

    def annotate(self, **annotations: str | None) -> None:
        """Of the namespace: `slo_ms` is `gnnrl.io/slo-ms`."""
        self.call("PATCH", f"/api/v1/namespaces/{NS}", _annotated(annotations))

    def annotate_deployment(self, name: str, **annotations: str | None) -> None:
        """As `annotate`."""
        self.call("PATCH", f"/apis/apps/v1/namespaces/{NS}/deployments/{name}", _annotated(annotations))

    @property
    def writes(self) -> list[Asked]:
        """Requests that change something."""
        return [one for one in self.asked if one.method not in ("GET", "HEAD") and not _only_asks(one)]

    def replicas(self) -> dict[str, int]:
        """As they are in the world."""
        return {view.name: view.replicas for view in self.sandbox.world.workloads()}

    def arguments(self, **changed: str | None) -> list[str]:
        """Of a command that works, with some options changed or (None) left out."""
        options: dict[str, str | None] = {
            "policy": "hpa_80",
            "namespace": NS,
            "kiali_url": self.sandbox.urls["kiali"],
            "kubeconfig": str(self.kubeconfig),
            "sandbox_url": self.sandbox.urls["control"],
        }
        options |= changed
        return [part for name, value in options.items() if value is not None for part in (_flag(name), value)]

    def live(self, *flags: str, **changed: str | None) -> int:
        """`gnnrl live` with these; its exit code."""
        return main(["live", *self.arguments(**changed), *flags])

    def close(self) -> None:
        """Stop."""
        self.sandbox.close()


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _annotated(annotations: Mapping[str, str | None]) -> dict[str, Any]:
    named = {f"gnnrl.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return {"metadata": {"annotations": named}}


def _only_asks(one: Asked) -> bool:
    return one.path == ASKING or (one.server == "kiali" and one.path.endswith("/api/authenticate"))
