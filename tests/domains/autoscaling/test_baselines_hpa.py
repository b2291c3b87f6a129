"""HPA v2 against cases worked by hand from the controller's source."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import ReplicaBounds, Telemetry
from gnnrl.domains.autoscaling.baselines.hpa import (
    HorizontalPodAutoscaler,
    ScalingPolicy,
    combine_metrics,
    group_pods,
    rate_limit,
    resource_proposal,
    stabilise,
)
from gnnrl.domains.autoscaling.mesh import Mesh, RequestClass, Service

NO_CHANGES = np.zeros((0, 1), dtype=np.int64)


def propose(current: int, usage: list[float], request: float = 100, target: float = 50, **pods: int) -> int:
    proposal, valid = resource_proposal(current, len(usage), sum(usage), request, target, **pods)
    assert bool(valid)
    return int(proposal)


@pytest.mark.parametrize(
    ("current", "usage", "expected"),
    [
        (3, [30, 50, 70], 3),  # 50 % of 50 %
        (3, [90, 90, 90], 6),  # 1.8 x 3 = 5.4
        (3, [20, 20, 20], 2),  # 0.4 x 3 = 1.2
        (10, [55] * 10, 10),  # 1.10 is within the tolerance
        (10, [56] * 10, 12),  # 1.12 is not: 11.2
        (10, [45] * 10, 10),  # 0.90 is within
        (10, [44] * 10, 9),  # 0.88 is not: 8.8
        (10, [55.9] * 10, 10),  # utilisation is a whole percentage: 55
        (1, [0.0], 0),  # nothing used asks for nothing; the bounds are applied later
    ],
)
def test_replica_calculator(current: int, usage: list[float], expected: int) -> None:
    assert propose(current, usage) == expected


def test_tolerance_edge_is_inclusive_at_80_percent() -> None:
    # 88 / 80: |1 - ratio| <= 0.1 fails in binary fractions, 1 - t <= ratio <= 1 + t holds, and the latter is the
    # source.
    assert propose(10, [88] * 10, target=80) == 10
    assert propose(10, [89] * 10, target=80) == 12


def test_unready_pods_damp_a_scale_up_and_are_left_out_of_a_scale_down() -> None:
    # 3 ready at 90 %: 1.8. With one unready at 0 %: 270 / 400 = 67 %, 1.34 x 4 = 5.36.
    assert propose(4, [90, 90, 90], unready=1) == 6
    # Unready as many as ready: 180 / 400 = 45 %, 0.9: within the tolerance, so nothing.
    assert propose(4, [90, 90], unready=2) == 4
    # Down: 20 % of 50 % on 3 ready; the unready one is neither counted nor assumed to be busy.
    assert propose(4, [20, 20, 20], unready=1) == 2


def test_unready_pods_never_reverse_the_direction() -> None:
    # 1.2 with many unready becomes 0.3: no change instead of a scale-down.
    assert propose(8, [60, 60], unready=6) == 8


def test_missing_pods_count_fully_on_the_way_down_and_not_at_all_on_the_way_up() -> None:
    # Down: 20 + 20 + 20 + 100 assumed = 160 / 400 = 40 %, 0.8 x 4 = 3.2.
    assert propose(4, [20, 20, 20], missing=1) == 4
    assert propose(6, [10] * 5, missing=1) == 3  # (50 + 100) / 600 = 25 %, 0.5 x 6
    # Up: 90 x 3 over 4 = 67 %, 1.34 x 4.
    assert propose(4, [90, 90, 90], missing=1) == 6
    # A target above 100 % is assumed instead of 100 %: (3 x 60 + 150) / 400 = 82 %, 0.546 x 4 = 2.19.
    assert propose(4, [60, 60, 60], target=150, missing=1) == 3


def test_missing_pods_do_not_make_a_scale_down_a_scale_up() -> None:
    # 0.8 with 3 missing: (40 + 300) / 400 = 85 %, 1.7 > 1: keep.
    assert propose(4, [40], missing=3) == 4


def test_exactly_on_target_missing_pods_are_not_counted() -> None:
    # 50 % of 50 % is neither up nor down: nothing is assumed of the missing, the ratio stays 1 and nothing happens.
    assert propose(5, [50], missing=4) == 5
    # One point to either side they count: 51 / 500 = 10 %, against the direction; (49 + 400) / 500 = 89 %, likewise.
    assert propose(5, [51], missing=4) == 5
    assert propose(5, [49], missing=4) == 5


def test_without_any_sample_the_metric_has_failed() -> None:
    proposal, valid = resource_proposal(
        np.array([5, 5]), np.array([0, 5]), np.array([0.0, 400.0]), 100, 50, unready=np.array([5, 0])
    )
    assert valid.tolist() == [False, True]
    assert proposal.tolist() == [5, 8]


def test_several_metrics_take_the_largest_and_a_failed_one_forbids_scaling_down() -> None:
    proposals = np.array([[8, 3, 3, 7], [4, 4, 9, 7]])
    valid = np.array([[True, True, True, False], [True, True, False, False]])
    desired, decided = combine_metrics(proposals, valid, np.full(4, 5))
    assert desired.tolist() == [8, 4, 5, 5]
    assert decided.tolist() == [True, True, False, False]
    up, decided_up = combine_metrics(np.array([[9], [1]]), np.array([[True], [False]]), np.array([5]))
    assert (up.tolist(), decided_up.tolist()) == ([9], [True])


def test_pods_are_grouped_by_phase_metrics_and_readiness() -> None:
    ready, unready, missing = group_pods(
        #        Pending  no sample  just ready  window done  not ready  old, was ready  old, never ready
        pending=[True, False, False, False, False, False, False],
        has_metrics=[False, False, True, True, True, True, True],
        is_ready=[False, False, True, True, False, False, False],
        age_seconds=[5, 20, 60, 60, 60, 900, 900],
        seconds_since_transition=[5, 20, 29, 30, 60, 100, 890],
        metric_age_seconds=15,
        metric_window_seconds=15,
    )
    assert ready.tolist() == [False, False, False, True, False, True, False]
    assert unready.tolist() == [True, False, True, False, True, False, True]
    assert missing.tolist() == [False, True, False, False, False, False, False]


def test_stabilisation_takes_the_greatest_of_the_down_window_and_the_least_of_the_up_window() -> None:
    past = np.array([[9], [7], [4]], dtype=np.int64)
    ages = np.array([[300.0], [285.0], [15.0]])
    windows = {"up_window_seconds": 0.0, "down_window_seconds": 300.0}
    # 9 is exactly 300 s old and out; 7 holds the scale-down.
    assert stabilise([8], [3], past, ages, **windows).tolist() == [7]
    # Never above the present: stabilising does not scale up.
    assert stabilise([5], [3], past, ages, **windows).tolist() == [5]
    assert stabilise([5], [6], past, ages, **windows).tolist() == [6]
    assert stabilise([8], [3], past, ages, up_window_seconds=0.0, down_window_seconds=0.0).tolist() == [3]
    # An up-window of 60 s contains the recommendation of 4.
    assert stabilise([3], [9], past, ages, up_window_seconds=60.0, down_window_seconds=300.0).tolist() == [4]


@pytest.mark.parametrize(
    ("current", "desired", "expected"),
    [(1, 20, 5), (3, 20, 7), (4, 20, 8), (5, 20, 10), (5, 6, 6), (10, 0, 0), (10, 10, 10)],
)
def test_default_rates_are_the_larger_of_double_and_four_pods_up_and_anything_down(
    current: int, desired: int, expected: int
) -> None:
    assert rate_limit([current], [desired], NO_CHANGES, np.zeros((0, 1))).tolist() == [expected]


def test_rate_policies_count_what_changed_within_their_period() -> None:
    changes, ages = np.array([[3], [2]]), np.array([[60.0], [30.0]])
    up = (ScalingPolicy(kind="pods", value=4, period_seconds=60),)
    # 10 now, 2 of them within the last 60 s (the 3 are exactly 60 s old): the period began at 8, so 12 is the limit.
    assert rate_limit([10], [20], changes, ages, up=up).tolist() == [12]
    up = (ScalingPolicy(kind="percent", value=10, period_seconds=15),)
    assert rate_limit([10], [20], changes, ages, up=up).tolist() == [11]
    down = (
        ScalingPolicy(kind="percent", value=10, period_seconds=60),
        ScalingPolicy(kind="pods", value=4, period_seconds=60),
    )
    # Period start 12 after a removal of 2: 10 % leaves 10.8 -> 10, 4 pods leave 8; Max change is 8.
    assert rate_limit([10], [1], -changes, ages, down=down).tolist() == [8]
    assert rate_limit([10], [1], -changes, ages, down=down[:1]).tolist() == [10]


def one_service_mesh(stateful: bool = False) -> Mesh:
    return Mesh(
        name="one",
        services=(Service(name="web", cpu_ms=10.0, stateful=stateful),),
        calls=(),
        classes=(RequestClass(name="get", root="web", weight=1.0, calls=()),),
    )


def telemetry(desired: int, cpu: float, ready: int | None = None, before: int | None = None) -> Telemetry:
    def column(value: float) -> NDArray[np.float64]:
        return np.array([[value, 0.0]])

    now = desired if ready is None else ready
    return Telemetry(
        desired=column(desired).astype(int),
        ready=column(now).astype(int),
        metric_ready_start=column(now if before is None else before).astype(int),
        metric_ready=column(now).astype(int),
        cpu_millicores=column(cpu),
        rps_in=column(1.0),
        concurrency=column(1.0),
        external_rps=np.array([1.0]),
        window_seconds=15.0,
    )


def test_a_scale_down_waits_for_the_window_and_a_scale_up_does_not() -> None:
    hpa = HorizontalPodAutoscaler(ReplicaBounds(min_replicas=1, max_replicas=20), 2)
    hpa.reset([one_service_mesh()])
    current, decided = 4, []
    for sync in range(24):
        usage = 160.0 if sync == 1 else 20.0 * current  # 160 % of the request once, then 20 %
        current = int(hpa.decide(telemetry(current, usage if sync != 1 else usage * current), 15.0 * sync)[0, 0])
        decided.append(current)
    # Sync 1: 160 / 80 = 2 -> 8 at once. It holds for 20 syncs (ages 15 .. 285 s) and is gone at 300 s, sync 21.
    assert decided[0] == 4
    assert decided[1:21] == [8] * 20
    assert decided[21] == 2


def test_its_grounds_are_cpu_against_requests_and_the_recommendation_that_stands() -> None:
    hpa = HorizontalPodAutoscaler(ReplicaBounds(min_replicas=1, max_replicas=20), 2)
    hpa.reset([one_service_mesh()])
    assert int(hpa.decide(telemetry(4, 4 * 160.0), 0.0)[0, 0]) == 8
    assert hpa.grounds(0, 0) == ("CPU 160 % of the requests on 4, target 80 %",)
    assert int(hpa.decide(telemetry(8, 8 * 20.0), 15.0)[0, 0]) == 8
    assert hpa.grounds(0, 0) == (
        "CPU 20 % of the requests on 8, target 80 %",
        "asks for 2, but for 8 within 300 s",
    )
    hpa.decide(telemetry(8, 8 * 20.0, ready=8, before=0), 30.0)
    assert hpa.grounds(0, 0) == ("no ready pod whose CPU was sampled",)


def test_a_pod_counts_once_its_whole_metrics_window_was_ready() -> None:
    hpa = HorizontalPodAutoscaler(
        ReplicaBounds(min_replicas=1, max_replicas=20), 2, target_percent=50, down_window_seconds=0
    )
    hpa.reset([one_service_mesh()])
    # 4 asked for, 2 ready through the window at 90 % each: the 2 others count as idle, 45 % of 50 % = 0.9, so nothing
    # happens.
    assert int(hpa.decide(telemetry(4, 180.0, ready=2, before=2), 0.0)[0, 0]) == 4
    # None was ready through the window: the metric has failed, nothing happens.
    assert int(hpa.decide(telemetry(4, 180.0, ready=2, before=0), 15.0)[0, 0]) == 4


def test_stateful_services_and_padding_are_left_alone() -> None:
    hpa = HorizontalPodAutoscaler(ReplicaBounds(min_replicas=1, max_replicas=20), 2)
    hpa.reset([one_service_mesh(stateful=True)])
    assert hpa.decide(telemetry(2, 900.0), 0.0).tolist() == [[2, 0]]


def test_each_mesh_has_its_own_target_and_window_and_a_service_keeps_its_past_when_columns_move() -> None:
    hpa = HorizontalPodAutoscaler(
        ReplicaBounds(min_replicas=1, max_replicas=20),
        2,
        target_percent=np.array([80.0]),
        down_window_seconds=np.array([300.0]),
    )
    hpa.reset([one_service_mesh()])
    assert int(hpa.decide(telemetry(8, 8 * 80.0), 0.0)[0, 0]) == 8
    web, new = one_service_mesh().services[0], Service(name="new", cpu_ms=1.0)
    mesh = Mesh(
        name="two", services=(new, web), calls=(), classes=(RequestClass(name="get", root="web", weight=1.0, calls=()),)
    )
    hpa.remesh(0, mesh, np.array([-1, 0]))
    t = telemetry(8, 8 * 20.0)
    swapped = {
        name: np.broadcast_to(getattr(t, name)[:, :1], (1, 2))
        for name in ("desired", "ready", "cpu_millicores", "metric_ready", "metric_ready_start")
    }
    moved = Telemetry(**{**t.__dict__, **swapped})
    # `web`, now in column 1, is held at 8 by its past, and the new service by the replicas it was found with.
    assert hpa.decide(moved, 15.0).tolist() == [[8, 8]]
    # At 300 s the past of `web` is over (its 8 was at 0 s); that of the new service (15 s) is not.
    assert hpa.decide(moved, 300.0).tolist() == [[8, 2]]
    assert hpa.decide(moved, 315.0).tolist() == [[2, 2]]


def test_a_target_is_held_at_the_replicas_it_was_found_with_even_while_its_metric_fails() -> None:
    hpa = HorizontalPodAutoscaler(ReplicaBounds(min_replicas=1, max_replicas=20), 2, down_window_seconds=60)
    hpa.reset([one_service_mesh()])
    assert int(hpa.decide(telemetry(8, 8 * 20.0, before=0), 0.0)[0, 0]) == 8  # no sample counts yet
    assert [int(hpa.decide(telemetry(8, 8 * 20.0), 15.0 * sync)[0, 0]) for sync in (1, 2, 3, 4)] == [8, 8, 8, 2]
    without = HorizontalPodAutoscaler(ReplicaBounds(min_replicas=1, max_replicas=20), 2, down_window_seconds=0)
    without.reset([one_service_mesh()])
    assert int(without.decide(telemetry(8, 8 * 20.0), 0.0)[0, 0]) == 2
