"""The autoscaling environment: a batch of simulated meshes, as a Gymnasium `VectorEnv` and, as the batch of one, as an `Env`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numba import njit
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.churn import apply_event
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode, warm_up_seconds
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.objective import service_rewards
from gnnrl.domains.autoscaling.observation import ObservationBuilder
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from graph_space import DynamicGraphConfig, DynamicGraphSpace
from graph_space.schema import EDGES, GLOBALS, MOVES, NODES, GraphObservation, autoscaling_schema

__all__ = ["MeshBatch", "MeshEnv", "MeshVectorEnv", "action_space", "graph_config"]

EpisodeSource = Callable[[int, int], Episode]
"""(environment index, number of its episode) -> episode."""

MAX_CLASSES = 6


def graph_config(config: AutoscalingConfig) -> DynamicGraphConfig:
    """Shape of the observations of this configuration."""
    schema = autoscaling_schema(config.node_columns)
    return DynamicGraphConfig(
        max_nodes=config.max_nodes,
        max_edges=config.max_edges,
        node_feat_dim=len(schema.names(NODES)),
        edge_feat_dim=len(schema.names(EDGES)),
        global_feat_dim=len(schema.names(GLOBALS)),
        num_moves=len(MOVES),
    )


def action_space(config: AutoscalingConfig) -> spaces.MultiDiscrete | spaces.Discrete:
    """`joint`: MultiDiscrete [15] * max_nodes; `select`: Discrete(max_nodes * 15), slot * 15 + move."""
    moves = len(MOVES)
    if config.action_mode == "joint":
        return spaces.MultiDiscrete(np.full(config.max_nodes, moves))
    return spaces.Discrete(config.max_nodes * moves)


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
            batch_size, config.max_nodes, config.max_edges, MAX_CLASSES, PhysicsSettings()
        )
        self.builder = ObservationBuilder(
            batch_size=batch_size,
            max_services=config.max_nodes,
            max_calls=config.max_edges,
            max_nodes=config.max_nodes,
            max_edges=config.max_edges,
            node_columns=config.node_columns,
            lag_windows=config.metrics_lag_seconds // config.decision_seconds,
            decision_seconds=config.decision_seconds,
            min_replicas=config.min_replicas,
            max_replicas=config.max_replicas,
        )
        self.episodes: list[Episode | None] = [None] * batch_size
        self.meshes: list[Mesh | None] = [None] * batch_size
        self.second = np.zeros(batch_size, dtype=np.int64)
        self._next_event = np.zeros(batch_size, dtype=np.int64)
        longest = config.episode_decisions * config.decision_seconds + warm_up_seconds(config)
        self._rps = np.zeros((batch_size, longest), dtype=np.float32)
        self._load = np.zeros((batch_size, config.decision_seconds), dtype=np.float32)
        self._desired = np.zeros((batch_size, config.max_nodes), dtype=np.int64)
        self._changes = np.zeros((batch_size, config.max_nodes), dtype=np.float32)
        self._illegal = np.zeros(batch_size, dtype=np.int64)
        self._service_mask = np.zeros((batch_size, config.max_nodes), dtype=np.bool_)
        self._slo_ms = np.ones(batch_size, dtype=np.float32)
        self.node_reward = np.zeros((batch_size, config.max_nodes), dtype=np.float32)

    def begin(self, b: int, episode: Episode) -> None:
        """Load an episode into environment `b`; the next `warm_up` plays its first seconds."""
        seconds = len(episode.rps)
        if seconds > self._rps.shape[1]:
            self._rps = np.pad(self._rps, ((0, 0), (0, seconds - self._rps.shape[1])))
        self._rps[b] = 0.0
        self._rps[b, :seconds] = episode.rps
        self.episodes[b] = episode
        self.meshes[b] = episode.mesh
        self.second[b] = 0
        self._next_event[b] = 0
        self.simulation.load(b, episode.mesh, slo_ms=episode.slo_ms)
        self.builder.start(b, episode.mesh, slo_ms=episode.slo_ms, violation_weight=episode.violation_weight)
        self._slo_ms[b] = episode.slo_ms
        self._install(b, episode.mesh)

    def _install(self, b: int, mesh: Mesh) -> None:
        self._service_mask[b] = False
        self._service_mask[b, : len(mesh.services)] = True

    def warm_up(self, starting: NDArray[np.bool_], windows: int) -> None:
        """Play `windows` windows of the environments in `starting` [B] without decisions."""
        for _ in range(windows):
            self._advance(starting)
            self.builder.push(self.simulation.scrape(), starting)

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
        builder.push(window, np.ones(self.batch_size, dtype=np.bool_))
        per_service = service_rewards(
            config.goal,
            window.billed_replicas,
            self._changes,
            window.queue_excess,
            window.violating_seconds / np.maximum(window.seconds, 1.0),
            window.latency_mean_ms / self._slo_ms,
            builder.violation_weight,
            config.change_weight,
            config.max_replicas,
            self._service_mask,
        )
        _scatter(per_service, slots, self.node_reward)
        return per_service.sum(1)

    def churn(self) -> None:
        """Apply the topology changes that are due; observed from the next `observe` on."""
        warm_up = warm_up_seconds(self.config)
        for b, episode in enumerate(self.episodes):
            if episode is None:
                continue
            events = episode.churn.events
            while self._next_event[b] < len(events) and events[self._next_event[b]].second + warm_up <= self.second[b]:
                event = events[self._next_event[b]]
                self._next_event[b] += 1
                self._apply_event(b, event)

    def _apply_event(self, b: int, event: Any) -> None:
        mesh = self.meshes[b]
        assert mesh is not None
        changed, crash = apply_event(mesh, event, max_services=self.config.max_nodes, max_calls=self.config.max_edges)
        if crash is not None:
            self.simulation.crash_pods(b, crash, 1)
        if changed is not mesh:
            old_order = tuple(service.name for service in mesh.services)
            old_calls = tuple((call.source, call.target) for call in mesh.calls)
            self.simulation.change_mesh(b, changed)
            self.builder.remesh(b, old_order, changed, old_calls)
            self.meshes[b] = changed
            self._install(b, changed)

    def observe(self) -> GraphObservation:
        """Write and return the observation (arrays owned by the batch)."""
        return self.builder.write(self.simulation.window)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """What the last decision interval was like, arrays [B]: the domain's metrics of `infos`."""
        window = self.simulation.window
        return {
            "replicas": window.billed_replicas.sum(1),
            "violating_share": window.violating_seconds / np.maximum(window.seconds, 1.0),
            "latency_mean_ms": window.latency_mean_ms,
            "latency_p95_ms": window.latency_p95_ms,
            "error_share": window.mesh_error_share,
            "external_rps": window.external_rps,
            "scale_moves": self._changes.sum(1),
            "illegal_actions": self._illegal.astype(np.float32),
        }

    def state_dict(self) -> dict[str, Any]:
        """State in mid-episode. Episodes are not stored but drawn again from their number, and their churn replayed."""
        return {
            "simulation": self.simulation.state_dict(),
            "builder": self.builder.state_dict(),
            "second": self.second.copy(),
            "next_event": self._next_event.copy(),
        }

    def load_state_dict(self, state: dict[str, Any], episodes: list[Episode]) -> None:
        """Restore `state_dict`, given the episodes that were being played."""
        for b, episode in enumerate(episodes):
            self.begin(b, episode)
            for event in episode.churn.events[: int(state["next_event"][b])]:
                self._apply_event(b, event)
        self.simulation.load_state_dict(state["simulation"])
        self.builder.load_state_dict(state["builder"])
        self.second[:] = np.asarray(state["second"])
        self._next_event[:] = np.asarray(state["next_event"])


