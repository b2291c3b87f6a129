"""The KEDA scaler over a real socket, asked by the client that the contract generates, and the arithmetic of the HPA behind it."""

from __future__ import annotations

import inspect
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.models import ClusterSnapshot, DeploymentState, Problem
from gnnrl.domains.autoscaling.baselines import hpa
from gnnrl.live.decision import IntervalRecord, ServiceDecision
from gnnrl.live.keda import externalscaler_pb2 as messages
from gnnrl.live.keda.externalscaler_pb2_grpc import ExternalScalerStub
from gnnrl.live.keda.metric import TARGET, metric_name, metric_value
from gnnrl.live.keda.reader import UnownedReader
from gnnrl.live.keda.scaler import KedaScaler
from gnnrl.live.keda.server import LOOPBACK, KedaTls, serve

ROOT = Path(__file__).parents[2]
START = 1_700_000_000.0
UNAVAILABLE, NOT_FOUND = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND


def decision(service: str, current: int, final: int) -> ServiceDecision:
    return ServiceDecision(service=service, current=current, ready=current, wish=final + 3, final=final)


RECORD = IntervalRecord(
    number=7,
    seconds=START,
    policy="hpa_80",
    mode="shadow",
    valid=True,
    data_age_seconds={"graph": 20.0, "metrics": 35.0},
    services=(decision("frontend", 12, 13), decision("cartservice", 9, 8), decision("adservice", 1, 0)),
)


class Bench:
    """A scaler on a socket whose loop is this object: `record` is its last one, `broken` raises."""

    def __init__(self) -> None:
        self.record: IntervalRecord | None = RECORD
        self.broken = False
        self.clock = SteppedClock(START + 10.0)
        self.scaler = KedaScaler(
            self.latest, self.clock, stale_after_seconds=75.0, namespace="onlineboutique", poll_seconds=0.01
        )
        self.server = serve(self.scaler, address="127.0.0.1", port=0)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        self.stub = ExternalScalerStub(self.channel)

    def latest(self) -> IntervalRecord | None:
        if self.broken:
            raise RuntimeError("the loop is dead")
        return self.record

    def metrics(self, name: str, metric: str = "", **metadata: str) -> float:
        request = messages.GetMetricsRequest(scaledObjectRef=reference(name, **metadata), metricName=metric)
        (value,) = self.stub.GetMetrics(request, timeout=60).metricValues
        assert value.metricName == metric_name(metadata.get("deployment", name))
        assert value.metricValue == math.ceil(value.metricValueFloat)
        return float(value.metricValueFloat)

    def refusal(self, name: str, **metadata: str) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.metrics(name, **metadata)
        return caught.value.code(), caught.value.details()


def reference(name: str, namespace: str = "onlineboutique", **metadata: str) -> messages.ScaledObjectRef:
    return messages.ScaledObjectRef(
        name=name, namespace=namespace, scalerMetadata={"scalerAddress": "gnnrl-keda:6000", **metadata}
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.channel.close()
    bench.server.stop()


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.record, shared.broken, shared.clock = RECORD, False, SteppedClock(START + 10.0)
    shared.scaler.clock = shared.clock
    return shared


def test_the_number_is_what_the_guardrails_made_of_the_wish(bench: Bench) -> None:
    assert bench.metrics("frontend") == 13.0
    assert bench.metrics("cartservice") == 8 - 15 / 16  # down: the least value that lands on 8
    assert bench.metrics("cartservice", metric="s0-gnnrl-cartservice") == 8 - 15 / 16


def test_metadata_names_the_deployment(bench: Bench) -> None:
    assert bench.metrics("my-scaledobject", deployment="frontend") == 13.0
    assert bench.stub.IsActive(reference("my-scaledobject", deployment="adservice")).result is False


def test_a_metric_of_another_deployment_is_not_answered(bench: Bench) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        bench.metrics("frontend", metric="gnnrl-cartservice")
    assert caught.value.code() is NOT_FOUND


def test_the_specification_is_one_replica_a_unit(bench: Bench) -> None:
    (spec,) = bench.stub.GetMetricSpec(reference("frontend")).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("gnnrl-frontend", 1, 1.0)


def test_the_specification_answers_while_everything_is_broken(bench: Bench) -> None:
    bench.broken, bench.record = True, None
    for asked in (
        reference("frontend"),
        reference("nobody"),
        reference("frontend", namespace="elsewhere"),
        messages.ScaledObjectRef(),
    ):
        (spec,) = bench.stub.GetMetricSpec(asked, timeout=60).metricSpecs
        assert spec.metricName == f"gnnrl-{asked.name}" and spec.targetSizeFloat == TARGET
    with pytest.raises(grpc.RpcError):  # the control: what does depend on the loop fails with it
        bench.metrics("frontend")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "no decision yet"),
        (replace(RECORD, seconds=START - 66.0), "76 s old"),
        (replace(RECORD, data_age_seconds={"graph": 20.0, "metrics": 65.5}), "data from metrics is 76 s old"),
        (replace(RECORD, data_age_seconds={"metrics": 35.0}, problems=("Kiali: 503",)), "no data from graph: Kiali"),
        (replace(RECORD, data_age_seconds={"graph": 20.0}), "no data from metrics"),
        (replace(RECORD, valid=False, problems=("policy: NaN",)), "no valid decision: policy: NaN"),
        (replace(RECORD, is_leader=False), "not the leader"),
        (replace(RECORD, services=()), "no Deployment 'frontend' among the 0"),
        (replace(RECORD, services=(replace(RECORD.services[0], guardrails=("owned",)),)), "gnnrl serve-keda"),
    ],
)
def test_what_may_not_be_acted_upon_is_an_error_that_says_why(
    bench: Bench, record: IntervalRecord | None, words: str
) -> None:
    bench.record = record
    code, details = bench.refusal("frontend")
    assert code is UNAVAILABLE and words in details


