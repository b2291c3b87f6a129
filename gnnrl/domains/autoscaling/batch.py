"""B meshes played together: load, decide, observe, churn; everything but Gymnasium's conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.episode import Episode, most_classes, warm_up_seconds
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.monitoring import monitoring_of
from gnnrl.domains.autoscaling.objective import service_rewards, softened
from gnnrl.domains.autoscaling.observation import ObservationBuilder
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.rollouts import Rollouts
from graph_space.schema import MOVES, GraphObservation

__all__ = ["MeshBatch"]


class MeshBatch:
    """B meshes played together, without Gymnasium's conventions: `begin` some, then `decide` for all.

    Args:
        config: the environment's configuration.
        batch_size: B.
        strict_actions: an action outside the mask raises instead of being counted and taken as 0.
    """

    def __init__(self, config: AutoscalingConfig, batch_size: int, *, strict_actions: bool = False) -> None:
        self.config = config
        self.batch_size = batch_size
        self.strict_actions = strict_actions
        self.simulation = MeshSimulation(
            batch_size, config.max_nodes, config.max_edges, most_classes(config), PhysicsSettings()
        )
        self.rollouts = Rollouts(config, self.simulation)
        self.monitoring = monitoring_of(config, batch_size)
        self.builder = ObservationBuilder.of(config, batch_size)
        self.episodes: list[Episode | None] = [None] * batch_size
        self.meshes: list[Mesh | None] = [None] * batch_size
        self.second = np.zeros(batch_size, dtype=np.int64)
        self._warm_up_seconds = warm_up_seconds(config)
        longest = config.episode_decisions * config.decision_seconds + self._warm_up_seconds
        self._rps = np.zeros((batch_size, longest), dtype=np.float32)
        self._load = np.zeros((batch_size, config.decision_seconds), dtype=np.float32)
        self._desired = np.zeros((batch_size, config.max_nodes), dtype=np.int64)
        self._changes = np.zeros((batch_size, config.max_nodes), dtype=np.float32)
        self._illegal = np.zeros(batch_size, dtype=np.int64)
        self._service_mask = np.zeros((batch_size, config.max_nodes), dtype=np.bool_)
        self._slo_ms = np.ones(batch_size, dtype=np.float32)
        self.node_reward = np.zeros((batch_size, config.max_nodes), dtype=np.float32)

    def begin(self, b: int, episode: Episode) -> None:
        """Load an episode into environment `b`; the next `warm_up` plays its first seconds.

        Raises:
            ValueError: the mesh has more services or calls than an observation holds; nothing is loaded.
        """
        self.check_room(b, episode.mesh)
        seconds = len(episode.rps)
        if seconds > self._rps.shape[1]:
            self._rps = np.pad(self._rps, ((0, 0), (0, seconds - self._rps.shape[1])))
        self._rps[b] = 0.0
        self._rps[b, :seconds] = episode.rps
        self.episodes[b] = episode
        self.meshes[b] = episode.mesh
        self.second[b] = 0
        self.simulation.load(b, episode.mesh, slo_ms=episode.slo_ms)
        self.rollouts.start(b, episode.mesh, episode.churn.events)
        self.monitoring.start(b, episode.mesh, episode.slo_ms)
        shown = self.monitoring.observed(episode.mesh)
        self.builder.start(
            b,
            shown,
            slo_ms=episode.slo_ms,
            violation_weight=episode.violation_weight,
            lag_seconds=episode.metrics_lag_seconds,
        )
        self._slo_ms[b] = episode.slo_ms
        self._install(b, episode.mesh)

    def check_room(self, b: int, mesh: Mesh) -> None:
        """Raise ValueError where the mesh has more services or calls than an observation holds."""
        config = self.config
        for field, most, count, what in (
            ("max_nodes", config.max_nodes, len(mesh.services), "services"),
            ("max_edges", config.max_edges, len(mesh.calls), "calls"),
        ):
            if count > most:
                raise ValueError(
                    f"environment {b}: mesh {mesh.name!r} has {count} {what}, more than {field} = {most}; raise {field} "
                    f"to at least {count}, or take a smaller mesh"
                )

    def _install(self, b: int, mesh: Mesh) -> None:
        self._service_mask[b] = False
        self._service_mask[b, : len(mesh.services)] = True

    def warm_up(self, starting: NDArray[np.bool_], windows: int) -> None:
        """Play `windows` windows of the environments in `starting` [B] without decisions."""
        for _ in range(windows):
            self._advance(starting)
            self.builder.push(self.monitoring.see(self.simulation.scrape(), starting), starting)

    def _advance(self, active: NDArray[np.bool_]) -> None:
        _take(self._rps, self.second, self._load, active)
        self.simulation.advance(self._load, active)

    def decide(self, actions: NDArray[np.int64], acting: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Apply the actions of the environments in `acting` [B], play one decision interval of all, and observe.

        Args:
            actions: int64 [B, N] move per slot (`joint`) or [B] slot * 15 + move (`select`).
            acting: environments whose action counts; the others play the interval as they stand.

        Returns:
            The reward [B]; its split by slot of the observation that was answered stands in `node_reward`.

        Raises:
            ValueError: with `strict_actions`, an action outside the mask (nothing is executed).
        """
        config, builder = self.config, self.builder
        if config.action_mode == "select":
            moves = np.zeros((self.batch_size, config.max_nodes), dtype=np.int64)
            slot, move = np.divmod(np.asarray(actions, dtype=np.int64), len(MOVES))
            moves[np.arange(self.batch_size), slot] = move
        else:
            moves = np.ascontiguousarray(actions, dtype=np.int64)
        mask = builder.observation["action_mask"]
        self._desired[:] = self.simulation.window.desired
        self._changes[:] = 0.0
        _apply(moves, mask, builder.slot_of_service, MOVES, acting, self._desired, self._changes, self._illegal)
        if self.strict_actions and self._illegal.any():
            b = int(np.flatnonzero(self._illegal)[0])
            raise ValueError(
                f"environment {b}: {int(self._illegal[b])} action(s) outside the action mask; mask the logits with "
                "observation['action_mask'] before choosing"
            )
        slots = builder.slot_of_service.copy()
        self.simulation.set_desired(self._desired)
        self._advance(np.ones(self.batch_size, dtype=np.bool_))
        window = self.simulation.scrape()
        builder.push(self.monitoring.see(window), np.ones(self.batch_size, dtype=np.bool_))
        violation = softened(
            (window.violating_seconds / np.maximum(window.seconds, 1.0)).astype(np.float32),
            window.latency_p95_ms / self._slo_ms,
            config.violation_softness,
        )
        per_service = service_rewards(
            config.goal,
            window.billed_replicas,
            self._changes,
            window.queue_excess,
            violation,
            window.latency_mean_ms / self._slo_ms,
            builder.violation_weight,
            config.change_weight,
            config.max_replicas,
            self._service_mask,
        )
        _scatter(per_service, slots, self.node_reward)
        return per_service.sum(1)

    def churn(self) -> None:
        """Let the topology changes happen that are due; observed from the next `observe` on."""
        seconds = self.second - self._warm_up_seconds
        for b in self.rollouts.due(seconds):
            for change in self.rollouts.happen(b, int(seconds[b])):
                if change.new is not change.old:
                    self._remesh(b, change.old, change.new)

    def _remesh(self, b: int, old: Mesh, new: Mesh) -> None:
        """The simulation of `b` has another mesh."""
        shown = self.monitoring.observed(new)
        self.monitoring.remesh(b, old, new)
        self.builder.remesh(b, self.monitoring.observed(old), shown, self.monitoring.reassembler(b))
        self.meshes[b] = new
        self._install(b, new)

    def observe(self) -> GraphObservation:
        """Write and return the observation (arrays owned by the batch)."""
        return self.builder.write(self.simulation.window)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """What the last decision interval was like, arrays [B]: the domain's metrics of `infos`."""
        window = self.simulation.window
        return {
            "replicas": window.billed_replicas.sum(1),
            "violating_share": window.violating_seconds / np.maximum(window.seconds, 1.0),
            "latency_mean_ms": window.latency_mean_ms.copy(),
            "latency_p95_ms": window.latency_p95_ms.copy(),
            "error_share": window.mesh_error_share.copy(),
            "external_rps": window.external_rps.copy(),
            "scale_moves": self._changes.sum(1),
            "illegal_actions": self._illegal.astype(np.float32),
        }

    def state_dict(self) -> dict[str, Any]:
        """State in mid-episode. Episodes are not stored but drawn again from their number, and their topology changes replayed."""
        return {
            "simulation": self.simulation.state_dict(),
            "monitoring": self.monitoring.state_dict(),
            "builder": self.builder.state_dict(),
            "second": self.second.copy(),
            "rollouts": self.rollouts.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], episodes: list[Episode]) -> None:
        """Restore `state_dict`, given the episodes that were being played."""
        for b, episode in enumerate(episodes):
            self.begin(b, episode)
        self.rollouts.load_state_dict(state["rollouts"])
        for b, episode in enumerate(episodes):
            if self.rollouts.mesh(b) is not episode.mesh:
                self._remesh(b, episode.mesh, self.rollouts.mesh(b))
        self.simulation.load_state_dict(state["simulation"])
        self.monitoring.load_state_dict(state["monitoring"])
        self.builder.load_state_dict(state["builder"])
        self.second[:] = np.asarray(state["second"])


