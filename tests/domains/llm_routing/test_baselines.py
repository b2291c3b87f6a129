"""Each router's rule at decisions whose answer is known, ties by frequency, stale information."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.baselines import ROUTERS, RouterError, router_named
from gnnrl.domains.llm_routing.metrics import latency_report
from gnnrl.domains.llm_routing.model import Replica
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.workloads import Requests
from tests.domains.llm_routing.clusters import conversations

EMPTY = (0, 0, 0)


def prepared(
    outstanding: tuple[int, ...], queued: tuple[int, ...] = EMPTY, prefill: tuple[int, ...] = EMPTY,
    factors: tuple[float, ...] = (1, 1, 1), up: tuple[bool, ...] = (True, True, True), seed: int = 0, prompt: int = 100,
    resident_seconds: tuple[float, ...] = EMPTY, generated: tuple[int, ...] = EMPTY,
) -> LLMSimulation:  # fmt: skip
    """A cluster of three at a decision about a prompt, with counters as a router is to see them."""
    simulation = LLMSimulation(1, 3, 1)
    replicas = [Replica(time_factor=factor, up=there) for factor, there in zip(factors, up, strict=True)]
    simulation.load(0, replicas, Requests(np.ones(1), np.array([prompt]), np.array([10])), seed=seed)
    for r in range(3):
        simulation.arrays.replica[0, r, c.OUTSTANDING] = outstanding[r]
        simulation.arrays.replica[0, r, c.QUEUED] = queued[r]
        simulation.arrays.replica[0, r, c.PENDING_PREFILL] = prefill[r]
        simulation.arrays.replica[0, r, c.GENERATED] = generated[r]
        simulation.arrays.clock[0, r, c.RESIDENT_SECONDS] = resident_seconds[r]
    return simulation


@pytest.mark.parametrize(
    ("router", "state", "answer"),
    [
        ("least_outstanding", {"outstanding": (5, 3, 9), "queued": (0, 2, 0)}, 1),
        ("vidur_lor", {"outstanding": (9, 3, 1), "queued": (1, 1, 2)}, 0),
        ("jsq", {"outstanding": (1, 3, 9), "queued": (2, 1, 0)}, 2),
        ("least_pending_prefill", {"outstanding": (1, 1, 9), "prefill": (500, 300, 200)}, 2),
        ("speed_weighted_outstanding", {"outstanding": (3, 3, 8), "factors": (3, 2, 1)}, 1),
        ("speed_weighted_outstanding", {"outstanding": (0, 1, 3), "factors": (5, 2, 1.2)}, 1),
        # (0 + 100) x 4 = 400 against (250 + 100) x 1 = 350: this prompt counts.
        ("speed_weighted_prefill", {"outstanding": EMPTY, "prefill": (0, 250, 400), "factors": (4, 1, 1)}, 1),
        # (200 + 100) x 2 = 600, (0 + 100) x 7 = 700, (501 + 100) x 1 = 601.
        ("multiplicative", {"outstanding": (1, 6, 0), "prefill": (200, 0, 501)}, 0),
        # Without a token anywhere it is the multiplicative rule.
        ("paced_multiplicative", {"outstanding": (1, 6, 0), "prefill": (200, 0, 501)}, 0),
        # Paces 0.02, 0.04, 0.02: (100 + 100) x 4 x 4e-4 = 0.32, 100 x 3 x 16e-4 = 0.48, 100 x 5 x 4e-4 = 0.2.
        (
            "paced_multiplicative",
            {
                "outstanding": (3, 2, 4),
                "prefill": (100, 0, 0),
                "resident_seconds": (20, 40, 20),
                "generated": (1000, 1000, 1000),
            },
            2,
        ),
        # The pace counts squared: 100 x 3 x 1 against 100 x 1 x 4, and 100 x 5 x 1.
        (
            "paced_multiplicative",
            {"outstanding": (2, 0, 4), "resident_seconds": (1e6, 2e6, 1e6), "generated": (10**6,) * 3},
            0,
        ),
        # The third has just joined: the usual pace, (10 + 90) / 2000, puts it between the other two.
        (
            "paced_multiplicative",
            {"outstanding": (29, 0, 0), "resident_seconds": (10, 90, 0), "generated": (1000, 1000, 0)},
            2,
        ),
        (
            "paced_multiplicative",
            {"outstanding": (19, 0, 0), "resident_seconds": (10, 90, 0), "generated": (1000, 1000, 0)},
            0,
        ),
        ("round_robin", {"outstanding": EMPTY, "up": (False, True, True)}, 1),
        ("weighted_round_robin", {"outstanding": EMPTY, "factors": (2, 1, 3)}, 1),
    ],
)
def test_the_rule(router: str, state: dict[str, tuple[int, ...]], answer: int) -> None:
    for seed in range(20):
        assert prepared(**state, seed=seed).choose(ROUTERS[router].code)[0] == answer  # type: ignore[arg-type]


@pytest.mark.parametrize("router", [name for name in ROUTERS if name != "round_robin"])
def test_ties_are_drawn_evenly_except_for_vidurs_own(router: str) -> None:
    chosen = np.array([prepared(EMPTY, seed=seed).choose(ROUTERS[router].code)[0] for seed in range(600)])
    shares = np.bincount(chosen, minlength=3) / 600
    np.testing.assert_allclose(shares, [1, 0, 0] if router == "vidur_lor" else [1 / 3] * 3, atol=0.08)


@pytest.mark.parametrize("router", ROUTERS)
def test_only_replicas_that_may_be_chosen_are(router: str) -> None:
    chosen = {
        int(prepared((9, 0, 9), up=(True, False, True), seed=seed).choose(ROUTERS[router].code)[0])
        for seed in range(40)
    }
    assert chosen <= {0, 2}
    assert prepared(EMPTY, up=(False, False, True)).choose(ROUTERS[router].code)[0] == 2


@pytest.mark.parametrize("skip_ahead", [True, False])
def test_resident_seconds_are_the_time_between_admission_and_last_token(skip_ahead: bool) -> None:
    rows = conversations(400, 16.0)
    simulation = LLMSimulation(1, 3, 400, PhysicsSettings(skip_ahead=skip_ahead))
    simulation.load(0, [Replica(), Replica(time_factor=2.0), Replica(time_factor=3.0)], rows)
    simulation.run(ROUTERS["paced_multiplicative"].code)
    table, times = simulation.table(0), simulation.arrays.time[0]
    held = times[:, c.COMPLETED] - times[:, c.SCHEDULED]
    for r in range(3):
        assert simulation.arrays.clock[0, r, c.RESIDENT_SECONDS] == pytest.approx(held[table.replica == r].sum())
    tokens = simulation.arrays.replica[0, :3, c.GENERATED]
    pace = simulation.arrays.clock[0, :3, c.RESIDENT_SECONDS] / tokens
    assert pace[0] < pace[1] < pace[2]


def test_a_stale_report_has_a_stale_pace() -> None:
    def paced(report_seconds: float) -> np.ndarray:
        simulation = LLMSimulation(1, 4, 2000, PhysicsSettings(report_seconds=report_seconds))
        simulation.load(
            0, [Replica(), Replica(), Replica(time_factor=2.0), Replica(time_factor=2.0)], conversations(2000, 13.0)
        )
        simulation.run(ROUTERS["paced_multiplicative"].code)
        return simulation.table(0).replica

    assert (paced(0.0) != paced(5.0)).any()
    slow = [np.isin(paced(seconds), (2, 3)).mean() for seconds in (0.0, 5.0)]
    assert max(slow) < 0.45  # learns which half is slow without being told


def test_round_robin_takes_turns_and_weighted_round_robin_in_proportion() -> None:
    rows = conversations(700, 20.0)
    simulation = LLMSimulation(1, 3, 700)
    simulation.load(0, [Replica(), Replica(time_factor=2.0), Replica(time_factor=4.0)], rows)
    simulation.run(ROUTERS["round_robin"].code)
    assert simulation.table(0).replica.tolist() == [k % 3 for k in range(700)]
    simulation.load(0, [Replica(), Replica(time_factor=2.0), Replica(time_factor=4.0)], rows)
    simulation.run(ROUTERS["weighted_round_robin"].code)
    turns = simulation.table(0).replica
    assert np.bincount(turns).tolist() == [400, 200, 100]
    assert all(np.bincount(turns[k : k + 7], minlength=3).tolist() == [4, 2, 1] for k in range(0, 700, 7))


def test_power_of_two_never_takes_the_most_loaded_and_takes_the_least_in_two_thirds() -> None:
    chosen = [prepared((1, 5, 9), seed=seed).choose(ROUTERS["power_of_two"].code)[0] for seed in range(600)]
    shares = np.bincount(chosen, minlength=3) / 600
    np.testing.assert_allclose(shares, [2 / 3, 1 / 3, 0], atol=0.06)


def test_the_known_length_router_minds_long_answers_that_others_do_not_see() -> None:
    """Replica 0 has one request of 3000 tokens to come, replica 1 three of 10: fewest outstanding is replica 0, least work replica 1."""
    rows = Requests(np.array([0.0, 0, 0, 0, 1]), np.full(5, 50), np.array([3000, 10, 10, 10, 100]))
    simulation = LLMSimulation(1, 2, 5)
    simulation.load(0, [Replica(), Replica(time_factor=30.0)], rows)
    for r in (0, 1, 1, 1):
        simulation.step(np.array([r]))
    assert simulation.choose(ROUTERS["least_outstanding"].code)[0] == 0
    simulation.arrays.clock[0, 1, c.TIME_FACTOR] = 1.0
    assert simulation.choose(ROUTERS["known_length_greedy"].code)[0] == 1
    simulation.arrays.clock[0, 1, c.TIME_FACTOR] = 100.0
    assert simulation.choose(ROUTERS["known_length_greedy"].code)[0] == 0


def test_old_reports_mislead_whoever_rests_on_them_and_not_who_counts_himself() -> None:
    rows = conversations(3000, 18.0)

    def ttft_p99(router: str, report_seconds: float) -> float:
        simulation = LLMSimulation(1, 4, 3000, PhysicsSettings(report_seconds=report_seconds))
        simulation.load(0, [Replica()] * 4, rows)
        simulation.run(ROUTERS[router].code)
        return latency_report(simulation.table(0)).ttft_p99_s

    assert ttft_p99("least_pending_prefill", 1.0) > 2 * ttft_p99("least_pending_prefill", 0.0)
    assert ttft_p99("least_outstanding", 1.0) == ttft_p99("least_outstanding", 0.0)


def test_names_are_checked() -> None:
    with pytest.raises(RouterError, match="router 'lor' is not known; there are random, round_robin"):
        router_named("lor")
    assert [name for name, router in ROUTERS.items() if router.told_lengths] == ["known_length_greedy"]
    assert {name for name, router in ROUTERS.items() if router.told_speeds} == {
        "weighted_round_robin", "speed_weighted_outstanding", "speed_weighted_prefill", "known_length_greedy"
    }  # fmt: skip
