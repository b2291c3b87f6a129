"""Events: what `kubectl describe` shows, few requests, and never a reason for the loop to stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.errors import ClusterConflictError, ClusterInvalidError, ClusterUnavailableError
from gnnrl.cluster.events import BURST, MOST_REMEMBERED, EventPoster
from tests.cluster.object_store import Fault, ObjectStore, api_of, serving

EVENTS = "/api/v1/namespaces/shop/events"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with serving() as found:
        yield found


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(1_700_000_000.0)


@pytest.fixture
def poster(store: ObjectStore, clock: SteppedClock) -> EventPoster:
    return EventPoster(api_of(store.url), "shop", clock, identity="gnnrl-0")


def test_an_event_names_the_deployment_and_who_reports(store: ObjectStore, poster: EventPoster) -> None:
    assert poster.post("cart", "uid-1", "ScaledUp", "3 -> 5: load doubled") is None
    (event,) = store.under(EVENTS)
    name = event["metadata"].pop("name")
    assert name.startswith("cart.") and len(name) == len("cart.") + 16
    event["metadata"].pop("resourceVersion")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "shop"},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": "shop",
            "name": "cart",
            "uid": "uid-1",
        },
        "reason": "ScaledUp",
        "message": "3 -> 5: load doubled",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
        "source": {"component": "gnnrl"},
        "reportingComponent": "gnnrl",
        "reportingInstance": "gnnrl-0",
    }


def test_a_repetition_raises_the_count(store: ObjectStore, poster: EventPoster, clock: SteppedClock) -> None:
    for k in range(4):
        poster.post("cart", "uid-1", "ScaledUp", f"message {k}")
        clock.sleep_until(clock.now() + 599.0)
    (event,) = store.under(EVENTS)
    assert (event["count"], event["message"], event["firstTimestamp"], event["lastTimestamp"]) == (
        4,
        "message 3",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:43:17Z",
    )
    assert [asked.method for asked in store.asked] == ["POST", "PATCH", "PATCH", "PATCH"]


@pytest.mark.parametrize(
    "other",
    [
        ("cart", "uid-2", "ScaledUp", "Normal"),
        ("cart", "uid-1", "Held", "Normal"),
        ("cart", "uid-1", "ScaledUp", "Warning"),
    ],
)
def test_something_else_is_another_event(
    store: ObjectStore, poster: EventPoster, other: tuple[str, str, str, str]
) -> None:
    poster.post("cart", "uid-1", "ScaledUp", "m")
    name, uid, reason, kind = other
    poster.post(name, uid, reason, "m", kind)  # type: ignore[arg-type]
    assert [event["count"] for event in store.under(EVENTS)] == [1, 1]


def test_after_a_pause_it_is_another_event(store: ObjectStore, poster: EventPoster, clock: SteppedClock) -> None:
    poster.post("cart", "uid-1", "ScaledUp", "m")
    clock.sleep_until(clock.now() + 600.5)
    poster.post("cart", "uid-1", "ScaledUp", "m")
    assert [event["count"] for event in store.under(EVENTS)] == [1, 1]


def test_an_event_that_the_server_forgot_is_made_anew(store: ObjectStore, poster: EventPoster) -> None:
    poster.post("cart", "uid-1", "ScaledUp", "m")
    (event,) = store.under(EVENTS)
    store.delete(f"{EVENTS}/{event['metadata']['name']}")
    assert poster.post("cart", "uid-1", "ScaledUp", "m") is None
    (event,) = store.under(EVENTS)
    assert event["count"] == 2


def test_a_flood_about_one_object_is_thinned_out_and_its_count_is_told_later(
    store: ObjectStore, poster: EventPoster, clock: SteppedClock
) -> None:
    for _ in range(BURST + 40):
        assert poster.post("cart", "uid-1", "Held", "m") is None
    assert len(store.asked) == BURST and poster.withheld == 40
    poster.post("currency", "uid-2", "Held", "m")
    assert len(store.asked) == BURST + 1
    clock.sleep_until(clock.now() + 301.0)
    poster.post("cart", "uid-1", "Held", "m")
    poster.post("cart", "uid-1", "Held", "m")
    assert len(store.asked) == BURST + 2
    assert max(event["count"] for event in store.under(EVENTS)) == BURST + 41


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(403), ClusterInvalidError),
        (Fault(500), ClusterUnavailableError),
        (Fault(0), ClusterUnavailableError),
        (Fault(409), ClusterConflictError),
    ],
)
def test_a_failure_is_returned_and_what_was_not_told_is_told_later(
    store: ObjectStore, poster: EventPoster, fault: Fault, error: type[Exception]
) -> None:
    store.before = lambda _: fault
    assert isinstance(poster.post("cart", "uid-1", "ScaledUp", "first"), error)
    store.before = lambda _: None
    assert poster.post("cart", "uid-1", "ScaledUp", "second") is None
    (event,) = store.under(EVENTS)
    assert (event["count"], event["message"]) == (2, "second")


@pytest.mark.parametrize("text", ["x" * 3000, "é" * 3000, "a" + "é" * 3000, "😀" * 1000, "ab\ud800" * 1000])
def test_a_message_is_at_most_1024_bytes_of_whole_characters(
    store: ObjectStore, poster: EventPoster, text: str
) -> None:
    assert poster.post("cart", "uid-1", "R" * 200, text) is None
    (event,) = store.under(EVENTS)
    size = len(event["message"].encode())
    assert 1020 <= size <= 1024 and event["message"].endswith("...")
    assert "\ufffd" not in event["message"] and event["message"][:1] == text[:1]
    assert len(event["reason"].encode()) == 128


def test_a_message_that_fits_stays(store: ObjectStore, poster: EventPoster) -> None:
    poster.post("cart", "uid-1", "R", "x" * 1024)
    assert store.under(EVENTS)[0]["message"] == "x" * 1024


def test_a_long_name_makes_a_name_that_fits(store: ObjectStore, poster: EventPoster) -> None:
    poster.post("n" * 253, "uid-1", "R", "m")
    event = store.under(EVENTS)[0]
    assert len(event["metadata"]["name"]) <= 253 and event["involvedObject"]["name"] == "n" * 253


def test_memory_is_bounded(clock: SteppedClock) -> None:
    class Nowhere:
        def post(self, *_: object, **__: object) -> dict[str, object]:
            return {}

    poster = EventPoster(Nowhere(), "shop", clock, identity="gnnrl-0")  # type: ignore[arg-type]
    for k in range(3 * MOST_REMEMBERED):
        poster.post(f"d{k}", f"uid-{k}", "R", "m")
    assert len(poster._posted) == len(poster._buckets) == MOST_REMEMBERED
