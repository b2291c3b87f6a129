"""Leader election: never two that act, also where processes stall, answers get lost, clocks are skewed and the API fails."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gnnrl.cluster.clock import AcceleratedClock, SteppedClock
from gnnrl.cluster.lease import LeaderElector
from tests.cluster.object_store import Asked, Fault, ObjectStore, api_of, serving

LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/gnnrl"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with serving() as found:
        yield found


def elector(store: ObjectStore, name: str, clock: Any, **options: Any) -> LeaderElector:
    return LeaderElector(api_of(store.url), "shop", "gnnrl", name, clock, **options)


def spec(store: ObjectStore) -> dict[str, Any]:
    return store.object(LEASE)["spec"]


def test_the_first_creates_the_lease_and_leads_until_the_margin(store: ObjectStore) -> None:
    clock = SteppedClock(1_700_000_000.25)
    a = elector(store, "a", clock)
    assert not a.is_leader()
    assert a.tick() == clock.now() + 5.0
    assert a.is_leader() and a.holder == a.identity and a.identity.startswith("a_")
    assert spec(store) == {
        "holderIdentity": a.identity,
        "leaseDurationSeconds": 15,
        "acquireTime": "2023-11-14T22:13:20.250000Z",
        "renewTime": "2023-11-14T22:13:20.250000Z",
        "leaseTransitions": 0,
    }
    clock.sleep_until(clock.now() + 9.999)
    assert a.is_leader()
    clock.sleep_until(clock.now() + 0.002)
    assert not a.is_leader() and a.lost_event.is_set() and "could not be renewed for 10 s" in a.lost_reason


def test_a_renewal_counts_from_its_start_and_keeps_the_acquisition(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    a.tick()
    store.object(LEASE)["metadata"]["labels"] = {"team": "mesh"}
    clock.sleep_until(1005.0)
    store.after = lambda _: clock.sleep_until(1008.0)
    a.tick()
    assert (spec(store)["acquireTime"], spec(store)["renewTime"]) == (
        "1970-01-01T00:16:40.000000Z",
        "1970-01-01T00:16:45.000000Z",
    )
    clock.sleep_until(1014.9)
    assert a.is_leader()
    clock.sleep_until(1015.1)
    assert not a.is_leader()


def test_an_answer_that_comes_after_the_time_was_over_does_not_bring_it_back(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    a.tick()
    clock.sleep_until(1009.0)
    store.after = lambda _: clock.sleep_until(1011.0)
    a.tick()
    assert not a.is_leader() and a.lost_event.is_set()
    store.after = lambda _: None
    a.tick()
    assert not a.is_leader()


def test_a_second_waits_a_whole_lease_of_its_own_watching(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    a.tick()
    clock.sleep_until(1003.0)
    assert b.tick() == 1008.0 and b.holder == a.identity
    clock.sleep_until(1013.0)
    assert b.tick() == 1018.0
    clock.sleep_until(1017.999)
    b.tick()
    assert not b.is_leader()
    clock.sleep_until(1018.0)
    b.tick()
    assert b.is_leader() and not a.is_leader()
    assert (spec(store)["holderIdentity"], spec(store)["leaseTransitions"]) == (b.identity, 1)


@pytest.mark.parametrize("phase", [0.0, 0.1, 2.5, 4.9, 5.0])
def test_takeover_within_a_lease_and_a_renewal_of_the_holders_death(store: ObjectStore, phase: float) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    due_a, due_b = a.tick(), 1000.0 + phase
    died = 1030.0
    while not b.is_leader():
        clock.sleep_until(min(due_a, due_b))
        if clock.now() == due_b:
            due_b = b.tick()
        elif clock.now() <= died:
            due_a = a.tick()
        else:
            due_a = float("inf")
        assert not (a.is_leader() and b.is_leader())
    assert died + 10.0 < clock.now() <= died + 15.0 + 5.0


@pytest.mark.parametrize("stamp", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z", "garbage", None])
def test_time_stamps_of_others_mean_nothing(store: ObjectStore, stamp: str | None) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    a.tick()
    spec(store)["renewTime"] = stamp
    b.tick()
    clock.sleep_until(1014.9)
    b.tick()
    assert not b.is_leader()
    clock.sleep_until(1015.0)
    b.tick()
    assert b.is_leader()


def test_the_holders_duration_counts_not_ours(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock, lease_seconds=60.0), elector(store, "b", clock, lease_seconds=15.0)
    a.tick()
    b.tick()
    clock.sleep_until(1039.0)
    b.tick()
    assert a.is_leader() and not b.is_leader()
    clock.sleep_until(1060.0)
    b.tick()
    assert b.is_leader() and not a.is_leader()


def test_stopping_releases_at_once(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    a.tick()
    b.tick()
    a.stop()
    assert not a.is_leader() and not a.lost_event.is_set() and a.last_error is None
    assert "holderIdentity" not in spec(store)
    b.tick()
    assert b.is_leader() and spec(store)["leaseTransitions"] == 1
    a.tick()
    assert not a.is_leader()


def test_who_lost_it_never_leads_again_and_is_told_once(store: ObjectStore) -> None:
    clock, told = SteppedClock(1000.0), []
    a = elector(store, "a", clock, on_lost=told.append)
    b = elector(store, "b", clock)
    a.tick()
    b.tick()
    clock.sleep_until(1015.0)
    b.tick()
    b.stop()
    for _ in range(3):
        clock.sleep_until(clock.now() + 5.0)
        a.tick()
        assert not a.is_leader()
    assert told == [a.lost_reason] and "holderIdentity" not in spec(store)
    a.stop()
    assert len(store.writes()) == 3  # a's creation, b's takeover, b's release


def test_a_record_written_over_is_a_lost_lease(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    a.tick()
    spec(store)["holderIdentity"] = ""
    b.tick()
    clock.sleep_until(1005.0)
    a.tick()
    assert not a.is_leader() and f"{b.identity} holds it now" in a.lost_reason and b.is_leader()


def test_a_lost_answer_is_not_a_lost_lease(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    a.tick()
    clock.sleep_until(1005.0)
    store.before = lambda asked: Fault(500, after=True) if asked.method == "PUT" else None
    assert a.tick() == 1006.0 and a.last_error is not None
    store.before = lambda _: None
    clock.sleep_until(1006.0)
    a.tick()
    assert a.last_error is None
    clock.sleep_until(1015.9)
    assert a.is_leader() and spec(store)["leaseTransitions"] == 0


def test_an_acquisition_whose_answer_took_too_long_is_tried_again(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    store.after = lambda _: clock.sleep_until(1012.0)
    a.tick()
    assert not a.is_leader() and not a.lost_event.is_set()
    a.tick()
    assert a.is_leader()


def test_a_deleted_lease_is_lost_and_the_follower_still_waits(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    a.tick()
    b.tick()
    store.delete(LEASE)
    clock.sleep_until(1004.0)
    b.tick()
    assert a.is_leader() and not b.is_leader()
    clock.sleep_until(1005.0)
    a.tick()
    assert "deleted" in a.lost_reason and not a.is_leader()
    clock.sleep_until(1018.9)
    b.tick()
    assert not b.is_leader()
    clock.sleep_until(1019.0)
    b.tick()
    assert b.is_leader()


def test_a_race_for_a_free_lease_has_one_winner(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a, b = elector(store, "a", clock), elector(store, "b", clock)
    interleaved = []

    def meanwhile(asked: Asked) -> Fault | None:
        if asked.writes and not interleaved:
            interleaved.append(asked)
            b.tick()
        return None

    store.before = meanwhile
    a.tick()
    assert interleaved and b.is_leader() and not a.is_leader() and not a.lost_event.is_set()
    interleaved.clear()
    spec(store)["holderIdentity"] = ""
    clock.sleep_until(1001.0)
    a.tick()
    assert interleaved and not a.is_leader() and not a.lost_event.is_set()


@pytest.mark.parametrize(
    "answer",
    [{}, {"metadata": {}}, {"metadata": {"resourceVersion": 5}}, {"metadata": {"resourceVersion": "5"}, "spec": 7}],
)
def test_an_answer_that_is_no_lease_makes_no_leader(store: ObjectStore, answer: dict[str, Any]) -> None:
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    store._do = lambda _: answer  # type: ignore[method-assign]
    a.tick()
    assert not a.is_leader() and "Lease" in str(a.last_error)


def test_a_write_that_names_somebody_else_makes_no_leader(store: ObjectStore) -> None:
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    answered = {"metadata": {"resourceVersion": "5"}, "spec": {"holderIdentity": "z"}}
    done = store._do
    store._do = lambda asked: answered if asked.writes else done(asked)  # type: ignore[method-assign]
    a.tick()
    assert not a.is_leader() and "'z'" in str(a.last_error)


@pytest.mark.parametrize(("renew", "margin"), [(10.0, 5.0), (0.0, 5.0), (5.0, -1.0), (5.0, 15.0)])
def test_durations_that_leave_no_time_are_refused(store: ObjectStore, renew: float, margin: float) -> None:
    with pytest.raises(ValueError, match="renewal must be"):
        elector(store, "a", SteppedClock(), renew_seconds=renew, margin_seconds=margin)


def wait_for(what: Any, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.005)


def test_a_thread_renews_loses_and_releases(store: ObjectStore) -> None:
    clock, told = AcceleratedClock(speed=10.0), []
    a = elector(store, "a", clock, on_lost=told.append)
    a.start()
    wait_for(a.is_leader)
    renewals = len(store.writes())
    wait_for(lambda: len(store.writes()) > renewals + 3)
    assert a.is_leader()
    store.before = lambda _: Fault(503)
    wait_for(lambda: not a.is_leader())
    assert a.lost_event.wait(60.0) and "503" in told[0]
    a.stop()
    store.before = lambda _: None
    b = elector(store, "b", clock)
    b.start()
    wait_for(b.is_leader)
    b.stop()
    assert "holderIdentity" not in spec(store)


def test_the_api_server_going_away_ends_leading_by_time_alone(store: ObjectStore) -> None:
    """Nothing renews, nothing answers, no thread of ours runs: only the clock goes on."""
    clock = SteppedClock(1000.0)
    a = elector(store, "a", clock)
    a.tick()
    store.before = lambda _: Fault(0)
    clock.sleep_until(1005.0)
    a.tick()
    assert a.is_leader() and a.last_error is not None
    clock.sleep_until(1010.0)
    assert not a.is_leader() and a.lost_event.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_does_not_lead_on(store: ObjectStore) -> None:
    class Broken(AcceleratedClock):
        def sleep_until(self, *_: Any) -> bool:
            raise RuntimeError("no time")

    told: list[str] = []
    a = elector(store, "a", Broken(), on_lost=told.append)
    a.start()
    assert a.lost_event.wait(60.0)
    assert not a.is_leader() and "thread died: RuntimeError: no time" in told[0]


class Skewed:
    """A clock that is off, and runs a little too fast or too slow."""

    def __init__(self, world: World, offset: float, rate: float) -> None:
        self._world, self._offset, self._rate = world, offset, rate

    def now(self) -> float:
        return self._offset + self._rate * self._world.seconds

    def world_seconds(self, seconds: float) -> float:
        return (seconds - self._offset) / self._rate


class Process:
    """One after another, electors of the same replica: who lost the lease starts again."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.due, self.busy = world, number, 0.0, False
        self.starts = 0
        self.restart()

    def restart(self) -> None:
        draw = self.world.random
        self.clock = Skewed(self.world, draw.uniform(-1e6, 1e6), draw.uniform(0.99, 1.01))
        self.starts += 1
        self.elector = self.world.make(self.number, self.clock)

    def tick(self) -> None:
        """What its thread does when it is due."""
        self.busy = True
        due = self.elector.tick()
        self.busy = False
        draw = self.world.random
        if self.elector.lost_event.is_set():
            self.due = self.world.seconds + draw.uniform(1.0, 10.0)
            self.restart()
        else:
            stall = draw.uniform(5.0, 60.0) if draw.random() < 0.15 else 0.0
            self.due = self.clock.world_seconds(due) + stall


