"""A Kubernetes API server on loopback that answers what a test gives it, and fails as a test wants. No cluster behind it."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "sekret-t0ken-of-the-kubeconfig"


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """An answer; `drip_seconds` waits between its bytes, `cut_after` closes the connection after so many of them, and
    `stall_seconds` waits between head and body."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    stall_seconds: float = 0.0
    cut_after: int | None = None


Rule = Callable[[Seen], Reply | None]


class FakeApi:
    """Answers `lists` (path -> items, in pages), `objects` (path -> object), before them what a rule says."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.rules: list[Rule] = []
        self.seen: list[Seen] = []
        self.written: list[str] = []
        """Paths whose answer was written to its end."""
        self.tokens = {TOKEN}
        self.connections = 0
        self.stopping = threading.Event()
        self._packed: dict[tuple[str, int, int], bytes] = {}
        fake = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is what some tests are about."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                seen = Seen(
                    self.command,
                    url.path,
                    query,
                    {k.title(): v for k, v in self.headers.items()},
                    self.rfile.read(length),
                )
                fake.seen.append(seen)
                fake._write(self, fake._reply(seen))

            do_GET = do_POST = do_PUT = do_PATCH = answer

            def log_message(self, *_: Any) -> None:
                pass

            def setup(self) -> None:
                fake.connections += 1
                super().setup()

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self.server.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.server.server_address[1]}"

    def fail(self, part: str, reply: Reply, method: str = "") -> None:
        """Answer every request whose path holds `part` so."""
        self.rules.append(lambda seen: reply if part in seen.path and method in ("", seen.method) else None)

    def _reply(self, seen: Seen) -> Reply:
        for rule in self.rules:
            if (reply := rule(seen)) is not None:
                return reply
        if seen.headers.get("Authorization", "").partition(" ")[2] not in self.tokens:
            return status(401, "Unauthorized")
        if seen.path in self.objects:
            return Reply(body=self.objects[seen.path])
        if seen.path in self.lists:
            return Reply(body=self._page(seen))
        return Reply(404, b"404 page not found\n", "text/plain; charset=utf-8")

    def _page(self, seen: Seen) -> bytes:
        items = self.lists[seen.path]
        start, limit = int(seen.query.get("continue", "0")), int(seen.query.get("limit", "0")) or len(items)
        key = (seen.path, start, limit)
        if key not in self._packed:
            end = start + limit
            more = {"continue": str(end)} if end < len(items) else {}
            self._packed[key] = json.dumps({"kind": "List", "metadata": more, "items": items[start:end]}).encode()
        return self._packed[key]

    def forget_pages(self) -> None:
        """After `lists` was changed."""
        self._packed.clear()

    def _write(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.delay_seconds and self.stopping.wait(reply.delay_seconds):
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        handler.send_header("Content-Type", reply.content_type)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if reply.stall_seconds and self.stopping.wait(reply.stall_seconds):
            return
        try:
            if reply.drip_seconds:
                for byte in body:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if self.stopping.wait(reply.drip_seconds):
                        return
            else:
                handler.wfile.write(body if reply.cut_after is None else body[: reply.cut_after])
        except OSError:
            return
        self.written.append(handler.path)
        if reply.cut_after is not None:
            handler.close_connection = True


def status(code: int, message: str) -> Reply:
    """A failure as the API server tells it."""
    return Reply(code, {"kind": "Status", "status": "Failure", "code": code, "message": message})


def rbac(verb: str, resource: str, group: str, *, name: str = "", where: str = 'in the namespace "shop"') -> str:
    """In the API server's own words."""
    plural = resource.partition("/")[0] + (f".{group}" if group else "")
    what = f'{plural} "{name}"' if name else plural
    user = "system:serviceaccount:shop:gnnrl"
    return f'{what} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {where}'


def kubeconfig(
    folder: Path, url: str, token: str | None = TOKEN, user: dict[str, Any] | None = None, **cluster: Any
) -> Path:
    """A kubeconfig of one user and two contexts; JSON is YAML."""
    user = user if user is not None else {} if token is None else {"token": token}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test"}},
            {"name": "other", "context": {"cluster": "test", "user": "test"}},
        ],
        "clusters": [{"name": "test", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "test", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[FakeApi]:
    """A server that runs; over TLS with a PEM file of certificate and key."""
    fake = FakeApi()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        fake.server.socket = context.wrap_socket(fake.server.socket, server_side=True)
    fake.thread.start()
    try:
        yield fake
    finally:
        fake.stopping.set()
        fake.server.shutdown()
        fake.server.server_close()


def rfc3339(seconds: float) -> str:
    """`2023-11-14T22:13:20Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
