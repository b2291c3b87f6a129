"""Whatever goes in: whole numbers within the limits come out, or nothing changes; and a name has no column."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnrl.cluster.guardrails import NO_FLOOR, UNLIMITED, Guardrails, Proposal, names
from gnnrl.cluster.guardrails.births import young_mask
from gnnrl.config.live import GuardrailConfig

HUGE = 2**63 - 1
HOLDING = (names.NOT_SCALABLE, names.OWNED, names.PAUSED, names.CONTRADICTORY, names.SCALED_TO_ZERO)
wishes = st.one_of(
    st.integers(0, 30).map(float),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([2.0**31, 2.0**31 - 1, 2.0**63, -1.0, 2.5, 1e308, -0.0]),
)
counts = st.one_of(st.integers(0, 30), st.sampled_from([-(2**63), -1, 2**31 - 1, 2**31, HUGE]))
small = st.integers(0, 30)
ages = st.sampled_from([0.0, 29.0, 100.0, float("inf"), float("inf"), float("inf"), float("nan")])
works = st.one_of(st.floats(0.0, 20.0), st.sampled_from([float("nan"), float("inf"), 1e300, -1.0]))
FLOORS = (names.FALLBACK_FLOOR, names.NEWBORN, names.SLO_INTEGRATOR)
configs = st.builds(
    GuardrailConfig,
    deadband_replicas=st.integers(0, 3),
    stabilise_up_seconds=st.sampled_from([0.0, 15.0, 40.0]),
    stabilise_down_seconds=st.sampled_from([0.0, 15.0, 100.0]),
    fallback_after_intervals=st.integers(1, 3),
    max_up_replicas=st.sampled_from([1, 5, 2**31 - 1]),
    max_up_share=st.sampled_from([1e-9, 0.5, 1000.0]),
    max_down_replicas=st.sampled_from([1, 5, 2**31 - 1]),
    max_down_share=st.floats(0.0, 1.0),
    brake_share=st.floats(0.0, 1.0),
    brake_intervals=st.integers(1, 3),
    cooldown_intervals=st.integers(0, 3),
    young_seconds=st.sampled_from([0.0, 30.0, 120.0]),
    newborn_replicas=st.integers(0, 4),
    birth_hold_seconds=st.sampled_from([0.0, 20.0]),
    error_hold_seconds=st.sampled_from([0.0, 15.0, 600.0]),
    slo_integrator=st.booleans(),
    change_budget_replicas=st.sampled_from([1, 7, 60, 2**31 - 1]),
)


@st.composite
def proposals(draw: Any, services: int, sane: bool = False) -> Proposal:
    """One mesh of `services`; `sane`: counts and limits as a cluster has them."""

    def column(values: Any, kind: type) -> np.ndarray[Any, Any]:
        return np.array([draw(st.lists(values, min_size=services, max_size=services))], dtype=kind)

    mostly = st.sampled_from([True, True, True, False])
    low = column(st.integers(1, 6) if sane else counts, np.int64)
    return Proposal(
        current=column(small if sane else counts, np.int64),
        wish=column(wishes, np.float64),
        mask=column(mostly, np.bool_),
        scalable_mask=column(mostly, np.bool_),
        owned_mask=~column(mostly, np.bool_),
        paused_mask=~column(mostly, np.bool_),
        untrusted_mask=~column(mostly, np.bool_),
        half_window_mask=~column(mostly, np.bool_),
        violated_mask=~column(mostly, np.bool_),
        age_seconds=column(ages, np.float64),
        measured_mask=column(mostly, np.bool_),
        behind_errors_mask=~column(mostly, np.bool_),
        busy=column(works, np.float64),
        violating_share=np.array([draw(st.sampled_from([0.0, 0.5, float("nan")]))]),
        min_replicas=low,
        max_replicas=low + column(small, np.int64) if sane else column(counts, np.int64),
        min_available=column(small if sane else counts, np.int64),
        error_mask=np.array([draw(st.booleans()) and draw(st.booleans())]),
        floor=column(st.one_of(st.just(NO_FLOOR), small if sane else counts), np.int64),
        quota_headroom=draw(
            st.one_of(st.none(), st.sampled_from([-HUGE, -1, 0, 3, 9, UNLIMITED]).map(lambda pods: np.array([pods])))
        ),
        rank=draw(
            st.one_of(st.none(), st.permutations(range(services)).map(lambda order: np.array([order], dtype=np.int64)))
        ),
    )


@st.composite
def courses(draw: Any, sane: bool = False) -> list[Proposal]:
    services = draw(st.integers(1, 6))
    return draw(st.lists(proposals(services, sane), min_size=1, max_size=4))


def guardrails_for(config: GuardrailConfig, proposal: Proposal) -> Guardrails:
    return Guardrails(config, *proposal.current.shape, interval_seconds=15.0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(config=configs, course=courses())
def test_whatever_goes_in_the_limits_hold(config: GuardrailConfig, course: list[Proposal]) -> None:
    guardrails = guardrails_for(config, course[0])
    for proposal in course:
        verdict = guardrails.apply(proposal)
        final, current = verdict.final, proposal.current
        changed = final != current
        assert final.dtype == np.int64
        assert ((proposal.min_replicas <= final) & (final <= proposal.max_replicas))[changed].all()
        assert ((final >= 0) & (final < 2**31))[changed].all()
        frozen = ~proposal.mask | ~proposal.scalable_mask | proposal.owned_mask | proposal.paused_mask
        assert not changed[frozen].any()
        assert (final >= current)[proposal.untrusted_mask].all()
        wish = proposal.wish
        young = young_mask(proposal.age_seconds, proposal.mask, proposal.measured_mask, config)
        assert (final >= current)[young].all()
        invalid = ~(np.isfinite(wish) & (wish == np.floor(wish)) & (wish >= 0) & (wish < 2**31))
        assert (final >= current)[invalid].all()
        if frozen.any():
            assert not any(hit[frozen].any() for name, hit in verdict.hits.items() if name not in HOLDING)
        raised = np.where(changed, np.maximum(final, current) - current, 0)
        # In Python's integers: what is held may be any number.
        moved = sum(abs(int(a) - int(b)) for a, b in zip(final.flat, current.flat, strict=True))
        assert moved <= config.change_budget_replicas
        if proposal.quota_headroom is not None:
            assert raised.sum() <= max(int(proposal.quota_headroom[0]), 0)
        if proposal.error_mask[0]:
            assert (final >= current).all()
        assert (final >= np.minimum(current, proposal.min_available)).all()
        for s in np.flatnonzero(changed[0]):
            # A guardrail that went beyond the wish would have to say so.
            assert final[0, s] == wish[0, s] or verdict.names(0, int(s))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(config=configs, course=courses(sane=True))
def test_rates_hold_within_the_limits_and_the_wish_is_never_overtaken(
    config: GuardrailConfig, course: list[Proposal]
) -> None:
    guardrails = guardrails_for(config, course[0])
    for proposal in course:
        verdict = guardrails.apply(proposal)
        final, current, wish = verdict.final, proposal.current, proposal.wish
        inside = (proposal.min_replicas <= current) & (current <= proposal.max_replicas)
        up = np.maximum(config.max_up_replicas, np.floor(config.max_up_share * current + 1e-9))
        down = np.maximum(config.max_down_replicas, np.floor(config.max_down_share * current + 1e-9))
        assert (final - current <= up)[inside].all()
        assert (current - final <= down)[inside].all()
        floored = np.logical_or.reduce([verdict.hits[name] for name in FLOORS])
        target = np.where(np.isnan(wish), current, np.clip(wish, 0, 2**31))
        between = (np.minimum(target, current) <= final) & (final <= np.maximum(target, current))
        assert between[inside & ~floored].all()
        assert (final >= current)[floored].all()
        assert not verdict.hits[names.BOUNDS][inside].any()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(config=configs, course=courses(), data=st.data())
def test_a_service_is_judged_by_its_name_and_not_by_its_column(
    config: GuardrailConfig, course: list[Proposal], data: st.DataObject
) -> None:
    """The same services in another order, their ranks with them, get the same numbers for the same reasons."""
    services = course[0].current.shape[1]
    order = np.array(data.draw(st.permutations(range(services))))
    ranked = [replace(p, rank=np.arange(services)[None]) if p.rank is None else p for p in course]
    one, other = guardrails_for(config, course[0]), guardrails_for(config, course[0])
    for proposal in ranked:
        first, second = one.apply(proposal), other.apply(permuted(proposal, order))
        np.testing.assert_array_equal(second.final, first.final[:, order])
        for name, hit in first.hits.items():
            np.testing.assert_array_equal(second.hits[name], hit[:, order])


def permuted(proposal: Proposal, order: np.ndarray[Any, Any]) -> Proposal:
    arrays = {field.name: getattr(proposal, field.name) for field in fields(proposal)}
    by_service = {name: array[:, order] for name, array in arrays.items() if array is not None and array.ndim == 2}
    return replace(proposal, **by_service)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(config=configs, course=courses(), data=st.data())
def test_memory_moves_with_a_service(config: GuardrailConfig, course: list[Proposal], data: st.DataObject) -> None:
    """Columns shuffled between two intervals, and remeshed, change no verdict."""
    services = course[0].current.shape[1]
    ranked = [replace(p, rank=np.arange(services)[None]) for p in course]
    still, shuffled = guardrails_for(config, course[0]), guardrails_for(config, course[0])
    place = np.arange(services)
    for proposal in ranked:
        order = np.array(data.draw(st.permutations(range(services))))
        shuffled.remesh(0, place[order])
        place = np.argsort(order)  # name -> column
        np.testing.assert_array_equal(
            shuffled.apply(permuted(proposal, order)).final, still.apply(proposal).final[:, order]
        )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(config=configs, course=courses(sane=True))
def test_what_was_done_is_not_done_again(config: GuardrailConfig, course: list[Proposal]) -> None:
    """Where the verdict is obeyed and wished for, and nothing else changes, there is nothing left to do."""
    for proposal in course:
        final = guardrails_for(config, proposal).apply(proposal).final
        settled = replace(
            proposal,
            current=final,
            wish=final.astype(np.float64),
            floor=np.minimum(proposal.floor, final),
            busy=None,
            age_seconds=None,
        )
        again = guardrails_for(config, settled).apply(settled).final
        inside = (proposal.min_replicas <= final) & (final <= proposal.max_replicas)
        np.testing.assert_array_equal(again[inside], final[inside])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(config=configs, services=st.integers(1, 5), data=st.data())
def test_meshes_do_not_know_of_each_other(config: GuardrailConfig, services: int, data: st.DataObject) -> None:
    courses = [[data.draw(proposals(services)) for _ in range(3)] for _ in range(2)]
    together = Guardrails(config, 2, services, 15.0)
    alone = [guardrails_for(config, course[0]) for course in courses]
    for pair in zip(*courses, strict=True):
        whole = [replace(p, quota_headroom=p.quota_headroom, rank=np.arange(services)[None]) for p in pair]
        whole = [replace(p, quota_headroom=np.array([UNLIMITED])) if p.quota_headroom is None else p for p in whole]
        stacked = {
            f.name: None if getattr(whole[0], f.name) is None else np.concatenate([getattr(p, f.name) for p in whole])
            for f in fields(Proposal)
        }
        found = together.apply(Proposal(**stacked)).final
        for b in range(2):
            np.testing.assert_array_equal(found[b], alone[b].apply(whole[b]).final[0])


def test_without_a_rank_columns_break_ties_so_that_order_is_only_then_seen() -> None:
    """The negative control of the permutation test: with one pod for two services, somebody must come first."""
    real = np.ones((1, 2), dtype=np.bool_)
    tied = Proposal.trusted(np.array([[2, 2]]), np.array([[4.0, 4.0]]), real, real, 1, 9)
    config = replace(GuardrailConfig(), change_budget_replicas=1)
    assert guardrails_for(config, tied).apply(tied).final.tolist() == [[3, 2]]
    by_name = replace(tied, rank=np.array([[1, 0]]))
    assert guardrails_for(config, by_name).apply(by_name).final.tolist() == [[2, 3]]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_at_all_is_no_trouble(shape: tuple[int, int]) -> None:
    nothing = np.zeros(shape, dtype=np.bool_)
    empty = Proposal.trusted(np.zeros(shape, dtype=np.int64), np.zeros(shape), nothing, nothing, 1, 9)
    assert Guardrails(GuardrailConfig(), *shape, 15.0).apply(empty).final.shape == shape
