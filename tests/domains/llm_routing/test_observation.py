"""What a router sees: each feature against what it says it is, computed anew from the requests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.model import Change, ModelError, Replica
from gnnrl.domains.llm_routing.observation import (
    BASE_FEATURES,
    GLOBAL_FEATURES,
    HEAD_FEATURES,
    OWN_FEATURES,
    TEMPORAL_FEATURES,
    HistoryWindows,
    Watch,
    get_state_dimension,
)
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, LengthHint, Requests, draw_requests
from tests.domains.llm_routing.clusters import conversations, short_requests

RANDOM = ROUTERS["random"].code


class Played:
    """A cluster watched at every decision; `see` gives one feature of all replicas, `whole` one of the cluster."""

    def __init__(
        self, rows: Requests, replicas: list[Replica], changes: list[Change] | None = None, **given: object
    ) -> None:
        windows = {name: given.pop(name) for name in ("replica", "cluster", "tell_speeds") if name in given}
        self.simulation = LLMSimulation(1, len(replicas), len(rows), PhysicsSettings(**given))  # type: ignore[arg-type]
        self.watch = Watch(self.simulation, HistoryWindows(**windows))  # type: ignore[arg-type]
        self.simulation.load(0, replicas, rows, changes or ())
        self.watch.observe()

    def step(self, r: int | None = None) -> bool:
        chosen = self.simulation.choose(RANDOM) if r is None else np.array([r])
        self.simulation.step(chosen)
        self.watch.observe()
        return bool(self.simulation.deciding[0])

    def see(self, name: str) -> np.ndarray:
        return self.watch.replicas[0, :, self.watch.replica_names.index(name)]

    def whole(self, name: str) -> float:
        return float(self.watch.globals[0, GLOBAL_FEATURES.index(name)])

    def counter(self, column: int) -> np.ndarray:
        return self.simulation.arrays.replica[0, :, column]

    @property
    def now(self) -> float:
        return float(self.simulation.arrays.now[0, c.NOW])


def test_the_documents_features_are_there_in_their_numbers() -> None:
    assert (len(BASE_FEATURES), len(TEMPORAL_FEATURES), len(HEAD_FEATURES)) == (11, 8, 7)
    assert get_state_dimension(4) == 4 * (11 + 8 + 28) + 3 + 7
    assert get_state_dimension(3, temporal=False, heads=2, global_temporal=False) == 3 * (11 + 14) + 3
    watch = Watch(LLMSimulation(1, 4, 1))
    assert watch.replicas.shape == (1, 4, 11 + 8 + 28 + len(OWN_FEATURES))
    assert len(set(watch.replica_names)) == watch.replicas.shape[2]


def test_base_features_are_the_state_of_the_replicas() -> None:
    played = Played(short_requests(300, 20.0), [Replica(kv_blocks=80, batch_cap=7), Replica(kv_blocks=100)])
    queues, skipped = [], []
    while True:
        table = played.simulation.table(0)
        for r, blocks in enumerate((80, 100)):
            waiting = ((table.status == 2) & (table.replica == r)).sum()
            resident = ((table.status == 3) & (table.replica == r)).sum()
            assert played.see("queue_length")[r] == waiting
            assert played.see("allocation_map_size")[r] == resident
            assert played.see("outstanding")[r] == waiting + resident
            held = played.simulation.arrays.request[0, :300, c.BLOCKS_HELD][
                (table.status == 3) & (table.replica == r)
            ].sum()
            assert played.see("allocated_blocks")[r] == held
            assert played.see("utilization_fraction")[r] == pytest.approx(held / blocks)
            assert played.see("available_fraction")[r] == pytest.approx(1 - held / blocks)
            assert played.see("running_batches")[r] == (resident > 0)
        assert played.see("total_blocks").tolist() == [80, 100]
        assert played.see("batch_capacity").tolist() == [7, 128]
        assert played.see("block_size").tolist() == [16, 16] and played.see("num_stages").tolist() == [1, 1]
        assert played.see("time_factor").tolist() == [0, 0]
        queues.append(played.see("queue_length").max())
        skipped.append(played.see("preempted_requests").max())
        if not played.step():
            break
    assert max(queues) > 10


def test_heads_describe_the_first_of_the_queue_and_hide_the_answers_length() -> None:
    rows = Requests(np.linspace(0.0, 0.03, 7), np.arange(100, 107), np.arange(50, 57))
    played = Played(rows, [Replica(batch_cap=1)], queue_heads=3)
    for _ in range(6):
        played.step(0)
    now = played.now
    # The first is resident, the second heads the queue; one head is as old as its request.
    for k in range(3):
        seen = [float(played.see(f"head{k}_{name}")[0]) for name in HEAD_FEATURES]
        assert seen == pytest.approx([now - rows.arrived_at[k + 1], 101 + k, 0, 101 + k, 0, 0, 0])
    assert played.watch.requests[0].tolist() == [106, 0, 0]


def test_the_answers_length_is_shown_as_hinted() -> None:
    rows = draw_requests(40, Arrivals(qps=100.0), LENGTHS["conversation"], 0, LengthHint(kind="true"))
    played = Played(rows, [Replica(batch_cap=1)])
    for k in range(30):
        assert played.watch.requests[0, 1] == rows.decode_tokens[k]
        played.step(0)
    assert played.see("head0_num_decode_tokens")[0] in rows.decode_tokens


def test_temporal_features_look_back_as_they_say() -> None:
    played = Played(conversations(120, 40.0), [Replica(batch_cap=4), Replica(batch_cap=4, time_factor=2)])
    queues, blocks, loads, times = [], [], [], []
    while True:
        queues.append(played.see("queue_length").astype(float).copy())
        blocks.append(played.see("allocated_blocks").astype(float).copy())
        loads.append((played.see("queue_length") + played.see("allocation_map_size")) / 4.0)
        times.append(played.now)
        window = np.array(queues[-5:])
        ema = loads[0]
        for load in loads[1:]:
            ema = ema + 0.2 * (load - ema)
        peak = np.array(queues).max(axis=0)
        for r in range(2):
            if len(window) > 1:
                slope = np.polyfit(np.arange(len(window)), window[:, r], 1)[0]
                assert played.see("queue_trend")[r] == pytest.approx(slope, abs=1e-5)
            assert played.see("queue_variance")[r] == pytest.approx(window[:, r].var(), rel=1e-5)
            assert played.see("load_ema")[r] == pytest.approx(ema[r], rel=1e-5)
            assert played.see("historical_peak")[r] == peak[r]
            assert played.see("historical_low")[r] == np.array(queues)[:, r].min()
            latest = max(k for k, queue in enumerate(queues) if queue[r] == peak[r])
            assert played.see("time_since_peak")[r] == pytest.approx(times[-1] - times[latest], rel=1e-5)
        if len(queues) > 1:
            np.testing.assert_allclose(played.see("queue_delta"), queues[-1] - queues[-2])
            np.testing.assert_allclose(played.see("allocation_delta"), blocks[-1] - blocks[-2])
        if not played.step():
            break
    assert len(queues) == 120


def test_tokens_done_since_the_last_decision_add_up_and_give_a_hidden_speed_away() -> None:
    played = Played(conversations(400, 14.0), [Replica(), Replica(time_factor=3.0)])
    given, done = np.zeros(2), np.zeros(2)
    while played.step():
        given += played.see("generated_tokens")
        done += played.see("prefilled_tokens")
        np.testing.assert_array_equal(given, played.counter(c.GENERATED))
        np.testing.assert_array_equal(done, played.counter(c.PREFILLED))
        np.testing.assert_array_equal(played.see("pending_prefill_tokens"), played.counter(c.PENDING_PREFILL))
    assert given[0] > 1.7 * given[1]
    told = Played(conversations(3, 14.0), [Replica(), Replica(time_factor=3.0)], tell_speeds=True)
    assert told.see("time_factor").tolist() == [1, 3]


def test_the_cluster_as_a_whole() -> None:
    rows = conversations(200, 8.0)
    played = Played(rows, [Replica()] * 2)
    times, rates, ema = [], [], 0.0
    while True:
        now, table = played.now, played.simulation.table(0)
        times.append(now)
        k = len(times)
        # Between this decision and the tenth before it, or the first one; at the first, since the beginning.
        since = times[max(k - 11, 0)] if k > 1 else 0.0
        arrivals = min(k - 1, 10) if k > 1 else 1
        rates.append(arrivals / (now - since))
        ema = rates[0] if k == 1 else ema + 0.2 * (rates[-1] - ema)
        ended = (table.completed_at > since) & (table.completed_at <= now)
        assert played.whole("qps_current") == pytest.approx(rates[-1], rel=1e-5)
        assert played.whole("qps_ema") == pytest.approx(ema, rel=1e-5)
        assert played.whole("qps_variance") == pytest.approx(np.var(rates[-10:]), rel=1e-4, abs=1e-5)
        if k > 1:
            last = rates[-10:]
            assert played.whole("qps_trend") == pytest.approx(np.polyfit(np.arange(len(last)), last, 1)[0], abs=1e-4)
            assert played.whole("seconds_since_decision") == pytest.approx(now - times[-2], rel=1e-4)
        assert played.whole("throughput") == pytest.approx(ended.sum() / (now - since), rel=1e-5)
        assert played.whole("mean_latency") == pytest.approx(table.e2e_s[ended].mean() if ended.any() else 0, rel=1e-5)
        assert played.whole("completion_rate") == pytest.approx(ended.sum() / arrivals, rel=1e-5)
        queue = played.see("queue_length")
        assert played.whole("queue_length") == queue.sum()
        assert played.whole("system_load_balance") == pytest.approx(queue.std() / queue.mean() if queue.any() else 0)
        assert played.whole("replicas_up") == 2
        if not played.step():
            break


def test_absent_replicas_are_blank_and_newcomers_start_anew() -> None:
    changes = [Change(at_seconds=4.0, kind="fail", replica=0), Change(at_seconds=8.0, kind="join", replica=0)]
    played = Played(conversations(200, 15.0), [Replica(), Replica()], changes)
    while played.step():
        gone = 4.0 <= played.now < 8.0
        np.testing.assert_array_equal(played.watch.present[0], [not gone, True])
        np.testing.assert_array_equal(played.watch.able[0], [not gone, True])
        if gone:
            assert not played.watch.replicas[0, 0].any()
        elif played.now >= 8.0:
            break
    # What the first life of the replica did is not taken for work of its second.
    first = played.simulation.arrays.replica[0, 0, c.GENERATED]
    assert played.now >= 8.0 and first > 300 and played.see("generated_tokens")[0] == 0


def test_stale_reports_are_those_of_the_last_multiple() -> None:
    rows = conversations(150, 12.0)
    live, stale = Played(rows, [Replica()] * 2), Played(rows, [Replica()] * 2, report_seconds=0.5)
    seen: list[tuple[float, np.ndarray]] = []
    differ = 0
    while True:
        seen.append((stale.now, stale.see("allocated_blocks").copy()))
        np.testing.assert_array_equal(live.see("outstanding"), stale.see("outstanding"))
        differ += int((live.see("allocated_blocks") != stale.see("allocated_blocks")).any())
        r = int(live.simulation.choose(RANDOM)[0])
        if not (live.step(r) & stale.step(r)):
            break
    assert differ > 60
    for (t0, blocks0), (t1, blocks1) in pairwise(seen):
        if t0 // 0.5 == t1 // 0.5:
            np.testing.assert_array_equal(blocks0, blocks1)
    # Watching changes nothing.
    np.testing.assert_array_equal(live.simulation.table(0).completed_at, stale.simulation.table(0).completed_at)


def test_a_new_episode_forgets_the_last_one() -> None:
    rows = conversations(80, 20.0)
    played = Played(rows, [Replica()] * 2)
    first = [played.watch.replicas.copy()]
    while played.step(0):
        first.append(played.watch.replicas.copy())
    played.simulation.load(0, [Replica()] * 2, rows)
    played.watch.observe()
    for seen in first:
        np.testing.assert_array_equal(played.watch.replicas, seen)
        played.step(0)


def test_windows_are_checked() -> None:
    with pytest.raises(ModelError, match="window replica of 1 decisions is not >= 2"):
        HistoryWindows(replica=1)
