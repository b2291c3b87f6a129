"""Fills in why, once the decisions of an interval stand: inputs, influences and the reason of every service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gnnrl.agents import PPO_GNN
from gnnrl.agents.attribution import attribute
from gnnrl.cluster.guardrails.names import FALLBACK_FLOOR
from gnnrl.domains.autoscaling.sensing import Reading
from gnnrl.evaluation.controllers import BaselineController, PolicyController
from gnnrl.live.decision import Influence, ServiceDecision
from gnnrl.live.explanation import explain, influences_of, inputs_of
from graph_space.schema import ACTION_MASK, MOVES, autoscaling_schema

__all__ = ["BaselineExplainer", "PolicyExplainer"]


class PolicyExplainer:
    """Explains what a trained policy decided, from the observation and the memory that it decided on.

    In an interval without a decision nothing was seen: the reasons say why there was none, and name the guardrails.

    Args:
        controller: who decides; its last decision is the one explained.
        agent: the policy that it plays.
        most: services whose inputs are weighed, those with the largest wished change first; each costs a backward pass.
        limit: influences a service.
        fallback: whose wish is the floor when nobody has decided for long; None = nobody's.
    """

    def __init__(
        self,
        controller: PolicyController,
        agent: PPO_GNN,
        *,
        most: int = 8,
        limit: int = 5,
        fallback: BaselineController | None = None,
    ) -> None:
        self.controller, self.agent, self.fallback = controller, agent, fallback
        self.most, self.limit = most, limit
        self._schema = autoscaling_schema(controller.config.node_columns)

    def __call__(self, decisions: Sequence[ServiceDecision], reading: Reading, decided: bool) -> list[ServiceDecision]:
        """The decisions with inputs, influences and reason."""
        if not decided:
            return _undecided(decisions, reading, self.fallback)
        observation = self.controller.observation
        slots = {name: slot for name, slot in self.controller.slots(reading.mesh).items() if slot >= 0}
        weighed = self._influences(decisions, slots)
        return [
            _explained(
                one,
                inputs_of(observation, slots[one.service], self._schema) if one.service in slots else {},
                weighed.get(one.service, ()),
            )
            for one in decisions
        ]

    def _influences(
        self, decisions: Sequence[ServiceDecision], slots: dict[str, int]
    ) -> dict[str, tuple[Influence, ...]]:
        controller = self.controller
        legal_mask = controller.observation[ACTION_MASK][0].any(axis=1)
        wished = [one for one in decisions if one.wish != one.current and one.service in slots]
        wished = [one for one in wished if legal_mask[slots[one.service]]]
        wished.sort(key=lambda one: (-abs(one.wish - one.current), one.service))
        found = attribute(
            self.agent,
            controller.observation,
            controller.state_before,
            controller.start_before,
            [slots[one.service] for one in wished[: self.most]],
            MOVES,
            temperature=controller.temperature or 1.0,
        )
        return influences_of(found, controller.observation, slots, limit=self.limit)


class BaselineExplainer:
    """Explains what a baseline decided: by what it read itself. The inputs show more, for people; nothing weighs.

    Args:
        controller: who decides.
        slo_ms: objective of the 95th percentile end to end.
        fallback: as of `PolicyExplainer`.
    """

    def __init__(
        self, controller: BaselineController, *, slo_ms: float, fallback: BaselineController | None = None
    ) -> None:
        self.controller, self.slo_ms, self.fallback = controller, slo_ms, fallback

    def __call__(self, decisions: Sequence[ServiceDecision], reading: Reading, decided: bool) -> list[ServiceDecision]:
        """The decisions with inputs and reason."""
        if not decided:
            return _undecided(decisions, reading, self.fallback)
        column = {name: i for i, name in enumerate(reading.mesh.names)}
        return [
            _explained(
                one,
                self._inputs(reading, column[one.service]),
                grounds=self.controller.autoscaler.grounds(0, column[one.service]),
            )
            for one in decisions
        ]

    def _inputs(self, reading: Reading, column: int) -> dict[str, float]:
        """Named as the columns of an observation are; CPU is the application's, as the metrics of an HPA have it."""
        window, service = reading.window, reading.mesh.services[column]
        shown = ("rps_in", "rps_out", "p95_ms", "error_share")
        cpu = float(window.app_cpu_millicores[0, column])
        waiting = window.starting[0, column] + window.pending[0, column]
        inputs = {
            "desired_replicas": float(window.desired[0, column]),
            "ready": float(window.ready[0, column]),
            "starting": float(waiting),
            "cpu_millicores": cpu,
            "cpu_request_millicores": service.cpu_request_millicores,
            "cpu_limit_millicores": service.cpu_limit_millicores,
            "busy_replicas": cpu / service.cpu_limit_millicores,
            **{name: float(getattr(window, name)[0, column]) for name in shown},
            "slo_seconds": self.slo_ms / 1000.0,
        }
        if self.slo_ms > 0.0:
            inputs["latency_p95_over_slo"] = float(np.minimum(window.latency_p95_ms[0] / self.slo_ms, 2.0))
        return inputs


def _undecided(
    decisions: Sequence[ServiceDecision], reading: Reading, fallback: BaselineController | None
) -> list[ServiceDecision]:
    cause = "; ".join(reading.blocking) or "the policy failed"
    column = {name: i for i, name in enumerate(reading.mesh.names)}
    explained = []
    for one in decisions:
        # Who acted is the fallback then.
        acted = fallback is not None and FALLBACK_FLOOR in one.guardrails
        grounds = fallback.autoscaler.grounds(0, column[one.service]) if acted and fallback is not None else ()
        explained.append(_explained(one, {}, grounds=grounds, undecided=cause))
    return explained


def _explained(
    one: ServiceDecision,
    inputs: dict[str, float],
    influences: tuple[Influence, ...] = (),
    grounds: Sequence[str] | None = None,
    undecided: str = "",
) -> ServiceDecision:
    reason = explain(
        current=one.current,
        wish=one.wish,
        final=one.final,
        inputs=inputs,
        guardrails=one.guardrails,
        influences=influences,
        grounds=grounds,
        undecided=undecided,
    )
    return replace(one, inputs=inputs, influences=influences, reason=reason)
