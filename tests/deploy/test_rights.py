"""Every deployment that is shipped runs under exactly the rights that are shipped with it, and under no fewer."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gnnrl.cli.main import main
from gnnrl.cluster.api import ClusterApi
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.errors import ClusterForbiddenError
from gnnrl.cluster.events import EventPoster
from gnnrl.cluster.paths import events_path, lease_path, pods_path, scale_path
from gnnrl.live.sandbox.kube.roles import Grants
from tests.deploy.manifests import Manifest, base, container, overlay, released, values
from tests.live.live_stage import NS, Stage
from tests.live.test_keda import self_signed

LEASE = lease_path(NS, "gnnrl")


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A way to deploy it, and what it does."""

    render: Callable[[], dict[str, Manifest]]
    writes: bool = False


def chart_of(**changed: Any) -> Callable[[], dict[str, Manifest]]:
    """A release, which need not stand in the namespace that it scales."""
    return lambda: released(values(**changed), namespace="ops" if "targetNamespace" in changed else NS, name="scaler")


SHIPPED = {
    "base": Shipped(render=base, writes=True),
    "overlay live": Shipped(render=lambda: overlay("live"), writes=True),
    "overlay dry-run": Shipped(render=lambda: overlay("dry-run")),
    "chart, live": Shipped(render=chart_of(mode="live"), writes=True),
    "chart, dry-run": Shipped(render=chart_of()),
    "chart, shadow": Shipped(render=chart_of(mode="shadow")),
    "chart, live in another namespace, by Prometheus": Shipped(
        render=chart_of(
            mode="live",
            targetNamespace=NS,
            kiali={"url": "", "tokenSecret": ""},
            prometheusUrl="http://prometheus:9090",
        ),
        writes=True,
    ),
    "chart, a rule": Shipped(render=chart_of(mode="live", policy="hpa_80", extraArgs=["--once"]), writes=True),
}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.close()


def arguments(stage: Stage, objects: dict[str, Manifest]) -> list[str]:
    """Those of the container, with the places of this machine and a rule in place of the policy."""
    config = stage.folder / "live.yaml"
    told = objects.get("ConfigMap", {}).get("data", {}).get("live.yaml")
    config.write_text(told or (Path(__file__).parents[2] / "deploy" / "base" / "live.yaml").read_text())
    places = {
        "--namespace": NS,
        "--kiali-url": stage.sandbox.urls["kiali"],
        "--prometheus-url": stage.sandbox.urls["prometheus"],
        "--config": str(config),
        "--metrics-port": "0",
        "--policy": "hpa_80",
    }
    given: list[str] = container(objects)["args"]
    found = [places.get(before, one) for before, one in zip(["", *given], given, strict=False)]
    here = {"--keda-port=6000": "--keda-port=0", "--keda-address=::": "--keda-address=127.0.0.1"}
    found = [here.get(one, one) for one in found]
    return [*found, "--kubeconfig", str(stage.kubeconfig), "--sandbox-url", stage.sandbox.urls["control"]]


def under(stage: Stage, role: Manifest) -> None:
    """From here on the account has these rights and no others."""
    stage.sandbox.kubernetes.access.grants = Grants.of([role], NS)


def everything(stage: Stage) -> None:
    stage.sandbox.kubernetes.access.grants = None


