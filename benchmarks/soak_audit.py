"""The auditor of a soak: it stands in the sandbox, sees every write arrive, and believes no record."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.soak_faults import Lies
from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.faults import FaultSpec, FaultTarget
from gnnrl.live.sandbox.http_server import Fault, FaultHook, JsonServer, Request, Response
from gnnrl.live.sandbox.server import Sandbox

__all__ = ["Auditor", "Offence", "SecretScanner"]

BAD = ("http_500", "http_503", "refuse", "cut", "empty", "nan", "expired_token", "html", "schema", "clock_skew")
"""Faults under which a source says nothing that a scale-down may rest on, from their first second on."""
CPU_MOVED = 0.12
"""A graph that stands still while the pods' CPU has changed by this share is wrong. (The loop says 10 %.)"""


@dataclass(frozen=True, kw_only=True)
class Offence:
    """Something that must never happen."""

    what: str
    """One of the counts of the report."""
    detail: str
    replica: str = ""
    seconds: float = 0.0
    """After the sandbox's start."""


@dataclass
class _Arrived:
    """What is known of the request that a server's thread is busy with."""

    seconds: float = 0.0
    interval: int = -1
    bad: Mapping[str, tuple[str, ...]] | None = None
    replica: str = ""


class Auditor:
    """Watches a sandbox from inside.

    Args:
        sandbox: not started yet.
        lies: told by its graph servers.
        sources: graph source of each replica, by its name.
        tokens: Kubernetes token of each replica, by its name; the API takes all of them.
        most: replicas of a service at most.
        stale_seconds: data older than this are stale.
        deadline_seconds: that the loop waits for an answer.
        lag_seconds: how old the newest metrics are at least.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        lies: Lies,
        sources: Mapping[str, FaultTarget],
        tokens: Mapping[str, str],
        *,
        most: int,
        stale_seconds: float,
        deadline_seconds: float,
        lag_seconds: float,
    ) -> None:
        self.offences: list[Offence] = []
        self.writes: Counter[str] = Counter()
        """Scale-downs, raises and writes that changed nothing."""
        self.met: set[FaultSpec] = set()
        """Faults that at least one request has met."""
        self.interval = -1
        """Number of the present one."""
        self.leaders: Callable[[], list[str]] = lambda: []
        """Replicas that may act at this moment."""
        self._sandbox, self._lies, self._sources = sandbox, lies, dict(sources)
        self._clock: Clock = sandbox.clock
        self._most, self._stale, self._deadline, self._lag = most, stale_seconds, deadline_seconds, lag_seconds
        self._replica_of = {f"Bearer {token}": name for name, token in tokens.items()}
        self._lock = threading.Lock()
        self._writers: dict[int, set[str]] = {}
        self._frozen: dict[object, tuple[float, float]] = {}
        """Since when a fault or lie answers with old data, and the mesh's CPU at that time."""
        self._here = threading.local()
        for target, server in (
            ("kiali", sandbox.kiali),
            ("prometheus", sandbox.prometheus),
            ("kubernetes", sandbox.kubernetes),
        ):
            server.fault = self._watching(target, server.fault, server)  # type: ignore[arg-type]
        self._handle = sandbox.kubernetes.handle
        sandbox.kubernetes.handle = self._kubernetes  # type: ignore[method-assign]
        self._set_replicas = sandbox.world.set_replicas
        sandbox.world.set_replicas = self._scaled  # type: ignore[method-assign]

    def offend(self, what: str, detail: str, replica: str = "") -> None:
        """Record one."""
        with self._lock:
            self.offences.append(Offence(what=what, detail=detail, replica=replica, seconds=self._sandbox.plan.now))

    def count(self, what: str) -> int:
        """Offences of a kind."""
        return sum(offence.what == what for offence in self.offences)

    def check_leaders(self) -> None:
        """No two may act at this moment."""
        leaders = self.leaders()
        if len(leaders) > 1:
            self.offend("double leaders", f"{' and '.join(leaders)} may act")

    def _watching(self, target: FaultTarget, hook: FaultHook, server: JsonServer) -> FaultHook:
        hook = self._lies.in_front_of(target, hook)

        def fault(name: str, method: str, path: str) -> Fault | None:
            for spec in self._sandbox.plan.active(target):
                if spec.concerns(method, path):
                    self.met.add(spec)
                    if spec.kind == "stale":
                        self._froze(spec)
            lie = self._lies.active(target)
            if lie is not None and lie.kind == "frozen":
                self._froze(lie)
            if server is self._sandbox.kubernetes:
                arrived = _Arrived(seconds=self._clock.now(), interval=self.interval)
                if method == "PATCH" and path.endswith("/scale"):
                    arrived.bad = {source: self.bad(source) for source in ("kiali", "prometheus")}
                self._here.arrived = arrived
            return hook(name, method, path)

        return fault

    def _froze(self, what: object) -> None:
        with self._lock:
            self._frozen.setdefault(what, (self._clock.now(), self._cpu()))

    def _cpu(self) -> float:
        """Nanocores of the mesh's applications, as the metrics API would show them now."""
        views = self._sandbox.world.pod_usage()
        return float(sum(view.containers["server"].cpu_nanocores for view in views))

    def _busy(self) -> bool:
        """Whether any service uses more than a quarter of its pods' limits."""
        world = self._sandbox.world
        used: Counter[str] = Counter()
        limit: Counter[str] = Counter()
        of_one = {view.name: view.containers[0].cpu_limit_millicores or 0.0 for view in world.workloads()}
        for view in world.pod_usage():
            used[view.workload] += view.containers["server"].cpu_nanocores
            limit[view.workload] += int(1e6 * of_one[view.workload])
        return any(used[name] > 0.25 * limit[name] for name in used)

    def bad(self, source: FaultTarget) -> tuple[str, ...]:
        """Why a replica with this graph source may not lower anything now, by the plan; empty = it may."""
        now, found = self._clock.now(), []
        specs = [*self._sandbox.plan.active(source), *self._sandbox.plan.active("kubernetes")]
        for spec in specs:
            # Of metrics the answer of the first request was `lag` old already.
            allowed = self._stale - (self._lag if spec.target == "kubernetes" else 0.0)
            since = self._frozen.get(spec, (now, 0.0))[0]
            if (
                spec.kind in BAD
                or (spec.kind == "latency" and spec.value is not None and spec.value > self._deadline)
                or (spec.kind == "stale" and now - since > allowed)
            ):
                found.append(f"{spec.target}:{spec.kind}")
        lie = self._lies.active(source)
        if lie is not None:
            since, cpu = self._frozen.get(lie, (now, 0.0))
            moved = cpu > 0.0 and abs(self._cpu() - cpu) > CPU_MOVED * cpu
            if (
                lie.kind == "foreign"
                or (lie.kind == "silent" and self._busy())
                or (lie.kind == "frozen" and now - since > self._stale and moved)
            ):
                found.append(f"{source}:{lie.kind}")
        return tuple(found)

    def active(self, source: FaultTarget) -> list[str]:
        """The faults and lies that concern a replica with this graph source now, as `target:kind`."""
        plan, lie = self._sandbox.plan, self._lies.active(source)
        found = [f"{spec.target}:{spec.kind}" for spec in (*plan.active(source), *plan.active("kubernetes"))]
        return found + ([f"{lie.target}:{lie.kind}"] if lie is not None else [])

    def _kubernetes(self, request: Request) -> Response:
        """The API takes the token of every replica, and each write is told who made it."""
        name = self._replica_of.get(request.headers.get("authorization", ""), "")
        if name:
            self._here.arrived.replica = name
            headers = {**request.headers, "authorization": f"Bearer {self._sandbox.token}"}
            request = replace(request, headers=headers)
        return self._handle(request)

    def _scaled(self, name: str, replicas: int) -> None:
        arrived: _Arrived = self._here.arrived
        before = next((view.replicas for view in self._sandbox.world.workloads() if view.name == name), None)
        what = f"{name}: {before} -> {replicas!r} by {arrived.replica or 'nobody known'}"
        if not arrived.replica:
            self.offend("unknown writers", what)
        if type(replicas) is not int or not 1 <= replicas <= self._most:
            self.offend("out of bounds", what, arrived.replica)
        with self._lock:
            writers = self._writers.setdefault(arrived.interval, set())
            writers.add(arrived.replica)
            both = len(writers) > 1
        if both:
            self.offend("double writers", f"interval {arrived.interval}: {what}", arrived.replica)
        if before is not None and replicas < before:
            self.writes["lowered"] += 1
            bad = (arrived.bad or {}).get(self._sources.get(arrived.replica, "kiali"), ())
            if bad:
                self.offend("lowered on bad data", f"{what} under {', '.join(bad)}", arrived.replica)
        else:
            self.writes["raised"] += 1
        self._set_replicas(name, replicas)


