"""Calls to an API server over a real socket: what is sent, every way of failing, and that no secret gets out."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kubernetes.config import incluster_config
from urllib3.exceptions import InsecureRequestWarning

from gnnrl.cluster import paths
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.errors import (
    ClusterAnswerError,
    ClusterAuthError,
    ClusterConfigError,
    ClusterConflictError,
    ClusterError,
    ClusterForbiddenError,
    ClusterInvalidError,
    ClusterNotFoundError,
    ClusterUnavailableError,
)

from .fake_api import TOKEN, FakeApi, Reply, Seen, kubeconfig, rbac, serving, status

PODS = paths.pods_path("shop")
DEPLOYMENTS = paths.deployments_path("shop")


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with serving() as fake:
        yield fake


@pytest.fixture
def api(server: FakeApi, tmp_path: Path) -> Iterator[ClusterApi]:
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url), timeout_seconds=5.0)
    yield api
    api.close()


def everything_said(error: BaseException) -> str:
    """The error, its attributes and all that it is chained to, as text."""
    texts, links = [], [error]
    while links:
        link = links.pop()
        texts += [str(link), repr(link), repr(link.args), repr(vars(link))]
        links += [each for each in (link.__cause__, link.__context__) if each is not None]
    return "\n".join(texts)


def test_a_list_is_read_in_pages_in_order(server: FakeApi, api: ClusterApi) -> None:
    server.lists[PODS] = [{"metadata": {"name": f"pod-{i}"}} for i in range(1201)]
    assert [item["metadata"]["name"] for item in api.list(PODS)] == [f"pod-{i}" for i in range(1201)]
    assert [seen.query for seen in server.seen] == [
        {"limit": "500"},
        {"limit": "500", "continue": "500"},
        {"limit": "500", "continue": "1000"},
    ]
    assert [len(page) for page in api.pages(PODS)] == [500, 500, 201]


def test_null_items_are_an_empty_list(server: FakeApi, api: ClusterApi) -> None:
    server.objects[PODS] = {"kind": "PodList", "metadata": {}, "items": None}
    assert api.list(PODS) == []


@pytest.mark.parametrize("answer", [{"items": {}}, {"items": ["a"]}, {"items": [1]}])
def test_a_list_that_is_none_is_no_answer(server: FakeApi, api: ClusterApi, answer: dict[str, object]) -> None:
    server.objects[PODS] = answer
    with pytest.raises(ClusterAnswerError, match="not a list of objects"):
        api.list(PODS)


def test_a_list_that_never_goes_on_is_left(server: FakeApi, api: ClusterApi) -> None:
    server.objects[PODS] = {"items": [{}], "metadata": {"continue": "same"}}
    with pytest.raises(ClusterAnswerError, match="does not go on"):
        api.list(PODS)
    assert len(server.seen) == 2


def test_the_time_of_a_list_is_that_of_all_its_pages(server: FakeApi, api: ClusterApi) -> None:
    def endless(seen: Seen) -> Reply:
        more = str(int(seen.query.get("continue", "0")) + 1)
        return Reply(body={"items": [], "metadata": {"continue": more}}, delay_seconds=0.05)

    server.rules.append(endless)
    with pytest.raises(ClusterUnavailableError):
        api.list(PODS, timeout_seconds=0.3)
    assert len(server.seen) <= 7


def test_what_is_written_is_sent_as_it_should_be(server: FakeApi, api: ClusterApi) -> None:
    path = paths.scale_path("shop", "web")
    server.objects[path] = {"spec": {"replicas": 3}}
    assert api.patch(path, {"spec": {"replicas": 3}}, query={"dryRun": "All"}) == {"spec": {"replicas": 3}}
    api.put(path, {"a": "ä"})
    api.post(path, {})
    patch, put, post = server.seen
    assert (patch.method, put.method, post.method) == ("PATCH", "PUT", "POST")
    assert patch.query == {"dryRun": "All"}
    assert patch.headers["Content-Type"] == "application/merge-patch+json"
    assert put.headers["Content-Type"] == "application/json"
    assert patch.headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(patch.body) == {"spec": {"replicas": 3}}
    assert json.loads(put.body) == {"a": "ä"}
    assert post.body == b"{}"


def test_not_a_number_never_leaves_the_process(server: FakeApi, api: ClusterApi) -> None:
    with pytest.raises(ValueError, match="JSON"):
        api.patch(PODS, {"spec": {"replicas": float("nan")}})
    assert server.seen == []


def test_connections_are_kept_and_shared_by_threads(server: FakeApi, api: ClusterApi) -> None:
    server.objects["/version"] = {"gitVersion": "v1.36.0"}
    for _ in range(10):
        api.get("/version")
    assert server.connections == 1
    barrier = threading.Barrier(8)

    def many(_: int) -> int:
        barrier.wait()
        return sum(api.get("/version") == {"gitVersion": "v1.36.0"} for _ in range(25))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(many, range(8))) == 200
    assert server.connections <= 16


def test_a_compressed_answer_is_read_and_bounded_unpacked(server: FakeApi, api: ClusterApi) -> None:
    def packed(size: int) -> Reply:
        body = gzip.compress(json.dumps({"a": "x" * size}).encode())
        return Reply(body=body, headers={"Content-Encoding": "gzip"})

    server.fail("/small", packed(1000))
    server.fail("/bomb", packed(50_000_000))
    api.max_answer_bytes = 1_000_000
    assert api.get("/small") == {"a": "x" * 1000}
    with pytest.raises(ClusterAnswerError, match="larger than 1000000 bytes"):
        api.get("/bomb")


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (status(400, "bad patch"), ClusterInvalidError, "bad patch"),
        (status(401, "Unauthorized"), ClusterAuthError, "log in again"),
        (status(403, 'User "system:anonymous" cannot list resource "pods"'), ClusterAuthError, "no credentials"),
        (status(403, 'admission webhook "kyverno" denied the request: no'), ClusterInvalidError, "kyverno"),
        (status(404, 'deployments.apps "web" not found'), ClusterNotFoundError, "web"),
        (Reply(404, b"404 page not found\n", "text/plain"), ClusterNotFoundError, "404 page not found"),
        (status(409, "the object has been modified"), ClusterConflictError, "has been modified"),
        (status(410, "continue token expired"), ClusterUnavailableError, "read it again"),
        (status(422, "must be greater than or equal to 0"), ClusterInvalidError, "greater than"),
        (status(429, "too many"), ClusterUnavailableError, "too many requests"),
        (status(500, "etcd"), ClusterUnavailableError, "etcd"),
        (Reply(503, b"service unavailable", "text/plain"), ClusterUnavailableError, "service unavailable"),
        (Reply(502, b"<html>nginx</html>", "text/html"), ClusterUnavailableError, "a web page"),
        (Reply(503, b"{", "application/json"), ClusterUnavailableError, "no message"),
        (Reply(302, b"", headers={"Location": "http://127.0.0.1:1/"}), ClusterAnswerError, "redirect"),
        (Reply(200, b"<!doctype html>", "text/html"), ClusterAnswerError, "a web page"),
        (Reply(200, b""), ClusterAnswerError, "empty"),
        (Reply(200, b'{"a": 1'), ClusterAnswerError, "not JSON"),
        (Reply(200, b'{"a": NaN}'), ClusterAnswerError, "not JSON"),
        (Reply(200, b"[" * 100_000), ClusterAnswerError, "not JSON"),
        (Reply(200, b"\xff\xfe\xfa"), ClusterAnswerError, "not JSON"),
        (Reply(200, b"[]"), ClusterAnswerError, "a JSON list"),
        (Reply(200, b'{"a": 1}', cut_after=4), ClusterUnavailableError, "cut"),
        (Reply(200, b"plain", headers={"Content-Encoding": "gzip"}), ClusterUnavailableError, "cut"),
        (Reply(418, b"short and stout", "text/plain"), ClusterAnswerError, "short and stout"),
    ],
)
def test_every_failure_is_one_of_ours(
    server: FakeApi, api: ClusterApi, reply: Reply, kind: type[ClusterError], said: str
) -> None:
    server.fail("/web", reply)
    with pytest.raises(ClusterError, match=said) as caught:
        api.get(paths.deployment_path("shop", "web"))
    assert type(caught.value) is kind
    assert caught.value.__context__ is None
    assert "\n" not in str(caught.value)
    assert TOKEN not in everything_said(caught.value)


def test_what_is_not_allowed_is_named(server: FakeApi, api: ClusterApi) -> None:
    server.fail("/", status(403, rbac("patch", "deployments/scale", "apps", name="web")))
    with pytest.raises(ClusterForbiddenError) as caught:
        api.patch(paths.scale_path("shop", "web"), {})
    assert (caught.value.verb, caught.value.resource, caught.value.namespace) == ("patch", "deployments/scale", "shop")
    assert "not allowed to patch deployments/scale in namespace 'shop'" in str(caught.value)
    assert "kubectl auth can-i patch deployments/web --subresource=scale -n shop" in str(caught.value)
    with pytest.raises(ClusterForbiddenError) as caught:
        api.list(paths.pod_metrics_path("shop"))
    assert (caught.value.verb, caught.value.resource) == ("list", "pods.metrics.k8s.io")


@pytest.mark.parametrize(
    "said",
    [
        rbac("list", "pods", ""),
        rbac("list", "pods", "", where="at the cluster scope"),
        rbac("list", "pods", "") + ': requires one of ["container.pods.list"] permission(s).',
        rbac("list", "pods", "") + ': RBAC: role.rbac.authorization.k8s.io "gnnrl" not found',
        rbac("list", "pods", "").replace("system:serviceaccount:shop:gnnrl", r"a \"quoted\" name"),
        'forbidden: User "x" cannot get path "/version"',
        rbac("list", "pods", "").replace(":gnnrl", ":" + "g" * 400),
    ],
)
def test_a_missing_right_is_known_by_rbacs_own_words(server: FakeApi, api: ClusterApi, said: str) -> None:
    server.fail("/", status(403, said))
    with pytest.raises(ClusterForbiddenError):
        api.list(PODS)


@pytest.mark.parametrize(
    ("said", "who", "remedy"),
    [
        (
            "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'all' denied request: "
            "no change on Friday",
            "an admission policy of the cluster", "kubectl get validatingadmissionpolicies",
        ),
        (
            'admission webhook "limits.example" denied the request: ' + rbac("patch", "deployments/scale", "apps", name="web"),
            "an admission webhook of the cluster", "kubectl get validatingwebhookconfigurations",
        ),
        (
            'pods "web-1" is forbidden: exceeded quota: small, requested: cpu=2, used: cpu=9, limited: cpu=10',
            "a quota of the namespace", "kubectl describe resourcequota -n shop",
        ),
        (
            'pods "web-1" is forbidden: failed quota: small: must specify limits.cpu for: server',
            "a quota of the namespace", "kubectl describe resourcequota -n shop",
        ),
        (
            'pods "web-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "the Pod Security level of the namespace", "pod-security.kubernetes.io of namespace shop",
        ),
        (
            'pods "web-1" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
            "a LimitRange of the namespace", "kubectl describe limitrange -n shop",
        ),
        (
            'events "a" is forbidden: unable to create new content in namespace shop because it is being terminated',
            "the namespace's end", "shop is being deleted",
        ),
        ("policy engine denied request: frozen", "an admission control of the cluster", "ask who set it up"),
    ],
)  # fmt: skip
def test_a_denial_is_told_by_who_denies_with_a_remedy_of_its_own(
    server: FakeApi, api: ClusterApi, said: str, who: str, remedy: str
) -> None:
    server.fail("/", status(403, said))
    with pytest.raises(ClusterInvalidError) as caught:
        api.patch(paths.scale_path("shop", "web"), {})
    assert f"patch deployments/scale in namespace 'shop' was refused by {who} (403): {said[:60]}" in str(caught.value)
    assert remedy in str(caught.value) and "grant it" not in str(caught.value)


def test_a_403_of_somebody_else_is_no_missing_right(server: FakeApi, api: ClusterApi) -> None:
    server.fail("/", Reply(403, b"<html>Forbidden</html>", "text/html"))
    with pytest.raises(
        ClusterInvalidError, match=r"refused \(403\): a web page; .* is a proxy or a gateway in between"
    ):
        api.list(PODS)


def test_a_server_that_echoes_the_token_does_not_make_us_tell_it(server: FakeApi, api: ClusterApi) -> None:
    server.rules.append(lambda seen: status(500, f"bad header {seen.headers['Authorization']}\x1b[2J and {TOKEN}"))
    with pytest.raises(ClusterUnavailableError) as caught:
        api.get("/version")
    assert TOKEN not in everything_said(caught.value)
    assert "bad header *** [2J and ***" in str(caught.value)


def test_a_long_message_is_cut(server: FakeApi, api: ClusterApi) -> None:
    server.fail("/", status(500, "x" * 100_000))
    with pytest.raises(ClusterUnavailableError) as caught:
        api.get("/version")
    assert len(str(caught.value)) < 500


def test_an_answer_that_is_late_or_drips_ends_at_its_time(server: FakeApi, api: ClusterApi) -> None:
    server.fail("/late", Reply(body=b"{}", delay_seconds=60.0))
    server.fail("/drip", Reply(body=b'{"a": "' + b"x" * 1000 + b'"}', drip_seconds=0.05))
    # The head comes late and the body later: the two waits are one.
    server.fail("/stall", Reply(body=b"{}", delay_seconds=0.2, stall_seconds=60.0))
    for path in ("/late", "/drip", "/stall"):
        started = time.monotonic()
        with pytest.raises(ClusterUnavailableError, match=r"within 0\.3 s"):
            api.get(path, timeout_seconds=0.3)
        assert time.monotonic() - started > 0.25
    assert server.written == [], "it had to be left before the whole answer was there"
    with pytest.raises(ClusterUnavailableError, match="no time left"):
        api.get("/version", timeout_seconds=0.0)


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterUnavailableError, match="connection refused") as caught:
        ClusterApi.connect(kubeconfig(tmp_path, f"https://127.0.0.1:{port}")).get("/version")
    assert f"https://127.0.0.1:{port}/version" in str(caught.value)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ClusterUnavailableError, match="name of the server is not known"):
        ClusterApi.connect(kubeconfig(tmp_path, "https://nowhere.invalid")).get("/version")


def test_a_server_that_cuts_the_connection(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def cut() -> None:
            listening.accept()[0].close()

        thread = threading.Thread(target=cut)
        thread.start()
        api = ClusterApi.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{listening.getsockname()[1]}"))
        with pytest.raises(ClusterUnavailableError):
            api.get("/version")
        thread.join()


def test_a_user_in_the_servers_url_is_not_told(server: FakeApi, tmp_path: Path) -> None:
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url.replace("//", "//me:hunter2@")))
    assert "hunter2" not in repr(api) + api.host
    server.fail("/", status(500, "no"))
    with pytest.raises(ClusterError) as caught:
        api.get("/version")
    assert "hunter2" not in everything_said(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, one PEM file."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl, which is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 "
            "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out ca.pem"
        ),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "both.pem").write_bytes((folder / "ca.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return folder / "both.pem"


def test_a_certificate_is_checked_against_the_kubeconfig(certificate: Path, tmp_path: Path) -> None:
    with serving(certificate) as server:
        server.objects["/version"] = {"major": "1"}
        authority = base64.b64encode((certificate.parent / "ca.pem").read_bytes()).decode()
        trusted = kubeconfig(tmp_path, server.url, **{"certificate-authority-data": authority})
        assert ClusterApi.connect(trusted).get("/version") == {"major": "1"}
        with pytest.raises(
            ClusterUnavailableError, match=r"not trusted: self.signed certificate.*certificate-authority"
        ):
            ClusterApi.connect(kubeconfig(tmp_path, server.url)).get("/version")
        skipped = kubeconfig(tmp_path, server.url, **{"insecure-skip-tls-verify": True})
        with pytest.warns(InsecureRequestWarning):
            assert ClusterApi.connect(skipped).get("/version") == {"major": "1"}


def test_https_to_a_port_that_speaks_http(server: FakeApi, tmp_path: Path) -> None:
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url.replace("http:", "https:")))
    with pytest.raises(ClusterUnavailableError, match="does the port speak https"):
        api.get("/version")


def test_certificates_that_cannot_be_loaded_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    garbage = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nc2VrcmV0\n-----END CERTIFICATE-----\n").decode()
    with pytest.raises(ClusterConfigError, match="certificate authority cannot be loaded"):
        ClusterApi.connect(kubeconfig(tmp_path, "https://127.0.0.1:1", **{"certificate-authority-data": garbage}))
    user = {"client-certificate-data": garbage, "client-key-data": garbage}
    with pytest.raises(ClusterConfigError, match="client certificate and its key cannot be loaded"):
        ClusterApi.connect(kubeconfig(tmp_path, "https://127.0.0.1:1", user=user))
    with pytest.raises(ClusterConfigError, match=r"File does not exist: .*/absent\.pem"):
        ClusterApi.connect(kubeconfig(tmp_path, "https://127.0.0.1:1", **{"certificate-authority": "absent.pem"}))


SECRET = "hunter2hunter2"
GOOD = {
    "current-context": "a",
    "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": SECRET}}],
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "is not a mapping"),
        (f"users: [{{token: {SECRET}\nfoo: [", "is not YAML, line"),
        (f"token: {SECRET}\n\tb: c\n", "is not YAML, line 2"),
        ("a: 2001-99-99\n", "is not a YAML text"),
        ("a: &a [*a\x00", "is not a YAML text"),
        ("[" * 5000, "YAML"),
        (GOOD | {"current-context": None}, "no current-context; choose one with --context, there are: a"),
        (GOOD | {"current-context": "b"}, "no context 'b'; there are: a"),
        (GOOD | {"contexts": []}, "there are: none"),
        (GOOD | {"contexts": "a"}, "there are: none"),
        (GOOD | {"clusters": []}, "has no server"),
        (GOOD | {"clusters": [{"name": "c", "cluster": {}}]}, "has no server"),
        (GOOD | {"clusters": [{"name": "c", "cluster": {"server": "127.0.0.1:6443"}}]}, "has no server"),
        (GOOD | {"clusters": [{"name": "c", "cluster": {"server": "https://[::1"}}]}, "has no server"),
        (GOOD | {"users": [{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]}, "auth-provider"),
        (GOOD | {"users": [{"name": "u", "user": {"auth-provider": {"name": "oidc", "config": {}}}}]}, "Invalid"),
        (GOOD | {"users": [{"name": "u", "user": {"tokenFile": "/nowhere/token"}}]}, "cannot be used"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, content: object, said: str, caplog) -> None:
    path = tmp_path / "config"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ClusterConfigError) as caught:
        ClusterApi.connect(path).get("/version")
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in everything_said(caught.value) + caplog.text


def test_a_kubeconfig_that_is_not_there_or_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterConfigError, match=r"absent: no such file; name one with --kubeconfig"):
        ClusterApi.connect(tmp_path / "absent")
    with pytest.raises(ClusterConfigError, match="cannot be read: Is a directory"):
        ClusterApi.connect(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(ClusterConfigError, match="is not a YAML text"):
        ClusterApi.connect(tmp_path / "binary")
    (tmp_path / "powershell").write_bytes("apiVersion: v1\nkind: Config\n".encode("utf-16"))
    with pytest.raises(ClusterConfigError, match=r"powershell: is UTF-16 text .*; save it as UTF-8"):
        ClusterApi.connect(tmp_path / "powershell")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "neither"))
    with pytest.raises(ClusterConfigError, match="neither: no such file"):
        ClusterApi.connect()


def test_the_context_and_the_file_are_chosen_as_kubectl_does(
    server: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.objects["/version"] = {}
    first = kubeconfig(tmp_path, server.url)
    (tmp_path / "second").write_text(json.dumps(GOOD))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'second'}")
    assert ClusterApi.connect().host == server.url
    assert ClusterApi.connect(context="other").host == server.url
    assert ClusterApi.connect(context="a").host == "https://127.0.0.1:1"
    with pytest.raises(ClusterConfigError, match="no context 'b'; there are: test, other, a"):
        ClusterApi.connect(context="b")


def plugin(folder: Path, script: str) -> dict[str, object]:
    """A user whose credentials come from an exec plugin."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "interactiveMode": "Never"}}


