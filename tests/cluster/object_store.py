"""An API server on loopback with a memory: `/scale`, Leases and Events with resourceVersion, 404, 409 and 422, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import Configuration

from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.credentials import Credentials

INT32_MAX = 2**31 - 1


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    content_type: str

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def target(self) -> str:
        """Name of the Deployment of a `/scale`, else the last part of the path."""
        parts = self.path.split("/")
        return parts[-2] if parts[-1] == "scale" else parts[-1]


@dataclass
class Fault:
    """`status` (0 = close the connection without a word) instead of the usual, or `after` it was done."""

    status: int = 0
    after: bool = False


class Refusal(Exception):
    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


class ObjectStore:
    """What an API server keeps. `before(asked)` and `after(asked)` are called on the server's thread, around what is done."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[Asked], Fault | None] = lambda _: None
        self.after: Callable[[Asked], None] = lambda _: None
        self.lock = threading.RLock()
        self._version = 100
        self._objects: dict[str, dict[str, Any]] = {}
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def answer(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                kind = self.headers.get("Content-Type", "")
                status, body = store.answer(Asked(self.command, url.path, query, json.loads(data or b"{}"), kind))
                if status == 0:
                    self.close_connection = True
                    return
                sent = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)
                self.wfile.flush()

            do_GET = do_POST = do_PUT = do_PATCH = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.request_queue_size = 64
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def deployment(self, name: str, replicas: int, namespace: str = "shop") -> None:
        """A Deployment, or another number of replicas of it, as somebody else would set it."""
        self._objects[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"] = {
            "kind": "Scale",
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": self._next()},
            "spec": {"replicas": replicas} if replicas else {},
        }

    def touch(self, name: str, namespace: str = "shop") -> None:
        """A change of something else than replicas, as a status update."""
        self._objects[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["metadata"][
            "resourceVersion"
        ] = self._next()

    def replicas(self, name: str, namespace: str = "shop") -> int:
        """What it has."""
        scale = self._objects[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]
        return int(scale["spec"].get("replicas", 0))

    def version(self, name: str, namespace: str = "shop") -> str:
        """resourceVersion of its `/scale`."""
        return str(
            self._objects[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["metadata"][
                "resourceVersion"
            ]
        )

    def object(self, path: str) -> dict[str, Any]:
        """An object as it is."""
        return self._objects[path]

    def under(self, path: str) -> list[dict[str, Any]]:
        """Objects of a collection."""
        return [thing for at, thing in self._objects.items() if at.startswith(path + "/")]

    def delete(self, path: str) -> None:
        """Take an object away."""
        del self._objects[path]

    def writes(self) -> list[Asked]:
        """Requests that would change something."""
        return [asked for asked in self.asked if asked.writes]

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """Status and body for a request; status 0 = none."""
        self.asked.append(asked)
        fault = self.before(asked)
        if fault is not None and not fault.after:
            return fault.status, {"kind": "Status", "message": "injected"}
        try:
            with self.lock:
                done = self._do(asked)
        except Refusal as refusal:
            return refusal.status, {"kind": "Status", "code": refusal.status, "message": refusal.reason}
        self.after(asked)
        return (200, done) if fault is None else (fault.status, {"kind": "Status", "message": "injected"})

    def _do(self, asked: Asked) -> dict[str, Any]:
        if asked.method == "POST":
            path = f"{asked.path}/{asked.body['metadata']['name']}"
            if path in self._objects:
                raise Refusal(409, "already exists")
            self._objects[path] = asked.body | {"metadata": asked.body["metadata"] | {"resourceVersion": self._next()}}
            return self._objects[path]
        found = self._objects.get(asked.path)
        if found is None:
            raise Refusal(404, f"{asked.path} not found")
        if asked.method == "GET":
            return found
        wanted_version = asked.body.get("metadata", {}).get("resourceVersion")
        if wanted_version is not None and wanted_version != found["metadata"]["resourceVersion"]:
            raise Refusal(409, "the object has been modified")
        changed = asked.body if asked.method == "PUT" else _merged(found, asked.body)
        if found.get("kind") == "Scale":
            replicas = changed["spec"].get("replicas", 0)
            if type(replicas) is not int or not 0 <= replicas <= INT32_MAX:
                raise Refusal(422, f"spec.replicas: invalid value {replicas!r}")
        metadata = {key: value for key, value in changed["metadata"].items() if key != "resourceVersion"}
        kept = {key: value for key, value in found["metadata"].items() if key != "resourceVersion"}
        same = (changed | {"metadata": metadata}) == (found | {"metadata": kept})
        version = found["metadata"]["resourceVersion"] if same else self._next()
        changed = changed | {"metadata": changed["metadata"] | {"resourceVersion": version}}
        if asked.query.get("dryRun") != "All":
            self._objects[asked.path] = changed
        return changed

    def _next(self) -> str:
        self._version += 1
        return str(self._version)


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(target)
    for key, value in patch.items():
        merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged


def api_of(url: str, timeout_seconds: float = 5.0) -> ClusterApi:
    """The real client, without credentials."""
    configuration = Configuration(host=url)
    return ClusterApi(Credentials(lambda: configuration, "the test"), timeout_seconds=timeout_seconds)


@contextmanager
def serving() -> Iterator[ObjectStore]:
    """A store that answers."""
    store = ObjectStore()
    thread = threading.Thread(target=store.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.server.shutdown()
        store.server.server_close()
