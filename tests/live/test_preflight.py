"""What stands in the way of a live loop is told before anything is changed: each in one line, all of them at once, exit code 2."""

from __future__ import annotations

import json
import re
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gnnrl.agents import PPO_GNN
from gnnrl.cluster.clock import SteppedClock
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.live import session as session_module
from gnnrl.live.parts import LiveParts
from gnnrl.live.policies import load_run
from gnnrl.live.preflight import examine
from gnnrl.live.sandbox.faults import FaultSpec
from gnnrl.live.sandbox.http_server import Fault
from gnnrl.live.sandbox.kiali_api import KialiApi
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from gnnrl.live.sandbox.kubernetes_api import KubernetesApi
from gnnrl.live.session import LiveOptions
from tests.live.live_stage import KUBE_TOKEN, NS, Stage
from tests.live.test_sandbox_http_server import self_signed

KIALI_TOKEN = "kiali0tokenB4vT8yH1sRc6Jd3e"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NS}/deployments"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    for name, text in BROKEN_KUBECONFIGS.items():
        (stage.folder / name).write_text(text)
    (stage.folder / "token").write_text(KIALI_TOKEN)
    (stage.folder / "no.pem").write_text("nothing of the sort")
    yield stage
    stage.close()


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.reset()
    return shared


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Stage]:
    """One that a test may change."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `gnnrl live --once` printed."""

    code: int
    lines: dict[str, list[str]]
    """By level."""
    rest: str

    @property
    def errors(self) -> list[str]:
        """Without their level."""
        return self.lines["error"]


def looked_at(stage: Stage, capsys: pytest.CaptureFixture[str], *flags: str, **changed: str | None) -> Report:
    """`gnnrl live --once --dry-run`, which must change nothing whatever it finds."""
    before = stage.replicas()
    code = stage.live("--once", "--dry-run", *flags, **changed)
    out, err = capsys.readouterr()
    assert err == "" and stage.replicas() == before and "Traceback" not in out
    assert KUBE_TOKEN not in out and KIALI_TOKEN not in out
    lines: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    rest = []
    for line in out.splitlines():
        found = re.fullmatch(r"(ok|warning|error) +(\S.*)", line)
        if found is None:
            rest.append(line)
        else:
            lines[found[1]].append(found[2])
    if lines["error"]:
        assert code == 2 and stage.writes == [] and rest == []
    return Report(code=code, lines=lines, rest="\n".join(rest))