def credential(token: str, expires: str = "") -> str:
    status = {"token": token} | ({"expirationTimestamp": expires} if expires else {})
    document = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"echo '{json.dumps(document)}'"


def test_an_exec_plugin_gives_the_token(server: FakeApi, tmp_path: Path) -> None:
    server.objects["/version"] = {"major": "1"}
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url, user=plugin(tmp_path, credential(TOKEN))))
    assert api.get("/version") == {"major": "1"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo {SECRET} >&2; exit 3", "process returned 3"),
        (f"echo {SECRET}", "no usable credentials"),
        ("echo '{}'", "no usable credentials"),
        (None, "not installed"),
    ],
)
def test_an_exec_plugin_that_fails_is_told_without_its_words(
    tmp_path: Path, script: str | None, said: str, caplog, capfd
) -> None:
    user = plugin(tmp_path, script or "")
    if script is None:
        (tmp_path / "plugin").unlink()
    before = list(logging.getLogger().handlers), list(logging.getLogger().filters)
    with pytest.raises(ClusterConfigError, match=said) as caught:
        ClusterApi.connect(kubeconfig(tmp_path, "https://127.0.0.1:1", user=user))
    out = capfd.readouterr()
    assert SECRET not in everything_said(caught.value) + caplog.text + out.out + out.err
    assert (list(logging.getLogger().handlers), list(logging.getLogger().filters)) == before


