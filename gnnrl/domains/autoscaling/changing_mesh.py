"""The topology of a mesh between two changes: what an event hits, and the services that have come but do not yet have their calls.

Everything here is a pure function, so that a checkpoint holds a log of what happened instead of meshes. Services at which requests enter
and stateful services are never the target of a drawn event, and a mesh keeps `MIN_SERVICES` services.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from gnnrl.domains.autoscaling.churn import (
    MIN_SERVICES,
    ChurnEvent,
    add_dependency,
    add_version,
    remove_call,
    remove_service,
    rename_service,
)
from gnnrl.domains.autoscaling.mesh import Mesh, Service

__all__ = ["Change", "ChangingMesh", "Crash", "LostCall", "LostService", "Newcomer", "Rollout", "draw_change"]


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """A service that comes."""

    kind: Literal["canary", "dependency", "successor"]
    """A second version of a service, one more that it calls, or the same service under another name."""
    follows: str
    """The service that it is a version of, that calls it, or whose place it takes."""
    service: Service
    share: float
    """Of the calls to `follows` (canary, successor), or calls per invocation of it (dependency)."""

    def start_replicas(self, following: int) -> int:
        """Replicas that it comes with, where the service that it follows has `following`: as many, a canary its share of them."""
        return max(1, math.ceil(self.share * following - 1e-9) if self.kind == "canary" else following)

    def joined(self, mesh: Mesh, moved: float) -> Mesh:
        """The mesh with it, `moved` (0 to 1) of its calls being made to it; whom it replaces goes with the last of them."""
        if moved <= 0.0:
            return replace(mesh, services=(*mesh.services, self.service))
        if self.kind == "dependency":
            return add_dependency(mesh, self.follows, self.service, moved * self.share)
        if self.kind == "successor" and moved >= 1.0:
            renamed = rename_service(mesh, self.follows, self.service.name)
            services = (self.service if one.name == self.service.name else one for one in renamed.services)
            return replace(renamed, services=tuple(services))
        return add_version(mesh, self.follows, self.service, min(moved, 1.0) * self.share)

    def calls_among(self, calls: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """The calls (source, target) while some of its own are made to it, given those without it."""
        name = self.service.name
        if self.kind == "dependency":
            return calls | {(self.follows, name)}

        def versions(end: str) -> tuple[str, ...]:
            return (end, name) if end == self.follows else (end,)

        return {(s, t) for source, target in calls for s in versions(source) for t in versions(target)}


@dataclass(frozen=True, kw_only=True)
class LostService:
    """A service that goes."""

    name: str
    heir: str | None
    """Who has its calls then; None = they end."""


@dataclass(frozen=True, kw_only=True)
class LostCall:
    """A call that is no longer made."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A ready pod dies."""

    service: str


