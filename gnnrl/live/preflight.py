"""What could go wrong, asked before anything is changed: every answer at once, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import Clock
from gnnrl.cluster.errors import ClusterError
from gnnrl.cluster.guardrails import limits_of
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.cluster.reader import ClusterReader, GraphSource
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.sensing import CapacityExceeded, Reading
from gnnrl.domains.autoscaling.trained_ranges import told
from gnnrl.live.conditions import outside_of_training, unreachable_objective
from gnnrl.live.options import LiveOptions, LiveSetupError
from gnnrl.live.parts import Decider, LiveParts, as_flags
from gnnrl.live.permissions import wanted_permissions
from gnnrl.live.reachability import is_readable_on_the_way
from gnnrl.live.session import LiveSession, objective_ms, sensing_for
from kiali_client import KialiError, ServiceGraph

__all__ = ["Finding", "Level", "examine", "preflight"]

Level = Literal["ok", "warning", "error"]

LARGEST_SKEW_SECONDS = 10.0
ASSUMED_SLO_MS = 500.0
"""To look at the services where no objective is stated, which is a finding of its own."""
FATAL = ("graph", "deployments", "pods", "metrics", "owners", "namespace")
"""Sources without which the loop must not start; without the others it does less."""
PREFIX = "Kiali graph: "
"""Of every fault of a graph that is none."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    message: str
    """One line."""


class _NoGraph:
    """Stands in where there is no source of the graph to ask."""

    def fetch_service_graph(self, *_: Any, **__: Any) -> ServiceGraph:
        """Fails."""
        raise KialiError("there is no source of the graph")


def preflight(session: LiveSession) -> tuple[list[Finding], ClusterSnapshot | None]:
    """Look at everything; with an error among the findings the loop must not start. Returns as `examine`."""
    return examine(session.options, session.clock, session.parts)


def examine(
    options: LiveOptions, clock: Clock | None, parts: LiveParts
) -> tuple[list[Finding], ClusterSnapshot | None]:
    """Look at everything that the parts there are allow to look at. Nothing is changed.

    Args:
        options: what the user gave.
        clock: whose time it is; None = it cannot be told, so nothing can be said of ages.
        parts: made of the options.

    Returns:
        the findings, and what was read of the cluster (None where it could not be read at all).
    """
    findings = [_error(fault.what, fault.message) for fault in parts.faults]
    if options.mode == "shadow" and options.leader_elect:
        findings.append(
            _warning("leader", "--leader-elect has no part in --shadow, which writes nothing, no Lease either")
        )
    if not options.verify:
        findings.append(
            _warning("graph", "anybody may pose as its server: certificates are not verified; give --ca-file instead")
        )
    findings += _tokens_in_the_open(options, parts)
    if parts.decider is not None:
        findings.append(_ok("policy", _described(options, parts.decider)))
    reachable = False
    if parts.api is not None:
        about_cluster = list(_cluster(parts.api, clock))
        reachable = not any(finding.what == "cluster" and finding.level == "error" for finding in about_cluster)
        findings += about_cluster
    if parts.api is not None and reachable:
        about_permissions = list(_permissions(options, parts.api))
        reachable = not any(finding.what == "cluster" for finding in about_permissions)
        findings += about_permissions
    if any(fault.what == "namespace" for fault in parts.faults):
        return findings, None
    if parts.api is None or clock is None or not reachable:
        findings += _graph_alone(options, clock, parts)
        return findings, None
    reader = ClusterReader(
        parts.api,
        parts.graph or _NoGraph(),
        options.namespace,
        clock,
        deadline_seconds=options.config.read_deadline_seconds,
        graph_window_seconds=options.config.graph_window_seconds,
    )
    snapshot = reader.read()
    reader.close()
    known = " ".join(finding.message for finding in findings)
    findings += _sources(options, parts, snapshot, known)
    findings += _mesh(options, parts, snapshot, findings)
    return findings, snapshot


def _tokens_in_the_open(options: LiveOptions, parts: LiveParts) -> Iterator[Finding]:
    """Credentials that anybody on the way may read, and use."""
    url, source = options.kiali_url or options.prometheus_url or "", "Kiali" if options.kiali_url else "Prometheus"
    if options.token_file is not None and is_readable_on_the_way(url):
        yield _warning(
            "graph",
            f"--kiali-token-file goes to {source} over plain http, for anybody on the way to read; write https:// in its URL, "
            "and give it a token of its own",
        )
    if parts.api is not None and is_readable_on_the_way(parts.api.host) and parts.api.shows_credentials:
        yield _warning(
            "cluster",
            f"the credentials of the kubeconfig go to {parts.api.host} over plain http, for anybody on the way to read; write "
            "https:// in its server",
        )