def assert_told(told: list[str], wanted: tuple[str, ...]) -> None:
    """Each of them in one line, in any order, and nothing else."""
    left = list(told)
    for pattern in wanted:
        found = next((line for line in left if re.search(pattern, line)), None)
        assert found is not None, f"{pattern!r} is told by none of:\n" + "\n".join(left)
        left.remove(found)
    assert left == [], "told besides:\n" + "\n".join(left)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Something that is wrong, and what is to be told of it."""

    errors: tuple[str, ...]
    faults: tuple[str, ...] = ()
    deny: frozenset[tuple[str, str]] = frozenset()
    absent: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    changed: dict[str, str | None] = field(default_factory=dict)
    """Options; {folder}, {kiali} and {prometheus} are filled in."""
    kiali: Callable[[str, str], Fault | None] | None = None


BROKEN_KUBECONFIGS = {
    "scalar": "just a text\n",
    "broken": f"users:\n- name: a\n  user: {{token: {KUBE_TOKEN}\n",
    "empty": "",
    "no_clusters": "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\n",
    "no_context": "clusters: []\ncontexts: [{name: one, context: {}}, {name: two, context: {}}]\n",
    "port_9": "current-context: a\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:9'}}]\n"
    "contexts: [{name: a, context: {cluster: b, user: c}}]\n",
    "wrong_token": "",
}


NEEDED = (
    "list deployments",
    "list pods",
    "list pods.metrics.k8s.io",
    "list horizontalpodautoscalers",
    "list scaledobjects.keda.sh",
    "list poddisruptionbudgets",
    "list resourcequotas",
    "get namespaces",
    "get deployments/scale",
    "patch deployments/scale",
)
PERMITTED = {one.split()[1] for one in NEEDED} | {"leases", "events"}
"""The last two are not asked for in a dry run, which holds no Lease and posts nothing."""


def openid(_method: str, path: str) -> Fault | None:
    if not path.endswith("/api/auth/info"):
        return None
    return Fault(status=200, body=json.dumps({"strategy": "openid"}).encode(), content_type="application/json")


SITUATIONS = {
    "no such kubeconfig": Situation(
        changed={"kubeconfig": "{folder}/nosuch"},
        errors=(r"^cluster: kubeconfig \S+/nosuch: no such file; name one with --kubeconfig or KUBECONFIG",),
    ),
    "kubeconfig is a text": Situation(
        changed={"kubeconfig": "{folder}/scalar"},
        errors=(
            r"^cluster: kubeconfig \S+/scalar: is not a mapping with clusters, contexts and users; `kubectl config",
        ),
    ),
    "kubeconfig is not YAML": Situation(
        changed={"kubeconfig": "{folder}/broken"},
        errors=(r"^cluster: kubeconfig \S+/broken: is not YAML, line 4; `kubectl config view` shows how one looks$",),
    ),
    "kubeconfig is empty": Situation(
        changed={"kubeconfig": "{folder}/empty"}, errors=(r"^cluster: kubeconfig \S+/empty: is empty; `kubectl config",)
    ),
    "kubeconfig without clusters": Situation(
        changed={"kubeconfig": "{folder}/no_clusters"},
        errors=(r"^cluster: kubeconfig \S+: the cluster of context 'a' has no server, like https://10.0.0.1:6443$",),
    ),
    "no current context": Situation(
        changed={"kubeconfig": "{folder}/no_context"},
        errors=(r"^cluster: kubeconfig \S+: no current-context; choose one with --context, there are: one, two$",),
    ),
    "wrong context": Situation(
        changed={"context": "prod"}, errors=(r"^cluster: kubeconfig \S+: no context 'prod'; there are: gnnrl-sandbox$",)
    ),
    "API server on another port": Situation(
        changed={"kubeconfig": "{folder}/port_9"},
        errors=(r"^cluster: http://127.0.0.1:9/version: connection refused; is the API server up at this address\?$",),
    ),
    "API server is a web page": Situation(
        faults=("kubernetes:html:0:inf",),
        errors=(
            r"^cluster: http://\S+/version: the answer is a web page .*; is this the URL of a Kubernetes API server",
        ),
    ),
    "API server is something else": Situation(
        faults=("kubernetes:schema:0:inf@/version",),
        errors=(r"^cluster: \S+/version: names no version; is this the URL of a Kubernetes API server\?$",),
    ),
    "API server fails": Situation(
        faults=("kubernetes:http_503:0:inf",),
        errors=(r"^cluster: \S+/version: the API server fails \(503\): .*; `kubectl get --raw /readyz\?verbose`",),
    ),
    "token of Kubernetes expired": Situation(
        faults=("kubernetes:expired_token:0:inf@/api",),
        errors=(
            r"^cluster: \S+ the API server does not accept the credentials of kubeconfig \S+ \(401\); .*log in again$",
        ),
    ),
    "some permissions are missing": Situation(
        deny=frozenset({("list", "pods"), ("patch", "deployments/scale"), ("list", "horizontalpodautoscalers")}),
        errors=(
            r"^permissions: not allowed to list pods in namespace 'onlineboutique'; grant it .*can-i list pods -n",
            r"not allowed to patch deployments/scale in .*can-i patch deployments --subresource=scale -n onlineboutique",
            r"not allowed to list horizontalpodautoscalers in namespace",
        ),
    ),
    "the metrics' permission is missing": Situation(
        deny=frozenset({("list", "pods.metrics.k8s.io")}),
        errors=(r"^permissions: not allowed to list pods.metrics.k8s.io in .*can-i list pods.metrics.k8s.io -n",),
    ),
    "every permission is missing": Situation(
        deny=frozenset(("*", resource) for resource in PERMITTED),
        flags=("--leader-elect",),
        errors=tuple(rf"^permissions: not allowed to {one} in namespace 'onlineboutique'; grant it" for one in NEEDED),
    ),
    "no permission but to be refused": Situation(
        deny=frozenset({("*", "*")}),
        errors=(
            r"^namespace: not allowed to get namespaces in",
            r"^deployments: not allowed to list deployments in",
            r"^pods: not allowed to list pods in",
            r"^metrics: not allowed to list pods.metrics.k8s.io in",
            r"^owners: not allowed to list horizontalpodautoscalers in .*; not allowed to list scaledobjects.keda.sh in",
        ),
    ),
    "no such namespace": Situation(
        changed={"namespace": "nosuch"},
        errors=(
            r"^namespace: namespace 'nosuch' does not exist; `kubectl get namespaces` lists those that do$",
            r"^graph: Kiali GET \S+ answers HTTP 403 and says: Requested namespace \[nosuch\] .* check the name of the",
        ),
    ),
    "a namespace that cannot be": Situation(
        changed={"namespace": "No_Such"},
        errors=(r"^namespace: 'No_Such' is no name of a namespace .*; correct --namespace$",),
    ),
    "a namespace without Deployments or objective": Situation(
        changed={"namespace": "kube-system"},
        errors=(
            r"^deployments: namespace 'kube-system' has none; is it the right --namespace\?$",
            r"^graph: Kiali .* HTTP 403",
            r"^objective: no objective for the 95th percentile.*annotate --overwrite namespace kube-system gnnrl.io/slo-ms=500",
        ),
    ),
    "no metrics API": Situation(
        absent=("metrics.k8s.io",),
        errors=(
            r"^metrics: the metrics API is not installed; install metrics-server, `kubectl top pods -n onlineboutique`",
        ),
    ),
    "metrics-server fails": Situation(
        faults=("kubernetes:http_503:0:inf@/apis/metrics.k8s.io",),
        errors=(
            r"^metrics: .*\(503\).*see `kubectl get apiservice v1beta1.metrics.k8s.io` and the pods of metrics-server$",
        ),
    ),
    "metrics-server knows nothing": Situation(
        faults=("kubernetes:empty:0:inf",), errors=(r"^metrics: none, though pods are ready; .*`kubectl top pods -n",)
    ),
    "metrics are NaN": Situation(
        faults=("kubernetes:nan:0:inf",),
        errors=(
            r"^metrics: none can be used: adservice: .*quantity 'NaN': is not a quantity.*; and 10 more services$",
        ),
    ),
    "metrics-server's clock is ahead": Situation(
        faults=("kubernetes:clock_skew:0:inf:240",),
        errors=(
            r"^metrics: none can be used: adservice: .*measured 224 s in the future; compare the clocks; and 10 more",
        ),
    ),
    "a list that is none": Situation(
        faults=("kubernetes:schema:0:inf@/deployments",),
        errors=(r"^deployments: \S+ the answer is not a list of objects",),
    ),
    "Kiali refuses": Situation(
        changed={"kiali_url": "http://127.0.0.1:9/kiali"},
        errors=(
            r"^graph: Kiali GET http://127.0.0.1:9/kiali/api/auth/info: connection refused; check the host and port",
        ),
    ),
    "Kiali answers HTML": Situation(
        faults=("kiali:html:0:inf",),
        errors=(r"^graph: .*is a web page \('Sign in'\), not JSON; check the web root in the URL",),
    ),
    "Kiali answers another schema": Situation(
        faults=("kiali:schema:0:inf@/graph",), errors=(r"^graph: Kiali GET \S+/api/namespaces/graph: \S.*",)
    ),
    "Kiali's status is something else": Situation(
        faults=("kiali:schema:0:inf@/status",),
        errors=(r"^graph: Kiali GET \S+ /api/status has no 'status'.*web root$",),
    ),
    "Kiali's graph is empty": Situation(
        faults=("kiali:empty:0:inf",),
        errors=(r"^graph: no calls: is there traffic, and are the pods in the mesh \(istio-proxy injected\)\?$",),
    ),
    "Kiali's rates are NaN": Situation(
        faults=("kiali:nan:0:inf",),
        errors=(
            r"^graph: Kiali GET \S+: elements.edges\[0\]\S+ 'NaN' is no finite number; .*; and 15 more of the kind$",
        ),
    ),
    "Kiali fails": Situation(
        faults=("kiali:http_503:0:inf@/graph",),
        errors=(r"^graph: .*HTTP 503 and says: .*; look at Kiali's log and at",),
    ),
    "Kiali is late": Situation(
        faults=("kiali:latency:0:inf:2@/graph",),
        flags=("--set", "read_deadline_seconds=0.4"),
        errors=(
            r"^graph: (Kiali GET .*no complete answer in time; .*|no answer within 0.4 s; .*)read_deadline_seconds",
        ),
    ),
    "lists are late": Situation(
        faults=("kubernetes:latency:0:inf:2@/deployments",),
        flags=("--set", "read_deadline_seconds=0.4"),
        errors=(r"^deployments: (\S+: )?no answer within 0.4 s; ",),
    ),
    "Kiali cuts its answers": Situation(
        faults=("kiali:cut:0:inf@/graph",),
        errors=(r"^graph: .*the connection was closed before the answer was complete",),
    ),
    "Kiali's clock is ahead": Situation(
        faults=("kiali:clock_skew:0:inf:300",),
        errors=(r"^graph: it is 300 s in the future; compare the clocks of this machine and of Kiali$",),
    ),
    "Kiali's clock is behind": Situation(
        faults=("kiali:clock_skew:0:inf:-300",),
        errors=(r"^graph: 12 nodes, 16 calls, 300 s old: stale, more than 75 s; is Prometheus scraping, and are the",),
    ),
    "Kiali at another web root": Situation(
        changed={"kiali_url": "{kiali_host}/other"},
        errors=(
            r"^graph: Kiali GET \S+/other/api/auth/info: answers HTTP 404 .*ends with Kiali's web root, which is /kiali",
        ),
    ),
    "Kiali with openid": Situation(
        kiali=openid, errors=(r"^graph: .*set to openid, which logs in with a browser; set auth.strategy to token",)
    ),
    "a URL without a scheme": Situation(
        changed={"kiali_url": "kiali.example:20001/kiali"},
        errors=(
            r"^graph: the URL of Kiali has no http:// or https:// with a host; give Kiali's URL as http\(s\)://host",
        ),
    ),
    "a URL with a password": Situation(
        changed={"kiali_url": f"http://me:{KIALI_TOKEN}@kiali/kiali"},
        errors=(
            r"^graph: the URL of Kiali has a user or password in it; take them out, and give a token; give Kiali's",
        ),
    ),
    "a file that is no certificate": Situation(
        flags=("--ca-file", "{folder}/no.pem"),
        errors=(r"^graph: --ca-file \S+/no.pem for Kiali has no certificate in it; give certificates in PEM$",),
    ),
    "neither Kiali nor Prometheus": Situation(
        changed={"kiali_url": None},
        errors=(r"^graph: give either --kiali-url URL, or, where there is no Kiali, --prometheus-url URL$",),
    ),
    "both Kiali and Prometheus": Situation(
        changed={"prometheus_url": "{prometheus}"},
        errors=(r"^graph: give either --kiali-url URL, or, where there is no",),
    ),
    "Prometheus fails": Situation(
        changed={"kiali_url": None, "prometheus_url": "{prometheus}"},
        faults=("prometheus:http_500:0:inf",),
        errors=(
            r"^graph: Prometheus GET \S+/api/v1/query: answers HTTP 500 and says: .*; look at the log of Prometheus$",
        ),
    ),
    "neither run nor policy": Situation(
        changed={"policy": None},
        errors=(
            r"^policy: give either --run RUN, or --policy NAME for a pretrained policy \(generalist\) or a baseline$",
        ),
    ),
    "both run and policy": Situation(
        changed={"run": "somewhere"}, errors=(r"^policy: give either --run RUN, or --policy NAME",)
    ),
    "an unknown baseline": Situation(
        changed={"policy": "hpa_eighty"},
        errors=(r"^policy: --policy hpa_eighty: on a live cluster there are hpa_<percent of the CPU request> and",),
    ),
    "a baseline that knows the future": Situation(
        changed={"policy": "oracle"}, errors=(r"^policy: --policy oracle: .*others need what only a simulation knows",)
    ),
    "a fallback that needs finer metrics": Situation(
        flags=("--set", "guardrails.fallback=kpa"),
        errors=(r"^fallback: guardrails.fallback: kpa: on a live cluster there",),
    ),
    "a baseline at another pace": Situation(
        flags=("--set", "interval_seconds=30"),
        errors=(
            r"^policy: --policy hpa_80: decides every 15 s, the loop every 30 s; set interval_seconds: 15$",
            r"^fallback: guardrails.fallback: hpa_80: decides every 15 s",
        ),
    ),
    "no such run": Situation(
        changed={"policy": None, "run": "{folder}/nosuch"}, errors=(r"^policy: \S+/nosuch: no such run or checkpoint$",)
    ),
    "a folder that is no run": Situation(
        changed={"policy": None, "run": "{folder}"},
        errors=(r"^policy: \S+: is not a run folder, it has no config.yaml; gnnrl train writes one$",),
    ),
    "no such live configuration": Situation(
        flags=("--config", "{folder}/nosuch.yaml"),
        errors=(r"^configuration: \S+/nosuch.yaml: cannot be read: No such file",),
    ),
    "a sandbox that is none": Situation(
        changed={"sandbox_url": "{kiali}"},
        errors=(r"^clock: \S+/kiali/clock: answered 404 without now and speed; give the URL of the sandbox's control",),
    ),
    "no sandbox there": Situation(
        changed={"sandbox_url": "http://127.0.0.1:9"},
        errors=(r"^clock: http://127.0.0.1:9/clock: no answer \(ConnectionError\); is `gnnrl sandbox` running",),
    ),
    "no port for metrics": Situation(
        flags=("--metrics-port", "70000"),
        errors=(r"^metrics port: cannot serve metrics on 0.0.0.0:70000: .*; choose a free port with --metrics-port$",),
    ),
    "a journal in an unwritable place": Situation(
        flags=("--journal", "/proc/nosuch/decisions.jsonl"),
        errors=(
            r"^journal: /proc/nosuch/decisions.jsonl: the decision log cannot be written: .*; choose another place",
        ),
    ),
    "no intervals": Situation(flags=("--intervals", "0"), errors=(r"^arguments: --intervals 0: must be 1 or more$",)),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_is_told_in_a_line(name: str, stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    case = SITUATIONS[name]
    kiali = stage.sandbox.urls["kiali"]
    places = {
        "folder": stage.folder,
        "kiali": kiali,
        "kiali_host": kiali.removesuffix("/kiali"),
        "prometheus": stage.sandbox.urls["prometheus"],
    }
    stage.sandbox.plan.add(*map(FaultSpec.parse, case.faults))
    stage.sandbox.kubernetes.deny |= case.deny
    stage.sandbox.kubernetes.absent_groups |= set(case.absent)
    if case.kiali is not None:
        stage.answers["kiali"] = case.kiali
    changed = {name: value and value.format(**places) for name, value in case.changed.items()}
    report = looked_at(stage, capsys, *(flag.format(**places) for flag in case.flags), **changed)
    assert_told(report.errors, case.errors)


def test_where_nothing_is_wrong_it_says_what_would_be_done(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Without this, every test above could pass on a check that always fails."""
    report = looked_at(stage, capsys, "--leader-elect")
    assert report.code == 0 and report.errors == report.lines["warning"] == []
    assert [line.partition(":")[0] for line in report.lines["ok"]][:7] == [
        "policy", "cluster", "permissions", "graph", "deployments", "metrics", "objective",
    ]  # fmt: skip
    assert "what hpa_80 would do now" in report.rest and re.search(r"frontend +6/6 +8 +8 +dry-run", report.rest)
    # What the API server is shown, it checks and throws away; and a check takes no Lease.
    assert {one.method for one in stage.writes} == {"PATCH"}
    assert all(one.path.endswith("/scale") for one in stage.writes)


