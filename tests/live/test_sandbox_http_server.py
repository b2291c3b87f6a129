"""The HTTP server under the sandbox's APIs, over real sockets."""

from __future__ import annotations

import http.client
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gnnrl.cluster.clock import SteppedClock
from gnnrl.live.sandbox.http_server import Fault, HttpError, JsonServer, Request, Response


class Echo(JsonServer):
    """Answers what it was asked, and fails on request."""

    def handle(self, request: Request) -> Response:
        if request.path == "/crash":
            raise KeyError("a secret that is in the log only")
        if request.path == "/timeout":
            raise TimeoutError("of the route, not of the connection")
        if request.path == "/teapot":
            raise HttpError(418, "short and stout")
        if request.path == "/large":
            return Response.of_json("x" * 100_000)
        if request.path == "/count":
            return Response(stream=(b"%d\n" % number for number in range(3)))
        if request.path == "/endless":
            return Response(stream=self._endless())
        if request.path == "/json":
            return Response.of_json(request.json())
        return Response.of_json([request.method, request.path, dict(request.query), request.body.decode()])

    def _endless(self) -> Iterator[bytes]:
        yield b"first\n"
        while True:
            time.sleep(0.01)
            yield b""


@pytest.fixture
def server() -> Iterator[Echo]:
    with Echo("echo", clock=SteppedClock(1_000_000_000.0), max_body_bytes=1000) as started:
        yield started


def test_a_request_arrives_whole_and_the_connection_stays(server: Echo) -> None:
    answer = requests.post(f"{server.url}/a%20b?x=1&x=2&empty=", data="body")
    assert answer.json() == ["POST", "/a b", {"x": ["1", "2"], "empty": [""]}, "body"]
    assert answer.headers["Date"] == "Sun, 09 Sep 2001 01:46:40 GMT"  # the clock's, not the machine's
    connection = http.client.HTTPConnection(server.host, server.port)
    sockets = set()
    for path in ("/", "/teapot", "/count", "/large"):
        connection.request("GET", path)
        connection.getresponse().read()
        sockets.add(id(connection.sock))
    assert len(sockets) == 1
    assert connection.sock is not None
    connection.close()


def test_errors_are_json(server: Echo) -> None:
    assert (answer := requests.get(f"{server.url}/teapot")).status_code == 418
    assert answer.json() == {"error": "short and stout"}
    assert requests.post(f"{server.url}/json", data="{").status_code == 400
    assert requests.post(f"{server.url}/json", data="[" * 900).status_code == 400
    too_large = requests.post(f"{server.url}/", data="x" * 1001)
    assert too_large.status_code == 413
    assert "1001 bytes, 1000 are allowed" in too_large.json()["error"]
    assert requests.request("BREW", server.url).status_code == 501


@pytest.mark.parametrize("path", ["/crash", "/timeout"])
def test_a_route_that_fails_is_a_500_and_a_log_line(server: Echo, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = requests.get(f"{server.url}{path}")
    assert answer.status_code == 500
    assert f"internal error at GET {path}" in answer.json()["error"]
    assert "secret" not in answer.text
    assert any(record.exc_info for record in caplog.records)
    assert requests.get(server.url).status_code == 200


def test_a_request_shows_no_header_and_no_body() -> None:
    request = Request(method="GET", path="/", query={}, headers={"authorization": "Bearer hidden"}, body=b"hidden")
    assert "hidden" not in repr(request)


def test_large_answers_are_compressed_for_those_who_accept_it(server: Echo) -> None:
    compressed = requests.get(f"{server.url}/large")
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert int(compressed.headers["Content-Length"]) < 2000
    plain = requests.get(f"{server.url}/large", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.json() == compressed.json() == "x" * 100_000


def test_faults_come_before_the_answer(server: Echo) -> None:
    seen = []

    def fault(name: str, method: str, path: str) -> Fault | None:
        seen.append((name, method, path))
        return {
            "/cut": Fault(cut=True),
            "/late": Fault(delay_seconds=0.1),
            "/busy": Fault(status=503, body=b"no", headers=(("Retry-After", "3"),)),
        }.get(path)

    server.fault = fault
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/cut")
    busy = requests.get(f"{server.url}/busy?a=b")
    assert (busy.status_code, busy.text, busy.headers["Retry-After"]) == (503, "no", "3")
    began = time.monotonic()
    assert requests.get(f"{server.url}/late").json()[1] == "/late"
    assert time.monotonic() - began >= 0.1
    assert seen == [("echo", "GET", "/cut"), ("echo", "GET", "/busy"), ("echo", "GET", "/late")]


def test_streams_end_by_themselves_or_with_the_server(server: Echo) -> None:
    assert requests.get(f"{server.url}/count").text == "0\n1\n2\n"
    answer = requests.get(f"{server.url}/endless", stream=True)
    lines = answer.iter_lines()
    assert next(lines) == b"first"
    threading.Timer(0.05, server.close).start()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        next(lines)


def test_a_stream_ends_when_nobody_listens(server: Echo) -> None:
    before = threading.active_count()
    answer = requests.get(f"{server.url}/endless", stream=True)
    assert threading.active_count() > before
    answer.close()
    deadline = time.monotonic() + 60.0
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_closed_it_refuses_and_started_again_it_has_the_same_port(server: Echo) -> None:
    url = server.url
    server.close()
    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(url)
    server.start()
    assert server.url == url
    assert requests.get(url).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nContent-Length: two\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused(server: Echo, head: bytes) -> None:
    with socket.create_connection((server.host, server.port), timeout=5.0) as peer:
        peer.sendall(head)
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
    assert int(answer.split(b" ", 2)[1]) in (400, 411)
    assert b'{"error":' in answer


def test_over_tls_a_silent_peer_holds_up_nobody(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    context, authority = self_signed(tmp_path)
    with (
        Echo("echo", clock=SteppedClock(0.0), tls=context) as server,
        socket.create_connection((server.host, server.port)),  # says nothing
    ):
        assert server.url.startswith("https://")
        assert requests.get(server.url, verify=str(authority), timeout=5.0).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(server.url, timeout=5.0)


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A TLS context for 127.0.0.1, and the certificate to trust."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=sandbox", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
