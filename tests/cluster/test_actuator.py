"""What leaves the process: one number a target, within bounds, by the leader, on the version that was decided on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from gnnrl.cluster.actuator import INT32_MAX, Actuator, Outcome, ScaleRequest
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import SteppedClock
from tests.cluster.object_store import Asked, Fault, ObjectStore, api_of, serving

NAMES = ("cart", "currency", "frontend")


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with serving() as found:
        for name in NAMES:
            found.deployment(name, 3)
        yield found


@pytest.fixture
def api(store: ObjectStore) -> ClusterApi:
    return api_of(store.url)


Make = Callable[..., Actuator]


@pytest.fixture
def make(api: ClusterApi) -> Iterator[Make]:
    made: list[Actuator] = []

    def build(**options: Any) -> Actuator:
        settings = {"mode": "live", "may_act": lambda: True, "deadline_seconds": 60.0} | options
        made.append(Actuator(api, "shop", SteppedClock(1000.0), **settings))
        return made[-1]

    yield build
    for actuator in made:
        actuator.close()


def asking(replicas: int, expected: int = 3, **more: Any) -> ScaleRequest:
    return ScaleRequest(replicas=replicas, expected=expected, **({"minimum": 1, "maximum": 20} | more))


def test_a_patch_carries_the_version_that_was_read_and_nothing_else(store: ObjectStore, make: Make) -> None:
    version = store.version("cart")
    result = make().apply({"cart": asking(7)})["cart"]
    assert (result.outcome, result.sent, result.echoed, result.answer, result.seconds) == ("patched", 7, 7, "", 1000.0)
    assert store.replicas("cart") == 7
    read, write = store.asked
    assert (read.method, write.method) == ("GET", "PATCH")
    assert write.path == read.path == "/apis/apps/v1/namespaces/shop/deployments/cart/scale"
    assert write.body == {"metadata": {"resourceVersion": version}, "spec": {"replicas": 7}}
    assert write.query == {"fieldManager": "gnnrl"}
    assert write.content_type == "application/merge-patch+json"


def test_a_version_that_is_known_saves_the_read(store: ObjectStore, make: Make) -> None:
    result = make().apply({"cart": asking(7, resource_version=store.version("cart"))})["cart"]
    assert result.outcome == "patched"
    assert [asked.method for asked in store.asked] == ["PATCH"]


def test_zero_replicas_arrive_as_an_empty_spec(store: ObjectStore, make: Make) -> None:
    store.deployment("cart", 0)
    assert "replicas" not in store.object("/apis/apps/v1/namespaces/shop/deployments/cart/scale")["spec"]
    assert make().apply({"cart": asking(2, expected=0)})["cart"].outcome == "patched"
    assert store.replicas("cart") == 2


def test_what_is_there_already_is_not_written(store: ObjectStore, make: Make) -> None:
    store.deployment("currency", 5)
    results = make().apply({"cart": asking(3), "currency": asking(5)}, redecide=lambda _name, _now: 5)
    assert {name: result.outcome for name, result in results.items()} == {"cart": "unchanged", "currency": "unchanged"}
    assert store.writes() == []
    assert all(result.sent is None for result in results.values())


def test_twice_the_same_writes_once(store: ObjectStore, make: Make) -> None:
    actuator = make()
    actuator.apply({"cart": asking(7)})
    again = actuator.apply({"cart": asking(7, expected=7)})["cart"]
    assert again.outcome == "unchanged" and len(store.writes()) == 1


def test_a_change_by_somebody_else_is_never_overwritten(store: ObjectStore, make: Make) -> None:
    stale = store.version("cart")
    store.deployment("cart", 9)
    result = make().apply({"cart": asking(4, resource_version=stale)})["cart"]
    assert result.outcome == "conflict" and "9 replicas" in result.answer and result.sent == 4
    assert store.replicas("cart") == 9
    assert [asked.method for asked in store.asked] == ["PATCH", "GET"]


def test_the_version_is_what_protects(store: ObjectStore) -> None:
    """Negative control: the same write without resourceVersion wins over the other's."""
    store.deployment("cart", 9)
    body = {"spec": {"replicas": 4}}
    api_of(store.url).patch("/apis/apps/v1/namespaces/shop/deployments/cart/scale", body)
    assert store.replicas("cart") == 4


def test_the_fresh_number_is_decided_on_once(store: ObjectStore, make: Make) -> None:
    stale, asked = store.version("cart"), []
    store.deployment("cart", 9)

    def redecide(name: str, current: int) -> int:
        asked.append((name, current))
        return current - 2

    result = make().apply({"cart": asking(4, resource_version=stale)}, redecide)["cart"]
    assert asked == [("cart", 9)]
    assert (result.outcome, result.sent, store.replicas("cart")) == ("patched", 7, 7)


