"""Tokens and what else stands in a kubeconfig come out nowhere: not on the screen, in logs, records, metrics, Events, errors or reports."""

from __future__ import annotations

import base64
import io
import json
import logging
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from rich.console import Console

from gnnrl.cli.main import main
from gnnrl.cluster.clock import SystemClock
from gnnrl.cluster.paths import deployments_path, events_path, scale_path
from gnnrl.config.live import LiveConfig
from gnnrl.live.journal import Journal
from gnnrl.live.metrics_server import LiveMetrics, MetricsServer
from gnnrl.live.sandbox import server as sandbox_server
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.http_server import Fault
from gnnrl.live.sandbox.kiali_api import KialiApi
from gnnrl.live.sandbox.kubernetes_api import KubernetesApi
from gnnrl.live.screen import StatusScreen, render_svg
from gnnrl.live.session import LiveOptions, LiveSession
from tests.live.live_stage import KUBE_TOKEN, NS, Stage
from tests.live.test_sandbox_http_server import self_signed

KIALI_TOKEN = "kiali0tokenB4vT8yH1sRc6Jd3e"
PASSWORD, USER, COMMENT = "kubeconfig0passwordW8nE2", "kubeconfig0userU5rT1", "kubeconfig0commentC7mK4"
SECRETS = (KUBE_TOKEN, KIALI_TOKEN, PASSWORD, USER, COMMENT)
SHORTEST = 12
"""So many characters of one are one: what is cut short is looked for too."""
MARK = "as-the-server-said"
ECHOES = {
    name: f"{MARK}: Authorization: Bearer {token}, token={token}; kiali-token:{token} and {token}."
    for name, token in (("kubernetes", KUBE_TOKEN), ("kiali", KIALI_TOKEN))
}
"""What a server may repeat: it was sent its own token, not the other's."""


Answer = Callable[[str, str, str], Fault | None]
"""By server, method and path."""


