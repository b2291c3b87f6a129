"""A Kiali on loopback that does what its strategies do, and remembers what it was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0LW9mLXRoZS10ZXN0.c2lnbmF0dXJl"
RENEWED = "eyJhbGciOiJSUzI1NiJ9.cmVuZXdlZC1vZi10aGUtdGVzdA.c2lnbmF0dXJl"

WEB = {"id": "1", "nodeType": "workload", "cluster": "east", "namespace": "shop", "workload": "web-v1", "app": "web"}
CART = {"id": "2", "nodeType": "workload", "cluster": "east", "namespace": "shop", "workload": "cart-v1", "app": "cart"}
GRAPH: dict[str, Any] = {
    "timestamp": 1700000000,
    "duration": 60,
    "graphType": "workload",
    "elements": {
        "nodes": [{"data": WEB | {"isRoot": True}}, {"data": CART | {"version": "v1"}}],
        "edges": [
            {
                "data": {
                    "id": "e",
                    "source": "1",
                    "target": "2",
                    "responseTime": "35",
                    "isMTLS": "100",
                    "traffic": {
                        "protocol": "http",
                        "rates": {"http": "20.50", "http5xx": "2.05", "httpPercentErr": "10.0"},
                    },
                }
            }
        ],
    },
}


class FakeKiali:
    """Answers under `/kiali`; what `answers` holds for a path comes before what it would answer."""

    def __init__(self, server: HTTPServer, *, strategy: str = "anonymous", version: str = "v2.31.0") -> None:
        self.url = server.url_for("/kiali")
        self.strategy = strategy
        self.version = version
        self.tokens = {TOKEN}
        self.cookies: set[str] = set()
        self.secure_cookie = False
        self.graph: Any = GRAPH
        self.asked: list[Request] = []
        self.answers: dict[str, list[Response | Callable[[], Response]]] = {}
        server.expect_request(re.compile(".*")).respond_with_handler(self._answer)

    def paths(self, path: str = "") -> list[str]:
        """Paths that were asked for, in order, below /kiali/api."""
        asked = [request.path.removeprefix("/kiali/api") for request in self.asked]
        return [one for one in asked if one == path] if path else asked

    @property
    def graph_request(self) -> Request:
        """The last request for a graph."""
        return next(request for request in reversed(self.asked) if request.path.endswith("/graph"))

    def _answer(self, request: Request) -> Response:
        # A form is read while the connection is open.
        request.form  # noqa: B018
        self.asked.append(request)
        path = request.path.removeprefix("/kiali/api")
        scripted = self.answers.get(path)
        if scripted:
            answer = scripted.pop(0)
            return answer if isinstance(answer, Response) else answer()
        if path == "/auth/info":
            return as_json({"strategy": self.strategy, "sessionInfo": {}})
        if path == "/authenticate" and request.method == "POST":
            return self._log_in(request.form.get("token", ""))
        if path not in ("/status", "/namespaces/graph"):
            return Response("404 page not found\n", status=404)
        if not self._knows(request):
            return Response("Unauthorized\n", status=401)
        if path == "/status":
            return as_json({"status": {"Kiali version": self.version, "Kiali state": "running"}})
        return as_json(self.graph)

    def _log_in(self, token: str) -> Response:
        if token not in self.tokens or self.strategy != "token":
            return Response("Unauthorized\n", status=401)
        cookie = f"session-{len(self.cookies)}"
        self.cookies.add(cookie)
        answer = as_json({"username": "system:serviceaccount:shop:gnnrl"})
        answer.set_cookie("kiali-token-east", cookie, path="/kiali", httponly=True, secure=self.secure_cookie)
        return answer

    def _knows(self, request: Request) -> bool:
        if self.strategy == "anonymous":
            return True
        if self.strategy == "token":
            return request.cookies.get("kiali-token-east") in self.cookies
        return request.headers.get("Authorization", "").removeprefix("Bearer ") in self.tokens


def as_json(document: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(json.dumps(document), status=status, content_type="application/json")