def _described(options: LiveOptions, decider: Decider) -> str:
    if not options.learned:
        return f"the baseline {options.policy}"
    trained = decider.trained
    return (
        f"{options.run or options.policy}, trained with {trained.max_nodes} slots on means over {trained.graph_window_seconds} s, every "
        f"{trained.decision_seconds} s"
    )


def _error(what: str, message: object) -> Finding:
    return Finding(level="error", what=what, message=_one_line(message))


def _warning(what: str, message: object) -> Finding:
    return Finding(level="warning", what=what, message=_one_line(message))


def _ok(what: str, message: object) -> Finding:
    return Finding(level="ok", what=what, message=_one_line(message))


def _one_line(message: object) -> str:
    """The first of an answer's faults, and how many there are."""
    first, *rest = str(message).splitlines()
    return first.removeprefix(PREFIX) + (f"; and {len(rest)} more of the kind" if rest else "")


def _cluster(api: ClusterApi, clock: Clock | None) -> Iterator[Finding]:
    try:
        version = api.get("/version").get("gitVersion")
        skew = 0.0 if clock is None else api.clock_skew_seconds(clock.now())
    except ClusterError as error:
        yield _error("cluster", error)
        return
    if not isinstance(version, str):
        yield _error("cluster", f"{api.host}/version: names no version; is this the URL of a Kubernetes API server?")
        return
    yield _ok("cluster", f"{api.host}, version {version[:40]}")
    if api.trusts_anybody:
        yield _warning(
            "cluster",
            "anybody may pose as its API server: the kubeconfig has insecure-skip-tls-verify; put the CA there instead",
        )
    if abs(skew) > LARGEST_SKEW_SECONDS:
        yield _error(
            "clock",
            f"this machine is {abs(skew):.0f} s {'ahead of' if skew < 0 else 'behind'} the API server: ages of data and the "
            "Lease cannot be judged; set the clock (NTP), or, for a sandbox, give its --sandbox-url",
        )


def _permissions(options: LiveOptions, api: ClusterApi) -> Iterator[Finding]:
    wanted = wanted_permissions(options.mode, options.namespace, leader_elect=options.leader_elect)
    missing, unsaid = 0, []
    for one in wanted:
        try:
            allowed = api.can_i(one.verb, one.group, one.resource, one.subresource, options.namespace, one.name)
        except ClusterError as error:
            # With credentials that are not accepted, or an API server that fails, every other answer would be this one.
            yield _error("cluster", error)
            return
        if allowed is False:
            missing += 1
            refusal = one.refusal(options.namespace)
            yield _error("permissions", refusal) if one.needed else _warning("permissions", refusal)
        elif allowed is None:
            unsaid.append(str(one))
    if unsaid:
        yield _warning("permissions", f"the API server does not tell whether this account may {', '.join(unsaid)}")
    elif not missing:
        yield _ok("permissions", f"all {len(wanted)} that are used")


def _graph_alone(options: LiveOptions, clock: Clock | None, parts: LiveParts) -> Iterator[Finding]:
    """Whether the source of the graph answers, where the cluster cannot be read."""
    if parts.graph is None:
        return
    source: GraphSource = parts.graph
    try:
        source.fetch_service_graph(
            options.namespace,
            duration_seconds=options.config.graph_window_seconds,
            at_seconds=None if clock is None else clock.now(),
            deadline_seconds=options.config.read_deadline_seconds,
        )
    except KialiError as error:
        yield _error("graph", as_flags(str(error)))
    else:
        yield _ok("graph", "its source answers")


