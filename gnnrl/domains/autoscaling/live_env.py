"""A live cluster as a Gymnasium environment: the reader, the guardrails and the actuator of `gnnrl live` behind `reset` and `step`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from numpy.typing import NDArray

from gnnrl.cluster.clock import Clock, SystemClock
from gnnrl.cluster.errors import ClusterUnavailableError
from gnnrl.cluster.guardrails.annotations import SLO_MS
from gnnrl.cluster.models import ClusterSnapshot
from gnnrl.config.checked import configured
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.env import action_space, graph_config
from gnnrl.domains.autoscaling.guarded_scaling import GuardedScaling, Sent, wide_guardrails
from gnnrl.domains.autoscaling.objective import service_rewards, softened
from gnnrl.domains.autoscaling.observation import ObservationBuilder
from gnnrl.domains.autoscaling.observed import ObservedMesh
from gnnrl.domains.autoscaling.own_latency import OwnLatency
from gnnrl.domains.autoscaling.paced_cluster import PacedCluster, Seen, cannot_decide, cannot_restore, note_written
from gnnrl.domains.autoscaling.sensing import CapacityExceeded, Reading, Sensing
from gnnrl.domains.autoscaling.telemetry import Telemetry
from graph_space import DynamicGraphSpace
from graph_space.actions import ActionCheck
from graph_space.arguments import whole_number
from graph_space.schema import ACTION_MASK, MOVES, GraphObservation

__all__ = ["LiveMeshEnv"]

LONGEST_SLO_MS = 1e7


class LiveMeshEnv(gymnasium.Env):
    """One namespace of a cluster, in its own time: a step lasts as long as a decision does.

    Spaces, observation and mask are those of `MeshEnv` with `telemetry: kiali`. What only a simulation can be told (`mesh`, `workloads`,
    `randomisation`, `churn`, ...) is ignored in the configuration. The reward is that of `objective.py` made of what is visible: replicas
    are ready + starting + draining pods at the end of the decision, the P95 and the violation are those of the graph's window, the
    violation is split by `OwnLatency`, and the goal `latency` uses the P95.

    `info` of a step: `node_reward` [N] in the slots of the observation that was answered, `replicas`, `violating_share`,
    `latency_p95_ms`, `external_rps`, `scale_moves` (replicas changed), `illegal_actions`, `graph_age_seconds` and `metrics_age_seconds`,
    `waited_intervals` (without usable data), `held` (names of services that a guardrail gave another number than the action wanted) and
    `problems` (for people). `node_reward` is 0 in the `info` of a reset, so that `gymnasium.vector.SyncVectorEnv` can train on one.

    Nothing is put back when `reset` or `step` raises: what had been written by then is in a note of the exception, and stays. Use it in a
    `with` statement, or call `close`.

    Args:
        config: spaces, bounds, goal and length of an episode; keyword arguments in `changes` replace its fields.
        kiali_url, prometheus_url: where the service graph comes from, one of both.
        namespace: whose Deployments are scaled.
        kubeconfig, context: the cluster; None = as kubectl finds it, or the service account of the pod.
        token_file, ca_file: of Kiali or Prometheus.
        slo_ms: objective of the 95th percentile end to end; None = the annotation `gnnrl.io/slo-ms` of the namespace.
        violation_weight: what a violating decision costs, in replica-decisions; shown to the policy.
        clock: whose time it is.
        settle_seconds: most seconds that a reset waits for pods to be ready and for the graph's window to begin after the restoration.
        patience_intervals: most decision intervals in a row that are waited for usable data.
        dry_run: writes are checked by the API server and thrown away.
        guardrails: between the action and the cluster, their limits those of the action mask too; None = limits only (the configuration's,
            and annotations). Owned, paused, not scalable and untrusted services are held in any case.
        restore_on_close: `close` puts back the replicas of all Deployments that were written to.
        stale_after_seconds: graph or metrics older than this are not used.
        read_deadline_seconds: within which the cluster must answer, of the machine's time.
        past_capacity: what happens with more services than `max_nodes`: `error`, or `drop_least_active`.
        cluster: that is scaled, where the graph shows several.

    Raises:
        ConfigError: a field of the configuration that does not exist, or holds what it may not.
        ValueError: neither or both URLs, no usable objective, a number that cannot be.
        CapacityExceeded: more services or calls than `max_nodes` or `max_edges`.
        ClusterUnavailableError: something could not be read; with every reason.
        ClusterConfigError, KialiError: a kubeconfig, a URL or a file that cannot be used.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - declared so by Gymnasium
    spec = EnvSpec("gnnrl/LiveMesh-v0", entry_point=f"{__name__}:LiveMeshEnv", nondeterministic=True)
    """A cluster does not repeat itself, whatever the seed."""

    def __init__(
        self,
        config: AutoscalingConfig | None = None,
        *,
        kiali_url: str | None = None,
        prometheus_url: str | None = None,
        namespace: str = "onlineboutique",
        kubeconfig: Path | str | None = None,
        context: str | None = None,
        token_file: Path | str | None = None,
        ca_file: Path | str | None = None,
        slo_ms: float | None = None,
        violation_weight: float = 400.0,
        clock: Clock | None = None,
        settle_seconds: float = 180.0,
        patience_intervals: int = 4,
        dry_run: bool = False,
        guardrails: GuardrailConfig | None = None,
        restore_on_close: bool = True,
        stale_after_seconds: float = 75.0,
        read_deadline_seconds: float = 5.0,
        past_capacity: Literal["error", "drop_least_active"] = "error",
        cluster: str = "",
        **changes: Any,
    ) -> None:
        # Imported here: who only simulates needs no Kubernetes client.
        from gnnrl.domains.autoscaling.cluster_access import ClusterAccess

        config = configured(AutoscalingConfig, config, changes, where="LiveMeshEnv")
        for name, value, least in (
            ("slo_ms", 1.0 if slo_ms is None else slo_ms, 0.0),
            ("violation_weight", violation_weight, 0.0),
            ("stale_after_seconds", stale_after_seconds, 0.0),
            ("read_deadline_seconds", read_deadline_seconds, 0.0),
            ("settle_seconds", settle_seconds, -1e-9),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not least < value < math.inf:
                raise ValueError(f"LiveMeshEnv: {name} {value!r} is not a number {'> 0' if least == 0.0 else '>= 0'}")
        whole_number(patience_intervals, "LiveMeshEnv: patience_intervals")
        if guardrails is not None and not isinstance(guardrails, GuardrailConfig):
            raise ValueError(f"LiveMeshEnv: guardrails {guardrails!r:.80} is not a GuardrailConfig")
        guardrails = guardrails or wide_guardrails(config.min_replicas, config.max_replicas)
        self.config = replace(config, min_replicas=guardrails.min_replicas, max_replicas=guardrails.max_replicas)
        self.observation_space = DynamicGraphSpace(graph_config(self.config))
        self.action_space = action_space(self.config)
        self._check = ActionCheck(self.action_space, None, "LiveMeshEnv.step")
        self.clock: Clock = clock or SystemClock()
        self.violation_weight, self.settle_seconds = violation_weight, settle_seconds
        self.dry_run, self.restore_on_close = dry_run, restore_on_close
        self._seen: Seen | None = None
        """What the last observation shows; None = `reset` is due."""
        self._closed = False
        self._access = ClusterAccess.open(
            namespace,
            self.clock,
            kiali_url=kiali_url,
            prometheus_url=prometheus_url,
            kubeconfig=kubeconfig,
            context=context,
            token_file=token_file,
            ca_file=ca_file,
            cluster=cluster,
            dry_run=dry_run,
            graph_window_seconds=config.graph_window_seconds,
            deadline_seconds=read_deadline_seconds,
        )
        try:
            snapshot = self._access.reader.read()
            failed = [problem.message for problem in snapshot.problems if not problem.service]
            if failed:
                raise ClusterUnavailableError(f"namespace {namespace!r} cannot be read: {'; '.join(failed)}")
            self.slo_ms = _slo_ms(snapshot) if slo_ms is None else slo_ms
            sensing = Sensing(
                max_nodes=config.max_nodes,
                max_edges=config.max_edges,
                interval_seconds=config.decision_seconds,
                stale_after_seconds=stale_after_seconds,
                slo_ms=self.slo_ms,
                past_capacity=past_capacity,
                cluster=cluster,
            )
            seconds = float(config.decision_seconds)
            scaling = GuardedScaling(guardrails, self._access.actuator, config.max_nodes, seconds)
            self._cluster = PacedCluster(
                self._access.reader,
                sensing,
                scaling,
                self.clock,
                interval_seconds=seconds,
                patience_intervals=patience_intervals,
            )
            self._cluster.take(snapshot)
        except BaseException:
            self._access.close()
            raise
        self._own_latency = OwnLatency()

    @property
    def mesh(self) -> ObservedMesh:
        """The mesh as it was last observed.

        Raises:
            RuntimeError: before the first reset.
        """
        if self._seen is None:
            raise RuntimeError("LiveMeshEnv.mesh: there is no mesh before reset(); call reset() first")
        return self._seen.reading.mesh

    def slot_names(self) -> dict[int, str]:
        """Slot -> name of the service that stands there."""
        slots = self._builder.slot_of_service[0]
        return {int(slots[s]): name for s, name in enumerate(self.mesh.names)}

    def action_masks(self) -> NDArray[np.bool_]:
        """[max_nodes * 15] true = legal, see `MeshEnv.action_masks`."""
        mask = self._builder.observation[ACTION_MASK][0].astype(np.bool_)
        if self.config.action_mode == "joint":
            mask[:, 0] = True
        return mask.reshape(-1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Put the replicas back, wait until the mesh has settled, and observe.

        `options={"replicas": {"frontend": 3}}` starts from other numbers than those that were there when the environment was made. A
        seed changes nothing: a cluster cannot be drawn anew.

        Raises:
            ValueError: options that are not understood, or replicas that the service may not have.
            ClusterUnavailableError: the cluster cannot be read, or a Deployment not be put back; with every reason.
            CapacityExceeded: more services or calls than fit.
        """
        if self._closed:
            raise ClosedEnvironmentError("LiveMeshEnv.reset: the environment is closed")
        super().reset(seed=seed)
        self._seen = None
        self._cluster.begin()
        self._cluster.scaling.forget()
        seen, waited = self._cluster.patiently(cannot_restore)
        chosen = self._cluster.chosen(options or {}, seen)
        sent, seen, again = self._cluster.restore(seen, self._cluster.initial_replicas | chosen)
        try:
            if not self.dry_run:
                changed = self.clock.now() if sent.written else None
                seen = self._cluster.settled(seen, changed, self.settle_seconds)
            seen, more = self._cluster.patiently(cannot_decide, seen)
        except (ClusterUnavailableError, CapacityExceeded) as error:
            note_written(error, sent)
            raise
        self._builder = ObservationBuilder.of(replace(self.config, telemetry="exact", metrics_lag_seconds=0), 1)
        self._builder.start(
            0, seen.reading.mesh, slo_ms=self.slo_ms, violation_weight=self.violation_weight, lag_seconds=0.0
        )
        self._decisions = 0
        self._began = seen.snapshot.taken_seconds
        self._observed_seconds = 0.0
        observation = self._observe(seen)
        info = self._info(seen, sent, waited + again + more)
        return observation, {**info, "node_reward": np.zeros(self.config.max_nodes, np.float32)}

    def step(self, action: Any) -> tuple[GraphObservation, float, bool, bool, dict[str, Any]]:
        """Scale, wait for the next decision, and observe.

        Raises:
            ResetNeeded: before the first reset, after the end of an episode, or after an exception.
            ClosedEnvironmentError: after `close`.
            ActionError: the action is not in the action space. Nothing is written.
            ClusterUnavailableError: no usable data for `patience_intervals` more intervals; with every reason.
            CapacityExceeded: more services or calls than fit.
        """
        before = self._seen
        if self._closed:
            raise ClosedEnvironmentError("LiveMeshEnv.step: the environment is closed")
        if before is None or self._decisions >= self.config.episode_decisions:
            raise ResetNeeded(
                "LiveMeshEnv.step: call reset() first; after the end of an episode and after an exception too"
            )
        change, illegal = self._change(action)
        slot_of = dict(zip(before.reading.mesh.names, self._builder.slot_of_service[0].tolist(), strict=False))
        self._seen = None
        wish = before.reading.window.desired[0].astype(np.int64) + change
        sent = self._cluster.scaling.apply(before.snapshot, before.reading, wish)
        try:
            self._cluster.wait()
            seen, waited = self._cluster.patiently(cannot_decide)
        except (ClusterUnavailableError, CapacityExceeded) as error:
            note_written(error, sent)
            raise
        if seen.reading.mesh != before.reading.mesh:
            self._builder.remesh(0, before.reading.mesh, seen.reading.mesh)
        violating, node_reward = self._reward(seen.reading, sent, slot_of)
        observation = self._observe(seen)
        self._decisions += 1
        info = {
            **self._info(seen, sent, waited),
            "node_reward": node_reward,
            "violating_share": violating,
            "illegal_actions": float(illegal),
        }
        return observation, float(node_reward.sum()), False, self._decisions >= self.config.episode_decisions, info

    def close(self) -> None:
        """Put back what was written to (`restore_on_close`), and close every connection. A second call does nothing.

        Raises:
            ClusterUnavailableError: a Deployment could not be put back; the connections are closed all the same.
        """
        if self._closed:
            return
        self._closed, self._seen = True, None
        try:
            initial, touched = self._cluster.initial_replicas, self._cluster.scaling.touched
            if self.restore_on_close and touched:
                self._cluster.begin()
                seen, _ = self._cluster.patiently(cannot_restore)
                self._cluster.restore(seen, {name: initial[name] for name in touched})
        finally:
            self._access.close()

    def _change(self, action: Any) -> tuple[NDArray[np.int64], int]:
        """Replicas to add by service column [S], and how many moves were outside the mask."""
        moves = self._check(action)
        if self.config.action_mode == "select":
            slot, move = divmod(int(moves), len(MOVES))
            moves = np.zeros(self.config.max_nodes, dtype=np.int64)
            moves[slot] = move
        mask = self._builder.observation[ACTION_MASK][0].astype(np.bool_)
        legal_mask = np.take_along_axis(mask, moves[:, None], axis=1)[:, 0]
        illegal = int(((moves != 0) & ~legal_mask).sum())
        slots = self._builder.slot_of_service[0]
        by_slot = MOVES[np.where(legal_mask, moves, 0)]
        return np.where(slots >= 0, by_slot[np.maximum(slots, 0)], 0), illegal

    def _reward(self, reading: Reading, sent: Sent, slot_of: Mapping[str, int]) -> tuple[float, NDArray[np.float32]]:
        """Whether it violates, and the reward by slot [N] of the services that the action was for."""
        window, config = reading.window, self.config
        shape = (1, config.max_nodes)
        mask, changes = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
        for i, deployment in enumerate(reading.deployments):
            mask[0, i] = deployment.name in slot_of
            before, after = sent.written.get(deployment.name, (0, 0))
            changes[0, i] = abs(after - before)
        violating = (window.violating_seconds / np.maximum(window.seconds, 1.0)).astype(np.float32)
        p95_over_slo = window.latency_p95_ms / np.float32(self.slo_ms)
        per_service = service_rewards(
            config.goal,
            _billed(window),
            changes,
            self._own_latency.excess(reading.mesh, window),
            softened(violating, p95_over_slo, config.violation_softness),
            p95_over_slo,
            np.array([self.violation_weight], np.float32),
            config.change_weight,
            config.max_replicas,
            mask,
        )
        node_reward = np.zeros(config.max_nodes, np.float32)
        for i in np.flatnonzero(mask[0]).tolist():
            node_reward[slot_of[reading.mesh.names[i]]] = per_service[0, i]
        return float(violating[0]), node_reward

    def _observe(self, seen: Seen) -> GraphObservation:
        """The observation of this reading, which counts as consumed."""
        window = seen.reading.window
        self._builder.push(window, np.ones(1, np.bool_))
        now = seen.snapshot.taken_seconds - self._began
        observation = self._builder.write(window, now - self._observed_seconds)
        self._observed_seconds, self._seen = now, seen
        return {key: np.array(value[0]) for key, value in observation.items()}

    def _info(self, seen: Seen, sent: Sent, waited: int) -> dict[str, Any]:
        window = seen.reading.window
        left_out = (f"{name}: left out, there is no slot for it" for name in seen.reading.left_out)
        return {
            "replicas": float(_billed(window).sum()),
            "latency_p95_ms": float(window.latency_p95_ms[0]),
            "external_rps": float(window.external_rps[0]),
            "scale_moves": float(sum(abs(after - before) for before, after in sent.written.values())),
            **{f"{source}_age_seconds": float(age) for source, age in seen.reading.age_seconds.items()},
            "waited_intervals": float(waited),
            "held": tuple(sent.held),
            "problems": (*sent.problems, *seen.reading.problems, *left_out),
        }


def _billed(window: Telemetry) -> NDArray[np.float32]:
    """Pods that cost something now, [1, S]."""
    return (window.ready + window.starting + window.draining).astype(np.float32)


def _slo_ms(snapshot: ClusterSnapshot) -> float:
    how = f"give slo_ms, or kubectl annotate namespace {snapshot.namespace} {SLO_MS}=500"
    text = snapshot.namespace_annotations.get(SLO_MS)
    if text is None:
        raise ValueError(f"no objective for the 95th percentile end to end: {how}")
    try:
        slo = float(text)
    except ValueError:
        slo = math.nan
    if not 0.0 < slo < LONGEST_SLO_MS:
        raise ValueError(f"annotation {SLO_MS}: {text[:40]!r} is no time in milliseconds; {how}")
    return slo
