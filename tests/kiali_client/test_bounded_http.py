"""One deadline from the lookup of a name to the last byte, whatever the server does in between."""

from __future__ import annotations

import io
import itertools
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import urllib3

from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.errors import ClusterUnavailableError
from gnnrl.live.sandbox import remote_clock
from gnnrl.live.sandbox.remote_clock import RemoteClock
from kiali_client import KialiClient, KialiUnavailableError, PrometheusClient, bounded_http
from kiali_client.bounded_http import bound_session, bounded_until
from tests.cluster.fake_api import kubeconfig
from tests.dripping_server import DRIPS, WHOLE_SECONDS, dripping

ALLOWED_SECONDS = 0.2
GENEROUS_SECONDS = WHOLE_SECONDS / 2.0
"""Long enough for a machine that is busy with other things, and nothing near what the server takes."""


def kiali(url: str, _: Path) -> None:
    with KialiClient(f"{url}/kiali", timeout_seconds=ALLOWED_SECONDS, retries=0) as client:
        client.fetch_service_graph("shop")


def kiali_by_deadline(url: str, _: Path) -> None:
    with KialiClient(f"{url}/kiali", timeout_seconds=60.0) as client:
        client.fetch_service_graph("shop", deadline_seconds=ALLOWED_SECONDS)


def prometheus(url: str, _: Path) -> None:
    with PrometheusClient(url, timeout_seconds=ALLOWED_SECONDS, retries=0) as client:
        client.fetch_service_graph("shop")


def cluster(url: str, folder: Path) -> None:
    ClusterApi.connect(kubeconfig(folder, url), timeout_seconds=ALLOWED_SECONDS).get("/version")


def cluster_list(url: str, folder: Path) -> None:
    ClusterApi.connect(kubeconfig(folder, url)).list("/api/v1/pods", timeout_seconds=ALLOWED_SECONDS)


def clock(url: str, _: Path) -> None:
    RemoteClock(url)


def took(ask: Callable[[str, Path], None], url: str, folder: Path, *errors: type[Exception]) -> float:
    began = time.monotonic()
    with pytest.raises(errors):
        ask(url, folder)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("kind", "ask"),
    [
        *((kind, ask) for kind in DRIPS for ask in (kiali, cluster)),
        *(("interim answers", ask) for ask in (kiali_by_deadline, prometheus, cluster_list, clock)),
        *(("a header", ask) for ask in (kiali_by_deadline, prometheus, clock)),
    ],
)
def test_no_server_holds_an_attempt_beyond_its_time(
    kind: str, ask: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_clock, "TIMEOUT_SECONDS", ALLOWED_SECONDS)
    with dripping(kind) as url:
        assert took(ask, url, tmp_path, KialiUnavailableError, ClusterUnavailableError) < GENEROUS_SECONDS


def test_tls_that_never_comes_about_counts_too(tmp_path: Path) -> None:
    """The server takes the connection and says one byte of its handshake after the other."""
    with dripping("the status line") as url:
        secure = url.replace("http:", "https:")
        for ask in (kiali, prometheus):
            assert took(ask, secure, tmp_path, KialiUnavailableError) < GENEROUS_SECONDS
    with dripping("nothing") as url:
        secure = url.replace("http:", "https:")
        for ask in (kiali, cluster):
            assert took(ask, secure, tmp_path, KialiUnavailableError, ClusterUnavailableError) < GENEROUS_SECONDS


@pytest.mark.parametrize("ask", [kiali, cluster])
def test_a_name_server_that_is_silent_costs_the_time_and_one_thread(
    ask: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    found = socket.getaddrinfo

    def hang(host: str, port: int, **kwargs: int) -> list[object]:
        if kwargs.get("flags") == socket.AI_NUMERICHOST:
            return list(found(host, port, **kwargs))
        answered.wait(WHOLE_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        for _ in range(3):
            seconds = took(ask, "http://kiali.example:20001", tmp_path, KialiUnavailableError, ClusterUnavailableError)
            assert seconds < GENEROUS_SECONDS
        assert sum(thread.name == "look up" for thread in threading.enumerate()) == 1
    finally:
        answered.set()


def test_all_addresses_of_a_name_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is tried with what the ones before it have left."""
    waited: list[float] = []

    def unanswered(_address: object, timeout: float, *_: object, **__: object) -> socket.socket:
        waited.append(timeout)
        time.sleep(min(timeout, 0.15))
        raise TimeoutError

    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{i}", 80)) for i in range(200)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    monkeypatch.setattr("kiali_client.bounded_http.create_connection", unanswered)
    with pytest.raises(requests.exceptions.ConnectTimeout), bounded_until(time.monotonic() + ALLOWED_SECONDS):
        bound_session(requests.Session()).get("http://many.example/", timeout=60.0)
    assert 1 < len(waited) < 10 and waited == sorted(waited, reverse=True) and waited[0] <= ALLOWED_SECONDS


def test_without_a_deadline_a_session_is_what_it_was() -> None:
    """The same connections, outside of a deadline: a wait ends by its own timeout alone."""
    session = bound_session(requests.Session())
    with dripping("interim answers") as url:

        def ask() -> None:
            with suppress(requests.RequestException):
                session.get(url, timeout=urllib3.Timeout(total=ALLOWED_SECONDS))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(1.0)
        assert thread.is_alive(), "what the tests above measure is no work of the servers"


def test_somebody_elses_adapter_stays() -> None:
    class Own(requests.adapters.HTTPAdapter):
        pass

    session, own = requests.Session(), Own()
    session.mount("http://", own)
    assert bound_session(session).get_adapter("http://a") is own


class Waits:
    """A socket of which only the time that each wait is given counts."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def settimeout(self, seconds: float) -> None:
        self.given.append(seconds)


class Slow(io.RawIOBase):
    """A byte after a tenth of a second."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        time.sleep(0.1)
        buffer[:1] = b"x"
        return 1


def test_each_wait_is_given_what_those_before_it_have_left() -> None:
    """A server that drips for a while and is silent then has no second time of the same length."""
    sock = Waits()
    reads = bounded_http._BoundedReads(Slow(), sock)
    with bounded_until(time.monotonic() + 10.0):
        assert [reads.read(1) for _ in range(4)] == [b"x"] * 4
    steps = [before - after for before, after in itertools.pairwise(sock.given)]
    assert sock.given[0] <= 10.0 and len(steps) == 3 and all(step >= 0.09 for step in steps)
    with bounded_until(time.monotonic() - 0.1), pytest.raises(TimeoutError):
        reads.read(1)
    assert len(sock.given) == 4
    assert reads.read(1) == b"x" and len(sock.given) == 4, "outside of a deadline nothing is set"


def test_a_handshake_is_given_what_connecting_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    sock = Waits()

    def connected(*_: object, **__: object) -> Waits:
        time.sleep(0.1)
        return sock

    monkeypatch.setattr("kiali_client.bounded_http.create_connection", connected)
    with bounded_until(time.monotonic() + 10.0):
        assert bounded_http._BoundedHttps("127.0.0.1", 443)._new_conn() is sock  # type: ignore[comparison-overlap]
    assert len(sock.given) == 1 and sock.given[0] <= 9.91
