"""The kernels against a cluster played one event after another, request by request; and with and without skipping, bit for bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.model import Change, Replica
from gnnrl.domains.llm_routing.request_table import RequestTable
from gnnrl.domains.llm_routing.workloads import Requests
from tests.domains.llm_routing.clusters import conversations, short_requests, simulate
from tests.domains.llm_routing.reference import ReferenceCluster
from tests.domains.llm_routing.reference import Replica as SlowReplica
from tests.domains.llm_routing.reference import Request as SlowRequest

ROUND_ROBIN = ROUTERS["round_robin"].code
CHANGES = [
    Change(at_seconds=3.0, kind="slow", replica=0, time_factor=2.5),
    Change(at_seconds=4.0, kind="fail", replica=1),
    Change(at_seconds=6.0, kind="leave", replica=2),
    Change(at_seconds=7.0, kind="fail", replica=0),
    Change(at_seconds=9.0, kind="join", replica=1),
    Change(at_seconds=9.5, kind="join", replica=0),
]


def played_slowly(
    scheduler: str, requests: Requests, replicas: list[Replica], changes: list[Change]
) -> ReferenceCluster:
    last = len(replicas) - 1

    def round_robin(_: SlowRequest, fleet: list[SlowReplica]) -> int:
        nonlocal last
        last = next(r % len(fleet) for r in range(last + 1, last + 1 + len(fleet)) if fleet[r % len(fleet)].up)
        return last

    rows = zip(requests.arrived_at, requests.prefill_tokens, requests.decode_tokens, strict=True)
    slow = [SlowRequest(k, float(at), int(prompt), int(answer)) for k, (at, prompt, answer) in enumerate(rows)]
    cluster = ReferenceCluster(
        scheduler,
        [
            SlowReplica(r, q.kv_blocks or 7424, int(0.01 * (q.kv_blocks or 7424)), q.batch_cap, q.time_factor, q.up)
            for r, q in enumerate(replicas)
        ],
        slow,
        round_robin,
        [(change.at_seconds, change.kind, change.replica, change.time_factor) for change in changes],
    )
    cluster.run()
    return cluster


@pytest.mark.parametrize("scheduler", ["sarathi", "vllm"])
@pytest.mark.parametrize(
    ("replicas", "requests", "changes", "evictions"),
    [
        ([Replica()] * 2, conversations(300, 8.0), [], False),
        ([Replica(kv_blocks=70), Replica(kv_blocks=110, time_factor=1.7)], short_requests(400, 12.0), [], True),
        ([Replica(batch_cap=3), Replica(batch_cap=5)], short_requests(300, 6.0, longest=300), [], False),
        ([Replica(kv_blocks=80)] * 3, short_requests(300, 20.0), CHANGES, True),
    ],
    ids=["conversations", "small memory", "small batches", "churn"],
)
def test_every_request_has_the_times_of_the_event_by_event_cluster(
    scheduler: str, replicas: list[Replica], requests: Requests, changes: list[Change], evictions: bool
) -> None:
    table = simulate(requests, replicas, ROUND_ROBIN, changes, scheduler=scheduler, check=True).table(0)
    slow = played_slowly(scheduler, requests, replicas, changes)
    assert (slow.evictions > 20) is evictions, slow.evictions
    np.testing.assert_array_equal(table.restarts, [q.restarts for q in slow.requests])
    np.testing.assert_array_equal(table.replica, [q.served_by for q in slow.requests])
    np.testing.assert_allclose(table.first_token_at, [q.first for q in slow.requests], rtol=0, atol=1e-9)
    np.testing.assert_allclose(table.completed_at, [q.done for q in slow.requests], rtol=0, atol=1e-9)


def test_the_comparison_would_notice_one_token_too_many() -> None:
    requests = conversations(60, 8.0)
    table = simulate(requests, [Replica()] * 2, ROUND_ROBIN).table(0)
    longer = requests.decode_tokens.copy()
    longer[30] += 1
    other = Requests(requests.arrived_at, requests.prefill_tokens, longer)
    slow = played_slowly("sarathi", other, [Replica()] * 2, [])
    assert np.abs(table.completed_at - [q.done for q in slow.requests]).max() > 1e-3


def same(a: RequestTable, b: RequestTable) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name), equal_nan=True) for f in fields(a))


@pytest.mark.parametrize("scheduler", ["sarathi", "vllm", "orca", "faster_transformer"])
@pytest.mark.parametrize("case", ["light", "memory", "churn", "stale"])
def test_skipping_ahead_changes_no_bit(scheduler: str, case: str) -> None:
    replicas = [Replica(), Replica(time_factor=2.0), Replica()]
    requests, changes, stale = conversations(250, 3.0 if case == "light" else 12.0), [], 0.0
    if case == "memory":
        replicas = [Replica(kv_blocks=280), Replica(kv_blocks=520)]
        requests = short_requests(300, 12.0)
    elif case == "churn":
        changes = CHANGES
    elif case == "stale":
        stale = 0.25
    tables = [
        simulate(
            requests, replicas, ROUTERS["least_pending_prefill"].code, changes, seed=3, scheduler=scheduler,
            skip_ahead=skip, report_seconds=stale,
        ).table(0)
        for skip in (True, False)
    ]  # fmt: skip
    assert same(*tables)
    assert tables[0].count("completed") == len(requests)


def test_skipping_ahead_passes_over_most_iterations() -> None:
    """A single long answer is one event: iterations are counted all the same."""
    requests = Requests(np.zeros(1), np.array([100]), np.array([1001]))
    for skip in (True, False):
        simulation = simulate(requests, [Replica()], ROUND_ROBIN, skip_ahead=skip)
        assert simulation.arrays.replica[0, 0, c.ITERATIONS] == 1001
        assert simulation.arrays.replica[0, 0, c.GENERATED] == 1001
