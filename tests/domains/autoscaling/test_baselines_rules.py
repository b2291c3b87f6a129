"""KPA, feed-forward, oracle, static and random against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.domains.autoscaling.baselines import BASELINES, Load, ReplicaBounds, Telemetry, is_calibrated, make, teacher
from gnnrl.domains.autoscaling.baselines.feed_forward import FeedForward, replicas_for
from gnnrl.domains.autoscaling.baselines.kpa import KnativePodAutoscaler, PanicState, scale
from gnnrl.domains.autoscaling.baselines.oracle import Oracle, staffing
from gnnrl.domains.autoscaling.baselines.simple import RandomMoves, StaticPeak
from gnnrl.domains.autoscaling.calibration import Calibration, CalibrationError, Setting
from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service
from graph_space.schema import ACTION_MASK, GLOBALS, MOVES, NODES, autoscaling_schema

BOUNDS = ReplicaBounds(min_replicas=1, max_replicas=20)
COLUMNS = 4


def mesh() -> Mesh:
    """web calls db 3 times; cache is stateful and called twice. Demand a request/s: web 10, db 6, cache 1
    millicores."""
    return Mesh(
        name="three",
        services=(
            Service(name="web", cpu_ms=10.0, cpu_limit_millicores=200.0, startup_seconds=30.0),
            Service(name="db", cpu_ms=2.0, cpu_limit_millicores=100.0, startup_seconds=10.0),
            Service(name="cache", cpu_ms=0.5, cpu_limit_millicores=100.0, stateful=True),
        ),
        calls=(Call(source="web", target="db"), Call(source="web", target="cache")),
        classes=(RequestClass(name="get", root="web", weight=1.0, calls=(3.0, 2.0)),),
    )


def telemetry(
    rps: float, desired: tuple[int, ...] = (1, 1, 1, 0), *, demand: float = 1.0, concurrency: float = 0.0
) -> Telemetry:
    calls = np.array([[rps, 3 * rps, 2 * rps, 0.0]])
    counts = np.array([desired])
    return Telemetry(
        desired=counts,
        ready=counts,
        metric_ready_start=counts,
        metric_ready=counts,
        cpu_millicores=calls * np.array([[10.0, 2.0, 0.5, 0.0]]) * demand,
        rps_in=calls,
        concurrency=np.full((1, COLUMNS), concurrency),
        external_rps=np.array([rps]),
        window_seconds=15.0,
    )


def test_feed_forward_is_load_times_calls_times_cost_over_headroom() -> None:
    rule = FeedForward(BOUNDS, COLUMNS, headroom=0.7)
    rule.reset([mesh()])
    # web 50 x 10 / (0.7 x 200) = 3.57; db 50 x 6 / (0.7 x 100) = 4.29; cache and padding keep what they have.
    assert rule.decide(telemetry(50.0), 0.0).tolist() == [[4, 5, 1, 0]]
    assert rule.decide(telemetry(0.0), 15.0).tolist() == [[1, 1, 1, 0]]
    assert rule.decide(telemetry(1e4), 30.0).tolist() == [[20, 20, 1, 0]]


def test_the_grounds_of_feed_forward_are_the_load_at_the_root_and_what_of_it_comes_here() -> None:
    rule = FeedForward(BOUNDS, COLUMNS, headroom=0.7, estimated=True)
    rule.reset([mesh()])
    rule.decide(telemetry(50.0), 0.0)
    # 50 x 6 / (0.7 x 100) = 4.29: the sum that a reader can do.
    assert rule.grounds(0, 1) == (
        "50 requests/s enter the mesh, 6 millicores here for each",
        "70 % of a limit of 100 to be used",
    )


def test_the_grounds_of_kpa_are_calls_in_flight() -> None:
    kpa = KnativePodAutoscaler(BOUNDS, COLUMNS, concurrency=2.0 / 0.7)
    kpa.reset([mesh()])
    kpa.decide(telemetry(1.0, (10, 1, 1, 0), concurrency=6.0), 0.0)
    assert kpa.grounds(0, 0) == ("6 calls in flight on 10, target 2 a pod", "in panic: not lowered")
    assert kpa.grounds(0, 1) == ("6 calls in flight on 1, target 2 a pod", "in panic: not lowered")


def test_whole_pods_are_not_rounded_up_by_a_binary_fraction() -> None:
    assert replicas_for(0.7 * 3 * 200, 200, 0.7) == 3


def test_estimated_ratios_and_costs_agree_with_the_true_ones_and_follow_a_costlier_service() -> None:
    true, estimated = FeedForward(BOUNDS, COLUMNS), FeedForward(BOUNDS, COLUMNS, estimated=True)
    for rule in (true, estimated):
        rule.reset([mesh()])
    for step in range(5):
        seen = telemetry(40.0 + 10 * step)
        assert estimated.decide(seen, 15.0 * step).tolist() == true.decide(seen, 15.0 * step).tolist()
    # A cost that doubles is learned in about the time constant of 10 minutes; the true rule, told the old cost, is not
    # moved.
    for step in range(160):
        doubled = telemetry(50.0, demand=2.0)
        assert estimated.decide(doubled, 75.0 + 15 * step)[0, 0] >= 4
    assert estimated.decide(doubled, 3000.0).tolist() == [[8, 9, 1, 0]]
    assert true.decide(doubled, 3000.0).tolist() == [[4, 5, 1, 0]]


def test_estimates_hold_while_a_saturated_service_completes_less_than_it_is_asked() -> None:
    rule = FeedForward(BOUNDS, COLUMNS, estimated=True, headroom=1.0)
    rule.reset([mesh()])
    for step in range(40):
        rule.decide(telemetry(20.0), 15.0 * step)
    seen = telemetry(60.0)
    seen.rps_in[0, 1] = 60.0  # a third of what the root would send; CPU as measured for those calls
    seen.cpu_millicores[0, 1] = 120.0
    # CPU alone would ask for 2 pods of db; the root's load asks for 60 x 6 / 100 = 3.6, less the slow drift of the
    # ratio.
    assert rule.decide(seen, 600.0)[0, 1] == 4


def test_the_trend_carries_a_ramp_over_the_blind_time() -> None:
    rule = FeedForward(BOUNDS, COLUMNS, headroom=1.0, trend_weight=1.0)
    rule.reset([mesh()])
    for step in range(40):
        wanted = rule.decide(telemetry(10.0 + 3.0 * step), 15.0 * step)
    # 127 rps rising 0.2 rps/s: 139 in 60 s. web 139 x 10 / 200 = 6.95, without the trend 6.35; db 139 x 6 / 100 = 8.34
    # against 7.62.
    assert wanted.tolist() == [[7, 9, 1, 0]]
    flat = FeedForward(BOUNDS, COLUMNS, headroom=1.0)
    flat.reset([mesh()])
    assert flat.decide(telemetry(127.0), 0.0).tolist() == [[7, 8, 1, 0]]


def panic_state(n: int) -> PanicState:
    return PanicState(np.zeros(n, dtype=bool), np.full(n, -np.inf), np.zeros(n, dtype=np.int64))


def test_kpa_follows_the_stable_window_and_halves_at_most() -> None:
    state = panic_state(3)
    ready = np.array([10, 10, 10])
    wanted = scale(state, ready, np.array([21.0, 2.0, 0.0]), np.array([21.0, 2.0, 0.0]), 2.0, 0.0)
    assert wanted.tolist() == [11, 5, 5]  # 10.5 up, 1 and 0 held at half
    assert not state.panicking.any()


def test_kpa_panics_at_twice_its_pods_and_never_scales_down_until_a_stable_window_has_passed() -> None:
    state = panic_state(1)
    calm, two = np.array([4.0]), np.array([2])
    assert scale(state, two, calm, np.array([7.9]), 2.0, 0.0).tolist() == [4]  # ceil 3.95 = 4 = 200 %: panic
    assert state.panicking.all()
    assert scale(state, two, calm, np.array([15.0]), 2.0, 2.0).tolist() == [8]
    eight = np.array([8])
    assert scale(state, eight, calm, np.array([2.0]), 2.0, 4.0).tolist() == [8]
    assert scale(state, eight, calm, np.array([2.0]), 2.0, 62.0).tolist() == [8]  # exactly 60 s after the last crossing
    assert scale(state, eight, calm, np.array([2.0]), 2.0, 64.0).tolist() == [4]
    assert not state.panicking.any()


def test_kpa_keeps_the_pods_it_finds_until_a_stable_window_has_passed() -> None:
    kpa = KnativePodAutoscaler(BOUNDS, COLUMNS, concurrency=2.0 / 0.7)  # target 2 calls a pod
    kpa.reset([mesh()])
    # 6 calls want 3 pods. Where 10 are found they stay for 60 s after the first tick; a single pod is no panic.
    wanted = [
        kpa.decide(telemetry(1.0, (10, 1, 1, 0), concurrency=6.0), 2.0 * tick)[0, :2].tolist() for tick in range(32)
    ]
    assert wanted[:31] == [[10, 3]] + [[10, 3]] * 30
    assert wanted[31] == [5, 3]  # calm again: half of what is ready at most


def test_kpa_windows_are_means_of_60_and_6_seconds() -> None:
    kpa = KnativePodAutoscaler(BOUNDS, COLUMNS, concurrency=2.0 / 0.7)  # target 2 calls a pod
    kpa.reset([mesh()])
    counts = (10, 10, 1, 0)
    for tick in range(30):
        wanted = kpa.decide(telemetry(1.0, counts, concurrency=20.0), 2.0 * tick)
    assert wanted.tolist() == [[10, 10, 1, 0]]
    # Three ticks at 34 fill the panic window: 17 pods is not 200 % of 10, so the stable mean decides: (27 x 20 + 3 x
    # 34) / 30 = 21.4.
    for tick in range(30, 33):
        wanted = kpa.decide(telemetry(1.0, counts, concurrency=34.0), 2.0 * tick)
    assert wanted.tolist() == [[11, 11, 1, 0]]
    # Three at 40 are: 20 pods.
    for tick in range(33, 36):
        wanted = kpa.decide(telemetry(1.0, counts, concurrency=40.0), 2.0 * tick)
    assert wanted.tolist() == [[20, 20, 1, 0]]


def test_the_oracle_sizes_for_the_most_it_could_meet_before_new_pods_are_ready() -> None:
    rps = np.full((1, 200), 10.0)
    rps[0, 100:110] = 100.0
    oracle = Oracle(BOUNDS, COLUMNS, rps, surplus=1.0)
    oracle.reset([mesh()])
    # web starts in 30 s, so it looks 45 s ahead (to 99 and to 104); db in 10 s, so 25 s.
    assert oracle.decide(telemetry(0.0), 55.0).tolist() == [[2, 2, 1, 0]]
    assert oracle.decide(telemetry(0.0), 60.0).tolist() == [[8, 2, 1, 0]]  # 5 + sqrt(5) = 7.24; 0.6 + sqrt(0.6) = 1.37
    assert oracle.decide(telemetry(0.0), 80.0).tolist() == [[8, 9, 1, 0]]  # 6 + sqrt(6) = 8.45
    assert oracle.decide(telemetry(0.0), 110.0).tolist() == [[2, 2, 1, 0]]
    assert staffing(np.array([0.0, 4.0, 16.0]), 0.5).tolist() == [0, 5, 18]
    assert staffing(np.array([0.0, 4.0, 16.0]), 0.5, 0.8).tolist() == [0, 6, 22]


def test_static_provisions_the_peak_and_stays() -> None:
    rule = StaticPeak(BOUNDS, COLUMNS, np.array([[1.0, 50.0, 2.0]]))
    rule.reset([mesh()])
    assert rule.decide(telemetry(0.0), 0.0).tolist() == [[4, 5, 1, 0]]
    assert rule.decide(telemetry(1.0), 900.0).tolist() == [[4, 5, 1, 0]]


def test_random_moves_are_legal_uniform_and_the_same_again() -> None:
    rule = RandomMoves(BOUNDS, COLUMNS, seed=3)
    rule.reset([mesh()])
    drawn = np.array([rule.decide(telemetry(1.0, (1, 20, 1, 0)), 0.0)[0] for _ in range(4000)])
    assert (drawn[:, 2:] == [1, 0]).all()
    counts = np.bincount(drawn[:, 0], minlength=9)
    assert counts[1:].sum() == 4000
    assert counts[9:].sum() == 0  # from 1: stay or +1 .. +7, each 1 in 8
    assert np.abs(counts[1:9] / 4000 - 1 / 8).max() < 0.02
    assert sorted(set(drawn[:, 1])) == list(range(13, 21))
    rule.reset([mesh()])
    assert rule.decide(telemetry(1.0, (1, 20, 1, 0)), 0.0).tolist() == [drawn[0].tolist()]


def observed(desired: list[float], cpu: list[float], trend: list[float]) -> dict[str, np.ndarray]:
    schema = autoscaling_schema("history")
    n = len(desired) + 1  # one padding slot
    nodes = np.zeros((1, n, len(schema.nodes)), dtype=np.float32)
    busy = [used / 200.0 for used in cpu]
    for name, values in (("desired_replicas", desired), ("busy_replicas", busy), ("busy_trend", trend)):
        nodes[0, :-1, schema.index(NODES, name)] = values
    target = nodes[0, :, schema.index(NODES, "desired_replicas")][:, None] + MOVES
    mask = ((target >= 1) & (target <= 20)).astype(np.int8)
    mask[:, 0] = 1
    mask[-1] = 0
    return {NODES: nodes, ACTION_MASK: mask[None]}


def test_the_teacher_reads_one_observation_and_gives_the_nearest_legal_move() -> None:
    schema = autoscaling_schema("history")
    obs = observed([4, 4, 1, 20, 18], [560, 700, 2000, 10, 5000], [0, 0, 0, 0, 0])
    obs[ACTION_MASK][0, 0] = 0
    obs[ACTION_MASK][0, 0, 0] = 1
    moves = teacher(obs, schema, headroom=0.7)
    change = MOVES[moves[0]]
    # 4 are right; 5 wanted; 15 wanted but 7 is the largest move; 1 wanted, -7; 36 wanted, 20 is the bound; padding 0.
    assert change.tolist() == [0, 1, 7, -7, 2, 0]
    rising = observed([4], [560], [0.5])  # 2.8 pods' worth, rising by 0.5: 3.3 / 0.7 = 4.7
    assert MOVES[teacher(rising, schema, headroom=0.7)[0]].tolist() == [1, 0]
    # Without a headroom the shown weight decides: 0.6 at a weight of 200, 3.3 / 0.6 = 5.5.
    shown = np.zeros((1, len(schema.globals)))
    shown[0, schema.index(GLOBALS, "log_violation_weight")] = np.log(200.0)
    assert MOVES[teacher({**rising, GLOBALS: shown}, schema)[0]].tolist() == [2, 0]
    with pytest.raises(KeyError, match="busy_replicas"):
        teacher(rising, autoscaling_schema("basic"))


def calibration() -> Calibration:
    def settings(cheap: float, dear: float) -> tuple[Setting, ...]:
        return (
            Setting(values={"headroom": cheap}, violating_share=0.02, replica_seconds=100.0, scale_moves=1.0),
            Setting(values={"headroom": dear}, violating_share=0.005, replica_seconds=150.0, scale_moves=1.0),
        )

    return Calibration(
        environment={},
        seeds=1,
        frontiers={"noisy": {"feed_forward": settings(1.0, 0.5)}, "flash": {"feed_forward": settings(0.8, 0.4)}},
    )


def test_calibrated_baselines_take_each_mesh_its_familys_setting_within_its_budget() -> None:
    load = Load(("noisy", "flash"), np.ones((2, 10)))
    rule = make("feed_forward", BOUNDS, COLUMNS, load, calibration())
    rule.reset([mesh(), mesh()])
    both = telemetry(50.0)
    both = Telemetry(
        **{k: np.repeat(v, 2, axis=0) if isinstance(v, np.ndarray) else v for k, v in both.__dict__.items()}
    )
    # noisy has 1 % to spend, so 0.5: 500 / (0.5 x 200) = 5; flash has 3 %, so 0.8: 3.1 -> 4.
    assert rule.decide(both, 0.0)[:, 0].tolist() == [5, 4]
    with pytest.raises(CalibrationError, match="no calibration of 'feed_forward' on workload 'weekly'"):
        make("feed_forward", BOUNDS, COLUMNS, Load(("weekly",), np.ones((1, 10))), calibration())


def test_every_name_makes_a_baseline_of_that_name_and_others_are_refused() -> None:
    load = Load(("noisy",), np.ones((1, 10)))
    for name in (*BASELINES, "hpa_50", "feed_forward_60"):
        if not is_calibrated(name):
            assert make(name, BOUNDS, COLUMNS, load).name == name
    with pytest.raises(ValueError, match="no baseline 'hpa_0'; there are hpa_80"):
        make("hpa_0", BOUNDS, COLUMNS, load)


def test_feed_forward_estimates_follow_a_service_to_its_new_column() -> None:
    rule = FeedForward(BOUNDS, COLUMNS, estimated=True, headroom=1.0)
    rule.reset([mesh()])
    rule.decide(telemetry(50.0), 0.0)
    web, db, _ = mesh().services
    smaller = Mesh(
        name="two",
        services=(db, web),
        calls=(Call(source="web", target="db"),),
        classes=(RequestClass(name="get", root="web", weight=1.0, calls=(3.0,)),),
    )
    rule.remesh(0, smaller, np.array([1, 0]))
    seen = telemetry(50.0, (1, 1, 0, 0))
    silent = Telemetry(**{**seen.__dict__, "cpu_millicores": np.zeros((1, COLUMNS)), "rps_in": np.zeros((1, COLUMNS))})
    # Nothing new was measured, so half of the calls a request are forgotten, and nothing of the cost: db 1.5, web 1.25
    # pods.
    assert rule.decide(silent, 15.0).tolist() == [[2, 2, 0, 0]]
