"""A slow simulation of the same queues, written apart from the kernel: a heap of events, queues as deques, no recursion for finish times.

It is given the requests (when, what type, how much work) and a policy, and tells what a router saw at each arrival and when each
request was finished. Expected work is kept in exact fractions, so that ties are ties.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

UTILISATION_KEPT = 15.0 / 16.0


@dataclass
class Request:
    number: int
    arrival: float
    kind: int
    requirement: float
    replica: int | None = None
    finish: float | None = None


@dataclass
class Server:
    rates: Sequence[float]
    present: bool = True
    queue: deque[Request] = field(default_factory=deque)
    started: int = 0  # how many services were begun, so that the finish of an interrupted one is known to be void
    busy: float = 0.0

    def work(self) -> Fraction:
        return sum((1 / Fraction(self.rates[request.kind]) for request in self.queue), Fraction(0))


@dataclass(frozen=True)
class Seen:
    """What a router sees when a request arrives."""

    kind: int
    queue: list[int]
    work: list[Fraction]
    own: list[Fraction]  # expected service time of this request
    present: list[int]
    utilisation: list[float]
    integral: float
    waiting: int


Policy = Callable[[Seen], int | None]
Change = tuple[int, str, int]  # before which request is routed, "lose" or "add", which replica


def simulate(
    rates: Sequence[Sequence[float]],
    requests: Sequence[Request],
    policy: Policy,
    changes: Sequence[Change] = (),
    restarts: Iterable[float] = (),
) -> list[Seen]:
    """Serve all requests, filling in `replica` and `finish`; `restarts` gives the requirements of interrupted services."""
    servers = [Server(row) for row in rates]
    redrawn = iter(restarts)
    line: deque[Request] = deque()
    heap: list[tuple[float, int, str, int, int]] = []
    count = 0
    seen: list[Seen] = []
    now, window, integral = 0.0, 0.0, 0.0
    busy_share = [0.0] * len(servers)

    def push(at: float, what: str, which: int, stamp: int = 0) -> None:
        nonlocal count
        count += 1
        heapq.heappush(heap, (at, count, what, which, stamp))

    def start(r: int) -> None:
        server, request = servers[r], servers[r].queue[0]
        server.started += 1
        push(now + request.requirement / server.rates[request.kind], "finish", r, server.started)

    def join(r: int, request: Request) -> None:
        request.replica = r
        servers[r].queue.append(request)
        if len(servers[r].queue) == 1:
            start(r)

    def soonest(kind: int) -> int:
        present = [r for r, server in enumerate(servers) if server.present]
        return min(
            present,
            key=lambda r: (
                servers[r].work() + 1 / Fraction(servers[r].rates[kind]),
                1 / Fraction(servers[r].rates[kind]),
                r,
            ),
        )

    def pass_time(until: float) -> None:
        nonlocal now, integral
        passed = until - now
        integral += passed * (len(line) + sum(len(server.queue) for server in servers))
        for r, server in enumerate(servers):
            if server.queue:
                busy_share[r] += passed
        now = until

    def change(what: str, r: int) -> None:
        if what == "add":
            servers[r].present = True
            servers[r].busy = 0.0
            for _ in range(len(line)):
                request = line.popleft()
                join(soonest(request.kind), request)
            return
        servers[r].present = False
        servers[r].started += 1
        servers[r].busy = 0.0
        moved, servers[r].queue = list(servers[r].queue), deque()
        if moved:
            moved[0].requirement = next(redrawn)
        for request in moved:
            if any(server.present for server in servers):
                join(soonest(request.kind), request)
            else:
                line.append(request)

    for request in requests:
        push(request.arrival, "arrive", request.number)
    last_arrival = 0.0
    while heap:
        at, _, what, which, stamp = heapq.heappop(heap)
        if what == "finish" and stamp != servers[which].started:
            continue
        pass_time(at)
        if what == "finish":
            servers[which].queue.popleft().finish = now
            if servers[which].queue:
                start(which)
            continue
        request = requests[which]
        window = window * UTILISATION_KEPT + (now - last_arrival)
        last_arrival = now
        for r, server in enumerate(servers):
            server.busy = server.busy * UTILISATION_KEPT + busy_share[r]
        for number, kind, r in changes:
            if number == request.number:
                change(kind, r)
        seen.append(
            Seen(
                kind=request.kind,
                queue=[len(server.queue) for server in servers],
                work=[server.work() for server in servers],
                own=[1 / Fraction(server.rates[request.kind]) for server in servers],
                present=[r for r, server in enumerate(servers) if server.present],
                utilisation=[server.busy / window for server in servers],
                integral=integral,
                waiting=len(line),
            )
        )
        integral, busy_share = 0.0, [0.0] * len(servers)
        choice = policy(seen[-1])
        if choice is None:
            line.append(request)
        else:
            join(choice, request)
    return seen


def fastest(see: Seen) -> int:
    return min(see.present, key=lambda r: (see.own[r], see.queue[r], r))


def fewest(see: Seen, among: Sequence[int]) -> int:
    return min(among, key=lambda r: (see.queue[r], see.own[r], r))


def soonest_of(see: Seen, among: Sequence[int]) -> int:
    return min(among, key=lambda r: (see.work[r] + see.own[r], see.own[r], r))


def deflecting(condition: Callable[[Seen, int, int], bool], other_of: Callable[[Seen, Sequence[int]], int]) -> Policy:
    def policy(see: Seen) -> int:
        own = fastest(see)
        others = [r for r in see.present if r != own]
        if not others:
            return own
        other = other_of(see, others)
        return other if condition(see, own, other) else own

    return policy


def round_robin(replicas: int) -> Policy:
    last = -1

    def policy(see: Seen) -> int:
        nonlocal last
        last = next((last + d) % replicas for d in range(1, replicas + 1) if (last + d) % replicas in see.present)
        return last

    return policy


def policies(replicas: int) -> dict[str, Policy]:
    """The routers without chance, by name."""
    return {
        "round_robin": round_robin(replicas),
        "jsq_affinity": lambda see: fewest(see, see.present),
        "sed": lambda see: soonest_of(see, see.present),
        "sed_own_rate": lambda see: min(
            see.present, key=lambda r: ((see.queue[r] + 1) * see.own[r], see.own[r], r)
        ),
        "affinity": fastest,
        "count_gap": deflecting(lambda see, own, other: see.queue[own] - see.queue[other] >= 4, fewest),
        "work_gap": deflecting(lambda see, own, other: see.work[own] - see.work[other] > 3 * see.own[own], soonest_of),
        "oracle": deflecting(
            lambda see, own, other: (
                (see.queue[other] == 0 and see.work[own] > Fraction(5, 2) * see.own[own])
                or see.work[own] - see.work[other] > Fraction(13, 2) * see.own[own]
            ),
            soonest_of,
        ),
    }  # fmt: skip
