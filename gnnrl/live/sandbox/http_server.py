"""A small HTTP/1.1 server on loopback, which the sandbox's Kubernetes, Kiali and Prometheus APIs are built on."""

from __future__ import annotations

import gzip
import logging
import select
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_messages import Fault, FaultHook, HttpError, Request, Response

__all__ = ["Fault", "FaultHook", "HttpError", "JsonServer", "Request", "Response"]

logger = logging.getLogger(__name__)


class JsonServer:
    """A threaded HTTP server; subclasses say in `handle` what it answers. A context manager.

    `close()` refuses connections and ends those that are open; `start()` then listens on the same port again.

    Args:
        name: shown to the fault hook and in the log.
        clock: stamps the Date header.
        fault: called before each request.
        host, port: where to listen; port 0 = any free one.
        tls: TLS context; None = plain HTTP.
        max_body_bytes: larger requests get 413.
        gzip_above_bytes: larger answers are compressed for clients that accept it.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        fault: FaultHook | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = 3 * 1024 * 1024,
        gzip_above_bytes: int = 16 * 1024,
    ) -> None:
        self.name, self.clock, self.fault = name, clock, fault
        self.host, self.port, self.tls = host, port, tls
        self.max_body_bytes, self.gzip_above_bytes = max_body_bytes, gzip_above_bytes
        self.closing = threading.Event()
        """Set while the server does not listen; streams end on it."""
        self._turning = threading.Lock()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    def handle(self, request: Request) -> Response:
        """Answer a request; any thread.

        Raises:
            HttpError: answered as `error_response` writes it. Anything else is logged and answered as 500.
        """
        raise HttpError(404, f"{request.path}: no such path")

    def error_response(self, status: int, message: str) -> Response:
        """How an error is written."""
        return Response.of_json({"error": message}, status)

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end; known once started."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        with self._turning:
            if self._listener is not None:
                return
            self.closing.clear()
            self._listener = _Listener(self)
            self.port = int(self._listener.server_address[1])
            self._thread = threading.Thread(
                target=self._listener.serve_forever, args=(0.05,), name=f"{self.name}-server", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop listening, and end open connections and streams."""
        with self._turning:
            if self._listener is None or self._thread is None:
                return
            self.closing.set()
            self._listener.shutdown()
            self._listener.server_close()
            self._listener.end_connections()
            self._thread.join()
            self._listener = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Listener(ThreadingHTTPServer):
    """The listening socket of a JsonServer, and its open connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, owner: JsonServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((owner.host, owner.port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.owner.tls is not None:
            # The handshake waits for the connection's own thread: a silent peer must not hold up the others.
            connection = self.owner.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                logger.debug("%s: connection was already gone: %s", self.owner.name, error)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """socketserver's hook for what escaped a connection's thread; `_Handler.finish` has logged and answered what is not the peer's."""
        logger.debug("%s: connection lost: %r", self.owner.name, sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 300.0
    wbufsize = 64 * 1024

    server: _Listener
    handling = ""
    """Method and path of the request that the routes are busy with."""

    def setup(self) -> None:
        super().setup()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()

    def finish(self) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            where = self.handling or "while an answer was written"
            logger.error("%s: %s: a request failed", self.server.owner.name, where, exc_info=True)
        if self.handling and error is not None:
            self.close_connection = True
            message = f"internal error at {self.handling}: {type(error).__name__}; the log of the sandbox has the rest"
            self.answer(self.server.owner.error_response(500, message))
        super().finish()

    def version_string(self) -> str:
        return "gnnrl-sandbox"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.server.owner.clock.now() if timestamp is None else timestamp, usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("%s: " + format, self.server.owner.name, *args)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """http.server's own complaints (malformed requests), written as the server writes errors."""
        self.close_connection = True
        self.request_version = self.protocol_version  # else a malformed first line would get a body without a status
        self.answer(self.server.owner.error_response(code, message or HTTPStatus(code).phrase))

    def serve(self) -> None:
        """Answer one request."""
        owner = self.server.owner
        try:
            url = urlsplit(self.path)
        except ValueError as error:
            self.send_error(400, f"malformed path: {error}")
            return
        request = Request(
            method=self.command,
            path=unquote(url.path),
            query=parse_qs(url.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        try:
            request = replace(request, body=self._read_body(request))
            fault = owner.fault(owner.name, request.method, request.path) if owner.fault is not None else None
            if fault is not None and fault.delay_seconds > 0.0:
                owner.closing.wait(fault.delay_seconds)
            if fault is not None and fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if fault is not None and (fault.cut or fault.reset):
                self.close_connection = True
                return
            if fault is not None and fault.status:
                response = Response(
                    status=fault.status, body=fault.body, content_type=fault.content_type, headers=fault.headers
                )
            else:
                self.handling = f"{request.method} {request.path}"
                response = self._route(request)
                if fault is not None and fault.rewrite is not None and response.stream is None:
                    response = fault.rewrite(request, response)
        except HttpError as error:
            fault, response = None, owner.error_response(error.status, error.message)
        self.handling = ""
        half = fault is not None and fault.half and response.stream is None
        self.close_connection = self.close_connection or half
        self.answer(response, half=half)

    def _route(self, request: Request) -> Response:
        try:
            return self.server.owner.handle(request)
        except OSError as error:  # else it would be taken for a fault of the peer's connection
            raise RuntimeError(f"{self.handling}: {error}") from error

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def _read_body(self, request: Request) -> bytes:
        owner = self.server.owner
        if "transfer-encoding" in request.headers:
            self.close_connection = True
            raise HttpError(411, "send the body with a Content-Length")
        text = request.headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            self.close_connection = True
            raise HttpError(400, "Content-Length is not a number")
        if (length := int(text)) > owner.max_body_bytes:
            self.close_connection = True
            raise HttpError(413, f"the body has {length} bytes, {owner.max_body_bytes} are allowed")
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the peer left in the middle of its request")
        return body

    def answer(self, response: Response, *, half: bool = False) -> None:
        """Write a response, or its head and half of its body."""
        body, headers = response.body, list(response.headers)
        wants_gzip = "gzip" in self.headers.get("Accept-Encoding", "") if getattr(self, "headers", None) else False
        if wants_gzip and response.stream is None and len(body) > self.server.owner.gzip_above_bytes:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        if response.stream is not None:
            headers.append(("Transfer-Encoding", "chunked"))
        else:
            headers.append(("Content-Length", str(len(body))))
        if self.close_connection:
            headers.append(("Connection", "close"))
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if response.stream is not None:
            self._write_stream(response.stream)
        elif self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()

    def _write_stream(self, stream: Iterator[bytes]) -> None:
        self.wfile.flush()
        gone = select.poll()
        # A client says nothing more while it listens to a stream: something to read means that it hung up.
        gone.register(self.connection, select.POLLIN | select.POLLHUP | select.POLLERR)
        for piece in stream:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if self.server.owner.closing.is_set() or gone.poll(0):
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")
