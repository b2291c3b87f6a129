"""How old a Deployment is to the loop: as it was created, or as it was first seen, whichever is younger."""

from __future__ import annotations

import numpy as np

from gnnrl.cluster.models import ClusterSnapshot, Container, ContainerUsage, DeploymentState, PodUsage, Problem
from gnnrl.domains.autoscaling.known_deployments import KnownDeployments
from gnnrl.domains.autoscaling.sensing import Reading, Sensing

INFINITE = float("inf")


def deployment(name: str, created: float, uid: str = "", newest: float | None = None) -> DeploymentState:
    return DeploymentState(
        name=name,
        uid=uid or name,
        resource_version="1",
        desired=2,
        ready=2,
        starting=0,
        pending=0,
        containers=(Container(name="server", cpu_request_millicores=100.0, cpu_limit_millicores=200.0),),
        created_seconds=created,
        newest_pod_seconds=newest,
    )


def snapshot(now: float, *deployments: DeploymentState, **more: object) -> ClusterSnapshot:
    return ClusterSnapshot(namespace="shop", taken_seconds=now, deployments=deployments, **more)  # type: ignore[arg-type]


def ages(known: KnownDeployments, seen: ClusterSnapshot) -> list[float]:
    known.remember(seen)
    return known.ages(seen.deployments, seen.taken_seconds, 3).tolist()


def test_at_the_first_reading_a_service_is_as_old_as_its_creation() -> None:
    """A restart of the loop makes nothing young, and what is young stays so."""
    known = KnownDeployments()
    old, young = deployment("a", 0.0), deployment("b", 970.0)
    assert ages(known, snapshot(1000.0, old, young)) == [1000.0, 30.0, INFINITE]
    assert ages(known, snapshot(1015.0, old, young)) == [1015.0, 45.0, INFINITE]
    # A clock of the cluster that is ahead of ours makes it new, not older or younger than that.
    assert ages(KnownDeployments(), snapshot(1000.0, deployment("a", 5000.0))) == [0.0, INFINITE, INFINITE]


def test_who_comes_later_is_as_old_as_it_was_first_seen() -> None:
    known = KnownDeployments()
    a, c = deployment("a", 0.0), deployment("c", 500.0)
    # A reading that failed is no first one, and nobody is forgotten for it.
    failed = (Problem(source="deployments", message="503"),)
    assert ages(known, snapshot(985.0, problems=failed)) == [INFINITE] * 3
    assert ages(known, snapshot(1000.0, a)) == [1000.0, INFINITE, INFINITE]
    assert ages(known, snapshot(1015.0, a, c)) == [1015.0, 0.0, INFINITE]
    assert ages(known, snapshot(1030.0, problems=failed)) == [INFINITE] * 3
    assert ages(known, snapshot(1045.0, a, c)) == [1045.0, 30.0, INFINITE]
    # Renamed, or made anew under its old name: another one.
    assert ages(known, snapshot(1060.0, deployment("a", 1055.0, uid="other"), deployment("d", 0.0))) == [
        0.0,
        0.0,
        INFINITE,
    ]


def test_a_last_change_is_that_of_the_newest_pod_and_no_birth() -> None:
    known = KnownDeployments()
    seen = snapshot(
        1000.0, deployment("a", 0.0, newest=900.0), deployment("b", 0.0), deployment("c", 100.0, newest=50.0)
    )
    assert ages(known, seen) == [1000.0, 1000.0, 900.0]
    assert [known[name].changed_seconds for name in "abc"] == [900.0, 0.0, 100.0]


def read(sensing: Sensing, now: float, *measured: str) -> Reading:
    usage = tuple(
        PodUsage(
            pod=f"{name}-0",
            deployment=name,
            timestamp_seconds=now - 15.0,
            window_seconds=15.0,
            containers={"server": ContainerUsage(cpu_nanocores=1, memory_bytes=1)},
        )
        for name in measured
    )
    return sensing.read(snapshot(now, deployment("a", 0.0), deployment("b", 0.0), usage=usage))


def test_a_service_is_measured_once_it_was() -> None:
    sensing = Sensing(max_nodes=3, max_edges=4, interval_seconds=15.0, stale_after_seconds=75.0, slo_ms=100.0)
    assert read(sensing, 1000.0, "a").measured_mask.tolist() == [True, False, True]
    found = read(sensing, 1015.0)
    assert found.measured_mask.tolist() == [True, False, True], "without metrics now, but not without any ever"
    assert found.service_age_seconds.tolist() == [1015.0, 1015.0, INFINITE]
    assert read(sensing, 1030.0, "b").measured_mask.tolist() == [True, True, True]
    np.testing.assert_array_equal(found.unmeasured_mask, [True, True, False])
