"""`gnnrl serve-keda` as a command: what it refuses, what it serves, and that it writes nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gnnrl.cli.main import main
from gnnrl.live.sandbox.faults import FaultSpec
from tests.live.live_stage import NS, Stage
from tests.live.test_keda import self_signed


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    yield found
    found.close()


def serve(stage: Stage, *flags: str, **changed: str | None) -> int:
    """The command; it ends by itself only where it refuses."""
    return main(["serve-keda", *stage.arguments(**changed), *flags])


def refused(stage: Stage, capsys: pytest.CaptureFixture[str], *flags: str, **changed: str | None) -> list[str]:
    """What it told."""
    before = stage.replicas()
    assert serve(stage, *flags, **changed) == 2
    out, err = capsys.readouterr()
    assert not re.search("interval|what", out) and stage.writes == [] and stage.replicas() == before
    assert all(re.match(r"(error|warning) +\S", line) for line in err.splitlines()), err
    return [line.split(maxsplit=1)[1] for line in err.splitlines() if line.startswith("error")]


@pytest.mark.parametrize("module", ["grpc", "gnnrl.live.keda.server"])
def test_without_grpc_it_says_what_to_install(
    module: str, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gnnrl.live.keda.server", "gnnrl.live.keda.scaler", "gnnrl.live.keda.externalscaler_pb2_grpc"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert refused(stage, capsys) == ["keda: gnnrl serve-keda needs gRPC: pip install 'gnnrl[keda]'"]
    assert len(refused(stage, capsys, policy="oracle", kubeconfig="/nosuch")) == 3


def test_a_port_that_is_taken_or_none(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("grpc")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (told,) = refused(stage, capsys, "--keda-port", str(port))
    assert told == f"keda: cannot listen on 127.0.0.1:{port}: in use or not permitted; choose another address or port"
    (told,) = refused(stage, capsys, "--keda-port", "0", "--keda-address", "192.0.2.7")
    assert told.startswith("keda: cannot listen on 192.0.2.7:0: in use or not permitted")
    for number in ("-1", "70000"):
        (told,) = refused(stage, capsys, "--keda-port", number)
        assert told == f"keda: --keda-port {number}: must be a port from 1 to 65535, or 0 for any"


def test_certificates_that_do_not_do_are_told(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    certificate, key = self_signed(tmp_path, "scaler")
    other = self_signed(tmp_path, "other")[1]
    (tmp_path / "empty").write_text("")
    cert, its_key = ("--keda-tls-cert", str(certificate)), ("--keda-tls-key", str(key))
    for flags, said in (
        (cert, "--keda-tls-cert and --keda-tls-key go together"),
        (its_key, "--keda-tls-cert and --keda-tls-key go together"),
        (("--keda-client-ca", str(certificate)), "--keda-client-ca needs --keda-tls-cert and --keda-tls-key"),
        ((*cert, "--keda-tls-key", str(other)), "not a certificate with its key in PEM"),
        ((*cert, *its_key, "--keda-client-ca", str(tmp_path / "empty")), "empty: no certificates in PEM"),
        ((*cert, "--keda-tls-key", str(tmp_path / "none")), "No such file"),
    ):
        (told,) = refused(stage, capsys, "--keda-port", "0", *flags)
        assert told.startswith("keda: ") and said in told, told


@pytest.mark.parametrize(
    ("address", "warned"), [(None, False), ("::1", False), ("localhost", False), ("0.0.0.0", True)]
)
def test_it_is_reached_from_elsewhere_only_if_told_and_says_so(
    address: str | None, warned: bool, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("grpc")
    stage.sandbox.kubernetes.deny.add(("list", "pods"))
    assert serve(stage, "--keda-port", "0", keda_address=address) == 2
    out, err = capsys.readouterr()
    assert ("warning  keda: whoever reaches 0.0.0.0:" in err) == warned and "(plain text)" in out
    where = {None: "127.0.0.1", "::1": "[::1]"}.get(address, address)
    assert f"of {where} (" in out


def test_all_that_is_wrong_is_told_at_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("grpc")
    stage.sandbox.kubernetes.deny.add(("list", "pods"))
    told = refused(stage, capsys, "--keda-port", "0", "--set", "nosuch=1", policy="oracle", kiali_url="kiali:20001")
    assert [line.partition(":")[0] for line in told] == ["configuration", "policy", "graph", "permissions"]


def test_it_does_not_ask_for_what_it_does_not_use(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Its Role (deploy/overlays/keda) grants no write at all; and an election among those who write nothing has no use."""
    stage.sandbox.kubernetes.deny |= {
        ("patch", "*"),
        ("get", "deployments/scale"),
        ("create", "events"),
        ("*", "leases"),
    }
    (told,) = refused(stage, capsys, policy="oracle")
    assert told.startswith("policy: --policy oracle")
    with pytest.raises(SystemExit):
        serve(stage, "--leader-elect")


def test_it_answers_keda_and_writes_nothing(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    grpc = pytest.importorskip("grpc")
    from gnnrl.live.keda import externalscaler_pb2 as messages
    from gnnrl.live.keda.externalscaler_pb2_grpc import ExternalScalerStub

    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "frontend"}
    hpa = {"metadata": {"name": "keda-hpa-frontend"}, "spec": {"scaleTargetRef": target, "maxReplicas": 9}}
    stage.call("POST", f"/apis/autoscaling/v2/namespaces/{NS}/horizontalpodautoscalers", hpa)
    before, journal = stage.replicas(), stage.folder / "journal"
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    answers: dict[str, object] = {}

    def ask() -> None:
        try:
            until(lambda: journal.exists() and journal.read_text() != "")
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                scaler = ExternalScalerStub(channel)
                about = messages.ScaledObjectRef(name="frontend", namespace=NS)
                specs = scaler.GetMetricSpec(about, timeout=60).metricSpecs
                wanted = messages.GetMetricsRequest(scaledObjectRef=about, metricName=specs[0].metricName)
                answers["value"] = scaler.GetMetrics(wanted, timeout=60).metricValues[0].metricValueFloat
                stage.sandbox.plan.add(FaultSpec.parse("kiali:http_503:0:inf"))
                lines = journal.read_text().count("\n")

                def blind() -> bool:
                    stage.pass_seconds(1.0)
                    return journal.read_text().count("\n") > lines

                until(blind)
                with pytest.raises(grpc.RpcError) as error:
                    scaler.GetMetrics(wanted, timeout=60)
                answers["code"], answers["why"] = error.value.code(), error.value.details()
                answers["spec"] = len(scaler.GetMetricSpec(about, timeout=60).metricSpecs)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert serve(stage, "--keda-port", str(port), "--journal", str(journal)) == 0
    thread.join()
    # The HPA that KEDA made owns the Deployment; it is decided on all the same.
    assert answers["value"] == 8.0 and answers["code"] is grpc.StatusCode.UNAVAILABLE and answers["spec"] == 1
    assert "503" in str(answers["why"])
    out, err = capfd.readouterr()
    assert f"KEDA external scaler on port {port}" in out and "Traceback" not in out + err
    assert stage.writes == [] and stage.replicas() == before


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120.0
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
