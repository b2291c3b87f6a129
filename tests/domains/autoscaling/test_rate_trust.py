"""Rates against the CPU of the pods: what may have fallen, and what can only be read too low."""

from __future__ import annotations

import pytest

from gnnrl.domains.autoscaling.rate_trust import BELIEVED_SECONDS, RateJudgement, RateTrust

WINDOW, STEP = 60.0, 15.0
STEADY = [(100.0, 500.0)] * 10
"""(requests/s, CPU), reading by reading."""


def shown(load: list[float], scraped: float = 1.0) -> list[tuple[float, float | None]]:
    """After `STEADY`, a load by interval as it is shown: its rate is a mean over four, of what is scraped; its CPU the newest's."""
    whole = [100.0] * 3 + load
    return [(scraped * sum(whole[k : k + 4]) / 4, 5.0 * load[k]) for k in range(len(load))]


def judged(course: list[tuple[float, float | None]], saturated: tuple[str, ...] = ()) -> list[RateJudgement]:
    trust = RateTrust()
    return [
        trust.judge(1e6 + STEP * i, WINDOW, {"a": rps}, {} if cpu is None else {"a": cpu}, saturated)
        for i, (rps, cpu) in enumerate(course)
    ]


def doubted(course: list[tuple[float, float | None]]) -> list[bool]:
    return ["a" in one.doubted for one in judged(course)]


def test_a_rate_that_falls_without_its_cpu_is_doubted_until_it_is_back_and_a_window_is_asked_for_then() -> None:
    course = [*STEADY, (80.0, 500.0), (60.0, 500.0), (70.0, 500.0), (95.0, 500.0), (100.0, 500.0)]
    found = judged(course)
    assert ["a" in one.doubted for one in found[10:]] == [True, True, True, False, False]
    assert ["a" in one.half_filled for one in found[10:]] == [False, False, False, True, False]
    assert (
        found[10]
        .doubted["a"]
        .startswith("graph: 80 requests/s, where its pods' CPU is that of 100; does its Prometheus")
    )


def test_a_rate_that_falls_with_its_cpu_is_believed_at_once() -> None:
    # The mean of the CPU over the window falls by a quarter of the way each reading, as the rate does.
    falling = [(100.0 - 12.5 * k, 250.0) for k in range(1, 5)]
    assert not any(doubted([*STEADY, *falling, (50.0, 250.0)]))
    # A twentieth of the CPU may be there without any request, and a tenth of them be missing: 500 -> 270 for half of them.
    idle = [(100.0 - 12.5 * k, 270.0) for k in range(1, 5)]
    assert not any(doubted([*STEADY, *idle, (50.0, 270.0)]))
    assert any(doubted([*STEADY, *[(rate, 320.0) for rate, _ in idle], (50.0, 320.0)])), "a quarter may not"


def test_a_fifth_of_the_proxies_that_are_lost_while_the_load_falls_by_itself_is_seen() -> None:
    """The CPU follows the truth, the rates show 82 % of it; the same fall with all of its proxies is believed."""
    load = [100.0 - 10.0 * k for k in range(1, 6)]
    assert not any(doubted([*STEADY, *shown(load)]))
    assert any(doubted([*STEADY, *shown(load, scraped=0.82)]))


def test_a_rate_that_stands_while_its_cpu_rises_is_doubted() -> None:
    """Of a load that rises a part is missing: nothing has fallen, and the rate is too low all the same."""
    load = [130.0] * 6
    assert not any(doubted([*STEADY, *shown(load)]))
    assert any(doubted([*STEADY, *shown(load, scraped=0.77)]))


def test_pods_that_are_not_measured_yet_are_no_rise() -> None:
    """A second pod is ready before it is measured, and taken for the first: twice the CPU for a reading."""
    for partly in ((), ("a",)):
        trust = RateTrust()
        for i in range(10):
            trust.judge(1e6 + STEP * i, WINDOW, {"a": 100.0}, {"a": 500.0})
        found = trust.judge(1e6 + STEP * 10, WINDOW, {"a": 100.0}, {"a": 1000.0}, partly=partly)
        assert bool(found.doubted) == (not partly)