class Haystack:
    """Everything that was told anywhere."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}
        self._checked: dict[str, int] = {}

    def add(self, where: str, text: str) -> None:
        """Told there."""
        self.told.setdefault(where, []).append(text)

    def check(self, secrets: tuple[str, ...] = SECRETS) -> None:
        """None of the secrets, and no beginning or encoding of one, is in what was told since the last look."""
        for where, told in self.told.items():
            texts = told[self._checked.get(where, 0) :]
            self._checked[where] = len(told)
            for secret in secrets:
                for form in (
                    secret[:SHORTEST],
                    secret[-SHORTEST:],
                    base64.b64encode(secret.encode()).decode()[:SHORTEST],
                ):
                    found = next((text for text in texts if form in text), None)
                    assert found is None, f"{where} tells {form}: {found[:2000]}"

    def add_error(self, where: str, error: BaseException) -> None:
        """An exception, all that it is chained to, and what they carry."""
        chain, waiting = [], [error]
        while waiting:
            one = waiting.pop()
            if one not in chain:
                chain.append(one)
                waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        self.add(where, "".join(traceback.format_exception(error)))
        for one in chain:
            self.add(where, f"{one} {one!r} {one.args!r} {vars(one)!r}")
            assert not hasattr(one, "request") and not hasattr(one, "response"), f"{where}: {one!r} carries its request"


@pytest.fixture
def haystack() -> Iterator[Haystack]:
    """With everything that is logged, by whomever, at whatever level."""
    found = Haystack()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.add(f"log {record.name}", f"{self.format(record)} {record.args!r}")

    names = (
        *logging.root.manager.loggerDict,
        "urllib3",
        "urllib3.connectionpool",
        "requests",
        "kubernetes",
        "kiali_client",
    )
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    before = [(one, one.level, one.disabled) for one in loggers]
    handler = Listening(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    for one in loggers:
        one.setLevel(logging.DEBUG)
        one.disabled = False
    yield found
    logging.getLogger().removeHandler(handler)
    for one, level, disabled in before:
        one.setLevel(level)
        one.disabled = disabled


@pytest.fixture(params=["header", "token"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path, kiali_auth=request.param)
    found.sandbox.kiali.revoke(KIALI_TOKEN)
    (tmp_path / "token").write_text(KIALI_TOKEN)
    enrich(found.kubeconfig)
    yield found
    found.close()


def enrich(path: Path) -> None:
    """More in the kubeconfig that is nobody's business."""
    content = yaml.safe_load(path.read_text())
    content["users"][0]["name"] = content["contexts"][0]["context"]["user"] = USER
    content["users"].append({"name": "other", "user": {"username": "me", "password": PASSWORD}})
    path.write_text(yaml.safe_dump(content) + f"# {COMMENT}\n")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Something that goes wrong, with servers that repeat what they were sent."""

    kubernetes: Answer | None = None
    kiali: Answer | None = None
    faults: tuple[str, ...] = ()
    said: bool = True
    """Whether what the server says is told (without the tokens in it)."""


def echo(status: int, part: str = "", *, kind: str = "application/json", method: str = "", said: str = MARK) -> Answer:
    """Answers with the token that it was sent."""

    def answer(server: str, asked: str, path: str) -> Fault | None:
        if part not in path or method not in ("", asked):
            return None
        text = ECHOES[server].replace(MARK, said)
        bodies = {
            "application/json": json.dumps(dict.fromkeys(("message", "error", "detail", "status", "strategy"), text)),
            "text/html": f"<html><title>{text}</title><body>{text}</body></html>",
            "text/plain": text,
        }
        return Fault(status=status, body=bodies[kind].encode(), content_type=kind)

    return answer


SCENES = {
    "nothing": Scene(said=False),
    "Kubernetes: 401": Scene(kubernetes=echo(401), said=False),
    "Kubernetes: 403": Scene(kubernetes=echo(403, "/apis/"), said=False),
    "Kubernetes: 403 of a webhook": Scene(
        kubernetes=echo(403, "/scale", method="PATCH", said=f"admission webhook denied the request {MARK}")
    ),
    "Kubernetes: 409": Scene(kubernetes=echo(409, "/scale", method="PATCH")),
    "Kubernetes: 422": Scene(kubernetes=echo(422, "/scale", method="PATCH")),
    "Kubernetes: 500": Scene(kubernetes=echo(500)),
    "Kubernetes: 500 in plain text": Scene(kubernetes=echo(500, kind="text/plain")),
    "Kubernetes: 503 of the metrics API": Scene(kubernetes=echo(503, "/metrics.k8s.io")),
    "Kubernetes: 500 for Events and Leases": Scene(kubernetes=echo(500, "/e", method="POST"), said=False),
    "Kubernetes: a web page": Scene(kubernetes=echo(200, kind="text/html"), said=False),
    "Kubernetes: something else": Scene(kubernetes=echo(200, "/deployments"), said=False),
    "Kubernetes: cut": Scene(faults=("kubernetes:cut:0:inf",), said=False),
    "Kubernetes: refused": Scene(faults=("kubernetes:refuse:0:inf",), said=False),
    "Kiali: 401": Scene(kiali=echo(401), said=False),
    "Kiali: 401 after a while": Scene(kiali=echo(401, "/graph"), said=False),
    "Kiali: 403": Scene(kiali=echo(403, "/graph")),
    "Kiali: 500": Scene(kiali=echo(500, "/graph")),
    "Kiali: 503 in plain text": Scene(kiali=echo(503, "/graph", kind="text/plain")),
    "Kiali: a web page": Scene(kiali=echo(200, "/graph", kind="text/html"), said=False),
    "Kiali: something else": Scene(kiali=echo(200, "/graph"), said=False),
    "Kiali: another status": Scene(kiali=echo(200, "/status"), said=False),
    "Kiali: a login that fails": Scene(kiali=echo(500, "/authenticate"), said=False),
    "Kiali: another strategy": Scene(kiali=echo(200, "/auth/info"), said=False),
    "Kiali: cut": Scene(faults=("kiali:cut:0:inf",), said=False),
}


def options_of(stage: Stage, **changed: Any) -> LiveOptions:
    options = LiveOptions(
        config=LiveConfig(),
        namespace=NS,
        policy="hpa_80",
        kiali_url=stage.sandbox.urls["kiali"],
        token_file=stage.folder / "token",
        kubeconfig=stage.kubeconfig,
        leader_elect=True,
    )
    return replace(options, **changed)


@contextmanager
def watched(stage: Stage, haystack: Haystack) -> Iterator[LiveSession]:
    """A session that leads, whose every word goes to the haystack."""
    console = Console(record=True, width=200, height=60, file=io.StringIO(), force_terminal=True)
    metrics, journal = LiveMetrics(NS), Journal(stage.folder / "journal.jsonl")
    screen = StatusScreen(console, namespace=NS, mode="live", policy="hpa_80")
    with LiveSession(options_of(stage), stage.clock) as session:
        session.events.on_error = lambda: metrics.api_error("events")
        sinks = (metrics.record, lambda record: haystack.add("journal errors", str(journal.write(record))), screen.show)
        loop = session.build(session.snapshot(), sinks)
        server = MetricsServer(metrics, 0, lambda: (False, "; ".join(loop.latest.problems) if loop.latest else ""))
        server.start()
        assert session.elector is not None
        session.elector.tick()
        loop.interval()
        yield session
        for path in ("metrics", "readyz", "healthz"):
            haystack.add(path, requests.get(f"http://127.0.0.1:{server.port}/{path}", timeout=5).text)
        server.stop()
        session.elector.stop()
        haystack.add("lease", f"{session.elector.last_error} {session.elector.lost_reason} {session.elector.holder}")
        for thing in (
            session, session.options, session.parts, session.api, session.parts.graph, session.reader, session.actuator,
            session.elector, session.events, loop, vars(session), vars(session.api), vars(session.parts.graph),
        ):  # fmt: skip
            haystack.add("repr", f"{thing!r} {thing}")
        assert loop.latest is not None
        render_svg([loop.latest], stage.folder / "screen.svg", namespace=NS)
    journal.close()
    haystack.add("journal", (stage.folder / "journal.jsonl").read_text())
    haystack.add("screen", console.export_text(clear=False) + console.export_html())
    haystack.add("picture", (stage.folder / "screen.svg").read_text())


def calls_of(session: LiveSession) -> tuple[Callable[[], object], ...]:
    graph = session.parts.graph
    assert graph is not None
    return (
        lambda: session.api.get(deployments_path(NS)),
        lambda: session.api.patch(scale_path(NS, "frontend"), {"spec": {"replicas": 2}}),
        lambda: graph.fetch_service_graph(NS),
    )


def test_whatever_goes_wrong(stage: Stage, haystack: Haystack, capsys: pytest.CaptureFixture[str]) -> None:
    for name, scene in SCENES.items():
        if stage.sandbox.kiali.strategy != "header" and not name.startswith("Kiali"):
            continue
        before = {where: len(texts) for where, texts in haystack.told.items()}
        stage.reset()
        with watched(stage, haystack) as session:
            stage.sandbox.plan.add(*map(FaultSpec.parse, scene.faults))
            stage.sandbox.beat()
            stage.answers |= {
                server: partial(answer, server)
                for server, answer in (("kubernetes", scene.kubernetes), ("kiali", scene.kiali))
                if answer is not None
            }
            # Something to write, so that writes are refused as well.
            stage.sandbox.world.set_replicas("frontend", 2)
            assert session.loop is not None and session.elector is not None
            for _ in range(2):
                for _ in range(3):
                    stage.pass_seconds(5.0)
                    session.elector.tick()
                session.loop.interval()
            session.events.flush(5.0)
            for call in calls_of(session):
                try:
                    call()
                except Exception as error:
                    haystack.add_error("exceptions", error)
            stage.live("--once", "--dry-run", kiali_token_file=str(stage.folder / "token"))
            captured = capsys.readouterr()
            haystack.add("command line", captured.out + captured.err)
            stage.reset()
            stage.sandbox.beat()
            haystack.add("Events", json.dumps(stage.call("GET", events_path(NS))))
        haystack.check()
        told = "\n".join(text for where, texts in haystack.told.items() for text in texts[before.get(where, 0) :])
        assert scene.said <= (MARK in told), name
    assert {
        "journal",
        "screen",
        "metrics",
        "readyz",
        "Events",
        "exceptions",
        "command line",
        "repr",
    } <= haystack.told.keys()
    assert any(where.startswith("log urllib3") for where in haystack.told), "debug logs were listened to"
    assert any(MARK in text for text in haystack.told["journal"]), "what servers say is told"
    if stage.sandbox.kiali.strategy == "header":
        assert any("ScalingFailed" in text and MARK in text for text in haystack.told["Events"])


def test_the_search_would_find_one(haystack: Haystack) -> None:
    haystack.add("somewhere", f"Bearer {KUBE_TOKEN[:SHORTEST]}...")
    with pytest.raises(AssertionError, match="somewhere tells"):
        haystack.check()
    other = Haystack()
    try:
        try:
            raise ValueError(KIALI_TOKEN)
        except ValueError:
            raise RuntimeError("nothing to see") from None
    except RuntimeError as error:
        other.add_error("chained", error)
    with pytest.raises(AssertionError, match="chained tells"):
        other.check()


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="makes its certificate with openssl, which is not installed"
)
def test_certificates_that_are_not_trusted(
    stage: Stage, haystack: Haystack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, _ = self_signed(tmp_path)
    (tmp_path / "other").mkdir()
    _, unrelated = self_signed(tmp_path / "other")
    kubernetes = KubernetesApi(stage.sandbox.world, stage.clock, KUBE_TOKEN, tls=context)
    kiali = KialiApi(stage.sandbox.world, stage.clock, strategy="header", token=KIALI_TOKEN)
    kiali.tls = context
    authority = base64.b64encode(unrelated.read_bytes()).decode()
    with kubernetes, kiali:
        content = yaml.safe_load(stage.kubeconfig.read_text())
        content["clusters"][0]["cluster"] = {"server": kubernetes.url, "certificate-authority-data": authority}
        stage.kubeconfig.write_text(yaml.safe_dump(content))
        changed = {"kiali_url": kiali.url, "kiali_token_file": str(stage.folder / "token")}
        assert stage.live("--once", "--dry-run", **changed) == 2
        captured = capsys.readouterr()
        haystack.add("command line", captured.out + captured.err)
        with LiveSession(options_of(stage, kiali_url=kiali.url), stage.clock) as session:
            snapshot = session.snapshot()
            haystack.add("snapshot", repr(snapshot))
            assert snapshot.failed("deployments") and snapshot.failed("graph")
            for call in (lambda: session.api.get("/version"), lambda: session.parts.graph.fetch_service_graph(NS)):  # type: ignore[union-attr]
                with pytest.raises(Exception, match="certificate") as error:
                    call()
                haystack.add_error("exceptions", error.value)
    assert "certificate" in captured.out
    haystack.check((*SECRETS, authority[200:260]))


BROKEN = {
    "half a line": f"users: [{{name: {USER}, user: {{token: {KUBE_TOKEN}\n",
    "a tab": f"users:\n\t- name: {USER}\n\t  user: {{token: {KUBE_TOKEN}}}\n",
    "a text": f"{KUBE_TOKEN}\n",
    "a list": f"[{KUBE_TOKEN}, {PASSWORD}]\n",
    "an anchor": f"users: *{KUBE_TOKEN}\n",
    "a tag": f"users: !!python/object:{KUBE_TOKEN} {{}}\n",
    "a token that is a list": "current-context: a\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:9'}}]\n"
    f"contexts: [{{name: a, context: {{cluster: b, user: {USER}}}}}]\n"
    f"users: [{{name: {USER}, user: {{token: [{KUBE_TOKEN}]}}}}]\n",
    "a token of two lines": "current-context: a\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:9'}}]\n"
    f"contexts: [{{name: a, context: {{cluster: b, user: {USER}}}}}]\n"
    f'users: [{{name: {USER}, user: {{token: "{KUBE_TOKEN}\\n{PASSWORD}"}}}}]\n',
    "an exec plugin that talks": "current-context: a\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:9'}}]\n"
    f"contexts: [{{name: a, context: {{cluster: b, user: {USER}}}}}]\n"
    f"users: [{{name: {USER}, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, "
    f"interactiveMode: Never, args: ['-c', 'echo {KUBE_TOKEN}; echo {PASSWORD} >&2; exit 3']}}}}}}]\n",
    "key data that is none": "current-context: a\nclusters: [{name: b, cluster: {server: 'https://127.0.0.1:9'}}]\n"
    f"contexts: [{{name: a, context: {{cluster: b, user: {USER}}}}}]\n"
    f"users: [{{name: {USER}, user: {{client-certificate-data: {KUBE_TOKEN}, client-key-data: {PASSWORD}}}}}]\n",
    "a server with a password": f"current-context: a\nclusters: [{{name: b, cluster: {{server: 'http://me:{PASSWORD}@127.0.0.1:9'}}}}]\n"
    f"contexts: [{{name: a, context: {{cluster: b, user: {USER}}}}}]\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_kubeconfig_that_cannot_be_used(
    name: str, haystack: Haystack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config"
    path.write_text(BROKEN[name])
    command = [
        "--policy",
        "hpa_80",
        "--namespace",
        NS,
        "--kiali-url",
        f"http://me:{KIALI_TOKEN}@x",
        "--kubeconfig",
        str(path),
    ]
    assert main(["live", "--once", "--dry-run", *command]) == 2
    captured = capsys.readouterr()
    haystack.add("command line", captured.out + captured.err)
    assert len([line for line in captured.out.splitlines() if line.startswith("error")]) == 2
    options = LiveOptions(
        config=LiveConfig(), namespace=NS, policy="hpa_80", kubeconfig=path, kiali_url=f"http://{KIALI_TOKEN}:20001:/x"
    )
    with pytest.raises(Exception, match="Kiali") as error:
        LiveSession(options, SystemClock())
    haystack.add_error("exceptions", error.value)
    haystack.check()


def test_the_report_of_a_rehearsal(
    run: Path, haystack: Haystack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox's token is a random one; here it is known."""
    monkeypatch.setattr(sandbox_server.secrets, "token_urlsafe", lambda *_: KUBE_TOKEN)
    report, document, picture = tmp_path / "report.html", tmp_path / "report.json", tmp_path / "screen.svg"
    flags = f"--run {run} --against hpa_80 --hours 0.05 --json {document} --report {report} --screen {picture}"
    assert main(["rehearse", *flags.split(), "--fault", "kubernetes:http_500:150:200"]) == 0
    captured = capsys.readouterr()
    for where, text in (
        ("output", captured.out + captured.err),
        ("report", report.read_text()),
        ("document", document.read_text()),
        ("picture", picture.read_text()),
    ):
        assert len(text) > 200
        haystack.add(where, text)
    haystack.check()
