"""From a service graph that Kiali measured to a mesh that can be trained on.

Rates become ratios: with lambda[s] the requests/s that reach s, a call s -> t is made R[s, t] / lambda[s] times per
invocation. What comes from outside (unknown sources, ingress, namespaces not asked for, load generators) is the
external traffic; every service it enters at is the root of one request class. Kiali counts edges, not paths, so all
classes share the same ratios.

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

from gnnrl.domains.autoscaling.mesh import Call, Mesh, MeshError, RequestClass, Service
from gnnrl.domains.autoscaling.online_boutique import SIDECAR_MS
from kiali_client import KialiPayloadError, KialiSchemaError, Node, NodeKey, ServiceGraph, parse_graph

__all__ = ["import_kiali", "mesh_from_graph"]

Floats = NDArray[np.float64]

DEFAULT_CPU_MS = 2.5
"""Cost a call where no response time is known: the median of the Online Boutique."""
CPU_MS_BOUNDS = (0.1, 50.0)
MIN_OWN_PART = 0.05
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
    reached = flows.entry + flows.rate.sum(0)
    ratio = flows.rate / np.where(reached > 0, reached, 1.0)[:, None]
    costs, guessed = _cpu_ms(flows, ratio, quantile)
    stateful = flows.tcp.any(0) & (reached == 0)
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
    if stateful.any():
        notes.append(
            f"{_listed(names, stateful)}: reached over tcp alone (no request rate): taken to be stateful, without load"
        )
    if guessed.any():
        notes.append(f"{_listed(names, guessed)}: no response time; CPU cost guessed at {DEFAULT_CPU_MS} ms a call")
    silent = (reached == 0) & ~stateful
    if silent.any():
        notes.append(f"{_listed(names, silent)}: no requests in the period")
    notes.append(f"CPU limits and requests are not in the graph: {LIMIT_MILLICORES:g} and 100 millicores assumed")
    return mesh, notes


@dataclass
class _Flows:
    """Traffic between the services of the mesh to be, and into it; n members."""

    members: list[Node]
    entry: Floats  # [n] requests/s from outside
    rate: Floats  # [n, n] requests/s
    tcp: NDArray[np.bool_]  # [n, n] whether tcp flows
    mtls: Floats  # [n, n] 0-1
    error_share: Floats  # [n, n] 0-1
    latency: Floats  # [n] response time in ms, weighted by the requests that saw it; NaN = not known
    notes: list[str] = field(default_factory=list)


def _flows(graph: ServiceGraph) -> _Flows:
    """Sort nodes into members, outside and service nodes between members; fold the last ones away."""
    incoming = Counter(edge.target for edge in graph.edges if edge.source != edge.target)
    notes: list[str] = []
    members: list[Node] = []
    between: list[Node] = []
    for node in graph.nodes:
        if node.key.kind == "service" and graph.graph_type != "service":
            between.append(node)
        elif LOAD_GENERATOR.search(node.key.name) and not incoming[node.key]:
            notes.append(f"{node.key.name}: taken for the source of external requests, not a service")
        elif node.is_dead:
            notes.append(f"{node.key.name}: left out, it has no pods")
        elif _is_member(node, graph):
            members.append(node)
    place = {node.key: i for i, node in enumerate(members)}
    n = len(members)
    outside, size = n + len(between), n + len(between) + 1
    place |= {node.key: n + i for i, node in enumerate(between)}
    # One matrix over members, service nodes and "outside".
    rate, errors = np.zeros((size, size)), np.zeros((size, size))
    tcp, mtls = np.zeros((size, size), dtype=np.bool_), np.zeros((size, size))
    timed, weight = np.zeros(size), np.zeros(size)
    for edge in graph.edges:
        s, t = place.get(edge.source, outside), place.get(edge.target, outside)
        rate[s, t] += edge.rps
        errors[s, t] += edge.rps * edge.error_share
        tcp[s, t] |= edge.tcp_bytes_per_second > 0
        mtls[s, t] = max(mtls[s, t], edge.mtls_share)
        if edge.response_time_ms is not None:
            seen = edge.rps or 1e-6
            timed[t] += seen * edge.response_time_ms
            weight[t] += seen
    if errors.any() and rate.any():
        share = errors.sum() / rate.sum()
        notes.append(
            f"{100 * share:.1f} % of the measured requests failed; kept as error_share of the calls, which telemetry shows "
            "and the SLO does not count: no replicas mend it"
        )
    sent = rate[:n].sum()
    _fold(rate, errors, tcp, mtls, n, outside)
    left = sent - rate[:n, :n].sum()
    if left > 1e-6 * sent:
        notes.append(f"{left:.4g} requests/s go to external or inaccessible services: left out")
    with np.errstate(invalid="ignore"):
        latency = np.where(weight[:n] > 0, timed[:n] / weight[:n], np.nan)
        failed = np.where(rate > 0, np.clip(errors / rate, 0.0, 1.0), 0.0)[:n, :n]
    return _Flows(members, rate[outside, :n].copy(), rate[:n, :n], tcp[:n, :n], mtls[:n, :n], failed, latency, notes)


def _is_member(node: Node, graph: ServiceGraph) -> bool:
    if graph.graph_type == "service" and node.key.kind == "service":
        return not (node.is_outside or node.is_inaccessible)
    return node.scalable


def _fold(rate: Floats, errors: Floats, tcp: NDArray[np.bool_], mtls: Floats, n: int, outside: int) -> None:
    """Replace each service node k by direct edges: R[s, t] += R[s, k] R[k, t] / sum R[:, k], in place.

    What arrives behind it is kept; where nothing was seen to enter it, its traffic comes from outside. Both sides of a
    service node report the same failed requests: those of a source are spread like those of the targets.
    """
    for k in range(n, outside):
        enters = rate[:, k].sum() - rate[k, k]
        leaves = rate[k].copy()
        leaves[k] = 0.0
        if enters > 0:
            came = rate[:, k].copy()
            came[k] = 0.0
            rate += np.outer(came, leaves / enters)
            errors += _failed(errors[:, k], errors[k], came, leaves, k)
        else:
            rate[outside] += leaves
        tcp |= np.outer(tcp[:, k], tcp[k])
        through = np.minimum.outer(mtls[:, k], mtls[k])
        np.maximum(mtls, np.where(np.outer(rate[:, k] > 0, leaves > 0), through, 0.0), out=mtls)
        rate[k], rate[:, k] = 0.0, 0.0
        errors[k], errors[:, k] = 0.0, 0.0
        tcp[k], tcp[:, k] = False, False


def _failed(entering: Floats, leaving: Floats, came: Floats, leaves: Floats, k: int) -> Floats:
    """Failed requests/s through service node k from each source to each target.

    Whichever side saw none, its failures are spread like its requests.
    """
    entering, leaving = entering.copy(), leaving.copy()
    entering[k] = leaving[k] = 0.0
    seen, passed = entering.sum(), leaving.sum()
    sources = entering if seen > 0 else came * (passed / came.sum())
    targets = leaving / passed if passed > 0 else leaves / max(leaves.sum(), 1e-12)
    return np.outer(sources, targets)


def _enter_at_silent_roots(flows: _Flows) -> None:
    """A service that calls but is not seen to be called serves requests nobody counted.

    Through a gateway every request goes on once, so what leaves it came in; another service is taken to make its most
    frequent call once a request.
    """
    calls = flows.rate.copy()
    np.fill_diagonal(calls, 0.0)
    silent = (flows.entry == 0) & (calls.sum(0) == 0) & (calls.sum(1) > 0)
    for i in np.flatnonzero(silent):
        node = flows.members[i]
        is_gateway = node.is_gateway or bool(GATEWAY.search(node.key.name))
        flows.entry[i] = calls[i].sum() if is_gateway else calls[i].max()
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
    forms = (lambda k: k.name, lambda k: f"{k.name}.{k.namespace}", lambda k: f"{k.name}.{k.namespace}.{k.cluster}")
    names = [""] * len(keys)
    for form in forms:
        counts = Counter(form(key) for key in keys)
        names = [name or (form(key) if counts[form(key)] == 1 else "") for name, key in zip(names, keys, strict=True)]
    return [
        name or f"{key.name}.{key.namespace}.{key.cluster}.{key.kind}" for name, key in zip(names, keys, strict=True)
    ]


def _listed(names: list[str], chosen: NDArray[np.bool_]) -> str:
    return ", ".join(names[i] for i in np.flatnonzero(chosen))
