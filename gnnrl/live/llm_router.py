"""A trained router as a library call: which replica a request goes to, from what a serving engine exports.

    router = LLMRouter.load("runs/llm_routing_elastic")
    replica = router.route(IncomingRequest(prompt_tokens=812), reports)     # the id of one of them

What a choice is made of is the observation of the environment that the policy was trained in, by the same code. `docs/llm_routing.md` is a
guide; `vllm_metrics.py` makes reports of vLLM's metrics.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.state import EncoderState
from gnnrl.agents import PPO_GNN
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.domains.llm_routing.env import graph_config
from gnnrl.domains.llm_routing.errors import LLMRoutingError
from gnnrl.domains.llm_routing.graph_observation import LLMGraphObservation
from gnnrl.domains.llm_routing.ledger import Ledger, Standing
from gnnrl.domains.llm_routing.reported_cluster import ReplicaRow, ReportedCluster, Totals
from gnnrl.domains.llm_routing.reports import (
    IncomingRequest,
    MissingMetricError,
    NoReplicaError,
    ReplicaReport,
    ReportError,
    check_reports,
)
from gnnrl.training.run_folder import RunFolder
from graph_space import DynamicGraphSpace, SlotTable
from graph_space.schema import EDGES, GLOBALS, NODES

__all__ = [
    "IncomingRequest",
    "LLMRouter",
    "LLMRouterError",
    "MissingMetricError",
    "NoReplicaError",
    "ReplicaReport",
    "ReportError",
]

REQUIRED = (
    "running_requests", "waiting_requests", "kv_usage", "kv_blocks", "prompt_tokens_total", "generated_tokens_total",
    "finished_requests_total", "latency_seconds_total",
)  # fmt: skip


class LLMRouterError(LLMRoutingError):
    """A run that cannot route live requests, and what would be right."""


class LLMRouter:
    """Routes requests with a trained policy; nothing is learned and no statistics move. Calls may come from several threads.

    Between calls it keeps, by replica id, what the environment keeps between decisions: tokens done since the last one, fading memories,
    what it has sent since a report, and the encoder's memory. A replica that is not among the (healthy) replicas of a call, or whose
    counters fall, starts anew.

    Args:
        agent: trained on the LLM routing environment.
        config: of that environment.
        temperature: of the draw among replicas; None = always the likeliest.
        count_pending_prefill: where a report does not say what is still to prefill, count the prompts sent less the prompt tokens done.
            Right only where this router alone sends.
        began_seconds: on the clock of `route`, when the first request might have come; None = now, or the first call that tells its time.
        seed: of the draws.

    Raises:
        LLMRouterError: the policy needs what no engine exports, or is of another shape than the configuration.
    """

    def __init__(
        self,
        agent: PPO_GNN,
        config: LLMRoutingConfig,
        *,
        temperature: float | None = None,
        count_pending_prefill: bool = False,
        began_seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        if config.features != "compact":
            raise LLMRouterError(
                f"it was trained with features: {config.features}, which describe the requests in the replicas' queues one by "
                "one; no engine exports that. Train with features: compact"
            )
        if temperature is not None and not 0.0 < temperature < math.inf:
            raise LLMRouterError(f"temperature {temperature} is not above 0; None takes the likeliest replica")
        expected = DynamicGraphSpace(graph_config(config))
        for key in (NODES, EDGES, GLOBALS):
            ours, theirs = expected[key].shape, agent.observation_space[key].shape
            if ours is None or theirs is None or ours[-1] != theirs[-1]:
                raise LLMRouterError(f"the agent knows {key} of shape {theirs}, its configuration makes {ours}")
        self.config, self.agent = config, agent.train(False)
        agent.scaler.frozen = True
        self._temperature, self._count_pending = temperature, count_pending_prefill
        self._required = (*REQUIRED, *(("speed",) if config.show_speeds else ()))
        self._required_of = attrgetter(*self._required)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._start(began_seconds)

    @classmethod
    def load(cls, run_or_checkpoint: str | Path, **options: Any) -> LLMRouter:
        """The router of a run that `gnnrl train` made, by its folder or by a checkpoint in it.

        Args:
            run_or_checkpoint: the path.
            options: of the constructor.

        Raises:
            LLMRouterError: it is no run of LLM routing, or it cannot route live requests.
            RunError, ConfigError, CheckpointError: it cannot be read.
        """
        path = Path(run_or_checkpoint)
        run = RunFolder.open_any(path)
        if not isinstance(run.config, LLMRoutingExperiment):
            raise LLMRouterError(f"{path}: is a run of domain {run.config.domain}; one of llm_routing is needed here")
        try:
            return cls(PPO_GNN.load(run.checkpoint if path.is_dir() else path), run.config.environment, **options)
        except LLMRouterError as error:
            raise LLMRouterError(f"{path}: {error}") from error

    def reset(self, began_seconds: float | None = None) -> None:
        """Forget every replica and begin again, as `began_seconds` of the constructor says."""
        with self._lock:
            self._start(began_seconds)

    def _start(self, began_seconds: float | None) -> None:
        self._told_clock: bool | None = None
        self._began = began_seconds
        self._made = time.monotonic()
        self._last = -math.inf
        self._decisions = self._received = 0
        self._ledger = Ledger()
        self._slots = SlotTable(self.config.max_replicas)
        self._cluster = ReportedCluster(self.config, self._slots.capacity)
        self._observation = LLMGraphObservation(self.config, self._cluster)
        self._observation.begin(0)
        self._state: EncoderState = self.agent.initial_state(1, self._slots.capacity + 1)

    def route(
        self, request: IncomingRequest, replicas: Sequence[ReplicaReport], now_seconds: float | None = None
    ) -> str:
        """The id of the replica that the request goes to; it counts as sent there.

        Args:
            request: what has come.
            replicas: the newest report of each replica.
            now_seconds: on a clock that never goes back; None = this process's own. All calls alike.

        Raises:
            MissingMetricError: a report lacks what the policy was trained with.
            NoReplicaError: none is healthy, or none has the memory for this request.
            ReportError: numbers or ids that cannot be, or a clock that goes back. After any error, nothing was routed.
        """
        with self._lock:
            check_reports(request, replicas)
            self._require(request, replicas)
            now = self._clock(now_seconds)
            standings = [one for one in self._ledger.read(replicas, now) if one.report.healthy]
            if not standings:
                known = ", ".join(report.id for report in replicas) or "none were given"
                raise NoReplicaError(f"no replica is healthy ({known}); hold the request and ask again")
            rows = self._place(standings)
            received = self._received + (not request.retry)
            totals = Totals(
                received if request.gateway_received is None else request.gateway_received,
                self._ledger.finished,
                self._ledger.latency_seconds,
            )
            self._cluster.write(request, rows, totals, self._decisions + 1, now)
            if not self._cluster.fits_somewhere(rows):
                raise NoReplicaError(
                    f"a request of {request.prompt_tokens} prompt tokens does not fit the KV memory of any healthy replica "
                    f"({', '.join(row.report.id for row in rows)})"
                )
            chosen = self._decide()
            self._received, self._decisions = received, self._decisions + 1
            replica = next(row.report.id for row in rows if row.slot == chosen)
            self._ledger.sent(replica, request.prompt_tokens, now)
            return replica

    def _require(self, request: IncomingRequest, replicas: Sequence[ReplicaReport]) -> None:
        if self.config.length_hint == "absent":
            told = ""
        elif request.predicted_output_tokens is None:
            told = f" (length_hint: {self.config.length_hint}); predict it, or train with length_hint: absent"
            raise MissingMetricError("request", "predicted_output_tokens", told)
        for report in replicas:
            if not report.healthy:
                continue
            values = self._required_of(report)
            if None in values:
                raise MissingMetricError(report.id, self._required[values.index(None)])
            if report.pending_prefill_tokens is None and not self._count_pending:
                remedy = "; count_pending_prefill=True counts it from what this router sends"
                raise MissingMetricError(report.id, "pending_prefill_tokens", remedy)

    def _clock(self, now_seconds: float | None) -> float:
        """Seconds since the router began."""
        told = now_seconds is not None
        if self._told_clock not in (None, told):
            raise ReportError("now_seconds was given in some calls and not in others; give it always or never")
        now = time.monotonic() if now_seconds is None else now_seconds
        if not isinstance(now, int | float) or not math.isfinite(now) or now < self._last:
            raise ReportError(f"now_seconds {now} is not a time at or after that of the last call, {self._last}")
        if self._began is None:
            self._began = now if told else self._made
        if now < self._began:
            raise ReportError(f"now_seconds {now} is before began_seconds {self._began}")
        self._told_clock, self._last = told, now
        return now - self._began

    def _place(self, standings: Sequence[Standing]) -> list[ReplicaRow]:
        """Slots of the healthy replicas; those that are new in theirs, or began again, are forgotten there."""
        if len(standings) > self._slots.capacity and self.agent.model.slots is not None:
            raise ReportError(
                f"{len(standings)} healthy replicas; this policy has no graph and is bound to {self._slots.capacity}: give it "
                "fewer, or train one with a graph encoder"
            )
        if len(standings) > self._slots.capacity:
            self._grow(max(2 * self._slots.capacity, len(standings)))
        placed = self._slots.update(one.report.id for one in standings)
        rows = []
        for one, slot in zip(standings, placed.slots.tolist(), strict=True):
            if one.restarted or placed.prev_slot[slot] < 0:
                self._observation.forget(0, slot)
            pending = one.report.pending_prefill_tokens
            rows.append(
                ReplicaRow(
                    slot, one.report, one.outstanding, one.counted_prefill_tokens if pending is None else int(pending)
                )
            )
        return rows

    def _decide(self) -> int:
        """The slot; observation, slots and memory move on."""
        observation = self._observation.write()
        chosen, self._state = self.agent.act(
            observation,
            self._state,
            deterministic=self._temperature is None,
            temperature=self._temperature or 1.0,
            rng=self._rng,
        )
        self._slots.commit()
        return int(chosen[0])

    def _grow(self, capacity: int) -> None:
        """More slots; what is remembered of the present ones is carried over."""
        before, slots = self._slots.capacity, SlotTable(capacity)
        slots.load_state_dict(self._slots.state_dict() | {"capacity": capacity})
        cluster = ReportedCluster(self.config, capacity)
        observation = LLMGraphObservation(self.config, cluster)
        observation.load_state_dict(_spread(self._observation.state_dict(), observation.state_dict()))
        state = self.agent.initial_state(1, capacity + 1)
        with torch.inference_mode():
            for new, old in zip(state, self._state, strict=True):
                new[:, :before] = old[:, :before]
        self._slots, self._cluster, self._observation, self._state = slots, cluster, observation, state


def _spread(saved: Any, larger: Any) -> Any:
    """The arrays of `saved` in the first places of those of `larger`, which has the same tree."""
    if isinstance(saved, dict):
        return {name: _spread(part, larger[name]) for name, part in saved.items()}
    larger[tuple(slice(count) for count in saved.shape)] = saved
    return larger
