"""What goes wrong in the sandbox, and when: a plan of faults by target, kind and time, asked before each request.

A fault is written `target:kind:start:end[:value][@path]`, in seconds after the sandbox's start: `kiali:stale:120:180`,
`kubernetes:latency:0:60:0.5@/scale`. What each kind does:

    latency        answers come `value` machine seconds later (default 1)
    http_500, http_503    the API's own error answer
    refuse         connections are refused, open ones reset
    cut            half an answer, then the connection is closed
    stale          the graph, the metrics or the query's answer are those of the first request in the fault
    empty          a graph without nodes, no pod metrics, a query without results
    nan            a rate or a quantity is NaN
    conflict       409 on every write of `/scale` (Kubernetes only)
    expired_token  401 wherever a token is asked for
    html           a web page instead of JSON, with status 200
    schema         JSON of another shape
    clock_skew     timestamps are off by `value` seconds (default 300)
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Literal, get_args

import numpy as np

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.fault_answers import FrozenAnswers, error_fault, rewrite_of
from gnnrl.live.sandbox.http_server import Fault, FaultHook, Request, Response

__all__ = ["KINDS", "TARGETS", "FaultError", "FaultKind", "FaultPlan", "FaultSpec", "FaultTarget", "every_fault"]

FaultTarget = Literal["kubernetes", "kiali", "prometheus"]
FaultKind = Literal[
    "latency", "http_500", "http_503", "refuse", "cut", "stale", "empty", "nan", "conflict", "expired_token", "html",
    "schema", "clock_skew",
]  # fmt: skip
TARGETS: tuple[FaultTarget, ...] = get_args(FaultTarget)
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
DEFAULT_VALUE = {"latency": 1.0, "clock_skew": 300.0}
DEFAULT_PATH = {
    "kubernetes": "/apis/metrics.k8s.io/",
    "kiali": "/api/namespaces/graph",
    "prometheus": "/api/v1/query",
}
"""Where faults of content (`CONTENT`) act, if their path is not stated."""
CONTENT = ("stale", "empty", "nan", "clock_skew")
WITHOUT_TOKEN = ("/healthz", "/livez", "/readyz", "/-/healthy", "/api/auth/info")
"""Paths that nobody needs a token for."""
FOREVER = float("inf")


class FaultError(ValueError):
    """A fault that cannot be: what is wrong with it, and what would be right."""


@dataclass(frozen=True, kw_only=True)
class FaultSpec:
    """One fault.

    Raises:
        FaultError: at construction, for an unknown target or kind, a time that runs backwards, a negative latency.
    """

    target: FaultTarget
    kind: FaultKind
    start: float = 0.0
    """Seconds after the sandbox's start."""
    end: float = FOREVER
    """Seconds after the sandbox's start; from then on it is over."""
    path: str = ""
    """Only requests whose path contains this; empty = all that the kind concerns."""
    value: float | None = None
    """Seconds of `latency` (by the machine's clock) or `clock_skew`; None = the kind's default."""

    def __post_init__(self) -> None:
        place = f"fault {self.target}:{self.kind}"
        if self.target not in TARGETS:
            raise FaultError(f"{place}: target must be one of {', '.join(TARGETS)}")
        if self.kind not in KINDS:
            raise FaultError(f"{place}: kind must be one of {', '.join(KINDS)}")
        if self.kind == "conflict" and self.target != "kubernetes":
            raise FaultError(f"{place}: only kubernetes has conflicts")
        numbers = [number for number in (self.start, self.end, self.value) if number is not None]
        if not all(isinstance(number, float | int) and not isinstance(number, bool) for number in numbers):
            raise FaultError(f"{place}: start, end and value must be numbers")
        if not 0.0 <= self.start < self.end:
            raise FaultError(f"{place}: must start at 0 s or later and end after that, not {self.start} to {self.end}")
        if self.value is not None and self.kind not in DEFAULT_VALUE:
            raise FaultError(f"{place}: takes no value; {' and '.join(DEFAULT_VALUE)} do")
        if self.value is not None and not (abs(self.value) < FOREVER and (self.value >= 0 or self.kind != "latency")):
            raise FaultError(f"{place}: {self.value} is no finite number of seconds, at least 0 for latency")

    @classmethod
    def parse(cls, text: str) -> FaultSpec:
        """Read `target:kind:start:end[:value][@path]`.

        Raises:
            FaultError: it is not that.
        """
        head, _, path = text.partition("@")
        parts = head.split(":")
        if not 4 <= len(parts) <= 5:
            raise FaultError(f"fault {text!r}: write target:kind:start:end[:value][@path], as in kiali:stale:120:180")
        try:
            start, end, *value = (float(part) for part in parts[2:])
        except ValueError as error:
            raise FaultError(f"fault {text!r}: start, end and value are seconds ({error})") from error
        return cls(
            target=parts[0],  # type: ignore[arg-type]  # checked by the constructor
            kind=parts[1],  # type: ignore[arg-type]
            start=start,
            end=end,
            value=value[0] if value else None,
            path=path,
        )

    @classmethod
    def from_json(cls, content: object, now: float) -> FaultSpec:
        """Read an object with the fields of this class; `start` is now if it is left out, and `seconds` may stand for `end`.

        Raises:
            FaultError: it is not that.
        """
        known = {*cls.__dataclass_fields__, "seconds"}
        if not isinstance(content, dict) or not {"target", "kind"} <= content.keys() <= known:
            raise FaultError(f"a fault is an object with target, kind and some of {', '.join(sorted(known))}")
        fields: dict[str, Any] = {"start": now, **content}
        seconds = fields.pop("seconds", None)
        if seconds is not None:
            if "end" in fields or isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise FaultError("a fault: seconds is a number that stands for end; give one of both")
            fields["end"] = fields["start"] + seconds
        if fields.get("end") is None:
            fields["end"] = FOREVER
        if not isinstance(fields.get("path", ""), str):
            raise FaultError("a fault: path must be a text")
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Plain values; an end that never comes is null."""
        return {**asdict(self), "end": None if self.end == FOREVER else self.end}

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request meets this fault while it lasts."""
        if self.path and self.path not in path:
            return False
        if self.kind == "conflict":
            return method in ("PUT", "PATCH") and path.endswith("/scale")
        if self.kind == "expired_token":
            return not path.endswith(WITHOUT_TOKEN)
        return bool(self.path) or self.kind not in CONTENT or DEFAULT_PATH[self.target] in path