def test_a_plugin_that_fails_when_its_token_runs_out(server: FakeApi, tmp_path: Path, caplog) -> None:
    server.objects["/version"] = {}
    user = plugin(tmp_path, credential(TOKEN, "2020-01-01T00:00:00Z"))
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url, user=user))
    (tmp_path / "plugin").write_text(f"#!/bin/sh\necho {SECRET} >&2\nexit 1\n")
    with pytest.raises(ClusterAuthError, match=r"was not replaced.*process returned 1.*log in again") as caught:
        api.get("/version")
    assert SECRET not in everything_said(caught.value) + caplog.text


def test_a_plugin_that_hangs_does_not_take_the_others_time(server: FakeApi, tmp_path: Path) -> None:
    server.objects["/version"] = {}
    user = plugin(tmp_path, credential(TOKEN, "2020-01-01T00:00:00Z"))
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url, user=user))
    begun, enough = tmp_path / "begun", tmp_path / "enough"
    waiting = f"touch {begun}\nwhile [ ! -e {enough} ]; do sleep 0.02; done"
    (tmp_path / "plugin").write_text(f"#!/bin/sh\n{waiting}\n{credential(TOKEN, '2020-01-01T00:00:00Z')}\n")
    first = threading.Thread(target=api.get, args=("/version",), daemon=True)
    first.start()
    deadline = time.monotonic() + 60.0
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ClusterUnavailableError, match="provider of tokens did not answer"):
        api.get("/version", timeout_seconds=0.1)
    assert first.is_alive()
    enough.touch()
    first.join()