@pytest.mark.parametrize("name", SHIPPED)
def test_it_starts_leads_acts_posts_and_releases_under_its_own_rights(
    name: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped, before = SHIPPED[name], stage.replicas()
    objects = shipped.render()
    under(stage, objects["Role"])
    once = [] if "--once" in container(objects)["args"] else ["--once"]
    assert main([*arguments(stage, objects), *once]) == 0, capsys.readouterr().out
    out, err = capsys.readouterr()
    assert "error" not in out and err == "" and "ok       permissions: all" in out
    everything(stage)
    changed = {service for service, replicas in stage.replicas().items() if replicas != before[service]}
    items = stage.call("GET", events_path(NS))["items"]
    leases = stage.call("GET", LEASE.rpartition("/")[0])["items"]
    if not shipped.writes:
        assert changed == set() and items == [] and leases == []
        return
    assert changed == {"frontend", "recommendationservice"} == {one["involvedObject"]["name"] for one in items}
    (lease,) = leases
    assert (
        lease["metadata"]["name"] == "gnnrl" and "holderIdentity" not in lease["spec"] and "renewTime" in lease["spec"]
    )


KEDA = {"enabled": True, "port": 6000, "tlsSecret": "", "clientCertificates": False}
BESIDE_KEDA = {
    "overlay keda": lambda: overlay("keda"),
    "overlay keda-tls": lambda: overlay("keda-tls"),
    "chart, keda": chart_of(mode="live", keda=KEDA),
    "chart, keda over TLS": chart_of(keda=KEDA | {"tlsSecret": "a"}),
}


@pytest.mark.parametrize("name", BESIDE_KEDA)
def test_beside_keda_it_serves_under_rights_that_let_it_write_nothing(
    name: str, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("grpc")
    objects, journal = BESIDE_KEDA[name](), stage.folder / "journal"
    under(stage, objects["Role"])

    def end() -> None:
        deadline = time.monotonic() + 30.0
        while not (journal.exists() and journal.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    certificate, key = self_signed(stage.folder, "scaler")
    files = {"tls.crt": certificate, "tls.key": key, "ca.crt": certificate}
    given = [
        f"{one.partition('=')[0]}={files[one.rpartition('/')[2]]}" if "/etc/gnnrl-keda-tls/" in one else one
        for one in arguments(stage, objects)
    ]
    assert main([*given, "--journal", str(journal)]) == 0
    assert '"valid":true' in journal.read_text() and stage.writes == []
    secured = "tls" in name.lower()
    assert f"of 127.0.0.1 ({'TLS' if secured else 'plain text'}" in capfd.readouterr().out


def without(role: Manifest, resource: str, verb: str) -> Manifest:
    """The Role with one verb taken out."""
    less = deepcopy(role)
    taken = 0
    for rule in less["rules"]:
        if rule["resources"] == [resource] and verb in rule["verbs"]:
            rule["verbs"].remove(verb)
            taken += 1
    assert taken == 1, (resource, verb)
    less["rules"] = [rule for rule in less["rules"] if rule["verbs"]]
    return less


@pytest.mark.parametrize(
    ("resource", "verb", "told"),
    [
        ("leases", "get", r"not allowed to get leases.coordination.k8s.io in .*can-i get leases.coordination.k8s.io/gnnrl -n"),
        ("leases", "update", r"not allowed to update leases.coordination.k8s.io in"),
        ("leases", "create", r"not allowed to create leases.coordination.k8s.io in .*can-i create leases.coordination.k8s.io -n"),
        ("deployments/scale", "patch", r"not allowed to patch deployments/scale in"),
        ("deployments/scale", "get", r"not allowed to get deployments/scale in"),
        ("deployments", "list", r"not allowed to list deployments in"),
        ("horizontalpodautoscalers", "list", r"not allowed to list horizontalpodautoscalers in"),
        ("scaledobjects", "list", r"not allowed to list scaledobjects.keda.sh in"),
        ("poddisruptionbudgets", "list", r"not allowed to list poddisruptionbudgets in"),
        ("resourcequotas", "list", r"not allowed to list resourcequotas in"),
        ("namespaces", "get", rf"not allowed to get namespaces in .*can-i get namespaces/{NS} -n"),
    ],
)  # fmt: skip
def test_one_verb_less_and_it_does_not_start_but_names_it(
    resource: str, verb: str, told: str, shared: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = base()
    under(shared, without(objects["Role"], resource, verb))
    before = shared.replicas()
    assert main([*arguments(shared, objects), "--once"]) == 2
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and re.search(f"permissions: {told}", errors[0]), errors
    assert shared.replicas() == before and shared.writes == []


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.close()


@pytest.fixture
def shared(stages: Stage) -> Stage:
    """One that no test changes."""
    stages.reset()
    return stages


def test_without_the_right_to_events_it_scales_and_says_so(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    objects = base()
    under(stage, without(objects["Role"], "events", "create"))
    assert main([*arguments(stage, objects), "--once"]) == 0
    assert "warning  permissions: not allowed to create events in" in capsys.readouterr().out
    everything(stage)
    assert stage.replicas()["frontend"] == 8 and stage.call("GET", events_path(NS))["items"] == []


def test_the_requests_themselves_are_refused_too(stage: Stage) -> None:
    """Not the review alone: what a Role does not grant is a 403, in RBAC's words, by name where it goes by name."""
    role = base()["Role"]
    under(stage, role)
    api = ClusterApi.connect(stage.kubeconfig)
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other"}, "spec": {}}
    try:
        api.post(LEASE.rpartition("/")[0], body)
        for refused in (
            lambda: api.get(lease_path(NS, "other")),
            lambda: api.list(LEASE.rpartition("/")[0]),
            lambda: api.get(pods_path("elsewhere")),
            lambda: api.get("/api/v1/namespaces/default"),
            lambda: api.get("/api/v1/nodes"),
            lambda: api.patch(scale_path(NS, "frontend").removesuffix("/scale"), {}),
            lambda: api.list(f"/apis/batch/v1/namespaces/{NS}/jobs"),
        ):
            with pytest.raises(ClusterForbiddenError):
                refused()
        assert api.get(f"/api/v1/namespaces/{NS}")["metadata"]["name"] == NS
        # An Event that is told again is patched.
        poster = EventPoster(api, NS, SteppedClock(stage.clock.now()), identity="one")
        assert [poster.post("frontend", "uid", "ScaledUp", "4 -> 6") for _ in range(2)] == [None, None]
        under(stage, without(role, "events", "patch"))
        assert isinstance(poster.post("frontend", "uid", "ScaledUp", "4 -> 6"), ClusterForbiddenError)
    finally:
        api.close()