class SecretScanner(logging.Handler):
    """Looks for secrets in everything that is logged or handed to it. Keeps nothing.

    Args:
        secrets: asked anew each time: sessions come and go.
        found: told where one stood.
    """

    def __init__(self, secrets: Callable[[], tuple[str, ...]], found: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self.lines = 0
        self.errors: list[str] = []
        """Messages of the sandbox's own failures."""
        self._secrets, self._found = secrets, found
        self._place: dict[Path, tuple[int, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.lines += 1
        self.scan(text, f"log of {record.name}")
        if record.levelno >= logging.ERROR:
            self.errors.append(text)

    def scan(self, text: str, place: str) -> None:
        """Look at one text."""
        for secret in self._secrets():
            if secret in text:
                self._found(f"{place}: ...{text[max(0, text.index(secret) - 60) : text.index(secret)]}[secret]")

    def tail(self, path: Path) -> None:
        """Look at what was appended to a file since the last time."""
        with path.open("rb") as file:
            inode = path.stat().st_ino
            known, offset = self._place.get(path, (inode, 0))
            file.seek(offset if known == inode else 0)
            self.scan(file.read().decode("utf-8", errors="replace"), str(path.name))
            self._place[path] = (inode, file.tell())


def as_line(record: Any) -> str:
    """A record as the report prints it."""
    return json.dumps(record.to_json() if record is not None else None, default=str)[:6000]