def test_what_was_held_for_its_data_is_an_error_and_what_was_raised_is_not(bench: Bench) -> None:
    doubtful = replace(RECORD.services[0], guardrails=("untrusted",))
    bench.record = replace(RECORD, services=(replace(doubtful, final=doubtful.current),))
    code, details = bench.refusal("frontend")
    assert code is UNAVAILABLE and "data of frontend" in details
    bench.record = replace(RECORD, services=(doubtful,))
    assert bench.metrics("frontend") == 13.0
    held = replace(RECORD.services[0], guardrails=("cooldown",), final=12)
    bench.record = replace(RECORD, services=(held,))
    assert bench.metrics("frontend") == 12.0


def test_an_owner_is_no_reason_to_hold_where_nothing_is_written() -> None:
    """KEDA's own HPA owns every Deployment that asks; only the owner is left out of the snapshot."""

    class Fixed:
        def read(self) -> ClusterSnapshot:
            return snapshot

    owned = DeploymentState(
        name="frontend",
        uid="u",
        resource_version="7",
        desired=4,
        ready=3,
        starting=1,
        pending=0,
        containers=(),
        created_seconds=START,
        owner="ScaledObject/frontend",
        min_available=2,
    )
    problem = Problem(source="graph", message="Kiali: 503")
    snapshot = ClusterSnapshot(
        namespace="onlineboutique", taken_seconds=START, deployments=(owned,), problems=(problem,)
    )
    read = UnownedReader(Fixed()).read()
    assert read == replace(snapshot, deployments=(replace(owned, owner=""),))


def test_a_decision_goes_stale_by_the_clock_alone(bench: Bench) -> None:
    bench.record = replace(RECORD, data_age_seconds={"graph": 0.0, "metrics": 0.0})
    bench.clock.sleep_until(START + 75.0)
    assert bench.metrics("frontend") == 13.0
    bench.clock.sleep_until(START + 75.1)
    assert bench.refusal("frontend")[0] is UNAVAILABLE


def test_the_data_under_a_decision_grow_old_with_it(bench: Bench) -> None:
    bench.clock.sleep_until(START + 40.0)
    assert bench.metrics("frontend") == 13.0
    bench.clock.sleep_until(START + 40.6)
    assert "data from metrics is 76 s old" in bench.refusal("frontend")[1]


def test_a_deployment_of_another_namespace_is_unknown_even_under_a_known_name(bench: Bench) -> None:
    asked = messages.GetMetricsRequest(scaledObjectRef=reference("frontend", namespace="elsewhere"))
    with pytest.raises(grpc.RpcError) as caught:
        bench.stub.GetMetrics(asked)
    assert caught.value.code() is UNAVAILABLE and "'elsewhere'" in caught.value.details()


