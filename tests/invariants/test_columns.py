"""Every column of an observation holds what its name says: a distinct value goes in at each source and is read back by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.autoscaling import observation_kernel as kernel
from gnnrl.domains.autoscaling.observation import ObservationBuilder
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.telemetry import make_telemetry
from gnnrl.domains.queue_routing.observation import RoutingObservation
from graph_space.schema import (
    EDGES,
    GLOBALS,
    NODES,
    GraphObservation,
    GraphSchema,
    NodeColumns,
    autoscaling_schema,
    queue_routing_schema,
)

MESH = online_boutique()
SERVICES, CALLS = len(MESH.services), len(MESH.calls)
SLO_MS, WEIGHT, LAG_SECONDS = 500.0, 300.0, 15.0


def column(schema: GraphSchema, observation: GraphObservation, key: str, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(observation[key][0, ..., schema.index(key, name)], np.float64)


def built(columns: NodeColumns) -> tuple[ObservationBuilder, Any]:
    """Two windows, each field of each with a value of its own; the first is the one that is shown."""
    builder = ObservationBuilder(
        batch_size=1, max_services=SERVICES, max_calls=CALLS, max_nodes=SERVICES, max_edges=CALLS, node_columns=columns,
        lag_windows=1, decision_seconds=15.0, min_replicas=1, max_replicas=20,
    )  # fmt: skip
    builder.start(0, MESH, slo_ms=SLO_MS, violation_weight=WEIGHT, lag_seconds=LAG_SECONDS)
    window = make_telemetry(1, SERVICES, CALLS, histogram=False)
    active = np.ones(1, np.bool_)
    for now in (1, 2, 3):
        for number, name in enumerate(type(window).__dataclass_fields__):
            array = getattr(window, name)
            array[...] = 100 * now + number + np.arange(array.shape[-1]) / (1 if array.dtype == np.int32 else 64)
        window.latency_p95_ms[:] = SLO_MS * (0.9 + 0.01 * now)
        window.seconds[:], window.violating_seconds[:] = 15.0, 3.0 * now
        builder.push(window, active)
    return builder, window


def shown_of(window: Any, name: str) -> np.ndarray[Any, Any]:
    """A field as it was one window before."""
    return np.asarray(getattr(window, name)[0], np.float64) - 100.0


@pytest.mark.parametrize("columns", ["basic", "extended", "history", "dimensionless"])
def test_every_column_of_a_mesh_holds_what_its_name_says(columns: NodeColumns) -> None:
    builder, window = built(columns)
    observation, schema = builder.write(window), builder.schema
    assert (builder.slot_of_service[0] == np.arange(SERVICES)).all()
    limit = np.array([service.cpu_limit_millicores for service in MESH.services])
    request = np.array([service.cpu_request_millicores for service in MESH.services])
    scaled = np.array([not service.stateful for service in MESH.services])
    pods = (window.ready + window.starting + window.pending)[0].astype(np.float64)
    cpu, memory = shown_of(window, "cpu_millicores"), shown_of(window, "memory_mib")
    busy = cpu / limit
    plain = columns != "dimensionless"
    per_cpu = 1.0 if plain else 1.0 / limit[scaled].mean()
    per_memory = 1.0 if plain else pods.sum() / memory.sum()
    by_slo, over_slo = (1.0, 1.0) if plain else (SLO_MS / 1000.0, 1.0 / SLO_MS)
    change = 100.0 / limit
    expected = {
        NODES: [
            pods, window.desired[0], cpu * per_cpu, memory * per_memory, shown_of(window, "rps_in") * by_slo,
            shown_of(window, "rps_out") * by_slo, window.ready[0], (window.starting + window.pending)[0], request * per_cpu,
            limit * per_cpu, shown_of(window, "p95_ms") * over_slo, window.seconds_since_change[0], busy,
            shown_of(window, "error_share"), scaled,
            0.0 * busy, busy - _lowest(busy, change), change, _volatility(change), change,
            3600.0 + 0.0 * busy,
        ],
        EDGES: [
            shown_of(window, "call_rps") * by_slo, shown_of(window, "call_p95_ms") * over_slo,
            shown_of(window, "call_error_share"), [call.mtls for call in MESH.calls],
        ],
    }  # fmt: skip
    for key, values in expected.items():
        for name, value in zip(schema.names(key), values, strict=False):
            np.testing.assert_allclose(
                column(schema, observation, key, name), value, rtol=2e-4, atol=2e-4, err_msg=name
            )
        assert len(values) >= len(schema.names(key))
    kept = np.exp(-15.0 / 300.0)
    told = {
        "total_pods": pods.sum(),
        "mean_cpu_millicores": cpu.mean(),
        "mean_memory_mib": memory.mean(),
        "total_traffic_rps": shown_of(window, "external_rps"),
        "log_violation_weight": np.log(WEIGHT),
        "latency_p95_over_slo": 0.92,
        "violating_share_window": 0.4,
        "slo_seconds": SLO_MS / 1000.0,
        "mean_cpu_over_mean_limit": cpu.mean() * per_cpu,
        "mean_pods": pods.mean(),
        "total_traffic_by_slo": shown_of(window, "external_rps") * by_slo,
        "metrics_age_seconds": LAG_SECONDS + window.metrics_age_seconds[0],
        "slo_edge": 1.0 / (1.0 + np.exp(0.08 / 0.05)),
        "violating_share_recent": (1.0 - kept) * (0.4 + kept * 0.2),
    }
    for name in schema.names(GLOBALS):
        np.testing.assert_allclose(column(schema, observation, GLOBALS, name), told[name], rtol=2e-4, err_msg=name)


def _lowest(busy: np.ndarray[Any, Any], change: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Minimum of the two windows seen, recovering over an hour."""
    return busy + (busy - change - busy) * np.exp(-15.0 / 3600.0)


