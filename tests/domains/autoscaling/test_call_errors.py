"""Errors of the application's own: seen in telemetry on top of the simulated ones, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.churn import add_canary, add_dependency, remove_service
from gnnrl.domains.autoscaling.env import MeshEnv
from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service
from gnnrl.domains.autoscaling.mesh_file import load_mesh, save_mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import MeshSimulation


def chain(*shares: float) -> Mesh:
    """a -> b (100 calls/s at most) and a -> c, which is never called."""
    return Mesh(
        name="chain",
        services=tuple(Service(name=name, cpu_ms=cost) for name, cost in (("a", 0.5), ("b", 2.0), ("c", 2.0))),
        calls=tuple(Call(source="a", target=t, error_share=share) for t, share in zip("bc", shares, strict=True)),
        classes=(RequestClass(name="all", root="a", weight=1.0, calls=(1.0, 0.0)),),
        slo_ms=100.0,
    )


def test_telemetry_shows_both_kinds_of_errors_and_counts_one() -> None:
    simulation = MeshSimulation(2, 5, 8, 2)
    simulation.load(0, chain(0.2, 0.5))
    simulation.load(1, chain(0.0, 0.0))
    simulation.advance(np.full((2, 60), 10.0))
    window = simulation.scrape()
    # Nothing fails by simulation, and a call that nobody makes has no errors.
    np.testing.assert_allclose(window.call_error_share[:, :2], [[0.2, 0.0], [0.0, 0.0]], atol=1e-6)
    assert window.error_share.max() == pytest.approx(0.0, abs=1e-6)
    assert window.mesh_error_share.tolist() == [0.0, 0.0]
    simulation.advance(np.full((2, 60), 150.0))
    window = simulation.scrape()
    simulated = float(window.call_error_share[1, 0])
    assert 0.02 < simulated < 0.9
    assert window.call_error_share[0, 0] == pytest.approx(1.0 - 0.8 * (1.0 - simulated), abs=1e-6)
    for name, values in vars(window).items():
        if name != "call_error_share":
            np.testing.assert_array_equal(values[0], values[1], err_msg=name)


def test_the_observation_of_an_imported_mesh_carries_them(tmp_path) -> None:
    boutique = online_boutique()
    shares = np.linspace(0.0, 0.28, len(boutique.calls))
    calls = tuple(replace(c, error_share=float(x)) for c, x in zip(boutique.calls, shares, strict=True))
    mesh = replace(boutique, calls=calls)
    save_mesh(mesh, tmp_path / "mesh.yaml")
    assert load_mesh(tmp_path / "mesh.yaml") == mesh
    config = AutoscalingConfig(mesh=(str(tmp_path / "mesh.yaml"),), workloads=("steady",), peak_replicas=(6.0, 6.0))
    observation, _ = MeshEnv(config).reset(seed=0)
    np.testing.assert_allclose(observation["edges"][: len(shares), 2], shares, atol=1e-4)


def test_they_survive_churn_and_a_drawing() -> None:
    mesh = chain(0.2, 0.0)
    canary = add_canary(mesh, "b", "b-v2", 0.3)
    assert {call.target: call.error_share for call in canary.calls} == {"b": 0.2, "b-v2": 0.2, "c": 0.0}
    assert [call.error_share for call in remove_service(mesh, "c").calls] == [0.2]
    added = add_dependency(mesh, "b", Service(name="d", cpu_ms=1.0), 1.0)
    assert [call.error_share for call in added.calls] == [0.2, 0.0, 0.0]
    assert mesh.to_networkx().edges["a", "b"]["error_share"] == 0.2
