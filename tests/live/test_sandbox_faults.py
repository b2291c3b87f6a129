"""Injected faults do what they say, at the time they say, over real sockets; and the control server that injects them."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import requests

from gnnrl.cluster.clock import AcceleratedClock, SteppedClock
from gnnrl.cluster.errors import ClusterAnswerError, ClusterUnavailableError
from gnnrl.live.sandbox.faults import TARGETS, FaultError, FaultPlan, FaultSpec, every_fault
from gnnrl.live.sandbox.remote_clock import RemoteClock
from gnnrl.live.sandbox.server import Sandbox
from tests.live.sandbox_worlds import ORIGIN, small_config, small_episode

TOKEN = "sandbox-token"
QUERY = 'sum(rate(istio_requests_total{reporter="source"}[60s])) by (destination_workload)'


def sandbox(clock: Any = None, **options: Any) -> Sandbox:
    config = small_config()
    return Sandbox(config, small_episode(config), clock=clock or SteppedClock(ORIGIN), token=TOKEN, **options)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One sandbox for the faults of content; each test plans its own fault ahead of the clock."""
    with sandbox() as running:
        running.clock.sleep_until(ORIGIN + 120)
        yield running


def ask(running: Sandbox, target: str) -> requests.Response:
    """What the live loop reads of each target."""
    urls = running.urls
    if target == "kubernetes":
        url = f"{urls['kubernetes']}/apis/metrics.k8s.io/v1beta1/namespaces/onlineboutique/pods"
        return requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
    if target == "kiali":
        params = {"namespaces": "onlineboutique", "duration": "60s", "queryTime": str(int(running.clock.now()))}
        return requests.get(f"{urls['kiali']}/api/namespaces/graph", params=params, timeout=5)
    params = {"query": QUERY, "time": str(running.clock.now())}
    return requests.get(f"{urls['prometheus']}/api/v1/query", params=params, timeout=5)


def plan(running: Sandbox, target: str, kind: str, **options: Any) -> float:
    """A fault that begins in 10 s and lasts 30; returns its start."""
    start = running.plan.now + 10.0
    running.plan.clear()
    running.plan.add(FaultSpec(target=target, kind=kind, start=start, end=start + 30.0, **options))  # type: ignore[arg-type]
    return start


def to(running: Sandbox, second: float) -> None:
    running.clock.sleep_until(running.plan.origin_seconds + second)


def parses_as_usual(running: Sandbox, target: str) -> bool:
    answer = ask(running, target)
    content = answer.json()
    return answer.status_code == 200 and bool(
        content["items"]
        if target == "kubernetes"
        else content["elements"]["edges"]
        if target == "kiali"
        else content["data"]["result"]
    )


