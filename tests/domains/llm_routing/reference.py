"""A slow cluster, one event after another, written from the rules alone: what the kernels are compared with, request by request.

Plain objects, lists and a heap; no block counters, no linked lists, no skipping. Memory is recounted whenever it is asked for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# At one instant: iterations end, changes take place, requests arrive, batches are formed.
END, CHANGE, ARRIVAL, FORM = range(4)

DECODE = (8.279e-4, 2.952e-4, 7.173e-6, 3.957e-4)
PREFILL = (-1.39e-3, 1.350e-4, 1.203e-7, 1.503e-7)
POINTS = (
    (1, 9.04),
    (16, 9.15),
    (32, 9.49),
    (64, 9.83),
    (128, 12.69),
    (256, 18.32),
    (512, 33.36),
    (1024, 68.23),
    (2048, 133.5),
    (4096, 259.9),
)


def iteration_ms(decode_lengths: Sequence[int], chunks: Sequence[tuple[int, int]]) -> float:
    """Milliseconds of a batch: KV lengths of its decodes, (tokens, tokens before) of its chunks."""
    tokens = len(decode_lengths) + sum(tokens for tokens, _ in chunks)
    k = 1
    while k < len(POINTS) - 1 and POINTS[k][0] < tokens:
        k += 1
    (x0, y0), (x1, y1) = POINTS[k - 1], POINTS[k]
    total = y0 + (y1 - y0) * (tokens - x0) / (x1 - x0)
    if decode_lengths:
        kv = sum(decode_lengths)
        total += 32 * (DECODE[0] + DECODE[1] * len(decode_lengths) + DECODE[2] * kv + DECODE[3] * math.sqrt(kv))
    if chunks:
        c = math.sqrt(sum(tokens**2 for tokens, _ in chunks))
        before = sum(before for _, before in chunks)
        total += 32 * (PREFILL[0] + PREFILL[1] * c + PREFILL[2] * c**2 + PREFILL[3] * c * before)
    return total


@dataclass(eq=False)
class Request:
    number: int
    arrived: float
    prompt: int
    answer: int
    said: int = 0
    """Tokens of the answer that are out; they survive evictions."""
    cached: int = 0
    """Tokens of prompt and answer in the KV cache of the replica it is at."""
    prefilling: int = 0
    """Tokens to prefill before the next one is said, as of its last start."""
    blocks: int = 0
    restarts: int = 0
    first: float = math.nan
    done: float = math.nan
    served_by: int = -1

    def length(self) -> int:
        return self.prompt + self.said

    def decoding(self) -> bool:
        return self.prefilling > 0 and self.cached >= self.prefilling


@dataclass(eq=False)
class Replica:
    number: int
    blocks: int
    watermark: int
    cap: int
    factor: float
    up: bool = True
    waiting: list[Request] = field(default_factory=list)
    residents: list[Request] = field(default_factory=list)
    batch: list[tuple[Request, int]] | None = None
    version: int = 0

    def free(self) -> int:
        return self.blocks - sum(request.blocks for request in self.residents)


class ReferenceCluster:
    """A cluster under `sarathi` or `vllm`, routed by a function of (request, replicas)."""

    def __init__(
        self,
        scheduler: str,
        replicas: Sequence[Replica],
        requests: Sequence[Request],
        route: Callable[[Request, list[Replica]], int],
        changes: Sequence[tuple[float, str, int, float]] = (),
        block: int = 16,
        chunk: int = 512,
        budget: int = 4096,
    ) -> None:
        self.scheduler, self.replicas, self.route = scheduler, list(replicas), route
        self.block, self.chunk, self.budget = block, chunk, budget
        self.requests = list(requests)
        self.at_router: list[Request] = []
        self.events: list[tuple[float, int, int, object]] = []
        self.evictions = 0
        for k, change in enumerate(changes):
            heapq.heappush(self.events, (change[0], CHANGE, k, change))
        for request in requests:
            heapq.heappush(self.events, (request.arrived, ARRIVAL, request.number, request))
        self.counter = len(requests) + len(changes)

    def run(self) -> None:
        while self.events:
            now, kind, _, what = heapq.heappop(self.events)
            if kind == END:
                replica, version = what
                if version == replica.version:
                    self.end(replica, now)
            elif kind == CHANGE:
                self.change(what)
                self.dispatch(now)
            elif kind == ARRIVAL:
                self.at_router.append(what)
                self.dispatch(now)
            else:
                self.form(what, now)

    def push(self, time: float, kind: int, what: object) -> None:
        self.counter += 1
        heapq.heappush(self.events, (time, kind, self.counter, what))

    def dispatch(self, now: float) -> None:
        while self.at_router and any(replica.up for replica in self.replicas):
            request = self.at_router.pop(0)
            replica = self.replicas[self.route(request, self.replicas)]
            assert replica.up
            request.served_by = replica.number
            replica.waiting.append(request)
            self.push(now, FORM, replica)

    def change(self, change: tuple[float, str, int, float]) -> None:
        _, kind, r, value = change
        replica = self.replicas[r]
        if kind == "join":
            replica.up = True
        elif kind == "leave":
            replica.up = False
        elif kind == "slow":
            replica.factor = value
        else:
            replica.up = False
            replica.version += 1
            replica.batch = None
            for request in replica.residents:
                self.forget(request)
            self.at_router = sorted(self.at_router + replica.waiting + replica.residents, key=lambda q: q.number)
            replica.waiting, replica.residents = [], []

    def forget(self, request: Request) -> None:
        request.cached = request.prefilling = request.blocks = 0
        request.restarts += 1

    def evict(self, replica: Replica, request: Request) -> None:
        replica.residents.remove(request)
        self.forget(request)
        replica.waiting.insert(0, request)
        self.evictions += 1

    def form(self, replica: Replica, now: float) -> None:
        if replica.batch is not None or not (replica.waiting or replica.residents):
            return
        batch: list[tuple[Request, int]] = []
        if self.scheduler == "sarathi":
            self.decodes(replica, batch)
            for request in replica.residents:
                left = self.chunk - sum(tokens for _, tokens in batch)
                if not request.decoding() and left > 0:
                    batch.append((request, min(left, request.prefilling - request.cached)))
        while replica.waiting and len(replica.residents) < replica.cap:
            request = replica.waiting[0]
            need = math.ceil(request.length() / self.block)
            if replica.free() - need < replica.watermark:
                break
            tokens = request.length()
            if self.scheduler == "sarathi":
                tokens = min(tokens, self.chunk - sum(tokens for _, tokens in batch))
                if tokens <= 0:
                    break
            elif batch and (len(batch) + 1) * max(tokens, *(t for _, t in batch)) > self.budget:
                break
            replica.waiting.pop(0)
            request.blocks, request.prefilling = need, request.length()
            replica.residents.append(request)
            replica.residents.sort(key=lambda q: q.number)
            batch.append((request, tokens))
        if self.scheduler == "vllm" and not batch:
            self.decodes(replica, batch)
        assert batch
        lengths = [request.length() for request, _ in batch if request.decoding()]
        chunks = [(tokens, request.cached) for request, tokens in batch if not request.decoding()]
        replica.batch = batch
        self.push(now + replica.factor * iteration_ms(lengths, chunks) / 1000, END, (replica, replica.version))

    def decodes(self, replica: Replica, batch: list[tuple[Request, int]]) -> None:
        for request in list(replica.residents):
            if request not in replica.residents or not request.decoding():
                continue
            while request in replica.residents and request.length() > request.blocks * self.block:
                if replica.free() > 0:
                    request.blocks += 1
                else:
                    self.evict(replica, replica.residents[-1])
            if request in replica.residents:
                batch.append((request, 1))

    def end(self, replica: Replica, now: float) -> None:
        assert replica.batch is not None
        for request, tokens in replica.batch:
            was_decoding = request.decoding()
            request.cached += tokens
            if was_decoding or request.cached == request.prefilling:
                request.said += 1
                if request.said == 1:
                    request.first = now
                if request.said == request.answer:
                    request.done = now
                    request.blocks = 0
                    replica.residents.remove(request)
        replica.batch = None
        assert replica.free() >= 0
        self.push(now, FORM, replica)