class FaultPlan:
    """Faults and their times; may be changed while it is asked, from any thread.

    Args:
        clock: whose time it is.
        origin_seconds: unix seconds of the sandbox's start; None = now.
        specs: the faults.
    """

    def __init__(self, clock: Clock, origin_seconds: float | None = None, specs: tuple[FaultSpec, ...] = ()) -> None:
        self.clock = clock
        self.origin_seconds = clock.now() if origin_seconds is None else origin_seconds
        self._lock = threading.Lock()
        self._specs: list[tuple[FaultSpec, FrozenAnswers]] = [(spec, FrozenAnswers()) for spec in specs]

    @property
    def now(self) -> float:
        """Seconds after the sandbox's start."""
        return self.clock.now() - self.origin_seconds

    @property
    def specs(self) -> tuple[FaultSpec, ...]:
        """All faults, those that are over too."""
        with self._lock:
            return tuple(spec for spec, _ in self._specs)

    def add(self, *specs: FaultSpec) -> None:
        """Plan further faults."""
        with self._lock:
            self._specs += [(spec, FrozenAnswers()) for spec in specs]

    def clear(self) -> None:
        """End and forget all faults."""
        with self._lock:
            self._specs.clear()

    def active(self, target: FaultTarget) -> tuple[FaultSpec, ...]:
        """The faults of a target that last now."""
        return tuple(spec for spec, _ in self._lasting(target))

    def _lasting(self, target: FaultTarget) -> list[tuple[FaultSpec, FrozenAnswers]]:
        now = self.now
        with self._lock:
            for spec, frozen in self._specs:
                if spec.end <= now:
                    frozen.forget()
            return [item for item in self._specs if item[0].target == target and item[0].start <= now < item[0].end]

    def refuses(self, target: FaultTarget) -> bool:
        """Whether a target refuses every connection now."""
        return any(spec.kind == "refuse" and not spec.path for spec in self.active(target))

    def hook(self, target: FaultTarget) -> FaultHook:
        """What the server of a target asks before each request."""

        def fault(_server: str, method: str, path: str) -> Fault | None:
            return self.fault(target, method, path)

        return fault

    def fault(self, target: FaultTarget, method: str, path: str) -> Fault | None:
        """What goes wrong with a request now. Delays add up; of several other faults the gravest acts, those of content all do."""
        lasting = [item for item in self._lasting(target) if item[0].concerns(method, path)]
        if not lasting:
            return None
        delay = sum(_value(spec) for spec, _ in lasting if spec.kind == "latency")
        kinds = {spec.kind for spec, _ in lasting}
        if "refuse" in kinds:
            return Fault(delay_seconds=delay, reset=True)
        failing = error_fault(target, kinds, delay)
        if failing is not None:
            return failing
        rewrites = [rewrite_of(target, spec.kind, _value(spec), frozen) for spec, frozen in lasting]

        def rewrite(request: Request, response: Response) -> Response:
            return reduce(lambda answer, change: change(request, answer), rewrites, response)

        return Fault(delay_seconds=delay, half="cut" in kinds, rewrite=rewrite)

    @classmethod
    def random(
        cls, clock: Clock, seed: int, horizon_seconds: float, *, every_kind: bool = True, latency_seconds: float = 0.05
    ) -> FaultPlan:
        """Faults one after the other, 15 to 120 s long, with 30 to 180 s between them; the same for the same arguments.

        Args:
            clock: whose time it is.
            seed: of the draws.
            horizon_seconds: the last fault ends before this.
            every_kind: every kind at every target comes up, all of them before any comes again.
            latency_seconds: of the latencies.

        Raises:
            FaultError: the horizon is too short for every kind.
        """
        rng = np.random.default_rng(seed)
        kinds = every_fault()
        specs: list[FaultSpec] = []
        second = 0.0
        for target, kind in _drawn(kinds, rng) if every_kind else _independent(kinds, rng):
            start = second + float(rng.uniform(30.0, 180.0))
            second = start + float(rng.uniform(15.0, 120.0))
            if second >= horizon_seconds:
                break
            value = {"latency": latency_seconds, "clock_skew": float(rng.choice([-600.0, 600.0]))}.get(kind)
            specs.append(FaultSpec(target=target, kind=kind, start=start, end=second, value=value))
        if every_kind and len(specs) < len(kinds):
            raise FaultError(
                f"{horizon_seconds:g} s hold {len(specs)} faults, {len(kinds)} are needed to have every kind at every "
                f"target; make it {300 * len(kinds)} s or more"
            )
        return cls(clock, None, tuple(specs))


def every_fault() -> tuple[tuple[FaultTarget, FaultKind], ...]:
    """Every kind at every target that has it."""
    pairs = itertools.product(TARGETS, KINDS)
    return tuple((target, kind) for target, kind in pairs if kind != "conflict" or target == "kubernetes")


def _value(spec: FaultSpec) -> float:
    return DEFAULT_VALUE.get(spec.kind, 0.0) if spec.value is None else spec.value


def _drawn(
    kinds: tuple[tuple[FaultTarget, FaultKind], ...], rng: np.random.Generator
) -> Iterator[tuple[FaultTarget, FaultKind]]:
    """All, in another order each time."""
    while True:
        for place in rng.permutation(len(kinds)):
            yield kinds[place]


def _independent(
    kinds: tuple[tuple[FaultTarget, FaultKind], ...], rng: np.random.Generator
) -> Iterator[tuple[FaultTarget, FaultKind]]:
    while True:
        yield kinds[int(rng.integers(len(kinds)))]
