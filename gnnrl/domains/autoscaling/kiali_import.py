"""From a service graph that Kiali measured to a mesh that can be trained on.

Rates become ratios: with lambda[s] the requests/s that reach s, a call s -> t is made R[s, t] / lambda[s] times per
invocation. What comes from outside (unknown sources, ingress, namespaces not asked for, load generators) is the
external traffic; every service it enters at is the root of one request class. Kiali counts edges, not paths, so all
classes share the same ratios. Nodes that only stand between two services are folded away (`graph_folding.py`).

Failed requests stay with their calls (`Call.error_share`), as errors of the application's own that telemetry shows; those
of external requests belong to no call and are left out.

What a graph cannot say is guessed [cal] and noted: limits and requests are defaults, and CPU costs come from response
times, where there are any. With p[s] the response time of s, its own part is p[s] - sum_t ratio[s, t] p[t] (calls in
sequence), at least `MIN_OWN_PART` of p[s]; read as the same quantile of an exponential time, its mean is own / -ln(1 -
quantile), and the cost that mean times the limit.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.graph_folding import TrafficMatrices
from gnnrl.domains.autoscaling.mesh import Call, Mesh, MeshError, RequestClass, Service
from gnnrl.domains.autoscaling.mesh_checks import LARGEST_VISITS
from gnnrl.domains.autoscaling.online_boutique import SIDECAR_MS
from kiali_client import KialiPayloadError, KialiSchemaError, Node, NodeKey, ServiceGraph, parse_graph

__all__ = ["import_kiali", "mesh_from_graph"]

Floats = NDArray[np.float64]

DEFAULT_CPU_MS = 2.5
"""Cost a call where no response time is known: the median of the Online Boutique."""
CPU_MS_BOUNDS = (0.1, 50.0)
MIN_OWN_PART = 0.05
NOTED_VISITS = 100.0
VAGUE_RPS = 0.05
"""A rate below this is off by up to 10 % or more where it is rounded to 0.01."""
LIMIT_MILLICORES = 200.0
LOAD_GENERATOR = re.compile(r"load-?gen|locust|fortio|^k6\b|^wrk\b", re.IGNORECASE)
GATEWAY = re.compile(r"gateway|ingress", re.IGNORECASE)


def import_kiali(path: str | Path, *, quantile: float | None = 0.95) -> tuple[Mesh, list[str]]:
    """Read a saved graph answer.

    Args:
        path: a JSON file, from any version of Kiali.
        quantile: of the response times, as Kiali was asked for them (default 0.95); None = their mean.

    Returns:
        The mesh, and notes: what was left out or guessed.

    Raises:
        KialiError: the file is no graph answer.
        MeshError: the graph carries no requests, or no mesh can be made of it.
    """
    path = Path(path)
    try:
        graph = parse_graph(path.read_bytes())
    except KialiSchemaError as error:
        raise KialiSchemaError([f"{path}: {problem}" for problem in error.problems]) from error
    except KialiPayloadError as error:
        raise KialiPayloadError(f"{path}: {error}") from error
    try:
        return mesh_from_graph(graph, name=path.stem, quantile=quantile)
    except MeshError as error:
        raise MeshError(path.stem, error.problems, str(path)) from error


def mesh_from_graph(graph: ServiceGraph, *, name: str, quantile: float | None = 0.95) -> tuple[Mesh, list[str]]:
    """As `import_kiali`, from a parsed graph."""
    if quantile is not None and not 0.0 < quantile < 1.0:
        raise MeshError(name, [f"quantile {quantile} is not in (0, 1)"])
    flows = _flows(graph)
    if not flows.members:
        raise MeshError(
            name, ["no workload of the asked-for namespaces is in the graph; ask for others, or for a longer period"]
        )
    _enter_at_silent_roots(flows)
    if not flows.entry.any():
        raise MeshError(name, ["no requests (http or gRPC) in the graph; ask for a longer period, or send some"])
    _check_sources(flows, name)
    names = _unique_names([node.key for node in flows.members])
    _check_quotients(flows, names, name)
    reached = flows.entry + flows.rate.sum(0)
    ratio = flows.rate / np.where(reached > 0, reached, 1.0)[:, None]
    costs, guessed = _cpu_ms(flows, ratio, quantile)
    over_tcp = flows.tcp.any(0) & (reached == 0)
    machines = np.array([node.runs_on_machines for node in flows.members], dtype=np.bool_)
    stateful = over_tcp | machines
    pairs = [(int(s), int(t)) for s, t in np.argwhere((flows.rate > 0) | flows.tcp)]
    calls = tuple(float(ratio[s, t]) for s, t in pairs)
    mesh = Mesh(
        name=name,
        services=tuple(
            Service(
                name=names[i],
                cpu_ms=costs[i],
                cpu_limit_millicores=LIMIT_MILLICORES,
                stateful=bool(stateful[i]),
                base_latency_ms=round(float(SIDECAR_MS), 3),
            )
            for i in range(len(names))
        ),
        calls=tuple(
            Call(
                source=names[s],
                target=names[t],
                mtls=float(flows.mtls[s, t]),
                error_share=round(float(flows.error_share[s, t]), 6),
            )
            for s, t in pairs
        ),
        classes=tuple(
            RequestClass(
                name=f"at-{names[i]}", root=names[i], weight=float(flows.entry[i] / flows.entry.sum()), calls=calls
            )
            for i in np.flatnonzero(flows.entry > 0)
        ),
    )
    notes = flows.notes
    if (chosen := over_tcp & ~machines).any():
        notes.append(
            f"{_listed(names, chosen)}: reached over tcp alone (no request rate): taken to be stateful, without load"
        )
    if machines.any():
        notes.append(
            f"{_listed(names, machines)}: runs on machines of its own (WorkloadEntry, WorkloadGroup or ServiceEntry), which have "
            "no replicas: taken to be stateful"
        )
    if guessed.any():
        notes.append(f"{_listed(names, guessed)}: no response time; CPU cost guessed at {DEFAULT_CPU_MS} ms a call")
    silent = (reached == 0) & ~stateful
    if silent.any():
        notes.append(f"{_listed(names, silent)}: no requests in the period")
    notes.append(
        f"CPU limits and requests are not in the graph: {LIMIT_MILLICORES:g} and 100 millicores assumed; nor is the kind of a "
        "workload: write stateful: true where it is a StatefulSet, a DaemonSet or a Job"
    )
    return mesh, notes


@dataclass
class _Flows:
    """Traffic between the services of the mesh to be, and into it; n members."""

    members: list[Node]
    entry: Floats  # [n] requests/s from outside
    rate: Floats  # [n, n] requests/s
    leaving: Floats  # [n, others] requests/s to what is no member
    called: Floats  # [n] requests/s of its most frequent call, to one service or workload
    tcp: NDArray[np.bool_]  # [n, n] whether tcp flows
    mtls: Floats  # [n, n] 0-1
    error_share: Floats  # [n, n] 0-1
    latency: Floats  # [n] response time in ms, weighted by the requests that saw it; NaN = not known
    notes: list[str] = field(default_factory=list)


def _flows(graph: ServiceGraph) -> _Flows:
    """Sort nodes into members, nodes between members, which are folded away, and others, which are outside."""
    notes: list[str] = []
    members, between = _sorted_nodes(graph, notes)
    taken = {node.key for node in (*members, *between)}
    # Every other end of an edge has a row of its own: calls that leave the mesh are calls to somebody.
    others = dict.fromkeys(key for edge in graph.edges for key in (edge.source, edge.target) if key not in taken)
    place = {key: i for i, key in enumerate((*(node.key for node in (*members, *between)), *others))}
    n = len(members)
    traffic = TrafficMatrices.of(graph.edges, place)
    twofold = np.zeros(len(place), dtype=np.bool_)
    twofold[n : n + len(between)] = [node.key.kind == "aggregate" or node.is_waypoint for node in between]
    traffic.drop_second_reports(twofold)
    if traffic.errors.any():
        share = traffic.errors.sum() / traffic.rate.sum()
        notes.append(
            f"{100 * share:.1f} % of the measured requests failed; kept as error_share of the calls, which telemetry shows "
            "and the SLO does not count: no replicas mend it"
        )
    services = [k for k, node in enumerate(between, n) if node.key.kind == "service" and not node.is_waypoint]
    for k in sorted(set(range(n, n + len(between))) - set(services)):
        traffic.fold(k)
    # A call of a service is one call, however many workloads answer it.
    called = _most_frequent(traffic.rate, n)
    for k in services:
        traffic.fold(k)
    rate = traffic.rate
    called = np.maximum(called, _most_frequent(rate, n))
    leaving = rate[:n, n:].sum()
    if leaving > 1e-6 * rate[:n].sum():
        notes.append(f"{leaving:.4g} requests/s go to external or inaccessible services: left out")
    timed, weight = traffic.timed[:, :n].sum(0), traffic.weight[:, :n].sum(0)
    within = rate[:n, :n]
    return _Flows(
        members,
        entry=rate[n:, :n].sum(0),
        rate=within,
        leaving=rate[:n, n:],
        called=called,
        tcp=traffic.tcp[:n, :n],
        mtls=traffic.mtls[:n, :n],
        error_share=np.divide(traffic.errors[:n, :n], within, out=np.zeros((n, n)), where=within > 0).clip(0.0, 1.0),
        latency=np.divide(timed, weight, out=np.full(n, np.nan), where=weight > 0),
        notes=notes,
    )


def _most_frequent(rate: Floats, n: int) -> Floats:
    """[n] requests/s of the most frequent call that each of the first n nodes makes of another."""
    calls = rate[:n].copy()
    np.fill_diagonal(calls, 0.0)
    return calls.max(axis=1, initial=0.0)


def _sorted_nodes(graph: ServiceGraph, notes: list[str]) -> tuple[list[Node], list[Node]]:
    """(members of the mesh, nodes that only stand between two of them)."""
    called = {edge.target for edge in graph.edges if edge.source != edge.target}
    members: list[Node] = []
    between: list[Node] = []
    for node in graph.nodes:
        is_service = node.key.kind == "service"
        if node.key.kind == "aggregate" or node.is_waypoint or (is_service and graph.graph_type != "service"):
            between.append(node)
        elif LOAD_GENERATOR.search(node.key.name) and node.key not in called:
            notes.append(f"{node.key.name}: taken for the source of external requests, not a service")
        elif node.is_dead and not node.runs_on_machines:
            notes.append(f"{node.key.name}: left out, it has no pods")
        elif node.is_served_here:
            members.append(node)
    return members, between


def _enter_at_silent_roots(flows: _Flows) -> None:
    """A service that calls but is not seen to be called serves requests nobody counted.

    Through a gateway every request goes on once, so what leaves it came in; another service is taken to make its most
    frequent call once a request. Calls that leave the mesh count as any other.
    """
    calls = np.concatenate([flows.rate, flows.leaving], axis=1)
    np.fill_diagonal(calls, 0.0)
    received = calls[:, : len(flows.members)].sum(0)
    silent = (flows.entry == 0) & (received == 0) & (calls.sum(1) > 0)
    for i in np.flatnonzero(silent):
        node = flows.members[i]
        is_gateway = node.is_gateway or bool(GATEWAY.search(node.key.name))
        flows.entry[i] = calls[i].sum() if is_gateway else flows.called[i]
        flows.notes.append(
            f"{node.key.name}: nobody was seen to call it; {flows.entry[i]:g} external requests/s assumed, "
            + ("what it forwards" if is_gateway else "as many as its most frequent call")
        )


def _check_sources(flows: _Flows, name: str) -> None:
    """Requests that circulate without a source would amplify without end."""
    reached = flows.entry > 0
    for _ in flows.members:
        reached = reached | (flows.rate[reached].sum(0) > 0)
    stray = ~reached & (flows.rate.sum(0) > 0)
    if stray.any():
        names = [node.key.name for node in flows.members]
        raise MeshError(
            name,
            [
                f"requests circulate among {_listed(names, stray)} but are not seen to enter anywhere, so that the "
                "cyclic calls amplify without end (spectral radius 1); ask for the namespaces they come from too"
            ],
        )


def _check_quotients(flows: _Flows, names: list[str], mesh_name: str) -> None:
    """Rates are rounded to 0.01/s, so that quotients of small ones say little: a note, or past any that can be an error."""
    reached = flows.entry + flows.rate.sum(0)
    visits = reached / flows.entry.sum()
    remedy = "rates are rounded to 0.01/s: ask for a longer period, or for one with more traffic"
    if (far := visits > LARGEST_VISITS).any():
        raise MeshError(
            mesh_name,
            [
                f"{names[i]}: {visits[i]:.4g} calls a request of {flows.entry.sum():g} requests/s, more than {LARGEST_VISITS:g}; "
                + remedy
                for i in np.flatnonzero(far)
            ],
        )
    flows.notes += [
        f"{names[i]}: {visits[i]:.4g} calls a request; is that so? {remedy}"
        for i in np.flatnonzero(visits > NOTED_VISITS)
    ]
    vague = (reached > 0) & (reached < VAGUE_RPS) & (flows.rate.sum(1) > 0)
    if vague.any():
        flows.notes.append(
            f"{_listed(names, vague)}: reached by less than {VAGUE_RPS:g} requests/s, so that its calls a request are known to more "
            f"than 10 % only; {remedy}"
        )


def _cpu_ms(flows: _Flows, ratio: Floats, quantile: float | None) -> tuple[list[float], NDArray[np.bool_]]:
    """CPU cost a call of each member, and whether it is a mere guess."""
    spread = 1.0 if quantile is None else -math.log(1.0 - quantile)
    known = np.where(np.isnan(flows.latency), 0.0, flows.latency)
    apart = ratio.copy()
    np.fill_diagonal(apart, 0.0)
    own = np.maximum(known - apart @ known, MIN_OWN_PART * known)
    cost = np.clip(own / spread * LIMIT_MILLICORES / 1000.0, *CPU_MS_BOUNDS)
    guessed = np.isnan(flows.latency)
    return [round(float(c), 3) for c in np.where(guessed, DEFAULT_CPU_MS, cost)], guessed


def _unique_names(keys: list[NodeKey]) -> list[str]:
    """The workload's name where that is enough, else with its namespace, else with its cluster too."""
    forms = (
        lambda k: k.name,
        lambda k: f"{k.name}.{k.namespace or 'unknown'}",
        lambda k: f"{k.name}.{k.namespace or 'unknown'}.{k.cluster or 'unknown'}",
    )
    names = [""] * len(keys)
    for form in forms:
        counts = Counter(form(key) for key in keys)
        names = [name or (form(key) if counts[form(key)] == 1 else "") for name, key in zip(names, keys, strict=True)]
    return [name or f"{forms[-1](key)}.{key.kind}" for name, key in zip(names, keys, strict=True)]


def _listed(names: list[str], chosen: NDArray[np.bool_]) -> str:
    return ", ".join(names[i] for i in np.flatnonzero(chosen))
