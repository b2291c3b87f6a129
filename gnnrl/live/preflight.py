"""What could go wrong, asked before anything is changed: every answer at once, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gnnrl.cluster.errors import ClusterError
from gnnrl.cluster.guardrails import limits_of
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.domains.autoscaling.sensing import CapacityExceeded, Reading
from gnnrl.live.policies import LivePolicyError
from gnnrl.live.session import LiveSession, LiveSetupError

__all__ = ["Finding", "preflight"]

Level = Literal["ok", "warning", "error"]

LARGEST_SKEW_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    message: str


@dataclass(frozen=True, kw_only=True)
class _Permission:
    verb: str
    group: str
    resource: str
    subresource: str = ""
    needed: bool = True

    def __str__(self) -> str:
        full = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.verb} {full}" + (f".{self.group}" if self.group else "")


def preflight(session: LiveSession) -> tuple[list[Finding], ClusterSnapshot | None]:
    """Look at everything; with an error among the findings the loop must not start.

    Returns:
        the findings, and what was read of the cluster (None where it could not be reached at all).
    """
    findings = list(_cluster(session))
    if any(finding.level == "error" for finding in findings):
        return findings, None
    findings += _permissions(session)
    snapshot = session.snapshot()
    findings += _sources(session, snapshot)
    try:
        loop = session.build(snapshot)
        reading = loop.sensing.read(snapshot)
    except (LiveSetupError, LivePolicyError, CapacityExceeded) as error:
        findings += [_error("loop", line) for line in str(error).splitlines()]
        return findings, snapshot
    findings += _services(session, snapshot, reading)
    return findings, snapshot


def _error(what: str, message: object) -> Finding:
    return Finding(level="error", what=what, message=str(message))


def _warning(what: str, message: object) -> Finding:
    return Finding(level="warning", what=what, message=str(message))


def _ok(what: str, message: object) -> Finding:
    return Finding(level="ok", what=what, message=str(message))


def _cluster(session: LiveSession) -> Iterator[Finding]:
    try:
        version = session.api.get("/version").get("gitVersion", "unknown")
    except ClusterError as error:
        yield _error("cluster", error)
        return
    yield _ok("cluster", f"{session.api.host}, version {str(version)[:40]}")
    skew = session.api.clock_skew_seconds(session.clock.now())
    if abs(skew) > LARGEST_SKEW_SECONDS:
        yield _error(
            "clock",
            f"this machine is {abs(skew):.0f} s {'ahead of' if skew < 0 else 'behind'} the API server: ages of data and the "
            "Lease cannot be judged; set the clock (NTP), or, for a sandbox, give its --sandbox-url",
        )


def _permissions(session: LiveSession) -> Iterator[Finding]:
    writes = session.options.mode != "shadow"
    wanted = [
        _Permission(verb="list", group="apps", resource="deployments"),
        _Permission(verb="list", group="", resource="pods"),
        _Permission(verb="list", group="metrics.k8s.io", resource="pods"),
        _Permission(verb="get", group="apps", resource="deployments", subresource="scale", needed=writes),
        _Permission(verb="patch", group="apps", resource="deployments", subresource="scale", needed=writes),
        _Permission(verb="list", group="autoscaling", resource="horizontalpodautoscalers"),
        _Permission(verb="list", group="policy", resource="poddisruptionbudgets"),
        _Permission(verb="list", group="", resource="resourcequotas"),
        _Permission(verb="get", group="", resource="namespaces"),
        _Permission(verb="list", group="keda.sh", resource="scaledobjects"),
        _Permission(verb="create", group="", resource="events", needed=False),
    ]
    if session.options.leader_elect:
        wanted += [
            _Permission(verb=verb, group="coordination.k8s.io", resource="leases")
            for verb in ("get", "create", "update")
        ]
    missing = 0
    for one in wanted:
        try:
            allowed = session.api.can_i(one.verb, one.group, one.resource, one.subresource, session.options.namespace)
        except ClusterError as error:
            yield _error("permissions", error)
            return
        if allowed is False:
            missing += 1
            message = (
                f"not allowed to {one} in namespace {session.options.namespace!r}; deploy/base/role.yaml grants it"
            )
            yield _error("permissions", message) if one.needed else _warning("permissions", message)
        elif allowed is None:
            yield _warning("permissions", f"the API server does not say whether {one} is allowed")
    if not missing:
        yield _ok("permissions", f"all {len(wanted)} that are used")


def _sources(session: LiveSession, snapshot: ClusterSnapshot) -> Iterator[Finding]:
    for problem in snapshot.problems:
        fatal = not problem.service and problem.source in ("graph", "deployments", "pods", "metrics", "owners")
        what = f"{problem.source} {problem.service}".strip()
        yield _error(what, problem.message) if fatal else _warning(what, problem.message)
    if snapshot.graph is not None:
        age = snapshot.taken_seconds - snapshot.graph.timestamp
        size = f"{len(snapshot.graph.nodes)} nodes, {len(snapshot.graph.edges)} calls, {age:.0f} s old"
        if not snapshot.graph.edges:
            yield _error("graph", "no calls: is there traffic, and are the pods in the mesh (istio-proxy injected)?")
        elif age > session.options.config.stale_after_seconds:
            yield _error("graph", f"{size}: stale; is Prometheus scraping?")
        else:
            yield _ok("graph", size)
    if not snapshot.failed("deployments"):
        names = [deployment.name for deployment in snapshot.deployments]
        if names:
            yield _ok("deployments", f"{len(names)}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")
        else:
            yield _error("deployments", f"namespace {snapshot.namespace!r} has none, or does not exist")
    if snapshot.usage:
        newest = max(usage.timestamp_seconds for usage in snapshot.usage)
        yield _ok("metrics", f"{len(snapshot.usage)} pods, {snapshot.taken_seconds - newest:.0f} s old")


def _services(session: LiveSession, snapshot: ClusterSnapshot, reading: Reading) -> Iterator[Finding]:
    guardrails = session.options.config.guardrails
    for deployment, service in zip(reading.deployments, reading.mesh.services, strict=False):
        limits = limits_of(deployment.annotations, snapshot.namespace_annotations, guardrails)
        for problem in limits.problems:
            yield _warning(deployment.name, problem)
        if deployment.owner and not session.options.for_keda:
            yield _warning(
                deployment.name, f"{deployment.owner} scales it: never touched; delete that one to hand it over"
            )
        elif service.outside:
            yield _ok(deployment.name, "sends requests from outside: shown to the policy, never scaled")
        elif service.stateful:
            yield _ok(deployment.name, "stateful (annotation, or reached over tcp alone): never scaled")
        elif limits.paused and not limits.problems:
            yield _ok(deployment.name, "paused by annotation")
        if deployment.cpu_request_millicores is None or deployment.cpu_limit_millicores is None:
            yield _warning(
                deployment.name,
                f"states no CPU request or limit; {service.cpu_request_millicores:g} and {service.cpu_limit_millicores:g} "
                "millicores are assumed; set both in its manifest",
            )
    for name in reading.left_out:
        yield _warning(name, "left out: the policy has no slot for it; held")