def _sources(options: LiveOptions, parts: LiveParts, snapshot: ClusterSnapshot, known: str) -> Iterator[Finding]:
    unusable: list[str] = []
    for problem in snapshot.problems:
        message = problem.message.removeprefix(f"{problem.source}: ")
        # Told already: as a missing permission, or as a source that could not be made.
        told_before = all(part in known for part in message.split("; "))
        if told_before or (problem.source == "graph" and parts.graph is None):
            continue
        if problem.source == "metrics" and problem.service and not snapshot.usage:
            unusable.append(f"{problem.service}: {message}")
            continue
        fatal = not problem.service and problem.source in FATAL
        what = problem.service or problem.source
        told = as_flags(message if not problem.service else problem.message)
        yield _error(what, told) if fatal else _warning(what, told)
    taken, stale = snapshot.taken_seconds, options.config.stale_after_seconds
    if snapshot.graph is not None:
        age = taken - snapshot.graph.timestamp
        size = f"{len(snapshot.graph.nodes)} nodes, {len(snapshot.graph.edges)} calls, {age:z.0f} s old"
        if not snapshot.graph.edges:
            yield _error("graph", "no calls: is there traffic, and are the pods in the mesh (istio-proxy injected)?")
        elif age > stale:
            yield _error(
                "graph", f"{size}: stale, more than {stale:.0f} s; is Prometheus scraping, and are the clocks right?"
            )
        else:
            yield _ok("graph", size)
    if not snapshot.failed("deployments") and not snapshot.failed("namespace"):
        names = [deployment.name for deployment in snapshot.deployments]
        if names:
            yield _ok("deployments", f"{len(names)}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")
        else:
            yield _error("deployments", f"namespace {snapshot.namespace!r} has none; is it the right --namespace?")
    if snapshot.usage:
        age = taken - max(usage.timestamp_seconds for usage in snapshot.usage)
        size = f"{len(snapshot.usage)} pods, {age:z.0f} s old"
        if age > stale:
            yield _error(
                "metrics", f"{size}: stale, more than {stale:.0f} s; look at metrics-server, and at the clocks"
            )
        else:
            yield _ok("metrics", size)
    elif unusable:
        more = f"; and {len(unusable) - 1} more services" if unusable[1:] else ""
        yield _error("metrics", f"none can be used: {unusable[0]}{more}")
    elif (
        any(one.ready for one in snapshot.deployments)
        and not snapshot.failed("metrics")
        and not snapshot.failed("pods")
    ):
        yield _error(
            "metrics",
            f"none, though pods are ready; look at metrics-server: `kubectl top pods -n {snapshot.namespace}`",
        )


def _mesh(
    options: LiveOptions, parts: LiveParts, snapshot: ClusterSnapshot, before: list[Finding]
) -> Iterator[Finding]:
    """The objective, and what a decision would rest on."""
    slo_ms, stated = ASSUMED_SLO_MS, False
    if not snapshot.failed("namespace") or options.config.slo_ms > 0.0:
        try:
            slo_ms = objective_ms(options, snapshot)
        except LiveSetupError as error:
            yield _error("objective", error)
        else:
            stated = True
            yield _ok("objective", f"P95 {slo_ms:g} ms end to end")
    trained = parts.decider.trained if parts.decider is not None else AutoscalingConfig()
    try:
        reading = sensing_for(options, snapshot, trained, slo_ms).read(snapshot)
    except CapacityExceeded as error:
        yield _error("capacity", error)
        return
    told = {finding.what for finding in before if finding.level == "error"}
    told |= {problem.source for problem in snapshot.problems if not problem.service}
    if "pods" in told:
        # Nobody knows whose pods they are, then.
        told.add("metrics")
    for reason in reading.blocking:
        source, _, rest = reason.partition(": ")
        if rest and source not in told:
            yield _error(source, rest)
    if stated and not reading.blocking:
        yield from _conditions(options, parts.decider, reading)
    yield from _services(options, snapshot, reading)


def _conditions(options: LiveOptions, decider: Decider | None, reading: Reading) -> Iterator[Finding]:
    """What the policy was not trained on, and an objective that it is not for replicas to keep."""
    if decider is not None and decider.agent is not None:
        outside = outside_of_training(decider.trained, options.config, reading)
        if outside:
            yield _warning("policy", told(outside))
    why = unreachable_objective(reading)
    if why is not None:
        yield _warning("objective", why)


def _services(options: LiveOptions, snapshot: ClusterSnapshot, reading: Reading) -> Iterator[Finding]:
    free = 0
    for deployment, service in zip(reading.deployments, reading.mesh.services, strict=False):
        limits = limits_of(deployment.annotations, snapshot.namespace_annotations, options.config.guardrails)
        for problem in limits.problems:
            yield _warning(deployment.name, problem)
        owned = bool(deployment.owner) and not options.for_keda
        if owned:
            yield _warning(
                deployment.name, f"{deployment.owner} scales it: never touched; delete that one to hand it over"
            )
        elif service.outside:
            yield _ok(deployment.name, "sends requests from outside: shown to the policy, never scaled")
        elif service.stateful:
            yield _ok(deployment.name, "stateful (annotation, or reached over tcp alone): never scaled")
        elif limits.paused and not limits.problems:
            yield _ok(deployment.name, "paused by annotation")
        free += not (owned or service.outside or service.stateful or limits.paused or limits.problems)
        if deployment.cpu_request_millicores is None or deployment.cpu_limit_millicores is None:
            yield _warning(
                deployment.name,
                f"states no CPU request or limit; {service.cpu_request_millicores:g} and {service.cpu_limit_millicores:g} "
                "millicores are assumed; set both in its manifest",
            )
    if reading.deployments and not free:
        yield _warning("services", "nothing to scale: each of them is owned, paused or stateful, see above")
    for name in reading.left_out:
        yield _warning(name, "left out: the policy has no slot for it; held")
