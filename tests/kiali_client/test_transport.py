"""Retries, deadlines, sizes, packing and TLS, over real sockets that misbehave."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from kiali_client import KialiClient, KialiError, KialiPayloadError, KialiUnavailableError, parse_graph
from kiali_client.transport import Deadline, NoCredentials, Transport
from tests.kiali_client.fake_kiali import GRAPH, TOKEN, FakeKiali, as_json


class NoJitter(random.Random):
    """Always waits the whole range; remembers it."""

    def __init__(self) -> None:
        super().__init__(0)
        self.ranges: list[float] = []

    def uniform(self, low: float, high: float) -> float:
        self.ranges.append(high)
        return low


def ready(kiali: FakeKiali, **options) -> KialiClient:
    """A client that has learnt all but the graph."""
    client = KialiClient(kiali.url, **({"timeout_seconds": 2.0, "rng": NoJitter()} | options))
    client.version()
    kiali.asked.clear()
    return client


@contextmanager
def raw_server(*scripts: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """One script a connection; yields the URL and the first bytes that each connection brought."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10.0)
    heard: list[bytes] = []

    def serve() -> None:
        for script in scripts:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                heard.append(connection.recv(65536))
                try:
                    script(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/kiali", heard
    finally:
        # Closing it would not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(5.0)
        listener.close()


def close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def silent(connection: socket.socket) -> None:
    connection.settimeout(0.5)
    connection.recv(1)


def ask(url: str, *, deadline_seconds: float | None = None, **options):
    transport = Transport("Kiali", url, **({"rng": NoJitter()} | options))
    return transport.send("GET", "/api/status", deadline=Deadline(deadline_seconds), credentials=NoCredentials())


def head(body: bytes, extra: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()


@pytest.mark.parametrize(
    ("status", "asked"), [(502, 3), (503, 3), (504, 3), (500, 1), (429, 1), (403, 1), (400, 1), (404, 1)]
)
def test_only_a_server_that_may_come_back_is_asked_again(httpserver: HTTPServer, status: int, asked: int) -> None:
    kiali = FakeKiali(httpserver)
    client = ready(kiali, retries=2)
    kiali.answers["/namespaces/graph"] = [Response("no", status=status) for _ in range(5)]
    with pytest.raises(KialiError, match=f"HTTP {status}"):
        client.fetch_service_graph("shop")
    assert len(kiali.paths("/namespaces/graph")) == asked


def test_it_goes_on_as_soon_as_the_server_is_back(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    rng = NoJitter()
    client = ready(kiali, retries=5, rng=rng)
    kiali.answers["/namespaces/graph"] = [Response("no", status=503) for _ in range(4)]
    assert client.fetch_service_graph("shop") == parse_graph(GRAPH)
    assert len(kiali.paths("/namespaces/graph")) == 5
    # The range of the waiting time doubles.
    assert rng.ranges == [0.1, 0.2, 0.4, 0.8]


def test_a_connection_that_breaks_is_tried_again_and_one_that_is_silent_is_not() -> None:
    body = b'{"status": {}}'
    half = head(body) + body[:5]
    with raw_server(close, lambda c: c.sendall(half), lambda c: c.sendall(head(body) + body)) as (url, heard):
        assert ask(url, retries=2).body == body
        assert len(heard) == 3
    with raw_server(lambda c: c.sendall(half), lambda c: c.sendall(half)) as (url, heard):
        with pytest.raises(KialiUnavailableError, match=r"closed before the answer was complete.*\(2 attempts\)"):
            ask(url, retries=1)
        assert len(heard) == 2
    with raw_server(silent, close) as (url, heard):
        with pytest.raises(KialiUnavailableError, match="no complete answer in time"):
            ask(url, retries=2, timeout_seconds=0.15)
        assert len(heard) == 1


def test_nobody_listening() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(
        KialiUnavailableError, match=r"connection refused; check the host and port.*\(3 attempts\)"
    ) as caught:
        ask(f"http://127.0.0.1:{port}/kiali")
    assert f"http://127.0.0.1:{port}/kiali/api/status" in str(caught.value)
    with pytest.raises(KialiUnavailableError, match="host name is not known"):
        ask("http://kiali.nowhere.invalid/kiali", retries=0)


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("options", [{"timeout_seconds": 0.3}, {"deadline_seconds": 0.3}])
def test_an_answer_that_drips_is_stopped_by_the_clock(options: dict[str, float]) -> None:
    """Each byte comes in time; all of them would take half an hour."""
    with raw_server(drip) as (url, _), pytest.raises(KialiUnavailableError, match="no complete answer in time"):
        ask(url, **options)  # type: ignore[arg-type]


def test_a_silence_in_the_middle_of_an_answer_ends_with_the_attempt() -> None:
    def pause(connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
        connection.settimeout(3.0)
        connection.recv(1)

    with raw_server(pause) as (url, heard):
        started = time.monotonic()
        with pytest.raises(KialiUnavailableError, match="no complete answer in time"):
            ask(url, deadline_seconds=0.5)
        assert time.monotonic() - started > 0.4
        assert len(heard) == 1


def test_retries_end_at_the_deadline(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    client = ready(kiali, retries=1000, rng=random.Random(3))
    kiali.answers["/namespaces/graph"] = [Response("no", status=503) for _ in range(1000)]
    with pytest.raises(KialiUnavailableError):
        client.fetch_service_graph("shop", deadline_seconds=0.6)
    assert 2 <= len(kiali.paths("/namespaces/graph")) < 20
    with pytest.raises(KialiUnavailableError, match="no time is left"):
        client.fetch_service_graph("shop", deadline_seconds=0.0)


def test_the_deadline_is_that_of_the_whole_call(httpserver: HTTPServer) -> None:
    """Strategy and version take their part of it."""
    kiali = FakeKiali(httpserver)

    def slow(document: object) -> Callable[[], Response]:
        def answer() -> Response:
            time.sleep(0.25)
            return as_json(document)

        return answer

    kiali.answers = {
        "/auth/info": [slow({"strategy": "anonymous"})],
        "/status": [slow({"status": {"Kiali version": "2.31.0"}})],
        "/namespaces/graph": [slow(GRAPH)],
    }
    with pytest.raises(KialiUnavailableError):
        KialiClient(kiali.url, timeout_seconds=2.0).fetch_service_graph("shop", deadline_seconds=0.6)


def test_gzip_is_asked_for_and_unpacked(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    client = ready(kiali)
    packed = gzip.compress(json.dumps(GRAPH).encode())
    kiali.answers["/namespaces/graph"] = [Response(packed, headers={"Content-Encoding": "gzip"})]
    assert client.fetch_service_graph("shop") == parse_graph(GRAPH)
    assert kiali.graph_request.headers["Accept-Encoding"] == "gzip"
    for broken, message in ((b"no gzip", "compression is broken"), (packed[: len(packed) // 2], "is cut off")):
        kiali.answers["/namespaces/graph"] = [Response(broken, headers={"Content-Encoding": "gzip"})]
        with pytest.raises(KialiError, match=message):
            client.fetch_service_graph("shop")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_is_read_up_to_its_bound_and_no_further(httpserver: HTTPServer, chunked: bool) -> None:
    kiali = FakeKiali(httpserver)
    body = json.dumps(GRAPH).encode()
    client = ready(kiali, max_answer_bytes=len(body))
    for padding, allowed in ((0, True), (1, False), (10_000_000, False)):
        whole = body + b" " * padding
        parts = (whole[i : i + 100_000] for i in range(0, len(whole), 100_000))
        kiali.answers["/namespaces/graph"] = [Response(parts if chunked else whole)]
        if allowed:
            assert client.fetch_service_graph("shop") == parse_graph(GRAPH)
        else:
            with pytest.raises(KialiPayloadError, match=rf"larger than {len(body)} bytes.*max_answer_bytes") as caught:
                client.fetch_service_graph("shop")
            assert "/kiali/api/namespaces/graph" in str(caught.value)


def test_a_bomb_of_gzip_is_not_unpacked(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    client = ready(kiali, max_answer_bytes=1_000_000)
    bomb = gzip.compress(bytes(200_000_000), compresslevel=1)
    kiali.answers["/namespaces/graph"] = [Response(bomb, headers={"Content-Encoding": "gzip"})]
    tracemalloc.start()
    with pytest.raises(KialiPayloadError, match="larger than 1000000 bytes"):
        client.fetch_service_graph("shop")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


def test_connections_are_kept() -> None:
    body = b"{}"
    answered: list[bytes] = []

    def three(connection: socket.socket) -> None:
        for _ in range(3):
            connection.sendall(head(body) + body)
            answered.append(connection.recv(65536))

    with raw_server(three) as (url, heard):
        transport = Transport("Kiali", url, retries=0)
        for _ in range(3):
            sent = transport.send("GET", "/x", deadline=Deadline(None), credentials=NoCredentials())
            assert sent.body == body
        transport.close()
    assert len(heard) == 1 and b"".join(answered).count(b"GET /kiali/x") == 2


def test_redirects_are_not_followed(httpserver: HTTPServer) -> None:
    """They would take the token to wherever an answer says."""
    kiali = FakeKiali(httpserver, strategy="header")
    client = ready(kiali, token=TOKEN)
    kiali.answers["/namespaces/graph"] = [Response(status=307, headers={"Location": "/kiali/api/status"})]
    with pytest.raises(KialiError, match="leads to /kiali/api/status"):
        client.fetch_service_graph("shop")
    assert kiali.paths() == ["/namespaces/graph"]


def test_netrc_does_not_replace_the_token(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {httpserver.host} login admin password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for strategy, expected in (("header", f"Bearer {TOKEN}"), ("anonymous", None)):
        kiali = FakeKiali(httpserver, strategy=strategy)
        ready(kiali, token=TOKEN).fetch_service_graph("shop")
        assert kiali.graph_request.headers.get("Authorization") == expected
        httpserver.clear()


def certificate(folder: Path, name: str, subject: str, days: int = 2) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate with")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", str(days), "-subj", f"/CN={subject}"]
    subprocess.run([*command, "-addext", f"subjectAltName=DNS:{subject}"], check=True, capture_output=True, timeout=30)
    return cert, key


@contextmanager
def tls_server(cert: Path, key: Path) -> Iterator[HTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with HTTPServer(host="localhost", ssl_context=context) as server:
        yield server


def test_a_self_signed_certificate_is_recognised_and_trusted_when_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path, "kiali", "localhost")
    with tls_server(cert, key) as server:
        kiali = FakeKiali(server, strategy="token")
        # A Secure cookie is sent where it belongs.
        kiali.secure_cookie = True
        with pytest.raises(KialiUnavailableError, match=r"certificate is self-signed.*as ca_file") as caught:
            KialiClient(kiali.url, token=TOKEN).version()
        assert "attempts" not in str(caught.value), "it does not get better by asking again"
        assert kiali.asked == []
        assert KialiClient(kiali.url, token=TOKEN, ca_file=cert).fetch_service_graph("shop") == parse_graph(GRAPH)
        other, _ = certificate(tmp_path, "other", "localhost")
        # What the environment trusts does not replace what was given, either way.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
        KialiClient(kiali.url, token=TOKEN, ca_file=cert).version()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
        with pytest.raises(KialiUnavailableError, match="ca_file"):
            KialiClient(kiali.url, token=TOKEN, ca_file=other).version()
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.warns(match="Unverified HTTPS request"):
            assert KialiClient(kiali.url, token=TOKEN, verify=False).version() == (2, 31, 0)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "kiali", "kiali.istio-system")
    with tls_server(cert, key) as server:
        kiali = FakeKiali(server)
        with pytest.raises(KialiUnavailableError, match="is for another host name"):
            KialiClient(kiali.url, ca_file=cert).version()


def test_http_and_https_that_are_mixed_up_are_told_apart(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    with pytest.raises(KialiUnavailableError, match="does not speak TLS at this port; write http://"):
        KialiClient(kiali.url.replace("http://", "https://")).version()


@pytest.mark.parametrize(
    ("content", "part"), [(None, "cannot be read: No such file"), ("no PEM", "has no certificate")]
)
def test_a_ca_file_is_checked_at_once(tmp_path: Path, content: str | None, part: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KialiUnavailableError, match=part) as caught:
        KialiClient("https://kiali/kiali", ca_file=path)
    assert str(path) in str(caught.value)