CHECKS: dict[str, Callable[[str, requests.Response], bool]] = {
    "http_500": lambda _, answer: answer.status_code == 500 and "json" in answer.headers["Content-Type"],
    "http_503": lambda _, answer: answer.status_code == 503 and "json" in answer.headers["Content-Type"],
    "expired_token": lambda _, answer: answer.status_code == 401 and "nauthorized" in answer.text,
    "html": lambda _, answer: answer.status_code == 200 and answer.text.startswith("<!DOCTYPE html>"),
    "schema": lambda _, answer: answer.status_code == 200 and answer.json().keys() == {"version", "payload"},
    "empty": lambda target, answer: {
        "kubernetes": lambda c: c["items"] == [],
        "kiali": lambda c: c["elements"] == {"nodes": [], "edges": []},
        "prometheus": lambda c: c["data"]["result"] == [],
    }[target](answer.json()),
    "nan": lambda target, answer: {
        "kubernetes": lambda c: c["items"][0]["containers"][0]["usage"]["cpu"] == "NaN",
        "kiali": lambda c: c["elements"]["edges"][0]["data"]["traffic"]["rates"]["grpc"] == "NaN",
        "prometheus": lambda c: c["data"]["result"][0]["value"][1] == "NaN",
    }[target](answer.json()),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", CHECKS)
def test_answers_are_wrong_while_the_fault_lasts_and_right_again_after_it(
    shared: Sandbox, target: str, kind: str
) -> None:
    start = plan(shared, target, kind)
    to(shared, start - 0.5)
    assert parses_as_usual(shared, target)
    for second in (0.0, 15.0, 29.9):
        to(shared, start + second)
        assert CHECKS[kind](target, ask(shared, target))
    for other in TARGETS:
        assert other == target or parses_as_usual(shared, other)
    to(shared, start + 30.0)
    assert parses_as_usual(shared, target)


@pytest.mark.parametrize("target", TARGETS)
def test_stale_answers_stay_those_of_the_beginning(shared: Sandbox, target: str) -> None:
    start = plan(shared, target, "stale")
    to(shared, start)
    first = ask(shared, target)
    to(shared, start + 29.0)
    assert ask(shared, target).content == first.content
    to(shared, start + 31.0)
    assert ask(shared, target).content != first.content


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("skew", [None, -600.0])
def test_skewed_clocks_move_timestamps_alone(shared: Sandbox, target: str, skew: float | None) -> None:
    start = plan(shared, target, "clock_skew", value=skew)

    def stamp_and_rest() -> tuple[float, str]:
        content = ask(shared, target).json()
        if target == "kiali":
            return content["timestamp"], json.dumps(content["elements"])
        if target == "prometheus":
            return content["data"]["result"][0]["value"][0], json.dumps(
                [r["metric"] for r in content["data"]["result"]]
            )
        stamp = time.mktime(time.strptime(content["items"][0]["timestamp"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        return stamp, json.dumps([item["containers"] for item in content["items"]])

    to(shared, start + 5.0)
    skewed = stamp_and_rest()
    shared.plan.clear()
    right = stamp_and_rest()
    assert skewed[0] - right[0] == pytest.approx(300.0 if skew is None else skew) and skewed[1] == right[1]


@pytest.mark.parametrize("target", TARGETS)
def test_latency_comes_before_the_usual_answer(shared: Sandbox, target: str) -> None:
    start = plan(shared, target, "latency", value=0.15)
    shared.plan.add(FaultSpec(target=target, kind="latency", start=start, end=start + 30, value=0.1))  # type: ignore[arg-type]
    to(shared, start)
    began = time.monotonic()
    assert parses_as_usual(shared, target)
    assert time.monotonic() - began >= 0.25
    path = {"kiali": "/api/namespaces/graph", "prometheus": "/api/v1/query"}.get(target, "/apis")
    assert shared.plan.fault(target, "GET", path).delay_seconds == 0.25
    to(shared, start + 30.0)
    assert parses_as_usual(shared, target)
    assert shared.plan.fault(target, "GET", path) is None


@pytest.mark.parametrize("target", TARGETS)
def test_a_cut_answer_ends_in_the_middle(shared: Sandbox, target: str) -> None:
    start = plan(shared, target, "cut")
    to(shared, start)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        ask(shared, target)
    to(shared, start + 30.0)
    assert parses_as_usual(shared, target)


@pytest.mark.parametrize("target", TARGETS)
def test_refused_connections_are_refused_and_open_ones_reset(target: str) -> None:
    with sandbox(faults=[FaultSpec(target=target, kind="refuse", start=60, end=90)]) as running:  # type: ignore[arg-type]
        running.clock.sleep_until(ORIGIN + 59)
        url = running.urls[target]
        with requests.Session() as session:
            before = session.get(f"{url}/healthz", timeout=5)
            running.clock.sleep_until(ORIGIN + 60)
            assert running.urls[target] == url
            for _ in range(3):
                with pytest.raises(requests.exceptions.ConnectionError) as caught:
                    session.get(f"{url}/healthz", timeout=5)
            assert "Connection refused" in str(caught.value)
            running.clock.sleep_until(ORIGIN + 90)
            assert session.get(f"{url}/healthz", timeout=5).status_code == before.status_code
        assert parses_as_usual(running, target)


def test_a_refusal_of_one_path_resets_its_connections() -> None:
    spec = FaultSpec(target="kiali", kind="refuse", start=0, end=90, path="/graph")
    with sandbox(faults=[spec]) as running:
        assert requests.get(f"{running.urls['kiali']}/api/status", timeout=5).status_code == 200
        with pytest.raises(requests.exceptions.ConnectionError, match=r"reset by peer|Connection aborted"):
            ask(running, "kiali")


def test_conflicts_meet_writes_of_scale_alone(shared: Sandbox) -> None:
    start = plan(shared, "kubernetes", "conflict")
    to(shared, start)
    url = f"{shared.urls['kubernetes']}/apis/apps/v1/namespaces/onlineboutique/deployments/frontend/scale"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/merge-patch+json"}
    assert requests.get(url, headers=headers, timeout=5).status_code == 200
    answer = requests.patch(url, headers=headers, data='{"spec": {"replicas": 5}}', timeout=5)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert parses_as_usual(shared, "kubernetes")
    to(shared, start + 30.0)
    assert requests.patch(url, headers=headers, data='{"spec": {"replicas": 5}}', timeout=5).status_code == 200


def test_content_faults_leave_other_paths_alone(shared: Sandbox) -> None:
    start = plan(shared, "kubernetes", "empty")
    to(shared, start)
    url = f"{shared.urls['kubernetes']}/apis/apps/v1/namespaces/onlineboutique/deployments"
    assert len(requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5).json()["items"]) == 11
    plan(shared, "kubernetes", "empty", path="/deployments")
    to(shared, start + 15.0)
    assert requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5).json()["items"] == []
    assert parses_as_usual(shared, "kubernetes")


def test_a_healthy_probe_needs_no_token(shared: Sandbox) -> None:
    start = plan(shared, "kiali", "expired_token")
    to(shared, start)
    for path, status in (("/healthz", 200), ("/api/auth/info", 200), ("/api/status", 401)):
        assert requests.get(f"{shared.urls['kiali']}{path}", timeout=5).status_code == status


def test_a_fault_is_read_from_text() -> None:
    assert FaultSpec.parse("kiali:stale:120:180") == FaultSpec(target="kiali", kind="stale", start=120, end=180)
    full = FaultSpec.parse("kubernetes:latency:0:60:0.5@/scale")
    assert (full.value, full.path, full.end) == (0.5, "/scale", 60.0)
    assert FaultSpec.parse("kiali:html:5:inf").end == math.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kiali:stale", "write target:kind:start:end"),
        ("kiali:stale:now:180", "start, end and value are seconds"),
        ("grafana:stale:1:2", "target must be one of kubernetes, kiali, prometheus"),
        ("kiali:slow:1:2", "kind must be one of latency"),
        ("kiali:conflict:1:2", "only kubernetes has conflicts"),
        ("kiali:stale:20:10", "end after that, not 20.0 to 10.0"),
        ("kiali:stale:-1:10", "start at 0 s or later"),
        ("kiali:stale:nan:10", "start at 0 s or later"),
        ("kiali:stale:1:10:3", "takes no value"),
        ("kiali:latency:1:10:-3", "at least 0 for latency"),
        ("kiali:latency:1:10:inf", "no finite number"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        FaultSpec.parse(text)


def test_random_plans_hold_every_fault_once_before_any_twice() -> None:
    clock = SteppedClock(ORIGIN)
    specs = FaultPlan.random(clock, 3, 150_000.0).specs
    assert specs == FaultPlan.random(clock, 3, 150_000.0).specs != FaultPlan.random(clock, 4, 150_000.0).specs
    every = set(every_fault())
    assert len(every) == 37 and {(s.target, s.kind) for s in specs[: len(every)]} == every
    assert all(a.end + 30.0 <= b.start for a, b in pairwise(specs)) and specs[-1].end < 150_000.0
    assert all(15.0 <= spec.end - spec.start <= 120.0 for spec in specs)
    with pytest.raises(FaultError, match="37 are needed"):
        FaultPlan.random(clock, 3, 600.0)
    assert 0 < len(FaultPlan.random(clock, 3, 600.0, every_kind=False).specs) < 10


def test_plans_may_change_while_they_are_asked() -> None:
    clock = SteppedClock(ORIGIN)
    faults, stop, seen = FaultPlan(clock), threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            seen.append(faults.fault("kiali", "GET", "/kiali/api/namespaces/graph"))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(200):
        faults.add(FaultSpec(target="kiali", kind="http_500", end=10))
        faults.clear()
    stop.set()
    for reader in readers:
        reader.join()
    assert faults.specs == () and {None if fault is None else fault.status for fault in seen} <= {None, 500}


def test_faults_score_and_time_over_the_control_server() -> None:
    with sandbox() as running:
        url = running.urls["control"]
        assert requests.get(f"{url}/clock", timeout=5).json() == {"now": ORIGIN, "speed": 0.0}
        answer = requests.post(f"{url}/advance", json={"seconds": 90}, timeout=5)
        assert answer.json()["now"] == ORIGIN + 90
        score = requests.get(f"{url}/score", timeout=5).json()
        assert score["seconds"] == 60.0 and score == json.loads(json.dumps(running.world.score()))
        body = {"target": "kiali", "kind": "http_503", "seconds": 30}
        planned = requests.post(f"{url}/faults", json=body, timeout=5)
        assert planned.status_code == 201
        assert planned.json() == {
            "now": 90.0,
            "faults": [
                {
                    "target": "kiali",
                    "kind": "http_503",
                    "start": 90.0,
                    "end": 120.0,
                    "path": "",
                    "value": None,
                    "active": True,
                }
            ],
        }
        assert ask(running, "kiali").status_code == 503
        both = [{"target": "kiali", "kind": "html", "start": 200, "end": 210}, {"target": "kubernetes", "kind": "cut"}]
        assert len(requests.post(f"{url}/faults", json=both, timeout=5).json()["faults"]) == 3
        assert requests.get(f"{url}/faults", timeout=5).json()["faults"][2]["end"] is None
        assert requests.delete(f"{url}/faults", timeout=5).json()["faults"] == []
        assert ask(running, "kiali").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/faults", "{", 400),
        ("POST", "/faults", '{"target": "kiali"}', 400),
        ("POST", "/faults", '{"target": "kiali", "kind": "html", "colour": 1}', 400),
        ("POST", "/faults", '{"target": "kiali", "kind": "html", "start": "soon"}', 400),
        ("POST", "/faults", '{"target": "kiali", "kind": "html", "seconds": 5, "end": 9}', 400),
        ("POST", "/faults", '{"target": ["kiali"], "kind": "html"}', 400),
        ("POST", "/faults", '{"target": "kiali", "kind": "html", "path": 7}', 400),
        ("POST", "/advance", '{"seconds": -1}', 400),
        ("POST", "/advance", '{"seconds": "all"}', 400),
        ("POST", "/advance", "[]", 400),
        ("GET", "/advance", "", 404),
        ("GET", "/", "", 404),
    ],
)
def test_the_control_server_says_what_is_wrong(shared: Sandbox, method: str, path: str, body: str, status: int) -> None:
    shared.plan.clear()
    answer = requests.request(method, f"{shared.urls['control']}{path}", data=body, timeout=5)
    assert (answer.status_code, len(answer.json()["error"]) > 10) == (status, True)
    assert shared.plan.specs == ()


def test_a_running_clock_carries_the_world_along_and_cannot_be_pushed() -> None:
    clock = AcceleratedClock(speed=200.0, origin=ORIGIN)
    with sandbox(clock) as running:
        began = time.monotonic()
        while running.world.second < 60 and time.monotonic() - began < 60.0:
            time.sleep(0.02)
        assert running.world.second >= 60, "nobody asked it"
        url = running.urls["control"]
        assert requests.post(f"{url}/advance", json={"seconds": 1}, timeout=5).status_code == 409
        requests.post(f"{url}/faults", json={"target": "prometheus", "kind": "refuse"}, timeout=5)
        deadline = time.monotonic() + 60.0
        while "prometheus" not in running._refusing and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
            ask(running, "prometheus")
        asked = time.monotonic()
        remote = RemoteClock(url)
        # Off by no more than what its question took.
        error = 200.0 * (time.monotonic() - asked) + 1.0
        before, told, after = clock.now(), remote.now(), clock.now()
        assert remote.speed == 200.0 and before - error <= told <= after + error
        target = remote.now() + 40.0
        assert remote.sleep_until(target) and clock.now() >= target - error


def test_a_remote_clock_follows_one_that_is_moved_by_hand() -> None:
    with sandbox() as running:
        remote = RemoteClock(running.urls["control"])
        assert remote.now() == ORIGIN == remote.now()
        mover = threading.Timer(0.1, lambda: running.clock.sleep_until(ORIGIN + 15.0))
        mover.start()
        assert remote.sleep_until(ORIGIN + 15.0) and remote.now() == ORIGIN + 15.0
        stop = threading.Event()
        stop.set()
        assert remote.sleep_until(ORIGIN + 99.0, stop) is False
    with pytest.raises(ClusterUnavailableError, match="is `gnnrl sandbox` running"):
        remote.now()


def test_a_remote_clock_goes_on_when_its_server_is_gone() -> None:
    with sandbox(AcceleratedClock(speed=10.0, origin=ORIGIN)) as running:
        remote = RemoteClock(running.urls["control"], resync_seconds=0.0)
        began = time.monotonic()
        first = remote.now()
    time.sleep(0.05)
    now = remote.now()
    assert first + 0.5 <= now <= first + 10.0 * (time.monotonic() - began) + 1.0


def test_a_remote_clock_wants_a_control_server(shared: Sandbox) -> None:
    shared.plan.clear()
    for name in ("prometheus", "kiali"):
        with pytest.raises(ClusterAnswerError, match="URL of the sandbox's control"):
            RemoteClock(shared.urls[name])
    with pytest.raises(ClusterUnavailableError, match="no answer"):
        RemoteClock("http://127.0.0.1:9")


def test_a_taken_port_leaves_nothing_open() -> None:
    from gnnrl.live.sandbox.server import SandboxPorts

    with sandbox() as running:
        second = sandbox(ports=SandboxPorts(control=running.control.port))
        with pytest.raises(OSError, match="in use"):
            second.start()
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"http://127.0.0.1:{second.kiali.port}/kiali/healthz", timeout=5)
