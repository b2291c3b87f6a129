"""What Kiali and the metrics API would show, against what the simulation measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.domains.autoscaling.churn import rename_service
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service, peak_rps
from gnnrl.domains.autoscaling.monitoring import KialiMonitoring, monitoring_of
from gnnrl.domains.autoscaling.monitoring_kernel import rounded
from gnnrl.domains.autoscaling.observed import GATEWAY, observe
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from graph_space.checks import check_observation

KIALI = AutoscalingConfig(telemetry="kiali", max_edges=64, episode_decisions=12)
PERIOD = 15


def chain() -> Mesh:
    """a -> b -> c, two calls of b for each of a, and a stateful store behind c."""
    return Mesh(
        name="chain",
        services=(
            Service(name="a", cpu_ms=2.0, replicas=2),
            Service(name="b", cpu_ms=2.0, replicas=2),
            Service(name="c", cpu_ms=2.0, replicas=2),
            Service(name="store", cpu_ms=0.1, stateful=True),
        ),
        calls=(Call(source="a", target="b"), Call(source="b", target="c"), Call(source="c", target="store")),
        classes=(RequestClass(name="get", root="a", weight=1.0, calls=(2.0, 1.0, 1.0)),),
    )


def played(mesh: Mesh, loads: list[float], windows: int = 4) -> tuple[KialiMonitoring, MeshSimulation, list[float]]:
    simulation = MeshSimulation(1, 8, 16, 4, PhysicsSettings())
    simulation.load(0, mesh, slo_ms=200.0)
    monitoring = KialiMonitoring(1, 8, 16, windows)
    monitoring.start(0, mesh, 200.0)
    p95 = []
    for load in loads:
        simulation.advance(np.full((1, PERIOD), load))
        window = simulation.scrape()
        monitoring.see(window)
        p95.append(float(window.latency_p95_ms[0]))
    return monitoring, simulation, p95


def test_the_gateway_is_a_node_that_nobody_scales_and_its_calls_carry_the_requests_from_outside() -> None:
    shown = observe(chain())
    assert shown.names == ("a", "b", "c", "store", GATEWAY)
    assert (shown.calls[-1].source, shown.calls[-1].target) == (GATEWAY, "a")
    assert shown.services[-1].stateful and shown.services[-1].outside
    monitoring, simulation, _ = played(chain(), [20.0] * 6)
    seen = monitoring.seen
    assert seen.external_rps[0] == pytest.approx(20.0, abs=0.01)
    assert seen.rps_out[0, 4] == seen.external_rps[0]
    np.testing.assert_allclose(seen.rps_in[0, :4], [20.0, 40.0, 40.0, 0.0], atol=0.011)
    assert monitoring.call_bytes[0, 2] == pytest.approx(40.0 * 1024, rel=1e-3), "tcp has bytes and no rate"
    assert simulation.window.rps_in[0, 3] > 39.0


def test_rates_are_means_over_the_window_and_follow_a_step_within_it() -> None:
    mesh = chain()
    for windows, expected in ((1, 40.0), (2, 30.0), (4, 25.0)):
        monitoring, _, _ = played(mesh, [20.0] * 6 + [40.0], windows)
        assert monitoring.seen.external_rps[0] == pytest.approx(expected, abs=0.02)
    monitoring, _, _ = played(mesh, [20.0], 4)
    assert monitoring.seen.external_rps[0] == pytest.approx(20.0, abs=0.02), (
        "a window that is not full yet is a mean of what there is"
    )


def test_figures_are_what_a_reader_gets_back_from_the_text() -> None:
    monitoring, _, _ = played(chain(), [17.123456] * 5)
    for rate in monitoring.call_rps[0, :4]:
        assert float(f"{rate:.2f}") == rate
    for p95 in monitoring.call_p95_ms[0, :4]:
        assert p95 == int(p95)
    assert rounded(2.675, 0) == 3.0 and rounded(0.125, 2) == 0.13 and rounded(1e7 + 0.004, 2) == 1e7


def test_a_response_time_contains_the_calls_made_downstream() -> None:
    monitoring, simulation, p95 = played(chain(), [10.0] * 8)
    own = simulation.window
    to_b, to_c, entry = monitoring.call_p95_ms[0, [0, 1, 3]]
    assert entry == round(p95[-1]), "end to end it is the measured percentile"
    mean = own.mean_ms[0]
    assert to_c > own.p95_ms[0, 2] and to_b > own.p95_ms[0, 1]
    spread = 2.0 * math.sqrt(sum((0.5 * (own.p95_ms[0, s] - mean[s])) ** 2 for s in (1, 2, 3)))
    assert to_b == pytest.approx(mean[1] + mean[2] + mean[3] + spread, abs=1.0)


def test_the_percentile_of_a_window_lies_among_those_of_its_parts_and_weighs_them_by_requests() -> None:
    mesh = chain()
    peak = peak_rps(mesh, 2.0, 0.8)
    monitoring, _, parts = played(mesh, [0.2 * peak] * 6 + [peak], 2)
    low, high = parts[-2:]
    merged = monitoring.seen.latency_p95_ms[0]
    assert low + 1 < merged < high - 1
    assert merged > 0.5 * (low + high), "five sixths of the requests are in the slow part"


def test_pods_are_measured_in_whole_nanocores_and_summed_over_those_that_were_ready() -> None:
    monitoring, simulation, _ = played(chain(), [20.0] * 3)
    exact, seen = simulation.window, monitoring.seen
    assert monitoring.metric_ready[0, :3].tolist() == [2, 2, 2]
    np.testing.assert_allclose(seen.cpu_millicores[0, :3], exact.cpu_millicores[0, :3], rtol=1e-6)
    np.testing.assert_allclose(seen.app_cpu_millicores[0, :3], exact.app_cpu_millicores[0, :3], rtol=1e-6)
    assert (seen.app_cpu_millicores[0, :3] < seen.cpu_millicores[0, :3]).all()
    whole = (monitoring.app_nanocores + monitoring.proxy_nanocores)[0, 0] * 2 / 1e6
    assert np.float32(whole) == seen.cpu_millicores[0, 0]


def test_a_violation_is_told_from_the_percentile_of_the_window() -> None:
    mesh = chain()
    peak = peak_rps(mesh, 2.0, 0.8)
    monitoring, _, _ = played(mesh, [0.3 * peak] * 6)
    assert monitoring.seen.violating_seconds[0] == 0.0
    monitoring, _, parts = played(mesh, [1.5 * peak] * 6)
    assert parts[-1] > 200.0 and monitoring.seen.violating_seconds[0] == PERIOD


def test_a_renamed_service_starts_unknown_and_the_others_keep_their_windows() -> None:
    monitoring, _, _ = played(chain(), [20.0] * 6)
    before = monitoring.call_rps[0].copy()
    monitoring.remesh(0, chain(), rename_service(chain(), "c", "c2"))
    assert monitoring.call_rps[0, 0] == before[0] and monitoring.call_rps[0, 3] == before[3]
    assert monitoring.call_rps[0, 1] == 0.0 and monitoring.app_nanocores[0, 2] == 0


def test_the_environment_shows_it_with_every_invariant_kept_and_resumes_in_mid_episode() -> None:
    config = replace(KIALI, churn=ChurnConfig(service_added_per_hour=40.0, service_renamed_per_hour=40.0))
    env = MeshVectorEnv(3, config)
    observation, _ = env.reset(seed=1)
    rng = np.random.default_rng(0)
    for k in range(14):
        for b in range(3):
            check_observation(
                {key: value[b] for key, value in observation.items()}, env.single_observation_space.config
            )  # type: ignore[attr-defined]
        actions = rng.integers(0, 15, (3, config.max_nodes))
        if k == 6:
            twin = MeshVectorEnv(3, config)
            twin.reset(seed=1)
            twin.load_state_dict(env.state_dict())
        observation, reward, *_ = env.step(actions)
        if k >= 6:
            other, twin_reward, *_ = twin.step(actions)
            np.testing.assert_array_equal(reward, twin_reward)
            for key, value in observation.items():
                np.testing.assert_array_equal(value, other[key], err_msg=key)


def test_exact_telemetry_shows_the_simulation_as_it_is() -> None:
    window = MeshSimulation(1, 8, 16, 4, PhysicsSettings()).window
    monitoring = monitoring_of(replace(KIALI, telemetry="exact"), 1)
    assert monitoring.see(window) is window
    assert monitoring.observed(online_boutique()) is not None