def test_reading_more_often_changes_nothing() -> None:
    """The CPU is a mean over time: who looks five times at the newest measurement has measured once."""
    load = [110.0, 120.0, 130.0, 140.0, 150.0]
    trust, now = RateTrust(), 1e6
    for rate, cpu in [*STEADY, *shown(load)]:
        now += STEP
        for k in range(5):
            assert not trust.judge(now + 0.2 * k, WINDOW, {"a": rate}, {"a": cpu or 0.0}).doubted


def test_of_less_than_a_window_the_cpu_is_no_ground_to_expect_more() -> None:
    """Its pods were not measured for a moment: the mean over what there is since then is that of the window's end."""
    load = [110.0, 120.0, 130.0, 140.0]
    course = shown(load)
    assert not any(doubted([*STEADY, (100.0, None), *course]))
    assert any(doubted([*STEADY, *[(rate, 1.2 * used) for rate, used in course]])), "a whole one is"


def test_after_the_first_reading_every_window_may_be_half_filled_for_as_long_as_it_is_told() -> None:
    trust = RateTrust(start_hold_seconds=360.0)
    found = [trust.judge(1e6 + STEP * i, WINDOW, {"a": 100.0}, {"a": 500.0}).half_filled for i in range(26)]
    assert found == [frozenset("a")] * 24 + [frozenset()] * 2


def test_what_is_no_more_than_chance_is_no_fall() -> None:
    """At 1 request/s a window holds 60, give or take 8; at 100 it holds 6,000, give or take 77."""
    assert not any(doubted([*[(1.0, 50.0)] * 10, (0.7, 50.0)]))
    assert doubted([*[(1.0, 50.0)] * 10, (0.6, 50.0)])[-1]
    assert not any(doubted([*STEADY, (88.0, 500.0)]))
    assert doubted([*STEADY, (86.0, 500.0)])[-1]


def test_dearer_requests_are_believed_in_the_end() -> None:
    readings = int(BELIEVED_SECONDS / STEP) + 12
    found = doubted([*STEADY, *[(60.0, 500.0)] * readings])
    assert found[10:40] == [True] * 30
    assert found[-10:] == [False] * 10


@pytest.mark.parametrize(("window", "step"), [(60.0, 15.0), (300.0, 30.0), (600.0, 60.0)])
def test_a_fall_is_doubted_for_ten_minutes_whatever_the_window_and_is_the_measure_from_then_on(
    window: float, step: float
) -> None:
    """Of a long window the rates that it is compared with are older than that when it begins."""
    trust, before, low = RateTrust(), 40, int(BELIEVED_SECONDS / step) + 1
    course = [100.0] * before + [60.0] * (low + 15)
    found = [trust.judge(1e6 + step * i, window, {"a": rps}, {"a": 500.0}) for i, rps in enumerate(course)]
    assert ["a" in one.doubted for one in found] == [False] * before + [True] * low + [False] * 15


def test_a_zero_is_half_filled_until_its_cpu_or_time_confirms_it() -> None:
    zeros = judged([*STEADY, *[(0.0, 500.0)] * 50])
    assert all("a" in one.half_filled for one in zeros[10:49])
    assert "a" not in zeros[-1].half_filled, "for so long it is believed"
    idle = judged([*STEADY, (0.0, 500.0), *[(0.0, 20.0)] * 5])
    assert ["a" in one.half_filled for one in idle[10:]] == [True, False, False, False, False, False]
    unmeasured = judged([*[(100.0, None)] * 10, (0.0, None)])
    assert "a" in unmeasured[-1].half_filled
    assert not judged([(0.0, 20.0)] * 10)[-1].half_filled, "never had any"


@pytest.mark.parametrize("saturated", [(), ("a",)])
def test_what_ran_at_its_limit_is_no_measure(saturated: tuple[str, ...]) -> None:
    """At its limit it took 500 for 100 requests/s, which cost 1,000; with room 70 take 700."""
    trust = RateTrust()
    for i in range(8):
        trust.judge(1e6 + STEP * i, WINDOW, {"a": 100.0}, {"a": 500.0}, saturated)
    last = trust.judge(1e6 + STEP * 8, WINDOW, {"a": 70.0}, {"a": 700.0})
    assert ("a" in last.doubted) == (not saturated)


