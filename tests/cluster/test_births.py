"""Services that have just come, by hand-worked cases; and the mask of a training is what the chain holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnnrl.cluster.guardrails import Guardrails, Proposal, names
from gnnrl.cluster.guardrails.births import ALWAYS, Births, held_mask, newborn_mask, since_birth, young_mask
from gnnrl.config.live import GuardrailConfig
from tests.cluster.guardrail_cases import WIDE, apply, proposal, shown

CONFIG = replace(WIDE, young_seconds=120.0, newborn_replicas=0, birth_hold_seconds=0.0)
AGES = np.array([[0.0, 119.9, 120.0, ALWAYS, np.nan, 0.0]])
MASK = np.array([[True] * 5 + [False]])
EVERYBODY = np.ones_like(MASK)


def test_a_service_is_young_until_its_time_and_until_it_is_measured() -> None:
    young = [[True, True, False, False, True, False]]  # an age that is no number holds, padding never does
    assert newborn_mask(AGES, MASK, CONFIG).tolist() == young
    assert young_mask(AGES, MASK, EVERYBODY, CONFIG).tolist() == young
    measured = np.array([[True, True, True, False, True, False]])
    assert young_mask(AGES, MASK, measured, CONFIG).tolist() == [[True, True, False, True, True, False]]
    never = replace(CONFIG, young_seconds=0.0)
    assert not young_mask(AGES, MASK, ~EVERYBODY, never).any() and not newborn_mask(AGES, MASK, never).any()


def test_the_mask_of_a_training_holds_the_young_and_for_a_while_everybody() -> None:
    ages, mask = (
        np.array([[0.0, ALWAYS], [ALWAYS, ALWAYS], [ALWAYS, 200.0]]),
        np.array([[True, True]] * 2 + [[False, True]]),
    )
    everybody = np.ones_like(mask)
    both = replace(CONFIG, birth_hold_seconds=60.0)
    since = np.array([0.0, 59.9, 60.0])
    found = held_mask(ages, mask, everybody, since, both)
    assert found.tolist() == [[True, True], [True, True], [False, False]]
    assert held_mask(ages, mask, everybody, since, CONFIG).tolist() == [[True, False], [False, False], [False, False]]
    assert not held_mask(ages, mask, ~everybody, since, replace(CONFIG, young_seconds=0.0)).any()


def test_a_birth_is_remembered_although_who_came_has_gone_again() -> None:
    before, mask = np.array([ALWAYS, 30.0]), np.ones((2, 2), dtype=np.bool_)
    came = since_birth(before, 15.0, np.array([[ALWAYS, 7.0], [ALWAYS, ALWAYS]]), mask)
    assert came.tolist() == [7.0, 45.0]
    assert since_birth(came, 15.0, np.full((2, 2), ALWAYS), mask).tolist() == [22.0, 60.0]
    assert since_birth(before, 15.0, np.zeros((2, 2)), ~mask).tolist() == [ALWAYS, 45.0], "padding is not born"
    assert since_birth(before, 15.0, np.zeros((2, 0)), mask[:, :0]).tolist() == [ALWAYS, 45.0]


def test_ages_pass_and_follow_the_names() -> None:
    births = Births(2, 3)
    assert not births.held_mask(np.ones((2, 3), dtype=np.bool_), replace(CONFIG, birth_hold_seconds=120.0)).any()
    # The second service goes, the third moves up, and one is born.
    births.remesh(0, np.array([0, 2, -1]))
    assert births.age_seconds.tolist() == [[ALWAYS, ALWAYS, 0.0], [ALWAYS] * 3]
    assert births.measured_mask.tolist() == [[True, True, False], [True] * 3]
    assert births.since_birth_seconds.tolist() == [0.0, ALWAYS]
    births.advance(15.0, np.zeros((2, 3), dtype=np.int64), active=np.array([True, False]))
    births.remesh(0, np.array([2, 0]))  # who came is first now, and the last column is padding
    births.remesh(1, np.array([-1]))
    assert births.age_seconds.tolist() == [[15.0, ALWAYS, ALWAYS], [0.0, ALWAYS, ALWAYS]]
    assert births.measured_mask.tolist() == [[False, True, True]] * 2
    assert births.since_birth_seconds.tolist() == [15.0, 0.0], "to move is not to be born"
    ready = np.array([[1, 0, 0], [0, 0, 0]])
    births.advance(15.0, ready)
    assert births.measured_mask.tolist() == [[True, True, True], [False, True, True]]
    births.advance(15.0, 0 * ready)
    assert births.measured_mask[0, 0] and births.age_seconds[:, 0].tolist() == [45.0, 30.0]
    births.start(0)
    assert births.age_seconds[0].tolist() == [ALWAYS] * 3 and births.since_birth_seconds.tolist() == [ALWAYS, 30.0]


def test_ages_are_kept_in_a_state_and_another_ones_state_is_refused() -> None:
    births, other = Births(2, 2), Births(2, 2)
    births.remesh(1, np.array([0, -1]))
    births.advance(15.0, np.zeros((2, 2), dtype=np.int64))
    state = births.state_dict()
    births.advance(15.0, np.ones((2, 2), dtype=np.int64))
    other.load_state_dict(state)
    assert other.age_seconds.tolist() == [[ALWAYS] * 2, [ALWAYS, 15.0]]
    assert other.measured_mask.tolist() == [[True, True], [True, False]]
    assert other.since_birth_seconds.tolist() == [ALWAYS, 15.0]
    with pytest.raises(ValueError, match=r"age_seconds is float64 \[2, 2\], float64 \[2, 3\] is expected"):
        Births(2, 3).load_state_dict(state)
    with pytest.raises(ValueError, match="has the keys"):
        other.load_state_dict({})


def test_the_young_and_the_unmeasured_are_not_lowered_and_are_raised() -> None:
    ages = {"age_seconds": [119.0, 120.0, 119.0, ALWAYS], "measured_mask": [True, True, True, False]}
    assert apply(proposal([5] * 4, [2.0, 2.0, 9.0, 2.0], **ages), CONFIG) == (
        [5, 2, 9, 5],
        [("young",), (), (), ("young",)],
    )
    assert apply(proposal([5] * 4, [2.0, 2.0, 9.0, 2.0], **ages))[0] == [2, 2, 9, 2], "the negative control: off"
    assert apply(proposal([5] * 4, [2.0] * 4), CONFIG)[0] == [2] * 4, "of no age is old"


def test_a_newborn_has_its_replicas_within_its_limits() -> None:
    config = replace(CONFIG, newborn_replicas=3)
    born = {"age_seconds": [0.0, 0.0, 120.0, 0.0]}
    final, hits = apply(proposal([1, 1, 1, 4], [1.0, 9.0, 1.0, 4.0], **born), config)
    assert (final, hits) == ([3, 9, 1, 4], [("newborn",), (), (), ()])
    # Whether or not anything is known of it, and not what is somebody else's or switched off.
    nan = float("nan")
    unknown = {"age_seconds": [0.0] * 4, "untrusted_mask": [True] * 4, "owned_mask": [False, True, False, False]}
    assert apply(proposal([1, 1, 0, 1], [1.0, 1.0, 1.0, nan], **unknown), config)[0] == [3, 1, 0, 3]
    # Its limits, the rates, the quota and the budget of the mesh hold.
    limited = proposal([1, 1, 1], [1.0] * 3, age_seconds=[0.0] * 3, max_replicas=[2, 1, 100])
    assert apply(limited, config)[0] == [2, 1, 3]
    assert apply(limited, replace(config, max_up_replicas=1, max_up_share=1e-9))[0] == [2, 1, 2]
    assert apply(replace(limited, quota_headroom=np.array([1])), config)[0] == [1, 1, 2]
    assert apply(limited, replace(config, change_budget_replicas=2))[0] == [2, 1, 2]
    for off in (0, 1):
        assert apply(limited, replace(CONFIG, newborn_replicas=off)) == ([1, 1, 1], [()] * 3)


def aged(current: list[int], wish: list[float], ages: list[float], **more: Any) -> Proposal:
    return proposal(current, wish, age_seconds=ages, **more)


def test_after_a_birth_nothing_in_the_mesh_is_lowered_for_its_time() -> None:
    config = replace(CONFIG, young_seconds=0.0, birth_hold_seconds=45.0)
    guardrails = Guardrails(config, 1, 3, 15.0)
    old = [ALWAYS] * 3
    assert shown(guardrails.apply(aged([5] * 3, [4.0] * 3, old))) == ([4] * 3, [()] * 3)
    finals = [guardrails.apply(aged([5] * 3, [4.0, 5.0, 8.0], [ALWAYS, ALWAYS, 15.0 * k])) for k in range(5)]
    assert [final.final[0].tolist() for final in finals] == [[5, 5, 8]] * 3 + [[4, 5, 8]] * 2
    assert finals[0].names(0, 0) == ("birth_hold",) and finals[0].names(0, 1) == ()
    # Who comes and goes within an interval or two was a birth all the same, and readings that fail let its time pass.
    guardrails.apply(aged([5] * 3, [4.0] * 3, [ALWAYS, ALWAYS, 0.0]))
    assert guardrails.apply(aged([5] * 3, [4.0] * 3, old)).final.tolist() == [[5] * 3]
    guardrails.miss()
    after = replace(config, cooldown_intervals=0)
    resumed = Guardrails(after, 1, 3, 15.0)
    resumed.load_state_dict(guardrails.state_dict() | {"cooldown": np.zeros(1, dtype=np.int64)})
    assert resumed.apply(aged([5] * 3, [4.0] * 3, old)).final.tolist() == [[4] * 3]
    # The negative control: without the missed interval it would still hold.
    held = Guardrails(after, 1, 3, 15.0)
    held.apply(aged([5] * 3, [4.0] * 3, [ALWAYS, ALWAYS, 0.0]))
    assert [held.apply(aged([5] * 3, [4.0] * 3, old)).final[0, 0] for _ in range(3)] == [5, 5, 4]


def test_a_birth_holds_its_own_mesh_only() -> None:
    config = replace(CONFIG, young_seconds=0.0, birth_hold_seconds=45.0)
    real = np.ones((2, 2), dtype=np.bool_)
    given = Proposal.trusted(np.full((2, 2), 5), np.full((2, 2), 3.0), real, real, 1, 100)
    ages = np.array([[ALWAYS, ALWAYS], [ALWAYS, 10.0]])
    verdict = Guardrails(config, 2, 2, 15.0).apply(replace(given, age_seconds=ages))
    assert verdict.final.tolist() == [[3, 3], [5, 5]]
    unborn = replace(given, age_seconds=ages, mask=np.array([[True, True], [True, False]]))
    assert Guardrails(config, 2, 2, 15.0).apply(unborn).final.tolist() == [[3, 3], [3, 5]], "padding is not born"


def test_a_wish_for_the_young_counts_in_a_window_as_one_for_what_is_there() -> None:
    config = replace(CONFIG, stabilise_down_seconds=45.0, young_seconds=60.0)
    guardrails = Guardrails(config, 1, 1, 15.0)
    finals = [guardrails.apply(aged([5], [1.0], [15.0 * k])).final[0, 0] for k in range(8)]
    assert finals == [5] * 6 + [1, 1], "45 s of wishes on data of a service that is not young any more"


def test_what_a_training_forbids_is_exactly_what_the_chain_holds() -> None:
    """Over a course of births, readings and resets: one mask, one rule."""
    rng = np.random.default_rng(4)
    shape, config = (6, 7), replace(CONFIG, young_seconds=60.0, birth_hold_seconds=30.0)
    births, guardrails = Births(*shape), Guardrails(config, *shape, 15.0)
    seen = {True: 0, False: 0}
    for _ in range(60):
        for b in np.flatnonzero(rng.random(shape[0]) < 0.1):
            source = rng.permutation(shape[1])
            source[rng.random(shape[1]) < 0.3] = -1
            births.remesh(int(b), source)
            guardrails.remesh(int(b), source)
        mask = np.ones(shape, dtype=np.bool_)
        mask[:, 5:] = rng.random((shape[0], 2)) < 0.5
        mask |= births.age_seconds < ALWAYS
        plain = Proposal.trusted(np.full(shape, 9), np.full(shape, 4.0), mask, mask, 1, 100)
        given = replace(plain, age_seconds=births.age_seconds, measured_mask=births.measured_mask)
        verdict, held = guardrails.apply(given), births.held_mask(mask, config)
        np.testing.assert_array_equal(verdict.final == 9, held | ~mask)
        np.testing.assert_array_equal(verdict.hits[names.YOUNG] | verdict.hits[names.BIRTH_HOLD], held)
        seen[True] += int(held.sum())
        seen[False] += int((mask & ~held).sum())
        births.advance(15.0, rng.integers(0, 2, shape))
    assert min(seen.values()) > 200


def test_the_defaults_are_those_of_the_field() -> None:
    config = GuardrailConfig()
    assert (config.young_seconds, config.newborn_replicas, config.birth_hold_seconds) == (120.0, 2, 120.0)
    assert (config.error_hold_share, config.slo_integrator) == (0.01, False)
