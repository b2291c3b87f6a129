"""A Kiali over the sandbox's world: status, authentication and the service graph, by the contract of versions 1.x and 2.x."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, get_args

from gnnrl.cluster.clock import Clock
from gnnrl.live.sandbox.http_server import FaultHook, HttpError, JsonServer, Request, Response
from gnnrl.live.sandbox.kiali_graph import CLUSTER, GraphOptions, GraphType, Quantile, write_graph
from gnnrl.live.sandbox.world import SandboxWorld

__all__ = ["KialiApi", "KialiAuth"]

KialiAuth = Literal["anonymous", "token", "header", "openshift"]

CACHE_SECONDS = 60.0
SESSION_SECONDS = 86_400.0
DEFAULT_DURATION = "10m"
DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
UNIT_SECONDS = (31_536_000, 604_800, 86_400, 3600, 60, 1, 0.001)
BOOLEANS = {"1": True, "t": True, "true": True, "T": True, "True": True, "TRUE": True}
BOOLEANS |= {"0": False, "f": False, "false": False, "F": False, "False": False, "FALSE": False}
CACHED, IDLE, QUANTILE, RATES = (2, 21), (1, 29), (1, 36), (1, 38)
"""Versions from which answers are cached, `includeIdleEdges`, `responseTime` and `rate*` are known."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "rateGrpc": ("none", "received", "requests", "sent", "total"),
    "rateHttp": ("none", "requests"),
    "rateTcp": ("none", "received", "sent", "total"),
}