def test_active_is_never_denied_for_want_of_data(bench: Bench) -> None:
    assert bench.stub.IsActive(reference("frontend")).result is True
    assert bench.stub.IsActive(reference("adservice")).result is False
    bench.record = replace(RECORD, seconds=START - 10_000.0, valid=False, data_age_seconds={})
    assert bench.stub.IsActive(reference("frontend")).result is True
    for record, name in ((None, "frontend"), (RECORD, "nobody")):
        bench.record = record
        with pytest.raises(grpc.RpcError) as caught:
            bench.stub.IsActive(reference(name))
        assert caught.value.code() is UNAVAILABLE


def test_a_stream_tells_changes_and_only_changes(bench: Bench) -> None:
    bench.record = None
    stream = bench.stub.StreamIsActive(reference("frontend"), timeout=120)
    heard: list[bool] = []
    arrived = threading.Semaphore(0)

    def listen() -> None:
        try:
            for answer in stream:
                heard.append(answer.result)
                arrived.release()
        except grpc.RpcError:
            arrived.release()

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.1)
    assert heard == []
    bench.record = RECORD
    assert arrived.acquire(timeout=60) and heard == [True]
    bench.record = replace(RECORD, number=8)  # the same again, then unknown: nothing to tell
    time.sleep(0.05)
    bench.record = replace(RECORD, services=())
    time.sleep(0.05)
    bench.record = replace(RECORD, services=(decision("frontend", 1, 0),))
    assert arrived.acquire(timeout=60) and heard == [True, False]
    stream.cancel()
    listener.join(60)
    assert not listener.is_alive() and heard == [True, False]


def test_many_streams_keep_no_call_waiting(bench: Bench) -> None:
    streams = [bench.stub.StreamIsActive(reference("frontend"), timeout=120) for _ in range(100)]
    assert [next(stream).result for stream in streams] == [True] * 100
    names = ("frontend", "cartservice") * 200
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(bench.metrics, names))
    assert answers == [13.0, 7.0625] * 200
    for stream in streams:
        stream.cancel()


def test_nobody_else_is_served_unless_it_is_said() -> None:
    assert inspect.signature(serve).parameters["address"].default == LOOPBACK == "127.0.0.1"


def test_a_port_in_use_is_said_so(bench: Bench) -> None:
    with pytest.raises(OSError, match=f"{bench.server.port}: in use"):
        serve(bench.scaler, address="127.0.0.1", port=bench.server.port)
    with serve(bench.scaler, address="127.0.0.1", port=0) as second:
        freed = second.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", freed)) != 0
    second.stop()


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    return certificate, key


