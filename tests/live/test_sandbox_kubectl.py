"""kubectl against the sandbox's Kubernetes API: what a person would type."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gnnrl.cluster.errors import ClusterForbiddenError
from gnnrl.live.sandbox.kubeconfig import write_kubeconfig
from tests.live.fake_cluster import NS, TOKEN, Cluster
from tests.live.test_sandbox_http_server import self_signed

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def kubectl_for(kubeconfig: Path, cache: Path) -> Kubectl:
    """kubectl with a kubeconfig; `code` is the exit code that is expected, None = any."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cache), "KUBECONFIG": str(kubeconfig)}

    def run(*arguments: str, code: int | None = 0, text: str = "") -> subprocess.CompletedProcess[str]:
        assert KUBECTL is not None
        command = [KUBECTL, f"--cache-dir={cache}", *arguments]
        done = subprocess.run(
            command, env=environment, input=text, capture_output=True, text=True, timeout=30, check=False
        )
        assert code is None or done.returncode == code, (arguments, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discovery is read once an address."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.close()


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path, cache: Path) -> Kubectl:
    write_kubeconfig(tmp_path / "kubeconfig", cluster.api.url, TOKEN, NS)
    return kubectl_for(tmp_path / "kubeconfig", cache)


def rows(printed: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines() if line.strip()]


def test_get_prints_what_a_cluster_prints(kubectl: Kubectl) -> None:
    everything = kubectl("get", "deployments,pods,replicasets,hpa,events,leases", "-n", NS)
    assert everything.stderr == ""
    printed = rows(everything.stdout)
    assert printed[0] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert printed[2] == ["deployment.apps/frontend", "2/2", "2", "2", "60m"]
    assert printed[3] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row[1:] for row in printed[4:8]] == [["2/2", "Running", "0", "60m"]] * 4
    assert printed[-1] == ["replicaset.apps/frontend-abcdef1234", "2", "2", "2", "60m"]
    wide = rows(kubectl("get", "pods", "-o", "wide", "-l", "app=frontend").stdout)
    assert (wide[0][5:7], wide[1][6]) == (["IP", "NODE"], "sandbox-node")
    assert [row[:2] for row in rows(kubectl("get", "ns").stdout)[1:]] == [
        ["default", "Active"], ["kube-system", "Active"], [NS, "Active"],
    ]  # fmt: skip
    names = kubectl("get", "pods", "--chunk-size=1", "-o", "name").stdout.split()
    assert len(names) == len(set(names)) == 4
    assert kubectl("get", "deployment", "absent", code=1).stderr.strip() == (
        'Error from server (NotFound): deployments.apps "absent" not found'
    )
    listed = json.loads(kubectl("get", "deployment", "frontend", "-o", "json").stdout)
    assert listed["spec"]["replicas"] == 2


def test_scale_and_its_preconditions(kubectl: Kubectl, cluster: Cluster) -> None:
    assert (
        kubectl("scale", "deployment", "frontend", "--replicas=5", "-n", NS).stdout
        == "deployment.apps/frontend scaled\n"
    )
    assert cluster.world.calls == [("frontend", 5)]
    assert rows(kubectl("get", "deployment", "frontend").stdout)[1][1:4] == ["2/5", "5", "2"]
    kubectl("scale", "deployment", "frontend", "--current-replicas=5", "--replicas=3")
    refused = kubectl("scale", "deployment", "frontend", "--current-replicas=9", "--replicas=1", code=1)
    assert refused.stderr.strip() == "error: Expected replicas to be 9, was 3"
    kubectl("scale", "deployment", "frontend", "--dry-run=server", "--replicas=1")
    assert cluster.world.wanted["frontend"] == 3
    kubectl("scale", "deployment", "frontend", "--replicas=0")
    scale = json.loads(kubectl("get", "deployment", "frontend", "--subresource=scale", "-o", "json").stdout)
    assert scale["spec"] == {}
    patch = ("patch", "deployment", "frontend", "--subresource=scale", "--type=merge", "-p")
    assert "Invalid value: -1" in kubectl(*patch, '{"spec":{"replicas":-1}}', code=1).stderr
    assert "of type int32" in kubectl(*patch, '{"spec":{"replicas":4294967299}}', code=1).stderr
    kubectl("scale", "deployment", "frontend", "--replicas=3")
    cluster.pass_seconds(60.0)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment", "frontend").stdout


def test_top_and_describe(kubectl: Kubectl, cluster: Cluster) -> None:
    top = rows(kubectl("top", "pods", "-n", NS).stdout)
    assert top[0] == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert [row[1:] for row in top[1:]] == [["97m", "100Mi"]] * 4
    containers = rows(kubectl("top", "pods", "--containers", "-l", "app=frontend").stdout)
    assert containers[2][1:] == ["server", "2m", "50Mi"]
    about = {"kind": "Deployment", "name": "frontend", "namespace": NS}
    about["uid"] = cluster.get(f"/apis/apps/v1/namespaces/{NS}/deployments/frontend")["metadata"]["uid"]
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "Scaled", "message": "2 -> 3, load rises"}
    event |= {"source": {"component": "gnnrl"}, "lastTimestamp": "2027-01-15T08:00:00Z", "count": 1}
    assert cluster.call("POST", f"/api/v1/namespaces/{NS}/events", event).status_code == 201
    described = kubectl("describe", "deployment", "frontend").stdout
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in described
    assert "NewReplicaSet:   frontend-abcdef1234 (2/2 replicas created)" in described
    assert re.search(r"Normal +Scaled +\S+ +gnnrl +2 -> 3, load rises", described)
    cluster.api.absent_groups.add("metrics.k8s.io")
    assert "Metrics API not available" in kubectl("top", "pods", code=1).stderr


