"""Random meshes with the structure that production call graphs have.

Services stand in layers: a few gateways, services in between, and back ends that many share. Calls go to deeper layers,
mostly the next one, and prefer what is already called often, so that fan-in is heavy-tailed and depth stays small (Luo
et al., SoCC 2021: call graphs are shallow trees with a few hot shared services). Nearly all services are stateless.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.mesh import Call, Mesh, MeshError, RequestClass, Service, hottest_ratio
from gnnrl.domains.autoscaling.online_boutique import SIDECAR_MS
from gnnrl.domains.autoscaling.traffic import call_matrices, spectral_radius

__all__ = ["random_mesh"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_SERVICES = 1000
MAX_VISITS = 30.0
"""Invocations one request causes at most, on average; those of the Online Boutique cause 2 to 33."""
STATEFUL_SHARE = 1.0 / 40.0
"""Load of a stateful service's pod as a share of the hottest scalable service's: 0.4 while that one runs 20 pods at
0.8."""
MAX_CYCLE_RADIUS = 0.7


def random_mesh(
    services: int,
    seed: int,
    *,
    classes: int | None = None,
    max_depth: int = 6,
    cycles: int = 0,
    stateful_share: float = 0.08,
) -> Mesh:
    """Draw a mesh; the same arguments give the same mesh.

    Args:
        services: how many, 2..1000.
        seed: of the draw.
        classes: request classes; None = 1..6 at random.
        max_depth: layers at most, gateways included.
        cycles: calls back to a shallower layer to add (a retry, a callback), each with a ratio well below 1.
        stateful_share: probability that a service of the deepest layers is stateful.

    Raises:
        MeshError: an argument out of range.
    """
    name = f"random_{services}_{seed}"
    problems = []
    if not 2 <= services <= MAX_SERVICES:
        problems.append(f"services {services} is not in 2..{MAX_SERVICES}")
    if classes is not None and classes < 1:
        problems.append(f"classes {classes} is not at least 1")
    if max_depth < 2:
        problems.append(f"max_depth {max_depth} is not at least 2")
    if cycles < 0:
        problems.append(f"cycles {cycles} is negative")
    if not 0.0 <= stateful_share <= 1.0:
        problems.append(f"stateful_share {stateful_share} is not in [0, 1]")
    if problems:
        raise MeshError(name, problems)
    rng = np.random.default_rng([seed, services])
    n_classes = int(rng.integers(1, 7)) if classes is None else classes
    layer = _layers(services, n_classes, max_depth, rng)
    source, target = _calls(layer, rng)
    root = np.resize(rng.permutation(np.flatnonzero(layer == 0)), n_classes)
    ratio = _ratios(layer, source, target, root, rng)
    if cycles > len(source):
        raise MeshError(name, [f"cycles {cycles} is more than its {len(source)} calls can turn back"])
    source, target, ratio = _with_cycles(services, source, target, ratio, cycles, rng)
    nodes = _services(layer, target[np.isin(target, source, invert=True)], stateful_share, rng)
    weight = rng.dirichlet(np.full(n_classes, 2.0))
    mesh = Mesh(
        name=name,
        services=nodes,
        calls=tuple(Call(source=nodes[s].name, target=nodes[t].name) for s, t in zip(source, target, strict=True)),
        classes=tuple(
            RequestClass(
                name=f"class-{c}", root=nodes[root[c]].name, weight=float(weight[c]), calls=tuple(ratio[c].tolist())
            )
            for c in range(n_classes)
        ),
    )
    return _size_stateful(mesh)


def _layers(services: int, n_classes: int, max_depth: int, rng: np.random.Generator) -> Ints:
    """Layer of each service, sorted, every layer inhabited; layer 0 are the gateways, no more than there are
    classes."""
    depth = min(max_depth, services, 2 + int(math.log(services, 3.5)))
    gateways = min(n_classes, max(1, round(services * rng.uniform(0.02, 0.08))), services - depth + 1)
    spare = services - gateways - (depth - 1)
    extra = rng.choice(depth - 1, size=spare, p=rng.dirichlet(np.full(depth - 1, 4.0)))
    deeper = 1 + np.concatenate([np.arange(depth - 1), extra])
    return np.sort(np.concatenate([np.zeros(gateways, dtype=np.int64), deeper]))


def _calls(layer: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Calls to deeper layers, ordered by source: one to every service that is no gateway, and 0.3-0.6 a service
    more."""
    n = len(layer)
    fan_out, fan_in = np.ones(n), np.ones(n)
    pairs: set[tuple[int, int]] = set()
    for t in np.flatnonzero(layer > 0).tolist():
        # Mostly the layer above; callers that already call much call more.
        appeal = np.where(layer < layer[t], fan_out * 4.0 ** (layer - layer[t] + 1.0), 0.0)
        s = int(rng.choice(n, p=appeal / appeal.sum()))
        pairs.add((s, t))
        fan_out[s] += 1.0
        fan_in[t] += 1.0
    callers = np.flatnonzero(layer < layer[-1])
    for _ in range(round(n * rng.uniform(0.3, 0.6))):
        s = int(rng.choice(callers, p=fan_out[callers] / fan_out[callers].sum()))
        appeal = np.where(layer > layer[s], fan_in**1.5, 0.0)
        t = int(rng.choice(n, p=appeal / appeal.sum()))
        if (s, t) not in pairs:
            pairs.add((s, t))
            fan_out[s] += 1.0
            fan_in[t] += 1.0
    ordered = np.array(sorted(pairs), dtype=np.int64)
    return ordered[:, 0], ordered[:, 1]