def test_all_that_is_wrong_is_told_at_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.sandbox.kubernetes.deny |= {("list", "pods"), ("get", "namespaces")}
    stage.sandbox.kubernetes.absent_groups.add("metrics.k8s.io")
    stage.sandbox.plan.add(FaultSpec.parse("kiali:html:0:inf"))
    flags = (
        "--leader-elect --journal /proc/nosuch/j --metrics-port 70000 --set nosuch=1 --set guardrails.max_replicas=0"
    )
    report = looked_at(stage, capsys, *flags.split(), policy="oracle")
    assert_told(
        report.errors,
        (
            "^configuration: --set nosuch=1: nosuch: unknown key",
            "^configuration: --set guardrails.max_replicas=0: ",
            "^journal: ",
            "^metrics port: ",
            "^policy: --policy oracle",
            "^permissions: not allowed to list pods ",
            "^permissions: not allowed to get namespaces",
            "^metrics: the metrics API is not installed",
            "^graph: .*web page",
        ),
    )


@pytest.mark.parametrize(
    ("kiali", "server", "warned"),
    [
        ("http://kiali.istio-system:20001/kiali", "http://10.0.0.1:6443", {"graph", "cluster"}),
        ("https://kiali.istio-system/kiali", "https://10.0.0.1:6443", set()),
        ("http://localhost:20001/kiali", "http://[::1]:6443", set()),
        ("HTTP://127.0.0.1.example/kiali", "http://localhost.example", {"graph", "cluster"}),
    ],
)
def test_a_token_in_the_open_is_warned_of(kiali: str, server: str, warned: set[str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(KIALI_TOKEN)
    write_kubeconfig(tmp_path / "kubeconfig", server, KUBE_TOKEN, NS)

    def told(**changed: Any) -> set[str]:
        options = LiveOptions(
            config=LiveConfig(read_deadline_seconds=0.2), namespace="No-Name", policy="hpa_80", **changed
        )
        parts = LiveParts.of(options, SteppedClock())
        try:
            found = examine(options, None, replace(parts, graph=None))[0]
        finally:
            parts.close()
        assert not any(KIALI_TOKEN in one.message or KUBE_TOKEN in one.message for one in found)
        return {one.what for one in found if one.level == "warning" and "plain http" in one.message}

    files = {"token_file": tmp_path / "token", "kubeconfig": tmp_path / "kubeconfig"}
    assert told(kiali_url=kiali, **files) == warned
    assert told(prometheus_url=kiali, **files) == warned
    # Without a token there is nothing to read.
    assert told(kiali_url=kiali, kubeconfig=tmp_path / "kubeconfig") == warned - {"graph"}


def test_what_can_be_asked_is_asked_without_a_cluster(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    report = looked_at(
        stage, capsys, kubeconfig="/nosuch", sandbox_url="http://127.0.0.1:9", kiali_url="http://127.0.0.1:9"
    )
    assert_told(report.errors, ("^cluster: kubeconfig /nosuch", "^clock: ", "^graph: .*connection refused"))


def test_a_live_configuration_is_judged_whole(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    path = stage.folder / "live.yaml"
    text = (Path(__file__).parents[2] / "configs" / "live.yaml").read_text(encoding="utf-8")
    text = text.replace("min_replicas: 1\n", "min_replicas: 9\n").replace("max_replicas: 20\n", "max_replicas: 3\n")
    path.write_text(text.replace("temperature: 0.3", "temperatur: 0.3").replace("slo_ms: 0.0", "slo_ms: often"))
    report = looked_at(stage, capsys, "--config", str(path))
    assert_told(
        report.errors,
        (
            r"^configuration: \S+/live.yaml: temperatur: unknown key; did you mean temperature\?$",
            r"^configuration: \S+/live.yaml: temperature: ",
            r"^configuration: \S+/live.yaml: slo_ms: 'often' is not ",
            r"^configuration: \S+: guardrails.max_replicas: 3 is below guardrails.min_replicas, which is 9$",
        ),
    )


def test_a_port_that_is_taken(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        report = looked_at(stage, capsys, "--metrics-port", str(port))
    assert_told(report.errors, (rf"^metrics port: .*0.0.0.0:{port}: .*already in use; choose a free port",))


def test_another_token_is_refused(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "other", stage.sandbox.urls["kubernetes"], "of0another0cluster", NS)
    report = looked_at(stage, capsys, kubeconfig=str(tmp_path / "other"))
    assert_told(report.errors, (r"^cluster: .*does not accept the credentials of kubeconfig \S+/other \(401\)",))
    assert "of0another0cluster" not in "".join(report.errors)


@pytest.mark.parametrize("strategy", ["token", "header"])
def test_kiali_wants_a_token(strategy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path, kiali_auth=strategy)
    token = tmp_path / "token"
    try:
        stage.sandbox.kiali.revoke(KIALI_TOKEN)
        report = looked_at(stage, capsys)
        assert_told(report.errors, (r"^graph: Kiali .*(asks for a token|asks for a login).*--kiali-token-file$",))
        report = looked_at(stage, capsys, kiali_token_file=str(token))
        assert_told(report.errors, (r"^graph: Kiali .*token file \S+/token cannot be read: No such file",))
        token.write_text("\n")
        report = looked_at(stage, capsys, kiali_token_file=str(token))
        assert_told(report.errors, (r"^graph: Kiali .*/token is empty; write the token there$",))
        token.write_text("kiali0token0that0has0expired")
        report = looked_at(stage, capsys, kiali_token_file=str(token))
        assert_told(
            report.errors, (r"^graph: Kiali .*refuses the token in \S+: it has expired, .*kubectl create token",)
        )
        assert "that0has0expired" not in "".join(report.errors)
        token.write_text(KIALI_TOKEN)
        assert looked_at(stage, capsys, kiali_token_file=str(token)).code == 0
    finally:
        stage.close()


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="makes its certificate with openssl, which is not installed"
)
def test_self_signed_certificates(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context, authority = self_signed(tmp_path)
    world, clock = stage.sandbox.world, stage.clock
    kubernetes, kiali = KubernetesApi(world, clock, KUBE_TOKEN, tls=context), KialiApi(world, clock)
    kubernetes.store.put("namespaces", stage.call("GET", f"/api/v1/namespaces/{NS}"))
    kiali.tls = context
    with kubernetes, kiali:
        config = tmp_path / "config"
        write_kubeconfig(config, kubernetes.url, KUBE_TOKEN, NS)
        at = {"kubeconfig": str(config), "kiali_url": kiali.url}
        report = looked_at(stage, capsys, **at)
        assert_told(
            report.errors,
            (
                r"^cluster: https://\S+: the server's certificate is not trusted: self.signed certificate; put its CA into the kubeconfig",
                r"^graph: Kiali GET https://\S+ TLS: its certificate is self-signed, .* as --ca-file$",
            ),
        )
        # http to a port that speaks TLS, and the other way round.
        write_kubeconfig(config, kubernetes.url.replace("https", "http"), KUBE_TOKEN, NS)
        plain = stage.sandbox.urls["kiali"].replace("http", "https")
        report = looked_at(stage, capsys, kubeconfig=str(config), kiali_url=plain)
        assert_told(
            report.errors, (r"^cluster: http://\S+", r"^graph: .*does not speak TLS at this port; write http://")
        )
        write_kubeconfig(config, kubernetes.url, KUBE_TOKEN, NS, certificate_authority=authority.read_bytes())
        assert looked_at(stage, capsys, "--ca-file", str(authority), **at).code == 0
        content = yaml.safe_load(config.read_text())
        content["clusters"][0]["cluster"] = {"server": kubernetes.url, "insecure-skip-tls-verify": True}
        config.write_text(yaml.safe_dump(content))
        with warnings.catch_warnings(record=True) as warned:
            unverified = looked_at(stage, capsys, "--insecure-skip-tls-verify", **at)
        assert unverified.code == 0 and warned == []
        assert_told(
            unverified.lines["warning"],
            (
                "^graph: anybody may pose as its server.*give --ca-file instead$",
                "^cluster: anybody may pose as its API server: .*insecure-skip-tls-verify; put the CA there instead$",
            ),
        )


@pytest.mark.parametrize(("ahead", "said"), [(300.0, "300 s ahead of"), (-120.0, "120 s behind")])
def test_a_clock_that_is_off_by_minutes(stage: Stage, ahead: float, said: str) -> None:
    options = LiveOptions(
        config=LiveConfig(),
        namespace=NS,
        policy="hpa_80",
        kiali_url=stage.sandbox.urls["kiali"],
        kubeconfig=stage.kubeconfig,
    )
    for off, found in ((0.0, False), (ahead, True)):
        clock = SteppedClock(stage.clock.now() + off)
        parts = LiveParts.of(options, clock)
        findings, _ = examine(options, clock, parts)
        parts.close()
        about = [finding for finding in findings if finding.what == "clock"]
        assert len(about) == found
        assert all(said in one.message and "set the clock (NTP)" in one.message for one in about)
    assert stage.writes == []


def test_annotations_of_the_namespace(fresh: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("soon", "-5", "nan", "inf", "0"):
        fresh.annotate(slo_ms=text)
        report = looked_at(fresh, capsys)
        assert_told(
            report.errors, (rf"^objective: annotation gnnrl.io/slo-ms: '{text}' is no time in milliseconds; kubectl",)
        )
    fresh.annotate(slo_ms=None)
    assert_told(
        looked_at(fresh, capsys).errors, ("^objective: no objective for the 95th percentile end to end: kubectl",)
    )
    assert looked_at(fresh, capsys, "--set", "slo_ms=450").code == 0
    fresh.annotate(slo_ms="450", pause="true")
    report = looked_at(fresh, capsys)
    assert (
        report.code == 0
        and "services: nothing to scale: each of them is owned, paused or stateful, see above"
        in (report.lines["warning"])
    )


def test_annotations_that_cannot_be_obeyed_pause_their_service(
    fresh: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.annotate_deployment("frontend", max="many")
    fresh.annotate_deployment("cartservice", mim="2")
    fresh.annotate_deployment("recommendationservice", min="5", max="3")
    report = looked_at(fresh, capsys)
    assert report.code == 0
    assert_told(
        report.lines["warning"],
        (
            r"^frontend: annotation gnnrl.io/max: 'many' of the Deployment is not a whole number from 1 to .*; paused until",
            r"^cartservice: annotation gnnrl.io/mim of the Deployment is unknown, did you mean gnnrl.io/min\?; paused until",
            r"^recommendationservice: gnnrl.io/min 5 \(Deployment\) is above gnnrl.io/max 3 \(Deployment\): held until",
        ),
    )
    # Both would have been raised (see the test without anything wrong).
    assert fresh.writes == [] and re.search(r"frontend +6/6 +8 +6 +none +\S", report.rest)


def test_where_everything_has_an_owner_there_is_nothing_to_do(fresh: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for name in fresh.replicas():
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        body = {"metadata": {"name": name}, "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9}}
        fresh.call("POST", f"/apis/autoscaling/v2/namespaces/{NS}/horizontalpodautoscalers", body)
    report = looked_at(fresh, capsys)
    assert report.code == 0 and fresh.writes == []
    warnings = report.lines["warning"]
    owned = [
        line
        for line in warnings
        if re.search(r"HorizontalPodAutoscaler/\S+ scales it: never touched; delete that", line)
    ]
    assert len(owned) == len(fresh.replicas()) and len(warnings) == len(owned) + 1
    assert warnings[-1].startswith("services: nothing to scale")


def test_more_services_than_slots(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start there is always room made; as if there were not."""
    monkeypatch.setattr(session_module, "BASELINE_NODES", 8)
    monkeypatch.setattr(session_module, "capacity_for", lambda *_: (8, 512))
    report = looked_at(stage, capsys)
    assert_told(
        report.errors, (r"^capacity: 11 Deployments, 1 other nodes .* has 8 node and 512 edge slots; make room",)
    )
    report = looked_at(stage, capsys, "--set", "past_capacity=drop_least_active")
    left_out = [line for line in report.lines["warning"] if "left out: the policy has no slot for it; held" in line]
    assert report.code == 0 and len(left_out) == 3


def broken_runs(run: Path, folder: Path) -> dict[str, tuple[Path, str]]:
    """Copies of a run with something wrong, and what is to be told of each."""

    def copy(name: str, edit: Callable[[str], str] = lambda text: text) -> Path:
        path = folder / name
        shutil.copytree(run, path)
        (path / "config.yaml").write_text(edit((run / "config.yaml").read_text(encoding="utf-8")), encoding="utf-8")
        return path

    runs = {
        "exact": (
            copy("exact", lambda text: text.replace("telemetry: kiali", "telemetry: exact")),
            r"trained with environment.telemetry: exact, a cluster shows Kiali's means over 60 s; train with telemetry: kiali",
        ),
        "pace": (
            copy("pace", lambda text: re.sub(r"(decision|metrics_lag)_seconds: 15", r"\1_seconds: 30", text)),
            r"it decides every 30 s, the loop every 15 s; set interval_seconds of the live configuration to it$",
        ),
        "window": (
            copy("window", lambda text: text.replace("graph_window_seconds: 60", "graph_window_seconds: 120")),
            r"trained with graph_window_seconds: 120, the loop asks for 60; set graph_window_seconds of the live configuration",
        ),
        "features": (
            copy("features", lambda text: text.replace("node_columns: history", "node_columns: basic")),
            r"checkpoint.pt was trained with other features than its config.yaml says; take the right one$",
        ),
        "configuration": (
            copy("configuration", lambda text: text.replace("max_nodes: 20", "max_nodes: twenty")),
            r"config.yaml: environment.max_nodes: 'twenty' ",
        ),
    }
    damaged = copy("damaged")
    whole = (damaged / "checkpoint.pt").read_bytes()
    (damaged / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    runs["damaged"] = (damaged, r"checkpoint.pt: (truncated|refused).*; use ")
    gone = copy("gone")
    (gone / "checkpoint.pt").unlink()
    runs["gone"] = (gone, r"checkpoint.pt: no such checkpoint")
    noise = copy("noise")
    (noise / "checkpoint.pt").write_bytes(b"not a checkpoint at all\n")
    runs["noise"] = (noise, r"checkpoint.pt: (truncated|refused).*; use ")
    actions = copy("actions")
    environment = replace(load_run(run, LiveConfig())[1].environment, action_mode="select")
    env = MeshVectorEnv(1, environment)
    PPO_GNN(env.single_observation_space, env.single_action_space).save(actions / "checkpoint.pt")  # type: ignore[arg-type]
    runs["actions"] = (
        actions,
        r"checkpoint.pt has the actions Discrete\(300\), its config.yaml MultiDiscrete\(20 x 15\); take the right one$",
    )
    return runs


def test_runs_that_cannot_decide_here(
    stage: Stage, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (path, told) in broken_runs(run, tmp_path).items():
        report = looked_at(stage, capsys, policy=None, run=str(path))
        assert len(report.errors) == 1, name
        assert re.search(rf"^policy: .*{told}", report.errors[0]), report.errors[0]
    assert looked_at(stage, capsys, policy=None, run=str(run)).code == 0