class MeshVectorEnv(VectorEnv):
    """B meshes as a Gymnasium vector environment, autoreset in the next step.

    Args:
        config: the environment's configuration; keyword arguments in `changes` replace its fields.
        num_envs: B.
        split: the stream of episodes; seed `s` plays the episodes of environment b that `SeedSequence([s, b, k])` numbers.
        copy: observations are copies; False gives the environment's own arrays, valid until the next step.
        strict_actions: an action outside the mask raises instead of being counted (`infos["illegal_actions"]`) and taken as 0.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        config: AutoscalingConfig | None = None,
        *,
        split: Split = Split.TRAIN,
        copy: bool = True,
        strict_actions: bool = False,
        **changes: Any,
    ) -> None:
        self.config = replace(config or AutoscalingConfig(), **changes)
        self.num_envs = num_envs
        self.split = split
        self.copy = copy
        self.batch = MeshBatch(self.config, num_envs, strict_actions=strict_actions)
        self.single_observation_space = DynamicGraphSpace(graph_config(self.config))
        self.single_action_space = action_space(self.config)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seed: int | None = None
        self._episode_number = np.zeros(num_envs, dtype=np.int64)
        self._decisions = np.zeros(num_envs, dtype=np.int64)
        self._done = np.zeros(num_envs, dtype=np.bool_)
        self._lag_windows = self.config.metrics_lag_seconds // self.config.decision_seconds

    def _episode(self, b: int) -> Episode:
        number = np.random.SeedSequence([self._seed or 0, b, int(self._episode_number[b])]).generate_state(1)[0]
        return draw_episode(self.config, self.split, int(number))

    def _observed(self) -> GraphObservation:
        observation = self.batch.observe()
        return {key: value.copy() for key, value in observation.items()} if self.copy else observation

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start every environment anew; with `seed` from the first episode of that seed.

        `options={"episodes": [...]}` plays the given episodes first.
        """
        if seed is not None or self._seed is None:
            self._seed = seed if seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
            self._episode_number[:] = 0
        else:
            self._episode_number += 1
        given = (options or {}).get("episodes")
        for b in range(self.num_envs):
            self.batch.begin(b, given[b] if given is not None else self._episode(b))
        self.batch.warm_up(np.ones(self.num_envs, dtype=np.bool_), self._lag_windows + 1)
        self._decisions[:] = 0
        self._done[:] = False
        return self._observed(), {}

    def step(  # type: ignore[override]
        self, actions: NDArray[np.int64]
    ) -> tuple[GraphObservation, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One decision interval; an environment whose episode had ended starts its next one instead, with reward 0."""
        batch, starting = self.batch, self._done
        acting = ~starting
        if starting.any():
            for b in np.flatnonzero(starting):
                self._episode_number[b] += 1
                batch.begin(int(b), self._episode(int(b)))
            batch.warm_up(starting, self._lag_windows)
        reward = np.where(acting, batch.decide(actions, acting), 0.0)
        batch.node_reward[starting] = 0.0
        batch.churn()
        self._decisions = np.where(acting, self._decisions + 1, 0)
        infos: dict[str, Any] = batch.outcome()
        infos["node_reward"] = batch.node_reward.copy() if self.copy else batch.node_reward
        truncated = self._decisions >= self.config.episode_decisions
        self._done = truncated
        return self._observed(), reward, np.zeros(self.num_envs, dtype=np.bool_), truncated.copy(), infos

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on in mid-episode, as arrays and plain values."""
        return {
            "seed": self._seed,
            "episode_number": self._episode_number.copy(),
            "decisions": self._decisions.copy(),
            "done": self._done.copy(),
            "batch": self.batch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into an environment of the same configuration (episodes drawn from the seed, not given)."""
        self._seed = int(state["seed"])
        self._episode_number[:] = np.asarray(state["episode_number"])
        self._decisions = np.asarray(state["decisions"]).copy()
        self._done = np.asarray(state["done"]).copy()
        self.batch.load_state_dict(state["batch"], [self._episode(b) for b in range(self.num_envs)])


class MeshEnv(gymnasium.Env):
    """One mesh as a Gymnasium environment: the batch of one of the same code."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        config: AutoscalingConfig | None = None,
        *,
        split: Split = Split.TRAIN,
        strict_actions: bool = False,
        **changes: Any,
    ) -> None:
        self._vector = MeshVectorEnv(1, config, split=split, strict_actions=strict_actions, **changes)
        self.config = self._vector.config
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    @property
    def mesh(self) -> Mesh:
        """The mesh as it stands, after churn.

        Raises:
            RuntimeError: before the first reset.
        """
        mesh = self._vector.batch.meshes[0]
        if mesh is None:
            raise RuntimeError("MeshEnv.mesh: there is no mesh before reset(); call reset() first")
        return mesh

    def slot_names(self) -> dict[int, str]:
        """Slot -> name of the service that stands there."""
        slots = self._vector.batch.builder.slot_of_service[0]
        return {int(slots[s]): service.name for s, service in enumerate(self.mesh.services)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start the next episode; `options={"episode": Episode}` plays that one."""
        super().reset(seed=seed)
        episode = (options or {}).get("episode")
        observation, _ = self._vector.reset(seed=seed, options={"episodes": [episode]} if episode else None)
        return {key: value[0] for key, value in observation.items()}, {}

    def step(self, action: Any) -> tuple[GraphObservation, float, bool, bool, dict[str, Any]]:
        """One decision interval."""
        observation, reward, terminated, truncated, infos = self._vector.step(np.asarray(action)[None])
        return (
            {key: value[0] for key, value in observation.items()},
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {key: value[0] for key, value in infos.items()},
        )

    def action_masks(self) -> NDArray[np.bool_]:
        """[max_nodes * 15] true = legal, as sb3-contrib's MaskablePPO asks for it; the padding's no-op counts as legal in `joint`."""
        mask = self._vector.batch.builder.observation["action_mask"][0].astype(np.bool_)
        if self.config.action_mode == "joint":
            mask = mask.copy()
            mask[:, 0] = True
        return mask.reshape(-1)


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