class World:
    """Processes that share a Lease, in steps: whenever time passes, also inside of a request, the others go on.

    A write that a leader begins takes up to 4 s to land; `violations` are those that land while another leads.
    """

    def __init__(self, store: ObjectStore, seed: int, elector_class: type[LeaderElector], margin: float) -> None:
        self.store, self.random, self.seconds = store, random.Random(seed), 0.0
        self.elector_class, self.margin = elector_class, margin
        self.api = api_of(store.url)
        self.violations: list[str] = []
        self.leading_seconds = 0.0
        self.landed = 0
        self._depth = 0
        self._outage_ends = -1.0
        self._landing: list[tuple[float, int, str]] = []
        self.processes = [Process(self, number) for number in range(3)]
        store.before, store.after = self._before, self._after

    def make(self, number: int, clock: Skewed) -> LeaderElector:
        return self.elector_class(self.api, "shop", "gnnrl", f"p{number}", clock, margin_seconds=self.margin)

    def _before(self, _: Asked) -> Fault | None:
        draw = self.random
        self.pass_time(draw.uniform(0.0, 9.0) if draw.random() < 0.05 else draw.uniform(0.0, 0.2))
        if self.seconds < self._outage_ends:
            return Fault(draw.choice([0, 503]))
        return (
            draw.choice([Fault(500), Fault(500, after=True), Fault(0), Fault(0, after=True), Fault(409)])
            if draw.random() < 0.1
            else None
        )

    def _after(self, _: Asked) -> None:
        draw = self.random
        self.pass_time(draw.uniform(0.0, 9.0) if draw.random() < 0.05 else draw.uniform(0.0, 0.2))

    def pass_time(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.seconds < end:
            step = min(0.5, end - self.seconds)
            self.seconds += step
            leaders = [process for process in self.processes if process.elector.is_leader()]
            if len(leaders) > 1:
                self.violations.append(f"two leaders at {self.seconds:.1f}")
            self.leading_seconds += step * bool(leaders)
            while self._landing and self._landing[0][0] <= self.seconds:
                _, number, identity = heapq.heappop(self._landing)
                self.landed += 1
                if any(other.elector.identity != identity for other in leaders):
                    self.violations.append(f"a write of p{number} landed under another leader at {self.seconds:.1f}")
            if leaders and self.random.random() < 0.5:
                actor = self.random.choice(leaders)
                lands = self.seconds + self.random.uniform(2.0, 4.0)
                heapq.heappush(self._landing, (lands, actor.number, actor.elector.identity))
            if self._depth < 3:
                self._depth += 1
                for process in self.processes:
                    if not process.busy and process.due <= self.seconds:
                        process.tick()
                self._depth -= 1
            if self.random.random() < 0.002:
                self._outage_ends = self.seconds + self.random.uniform(5.0, 60.0)


def play(elector_class: type[LeaderElector], margin: float, seeds: range, seconds: float) -> list[World]:
    worlds = []
    for seed in seeds:
        with serving() as store:
            world = World(store, seed, elector_class, margin)
            while world.seconds < seconds:
                world.pass_time(1.0)
            worlds.append(world)
    return worlds


def test_never_two_that_act() -> None:
    worlds = play(LeaderElector, 5.0, range(4), 2500.0)
    assert [world.violations for world in worlds] == [[]] * 4
    for world in worlds:
        # The test means something: there was a leader most of the time, it changed often, and wrote.
        assert world.leading_seconds > 0.35 * world.seconds
        assert sum(process.starts for process in world.processes) > 20
        assert world.landed > 1000


def test_without_the_margin_a_write_lands_under_another_leader() -> None:
    """Negative control."""
    assert any(world.violations for world in play(LeaderElector, 0.0, range(4), 2500.0))


class CountsFromTheAnswer(LeaderElector):
    def _lead(self, _: float, lease: Any) -> None:
        super()._lead(self._clock.now(), lease)


@pytest.mark.parametrize(("elector_class", "together"), [(LeaderElector, False), (CountsFromTheAnswer, True)])
def test_late_answers_make_no_time(store: ObjectStore, elector_class: type[LeaderElector], together: bool) -> None:
    """With a negative control that counts from the answer, as a careless election does."""
    clock = SteppedClock(1000.0)
    a, b = (elector_class(api_of(store.url), "shop", "gnnrl", name, clock) for name in "ab")
    answers: list[Asked] = []

    def late(asked: Asked) -> None:
        if not answers:
            answers.append(asked)
            b.tick()
            clock.sleep_until(1009.0)

    store.after = late
    a.tick()
    assert a.is_leader()
    clock.sleep_until(1015.0)
    b.tick()
    assert b.is_leader()
    assert a.is_leader() == together
