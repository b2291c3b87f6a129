"""The client of Kiali over real sockets: strategies, tokens, versions, refusals, and that no token is ever told."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import threading
import traceback
from pathlib import Path

import networkx as nx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from kiali_client import (
    KialiAuthenticationError,
    KialiAuthorizationError,
    KialiClient,
    KialiError,
    KialiNotFoundError,
    KialiPayloadError,
    KialiSchemaError,
    KialiUnavailableError,
    NodeKey,
    Secret,
    Version,
    parse_graph,
)
from tests.kiali_client.fake_kiali import GRAPH, RENEWED, TOKEN, FakeKiali, as_json

WEB = NodeKey("east", "shop", "web-v1", "workload")
CART = NodeKey("east", "shop", "cart-v1", "workload")


def client_of(kiali: FakeKiali, **options) -> KialiClient:
    return KialiClient(kiali.url, **({"retries": 0, "timeout_seconds": 2.0, "now": lambda: 1700000042.9} | options))


@pytest.mark.parametrize("strategy", ["anonymous", "token", "header", "openshift"])
def test_every_strategy_that_a_program_can_use_reads_the_graph(httpserver: HTTPServer, strategy: str) -> None:
    kiali = FakeKiali(httpserver, strategy=strategy)
    with client_of(kiali, token=TOKEN) as client:
        for _ in range(2):
            assert client.fetch_service_graph("shop") == parse_graph(GRAPH)
        assert client.auth_strategy() == strategy
    # Strategy, login and version are learnt once.
    login = ["/authenticate"] if strategy == "token" else []
    assert kiali.paths() == ["/auth/info", *login, "/status", "/namespaces/graph", "/namespaces/graph"]
    bearers = [request.headers.get("Authorization") for request in kiali.asked[1:]]
    expected = f"Bearer {TOKEN}" if strategy in ("header", "openshift") else None
    assert bearers == [expected] * len(bearers)
    assert "Authorization" not in kiali.asked[0].headers


@pytest.mark.parametrize("strategy", ["openid", "login", "ldap", "saml", None])
def test_a_strategy_that_needs_more_than_a_token_says_what_to_set(httpserver: HTTPServer, strategy: str) -> None:
    kiali = FakeKiali(httpserver, strategy=strategy)
    with pytest.raises(KialiAuthenticationError, match=r"set auth\.strategy to") as caught:
        client_of(kiali, token=TOKEN).version()
    assert "/kiali/api/auth/info" in str(caught.value)
    assert kiali.paths() == ["/auth/info"]


@pytest.mark.parametrize("strategy", ["token", "header"])
def test_without_a_token_it_asks_for_one(httpserver: HTTPServer, strategy: str) -> None:
    with pytest.raises(KialiAuthenticationError, match=r"strategy .*: no token is given; give token or token_file"):
        client_of(FakeKiali(httpserver, strategy=strategy)).version()


@pytest.mark.parametrize("strategy", ["token", "header"])
def test_a_refused_token_is_tried_again_once(httpserver: HTTPServer, strategy: str) -> None:
    kiali = FakeKiali(httpserver, strategy=strategy)
    with pytest.raises(KialiAuthenticationError, match="refuses the token given: it has expired"):
        client_of(kiali, token=RENEWED).fetch_service_graph("shop")
    # A login that is refused is not repeated; a bearer token is, since another strategy may be in force now.
    assert len(kiali.paths("/authenticate" if strategy == "token" else "/status")) == (1 if strategy == "token" else 2)


def test_a_session_that_expires_is_renewed_once(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver, strategy="token")
    client = client_of(kiali, token=TOKEN)
    client.fetch_service_graph("shop")
    kiali.cookies = {"another"}
    assert client.fetch_service_graph("shop") == parse_graph(GRAPH)
    assert len(kiali.paths("/authenticate")) == 2
    assert kiali.graph_request.cookies["kiali-token-east"] == "session-1"
    kiali.cookies, kiali.tokens = set(), set()
    with pytest.raises(KialiAuthenticationError):
        client.fetch_service_graph("shop")
    assert len(kiali.paths("/authenticate")) == 3


@pytest.mark.parametrize("strategy", ["token", "header"])
def test_a_rotated_token_file_is_read_again_at_a_401(httpserver: HTTPServer, tmp_path: Path, strategy: str) -> None:
    kiali = FakeKiali(httpserver, strategy=strategy)
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    client = client_of(kiali, token_file=path)
    client.fetch_service_graph("shop")
    path.write_text(RENEWED)
    client.fetch_service_graph("shop")
    kiali.tokens, kiali.cookies = {RENEWED}, set()
    client.fetch_service_graph("shop")
    if strategy == "header":
        assert [r.headers["Authorization"] for r in kiali.asked if r.path.endswith("graph")] == [
            f"Bearer {token}" for token in (TOKEN, TOKEN, TOKEN, RENEWED)
        ]
    else:
        assert [r.form["token"] for r in kiali.asked if r.path.endswith("authenticate")] == [TOKEN, RENEWED]


def test_a_login_refused_with_an_old_token_works_once_the_file_is_rotated(
    httpserver: HTTPServer, tmp_path: Path
) -> None:
    kiali = FakeKiali(httpserver, strategy="token")
    path = tmp_path / "token"
    path.write_text(RENEWED)
    client = client_of(kiali, token_file=path)
    with pytest.raises(KialiAuthenticationError, match=rf"refuses the token in {path}"):
        client.fetch_service_graph("shop")
    path.write_text(TOKEN)
    client.fetch_service_graph("shop")


def test_a_strategy_that_changes_is_learnt_again(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    client = client_of(kiali, token=TOKEN)
    client.fetch_service_graph("shop")
    kiali.strategy = "token"
    client.fetch_service_graph("shop")
    assert client.auth_strategy() == "token"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"apiVersion: v1\nclusters: []\n", "one word of ASCII"),
        ("schlüssel".encode(), "one word of ASCII"),
        (b"x" * 70_000, "one word of ASCII"),
    ],
)
def test_a_file_that_holds_no_token_is_not_sent(
    httpserver: HTTPServer, tmp_path: Path, content: bytes | None, part: str
) -> None:
    kiali = FakeKiali(httpserver, strategy="header")
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KialiAuthenticationError, match=part) as caught:
        client_of(kiali, token_file=path).version()
    assert str(path) in str(caught.value) and kiali.url in str(caught.value)
    assert kiali.paths() == ["/auth/info"]


def test_a_secure_cookie_over_plain_http_is_said_to_be_lost(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver, strategy="token")
    kiali.secure_cookie = True
    with pytest.raises(KialiAuthenticationError, match="is Secure, so it is not sent over plain http; write https://"):
        client_of(kiali, token=TOKEN).version()
    assert kiali.paths() == ["/auth/info", "/authenticate"]


def test_a_login_without_a_cookie_is_no_login(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver, strategy="token")
    kiali.answers["/authenticate"] = [as_json({"username": "somebody"})]
    with pytest.raises(KialiAuthenticationError, match="set no cookie"):
        client_of(kiali, token=TOKEN).version()


OLD = {"namespaces", "graphType", "duration", "queryTime", "injectServiceNodes", "appenders"}


@pytest.mark.parametrize(
    ("version", "further", "idle", "ambient"),
    [
        ("1.20.0", {"responseTimeQuantile"}, "unusedNode", False),
        ("v1.28.1", {"responseTimeQuantile"}, "unusedNode", False),
        ("v1.29.0", {"responseTimeQuantile", "includeIdleEdges"}, "idleNode", False),
        ("v1.35.0", {"responseTimeQuantile", "includeIdleEdges"}, "idleNode", False),
        ("v1.36.0", {"responseTime", "includeIdleEdges"}, "idleNode", False),
        ("v1.38.0", {"responseTime", "includeIdleEdges", "rateGrpc", "rateHttp", "rateTcp"}, "idleNode", False),
        ("v1.82.0", {"responseTime", "includeIdleEdges", "rateGrpc", "rateHttp", "rateTcp"}, "idleNode", False),
        ("v2.21.0", {"responseTime", "includeIdleEdges", "rateGrpc", "rateHttp", "rateTcp"}, "idleNode", True),
        ("v2.31.0-SNAPSHOT", {"responseTime", "includeIdleEdges", "rateGrpc", "rateHttp", "rateTcp"}, "idleNode", True),
    ],
)
def test_each_version_gets_the_parameters_that_it_knows(
    httpserver: HTTPServer, version: str, further: set[str], idle: str, ambient: bool
) -> None:
    kiali = FakeKiali(httpserver, version=version)
    with client_of(kiali) as client:
        client.fetch_service_graph(["shop", "istio-system", "shop"], duration_seconds=90)
    sent = kiali.graph_request.args
    assert set(sent) == OLD | further
    assert sent["namespaces"] == "shop,istio-system"
    assert sent["duration"] == "90s"
    assert sent["queryTime"] == "1700000042"
    assert sent["injectServiceNodes"] == "false"
    appenders = sent["appenders"].split(",")
    assert idle in appenders and len({"idleNode", "unusedNode"} & set(appenders)) == 1
    assert ("ambient" in appenders) is ambient
    assert {"deadNode", "responseTime"} < set(appenders) and "health" not in appenders and "" not in appenders
    assert sent.get("responseTime", "95") == "95" and sent.get("responseTimeQuantile", "0.95") == "0.95"


def test_versions_have_two_spellings_and_compare(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    kiali.answers["/status"] = [
        as_json(
            {"status": {"Kiali core version": "1.20.0", "Kiali state": "running"}, "warningMessages": ["old Istio"]}
        )
    ]
    client = client_of(kiali)
    assert client.version() == Version(1, 20, 0)
    assert client.version() < (1, 29)
    assert kiali.paths("/status") == ["/status"]
    kiali.version = "v1.9"
    assert client.status().version == Version(1, 9, 0)
    assert str(Version(1, 9)) == "1.9.0"


@pytest.mark.parametrize("version", ["unknown", "", None, "99999999999.1.1", {"major": 2}])
def test_a_server_without_a_version_is_refused(httpserver: HTTPServer, version: object) -> None:
    kiali = FakeKiali(httpserver)
    kiali.version = version  # type: ignore[assignment]
    with pytest.raises(KialiSchemaError, match="/kiali/api/status: /api/status names no version"):
        client_of(kiali).version()


def test_the_version_is_learnt_again_after_an_outage(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver, version="v1.35.0")
    client = client_of(kiali)
    client.fetch_service_graph("shop")
    kiali.answers["/namespaces/graph"] = [Response("upgrading", status=503)]
    kiali.version = "v2.31.0"
    with pytest.raises(KialiUnavailableError):
        client.fetch_service_graph("shop")
    client.fetch_service_graph("shop")
    assert "responseTime" in kiali.graph_request.args


def test_a_past_period_is_asked_for_by_its_end(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    client_of(kiali).fetch_service_graph("shop", at_seconds=1600000000.7, graph_type="versionedApp")
    assert kiali.graph_request.args["queryTime"] == "1600000000"
    assert kiali.graph_request.args["graphType"] == "versionedApp"


@pytest.mark.parametrize(
    "arguments",
    [
        {"namespace": "shop,"},
        {"namespace": ""},
        {"namespace": []},
        {"namespace": ["shop", "Shop"]},
        {"namespace": 'a"} or up{x="'},
        {"namespace": "shop", "duration_seconds": 0},
        {"namespace": "shop", "duration_seconds": 1.5},
        {"namespace": "shop", "duration_seconds": True},
        {"namespace": "shop", "graph_type": "mesh"},
    ],
)
def test_what_cannot_be_asked_for_is_not_asked(httpserver: HTTPServer, arguments: dict[str, object]) -> None:
    kiali = FakeKiali(httpserver)
    with pytest.raises(ValueError):
        client_of(kiali).fetch_service_graph(**arguments)  # type: ignore[arg-type]
    assert kiali.asked == []


REFUSALS = [
    (
        as_json({"error": "Requested namespace [shop] is not accessible."}, 403),
        KialiAuthorizationError,
        "not accessible",
    ),
    (Response("RBAC: access denied", status=403), KialiAuthorizationError, "AuthorizationPolicy"),
    (Response("404 page not found\n", status=404), KialiNotFoundError, "web root"),
    (
        Response(status=302, headers={"Location": "https://sso/login?code=topsecret"}),
        KialiNotFoundError,
        "https://sso/login ",
    ),
    (as_json({"error": "Invalid duration [1.5m]"}, 400), KialiPayloadError, r"Invalid duration \[1.5m\]"),
    (
        Response("Client sent an HTTP request to an HTTPS server.\n", status=400),
        KialiUnavailableError,
        "write https://",
    ),
    (as_json({"error": "Post http://prometheus:9090: refused"}, 500), KialiUnavailableError, "Prometheus behind it"),
    (as_json({"error": "no Prometheus", "detail": "timeout"}, 503), KialiUnavailableError, "no Prometheus - timeout"),
    (Response("<html>bad gateway</html>", status=502), KialiUnavailableError, "says: a web page"),
    (Response("slow down", status=429), KialiUnavailableError, "slow down"),
    (Response("I am a teapot", status=418), KialiPayloadError, "HTTP 418"),
    (Response(b"", status=204), KialiPayloadError, "HTTP 204"),
    (Response("<html><title>Kiali</title>"), KialiPayloadError, "a web page"),
    (as_json({"error": "panic"}), KialiPayloadError, "answered with an error: panic"),
    (as_json({"pods": []}), KialiSchemaError, "no 'elements'"),
]


@pytest.mark.parametrize(("answer", "kind", "part"), REFUSALS, ids=lambda value: getattr(value, "status", None))
def test_each_refusal_has_its_class_the_path_and_a_remedy(
    httpserver: HTTPServer, answer: Response, kind: type[KialiError], part: str
) -> None:
    kiali = FakeKiali(httpserver)
    kiali.answers["/namespaces/graph"] = [answer]
    with pytest.raises(KialiError, match=part) as caught:
        client_of(kiali).fetch_service_graph("shop")
    assert type(caught.value) is kind
    message = str(caught.value)
    assert f"Kiali GET {kiali.url}/api/namespaces/graph" in message
    assert "queryTime" not in message and "topsecret" not in message
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_the_url_is_that_of_a_kiali_and_holds_no_password() -> None:
    for url, part in [
        ("kiali:20001", "no http://"),
        ("ftp://kiali/", "no http://"),
        ("http://", "no http://"),
        ("http://host:99999/kiali", "is no URL"),
        ("http://[::1/kiali", "is no URL"),
        ("http://admin:hunter2@kiali/kiali", "has a user or password"),
        ("http://kiali/kiali?token=hunter2", "has a query"),
    ]:
        with pytest.raises(KialiNotFoundError, match=part) as caught:
            KialiClient(url)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_web_root_is_part_of_the_url(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    assert KialiClient(kiali.url + "/").auth_strategy() == "anonymous"
    with pytest.raises(KialiNotFoundError, match="ends with Kiali's web root, which is /kiali unless"):
        KialiClient(httpserver.url_for("/")).auth_strategy()


def test_workloads_of_other_clusters_are_outside(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    kiali.graph = copy.deepcopy(GRAPH)
    kiali.graph["elements"]["nodes"][1]["data"]["cluster"] = "west"
    graph = client_of(kiali, cluster="east").fetch_service_graph("shop")
    assert [node.scalable for node in graph.nodes] == [True, False]
    kiali.graph["elements"]["nodes"][1]["data"]["cluster"] = "unknown"
    assert all(node.scalable for node in client_of(kiali, cluster="east").fetch_service_graph("shop").nodes)
    assert all(node.scalable for node in client_of(kiali).fetch_service_graph("shop").nodes)


def test_the_graph_is_a_graph_of_networkx() -> None:
    graph = parse_graph(GRAPH).to_networkx()
    assert isinstance(graph, nx.DiGraph)
    assert list(graph.successors(WEB)) == [CART]
    assert graph.nodes[CART]["version"] == "v1" and graph.nodes[WEB]["is_root"] and graph.nodes[WEB]["scalable"]
    edge = graph.edges[WEB, CART]
    assert (edge["rps"], edge["error_share"], edge["response_time_ms"], edge["mtls_share"]) == (
        20.5,
        pytest.approx(0.1),
        35.0,
        1.0,
    )
    assert graph.graph == {"timestamp": 1700000000, "duration_seconds": 60, "graph_type": "workload"}
    assert nx.is_directed_acyclic_graph(graph)


def test_two_threads_take_turns_and_one_gives_up_at_its_deadline(httpserver: HTTPServer) -> None:
    kiali = FakeKiali(httpserver)
    client = client_of(kiali)
    client.version()
    entered, leave = threading.Event(), threading.Event()

    def slow() -> Response:
        entered.set()
        leave.wait(60.0)
        return as_json(GRAPH)

    kiali.answers["/namespaces/graph"] = [slow]
    thread = threading.Thread(target=client.fetch_service_graph, args=("shop",))
    thread.start()
    assert entered.wait(60.0)
    with pytest.raises(KialiUnavailableError, match="another thread"):
        client.fetch_service_graph("shop", deadline_seconds=0.05)
    assert thread.is_alive()
    leave.set()
    thread.join(60.0)
    assert client.fetch_service_graph("shop", deadline_seconds=60.0) == parse_graph(GRAPH)


def library_locals(error: BaseException) -> str:
    """The exception with its chain and the variables of the library's frames, as a crash reporter would show them."""
    shown = [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown += [
        repr(frame.locals)
        for frame in told.stack
        if "kiali_client/" in frame.filename and "tests" not in frame.filename
    ]
    return "\n".join(shown)


def test_no_token_is_in_any_exception_repr_or_log(
    httpserver: HTTPServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    # A part of it would be too much already.
    forms = {TOKEN, TOKEN[:12], RENEWED, base64.b64encode(TOKEN.encode()).decode(), TOKEN.split(".")[1]}
    told: list[str] = []
    echo = [Response(f"invalid bearer token {TOKEN}", status=status) for status in (400, 403, 404, 429, 500, 503)]
    echo += [
        Response(f"<title>{TOKEN}</title>"),
        Response(f"oops {TOKEN}"),
        as_json({TOKEN: 1}),
        as_json({"error": TOKEN}),
    ]
    echo.append(as_json(GRAPH | {"graphType": TOKEN}))
    for strategy in ("token", "header", "openid"):
        for path in ("/auth/info", "/authenticate", "/status", "/namespaces/graph"):
            for answer in [
                *echo,
                Response("Unauthorized", status=401),
                Response(status=302, headers={"Location": f"/?t={TOKEN}"}),
            ]:
                kiali = FakeKiali(httpserver, strategy=strategy)
                kiali.answers[path] = [answer, answer]
                client = client_of(kiali, token=TOKEN)
                try:
                    client.fetch_service_graph("shop")
                except KialiError as error:
                    # Before the token was read there is nothing to hide: the server cannot know it.
                    if path != "/auth/info":
                        told.append(library_locals(error))
                told += [repr(client), repr(vars(client)["_tokens"]), repr(vars(client)["_secret"])]
                httpserver.clear()
    for url in (
        "http://127.0.0.1:9/kiali",
        "https://127.0.0.1:9/kiali",
        httpserver.url_for("/kiali").replace("http", "https"),
    ):
        client = KialiClient(url, token=TOKEN, retries=1, timeout_seconds=0.5)
        vars(client)["_strategy"] = "header"
        with pytest.raises(KialiUnavailableError) as caught:
            client.fetch_service_graph("shop")
        told.append(library_locals(caught.value))
    two_lines = client_of(FakeKiali(httpserver, strategy="header"), token=f"{TOKEN}\nX-Evil: 1")
    with pytest.raises(KialiAuthenticationError, match="one word") as caught:
        two_lines.version()
    told.append(library_locals(caught.value))
    assert len(told) > 300
    everything = "\n".join([*told, caplog.text, *capfd.readouterr()])
    assert [line for line in everything.splitlines() if any(form in line for form in forms)] == []
    assert "***" in everything, "the control: servers did repeat the token"
    assert "kiali_client" in caplog.text or "urllib3" in caplog.text


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(TOKEN)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        str([secret]),
        repr([secret]),
        repr({"t": secret}),
    ]
    assert not any(TOKEN in text or TOKEN[:8] in text for text in shown)
    assert secret.reveal() == TOKEN and secret == Secret(TOKEN) and secret != Secret(RENEWED)
    assert not hasattr(secret, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)
