"""The guardrails one by one, by hand-worked cases."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnnrl.cluster.guardrails import GUARDRAILS, NO_FLOOR, UNLIMITED, Guardrails, Proposal, names, per_service
from gnnrl.cluster.guardrails.whole_mesh import brake_mask, share_out
from gnnrl.config.live import GuardrailConfig
from tests.cluster.guardrail_cases import WIDE, apply, proposal, shown


def test_what_is_in_nobodys_way_changes_nothing() -> None:
    assert apply(proposal([1, 5, 9], [100.0, 1.0, 9.0])) == ([100, 1, 9], [(), (), ()])


def test_every_guardrail_is_reported_in_the_order_of_application() -> None:
    verdict = Guardrails(WIDE, 1, 1, 15.0).apply(proposal([1], [1.0]))
    assert list(verdict.hits) == list(GUARDRAILS)
    assert {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)} == set(
        GUARDRAILS
    )


@pytest.mark.parametrize("wish", [float("nan"), float("inf"), -float("inf"), 2.5, -1.0, 2.0**31, 1e300, 2.0**32 + 3])
def test_what_is_no_replica_count_holds_and_is_never_rounded(wish: float) -> None:
    assert apply(proposal([7], [wish])) == ([7], [("invalid",)])
    # Not even to limits: nobody asked for anything.
    assert apply(proposal([7], [wish], max_replicas=[5])) == ([7], [("invalid",)])
    assert apply(proposal([7], [wish], min_replicas=[9])) == ([7], [("invalid",)])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"scalable_mask": [False, True]}, "not_scalable"),
        ({"owned_mask": [True, False]}, "owned"),
        ({"paused_mask": [True, False]}, "paused"),
        ({"min_replicas": [9, 1], "max_replicas": [8, 100]}, "contradictory"),
        ({"min_replicas": [-2, 1]}, "contradictory"),
        ({"max_replicas": [2**31, 100]}, "contradictory"),
    ],
)
def test_what_must_not_be_touched_is_held_in_both_directions(change: dict[str, Any], name: str) -> None:
    for wish in (20.0, 2.0):
        assert apply(proposal([7, 7], [wish, wish], **change)) == ([7, int(wish)], [(name,), ()])
        # Out of limits it is held as well, and no floor raises it.
        arguments = {"min_replicas": [9, 1], "floor": [9, NO_FLOOR], **change}
        config = replace(WIDE, fallback_after_intervals=1)
        assert apply(proposal([7, 7], [wish, wish], **arguments), config) == ([7, int(wish)], [(name,), ()])


def test_a_contradiction_is_named_although_nothing_was_wanted() -> None:
    assert apply(proposal([7], [7.0], min_replicas=[9], max_replicas=[8])) == ([7], [("contradictory",)])
    assert apply(proposal([7], [7.0], owned_mask=[True])) == ([7], [()])


def test_what_was_switched_off_stays_off() -> None:
    assert apply(proposal([0, 1], [3.0, 3.0])) == ([0, 3], [("scaled_to_zero",), ()])


def test_untrusted_data_never_lower_but_may_raise() -> None:
    untrusted = {"untrusted_mask": [True, True, False]}
    assert apply(proposal([7, 7, 7], [3.0, 9.0, 3.0], **untrusted)) == ([7, 9, 3], [("untrusted",), (), ()])


def test_outside_its_limits_a_service_is_brought_inside_at_once_on_good_data_only() -> None:
    slow = replace(WIDE, max_up_replicas=1, max_up_share=1e-9, max_down_replicas=1, max_down_share=0.0)
    limits = {"min_replicas": [5, 5, 5], "max_replicas": [10, 10, 10]}
    final, hits = apply(proposal([1, 30, 7], [1.0, 30.0, 7.0], **limits), slow)
    assert (final, hits) == ([5, 10, 7], [("min_max",), ("min_max",), ()])
    held = apply(proposal([1, 30, 7], [1.0, 2.0, 7.0], **limits, untrusted_mask=[True] * 3), slow)
    assert held == ([1, 30, 7], [(), ("untrusted",), ()])
    # What is raised on such data for another reason is raised into the limits, or not at all.
    raised = apply(proposal([1, 30, 7], [2.0, 40.0, 40.0], **limits, untrusted_mask=[True] * 3), WIDE)
    assert raised == ([5, 30, 10], [("min_max",), ("min_max",), ("min_max",)])


def test_the_deadband_swallows_what_is_small() -> None:
    config = replace(WIDE, deadband_replicas=2)
    assert apply(proposal([10] * 4, [12.0, 13.0, 8.0, 7.0]), config) == (
        [10, 13, 10, 7],
        [("deadband",), (), ("deadband",), ()],
    )


def test_rates_allow_the_larger_of_pods_and_share() -> None:
    config = replace(WIDE, max_up_replicas=4, max_up_share=0.5, max_down_replicas=2, max_down_share=0.1)
    final, hits = apply(proposal([4, 20, 4, 30, 6], [100.0, 100.0, 1.0, 1.0, 9.0]), config)
    assert final == [8, 30, 2, 27, 9]
    assert hits == [("rate_up",), ("rate_up",), ("rate_down",), ("rate_down",), ()]


def run(config: GuardrailConfig, wishes: list[float], current: int = 5, **changes: Any) -> list[int]:
    """Finals of one service over intervals, obeyed each time."""
    guardrails, finals = Guardrails(config, 1, 1, 15.0), []
    for k, wish in enumerate(wishes):
        now = {name: [values[k]] for name, values in changes.items()}
        current = int(guardrails.apply(proposal([current], [wish], **now)).final[0, 0])
        finals.append(current)
    return finals


def test_lowering_waits_for_the_highest_wish_of_the_window() -> None:
    config = replace(WIDE, stabilise_down_seconds=45.0)
    # The window of 45 s holds the wishes of 0, 15 and 30 s ago; what was there at the start counts as the first.
    assert run(config, [2.0, 2.0, 2.0, 2.0, 8.0, 3.0, 4.0, 3.0, 3.0]) == [5, 5, 5, 2, 8, 8, 8, 4, 4]
    assert run(WIDE, [2.0, 2.0, 8.0, 3.0]) == [2, 2, 8, 3]  # the negative control: no window, no wait


def test_raising_waits_for_the_lowest_wish_of_the_window_and_never_lowers() -> None:
    config = replace(WIDE, stabilise_up_seconds=45.0)
    assert run(config, [9.0, 8.0, 9.0, 9.0, 7.0, 20.0, 20.0, 12.0]) == [5, 5, 5, 8, 7, 7, 7, 12]


def test_a_window_of_one_interval_holds_at_first_sight_only() -> None:
    assert run(replace(WIDE, stabilise_down_seconds=15.0), [2.0, 2.0, 1.0]) == [5, 2, 1]


def test_an_interval_without_a_wish_does_not_stop_the_window() -> None:
    config = replace(WIDE, stabilise_down_seconds=45.0)
    assert run(config, [5.0, float("nan"), float("nan"), 2.0, 2.0]) == [5, 5, 5, 2, 2]
    assert run(config, [5.0, float("nan"), 2.0, 2.0]) == [5, 5, 5, 2]


def test_a_wish_on_untrusted_data_counts_as_one_for_what_is_there() -> None:
    config = replace(WIDE, stabilise_down_seconds=45.0)
    stale = {"untrusted_mask": [False, False, False, True, False, False, False]}
    assert run(config, [5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0], **stale) == [5, 5, 5, 5, 5, 5, 1]


def test_hpas_window_and_ours_agree() -> None:
    """Against the batched HPA's own function, which is tested against the controller's cases."""
    from gnnrl.domains.autoscaling.baselines.hpa import stabilise

    rng = np.random.default_rng(3)
    config = replace(WIDE, stabilise_up_seconds=60.0, stabilise_down_seconds=100.0)
    guardrails, current = Guardrails(config, 1, 6, 15.0), np.full((1, 6), 10)
    past, ages = [current.copy()], [0.0]
    for _ in range(60):
        wish = rng.integers(1, 30, (1, 6))
        expected = stabilise(
            current,
            wish,
            np.stack(past),
            np.array(ages)[:, None, None],
            up_window_seconds=60.0,
            down_window_seconds=100.0,
        )
        current = guardrails.apply(proposal(current[0].tolist(), wish[0].tolist())).final
        np.testing.assert_array_equal(current, expected)
        past, ages = [*past, wish], [age + 15.0 for age in [*ages, 0.0]]


def test_a_disruption_budget_is_never_lowered_below() -> None:
    final, hits = apply(proposal([6, 6, 2, 3], [1.0, 5.0, 1.0, 2.0], min_available=[4, 4, 4, 0]))
    assert final == [4, 5, 2, 2]
    assert hits == [("disruption_budget",), (), ("disruption_budget",), ()]
    # It raises nothing, and a limit below it is not worth a disruption.
    assert apply(proposal([9], [9.0], min_available=[8], max_replicas=[5])) == (
        [9],
        [("min_max", "disruption_budget", "bounds")],
    )


def test_the_quota_goes_round_evenly_and_what_is_left_to_who_lacks_most() -> None:
    final, hits = apply(proposal([1, 1, 1, 9], [9.0, 4.0, 2.0, 3.0], quota_headroom=8))
    assert final == [
        5,
        4,
        2,
        3,
    ]  # 8 pods: 1 for the third, 3 for the second, 4 for the first; lowering is no concern of it
    assert hits == [("quota",), (), (), ()]
    assert apply(proposal([1, 1, 1], [3.0, 3.0, 5.0], quota_headroom=1))[0] == [1, 1, 2]
    assert apply(proposal([1, 1], [3.0, 3.0], quota_headroom=1))[0] == [2, 1]
    assert apply(proposal([1, 1], [3.0, 3.0], quota_headroom=1, rank=[1, 0]))[0] == [1, 2]
    for none in (0, -3):
        assert apply(proposal([1, 2], [3.0, 1.0], quota_headroom=none)) == ([1, 1], [("quota",), ()])
    assert apply(proposal([1], [90.0], quota_headroom=UNLIMITED)) == ([90], [()])


def test_what_would_end_below_its_minimum_is_not_begun() -> None:
    limits = {"min_replicas": [6, 4, 1]}
    final, hits = apply(proposal([1, 1, 1], [6.0, 6.0, 6.0], quota_headroom=7, **limits))
    assert final == [1, 5, 4]  # 3 pods bring the second to its minimum, 5 for the first are not left; then evenly
    assert hits == [("quota",), ("quota",), ("quota",)]


def test_the_change_budget_raises_first() -> None:
    config = replace(WIDE, change_budget_replicas=7)
    final, hits = apply(proposal([1, 10, 10], [6.0, 5.0, 8.0]), config)
    assert final == [6, 9, 9]
    assert hits == [(), ("change_budget",), ("change_budget",)]
    assert apply(proposal([1, 1, 10], [6.0, 6.0, 1.0]), config)[0] == [5, 4, 10]
    # What is above its maximum comes down to it in one step or stays.
    assert apply(proposal([20, 10], [1.0, 1.0], max_replicas=[12, 100]), config)[0] == [20, 3]
    assert apply(proposal([18, 10], [1.0, 1.0], max_replicas=[12, 100]), config)[0] == [12, 9]


@pytest.mark.parametrize(
    ("need", "least", "available", "expected"),
    [
        ([5, 5, 5], [0, 0, 0], 15, [5, 5, 5]),
        ([5, 5, 5], [0, 0, 0], 0, [0, 0, 0]),
        ([5, 5, 5], [0, 0, 0], -4, [0, 0, 0]),
        ([9, 1, 0], [0, 0, 0], 5, [4, 1, 0]),
        ([9, 8, 7], [0, 0, 0], 2, [1, 1, 0]),
        ([9, 8, 7], [9, 8, 0], 10, [0, 8, 2]),
        ([3, 2], [4, 0], 9, [0, 2]),  # its need does not bring it inside
        ([2**31 - 1, 2**31 - 1], [0, 0], 2**31, [2**30, 2**30]),
    ],
)
def test_sharing_out(need: list[int], least: list[int], available: int, expected: list[int]) -> None:
    shared = share_out(np.array(need), np.array(least), available, np.arange(len(need)))
    assert shared.tolist() == expected


def test_the_brake_holds_what_would_be_lowered_everywhere_and_lets_go_in_the_end() -> None:
    config = replace(WIDE, brake_share=0.8, brake_intervals=3)
    guardrails = Guardrails(config, 1, 5, 15.0)
    everywhere = proposal([8] * 5, [4.0, 4.0, 4.0, 4.0, 6.0])
    for _ in range(3):
        assert shown(guardrails.apply(everywhere)) == ([8] * 5, [("brake",)] * 5)
    assert shown(guardrails.apply(everywhere)) == ([4, 4, 4, 4, 6], [()] * 5)
    assert shown(guardrails.apply(everywhere))[0] == [4, 4, 4, 4, 6]
    mostly = proposal([8] * 5, [4.0, 4.0, 4.0, 4.0, 7.0])  # an eighth is no quarter: 4 of 5 are not more than 0.8
    assert shown(guardrails.apply(mostly)) == ([4, 4, 4, 4, 7], [()] * 5)
    assert shown(guardrails.apply(everywhere))[0] == [8] * 5  # it was let go of: it holds anew


def test_the_brake_raises_nothing_and_counts_only_what_may_move() -> None:
    config = replace(WIDE, brake_share=0.6)
    braked = apply(proposal([8] * 4, [2.0, 2.0, 2.0, 9.0]), config)
    assert braked == ([8, 8, 8, 9], [("brake",), ("brake",), ("brake",), ()])
    some = proposal([8] * 4, [2.0, 2.0, 2.0, 8.0], owned_mask=[False, True, True, False])
    assert apply(some, config)[0] == [2, 8, 8, 8]  # two services that may move: "all at once" says nothing
    # All three that may move, however many there are that may not.
    owned = [False, False, False, True, True, True]
    assert apply(proposal([8] * 6, [2.0, 2.0, 2.0, 8.0, 8.0, 8.0], owned_mask=owned), config)[0] == [8] * 6
    numbers, current = np.array([[6, 6, 6]]), np.array([[8, 8, 8]])
    three = np.ones((1, 3), dtype=np.bool_)
    assert brake_mask(numbers, current, three, 0.99).tolist() == [True]
    assert brake_mask(numbers, current, three, 1.0).tolist() == [False]
    assert brake_mask(numbers + 1, current, three, 0.5).tolist() == [False]


def test_after_an_error_nothing_is_lowered_for_some_intervals() -> None:
    errors = {"error_mask": [True, False, False, False, False]}
    config = replace(WIDE, cooldown_intervals=2)
    assert run(config, [4.0, 4.0, 6.0, 3.0, 3.0], **errors) == [5, 5, 6, 3, 3]
    assert run(replace(WIDE, cooldown_intervals=0), [4.0, 4.0], error_mask=[True, False]) == [5, 4]
    given = proposal([5], [4.0], error_mask=[True])
    assert apply(given, config) == ([5], [("cooldown",)])


def test_an_interval_without_a_reading_is_one_without_a_decision_and_with_an_error() -> None:
    """`miss` leaves what an interval leaves in which every wish is missing and an error is reported."""
    config = replace(WIDE, cooldown_intervals=1, stabilise_down_seconds=60.0, fallback_after_intervals=3)
    known, unknown = (Guardrails(config, 1, 2, 15.0) for _ in range(2))
    for guardrails in (known, unknown):
        guardrails.apply(proposal([5, 5], [5.0, 8.0]))
    nothing = proposal([5, 5], [float("nan")] * 2, error_mask=[True])
    for _ in range(2):
        known.apply(nothing)
        unknown.miss()
        for name, expected in known.state_dict().items():
            np.testing.assert_array_equal(unknown.state_dict()[name], expected)
    assert shown(unknown.apply(proposal([5, 9], [4.0, 1.0]))) == (
        [5, 9],
        [("stabilise_down",), ("stabilise_down", "cooldown")],
    )
    assert unknown.apply(proposal([5, 5], [float("nan")] * 2, floor=[9, 9])).final.tolist() == [[5, 5]]


def test_the_fallback_is_a_floor_after_enough_intervals_without_a_decision() -> None:
    config = replace(WIDE, fallback_after_intervals=3)
    nan = float("nan")
    assert run(config, [nan] * 4, floor=[9] * 4) == [5, 5, 9, 9]
    assert run(config, [nan, nan, 5.0, nan, nan, nan], floor=[9] * 6) == [5, 5, 5, 5, 5, 9]
    assert run(config, [nan] * 4, floor=[NO_FLOOR] * 4) == [5, 5, 5, 5]
    assert run(config, [nan] * 4, floor=[3] * 4) == [5, 5, 5, 5]  # it never lowers
    stale = {"untrusted_mask": [True] * 4, "floor": [9] * 4}
    assert run(config, [5.0, 5.0, 5.0, 12.0], **stale) == [5, 5, 9, 12]  # nor does it override a higher wish
    guardrails = Guardrails(replace(config, fallback_after_intervals=1), 1, 2, 15.0)
    verdict = guardrails.apply(proposal([5, 5], [nan, 6.0], floor=[9, 9]))
    assert shown(verdict) == ([9, 6], [("invalid", "fallback_floor"), ()])
    assert verdict.fallback_mask.tolist() == [[True, False]]
    owned = Guardrails(replace(config, fallback_after_intervals=1), 1, 1, 15.0)
    verdict = owned.apply(proposal([5], [nan], floor=[9], owned_mask=[True]))
    assert shown(verdict) == ([5], [()]), "what is somebody else's has no floor, and none is told"


def test_the_floor_obeys_rates_limits_and_budgets() -> None:
    config = replace(WIDE, fallback_after_intervals=1, max_up_replicas=2, max_up_share=0.1)
    nan = float("nan")
    final, hits = apply(proposal([5, 5], [nan, nan], floor=[9, 9], max_replicas=[6, 100], quota_headroom=2), config)
    assert final == [6, 6]
    assert hits[0] == ("invalid", "fallback_floor", "rate_up", "min_max")
    assert hits[1] == ("invalid", "fallback_floor", "rate_up", "quota")


def test_what_is_remembered_follows_a_service_to_its_new_column() -> None:
    config = replace(WIDE, stabilise_down_seconds=45.0, fallback_after_intervals=2)
    nan = float("nan")
    guardrails = Guardrails(config, 1, 3, 15.0)
    guardrails.apply(proposal([5, 5, 5], [8.0, 5.0, nan]))
    guardrails.remesh(0, np.array([2, -1, 0, 1]))  # the third, a new one, the first, the second: a column more
    final, hits = shown(guardrails.apply(proposal([5, 5, 9, 5], [nan, nan, 1.0, 1.0], floor=[7, 7, 7, 7])))
    assert final == [7, 5, 8, 5]
    assert hits[0] == ("invalid", "fallback_floor")
    assert hits[1] == ("invalid",)
    assert hits[2] == hits[3] == ("stabilise_down",)
    guardrails.remesh(0, np.array([2]))  # fewer services: the columns stay, as padding
    with pytest.raises(
        ValueError, match=r"proposal for \[1, 1\] meshes and services, these guardrails are for \[1, 4\]"
    ):
        guardrails.apply(proposal([5], [5.0]))


def test_a_remesh_leaves_the_other_meshes_alone() -> None:
    config = replace(WIDE, stabilise_down_seconds=45.0)
    guardrails = Guardrails(config, 2, 2, 15.0)
    one = proposal([5, 6], [5.0, 6.0])
    both = Proposal.trusted(
        np.repeat(one.current, 2, axis=0), np.repeat(one.wish, 2, axis=0), np.ones((2, 2), bool), np.ones((2, 2), bool), 1, 9
    )  # fmt: skip
    guardrails.apply(both)
    guardrails.remesh(1, np.array([1, 0]))
    state = guardrails.state_dict()["highest_wishes"]
    assert state[0].tolist() == [[5, 6], [6, 5]]


def test_state_is_taken_up_where_it_was_left() -> None:
    config = replace(WIDE, stabilise_down_seconds=60.0, cooldown_intervals=3, fallback_after_intervals=3)
    wishes = np.random.default_rng(0).integers(1, 9, (12, 4)).astype(float)
    wishes[3:8, 1] = np.nan

    def step(guardrails: Guardrails, k: int) -> list[int]:
        given = proposal([5] * 4, wishes[k].tolist(), error_mask=[k == 5], floor=[8] * 4)
        return guardrails.apply(given).final[0].tolist()

    through, first = (Guardrails(config, 1, 4, 15.0) for _ in range(2))
    expected = [step(through, k) for k in range(12)]
    for k in range(6):
        step(first, k)
    saved = first.state_dict()
    second, fresh = (Guardrails(config, 1, 4, 15.0) for _ in range(2))
    second.load_state_dict(saved)
    step(first, 6)  # what was saved is a copy
    assert [step(second, k) for k in range(6, 12)] == expected[6:]
    assert [step(fresh, k) for k in range(6, 12)] != expected[6:]
    with pytest.raises(ValueError, match="highest_wishes is int64"):
        Guardrails(replace(config, stabilise_down_seconds=300.0), 1, 4, 15.0).load_state_dict(saved)
    with pytest.raises(ValueError, match="has the keys"):
        second.load_state_dict({"seen": saved["seen"]})


def test_a_proposal_of_the_wrong_shape_or_kind_is_refused() -> None:
    given = proposal([5, 5], [5.0, 5.0])
    with pytest.raises(ValueError, match=r"proposal.paused_mask is int64 \[1, 2\], bool \[1, 2\] is expected"):
        replace(given, paused_mask=np.zeros((1, 2), dtype=np.int64))  # ~0 is -1, which is true
    with pytest.raises(ValueError, match=r"proposal.floor is int64 \[1, 3\]"):
        replace(given, floor=np.zeros((1, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=r"proposal.error_mask is bool \[1, 2\], bool \[1\] is expected"):
        replace(given, error_mask=np.zeros((1, 2), dtype=np.bool_))
    with pytest.raises(ValueError, match="an interval above 0 s"):
        Guardrails(WIDE, 1, 2, 0.0)


def test_the_last_check_holds_what_all_others_let_through() -> None:
    numbers, current = np.array([0, 5, 11, 12]), np.array([1, 4, 4, 12])
    low, high = np.array([1, 1, 1, 1]), np.array([10, 10, 10, 10])
    assert per_service.bounds(numbers, current, low, high).tolist() == [1, 5, 4, 12]


def test_the_documentation_has_every_guardrail_in_order_and_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guardrails.md").read_text(encoding="utf-8")
    table = text.partition("## The twenty-seven, in order")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(GUARDRAILS)
    assert len(GUARDRAILS) == 27
    for setting in fields(GuardrailConfig):
        assert f"`{setting.name}`" in table, setting.name


def test_after_a_half_filled_window_nothing_is_lowered_for_a_whole_one_and_raises_go_on() -> None:
    config = replace(WIDE, half_window_seconds=60.0)
    guardrails, finals = Guardrails(config, 1, 2, 15.0), []
    for k in range(12):
        gap = {"half_window_mask": [k == 6, False]}
        finals.append(shown(guardrails.apply(proposal([5, 5], [3.0, 3.0] if k != 7 else [9.0, 3.0], **gap))))
    first, second = ([final[s] for final, _ in finals] for s in range(2))
    assert first == [5] * 4 + [3] * 2 + [5, 9, 5, 5, 3, 3], (
        "60 s after the start, and after the gap of the seventh interval"
    )
    assert second == [5] * 4 + [3] * 8
    assert finals[0][1] == finals[3][1] == [("half_window",)] * 2 and finals[7][1] == [(), ()]
    guardrails.miss()
    held = [shown(guardrails.apply(proposal([5, 5], [3.0, 3.0])))[0] for _ in range(4)]
    assert held == [[5, 5]] * 3 + [[3, 3]], "an interval in which nothing was read is one of them"


def test_a_reading_in_doubt_is_held_without_a_window_too_and_its_wish_is_no_low_one() -> None:
    assert apply(proposal([5, 5], [3.0, 3.0], half_window_mask=[True, False]))[0] == [5, 3]
    stabilised = Guardrails(replace(WIDE, stabilise_down_seconds=30.0), 1, 1, 15.0)
    finals = [stabilised.apply(proposal([5], [3.0], half_window_mask=[k == 3])).final[0, 0] for k in range(6)]
    assert finals == [5, 5, 3, 5, 5, 3]


def test_a_service_that_comes_begins_with_a_half_filled_window() -> None:
    guardrails = Guardrails(replace(WIDE, half_window_seconds=30.0), 1, 2, 15.0)
    for _ in range(3):
        guardrails.apply(proposal([5, 5], [5.0, 5.0]))
    guardrails.remesh(0, np.array([1, -1]))
    assert [shown(guardrails.apply(proposal([5, 5], [3.0, 3.0])))[0] for _ in range(3)] == [[3, 5], [3, 5], [3, 3]]


def test_while_the_objective_is_violated_nothing_is_lowered_and_a_minimum_is_kept() -> None:
    violated = {"violated_mask": [True, True, False, True], "min_replicas": [1, 1, 1, 8], "max_replicas": [9, 4, 9, 9]}
    final, hits = apply(proposal([5, 5, 5, 5], [3.0, 5.0, 3.0, 5.0], **violated))
    assert final == [5, 5, 3, 8]
    assert hits == [("slo_violated",), ("min_max", "slo_violated"), (), ("min_max",)]


def test_a_window_that_the_interval_does_not_divide_is_waited_for_whole() -> None:
    guardrails = Guardrails(replace(WIDE, half_window_seconds=50.0), 1, 1, 15.0)
    finals = [int(guardrails.apply(proposal([5], [3.0])).final[0, 0]) for _ in range(5)]
    assert finals == [5, 5, 5, 5, 3]


def test_no_wish_is_neither_a_low_nor_a_high_one() -> None:
    up, down = replace(WIDE, stabilise_up_seconds=45.0), replace(WIDE, stabilise_down_seconds=45.0)
    assert run(up, [9.0, float("nan"), 9.0, 9.0]) == [5, 5, 5, 9]
    stale = {"untrusted_mask": [False, True, False, False]}
    assert run(down, [5.0, float("nan"), 2.0, 2.0], **stale) == [5, 5, 5, 2]
    assert run(down, [5.0, 2.0, 2.0, 2.0], **stale) == [5, 5, 5, 5], "the negative control: a doubtful wish is one"


def test_limits_that_leave_one_number_are_no_contradiction() -> None:
    assert apply(proposal([5, 2], [1.0, 9.0], min_replicas=[3, 3], max_replicas=[3, 3])) == ([3, 3], [("min_max",)] * 2)
