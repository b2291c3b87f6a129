"""Why a service got its number, for people: what weighed, what was seen, which guardrails acted, in one line.

Works for baselines too, which have inputs and guardrails but no gradient and hence no influences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gnnrl.cluster.guardrails.names import GUARDRAILS
from gnnrl.live.decision import Influence
from graph_space.schema import EDGE_INDEX, EDGE_MASK, GLOBALS, NODES, GraphObservation, GraphSchema

if TYPE_CHECKING:
    from gnnrl.agents.attribution import Attribution

__all__ = ["MAX_REASON", "explain", "influences_of", "inputs_of"]

MAX_REASON: Final = 200
"""Characters of a reason: it stands in Events, whose notes are cut, and in one line of a screen."""
MAX_CAUSE: Final = 100
"""Of them, characters of why there was no decision."""
NAMED: Final = 2
"""Influences named in a reason."""
LEAST_WEIGHT: Final = 0.005
"""Replicas; an influence below it rounds to nothing."""
LEAST_TREND: Final = 0.05
"""CPU limits of one pod; a change below it is called neither rising nor falling."""


def inputs_of(obs: GraphObservation, slot: int, schema: GraphSchema) -> dict[str, float]:
    """The columns of the node in `slot`, then the graph's, by name, as the policy saw them.

    Args:
        obs: one observation, alone or as a batch of one.
        slot: of the service.
        schema: names of the columns.
    """
    nodes, globals_ = obs[NODES], obs[GLOBALS]
    if nodes.ndim == 3:
        nodes, globals_ = nodes[0], globals_[0]
    of_node = zip(schema.names(NODES), nodes[slot].tolist(), strict=True)
    return {**dict(of_node), **dict(zip(schema.names(GLOBALS), globals_.tolist(), strict=True))}


def influences_of(
    attribution: Attribution, obs: GraphObservation, slots: Mapping[str, int], *, limit: int = 5
) -> dict[str, tuple[Influence, ...]]:
    """The services and calls that weighed most on each decided service, largest first.

    A service weighs with what was seen of it and what was remembered of it together; parallel calls of a pair weigh together.

    Args:
        attribution: of the decision, see `agents.attribution.attribute`.
        obs: the observation it was made on, alone or as a batch of one.
        slots: name -> slot of the services.
        limit: influences a service.

    Returns:
        By the names of the decided services.

    Raises:
        ValueError: a decided slot or an end of a call belongs to no name.
    """
    name_of = {slot: name for name, slot in slots.items()}
    ends, edge_mask = obs[EDGE_INDEX], obs[EDGE_MASK]
    if edge_mask.ndim == 2:
        ends, edge_mask = ends[0], edge_mask[0]
    real = edge_mask.nonzero()[0].tolist()
    unnamed = sorted({*attribution.nodes.tolist(), *ends[:, real].ravel().tolist()} - name_of.keys())
    if unnamed:
        raise ValueError(f"slots {unnamed} have no name; give the slots of all services of the observation")
    calls = [(edge, f"{name_of[ends[0, edge].item()]} -> {name_of[ends[1, edge].item()]}") for edge in real]
    found = {}
    for d, slot in enumerate(attribution.nodes.tolist()):
        weights: dict[tuple[str, str], float] = {}
        of_services = attribution.node_weight[d] + attribution.memory_weight[d]
        for name, place in slots.items():
            weights["service", name] = float(of_services[place])
        for edge, name in calls:
            weights["call", name] = weights.get(("call", name), 0.0) + float(attribution.edge_weight[d, edge])
        heavy = [(kind, name, weight) for (kind, name), weight in weights.items() if abs(weight) >= LEAST_WEIGHT]
        heavy.sort(key=lambda one: (-abs(one[2]), one[0], one[1]))
        found[name_of[slot]] = tuple(
            Influence(kind="service" if kind == "service" else "call", name=name, weight=weight)
            for kind, name, weight in heavy[:limit]
        )
    return found


def explain(
    *,
    current: int,
    wish: int,
    final: int,
    inputs: Mapping[str, float],
    guardrails: Sequence[str] = (),
    influences: Sequence[Influence] = (),
    grounds: Sequence[str] | None = None,
    undecided: str = "",
) -> str:
    """One line, at most `MAX_REASON` characters: the change; what was seen; what weighed; what the guardrails did.

    The same arguments give the same line. Where it would be too long, the meaning of the guardrail goes first (of a held
    service: the lesser influence), then what weighed, then what was seen, from its end; the change and the names of the guardrails
    stay longest.

    Args:
        current: replicas there are.
        wish: replicas wanted.
        final: replicas after the guardrails.
        inputs: columns by name, as `inputs_of` gives them; those that are absent or not finite are not spoken of.
        grounds: what a rule's decision rests on, in its own words, spoken of instead of the inputs; None = a policy decided, which
            read them all.
        guardrails: names of those that acted, in order.
        influences: largest first.
        undecided: why nobody decided in this interval; empty = somebody did.
    """
    seen, change = _seen(inputs) if grounds is None else list(grounds), _change(current, wish, final)
    if undecided:
        shortened = undecided if len(undecided) <= MAX_CAUSE else undecided[: MAX_CAUSE - 3] + "..."
        seen = [f"no decision ({shortened})", *seen]
    meant, named = _guarded(current, wish, final, guardrails)
    tries = [(words, count) for words in (meant, named) for count in range(NAMED, 0, -1)]
    if final != current:
        # What moved a service matters more than what kept it from moving further.
        tries.sort(key=lambda one: one[1], reverse=True)
    lines = [_line(change, seen, _weighed(influences[:count]), words) for words, count in tries]
    lines += [_line(change, seen[:count], "", named) for count in range(len(seen), -1, -1)]
    return next((line for line in lines if len(line) <= MAX_REASON), lines[-1][: MAX_REASON - 3] + "...")


def _line(change: str, seen: Sequence[str], weighed: str, guarded: str) -> str:
    details = "; ".join(part for part in (", ".join(seen), weighed, guarded) if part)
    return f"{change}: {details}" if details else change


def _change(current: int, wish: int, final: int) -> str:
    wanted = "" if wish == final else f" (wanted {wish})"
    if final == current:
        return f"hold {current}{wanted}"
    return f"{'raise' if final > current else 'lower'} {current} -> {final}{wanted}"


def _seen(inputs: Mapping[str, float]) -> list[str]:
    known = {name: value for name, value in inputs.items() if math.isfinite(value)}
    replicas = known.get("ready", known.get("pods", 0.0))
    on = f" on {replicas:.0f}" if "ready" in known or "pods" in known else ""
    said = []
    # `busy_replicas` is CPU in limits of one pod; told as a share of the limits there are, so that nobody takes it for replicas to be had.
    if "busy_replicas" in known and replicas > 0.0:
        said.append(f"CPU {100.0 * known['busy_replicas'] / replicas:.0f} % of the limits{on}")
    elif "cpu_millicores" in known:
        said.append(f"CPU {known['cpu_millicores']:.0f} m{on}")
    trend = known.get("busy_trend", 0.0)
    if abs(trend) >= LEAST_TREND and replicas > 0.0:
        said.append(f"{'rising' if trend > 0.0 else 'falling'} ({100.0 * trend / replicas:+.0f} %)")
    if "busy_replicas" not in known and "rps_in" in known:
        said.append(f"{_number(known['rps_in'])} requests/s")
    said += _latency(known)
    if known.get("error_share", 0.0) >= 0.005:
        said.append(f"{known['error_share']:.0%} errors".replace("%", " %"))
    if known.get("starting", 0.0) >= 0.5:
        said.append(f"{known['starting']:.0f} starting")
    return said


def _latency(known: Mapping[str, float]) -> list[str]:
    """End to end against its objective; without one, the service's own."""
    if known.get("slo_seconds", 0.0) > 0.0 and "latency_p95_over_slo" in known:
        slo_ms, ratio = 1000.0 * known["slo_seconds"], known["latency_p95_over_slo"]
        at_least = "at least " if ratio >= 2.0 else ""  # the observation shows twice the objective at most
        return [f"P95 {at_least}{ratio * slo_ms:.0f} of {slo_ms:.0f} ms"]
    return [f"P95 {known['p95_ms']:.0f} ms"] if known.get("p95_ms", 0.0) > 0.0 else []


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"


def _weighed(influences: Sequence[Influence]) -> str:
    return f"{' and '.join(influence.name for influence in influences)} weighed most" if influences else ""


def _guarded(current: int, wish: int, final: int, guardrails: Sequence[str]) -> tuple[str, str]:
    """What the guardrails did, with what the last of them means, and without."""
    if not guardrails:
        return "", ""
    if final == current:
        did = "held by"
    elif final == wish:
        did = "passed"
    elif (final > current) == (final < wish):
        did = "limited by"
    else:
        did = "raised by" if final > wish else "lowered by"
    named = f"{did} {', '.join(guardrails)}"
    # The screen says "held" already: a meaning keeps its cause alone.
    meaning, _, _ = GUARDRAILS.get(guardrails[-1], "").partition(": ")
    return (f"{named} ({meaning})" if meaning else named), named
