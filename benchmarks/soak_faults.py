"""What goes wrong in a soak, and when: the sandbox's random plan, and graphs that lie without an error."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any, Literal
from urllib.parse import parse_qs

from gnnrl.cluster.clock import Clock, SteppedClock
from gnnrl.live.sandbox.faults import FaultPlan, FaultSpec, FaultTarget, every_fault
from gnnrl.live.sandbox.http_server import Fault, FaultHook, Request, Response

__all__ = ["BRIEF_INTERVALS", "LIES", "Lie", "LieKind", "Lies", "brief_plan", "random_plan"]

LieKind = Literal["frozen", "silent", "partial", "foreign"]
"""`frozen`: the rates are those of the first request in the lie, the time is right; `silent`: the calls are there, without requests;
`partial`: half of the calls are not there; `foreign`: every workload has another name, as of another cluster."""
LIES: tuple[LieKind, ...] = ("frozen", "silent", "partial", "foreign")
GRAPH_TARGETS: tuple[FaultTarget, ...] = ("kiali", "prometheus")
WARM_UP_SECONDS = 240.0
BRIEF_FAULT_SECONDS, BRIEF_PAUSE_SECONDS, BRIEF_LONG_SECONDS = 30.0, 45.0, 150.0
BRIEF_INTERVALS = 284
"""How long `brief_plan` lasts."""
LATE_SHARE = 3
"""Of the latencies every third is longer than the loop waits."""
LIE_EVERY = 7
"""Between so many faults of a random plan there is a lie."""


@dataclass(frozen=True, kw_only=True)
class Lie:
    """A graph source that answers in time and in form, and wrongly."""

    target: FaultTarget
    kind: LieKind
    start: float
    """Seconds after the sandbox's start."""
    end: float


class Lies:
    """Tells the lies at their times, in front of a server's own faults.

    Args:
        clock: whose time it is.
        origin_seconds: unix seconds of the sandbox's start.
        lies: what is told, and when.
    """

    def __init__(self, clock: Clock, origin_seconds: float, lies: tuple[Lie, ...]) -> None:
        self.lies = lies
        self._clock, self._origin = clock, origin_seconds
        self._lock = threading.Lock()
        self._first: dict[tuple[Lie, str], Any] = {}

    def active(self, target: FaultTarget) -> Lie | None:
        """What is told now."""
        now = self._clock.now() - self._origin
        return next((lie for lie in self.lies if lie.target == target and lie.start <= now < lie.end), None)

    def in_front_of(self, target: FaultTarget, hook: FaultHook) -> FaultHook:
        """The hook with the lies in front."""

        def fault(server: str, method: str, path: str) -> Fault | None:
            lie = self.active(target)
            if lie is None or not path.endswith(("/api/namespaces/graph", "/api/v1/query")):
                return hook(server, method, path)

            def rewrite(request: Request, response: Response) -> Response:
                if response.status != 200 or response.content_type != "application/json":
                    return response
                return replace(response, body=json.dumps(self._told(lie, request, json.loads(response.body))).encode())

            return Fault(rewrite=rewrite)

        return fault

    def _told(self, lie: Lie, request: Request, content: Any) -> Any:
        if lie.kind == "frozen":
            asked = {**request.query, **parse_qs(request.body.decode())}
            question = repr(sorted((name, value) for name, value in asked.items() if name not in ("time", "queryTime")))
            with self._lock:
                first = copy.deepcopy(self._first.setdefault((lie, question), copy.deepcopy(content)))
            return _dated(first, content)
        change = _KIALI[lie.kind] if lie.target == "kiali" else _PROMETHEUS[lie.kind]
        change(content)
        return content


def _dated(old: Any, new: Any) -> Any:
    if "timestamp" in old:
        old["timestamp"] = new["timestamp"]
    else:
        stamps = [result["value"][0] for result in new["data"]["result"]]
        for result in old["data"]["result"] if stamps else ():
            result["value"][0] = stamps[0]
    return old