def test_a_token_that_was_replaced_on_disk_is_followed_on_401(
    server: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.objects["/version"] = {"major": "1"}
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url, user={"tokenFile": str(token)}))
    assert api.get("/version") == {"major": "1"}
    for name in ("fresh", "fresher"):
        server.tokens = {name}
        token.write_text(f"{name}\n")
        assert api.get("/version") == {"major": "1"}
    assert len(server.seen) == 5
    server.tokens = {"other"}
    with pytest.raises(ClusterAuthError):
        api.get("/version")
    assert len(server.seen) == 6, "the same token is not tried twice"
    token.write_text("other\n")
    with pytest.raises(ClusterAuthError):
        api.get("/version")
    assert len(server.seen) == 7, "read again too soon after it was the same"
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 11.0)
    assert api.get("/version") == {"major": "1"}


def test_all_calls_under_way_follow_a_token_that_was_replaced(
    server: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have sent the old one by the time that the first of them is refused."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url, user={"tokenFile": str(token)}), timeout_seconds=30.0)
    together = threading.Barrier(6)

    def refuse_the_old(seen: Seen) -> Reply | None:
        if seen.headers["Authorization"] != f"Bearer {TOKEN}":
            return Reply(200, {"major": "1"})
        together.wait(20.0)
        return status(401, "Unauthorized")

    server.tokens = {TOKEN, "fresh"}
    server.rules.append(refuse_the_old)
    loads, load = [], api._credentials._load
    monkeypatch.setattr(api._credentials, "_load", lambda: loads.append(1) or load())
    token.write_text("fresh\n")
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: api.get("/version"), range(6))) == [{"major": "1"}] * 6
    assert len(server.seen) == 12 and len(loads) == 1, "read again once, for all of them"


