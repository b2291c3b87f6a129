"""Random meshes: structure, limits of size and depth, and that they can be controlled at all."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms
from gnnrl.domains.autoscaling.mesh import MeshError, hottest_ratio, peak_rps
from gnnrl.domains.autoscaling.random_mesh import MAX_VISITS, random_mesh
from gnnrl.domains.autoscaling.traffic import call_matrices, spectral_radius


@pytest.mark.parametrize("services", [2, 5, 11, 60, 200])
def test_structure(services: int) -> None:
    for seed in range(8):
        mesh = random_mesh(services, seed)
        graph = mesh.to_networkx()
        arrays = mesh.arrays()
        assert len(mesh.services) == services
        assert nx.is_directed_acyclic_graph(graph)
        assert nx.dag_longest_path_length(graph) < 6
        assert 1 <= len(mesh.classes) <= 6
        assert (arrays.mean_visits > 0).all()  # every service is reached
        assert (arrays.mean_call_rates > 0).all()  # every call is made
        assert (arrays.visits.sum(1) <= MAX_VISITS + 1e-9).all()
        assert 10.0 < idle_p95_ms(mesh) < 3000.0
        assert peak_rps(mesh, 17.0) == pytest.approx(17 * 0.8 / hottest_ratio(mesh))  # no stateful service in the way


def test_fan_in_is_heavy_tailed() -> None:
    fan_in = np.concatenate([[degree for _, degree in random_mesh(200, s).to_networkx().in_degree()] for s in range(5)])
    assert np.median(fan_in) == 1
    assert fan_in.max() >= 10


def test_the_same_seed_is_the_same_mesh_and_another_is_not() -> None:
    assert random_mesh(30, 4) == random_mesh(30, 4)
    assert random_mesh(30, 4) != random_mesh(30, 5)


def test_cycles_are_there_and_die_out() -> None:
    for seed in range(8):
        mesh = random_mesh(20, seed, cycles=5)
        arrays = mesh.arrays()
        matrices = call_matrices(20, arrays.call_source, arrays.call_target, arrays.call_ratio)
        radii = [spectral_radius(matrix) for matrix in matrices]
        assert 0.0 < max(radii) < 0.7
        assert np.isfinite(idle_p95_ms(mesh))


def test_arguments_are_honoured() -> None:
    mesh = random_mesh(40, 1, classes=3, max_depth=3, stateful_share=1.0)
    assert len(mesh.classes) == 3
    assert nx.dag_longest_path_length(mesh.to_networkx()) == 2
    leaves = {name for name, degree in mesh.to_networkx().out_degree() if degree == 0}
    assert {service.name for service in mesh.services if service.stateful} == leaves
    assert not any(service.stateful for service in random_mesh(40, 1, stateful_share=0.0).services)


def test_impossible_arguments_are_all_named() -> None:
    with pytest.raises(MeshError) as caught:
        random_mesh(1, 0, classes=0, max_depth=1, cycles=-1, stateful_share=2.0)
    for part in ("services 1", "classes 0", "max_depth 1", "cycles -1", "stateful_share 2.0"):
        assert part in str(caught.value)
    with pytest.raises(MeshError, match="cycles 50"):
        random_mesh(5, 0, cycles=50)
