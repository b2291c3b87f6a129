"""The simulated cluster: what can be computed by hand, conservation under anything, changes of the fleet, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.conservation import ConservationError
from gnnrl.domains.llm_routing.metrics import MetricsError, latency_report
from gnnrl.domains.llm_routing.model import SCHEDULERS, Change, ModelError, Replica, Scheduler
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.scenarios import SCENARIOS
from gnnrl.domains.llm_routing.totals import totals
from gnnrl.domains.llm_routing.workloads import Requests
from tests.domains.llm_routing.clusters import conversations, short_requests, simulate
from tests.domains.llm_routing.reference import iteration_ms

RANDOM, ROUND_ROBIN, LEAST = (ROUTERS[name].code for name in ("random", "round_robin", "least_outstanding"))


def requests(*rows: tuple[float, int, int]) -> Requests:
    at, prompts, answers = zip(*rows, strict=True)
    return Requests(np.array(at, float), np.array(prompts), np.array(answers))


def test_one_request_alone_takes_its_iterations() -> None:
    """A prompt of 1000 in chunks of 512 and 488, then two decodes behind 1001 and 1002 tokens."""
    table = simulate(requests((2.0, 1000, 3)), [Replica(time_factor=1.5)], RANDOM).table(0)
    chunks = iteration_ms([], [(512, 0)]) + iteration_ms([], [(488, 512)])
    decodes = iteration_ms([1001], []) + iteration_ms([1002], [])
    assert table.first_token_at[0] == pytest.approx(2.0 + 1.5 * chunks / 1000, rel=1e-12)
    assert table.completed_at[0] == pytest.approx(2.0 + 1.5 * (chunks + decodes) / 1000, rel=1e-12)
    assert table.scheduled_at[0] == table.routed_at[0] == 2.0


@pytest.mark.parametrize(
    ("scheduler", "batches"),
    [
        # The second prompt fills what the first leaves of 512 tokens, and is finished beside the first one's decode.
        ("sarathi", [([], [(300, 0), (212, 0)]), ([301], [(88, 212)])]),
        ("vllm", [([], [(300, 0), (300, 0)])]),
        ("orca", [([], [(300, 0), (300, 0)])]),
        ("faster_transformer", [([], [(300, 0), (300, 0)])]),
    ],
)
def test_how_two_prompts_at_once_are_batched(
    scheduler: str, batches: list[tuple[list[int], list[tuple[int, int]]]]
) -> None:
    table = simulate(requests((0.0, 300, 40), (0.0, 300, 40)), [Replica()], RANDOM, scheduler=scheduler).table(0)
    ends = np.cumsum([iteration_ms(*batch) for batch in batches]) / 1000
    assert table.first_token_at[0] == pytest.approx(ends[0], rel=1e-12)
    assert table.first_token_at[1] == pytest.approx(ends[-1], rel=1e-12)


def first_tokens(scheduler: str) -> np.ndarray:
    """A long answer under way for a second, then a prompt of 1000 tokens; when both have their tokens."""
    rows = requests((0.0, 10, 400), (1.0, 1000, 5))
    return simulate(rows, [Replica()], RANDOM, scheduler=scheduler).table(0)


def test_the_schedulers_treat_a_newcomer_as_they_should() -> None:
    tables = {name: first_tokens(name) for name in SCHEDULERS}
    ttft = {name: table.ttft_s[1] for name, table in tables.items()}
    whole, two_chunks = (
        iteration_ms([], [(1000, 0)]) / 1000,
        (iteration_ms([], [(511, 0)]) + iteration_ms([], [(489, 511)])) / 1000,
    )
    rest = 0.011  # of the iteration that was under way
    assert whole <= ttft["vllm"] <= whole + rest
    assert whole < ttft["orca"] <= whole + 2 * rest
    assert two_chunks < ttft["sarathi"] <= two_chunks + 2 * rest
    # Only chunks leave the other request's stream of tokens nearly undisturbed; the static batch makes the newcomer wait for its end.
    static = tables["faster_transformer"]
    assert static.scheduled_at[1] == static.completed_at[0]


def test_vllm_prefills_a_prompt_above_its_token_budget_alone() -> None:
    rows = requests((0.0, 5000, 2), (0.0, 10, 2))
    table = simulate(rows, [Replica()], RANDOM, scheduler="vllm").table(0)
    assert table.first_token_at[0] == pytest.approx(iteration_ms([], [(5000, 0)]) / 1000)
    assert table.scheduled_at[1] == table.first_token_at[0]


def test_a_static_batch_keeps_its_memory_to_its_end() -> None:
    """Two reservations of 256 blocks fit 512; the third request waits for the longer of the first two, under orca for the shorter."""
    rows = requests((0.0, 10, 20), (0.0, 10, 200), (0.1, 10, 5))
    tables = {
        name: simulate(rows, [Replica(kv_blocks=512)], RANDOM, scheduler=name, check=True).table(0)
        for name in ("orca", "faster_transformer")
    }
    assert tables["orca"].scheduled_at[2] == tables["orca"].completed_at[0]
    static = tables["faster_transformer"]
    assert static.scheduled_at[2] == static.completed_at[1] > static.completed_at[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    scheduler=st.sampled_from(SCHEDULERS),
    router=st.sampled_from(sorted(ROUTERS)),
    blocks=st.lists(st.integers(20, 120), min_size=1, max_size=4),
    cap=st.integers(1, 12),
    stale=st.sampled_from([0.0, 0.4]),
)
def test_nothing_is_lost_whatever_happens(
    seed: int, scheduler: str, router: str, blocks: list[int], cap: int, stale: float
) -> None:
    """Conservation at every decision and, at the end, every request done, rejected, or waiting because nobody is left."""
    rng = np.random.default_rng(seed)
    rows = short_requests(80, 15.0, seed=seed, longest=700)
    reserve = 512
    replicas = [
        Replica(
            kv_blocks=int(b) + (reserve // 16 if scheduler in SCHEDULERS[2:] else 0),
            batch_cap=cap,
            up=bool(rng.random() < 0.8),
        )
        for b in blocks
    ]
    changes = [
        Change(
            at_seconds=float(rng.uniform(0, 8)),
            kind=str(rng.choice(["join", "leave", "fail", "slow"])),
            replica=int(rng.integers(len(blocks))),
            time_factor=float(rng.uniform(0.5, 4)),
        )
        for _ in range(12)
    ]
    simulation = LLMSimulation(
        1,
        len(blocks),
        80,
        PhysicsSettings(scheduler=Scheduler(name=scheduler, longest_tokens=reserve), report_seconds=stale, check=True),
    )
    simulation.load(0, replicas, rows, changes, seed=seed)
    simulation.run(ROUTERS[router].code)
    table = simulation.table(0)
    fate = {name: table.count(name) for name in ("completed", "rejected", "at_router")}
    assert sum(fate.values()) == 80, fate
    if simulation.arrays.replica[0, : len(blocks), c.STATE].max() == c.UP:
        able = simulation.arrays.replica[0, : len(blocks), c.STATE] == c.UP
        biggest = simulation.arrays.replica[0, : len(blocks), c.BLOCKS].max()
        if simulation.arrays.replica[0, : len(blocks), c.BLOCKS][able].max() == biggest:
            assert fate["at_router"] == 0
    done = table.status == 4
    assert np.isfinite(table.completed_at[done]).all() and np.isnan(table.completed_at[~done]).all()


def test_the_check_notices_what_is_wrong() -> None:
    simulation = LLMSimulation(1, 1, 50, PhysicsSettings(check=True))
    simulation.load(0, [Replica()], conversations(50, 20.0))
    for _ in range(20):
        simulation.step(np.zeros(1, int))
    simulation.arrays.replica[0, 0, c.FREE] += 1
    with pytest.raises(ConservationError, match="blocks free, held and used do not add up"):
        simulation.step(np.zeros(1, int))


def test_requests_longer_than_any_memory_are_rejected_and_counted() -> None:
    """A watermark of 1 % of 200 blocks leaves 198: 3168 tokens kept, and the last token is never kept."""
    rows = requests((0.0, 3160, 9), (0.1, 3160, 10), (0.2, 100, 10), (0.3, 9000, 1))
    table = simulate(rows, [Replica(kv_blocks=200), Replica(kv_blocks=100)], LEAST, check=True).table(0)
    assert table.status.tolist() == [4, 5, 4, 5]
    report = latency_report(table)
    assert (report.completed, report.rejected, report.unfinished) == (2, 2, 0)
    assert table.replica.tolist()[0] == 0


def test_a_request_is_never_sent_where_it_does_not_fit() -> None:
    rows = requests(*((0.01 * k, 2000, 10) for k in range(20)))
    table = simulate(rows, [Replica(kv_blocks=100), Replica(kv_blocks=300)], LEAST, check=True).table(0)
    assert set(table.replica.tolist()) == {1}


def test_all_replicas_failed_requests_wait_and_none_is_lost() -> None:
    rows = conversations(200, 10.0)
    failing = [Change(at_seconds=5.0, kind="fail", replica=r) for r in (0, 1)]
    table = simulate(rows, [Replica()] * 2, LEAST, failing, check=True).table(0)
    report = latency_report(table)
    assert report.unfinished == table.count("at_router") == 200 - report.completed > 100
    rejoined = [*failing, Change(at_seconds=40.0, kind="join", replica=1)]
    table = simulate(rows, [Replica()] * 2, LEAST, rejoined, check=True).table(0)
    assert table.count("completed") == 200
    waited = table.routed_at >= 40.0
    assert waited.sum() == report.unfinished
    # First come, first served: those that wait are sent in the order in which they came.
    assert set(table.routed_at[waited]) == {40.0}
    assert set(table.replica[waited].tolist()) == {1}


def test_a_failed_replicas_requests_go_on_with_the_tokens_they_had() -> None:
    """1000 + 3 tokens are known when it fails at the end of the second decode: they are prefilled elsewhere, the fourth comes with that."""
    moments = np.cumsum(
        [
            iteration_ms([], [(512, 0)]),
            iteration_ms([], [(488, 512)]),
            iteration_ms([1001], []),
            iteration_ms([1002], []),
        ]
    )
    at = float(moments[-1]) / 1000
    change = [Change(at_seconds=at + 1e-6, kind="fail", replica=0)]
    simulation = LLMSimulation(1, 2, 1)
    simulation.load(0, [Replica(), Replica()], requests((0.0, 1000, 4)), change)
    simulation.step(np.array([0]))
    simulation.step(np.array([1]))
    table = simulation.table(0)
    again = iteration_ms([], [(512, 0)]) + iteration_ms([], [(491, 512)])
    assert table.first_token_at[0] == pytest.approx(moments[1] / 1000)
    assert table.completed_at[0] == pytest.approx(at + 1e-6 + again / 1000)
    assert (table.replica[0], table.restarts[0]) == (1, 1)


def test_a_leaving_replica_finishes_what_it_has_and_takes_no_more() -> None:
    rows = conversations(200, 8.0)
    table = simulate(
        rows, [Replica()] * 2, ROUND_ROBIN, [Change(at_seconds=10.0, kind="leave", replica=0)], check=True
    ).table(0)
    assert table.count("completed") == 200 and table.restarts.sum() == 0
    assert (table.replica[table.arrived_at > 10.0] == 1).all()
    there = table.replica == 0
    assert there.any() and table.completed_at[there].max() > 10.0


def test_a_slowdown_counts_for_iterations_begun_after_it() -> None:
    first = iteration_ms([], [(512, 0)]) / 1000
    second = iteration_ms([], [(488, 512)]) / 1000
    change = [Change(at_seconds=first / 2, kind="slow", replica=0, time_factor=3.0)]
    table = simulate(requests((0.0, 1000, 1)), [Replica()], RANDOM, change).table(0)
    assert table.completed_at[0] == pytest.approx(first + 3 * second, rel=1e-12)


def test_the_same_seed_gives_the_same_table_alone_or_in_a_batch() -> None:
    rows = [conversations(150, 12.0, seed=seed) for seed in range(3)]
    alone = [simulate(r, [Replica()] * 3, RANDOM, seed=seed).table(0).completed_at for seed, r in enumerate(rows)]
    batch = LLMSimulation(3, 3, 150)
    for b, r in enumerate(rows):
        batch.load(b, [Replica()] * 3, r, seed=b)
    while batch.deciding.any():
        batch.step(batch.choose(RANDOM))
    for b in range(3):
        np.testing.assert_array_equal(batch.table(b).completed_at, alone[b])
    assert not np.array_equal(simulate(rows[0], [Replica()] * 3, RANDOM, seed=9).table(0).completed_at, alone[0])


def test_an_environment_is_loaded_anew_while_the_others_go_on() -> None:
    batch = LLMSimulation(2, 2, 100)
    short, long = conversations(20, 5.0, seed=1), conversations(100, 5.0, seed=2)
    batch.load(0, [Replica()], short)
    batch.load(1, [Replica()] * 2, long)
    while batch.deciding[0]:
        batch.step(batch.choose(LEAST))
    first = batch.table(0).completed_at
    batch.load(0, [Replica()], short)
    assert batch.deciding.all()
    batch.run(LEAST)
    np.testing.assert_array_equal(batch.table(0).completed_at, first)
    np.testing.assert_array_equal(
        batch.table(1).completed_at, simulate(long, [Replica()] * 2, LEAST).table(0).completed_at
    )


def test_an_impossible_choice_is_refused_and_nothing_is_routed() -> None:
    simulation = LLMSimulation(2, 3, 10)
    for b in range(2):
        simulation.load(b, [Replica(), Replica(up=False), Replica(kv_blocks=20)], requests((0.0, 900, 5), (0.5, 10, 5)))
    for wrong in (1, 2, 3, -1):
        with pytest.raises(
            ValueError, match=rf"cluster 1: replica {wrong} cannot take request 0; those that can are \[0\]"
        ):
            simulation.step(np.array([0, wrong]))
    assert simulation.arrays.replica[:, :, c.OUTSTANDING].sum() == 0
    np.testing.assert_array_equal(simulation.able_mask(), [[True, False, False]] * 2)
    simulation.step(np.array([0, 0]))
    np.testing.assert_array_equal(simulation.able_mask(), [[True, False, True]] * 2)


def test_running_totals_are_those_of_the_table() -> None:
    rows = conversations(300, 16.0)
    simulation = LLMSimulation(1, 4, 300)
    simulation.load(0, [Replica()] * 4, rows)
    simulation.run(LEAST, most=200)
    so_far, table, now = totals(simulation.arrays), simulation.table(0), float(simulation.arrays.now[0, c.NOW])
    arrived = table.arrived_at <= now
    assert so_far.arrived[0] == arrived.sum() == 201
    done = np.isfinite(table.completed_at)
    ends = np.where(done, table.completed_at, now)
    assert so_far.request_seconds[0] == pytest.approx((ends - table.arrived_at)[arrived].sum())
    firsts = np.where(np.isfinite(table.first_token_at), table.first_token_at, now)
    assert so_far.unanswered_seconds[0] == pytest.approx((firsts - table.arrived_at)[arrived].sum())
    simulation.run(LEAST)
    end, table = totals(simulation.arrays), simulation.table(0)
    assert end.request_seconds[0] == pytest.approx(end.latency_seconds[0]) == pytest.approx(table.e2e_s.sum())
    assert end.ttft_seconds[0] == pytest.approx(table.ttft_s.sum())
    assert end.generated_tokens[0] == table.num_decode_tokens.sum()
    assert end.prefilled_tokens[0] == table.num_prefill_tokens.sum()
    assert end.now[0] == table.completed_at.max()


def test_busy_time_is_all_the_time_of_a_replica_that_never_rests() -> None:
    rows = requests(*((0.0, 200, 50) for _ in range(100)))
    simulation = simulate(rows, [Replica(time_factor=2.0)], RANDOM)
    assert totals(simulation.arrays).busy_seconds[0] == pytest.approx(simulation.table(0).completed_at.max())


@pytest.mark.parametrize("name", ["A", "B", "E"])
def test_the_rules_rank_as_in_vidur(name: str) -> None:
    """Means over seeds; Vidur's table: fewest prompt tokens is best on TTFT p99, weighing by speed best on e2e p99 among these."""
    scenario = SCENARIOS[name]
    simulation = LLMSimulation(1, 4, 3000)
    ttft, e2e = {}, {}
    for router in ("round_robin", "least_outstanding", "speed_weighted_outstanding", "speed_weighted_prefill"):
        reports = []
        for seed in range(4):
            rows = scenario.requests(3000, seed)
            simulation.load(0, scenario.replicas, rows, seed=seed)
            simulation.run(ROUTERS[router].code)
            reports.append(latency_report(simulation.table(0)))
        ttft[router] = np.mean([report.ttft_p99_s for report in reports])
        e2e[router] = np.mean([report.e2e_mean_s for report in reports])
    assert ttft["speed_weighted_prefill"] < 0.75 * ttft["least_outstanding"]
    assert ttft["least_outstanding"] < ttft["round_robin"]
    if name == "A":
        # Vidur: 8.38, 8.12, 8.12, 8.05 s.
        np.testing.assert_allclose(list(e2e.values()), [8.38, 8.12, 8.12, 8.05], rtol=0.05)
    else:
        assert e2e["speed_weighted_outstanding"] < e2e["least_outstanding"] < 0.5 * e2e["round_robin"]
        assert ttft["speed_weighted_outstanding"] < ttft["least_outstanding"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s.load(0, [], conversations(5, 1.0)), "0 replicas; there must be 1..2"),
        (lambda s: s.load(0, [Replica()] * 3, conversations(5, 1.0)), "3 replicas"),
        (lambda s: s.load(0, [Replica()], conversations(11, 1.0)), "11 requests, more than max_requests = 10"),
        (lambda s: s.load(0, [Replica(batch_cap=129)], conversations(5, 1.0)), "replica 0: batch_cap 129 is above"),
        (
            lambda s: s.load(0, [Replica()], conversations(5, 1.0), [Change(at_seconds=1, kind="fail", replica=1)]),
            "there is no replica 1; there are 0..0",
        ),
        (
            lambda s: s.load(
                0, [Replica()], conversations(5, 1.0), [Change(at_seconds=1, kind="fail", replica=0)] * 65
            ),
            "65 changes, more than most_changes = 64",
        ),
        (lambda _: LLMSimulation(0, 1, 1), "batch_size 0 is not >= 1"),
        (lambda _: Replica(time_factor=0.0), "time_factor 0.0 is not a positive number"),
        (lambda _: Replica(time_factor=float("nan")), "time_factor nan"),
        (lambda _: Replica(kv_blocks=0), "kv_blocks 0 is not >= 1"),
        (lambda _: Replica(batch_cap=0), "batch_cap 0 is not >= 1"),
        (
            lambda _: Scheduler(name="sglang"),
            "'sglang' is not known; there are sarathi, vllm, orca, faster_transformer",
        ),
        (lambda _: Scheduler(chunk_tokens=0), "chunk_tokens 0 is not >= 1"),
        (lambda _: Scheduler(watermark_share=1.0), r"watermark_share 1.0 is not in \[0, 1\)"),
        (lambda _: Change(at_seconds=1.0, kind="vanish", replica=0), "'vanish' is not known"),
        (lambda _: Change(at_seconds=-1.0, kind="fail", replica=0), "at_seconds -1.0 is not a time >= 0"),
        (lambda _: Change(at_seconds=1.0, kind="slow", replica=0, time_factor=0.0), "time_factor 0.0"),
        (lambda _: PhysicsSettings(report_seconds=-1.0), "report_seconds -1.0"),
        (lambda _: PhysicsSettings(largest_batch_cap=0), "largest_batch_cap 0 is not >= 1"),
    ],
)
def test_what_cannot_be_is_refused(make: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make(LLMSimulation(1, 2, 10))  # type: ignore[operator]


def test_a_report_on_nothing_is_refused() -> None:
    table = simulate(requests((0.0, 9000, 1)), [Replica(kv_blocks=100)], RANDOM).table(0)
    with pytest.raises(MetricsError, match="none of 1 requests was completed: 1 are longer"):
        latency_report(table)