Change = Newcomer | LostService | LostCall | Crash


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A service that stands there and does not yet have all its calls."""

    event: int
    """Number of its event within the episode."""
    newcomer: Newcomer
    moved: float = 0.0
    """Share of its calls that are made to it."""


@dataclass(frozen=True, kw_only=True)
class ChangingMesh:
    """A mesh and the rollouts that are under way in it."""

    settled: Mesh
    """As if nobody had come since the last rollout that was finished."""
    rollouts: tuple[Rollout, ...] = ()
    """By the time of their events."""

    @cached_property
    def mesh(self) -> Mesh:
        """As it stands."""
        mesh = self.settled
        for rollout in self.rollouts:
            mesh = rollout.newcomer.joined(mesh, rollout.moved)
        return mesh

    def fits(self, max_services: int, max_calls: int) -> bool:
        """Whether these capacities hold it now and at any later moment of its rollouts."""
        calls = {(call.source, call.target) for call in self.settled.calls}
        for rollout in self.rollouts:
            calls = rollout.newcomer.calls_among(calls)
        return len(self.settled.services) + len(self.rollouts) <= max_services and len(calls) <= max_calls

    def after(self, change: Change, event: int, *, gated: bool) -> ChangingMesh:
        """After a change that `draw_change` drew from it for event number `event`.

        A rollout ends without a trace where the service that it follows goes. A newcomer has no call yet if `gated`, else all of them.
        """
        match change:
            case Newcomer():
                if gated:
                    return replace(self, rollouts=(*self.rollouts, Rollout(event=event, newcomer=change)))
                return replace(self, settled=change.joined(self.settled, 1.0))
            case LostService(name=name, heir=heir):
                kept = tuple(rollout for rollout in self.rollouts if rollout.newcomer.follows != name)
                return ChangingMesh(settled=remove_service(self.settled, name, heir), rollouts=kept)
            case LostCall(source=source, target=target):
                return replace(self, settled=remove_call(self.settled, source, target))
            case Crash():
                return self

    def moved(self, event: int, share: float) -> ChangingMesh:
        """With `share` of its calls made to the newcomer of event number `event`; 1 ends the rollout."""
        (rollout,) = (one for one in self.rollouts if one.event == event)
        if share < 1.0:
            shifted = replace(rollout, moved=share)
            return replace(self, rollouts=tuple(shifted if one is rollout else one for one in self.rollouts))
        newcomer = rollout.newcomer
        others = tuple(one for one in self.rollouts if one is not rollout)
        if newcomer.kind == "successor":
            others = tuple(_following(one, newcomer.follows, newcomer.service.name) for one in others)
        return ChangingMesh(settled=newcomer.joined(self.settled, 1.0), rollouts=others)


def draw_change(topology: ChangingMesh, event: ChurnEvent) -> Change | None:
    """What an event does to this topology; None where there is nothing it may hit. Equal arguments, equal answers.

    Services whose rollouts are under way are not hit; those that they follow may be.
    """
    rng = np.random.default_rng(event.draw)
    mesh = topology.settled
    roots = {request.root for request in mesh.classes}
    scalable = [service.name for service in mesh.services if not service.stateful]
    inner = [name for name in scalable if name not in roots]
    taken = {*mesh.names, *(rollout.newcomer.service.name for rollout in topology.rollouts)}
    if event.kind == "pod_crashed" and scalable:
        return Crash(service=_pick(scalable, rng))
    if event.kind == "service_added":
        return _draw_addition(mesh, inner, taken, rng)
    if event.kind == "service_removed" and inner and len(mesh.services) > MIN_SERVICES:
        name = _pick(inner, rng)
        stem = _stem(name)
        return LostService(name=name, heir=stem if stem != name and stem in mesh.names else None)
    if event.kind == "service_renamed" and inner:
        name = _pick(inner, rng)
        successor = replace(mesh.services[mesh.index(name)], name=_fresh_name(taken, _stem(name), "r"))
        return Newcomer(kind="successor", follows=name, service=successor, share=1.0)
    if event.kind == "call_removed" and mesh.calls:
        call = mesh.calls[int(rng.integers(len(mesh.calls)))]
        return LostCall(source=call.source, target=call.target)
    return None


def _draw_addition(mesh: Mesh, inner: list[str], taken: Collection[str], rng: np.random.Generator) -> Newcomer:
    """A canary of an inner service, or (as often, and always where there is none) a new dependency of any service."""
    if inner and rng.random() < 0.5:
        name = _pick(inner, rng)
        original = mesh.services[mesh.index(name)]
        share, cpu_factor = float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.8, 1.25))
        canary = replace(original, name=_fresh_name(taken, _stem(name), "v"), cpu_ms=original.cpu_ms * cpu_factor)
        return Newcomer(kind="canary", follows=name, service=canary, share=share)
    caller = _pick([service.name for service in mesh.services if not service.stateful] or list(mesh.names), rng)
    addition = Service(
        name=_fresh_name(taken, f"{_stem(caller)}-extra", "v"),
        cpu_ms=float(np.clip(np.exp(rng.normal(np.log(2.0), 0.6)), 0.3, 8.0)),
        base_latency_ms=mesh.services[mesh.index(caller)].base_latency_ms,
    )
    return Newcomer(kind="dependency", follows=caller, service=addition, share=float(rng.uniform(0.2, 1.0)))


def _following(rollout: Rollout, old: str, new: str) -> Rollout:
    """The rollout after the service that it may follow has another name."""
    if rollout.newcomer.follows != old:
        return rollout
    return replace(rollout, newcomer=replace(rollout.newcomer, follows=new))


def _pick(names: list[str], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]


def _stem(name: str) -> str:
    """The name without its version or generation."""
    return re.sub(r"-[vr]\d+$", "", name)


def _fresh_name(taken: Collection[str], stem: str, letter: str) -> str:
    number = 2
    while f"{stem}-{letter}{number}" in taken:
        number += 1
    return f"{stem}-{letter}{number}"