def _silent_graph(content: Any) -> None:
    for edge in content["elements"]["edges"]:
        traffic = edge["data"]["traffic"]
        traffic.get("rates", {}).clear()


def _partial_graph(content: Any) -> None:
    content["elements"]["edges"] = content["elements"]["edges"][::2]


def _foreign_graph(content: Any) -> None:
    for node in content["elements"]["nodes"]:
        for name in ("workload", "app"):
            if name in node["data"]:
                node["data"][name] += "-elsewhere"


def _silent_vector(content: Any) -> None:
    for result in content["data"]["result"]:
        result["value"][1] = "0"


def _partial_vector(content: Any) -> None:
    content["data"]["result"] = content["data"]["result"][::2]


def _foreign_vector(content: Any) -> None:
    for result in content["data"]["result"]:
        for name in ("source_workload", "destination_workload"):
            if name in result["metric"]:
                result["metric"][name] += "-elsewhere"


_Change = Callable[[Any], None]
_KIALI: dict[str, _Change] = {"silent": _silent_graph, "partial": _partial_graph, "foreign": _foreign_graph}
_PROMETHEUS: dict[str, _Change] = {"silent": _silent_vector, "partial": _partial_vector, "foreign": _foreign_vector}


def random_plan(seed: int, seconds: float, late_seconds: float) -> tuple[tuple[FaultSpec, ...], tuple[Lie, ...]]:
    """The faults of `FaultPlan.random` with every kind, some latencies made `late_seconds` long; and now and then a lie between two."""
    specs: list[FaultSpec] = []
    lies: list[Lie] = []
    # Each lie takes its time from the plan: what follows is that much later.
    shift, latencies = WARM_UP_SECONDS, 0
    for i, spec in enumerate(FaultPlan.random(SteppedClock(), seed, seconds, every_kind=True).specs):
        if i and i % LIE_EVERY == 0:
            start = spec.start + shift
            lies.append(
                Lie(
                    target=GRAPH_TARGETS[len(lies) % 2],
                    kind=LIES[len(lies) // 2 % len(LIES)],
                    start=start,
                    end=start + 15.0 * (3 + len(lies) % 8),
                )
            )
            shift += lies[-1].end - start + 60.0
        value = spec.value
        if spec.kind == "latency":
            latencies += 1
            value = late_seconds if latencies % LATE_SHARE == 0 else value
        specs.append(replace(spec, start=spec.start + shift, end=spec.end + shift, value=value))
    return tuple(s for s in specs if s.end < seconds), tuple(lie for lie in lies if lie.end < seconds)


def brief_plan(late_seconds: float) -> tuple[tuple[FaultSpec, ...], tuple[Lie, ...]]:
    """Every fault once for two intervals, the stale and the lies for ten, in 284 intervals."""
    second, latencies = WARM_UP_SECONDS, 0
    specs: list[FaultSpec] = []
    lies: list[Lie] = []
    for target, kind in every_fault():
        end = second + (BRIEF_LONG_SECONDS if kind == "stale" else BRIEF_FAULT_SECONDS)
        value = {"latency": 0.02, "clock_skew": 600.0 if target == "kiali" else -600.0}.get(kind)
        if kind == "latency":
            latencies += 1
            value = late_seconds if latencies % LATE_SHARE == 2 else value
        specs.append(FaultSpec(target=target, kind=kind, start=second, end=end, value=value))
        second = end + BRIEF_PAUSE_SECONDS
    for target, lie in product(GRAPH_TARGETS, LIES):
        end = second + BRIEF_LONG_SECONDS / (1 if lie == "frozen" else 3)
        lies.append(Lie(target=target, kind=lie, start=second, end=end))
        second = end + BRIEF_PAUSE_SECONDS
    turns: list[FaultSpec | Lie] = [*specs, *lies]
    assert all(a.end < b.start for a, b in pairwise(turns)), "one after the other"
    return tuple(specs), tuple(lies)
