"""Who stands behind errors, against a graph library; and how long the guardrail believes in them."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np

from gnnrl.cluster.guardrails import Guardrails
from gnnrl.cluster.guardrails.upstream import behind_errors_mask
from tests.cluster.guardrail_cases import WIDE, apply, proposal, shown

CONFIG = replace(WIDE, error_hold_share=0.01, error_hold_seconds=45.0)


def behind(shares: list[float], calls: list[tuple[int, int]], share: float = 0.01, padding: int = 0) -> list[int]:
    source, target = (np.array([[call[end] for call in calls] + [0] * padding]) for end in range(2))
    found = behind_errors_mask(np.array([shares]), source, target, np.array([len(calls)]), share)
    return np.flatnonzero(found[0]).tolist()


def test_errors_hold_what_they_lead_to_and_nothing_else() -> None:
    chain = [(0, 1), (1, 2), (0, 3)]  # front -> cart -> redis, front -> pay
    assert behind([0.0, 0.02, 0.0, 0.0], chain) == [1, 2], "cart and what cart calls; not its caller, not its sibling"
    assert behind([0.02, 0.0, 0.0, 0.0], chain) == [0, 1, 2, 3]
    assert behind([0.0, 0.0, 0.02, 0.0], chain) == [2]
    assert behind([0.01, 0.01, 0.01, 0.01], chain) == [], "above, not at"
    assert behind([1.0] * 4, chain, share=1.0) == [], "a share of 1 is never exceeded"
    assert behind([0.0, 0.02, 0.0, 0.0], [(1, 2), (2, 1), (2, 2), (2, 3)]) == [1, 2, 3], "cycles and self-calls end"
    assert behind([0.02, 0.0], [], padding=4) == [0] and behind([0.02, 0.0], [(1, 0)], padding=4) == [0]
    # The order of the calls is no order of time: the last call of a path may stand first.
    assert behind([0.02, 0.0, 0.0, 0.0], [(2, 3), (1, 2), (0, 1)]) == [0, 1, 2, 3]


def test_reachability_is_that_of_the_graph_in_every_mesh_of_a_batch() -> None:
    rng = np.random.default_rng(7)
    batch, services, calls = 40, 12, 24
    source, target = rng.integers(0, services, (2, batch, calls))
    n_calls = rng.integers(0, calls + 1, batch)
    errors = np.where(rng.random((batch, services)) < 0.08, 0.5, 0.0).astype(np.float32)
    kept = errors.copy()
    found = behind_errors_mask(errors, source, target, n_calls, 0.01)
    for b in range(batch):
        graph = nx.DiGraph()
        graph.add_nodes_from(range(services))
        graph.add_edges_from(zip(source[b, : n_calls[b]].tolist(), target[b, : n_calls[b]].tolist(), strict=True))
        failing = set(np.flatnonzero(errors[b] > 0).tolist())
        expected = failing.union(*(nx.descendants(graph, s) for s in failing))
        assert set(np.flatnonzero(found[b]).tolist()) == expected
    assert found.sum() > (errors > 0).sum() > 0 and not found.all()
    np.testing.assert_array_equal(errors, kept)


def test_what_is_behind_errors_is_not_lowered_and_is_raised() -> None:
    errors = {"behind_errors_mask": [True, True, False]}
    assert apply(proposal([5] * 3, [2.0, 9.0, 2.0], **errors), CONFIG) == ([5, 9, 2], [("errors_hold",), (), ()])


def test_errors_that_last_are_taken_for_usual_until_they_have_gone() -> None:
    guardrails = Guardrails(CONFIG, 1, 2, 15.0)
    finals = []
    for k in range(10):
        given = proposal([5, 5], [2.0, 2.0], behind_errors_mask=[k != 6, False])
        finals.append(int(guardrails.apply(given).final[0, 0]))
    assert finals == [5] * 3 + [2] * 4 + [5] * 3, "45 s, then usual; after one interval without, 45 s anew"


def test_an_interval_that_was_missed_begins_the_time_of_errors_anew_and_their_count_follows_the_service() -> None:
    guardrails = Guardrails(CONFIG, 1, 2, 15.0)
    errors = {"behind_errors_mask": [True, False]}
    for _ in range(3):
        guardrails.apply(proposal([5, 5], [2.0, 2.0], **errors))
    guardrails.remesh(0, np.array([1, 0]))
    moved = guardrails.apply(proposal([5, 5], [2.0, 2.0], behind_errors_mask=[True, True]))
    assert shown(moved) == ([5, 2], [("errors_hold",), ()])
    guardrails.miss()
    again = guardrails.apply(proposal([5, 5], [2.0, 2.0], behind_errors_mask=[True, True]))
    assert again.final.tolist() == [[5, 5]]


def test_a_wish_behind_errors_counts_in_a_window_as_one_for_what_is_there() -> None:
    config = replace(CONFIG, stabilise_down_seconds=45.0)
    guardrails = Guardrails(config, 1, 1, 15.0)
    guardrails.apply(proposal([5], [2.0]))
    finals = []
    for k in range(8):
        finals.append(int(guardrails.apply(proposal([5], [2.0], behind_errors_mask=[k == 3])).final[0, 0]))
    assert finals == [5, 5, 2, 5, 5, 5, 2, 2]
