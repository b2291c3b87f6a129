"""What differs between meshes that run the same software: SLO, units, proxies, age of the metrics, age of the services."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.other_units import in_other_units
from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, RandomisationConfig
from gnnrl.domains.autoscaling.churn import ChurnEvent, ChurnSchedule
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode, warm_up_seconds
from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms
from gnnrl.domains.autoscaling.mesh import Mesh, MeshError
from gnnrl.domains.autoscaling.mesh_file import load_mesh, save_mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import MeshSimulation
from graph_space.schema import EDGES, GLOBALS, NODES, autoscaling_schema

CONFIG = AutoscalingConfig(
    node_columns="dimensionless",
    episode_decisions=8,
    max_edges=32,
    churn=ChurnConfig(),
    randomisation=RandomisationConfig(),
)
SCHEMA = autoscaling_schema("dimensionless")


def played(episodes: list[Episode], config: AutoscalingConfig = CONFIG, decisions: int = 4) -> list[dict[str, Any]]:
    """Observations of a few decisions that change nothing."""
    env = MeshVectorEnv(len(episodes), config)
    first, _ = env.reset(seed=0, options={"episodes": episodes})
    seen = [first]
    for _ in range(decisions):
        seen.append(env.step(np.zeros((len(episodes), config.max_nodes), np.int64))[0])
    return seen


def test_larger_pods_look_the_same() -> None:
    episode = draw_episode(CONFIG, Split.VALIDATION, 3, workload="bursty")
    plain, larger = (played([one])[-1] for one in (episode, in_other_units(episode, pods=5.0)))
    for key in (NODES, EDGES, GLOBALS):
        np.testing.assert_allclose(larger[key], plain[key], rtol=2e-5, atol=1e-6, err_msg=key)
    raw = replace(CONFIG, node_columns="history")
    plain, larger = (played([one], raw)[-1] for one in (episode, in_other_units(episode, pods=5.0)))
    column = autoscaling_schema("history").index(NODES, "cpu_limit_millicores")
    assert larger[NODES][0, 0, column] == pytest.approx(5.0 * plain[NODES][0, 0, column]), "raw columns do not"


def test_a_faster_mesh_looks_the_same_while_it_is_not_congested() -> None:
    """Ten times the rate at a tenth of the latency: what is shared between ticks of a second is queues alone, and they are short here."""
    episode = draw_episode(CONFIG, Split.VALIDATION, 3, workload="diurnal")
    calm = replace(episode, rps=np.full_like(episode.rps, 0.4 * float(episode.rps[0])))
    plain, faster = (played([one])[-1] for one in (calm, in_other_units(calm, speed=10.0)))
    memory = SCHEMA.index(NODES, "memory_over_mean_pod")
    others = [i for i in range(len(SCHEMA.nodes)) if i != memory]
    np.testing.assert_allclose(faster[NODES][..., others], plain[NODES][..., others], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(faster[EDGES], plain[EDGES], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(faster[GLOBALS], plain[GLOBALS], rtol=0.02, atol=0.02)


def test_the_dimensionless_columns_are_the_raw_ones_over_the_units_of_the_mesh() -> None:
    episode = draw_episode(CONFIG, Split.VALIDATION, 5)
    raw, seen = (
        played([episode], replace(CONFIG, node_columns=columns))[-1] for columns in ("history", "dimensionless")
    )
    old = autoscaling_schema("history")
    nodes = len(episode.mesh.services)
    slo = episode.slo_ms / 1000.0
    scaled = [service.cpu_limit_millicores for service in episode.mesh.services if not service.stateful]
    mean_limit = float(np.mean(scaled))

    def column(observation: dict[str, Any], schema: Any, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(observation[NODES][0, :, schema.index(NODES, name)], np.float64)

    memory, pods = column(raw, old, "memory_mib"), column(raw, old, "pods")
    for new, factor, name in (
        ("cpu_over_mean_limit", 1.0 / mean_limit, "cpu_millicores"),
        ("memory_over_mean_pod", pods.sum() / memory.sum(), "memory_mib"),
        ("rps_in_by_slo", slo, "rps_in"),
        ("rps_out_by_slo", slo, "rps_out"),
        ("cpu_request_over_mean_limit", 1.0 / mean_limit, "cpu_request_millicores"),
        ("cpu_limit_over_mean_limit", 1.0 / mean_limit, "cpu_limit_millicores"),
        ("p95_over_slo", 1.0 / episode.slo_ms, "p95_ms"),
        ("busy_replicas", 1.0, "busy_replicas"),
        ("busy_trend", 1.0, "busy_trend"),
    ):
        np.testing.assert_allclose(column(seen, SCHEMA, new), factor * column(raw, old, name), rtol=1e-5, err_msg=new)
    assert column(seen, SCHEMA, "age_seconds")[:nodes] == pytest.approx(3600.0)
    shown = dict(zip(SCHEMA.names(GLOBALS), seen[GLOBALS][0].tolist(), strict=True))
    before = dict(zip(old.names(GLOBALS), raw[GLOBALS][0].tolist(), strict=True))
    assert shown["total_traffic_by_slo"] == pytest.approx(slo * before["total_traffic_rps"], rel=1e-5)
    assert shown["mean_cpu_over_mean_limit"] == pytest.approx(before["mean_cpu_millicores"] / mean_limit, rel=1e-5)
    assert shown["mean_pods"] == pytest.approx(before["total_pods"] / nodes)
    assert shown["metrics_age_seconds"] == 15.0
    calls = len(episode.mesh.calls)
    np.testing.assert_allclose(seen[EDGES][0, :calls, 0], slo * raw[EDGES][0, :calls, 0], rtol=1e-5)
    np.testing.assert_allclose(seen[EDGES][0, :calls, 1], raw[EDGES][0, :calls, 1] / episode.slo_ms, rtol=1e-5)
    np.testing.assert_array_equal(seen[EDGES][0, :calls, 2:], raw[EDGES][0, :calls, 2:])


def test_the_edge_of_the_slo_is_told_finely_and_what_was_violated_of_late_is_remembered() -> None:
    edge, over, recent, window = (
        SCHEMA.index(GLOBALS, name)
        for name in ("slo_edge", "latency_p95_over_slo", "violating_share_recent", "violating_share_window")
    )
    loose = replace(draw_episode(CONFIG, Split.VALIDATION, 5, workload="bursty"), slo_ms=10_000.0)
    p95_ms = 10_000.0 * np.array([seen[GLOBALS][0, over] for seen in played([loose], decisions=7)[1:]])
    at_the_median = replace(loose, slo_ms=float(np.median(p95_ms)))
    average, kept = 0.0, np.exp(-15.0 / 300.0)
    for seen in played([at_the_median], decisions=7)[1:]:
        told = seen[GLOBALS][0].astype(np.float64)
        average = kept * average + (1.0 - kept) * told[window]
        assert told[edge] == pytest.approx(1.0 / (1.0 + np.exp((1.0 - told[over]) / 0.05)), rel=1e-3)
        assert told[recent] == pytest.approx(average, abs=1e-6)
    assert p95_ms.min() < 0.98 * at_the_median.slo_ms and p95_ms.max() > 1.02 * at_the_median.slo_ms
    assert 0.0 < average < 0.3


def test_a_service_is_as_old_as_it_has_been_there() -> None:
    config = replace(CONFIG, churn=ChurnConfig(cutover="hard") if hasattr(ChurnConfig(), "cutover") else ChurnConfig())
    episode = draw_episode(config, Split.VALIDATION, 1)
    event = ChurnEvent(second=25, kind="service_added", draw=7)
    seen = played([replace(episode, churn=ChurnSchedule(events=(event,)))], config, decisions=5)
    age = SCHEMA.index(NODES, "age_seconds")
    there = [(observation["node_mask"][0] == 1) for observation in seen]
    born = next(k for k, mask in enumerate(there) if mask.sum() > there[0].sum())
    (slot,) = np.flatnonzero(there[born] & ~there[0])
    assert [float(observation[NODES][0, slot, age]) for observation in seen[born:]] == [
        15.0 * k for k in range(len(seen) - born)
    ]
    assert (seen[-1][NODES][0, there[0], age] == 3600.0).all()


def test_the_slo_is_drawn_from_its_range_and_a_range_of_one_number_is_that() -> None:
    wide = replace(CONFIG, slo_factor=(1.35, 3.0))
    factors = np.array(
        [(episode := draw_episode(wide, Split.TRAIN, seed)).slo_ms / idle_p95_ms(episode.mesh) for seed in range(200)]
    )
    assert factors.min() >= 1.35 and factors.max() <= 3.0
    left = np.log(factors - 1.0)
    assert left.mean() == pytest.approx(np.log(0.35 * 2.0) / 2, abs=0.1), "log-uniform in what is left above idle"
    assert np.quantile(left, [0.25, 0.75]) == pytest.approx(
        np.log(0.35) + np.array([0.25, 0.75]) * np.log(2.0 / 0.35), abs=0.15
    )
    fixed = draw_episode(CONFIG, Split.TRAIN, 0)
    assert fixed.slo_ms == pytest.approx(2.0 * idle_p95_ms(fixed.mesh), rel=1e-12)
    same = draw_episode(wide, Split.TRAIN, 0)
    assert same.mesh == fixed.mesh and (same.rps == fixed.rps).all(), "what else is drawn does not depend on it"
    with pytest.raises(ConfigError, match=r"slo_factor: \[3.0, 1.5\] is not a range"):
        MeshVectorEnv(1, replace(CONFIG, slo_factor=(3.0, 1.5)))


def test_metrics_are_as_old_as_the_episode_says() -> None:
    """Three environments of one batch, of one mesh under a rising load, whose metrics are 15, 30 and 45 s old."""
    config = replace(CONFIG, randomisation=RandomisationConfig(metrics_lag_added_seconds=(0, 30)))
    assert warm_up_seconds(config) == 60
    drawn = {draw_episode(config, Split.TRAIN, seed).metrics_lag_seconds for seed in range(40)}
    assert drawn == {15, 30, 45}
    episode = draw_episode(config, Split.VALIDATION, 2)
    rising = replace(episode, rps=np.linspace(20.0, 60.0, len(episode.rps)).astype(np.float32))
    seen = played([replace(rising, metrics_lag_seconds=lag) for lag in (15, 30, 45)], config, decisions=6)
    traffic, age = (SCHEMA.index(GLOBALS, name) for name in ("total_traffic_by_slo", "metrics_age_seconds"))
    assert seen[0][GLOBALS][:, age].tolist() == [15.0, 30.0, 45.0]
    for k in range(4):
        now = seen[k][GLOBALS][:, traffic]
        assert now[0] > now[1] > now[2]
        assert now[0] == seen[k + 1][GLOBALS][1, traffic] == seen[k + 2][GLOBALS][2, traffic]
    with pytest.raises(ValueError, match="metrics 60 s old: at most 45 s are remembered"):
        played([replace(rising, metrics_lag_seconds=60)], config)
    with pytest.raises(ConfigError, match=r"metrics_lag_added_seconds: \[0, 20\] are no multiples"):
        MeshVectorEnv(1, replace(CONFIG, randomisation=RandomisationConfig(metrics_lag_added_seconds=(0, 20))))


def proxy_millicores(*meshes: Mesh) -> list[float]:
    """Of each mesh of one batch, a request/s."""
    first = meshes[0]
    simulation = MeshSimulation(len(meshes), len(first.services), len(first.calls), len(first.classes))
    for b, mesh in enumerate(meshes):
        simulation.load(b, mesh)
    for _ in range(4):
        simulation.advance(np.full((len(meshes), 15), 20.0, np.float32))
        window = simulation.scrape()
    proxies = (window.cpu_millicores - window.app_cpu_millicores).sum(1)
    return [float(each) for each in proxies / window.rps_in.sum(1)]


def test_proxies_take_what_the_mesh_says(tmp_path: Any) -> None:
    mesh = online_boutique()
    none, dearer = (replace(mesh, sidecar_millicores_per_rps=cost) for cost in (0.0, 1.2))
    assert proxy_millicores(mesh, none, dearer) == pytest.approx([0.35, 0.0, 1.2], rel=1e-4)
    save_mesh(dearer, tmp_path / "mesh.yaml")
    assert load_mesh(tmp_path / "mesh.yaml") == dearer
    with pytest.raises(MeshError, match=r"sidecar_millicores_per_rps -1\.0 is not in"):
        replace(mesh, sidecar_millicores_per_rps=-1.0)
    drawn = replace(CONFIG, randomisation=RandomisationConfig(sidecar_factor=(0.5, 2.0)))
    costs = [draw_episode(drawn, Split.TRAIN, seed).mesh.sidecar_millicores_per_rps for seed in range(30)]
    assert min(costs) >= 0.175 and max(costs) <= 0.7 and np.std(costs) > 0.05


@pytest.mark.parametrize("held", [True, False])
def test_moves_that_lower_what_a_birth_holds_are_masked(held: bool) -> None:
    """A service comes: nothing of the mesh may be lowered for 120 s, and it may be raised."""
    config = replace(CONFIG, hold_births=held, episode_decisions=16, churn=ChurnConfig(cutover="hard"))
    episode = draw_episode(config, Split.VALIDATION, 1)
    mesh = replace(
        episode.mesh, services=tuple(replace(s, replicas=5) if not s.stateful else s for s in episode.mesh.services)
    )
    event = ChurnEvent(second=25, kind="service_added", draw=7)
    seen = played([replace(episode, mesh=mesh, churn=ChurnSchedule(events=(event,)))], config, decisions=12)
    born = next(k for k, o in enumerate(seen) if o["node_mask"].sum() > seen[0]["node_mask"].sum())
    lowering = [int(o["action_mask"][0, :, 8:].sum()) for o in seen]
    raising = [int(o["action_mask"][0, :, 1:8].sum()) for o in seen]
    free = [count > 0 for count in lowering]
    assert min(raising) > 0
    assert free == [True] * born + [not held] * 8 + [True] * (len(seen) - born - 8)