class KialiApi(JsonServer):
    """`GET /healthz`, `/api/status`, `/api/auth/info`, `/api/namespaces`, `/api/namespaces/graph`, `POST /api/authenticate`.

    Args:
        world: what it shows.
        clock: whose time it is.
        version: of Kiali, as `2.31.0`.
        strategy: of authentication.
        token: the Kubernetes token that is accepted, unless anonymous.
        web_root: path in front of everything.
        secure_cookies: mark session cookies `Secure`, as behind https; over plain http they are then lost.
        fault, host, port: see `JsonServer`.

    Raises:
        ValueError: no such version or strategy, or a strategy that needs a token has none.
    """

    def __init__(
        self,
        world: SandboxWorld,
        clock: Clock,
        *,
        version: str = "2.31.0",
        strategy: KialiAuth = "anonymous",
        token: str = "",
        web_root: str = "/kiali",
        secure_cookies: bool = False,
        fault: FaultHook | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__("kiali", clock=clock, fault=fault, host=host, port=port)
        found = re.fullmatch(r"([12])\.(\d{1,3})(?:\.\d{1,3})?", version)
        if found is None:
            raise ValueError(f"Kiali version {version!r}: write it as 2.31.0; 1.0 to 2.x are known")
        if strategy not in get_args(KialiAuth):
            raise ValueError(f"Kiali strategy {strategy!r} is none of {', '.join(get_args(KialiAuth))}")
        if strategy != "anonymous" and not token:
            raise ValueError(f"Kiali strategy {strategy!r} needs a token")
        self.world, self.version_text, self.strategy = world, version, strategy
        self.version = (int(found[1]), int(found[2]))
        self.web_root = web_root.rstrip("/")
        self.token = token
        self._secure_cookies = secure_cookies
        self._sessions: dict[str, float] = {}
        """Cookie -> unix seconds at which it expires."""
        self._cache: dict[tuple[tuple[str, str], ...], tuple[float, Response]] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """With the web root, as clients are told it."""
        return f"{super().url}{self.web_root}"

    def revoke(self, token: str) -> None:
        """Accept another token from now on, and end all sessions."""
        with self._lock:
            self.token = token
            self._sessions.clear()

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        path = request.path.removeprefix(self.web_root) if request.path.startswith(f"{self.web_root}/") else ""
        route = (request.method, path.rstrip("/") or path)
        if route == ("GET", "/healthz"):
            return Response.of_text("")
        if route == ("GET", "/api/auth/info"):
            return Response.of_json(self._auth_info())
        if route == ("GET", "/api"):
            return Response.of_json(self._status())
        if route == ("POST", "/api/authenticate"):
            return self._authenticate(request)
        if route not in (("GET", "/api/status"), ("GET", "/api/namespaces"), ("GET", "/api/namespaces/graph")):
            return Response.of_text("404 page not found\n", 404)
        if not self._is_known(request):
            return Response.of_text("Unauthorized\n", 401)
        if path.startswith("/api/status"):
            return Response.of_json(self._status())
        if route == ("GET", "/api/namespaces"):
            names = [{"name": name, "cluster": CLUSTER} for name in self._namespaces]
            return Response.of_json(names)
        return self._graph(request)

    @property
    def _namespaces(self) -> tuple[str, str]:
        return (self.world.namespace, self.world.gateway_namespace)

    def _status(self) -> dict[str, Any]:
        name = "Kiali version" if self.version >= CACHED or self.version >= (1, 34) else "Kiali core version"
        return {
            "status": {
                "Kiali commit hash": "0000000000000000000000000000000000000000",
                "Kiali container version": f"v{self.version_text}",
                name: f"v{self.version_text}",
                "Kiali state": "running",
            },
            "externalServices": [
                {"name": "Istio", "version": "1.29.0"},
                {"name": "Prometheus", "version": "3.5.0"},
                {"name": "Kubernetes", "version": "v1.36.0"},
            ],
            "warningMessages": [],
            "istioEnvironment": {"isMaistra": False},
        }

    def _auth_info(self) -> dict[str, Any]:
        session = {"username": "anonymous", "expiresOn": ""} if self.strategy == "anonymous" else {}
        return {"strategy": self.strategy, "authorizationEndpoint": "", "logoutEndpoint": "", "sessionInfo": session}

    def _authenticate(self, request: Request) -> Response:
        if self.strategy == "anonymous":
            return Response.of_json({"error": "Authentication strategy is anonymous"}, 500)
        given = request.form().get("token", "")
        if self.strategy != "token":
            given = _bearer(request)
        if not self._is_token(given):
            return Response.of_text("Unauthorized\n", 401)
        cookie = secrets.token_urlsafe(24)
        now = self.clock.now()
        with self._lock:
            self._sessions = {known: end for known, end in self._sessions.items() if end > now}
            self._sessions[cookie] = now + SESSION_SECONDS
        attributes = (
            f"; Path={self.web_root or '/'}; HttpOnly; SameSite=Strict{'; Secure' if self._secure_cookies else ''}"
        )
        answer = {"username": "sandbox", "expiresOn": "", "token": ""}
        return Response.of_json(answer, headers=(("Set-Cookie", f"{self._cookie_name}={cookie}{attributes}"),))

    @property
    def _cookie_name(self) -> str:
        return f"kiali-token-{CLUSTER}" if self.version >= (2, 0) else "kiali-token"

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _is_known(self, request: Request) -> bool:
        if self.strategy == "anonymous":
            return True
        if self.strategy != "token":
            return self._is_token(_bearer(request))
        try:
            morsel = SimpleCookie(request.headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            return False
        with self._lock:
            return morsel is not None and self._sessions.get(morsel.value, 0.0) > self.clock.now()

    def _graph(self, request: Request) -> Response:
        now = self.clock.now()
        question = tuple(
            sorted((name, values[-1]) for name, values in request.query.items() if name != "refreshInterval")
        )
        cached = self.version >= CACHED and not request.has_param("queryTime")
        if cached:
            with self._lock:
                since, answer = self._cache.get(question, (0.0, None))
            if answer is not None and now - since < CACHE_SECONDS:
                return answer
        options = self._options(request, now)
        view = self.world.graph_view(options.duration_seconds, float(options.timestamp))
        dead = [workload.name for workload in self.world.workloads() if not workload.pods]
        response = Response.of_json(write_graph(view, options, self.version, self.world.namespace, dead))
        if cached:
            with self._lock:
                self._cache = {key: item for key, item in self._cache.items() if now - item[0] < CACHE_SECONDS}
                self._cache[question] = (now, response)
        return response

    def _options(self, request: Request, now: float) -> GraphOptions:
        """Check the parameters in the way of Kiali.

        Raises:
            HttpError: 400 for a parameter, 403 for a namespace.
        """
        if not request.param("namespaces"):
            raise HttpError(400, "At least one namespace must be specified via the namespaces query parameter.")
        namespaces = tuple(name.strip() for name in request.param("namespaces").split(","))
        for name in namespaces:
            if name not in self._namespaces:
                raise HttpError(403, f"Requested namespace [{name}] is not accessible.")
        graph_type: GraphType = request.param("graphType", "workload")  # type: ignore[assignment]  # checked below
        if graph_type not in get_args(GraphType):
            raise HttpError(400, f"Invalid graphType [{graph_type}]")
        query_time = request.param("queryTime") or str(int(now))
        if not (query_time.isascii() and query_time.isdigit()):
            raise HttpError(400, f"Invalid queryTime [{query_time}]")
        for name, choices in CHOICES.items():
            if self.version >= RATES and request.param(name, choices[0]) not in choices:
                raise HttpError(400, f"Invalid {name} [{request.param(name)}]")
        idle = self._boolean(request, "includeIdleEdges") if self.version >= IDLE else False
        return GraphOptions(
            namespaces=tuple(dict.fromkeys(namespaces)),
            duration_seconds=_duration(request.param("duration", DEFAULT_DURATION)),
            timestamp=int(query_time),
            graph_type=graph_type,
            appenders=self._appenders(request),
            quantile=self._quantile(request),
            inject_service_nodes=self._boolean(request, "injectServiceNodes"),
            include_idle_edges=idle,
        )

    def _boolean(self, request: Request, name: str) -> bool:
        text = request.param(name, "false")
        if text not in BOOLEANS:
            raise HttpError(400, f"Invalid {name} [{text}]")
        return BOOLEANS[text]

    def _appenders(self, request: Request) -> frozenset[str]:
        """Absent = all, empty = none."""
        known = {"deadNode", "istio", "responseTime", "securityPolicy", "serviceEntry"}
        if self.version < IDLE:
            known |= {"sidecarsCheck", "unusedNode"}
        else:
            known |= {"aggregateNode", "health", "idleNode", "labeler", "meshCheck", "throughput", "workloadEntry"}
        if self.version >= (2, 0):
            known.add("ambient")
        if not request.has_param("appenders"):
            return frozenset(known)
        asked = [name.strip() for name in request.param("appenders").split(",") if request.param("appenders")]
        for name in asked:
            if name not in known:
                raise HttpError(400, f"Invalid appender [{name}]")
        return frozenset(asked)

    def _quantile(self, request: Request) -> Quantile:
        if self.version >= QUANTILE:
            text = request.param("responseTime", "95")
            for quantile in get_args(Quantile):
                if text == quantile:
                    return quantile
            raise HttpError(400, f"Invalid responseTime, must be one of: avg | 50 | 95 | 99. [{text}]")
        text = request.param("responseTimeQuantile", "0.95")
        quantiles: dict[str, Quantile] = {"0.5": "50", "0.50": "50", "0.95": "95", "0.99": "99"}
        if text not in quantiles:
            raise HttpError(400, f"Invalid quantile, this sandbox knows 0.5, 0.95 and 0.99 [{text}]")
        return quantiles[text]


def _duration(text: str) -> int:
    """Whole seconds of a Prometheus duration."""
    found = DURATION.fullmatch(text)
    seconds = sum(int(part) * unit for part, unit in zip(found.groups("0"), UNIT_SECONDS, strict=True)) if found else 0
    if seconds < 1:
        raise HttpError(400, f"Invalid duration [{text}]")
    return int(seconds)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