def test_a_number_found_at_the_first_read_is_decided_on_too(store: ObjectStore, make: Make) -> None:
    store.deployment("cart", 9)
    result = make().apply({"cart": asking(4)}, lambda _name, current: current + 1)["cart"]
    assert (result.outcome, result.sent) == ("patched", 10)
    assert len(store.writes()) == 1


def test_leaving_it_is_a_decision_as_well(store: ObjectStore, make: Make) -> None:
    store.deployment("cart", 9)
    result = make().apply({"cart": asking(4)}, lambda _name, _current: None)["cart"]
    assert (result.outcome, result.sent) == ("conflict", None)
    assert store.writes() == []


def test_a_storm_of_conflicts_ends_after_two_writes(store: ObjectStore, make: Make) -> None:
    asked: list[int] = []

    def storm(request: Asked) -> None:
        if request.writes:
            store.deployment("cart", 10 + len(store.asked))

    store.before = storm

    def redecide(_name: str, current: int) -> int:
        asked.append(current)
        return 5

    result = make().apply({"cart": asking(4)}, redecide)["cart"]
    assert result.outcome == "conflict" and len(store.writes()) == 2 and len(asked) == 1


def test_another_version_with_the_same_number_leaves_the_decision_standing(store: ObjectStore, make: Make) -> None:
    stale = store.version("cart")
    store.touch("cart")
    result = make().apply({"cart": asking(6, resource_version=stale)}, lambda *_: pytest.fail("nothing to decide"))[
        "cart"
    ]
    assert (result.outcome, store.replicas("cart"), len(store.writes())) == ("patched", 6, 2)


def test_an_answer_that_was_lost_is_found_again(store: ObjectStore, make: Make) -> None:
    """A retry after a lost answer meets its own write as a 409, and is content."""
    store.deployment("cart", 6)
    stale = store.version("cart")
    store.deployment("cart", 6)
    result = make().apply({"cart": asking(6, resource_version=stale)})["cart"]
    assert (result.outcome, result.sent) == ("unchanged", 6)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(403), "patch deployments/scale in namespace 'shop' was refused (403): injected"),
        (Fault(500), "500"),
        (Fault(0), "cut"),
        (Fault(422), "422"),
    ],
)
def test_one_failure_does_not_stop_the_others(store: ObjectStore, make: Make, fault: Fault, said: str) -> None:
    store.before = lambda request: fault if request.writes and request.target == "currency" else None
    results = make().apply({name: asking(5) for name in NAMES})
    assert [results[name].outcome for name in NAMES] == ["patched", "failed", "patched"]
    assert said in results["currency"].answer and results["currency"].sent == 5
    assert [store.replicas(name) for name in NAMES] == [5, 3, 5]


@pytest.mark.usefixtures("store")
def test_a_deployment_that_is_gone_is_a_failure_of_its_own(make: Make) -> None:
    results = make().apply({"gone": asking(5), "cart": asking(5)})
    assert (results["gone"].outcome, results["gone"].sent, results["cart"].outcome) == ("failed", None, "patched")


def test_dry_run_asks_the_server_and_changes_nothing(store: ObjectStore, make: Make) -> None:
    result = make(mode="dry-run").apply({"cart": asking(7)})["cart"]
    assert (result.outcome, result.sent, result.echoed, store.replicas("cart")) == ("dry-run", 7, 7, 3)
    assert store.writes()[0].query == {"fieldManager": "gnnrl", "dryRun": "All"}


def test_shadow_opens_no_connection(store: ObjectStore, make: Make) -> None:
    results = make(mode="shadow").apply({"cart": asking(7), "currency": asking(3)})
    assert [results[name].outcome for name in ("cart", "currency")] == ["shadow", "unchanged"]
    assert results["cart"].sent is None and store.asked == []


def test_leadership_is_asked_before_every_write(store: ObjectStore, make: Make) -> None:
    left = [2]

    def may_act() -> bool:
        left[0] -= 1
        return left[0] >= 0

    results = make(may_act=may_act, workers=1).apply({name: asking(5) for name in NAMES})
    assert [results[name].outcome for name in NAMES] == ["patched", "patched", "not-leader"]
    assert len(store.writes()) == 2 and results["frontend"].sent is None


def test_leadership_lost_between_a_conflict_and_its_retry_ends_the_writing(store: ObjectStore, make: Make) -> None:
    stale = store.version("cart")
    store.touch("cart")
    answers = iter([True, False])
    result = make(may_act=lambda: next(answers)).apply({"cart": asking(6, resource_version=stale)})["cart"]
    assert result.outcome == "not-leader" and store.replicas("cart") == 3 and len(store.writes()) == 1


