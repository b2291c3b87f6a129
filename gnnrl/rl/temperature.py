"""The temperature that actions are drawn at while training: higher where too little is served, too slowly, or unevenly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import TemperatureConfig

__all__ = ["SIGNALS", "TemperatureController", "divisors"]

SIGNALS = ("throughput", "mean_latency", "load_balance")
"""What an environment must say of itself in `infos`, [B] each: completions/s, seconds, coefficient of variation of the queue lengths."""
THROUGHPUT, LATENCY, BALANCE = range(3)


def divisors(temperature: float | NDArray[Any] | None, batch: int) -> NDArray[np.float32] | None:
    """What logits are divided by, [B] float32; None = by 1.

    Raises:
        ValueError: a temperature is not above 0, or there is neither one nor one an environment.
    """
    if temperature is None:
        return None
    found: NDArray[np.float32] = np.asarray(temperature, np.float32)
    if not ((found > 0.0) & np.isfinite(found)).all():
        raise ValueError(f"temperature {temperature} is not above 0; deterministic=True takes the likeliest action")
    if found.shape not in ((), (batch,)):
        raise ValueError(f"temperature has shape {found.shape}; one number, or shape ({batch},), is expected")
    return None if (found == 1.0).all() else np.broadcast_to(found, batch)


class TemperatureController:
    """A temperature by environment, moved by what the environment last said.

    With t, l the targets, x, y throughput and mean latency now, and dx, dy their changes since the last decision,

        T = base (1 + w_t (t - x) / t + w_l (y - l) / l + w_b balance + w_c (dy / l - dx / t)),  clipped to [lowest, highest].

    An episode starts at `base`: nothing has been measured.

    Args:
        config: targets, weights and bounds.
        num_envs: B.
    """

    def __init__(self, config: TemperatureConfig, num_envs: int) -> None:
        self._config = config
        self._last: NDArray[np.float64] = np.zeros((len(SIGNALS), num_envs))
        self.temperature: NDArray[np.float32] = np.full(num_envs, config.base, np.float32)
        """[B], of the next decisions."""

    def observe(self, infos: Mapping[str, Any] | None, starting: NDArray[np.bool_]) -> None:
        """Take in what a step answered.

        Args:
            infos: of the step, with `SIGNALS`.
            starting: [B] environments whose next observation is the first of an episode.

        Raises:
            ValueError: a signal is missing, has another shape, or is not finite.
        """
        use = self._config
        now = np.stack([self._signal(infos or {}, name) for name in SIGNALS])
        change = now - self._last
        pressure = (
            use.throughput_weight * (1.0 - now[THROUGHPUT] / use.throughput_target)
            + use.latency_weight * (now[LATENCY] / use.latency_target - 1.0)
            + use.balance_weight * now[BALANCE]
            + use.change_weight * (change[LATENCY] / use.latency_target - change[THROUGHPUT] / use.throughput_target)
        )
        wanted = np.clip(use.base * (1.0 + pressure), use.lowest, use.highest)
        self.temperature = np.where(starting, use.base, wanted).astype(np.float32)
        self._last = now

    def _signal(self, infos: Mapping[str, Any], name: str) -> NDArray[np.float64]:
        if name not in infos:
            raise ValueError(
                f"ppo.temperature.enabled is true, but the environment gives no infos[{name!r}] ({', '.join(SIGNALS)} are "
                "needed, [B] each); set ppo.temperature.enabled to false"
            )
        values = np.atleast_1d(np.asarray(infos[name], np.float64))
        if values.shape != self.temperature.shape:
            raise ValueError(f"infos[{name!r}] has shape {values.shape}, {self.temperature.shape} is expected")
        if not np.isfinite(values).all():
            raise ValueError(f"infos[{name!r}] of environment {int(np.argmin(np.isfinite(values)))} is not finite")
        return values

    def state_dict(self) -> dict[str, Any]:
        """What the next temperatures follow from."""
        return {"last": self._last.copy(), "temperature": self.temperature.copy()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._last = np.array(saved["last"])
        self.temperature = np.array(saved["temperature"])