def test_annotate_label_and_may_i(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl("annotate", "deployment", "frontend", "gnnrl.io/min=2")
    kubectl("label", "deployment", "frontend", "team=a")
    kubectl("annotate", "namespace", NS, "gnnrl.io/pause=true")
    metadata = cluster.get(f"/apis/apps/v1/namespaces/{NS}/deployments/frontend")["metadata"]
    assert (metadata["annotations"]["gnnrl.io/min"], metadata["labels"]["team"]) == ("2", "a")
    kubectl("annotate", "deployment", "frontend", "gnnrl.io/min-")
    metadata = cluster.get(f"/apis/apps/v1/namespaces/{NS}/deployments/frontend")["metadata"]
    assert "gnnrl.io/min" not in metadata["annotations"]
    # The command that a missing permission is reported with.
    reported = str(ClusterForbiddenError("patch", "deployments/scale", NS))
    may_i = re.findall(r"kubectl (auth can-i .*?) \(", reported)[0].split()
    assert kubectl(*may_i).stdout.strip() == "yes"
    cluster.api.deny.add(("patch", "deployments/scale"))
    assert kubectl(*may_i, code=1).stdout.startswith("no - denied to system:serviceaccount")
    assert "deployments.apps/scale" in kubectl("auth", "can-i", "--list").stdout
    assert "cannot patch resource" in kubectl("scale", "deployment", "frontend", "--replicas=3", code=1).stderr


def test_what_the_server_is(kubectl: Kubectl) -> None:
    assert "Server Version: v1.36" in kubectl("version").stdout
    resources = {row[0] for row in rows(kubectl("api-resources", "--no-headers").stdout)}
    assert {"deployments", "pods", "leases", "horizontalpodautoscalers", "scaledobjects"} <= resources
    assert kubectl("get", "--raw", "/readyz").stdout == "ok"
    assert "doesn't have a resource type" in kubectl("get", "gateways", code=1).stderr


MANIFEST = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: frontend}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: frontend}
  maxReplicas: 4
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: cart}
spec: {scaleTargetRef: {name: cartservice}, maxReplicaCount: 7, triggers: []}
"""


def test_owners_and_limits_are_made_and_deleted(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl("apply", "-f", "-", text=MANIFEST)
    assert kubectl("apply", "-f", "-", text=MANIFEST).stdout.count("unchanged") == 2
    kubectl("apply", "-f", "-", text=MANIFEST.replace("maxReplicas: 4", "maxReplicas: 5"))
    printed = rows(kubectl("get", "hpa,scaledobjects").stdout)
    assert printed[1][:5] == [
        "horizontalpodautoscaler.autoscaling/frontend",
        "Deployment/frontend",
        "<unknown>",
        "1",
        "5",
    ]
    assert printed[3][:4] == ["scaledobject.keda.sh/cart", "cartservice", "0", "7"]
    kubectl("delete", "-f", "-", text=MANIFEST)
    assert cluster.get(f"/apis/autoscaling/v2/namespaces/{NS}/horizontalpodautoscalers")["items"] == []
    kubectl("create", "quota", "room", "--hard=pods=20,requests.cpu=4")
    assert "pods: 4/20, requests.cpu: 450m/4" in kubectl("get", "quota").stdout
    kubectl("create", "pdb", "keep", "--selector=app=frontend", "--min-available=1")
    assert rows(kubectl("get", "pdb").stdout)[1][:4] == ["keep", "1", "N/A", "1"]


def test_get_watches(cluster: Cluster, kubectl: Kubectl, tmp_path: Path, cache: Path) -> None:
    assert KUBECTL is not None
    kubectl("get", "pods")  # discovery is cached from here on
    command = [KUBECTL, f"--cache-dir={cache}", f"--kubeconfig={tmp_path / 'kubeconfig'}", "get", "pods", "-w"]
    out = tmp_path / "out"
    with out.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            wait_for(lambda: len(out.read_text().splitlines()) >= 5)
            cluster.world.set_replicas("frontend", 3)
            wait_for(lambda: len(out.read_text().splitlines()) >= 6)
            cluster.pass_seconds(10.0)
            wait_for(lambda: len(out.read_text().splitlines()) >= 7)
        finally:
            process.terminate()
    printed = [line.split() for line in out.read_text().splitlines()]
    assert [row[0] for row in printed].count("NAME") == 1
    assert [row[1:3] for row in printed[5:7]] == [["1/2", "Running"], ["2/2", "Running"]]


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_over_tls_the_token_decides(tmp_path: Path, cache: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    context, authority = self_signed(tmp_path)
    cluster = Cluster(tls=context)
    try:
        for token, code in ((TOKEN, 0), ("wrong", 1)):
            path = tmp_path / token
            write_kubeconfig(path, cluster.api.url, token, NS, certificate_authority=authority.read_bytes())
            done = kubectl_for(path, cache)("get", "--raw", f"/api/v1/namespaces/{NS}/pods?limit=1", code=code)
            assert ("PodList" in done.stdout) == (code == 0)
        write_kubeconfig(tmp_path / "untrusting", cluster.api.url, TOKEN, NS)
        refused = kubectl_for(tmp_path / "untrusting", cache)("get", "--raw", "/version", code=1)
        assert "certificate" in refused.stderr
    finally:
        cluster.close()