@njit(cache=True, nogil=True)
def _take(rps, second, load, active):  # type: ignore[no-untyped-def]
    """Copy the next seconds of each active environment's load and move its clock on."""
    ticks = load.shape[1]
    for b in range(load.shape[0]):
        if active[b]:
            for k in range(ticks):
                t = min(second[b] + k, rps.shape[1] - 1)
                load[b, k] = rps[b, t]
            second[b] += ticks


@njit(cache=True, nogil=True)
def _apply(moves, mask, slot_of_service, deltas, acting, desired, changes, illegal):  # type: ignore[no-untyped-def]
    for b in range(moves.shape[0]):
        illegal[b] = 0
        if not acting[b]:
            continue
        for n in range(mask.shape[1]):
            # A move on an empty slot is illegal unless it is the no-op that random sampling and padding give.
            if moves[b, n] != 0 and mask[b, n, moves[b, n]] == 0:
                illegal[b] += 1
        for s in range(slot_of_service.shape[1]):
            slot = slot_of_service[b, s]
            if slot < 0:
                break
            move = moves[b, slot]
            if mask[b, slot, move]:
                desired[b, s] += deltas[move]
                changes[b, s] = abs(deltas[move])


@njit(cache=True, nogil=True)
def _scatter(per_service, slot_of_service, per_slot):  # type: ignore[no-untyped-def]
    per_slot[:] = 0.0
    for b in range(per_service.shape[0]):
        for s in range(per_service.shape[1]):
            slot = slot_of_service[b, s]
            if slot < 0:
                break
            per_slot[b, slot] = per_service[b, s]
