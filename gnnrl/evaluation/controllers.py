"""Whatever scales a mesh, behind one face: a baseline that is shown lagged telemetry, or a policy that is shown
observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.baselines import Autoscaler, Telemetry, teacher
from gnnrl.domains.autoscaling.monitoring import monitoring_of
from gnnrl.domains.autoscaling.observation import ObservationBuilder
from gnnrl.domains.autoscaling.observed import AnyMesh
from gnnrl.evaluation.lagged import Lagged
from graph_space.schema import ACTION_MASK, MOVES, GraphObservation, autoscaling_schema

__all__ = [
    "BaselineController",
    "Controller",
    "LearnedPolicy",
    "PolicyController",
    "TeacherPolicy",
    "Watched",
    "column_sources",
]

Replicas = NDArray[np.int64]
DRAW_SEED = 0
"""Of a policy's draws in a comparison."""


class LearnedPolicy(Protocol):
    """What a trained agent must offer, as `PPO_GNN` does."""

    def act(
        self,
        obs: GraphObservation,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        temperature: float = 1.0,
        rng: np.random.Generator | None = None,
    ) -> tuple[NDArray[Any], Any]:
        """(actions [B, N] or [B], next state)."""


class TeacherPolicy:
    """The teacher of behaviour cloning as a policy of its own, for the row beside its pupil's.

    Args:
        config: the environment; its node columns must include the CPU limit.
        headroom: share of the limit to use; None = by the violation weight, as the clone was taught.
    """

    def __init__(self, config: AutoscalingConfig, headroom: float | None = None) -> None:
        self._schema = autoscaling_schema(config.node_columns)
        self._headroom = headroom

    def act(
        self,
        obs: GraphObservation,
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002
        deterministic: bool = False,  # noqa: ARG002
        temperature: float = 1.0,  # noqa: ARG002
        rng: np.random.Generator | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.int64], Any]:
        """(moves [B, N], state unchanged)."""
        return teacher(obs, self._schema, headroom=self._headroom), state


class Watched(Protocol):
    """What a controller is told of a mesh before it sees anything of it; an `Episode` is one."""

    @property
    def mesh(self) -> AnyMesh:
        """As it stands at the start."""

    @property
    def slo_ms(self) -> float:
        """Objective of the 95th percentile end to end."""

    @property
    def violation_weight(self) -> float:
        """What a violating decision interval costs, in replica-intervals."""

    @property
    def metrics_lag_seconds(self) -> float:
        """How old the newest metrics are when they are read, beyond the age that they come with."""


class Controller(Protocol):
    """Plays one role in a comparison: it sees every scrape and sets replicas when its period is over."""

    name: str
    period_seconds: int

    def reset(self, episodes: Sequence[Watched]) -> None:
        """Begin these B episodes."""

    def observe(self, window: Any) -> None:
        """A window of telemetry has been scraped."""

    def decide(self, window: Any, now_seconds: float) -> Replicas:
        """Replicas wanted, int64 [B, S]; `window` is the newest, of which replica counts may be read."""

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        """The topology of `b` changed."""


def column_sources(old: AnyMesh, new: AnyMesh) -> NDArray[np.int64]:
    """For each service of `new`, its column in `old`, or -1."""
    column = {name: i for i, name in enumerate(old.names)}
    return np.array([column.get(name, -1) for name in new.names], dtype=np.int64)


@dataclass(eq=False)
class _Sample:
    """The arrays of one window that baselines are shown, copied: the simulation writes over its own.

    CPU is that of the application's container (the HPA's ContainerResource metric): the proxy's share, which a pod's
    total includes and the policy is shown, is out of proportion to what replicas of a service are needed for.
    """

    ready: NDArray[Any]
    cpu_millicores: NDArray[Any]
    rps_in: NDArray[Any]
    concurrency: NDArray[Any]
    external_rps: NDArray[Any]

    @classmethod
    def of(cls, window: Any) -> _Sample:
        return cls(
            ready=window.metric_ready.copy(),
            cpu_millicores=window.app_cpu_millicores.copy(),
            rps_in=window.rps_in.copy(),
            concurrency=window.backlog.copy(),
            external_rps=window.external_rps.copy(),
        )

    def remesh(self, b: int, source: NDArray[np.int64]) -> None:
        kept = np.flatnonzero(source >= 0)
        for array in (self.ready, self.cpu_millicores, self.rps_in, self.concurrency):
            moved = np.zeros_like(array[b])
            moved[kept] = array[b, source[kept]]
            array[b] = moved


