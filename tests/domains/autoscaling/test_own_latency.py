"""The split of a violation that a cluster's figures allow: by hand, and against the simulator's own."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.autoscaling.mesh import Call
from gnnrl.domains.autoscaling.observed import ObservedMesh, ObservedService
from gnnrl.domains.autoscaling.own_latency import OwnLatency
from gnnrl.domains.autoscaling.telemetry import Telemetry, make_telemetry

MESH = ObservedMesh(
    name="chain",
    services=tuple(ObservedService(name=name) for name in ("front", "middle", "back", "idle")),
    calls=(
        Call(source="front", target="middle"),
        Call(source="front", target="back"),
        Call(source="middle", target="back"),
    ),
)


def window(front_ms: float, middle_ms: float, back_ms: float) -> Telemetry:
    """10 requests/s; each calls middle half the time and back twice, middle calls back once."""
    made = make_telemetry(1, 6, 5, histogram=False)
    made.rps_in[0, :3] = 10.0, 5.0, 25.0
    made.p95_ms[0, :3] = front_ms, middle_ms, back_ms
    made.call_rps[0, :3] = 5.0, 20.0, 5.0
    made.call_p95_ms[0, :3] = middle_ms, back_ms, back_ms
    return made


def test_a_service_is_charged_what_it_adds_itself() -> None:
    own = OwnLatency()
    # Own parts: front 100 - 0.5 x 40 - 2 x 10 = 60, middle 40 - 10 = 30, back 10.
    assert own.excess(MESH, window(100.0, 40.0, 10.0)).tolist() == [[0.0] * 6]
    # 30 ms more in the back are 60 more at the front and 30 more in the middle, twice over half: none of it theirs.
    slow_back = own.excess(MESH, window(175.0, 70.0, 40.0))
    assert slow_back[0].tolist() == pytest.approx([0.0, 0.0, 30.0 * 25.0, 0.0, 0.0, 0.0])
    slow_front = own.excess(MESH, window(300.0, 40.0, 10.0))
    assert slow_front[0].tolist() == pytest.approx([200.0 * 10.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    # The lowest is remembered by name: elsewhere, and lower.
    turned = ObservedMesh(name="chain", services=(*MESH.services[::-1],), calls=MESH.calls)
    swapped = window(0.0, 0.0, 0.0)
    swapped.rps_in[0, :4], swapped.p95_ms[0, :4] = [0.0, 25.0, 5.0, 10.0], [0.0, 10.0, 40.0, 90.0]
    swapped.call_p95_ms[0, :3] = 40.0, 10.0, 10.0
    assert own.excess(turned, swapped)[0].tolist() == [0.0] * 6
    again = own.excess(MESH, window(100.0, 40.0, 10.0))
    assert again[0].tolist() == pytest.approx([10.0 * 10.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def test_what_its_calls_take_is_never_charged_below_nothing() -> None:
    own = OwnLatency()
    own.excess(MESH, window(100.0, 40.0, 60.0))  # 2 x 60 alone is more than the front takes
    assert own.excess(MESH, window(100.0, 70.0, 10.0))[0].tolist() == pytest.approx(
        [45.0 * 10.0, 60.0 * 5.0, 0.0, 0.0, 0.0, 0.0]
    )


def test_it_comes_near_the_simulators_own_split_and_equal_shares_do_not() -> None:
    config = AutoscalingConfig(telemetry="kiali", max_edges=64, episode_decisions=120)
    envs = MeshVectorEnv(8, config)
    obs, _ = envs.reset(seed=5)
    rng = np.random.default_rng(0)
    estimates = [OwnLatency() for _ in range(8)]
    recent: list[np.ndarray] = []
    ours, equal, named = [], [], []
    for _ in range(119):
        weight = obs["action_mask"] * np.where(np.arange(15) == 0, 20.0, np.where(np.arange(15) < 4, 1.0, 0.3))
        action = (np.log(rng.random(weight.shape)) / np.maximum(weight, 1e-9)).argmax(-1) * (weight.sum(-1) > 0)
        obs, *_ = envs.step(action)
        monitoring, simulated = envs.batch.monitoring, envs.batch.simulation.window
        recent = [*recent[-3:], simulated.queue_excess.copy()]  # the graph shows the mean of four windows
        for b, mesh in enumerate(envs.batch.meshes):
            assert mesh is not None
            single = make_telemetry(1, config.max_nodes, config.max_edges, histogram=False)
            for name in ("rps_in", "p95_ms", "call_rps", "call_p95_ms"):
                getattr(single, name)[0] = getattr(monitoring.seen, name)[b]
            excess = estimates[b].excess(monitoring.observed(mesh), single)[0, : len(mesh.services)]
            true = np.mean(recent, axis=0)[b, : len(mesh.services)]
            if len(recent) < 4 or monitoring.seen.violating_seconds[b] == 0.0 or not excess.any():
                continue
            true, excess = true / true.sum(), excess / excess.sum()
            ours.append(0.5 * np.abs(true - excess).sum())
            equal.append(0.5 * np.abs(true - 1.0 / len(true)).sum())
            named.append(true.argmax() == excess.argmax())
    assert len(ours) > 300
    assert np.mean(ours) < 0.2 < 0.7 < np.mean(equal)
    assert np.mean(named) > 0.8