def test_an_echo_of_another_number_is_a_failure(store: ObjectStore, make: Make) -> None:
    """An admission webhook may change what is written."""
    done = store._do

    def meddling(asked: Asked) -> dict[str, Any]:
        if asked.writes:
            asked.body["spec"]["replicas"] = 2
        return done(asked)

    store._do = meddling  # type: ignore[method-assign]
    result = make().apply({"cart": asking(7)})["cart"]
    assert (result.outcome, result.sent, result.echoed) == ("failed", 7, 2)
    assert result.answer == "sent 7 replicas, the API server answered 2"


@pytest.mark.parametrize(
    "scale", [{"spec": {"replicas": "3"}}, {"spec": {"replicas": True}}, {"spec": 5}, {}, {"spec": {"replicas": -1}}]
)
def test_a_scale_that_cannot_be_understood_is_not_acted_upon(
    store: ObjectStore, make: Make, scale: dict[str, Any]
) -> None:
    found = store.object("/apis/apps/v1/namespaces/shop/deployments/cart/scale")
    del found["spec"]
    found.update(scale)
    result = make().apply({"cart": asking(7)})["cart"]
    assert result.outcome == "failed" and "spec.replicas" in result.answer and store.writes() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": True},
        {"replicas": 4.0},
        {"replicas": "4"},
        {"replicas": 0},
        {"replicas": 21},
        {"replicas": -1},
        {"replicas": 2**32 + 3, "maximum": 2**33},
        {"minimum": 0},
        {"minimum": 8, "maximum": 4},
        {"maximum": INT32_MAX + 1},
        {"expected": -1},
        {"expected": None},
    ],
)
def test_a_number_that_must_not_leave_cannot_be_asked_for(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scale request"):
        ScaleRequest(**({"replicas": 4, "expected": 3, "minimum": 1, "maximum": 20} | wrong))


@pytest.mark.parametrize("fresh", [0, 21, True, 4.0])
def test_a_fresh_number_is_checked_like_the_first(store: ObjectStore, make: Make, fresh: Any) -> None:
    store.deployment("cart", 9)
    with pytest.raises(ValueError, match="scale request"):
        make().apply({"cart": asking(4), "currency": asking(5)}, lambda _name, _current: fresh)
    assert store.replicas("cart") == 9 and store.replicas("currency") == 5


def test_targets_are_written_at_the_same_time(store: ObjectStore, make: Make) -> None:
    together = threading.Barrier(3, timeout=60.0)

    def meet(request: Asked) -> None:
        if request.writes:
            together.wait()

    store.before = meet
    assert {result.outcome for result in make().apply({name: asking(5) for name in NAMES}).values()} == {"patched"}


def test_a_hanging_server_does_not_hold_the_loop_and_nothing_is_sent_late(store: ObjectStore, make: Make) -> None:
    release = threading.Event()

    def hang(request: Asked) -> None:
        if request.target == "cart" and not request.writes:
            release.wait(60.0)
        if request.target == "currency" and request.writes:
            release.wait(60.0)

    store.before = hang
    actuator = make(deadline_seconds=4.0)
    results = actuator.apply({name: asking(5) for name in NAMES})
    assert [results[name].outcome for name in NAMES] == ["failed", "failed", "patched"]
    assert results["cart"].sent is None and results["currency"].sent == 5
    release.set()
    actuator.close()
    assert {asked.target for asked in store.writes()} == {"currency", "frontend"}


def test_what_waits_in_the_queue_when_the_time_is_over_is_never_sent(store: ObjectStore, make: Make) -> None:
    store.before = lambda _: time.sleep(0.2)
    results = make(workers=1, deadline_seconds=0.3).apply({f"s{k}": asking(5) for k in range(6)})
    assert {result.outcome for result in results.values()} == {"failed"}
    assert len(store.asked) <= 2
    assert all(result.sent is None for result in results.values())


def test_a_server_that_is_not_there(make: Make, store: ObjectStore) -> None:
    store.server.shutdown()
    store.server.server_close()
    result = make().apply({"cart": asking(5)})["cart"]
    assert (result.outcome, result.sent) == ("failed", None) and store.url in result.answer


def test_settings_that_make_no_sense(api: ClusterApi) -> None:
    for wrong in ({"mode": "dryrun"}, {"deadline_seconds": 0.0}):
        with pytest.raises(ValueError, match="actuator"):
            Actuator(api, "shop", SteppedClock(), **({"mode": "live", "may_act": lambda: True} | wrong))


def test_the_records_know_the_same_outcomes() -> None:
    from gnnrl.live import decision

    assert get_args(decision.Outcome) == get_args(Outcome)