class BaselineController:
    """Shows an autoscaler what is monitored of a mesh, as old as the metrics lag (or the next whole window older), and replica counts
    of now.

    Args:
        autoscaler: the baseline.
        config: the environment, for its metrics lag and telemetry.
    """

    def __init__(self, autoscaler: Autoscaler, config: AutoscalingConfig) -> None:
        self.autoscaler = autoscaler
        self.config = config
        self.name = autoscaler.name
        self.period_seconds = autoscaler.period_seconds
        # With the one before the shown window, for what was ready when the shown one began.
        self._samples = Lagged[_Sample](config.longest_lag_seconds, self.period_seconds, before=1)

    def reset(self, episodes: Sequence[Watched]) -> None:
        self._samples.start(episode.metrics_lag_seconds for episode in episodes)
        self._monitoring = monitoring_of(self.config, len(episodes), self.period_seconds)
        for b, episode in enumerate(episodes):
            self._monitoring.start(b, episode.mesh, episode.slo_ms)
        self.autoscaler.reset([episode.mesh for episode in episodes])

    def observe(self, window: Any) -> None:
        self._samples.push(_Sample.of(self._monitoring.see(window)))

    def decide(self, window: Any, now_seconds: float) -> Replicas:
        shown, before = self._samples.shown(), self._samples.shown(before=1)
        telemetry = Telemetry(
            desired=window.desired,
            ready=window.ready,
            metric_ready_start=before.ready,
            metric_ready=shown.ready,
            cpu_millicores=shown.cpu_millicores,
            rps_in=shown.rps_in,
            concurrency=shown.concurrency,
            external_rps=shown.external_rps,
            window_seconds=float(self.period_seconds),
        )
        return self.autoscaler.decide(telemetry, now_seconds)

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        source = column_sources(old, new)
        self._monitoring.remesh(b, old, new)
        for sample in self._samples:
            sample.remesh(b, source)
        self.autoscaler.remesh(b, new, source)


class PolicyController:
    """A trained policy, frozen, that sees exactly what the Gymnasium environment shows.

    Args:
        policy: the agent.
        config: the environment it was made for.
        name: as it is reported.
        temperature: of its draws, which are the same in every play; 0 = the likeliest action.

    Attributes:
        observation, state_before, start_before: what the last decision was made from.
    """

    observation: GraphObservation
    state_before: Any
    start_before: NDArray[np.bool_]

    def __init__(
        self, policy: LearnedPolicy, config: AutoscalingConfig, *, name: str = "policy", temperature: float = 0.0
    ) -> None:
        self.policy = policy
        self.config = config
        self.name = name
        self.temperature = temperature
        self.period_seconds = config.decision_seconds

    def reset(self, episodes: Sequence[Watched]) -> None:
        config = self.config
        self._builder = ObservationBuilder.of(config, len(episodes))
        self._monitoring = monitoring_of(config, len(episodes))
        for b, episode in enumerate(episodes):
            self._monitoring.start(b, episode.mesh, episode.slo_ms)
            shown = self._monitoring.observed(episode.mesh)
            self._builder.start(
                b,
                shown,
                slo_ms=episode.slo_ms,
                violation_weight=episode.violation_weight,
                lag_seconds=episode.metrics_lag_seconds,
            )
        self._state: Any = None
        self._rng = np.random.default_rng(DRAW_SEED)
        self._active = np.ones(len(episodes), dtype=np.bool_)
        self._decided_seconds: float | None = None
        self._episode_start = np.ones(len(episodes), dtype=np.bool_)

    def observe(self, window: Any) -> None:
        self._builder.push(self._monitoring.see(window), self._active)

    def decide(self, window: Any, now_seconds: float) -> Replicas:
        elapsed = 0.0 if self._decided_seconds is None else now_seconds - self._decided_seconds
        self._decided_seconds = now_seconds
        self.observation = observation = self._builder.write(window, elapsed)
        self.state_before, self.start_before = self._state, self._episode_start
        if self.temperature == 0.0:
            actions, self._state = self.policy.act(observation, self._state, self._episode_start, deterministic=True)
        else:
            actions, self._state = self.policy.act(
                observation, self._state, self._episode_start, temperature=self.temperature, rng=self._rng
            )
        self._episode_start = np.zeros_like(self._episode_start)
        return self._replicas(np.asarray(actions, dtype=np.int64), window, observation)

    def _replicas(self, actions: NDArray[np.int64], window: Any, observation: GraphObservation) -> Replicas:
        slots, moves_of_node = observation[ACTION_MASK].shape[1:]
        moves = actions
        if self.config.action_mode == "select":
            moves = np.zeros((len(actions), slots), dtype=np.int64)
            slot, move = np.divmod(actions, moves_of_node)
            moves[np.arange(len(actions)), slot] = move
        legal_mask = observation[ACTION_MASK].astype(np.bool_)
        chosen_mask = np.take_along_axis(legal_mask, moves[..., None], axis=2)[..., 0]
        illegal = (moves != 0) & ~chosen_mask
        if illegal.any():
            b, where = (int(index[0]) for index in np.nonzero(illegal))
            raise ValueError(
                f"{self.name}: move {moves[b, where]} of slot {where} in scenario {b} is outside the action mask"
            )
        slot_of_service = self._builder.slot_of_service
        change = np.where(
            slot_of_service >= 0, np.take_along_axis(MOVES[moves], np.maximum(slot_of_service, 0), axis=1), 0
        )
        return window.desired.astype(np.int64) + change

    def slots(self, mesh: AnyMesh) -> dict[str, int]:
        """Name -> slot of the services of the only mesh there is."""
        return dict(zip(mesh.names, self._builder.slot_of_service[0].tolist(), strict=False))

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        self._monitoring.remesh(b, old, new)
        shown = self._monitoring.observed(new)
        self._builder.remesh(b, self._monitoring.observed(old), shown, self._monitoring.reassembler(b))
