"""What a routing decision is worth: minus the latency, or one of the three documented rewards, each as terms that add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing.observation import GLOBAL_FEATURES
from gnnrl.domains.llm_routing.totals import Totals

__all__ = ["LLMRoutingReward", "documented_terms"]

Floats = NDArray[np.float64]
THROUGHPUT, LATENCY, BALANCE = (
    GLOBAL_FEATURES.index(name) for name in ("throughput", "mean_latency", "system_load_balance")
)


def documented_terms(config: LLMRoutingConfig, now: Floats, before: Floats) -> dict[str, Floats]:
    """The terms of `delta`, `instant` and `hybrid`, [B] each, from throughput, latency and balance [3, B] now and at the last decision."""
    w, mode = config.documented_reward, config.reward
    throughput, latency, balance = now
    throughput_change, latency_change, _ = now - before
    above = latency - w.latency_threshold
    terms = {"reward_balance": -w.balance_weight * balance}
    if mode == "hybrid":
        absolute = throughput / w.throughput_target - w.alpha * latency / w.latency_threshold
        change = w.beta * throughput_change / w.throughput_target - w.gamma * latency_change / w.latency_threshold
        # exp of more than 700 is not a number any more; the penalty is 0 long before.
        penalty = w.kappa / (1.0 + np.exp(np.minimum(-above / w.sigma, 700.0)))
        return terms | {
            "reward_absolute": w.absolute_weight * absolute,
            "reward_delta": w.delta_weight * change,
            "reward_penalty": -penalty,
        }
    terms["reward_threshold"] = -w.threshold_scale * (1.0 - np.exp(-np.maximum(above, 0.0)))
    if mode == "delta":
        throughput, latency = throughput_change, latency_change
    return terms | {"reward_throughput": throughput, "reward_latency": -w.latency_weight * latency}


class LLMRoutingReward:
    """The reward of B clusters.

    `minus_latency` is minus the request-seconds spent without a last token, and without a first one, since the last decision: their means
    a decision are the mean latency and the mean time to first token (Little's law), exactly so where all requests have been served.

    Args:
        config: of the environment.
        batch_size: B.
    """

    def __init__(self, config: LLMRoutingConfig, batch_size: int) -> None:
        self._config = config
        weights = (config.charge_ahead, config.slow_start_weight > 0.0, config.slow_end_weight > 0.0)
        self.counts_waits = config.reward == "minus_latency" and any(weights)
        """Whether a term asks for `outstanding_waits`."""
        self._spent = np.zeros((2, batch_size))
        self._counted = np.zeros((3, batch_size))
        self._shown = np.zeros((3, batch_size))

    def terms(
        self, sums: Totals, counted: Floats, shown: NDArray[np.float32], starting: NDArray[np.bool_]
    ) -> dict[str, Floats]:
        """The parts by name, [B] each, and beside them `latency_s` and `ttft_s`, the request-seconds; 0 where an episode begins.

        Args:
            sums: of the episodes up to now.
            counted: [3, B] of `outstanding_waits`; read where `counts_waits` alone.
            shown: the clusters' features [B, 12], `GLOBAL_FEATURES`.
            starting: [B] episodes that begin with this observation.
        """
        spent = np.stack([sums.request_seconds, sums.unanswered_seconds])
        now = shown[:, [THROUGHPUT, LATENCY, BALANCE]].T.astype(np.float64)
        latency, ttft = np.where(starting, 0.0, spent - self._spent)
        config = self._config
        if config.reward == "minus_latency":
            parts = {"reward_e2e": -config.e2e_weight * latency, "reward_ttft": -config.ttft_weight * ttft}
            ahead, slow_start, slow_end = np.where(starting, 0.0, counted - self._counted)
            if config.charge_ahead:
                parts["reward_ahead"] = -config.e2e_weight * ahead
            if config.slow_start_weight > 0.0:
                parts["reward_slow_start"] = -config.slow_start_weight * slow_start
            if config.slow_end_weight > 0.0:
                parts["reward_slow_end"] = -config.slow_end_weight * slow_end
        else:
            parts = {
                name: np.where(starting, 0.0, part) for name, part in documented_terms(config, now, self._shown).items()
            }
        self._spent, self._counted, self._shown = spent, counted.copy(), now
        return parts | {"latency_s": latency, "ttft_s": ttft}

    def state_dict(self) -> dict[str, Any]:
        """What the next terms are counted from."""
        return {"spent": self._spent.copy(), "counted": self._counted.copy(), "shown": self._shown.copy()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._spent = np.array(saved["spent"])
        self._counted = np.array(saved["counted"])
        self._shown = np.array(saved["shown"])