def test_tls_and_client_certificates(bench: Bench, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "scaler")
    keda_certificate, keda_key = self_signed(tmp_path, "keda")
    tls = KedaTls(certificate_file=certificate, key_file=key, client_ca_file=keda_certificate)

    def ask(port: int, credentials: grpc.ChannelCredentials) -> str:
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            answer = ExternalScalerStub(channel).GetMetricSpec(reference("frontend"), timeout=3)
            return str(answer.metricSpecs[0].metricName)

    authority = certificate.read_bytes()
    with serve(bench.scaler, address="127.0.0.1", port=0, tls=tls) as server:
        known = grpc.ssl_channel_credentials(authority, keda_key.read_bytes(), keda_certificate.read_bytes())
        assert ask(server.port, known) == "gnnrl-frontend"
        for stranger in (
            grpc.ssl_channel_credentials(authority),
            grpc.ssl_channel_credentials(keda_certificate.read_bytes()),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                ask(server.port, stranger)
            assert caught.value.code() is UNAVAILABLE
    with pytest.raises(ValueError, match="not a certificate with its key"):
        serve(bench.scaler, port=0, tls=KedaTls(certificate_file=certificate, key_file=keda_key))
    with pytest.raises(OSError):
        serve(bench.scaler, port=0, tls=KedaTls(certificate_file=tmp_path / "none", key_file=key))


def hpa_lands_on(value: float, replicas: int, tolerance: float) -> int:
    """What HPA makes of an external metric with an AverageValue target of 1 (GetExternalPerPodMetricReplicas)."""
    milli = int(value * 1000)  # KEDA hands on whole thousandths, cut off
    ratio = milli / (1000 * TARGET * replicas)
    return replicas if 1 - tolerance <= ratio <= 1 + tolerance else math.ceil(milli / (1000 * TARGET))


def test_without_tolerance_every_wish_is_met_exactly() -> None:
    for replicas in range(1, 301):
        for wish in range(1, 301):
            assert hpa_lands_on(metric_value(wish, replicas), replicas, 0.0) == wish


def test_whatever_hpa_sees_it_lands_on_the_wish_or_stays() -> None:
    """Also where the record's replicas are not (any more) those that HPA counts."""
    for recorded in range(1, 31):
        for wish in range(1, 31):
            value = metric_value(wish, recorded)
            for seen in range(1, 31):
                assert hpa_lands_on(value, seen, 0.1) in (wish, seen)


def test_what_the_tolerance_swallows_is_what_is_documented() -> None:
    def lost(step: int, *, plainly: bool) -> list[int]:
        swallowed = []
        for replicas in range(2, 61):
            wish = replicas + step
            value = float(wish) if plainly else metric_value(wish, replicas)
            if wish >= 1 and hpa_lands_on(value, replicas, 0.1) != wish:
                swallowed.append(replicas)
        return swallowed

    assert lost(-1, plainly=True)[0] == 10
    assert lost(-1, plainly=False)[0] == 20
    assert lost(1, plainly=False)[0] == lost(1, plainly=True)[0] == 10
    assert lost(2, plainly=False)[0] == 20


def test_no_value_makes_hpa_add_what_the_tolerance_swallows() -> None:
    """All values in steps of a thousandth: those that leave 10..19 replicas never land on one more."""
    for replicas in range(10, 20):
        landings = {hpa_lands_on(milli / 1000, replicas, 0.1) for milli in range(1, 3000 * replicas)}
        assert replicas + 1 not in landings
        assert replicas + 2 in landings and replicas - 1 in landings


def test_the_arithmetic_is_that_of_the_baseline() -> None:
    """HPA's tolerance and rounding as the baseline has them: a metric of v over r pods is a utilisation of v / r."""
    compared = 0
    for replicas in range(1, 41):
        for wish in range(1, 41):
            # Utilisation is held in whole per cent and multiplied by the pods: where that is not exact the two may differ.
            if (wish * 100) % replicas or (wish * 100 // replicas) / 100 * replicas != wish:
                continue
            proposal, valid = hpa.resource_proposal(replicas, replicas, wish * 1000.0, 1000.0, 100.0)
            assert bool(valid) and int(proposal) == hpa_lands_on(float(wish), replicas, hpa.TOLERANCE)
            compared += 1
    assert compared > 400


def test_the_generated_code_is_that_of_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    name = "gnnrl/live/keda/externalscaler"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, f"--grpc_python_out={tmp_path}", f"{name}.proto"], check=True, cwd=ROOT, timeout=60)
    for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
        assert (tmp_path / f"{name}{suffix}").read_text() == (ROOT / f"{name}{suffix}").read_text(), "run: make proto"


def test_names_and_numbers_are_those_of_keda() -> None:
    """By the bytes on the wire, so that a renumbered field cannot agree with itself on both ends."""
    asked = messages.GetMetricsRequest(scaledObjectRef=reference("a", namespace="b"), metricName="m")
    asked.scaledObjectRef.scalerMetadata.clear()
    assert asked.SerializeToString() == b"\x0a\x06\x0a\x01a\x12\x01b\x12\x01m"
    tagged = messages.ScaledObjectRef(scalerMetadata={"k": "v"})
    assert tagged.SerializeToString() == b"\x1a\x06\x0a\x01k\x12\x01v"
    value = messages.MetricValue(metricName="m", metricValue=2, metricValueFloat=2.0)
    spec = messages.MetricSpec(metricName="m", targetSize=2, targetSizeFloat=2.0)
    wire = b"\x0a\x01m\x10\x02\x19" + np.float64(2.0).tobytes()
    assert value.SerializeToString() == spec.SerializeToString() == wire
    assert messages.IsActiveResponse(result=True).SerializeToString() == b"\x08\x01"
    methods = messages.DESCRIPTOR.services_by_name["ExternalScaler"].methods
    assert messages.DESCRIPTOR.services_by_name["ExternalScaler"].full_name == "externalscaler.ExternalScaler"
    streamed = {method.name: method.server_streaming for method in methods}
    assert streamed == {"IsActive": False, "StreamIsActive": True, "GetMetricSpec": False, "GetMetrics": False}