def _volatility(change: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.sqrt((1.0 - np.exp(-15.0 / 300.0)) * change**2)


def test_the_columns_of_the_kernel_are_those_of_the_schema() -> None:
    raw, widest = autoscaling_schema("history"), autoscaling_schema("dimensionless")
    for key, schema, names in (
        (
            NODES,
            raw,
            {
                "PODS": "pods",
                "CPU": "cpu_millicores",
                "MEMORY": "memory_mib",
                "P95": "p95_ms",
                "BUSY_TREND": "busy_trend",
            },
        ),
        (NODES, widest, {"AGE": "age_seconds", "CPU": "cpu_over_mean_limit", "LIMIT": "cpu_limit_over_mean_limit"}),
        (EDGES, raw, {"CALL_RPS": "rps", "CALL_MTLS": "mtls_share"}),
        (GLOBALS, raw, {"TRAFFIC": "total_traffic_rps", "SLO_SECONDS": "slo_seconds"}),
        (GLOBALS, widest, {"METRICS_AGE": "metrics_age_seconds", "VIOLATING_RECENT": "violating_share_recent"}),
    ):
        for constant, name in names.items():
            assert getattr(kernel, constant) == schema.index(key, name), constant


def test_every_column_of_the_queues_holds_what_its_name_says() -> None:
    config = QueueRoutingConfig(show_work=True)
    schema, replicas = queue_routing_schema(show_work=True), config.max_replicas
    number = np.arange(replicas, dtype=np.float64)[None]
    state: Any = SimpleNamespace(
        present_mask=np.ones((1, replicas), np.bool_),
        queue=2 + np.arange(replicas)[None],
        utilisation=0.1 + number / 10.0,
        work_seconds=30.0 + number,
        service_rates=np.stack([50.0 + number, 60.0 + number], axis=2),
        request_type=np.array([1]),
        elapsed_seconds=np.array([7.0]),
    )
    observation = RoutingObservation(config, 1).write(state)
    for name, value in (
        ("is_replica", 1.0), ("queue", state.queue[0]), ("utilisation", state.utilisation[0]), ("work_seconds", state.work_seconds[0]),
    ):  # fmt: skip
        np.testing.assert_allclose(column(schema, observation, NODES, name)[:replicas], value, rtol=1e-6, err_msg=name)
    assert (observation[NODES][0, -1] == 0.0).all(), "the request's own row"
    np.testing.assert_allclose(column(schema, observation, EDGES, "service_rate_rps"), 60.0 + number[0])
    for name, value in (("request_type", 1.0), ("interarrival_seconds", 7.0), ("in_system", state.queue.sum())):
        assert column(schema, observation, GLOBALS, name) == pytest.approx(value), name


@pytest.mark.parametrize("columns", ["history", "dimensionless"])
def test_a_builder_goes_on_from_its_state_and_a_new_episode_remembers_nothing(columns: NodeColumns) -> None:
    builder, window = built(columns)
    fresh, _ = built(columns)
    fresh.start(0, MESH, slo_ms=2.0 * SLO_MS, violation_weight=WEIGHT, lag_seconds=LAG_SECONDS)
    blank = fresh.write(window)
    history = [name for name in fresh.schema.names(NODES) if name.startswith("busy_")]
    assert all((column(fresh.schema, blank, NODES, name) == 0.0).all() for name in history)
    for name in ("violating_share_window", "violating_share_recent"):
        if name in fresh.schema.names(GLOBALS):
            assert column(fresh.schema, blank, GLOBALS, name) == 0.0, name
    fresh.load_state_dict(builder.state_dict())
    active = np.ones(1, np.bool_)
    for one in (builder, fresh):
        one.push(window, active)
        one.write(window)
    for key, shown in builder.observation.items():
        np.testing.assert_array_equal(fresh.observation[key], shown, err_msg=key)