def test_a_pods_service_account_and_its_rotation(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate.parent / "ca.pem"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterConfigError, match="works in a pod"):
        ClusterApi.connect(in_cluster=True)
    with serving(certificate) as server:
        server.objects["/version"] = {"major": "1"}
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
        api = ClusterApi.connect()
        assert api.get("/version") == {"major": "1"}
        token.write_text("rotated")
        api.get("/version")
        clock = incluster_config.datetime.datetime

        class Later(clock):  # type: ignore[misc, valid-type]
            @classmethod
            def now(cls, tz=None):
                return clock.now(tz) + incluster_config.datetime.timedelta(minutes=2)

        monkeypatch.setattr(incluster_config.datetime, "datetime", Later)
        server.tokens = {"rotated"}
        assert api.get("/version") == {"major": "1"}
        assert server.seen[-1].headers["Authorization"].split()[1] == "rotated"
        assert len(server.seen) == 3


@pytest.mark.parametrize("token", ["a\nb", "täken", "\x7f", " "])
def test_a_token_that_no_header_can_hold_is_not_repeated(server: FakeApi, tmp_path: Path, token: str) -> None:
    api = ClusterApi.connect(
        kubeconfig(tmp_path, server.url, token=f"{SECRET}{token}{SECRET}" if token.strip() else token)
    )
    with pytest.raises(ClusterError) as caught:
        api.get("/version")
    assert SECRET not in everything_said(caught.value)