def test_services_that_come_or_go_turn_the_requests_elsewhere() -> None:
    trust = RateTrust()
    for i in range(8):
        trust.judge(1e6 + STEP * i, WINDOW, {"a": 100.0}, {"a": 500.0})
    turned = trust.judge(1e6 + STEP * 8, WINDOW, {"a": 60.0, "b": 40.0}, {"a": 500.0, "b": 9.0})
    assert not turned.doubted
    assert turned.half_filled == {"a"}, "or samples are missing: a window shows"
    assert not trust.judge(1e6 + STEP * 9, WINDOW, {"a": 60.0, "b": 40.0}, {"a": 500.0, "b": 9.0}).half_filled


def test_a_service_that_comes_without_requests_turns_none_elsewhere() -> None:
    trust = RateTrust()
    for i in range(8):
        trust.judge(1e6 + STEP * i, WINDOW, {"a": 100.0}, {"a": 500.0})
    for i in range(8, 12):
        found = trust.judge(1e6 + STEP * i, WINDOW, {"a": 84.0, "b": 0.0}, {"a": 500.0})
        assert set(found.doubted) == {"a"} and not found.half_filled, "what is lost is doubted, as without it"


def test_a_service_that_comes_mends_no_scraping() -> None:
    trust = RateTrust()
    for i in range(8):
        trust.judge(1e6 + STEP * i, WINDOW, {"a": 100.0, "gone": 5.0}, {"a": 500.0})
    assert "a" in trust.judge(1e6 + STEP * 8, WINDOW, {"a": 60.0, "gone": 5.0}, {"a": 500.0}).doubted
    for i, others in enumerate(({"new": 1.0}, {"new": 1.0}, {"newer": 1.0})):
        assert "a" in trust.judge(1e6 + STEP * (9 + i), WINDOW, {"a": 60.0, **others}, {"a": 500.0}).doubted
    assert "a" not in trust.judge(1e6 + STEP * 12, WINDOW, {"a": 99.0, "newer": 1.0}, {"a": 500.0}).doubted


def test_a_rate_is_compared_with_two_and_a_half_windows_and_no_more() -> None:
    # 100 may fall to 0.9 x 100 - 2 sqrt(100 / 60) = 87.4: passed 150 s after the last 100, while that is still looked back upon.
    slide = [(100.0 - 1.3 * k, 500.0) for k in range(1, 11)]
    assert doubted([*STEADY, *slide])[-2:] == [False, True]
    # Slower: within 150 s it is never so far below, however long that goes on.
    assert not any(doubted([*STEADY, *[(100.0 - k, 500.0) for k in range(1, 26)]]))


def test_a_zero_is_believed_below_a_fifth_of_the_cpu_that_requests_took() -> None:
    found = judged([*STEADY, (0.0, 101.0), (0.0, 99.0)])
    assert ["a" in one.half_filled for one in found[10:]] == [True, False]


@pytest.mark.parametrize(
    ("course", "returned"),
    [
        # With the mean of the CPU at 350 of 500, 59 are enough. A tenth above the lowest, 66, is a return; less is none.
        ([(60.0, 500.0), (63.0, 200.0), (63.0, 200.0)], False),
        ([(60.0, 500.0), (67.0, 200.0), (67.0, 200.0)], True),
        # At 425 74 are; the lowest is that of the whole fall, not the last.
        ([(60.0, 500.0), (70.0, 500.0), (75.0, 200.0)], True),
    ],
)
def test_what_comes_back_is_told_from_what_the_cpu_has_followed(
    course: list[tuple[float, float | None]], returned: bool
) -> None:
    found = judged([*STEADY, *course])
    assert ["a" in one.doubted for one in found[10:]] == [True, True, False]
    assert ["a" in one.half_filled for one in found[10:]] == [False, False, returned]


def test_only_what_has_been_measured_for_a_whole_window_is_a_measure() -> None:
    assert not any(doubted([*[(100.0, 500.0)] * 4, (80.0, 500.0)]))
    assert doubted([*[(100.0, 500.0)] * 5, (80.0, 500.0)])[-1]
    # A reading without CPU breaks it: of the 100 since then there is less than a window.
    broken = [*[(100.0, 500.0)] * 3, (100.0, None), *[(100.0, 500.0)] * 3, (75.0, 500.0)]
    assert not any(doubted(broken))
    assert doubted([*broken[:3], (100.0, 500.0), *broken[4:]])[-1]
