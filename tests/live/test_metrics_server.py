"""What Prometheus scrapes and what the probes are told, over a real socket."""

from __future__ import annotations

import http.client
import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gnnrl.live.decision import Influence, IntervalRecord, ServiceDecision
from gnnrl.live.metrics_server import INFLUENCES_SHOWN, LiveMetrics, MetricsServer, MetricsServerError


def decision(service: str, **more: Any) -> ServiceDecision:
    return ServiceDecision(
        **({"service": service, "current": 3, "ready": 2, "wish": 6, "final": 5, "outcome": "patched"} | more)
    )


def record(*services: ServiceDecision, **more: Any) -> IntervalRecord:
    settings = {"number": 1, "seconds": 1000.0, "policy": "gnn", "mode": "live", "valid": True, "data_age_seconds": {}}
    return IntervalRecord(**(settings | more), services=services)


def samples(metrics: LiveMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: LiveMetrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_an_interval_becomes_numbers() -> None:
    metrics = LiveMetrics("shop")
    influence = Influence(kind="call", name="frontend -> cart", weight=-0.5)
    metrics.record(
        record(
            decision("cart", guardrails=("max_up", "deadband"), influences=(influence,)),
            decision("ads", outcome="failed"),
            data_age_seconds={"graph": 12.5, "metrics": 30.0},
            api_errors={"graph": 2},
            read_seconds=0.2,
            decide_seconds=0.03,
            write_seconds=0.06,
        )
    )
    assert value(metrics, "gnnrl_decisions_total", namespace="shop", service="cart", outcome="patched") == 1
    assert value(metrics, "gnnrl_decisions_total", namespace="shop", service="ads", outcome="failed") == 1
    shown = [
        value(metrics, "gnnrl_replicas", service="cart", kind=kind) for kind in ("current", "wish", "final", "ready")
    ]
    assert shown == [3, 6, 5, 2]
    assert value(metrics, "gnnrl_guardrail_hits_total", guardrail="max_up", service="cart") == 1
    assert value(metrics, "gnnrl_data_age_seconds", source="graph") == 12.5
    assert value(metrics, "gnnrl_api_errors_total", source="graph") == 2
    assert value(metrics, "gnnrl_api_errors_total", source="scale") == 1
    assert value(metrics, "gnnrl_interval_seconds_sum", phase="total") == pytest.approx(0.29)
    assert value(metrics, "gnnrl_interval_seconds_bucket", phase="total", le="0.25") == 0
    assert value(metrics, "gnnrl_interval_seconds_bucket", phase="total", le="0.5") == 1
    assert value(metrics, "gnnrl_interval_seconds_sum", phase="decide") == pytest.approx(0.03)
    assert value(metrics, "gnnrl_intervals_total", valid="true") == 1
    assert value(metrics, "gnnrl_leader", mode="live") == 1
    assert value(metrics, "gnnrl_last_valid_decision_timestamp_seconds") == 1000.0
    assert value(metrics, "gnnrl_influence", service="cart", input="frontend -> cart") == -0.5


def test_failed_calls_outside_of_records_count_too() -> None:
    metrics = LiveMetrics("shop")
    metrics.api_error("events")
    metrics.api_error("events", 2)
    assert value(metrics, "gnnrl_api_errors_total", source="events") == 3


def test_counters_add_up_and_gauges_are_of_the_last_record() -> None:
    metrics = LiveMetrics("shop")
    assert (
        value(metrics, "gnnrl_leader", mode="") == 0
        and value(metrics, "gnnrl_last_valid_decision_timestamp_seconds") == 0
    )
    metrics.record(record(decision("cart"), data_age_seconds={"graph": 5.0}))
    metrics.record(
        record(decision("cart", current=5, final=5, outcome="none"), seconds=1015.0, valid=False, is_leader=False)
    )
    metrics.record(record(decision("cart"), seconds=1030.0, valid=False))
    assert value(metrics, "gnnrl_decisions_total", namespace="shop", service="cart", outcome="patched") == 2
    assert value(metrics, "gnnrl_decisions_total", namespace="shop", service="cart", outcome="none") == 1
    assert value(metrics, "gnnrl_intervals_total", valid="false") == 2
    assert value(metrics, "gnnrl_last_valid_decision_timestamp_seconds") == 1000.0
    assert not any(name == "gnnrl_data_age_seconds" for name, _ in samples(metrics))


def test_who_leads_a_dry_run_is_told_from_who_leads() -> None:
    metrics = LiveMetrics("shop")
    metrics.record(record(decision("cart"), mode="dry-run"))
    assert value(metrics, "gnnrl_leader", mode="dry-run") == 1
    assert [labels for name, labels in samples(metrics) if name == "gnnrl_leader"] == [{("mode", "dry-run")}]


def test_series_of_a_service_that_vanished_are_gone_and_of_a_failed_reading_stay() -> None:
    metrics = LiveMetrics("shop")
    both = [decision(name, guardrails=("max_up",)) for name in ("cart", "ads")]
    metrics.record(record(*both))
    metrics.record(record(valid=False))
    assert {"cart", "ads"} <= {v for _, labels in samples(metrics) for _, v in labels}
    metrics.record(record(both[0]))
    assert "ads" not in metrics.exposition().decode()
    assert value(metrics, "gnnrl_guardrail_hits_total", guardrail="max_up", service="cart") == 2
    metrics.record(record(*both))
    assert value(metrics, "gnnrl_decisions_total", namespace="shop", service="ads", outcome="patched") == 1


def test_churn_does_not_grow_the_registry() -> None:
    metrics = LiveMetrics("shop")
    sizes = []
    for k in range(300):
        names = [f"s{k}-{j}" for j in range(3)]
        metrics.record(record(*(decision(name, guardrails=("max_up",)) for name in names)))
        sizes.append(len(samples(metrics)))
    assert sizes[0] == sizes[-1]
    assert len(metrics._counted) == len(metrics._guarded) == 3


def test_influences_are_the_largest_few() -> None:
    metrics = LiveMetrics("shop")
    weights = {f"i{k}": (-1) ** k * float(k) for k in range(500)}
    influences = tuple(Influence(kind="service", name=name, weight=weight) for name, weight in weights.items())
    metrics.record(record(decision("cart", influences=influences)))
    shown = {
        dict(labels)["input"]: shown for (name, labels), shown in samples(metrics).items() if name == "gnnrl_influence"
    }
    assert shown == {f"i{k}": weights[f"i{k}"] for k in range(500 - INFLUENCES_SHOWN, 500)}


def test_names_that_need_escaping_and_numbers_that_are_none() -> None:
    metrics = LiveMetrics("shop")
    odd = 'a"b\\c\nd'
    metrics.record(
        record(
            decision("cart", influences=(Influence(kind="service", name=odd, weight=1.0),)),
            data_age_seconds={"graph": math.nan},
        )
    )
    assert value(metrics, "gnnrl_influence", service="cart", input=odd) == 1.0
    assert math.isnan(value(metrics, "gnnrl_data_age_seconds", source="graph"))


def test_two_have_nothing_in_common() -> None:
    a, b = LiveMetrics("shop"), LiveMetrics("shop")
    a.record(record(decision("cart")))
    assert "cart" not in b.exposition().decode()


def test_a_scrape_never_sees_half_a_record() -> None:
    metrics = LiveMetrics("shop")
    done = threading.Event()

    def churn() -> None:
        for k in range(400):
            metrics.record(record(*(decision(f"s{j}", current=k, wish=k) for j in range(20))))
        done.set()

    thread = threading.Thread(target=churn)
    thread.start()
    while not done.is_set():
        shown = {
            v
            for (name, labels), v in samples(metrics).items()
            if name == "gnnrl_replicas" and dict(labels)["kind"] == "current"
        }
        assert len(shown) <= 1
    thread.join()


State = dict[str, tuple[bool, str]]


@pytest.fixture
def state() -> State:
    return {"ready": (False, "nothing read yet"), "alive": (True, "")}


@pytest.fixture
def server(state: State) -> Iterator[MetricsServer]:
    metrics = LiveMetrics("shop")
    metrics.record(record(decision("cart")))
    found = MetricsServer(metrics, 0, lambda: state["ready"], lambda: state["alive"], host="127.0.0.1")
    found.start()
    yield found
    found.stop()


def ask(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    result = (answer.status, answer.headers.get("Content-Type", ""), answer.read().decode())
    connection.close()
    return result


def test_the_probes_say_what_is_the_matter(server: MetricsServer, state: State) -> None:
    assert ask(server, "/readyz") == (503, "text/plain; charset=utf-8", "nothing read yet\n")
    state["ready"] = (True, "")
    assert ask(server, "/readyz")[::2] == (200, "ok\n")
    assert ask(server, "/healthz")[::2] == (200, "ok\n")
    state["alive"] = (False, "no interval for 90 s")
    assert ask(server, "/healthz")[::2] == (503, "no interval for 90 s\n")


def test_the_scrape_is_prometheus_text(server: MetricsServer) -> None:
    status, kind, text = ask(server, "/metrics?x=1")
    assert status == 200 and kind.startswith("text/plain; version=")
    assert 'gnnrl_replicas{kind="wish",service="cart"} 6.0' in text
    assert ask(server, "/metrics", "HEAD") == (200, kind, "")


def test_other_paths_and_methods(server: MetricsServer) -> None:
    assert ask(server, "/")[0] == 404
    assert ask(server, "/metrics", "POST")[0] == 501


def test_a_silent_client_does_not_keep_others_waiting(server: MetricsServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server, "/healthz")[0] == 200


def test_a_client_that_hangs_up_is_not_reported(server: MetricsServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert ask(server, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_said(server: MetricsServer) -> None:
    for port in (server.port, 70000):
        with pytest.raises(MetricsServerError, match=f"{port}.*--metrics-port"):
            MetricsServer(LiveMetrics("shop"), port, lambda: (True, ""), host="127.0.0.1")


def test_the_port_is_free_again_after_stopping() -> None:
    first = MetricsServer(LiveMetrics("shop"), 0, lambda: (True, ""), host="127.0.0.1")
    first.start()
    ask(first, "/healthz")
    first.stop()
    second = MetricsServer(LiveMetrics("shop"), first.port, lambda: (True, ""), host="127.0.0.1")
    second.stop()