def _ratios(layer: Ints, source: Ints, target: Ints, root: Ints, rng: np.random.Generator) -> Floats:
    """Calls per invocation, [C, E]: a class makes some of the calls, every call is made by some class that gets
    there."""
    n_classes, n_calls = len(root), len(source)
    number = rng.choice([0.0, 1.0, 2.0], size=n_calls, p=[0.25, 0.5, 0.25])
    number = np.where(number == 0.0, rng.uniform(0.2, 0.9, n_calls), number)
    number = np.where(number == 2.0, np.minimum(1.0 + rng.geometric(0.4, n_calls), 10.0), number)
    made = rng.random((n_classes, n_calls)) < rng.uniform(0.4, 0.8)
    reached = np.zeros((n_classes, len(layer)), dtype=np.bool_)
    reached[np.arange(n_classes), root] = True
    # Sources come in the order of their layers, so that whoever makes a call is known to be reached or not by then.
    for e in range(n_calls):
        able = np.flatnonzero(reached[:, source[e]])
        if able.size and not made[able, e].any():
            made[rng.choice(able), e] = True
        reached[:, target[e]] |= reached[:, source[e]] & made[:, e]
    ratio = np.where(made & reached[:, source], number, 0.0)
    for c in range(n_classes):
        while _visits(ratio[c], source, target, int(root[c]), len(layer)).sum() > MAX_VISITS:
            ratio[c] *= 0.85
    return ratio


def _visits(ratio: Floats, source: Ints, target: Ints, root: int, n: int) -> Floats:
    """Invocations per request in a graph without cycles whose calls come in topological order; [S]."""
    visits = [0.0] * n
    visits[root] = 1.0
    for s, t, calls in zip(source.tolist(), target.tolist(), ratio.tolist(), strict=True):
        visits[t] += visits[s] * calls
    return np.array(visits)


def _with_cycles(
    n: int, source: Ints, target: Ints, ratio: Floats, cycles: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Floats]:
    """Add calls that turn back along a call, or to the service itself; together they stay below `MAX_CYCLE_RADIUS`."""
    if cycles == 0:
        return source, target, ratio
    turned = rng.choice(len(source), size=cycles, replace=False)
    to_self = rng.random(cycles) < 0.3
    back_source = target[turned]
    back_target = np.where(to_self, back_source, source[turned])
    pairs, first = np.unique(np.stack([back_source, back_target], axis=1), axis=0, return_index=True)
    back = rng.uniform(0.1, 0.4, size=len(pairs)) * (ratio[:, turned[first]] > 0)
    source, target = np.concatenate([source, pairs[:, 0]]), np.concatenate([target, pairs[:, 1]])
    while True:
        whole = np.concatenate([ratio, back], axis=1)
        radius = max(spectral_radius(matrix) for matrix in call_matrices(n, source, target, whole))
        if radius < MAX_CYCLE_RADIUS:
            return source, target, whole
        back = back * 0.5


def _services(layer: Ints, leaves: Ints, stateful_share: float, rng: np.random.Generator) -> tuple[Service, ...]:
    """Costs, limits and start-up times, each drawn around those of the Online Boutique."""
    n = len(layer)
    cost = np.clip(np.exp(rng.normal(np.log(2.5), 0.8, n)), 0.3, 20.0)
    limit = rng.choice([100.0, 200.0, 300.0, 500.0], size=n, p=[0.15, 0.5, 0.2, 0.15])
    memory = rng.choice([64.0, 128.0, 256.0, 512.0], size=n, p=[0.4, 0.3, 0.2, 0.1])
    startup = np.clip(np.exp(rng.normal(np.log(25.0), 0.4, n)), 8.0, 60.0)
    leaf = np.zeros(n, dtype=np.bool_)
    leaf[leaves] = True
    stateful = leaf & (rng.random(n) < stateful_share)
    optional = leaf & ~stateful & (rng.random(n) < 0.1)
    services = []
    for i in range(n):
        kind = "gateway" if layer[i] == 0 else "store" if stateful[i] else "service"
        own_ms = float(1000.0 * cost[i] / limit[i])
        services.append(
            Service(
                name=f"{kind}-{i}",
                cpu_ms=round(float(cost[i]), 3),
                cpu_request_millicores=float(limit[i]) / 2,
                cpu_limit_millicores=float(limit[i]),
                memory_request_mib=float(memory[i]),
                memory_limit_mib=2.0 * float(memory[i]),
                startup_seconds=round(float(startup[i]), 1),
                stateful=bool(stateful[i]),
                timeout_ms=round(max(100.0, 8.0 * own_ms), 0) if optional[i] else None,
                fatal=not bool(optional[i]),
                base_latency_ms=round(float(SIDECAR_MS), 3),
            )
        )
    return tuple(services)


def _size_stateful(mesh: Mesh) -> Mesh:
    """Give every stateful service a pod large enough that scaling the others never drowns it, as an operator would."""
    arrays = mesh.arrays()
    if not arrays.stateful.any() or arrays.stateful.all():
        return mesh
    needed = arrays.mean_visits * arrays.cpu_ms / (STATEFUL_SHARE * hottest_ratio(mesh))
    return replace(
        mesh,
        services=tuple(
            replace(service, cpu_limit_millicores=math.ceil(limit / 50.0) * 50.0)
            if service.stateful and limit > service.cpu_limit_millicores
            else service
            for service, limit in zip(mesh.services, needed.tolist(), strict=True)
        ),
    )