def test_who_may_what(server: FakeApi, api: ClusterApi) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answers = [{"allowed": True}, {"allowed": False}, {}, {}]
    server.rules.append(
        lambda seen: Reply(201, {"status": answers[len(server.seen) - 1]}) if seen.path == path else None
    )
    assert api.can_i("patch", "apps", "deployments", "scale", "shop") is True
    assert api.can_i("patch", "apps", "deployments", "scale", "shop") is False
    assert api.can_i("patch", "apps", "deployments", "scale", "shop") is None
    assert json.loads(server.seen[0].body)["spec"]["resourceAttributes"] == {
        "verb": "patch",
        "group": "apps",
        "resource": "deployments",
        "subresource": "scale",
        "namespace": "shop",
    }
    api.can_i("get", "coordination.k8s.io", "leases", "", "shop", "gnnrl")
    assert json.loads(server.seen[-1].body)["spec"]["resourceAttributes"]["name"] == "gnnrl"
    unasked = rbac("create", "selfsubjectaccessreviews", "authorization.k8s.io", where="at the cluster scope")
    server.rules[:] = [lambda _: status(403, unasked)]
    assert api.can_i("get", "", "pods", "", "shop") is None
    server.rules[:] = [lambda _: status(500, "no")]
    with pytest.raises(ClusterUnavailableError):
        api.can_i("get", "", "pods", "", "shop")


def test_the_servers_clock_is_compared(server: FakeApi, api: ClusterApi) -> None:
    assert abs(api.clock_skew_seconds(time.time())) < 2.0
    assert api.clock_skew_seconds(time.time() - 100.0) == pytest.approx(100.0, abs=2.0)
    assert len(server.seen) == 1, "the Date of a recent answer is used again"


def test_no_secret_in_a_representation_or_in_the_logs(server: FakeApi, api: ClusterApi, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    server.objects["/version"] = {}
    api.get("/version")
    server.fail("/fails", Reply(body=b"{}", cut_after=0, delay_seconds=0.0))
    with pytest.raises(ClusterError):
        api.get("/fails")
    assert TOKEN not in caplog.text + repr(api) + str(api) + repr(api._credentials)


def test_a_provider_of_tokens_that_hangs_holds_nobody_and_no_exit(server: FakeApi, tmp_path: Path) -> None:
    server.objects["/version"] = {"major": "1"}
    command = tmp_path / "plugin"
    expired = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s", "expirationTimestamp": "2020-01-01T00:00:00Z"}}'  # noqa: E501
    command.write_text(f"#!/bin/sh\n[ -e {tmp_path}/hang ] && exec sleep 8\necho '{expired % TOKEN}'\n")
    command.chmod(0o755)
    user = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(command), "interactiveMode": "Never"}
    }
    api = ClusterApi.connect(kubeconfig(tmp_path, server.url, user=user), timeout_seconds=0.5)
    (tmp_path / "hang").touch()
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(ClusterUnavailableError, match="the provider of tokens did not answer within"):
            api.get("/version")
        assert time.monotonic() - started < 15.0
    waiting = [thread for thread in threading.enumerate() if thread.name == "credentials"]
    assert len(waiting) == 1 and waiting[0].daemon
