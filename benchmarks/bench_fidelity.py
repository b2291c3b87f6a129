"""The tick model against the event-by-event reference: how far off mean, P95, P99 and failures are.

    python -m benchmarks.bench_fidelity [--quick]

Steady loads are fractions of the capacity of the hottest service. The overload starts from 0.6, lasts a minute at twice the capacity and
recovers at 0.5, with the request timeout of the simulation; it is compared in windows of 15 s. The reference is simulated until its own
standard error is small (printed); a difference below that means nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from tests.domains.autoscaling.reference import Outcome, simulate

LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)
WINDOW_SECONDS = 15
TIMEOUT_SECONDS = 10.0
UNLIMITED_SECONDS = 1e6
SHOWN = ("mean", "p95", "p99")
"""What is compared, besides the failed share."""
OVERLOAD_ENDS = 90
"""Seconds at which the load is back at half the capacity."""
BACKLOG_ENDS = 105
"""Start of the window in which the backlog of the overload comes to its end."""


def with_replicas(mesh: Mesh, hottest: int) -> Mesh:
    """The mesh with `hottest` pods of its hottest scalable service and the others in proportion, rounded up."""
    arrays = mesh.arrays()
    demand = np.where(arrays.stateful, 0.0, arrays.mean_visits * arrays.cpu_ms / arrays.cpu_limit)
    wanted = np.maximum(np.ceil(hottest * demand / demand.max() - 1e-9), 1).astype(int)
    services = (
        service if service.stateful else replace(service, replicas=int(n))
        for service, n in zip(mesh.services, wanted, strict=True)
    )
    return replace(mesh, services=tuple(services))


def capacity_rps(mesh: Mesh) -> float:
    """External requests/s at which the first service saturates."""
    arrays = mesh.arrays()
    return float((arrays.replicas * arrays.cpu_limit / arrays.cpu_ms / np.maximum(arrays.mean_visits, 1e-12)).min())


def chain(visits: float) -> Mesh:
    """A front end that calls one hot service this often."""
    services = (Service(name="front", cpu_ms=1.0, replicas=4), Service(name="hot", cpu_ms=2.0, replicas=4))
    calls = (Call(source="front", target="hot"),)
    return Mesh(
        name=f"chain_{visits:g}",
        services=services,
        calls=calls,
        classes=(RequestClass(name="only", root="front", weight=1.0, calls=(visits,)),),
    )


@dataclass(frozen=True)
class Window:
    """One window of requests, milliseconds and shares."""

    mean: float
    p50: float
    p95: float
    p99: float
    errors: float


def modelled(mesh: Mesh, rps: NDArray[Any], window: int, timeout: float = UNLIMITED_SECONDS) -> list[Window]:
    """The tick model, scraped every `window` seconds."""
    settings = PhysicsSettings(request_timeout_seconds=timeout)
    simulation = MeshSimulation(1, len(mesh.services), max(len(mesh.calls), 1), len(mesh.classes), settings)
    simulation.load(0, mesh)
    windows = []
    for start in range(0, len(rps), window):
        simulation.advance(np.asarray(rps[start : start + window])[None])
        w = simulation.scrape()
        values = (w.latency_mean_ms, w.latency_p50_ms, w.latency_p95_ms, w.latency_p99_ms, w.mesh_error_share)
        windows.append(Window(*(float(value[0]) for value in values)))
    return windows


def referred(
    mesh: Mesh, rps: NDArray[Any], window: int, seeds: range, timeout: float = np.inf
) -> tuple[list[Window], NDArray[np.float64]]:
    """The reference, all seeds pooled by the window in which a request ended; and the standard error of the mean, relative."""
    outcomes = [simulate(mesh, rps, seed=seed, request_timeout=timeout) for seed in seeds]
    windows, errors = [], []
    for start in range(0, len(rps), window):
        parts = [_within(outcome, start, start + window) for outcome in outcomes]
        latency = np.concatenate([ms for ms, _ in parts])
        failed = sum(n for _, n in parts)
        p50, p95, p99 = np.percentile(latency, [50, 95, 99])
        windows.append(Window(float(latency.mean()), p50, p95, p99, failed / (failed + len(latency))))
        # Successive requests share their queues: the error comes from batches, not from the count.
        pieces = [
            piece.mean() for ms, _ in parts for piece in np.array_split(ms, max(1, 20 // len(parts))) if len(piece)
        ]
        errors.append(np.std(pieces) / np.sqrt(len(pieces)) / latency.mean())
    return windows, np.array(errors)


def _within(outcome: Outcome, start: float, end: float) -> tuple[NDArray[np.float64], int]:
    inside = (outcome.finished_at >= start) & (outcome.finished_at < end)
    return 1000.0 * outcome.latency[inside & ~outcome.failed], int((inside & outcome.failed).sum())


def steady(mesh: Mesh, load: float, requests: float, seed: int = 1) -> tuple[Window, Window, float]:
    """Reference, model and the reference's relative standard error at a constant load."""
    rps = load * capacity_rps(mesh)
    seconds = int(max(requests / rps, 200))
    windows, error = referred(mesh, np.full(seconds, rps), seconds, range(seed, seed + 1))
    return windows[0], modelled(mesh, np.full(900, rps), 450)[-1], float(error[0])


def overload(mesh: Mesh, factor: float, seeds: range) -> tuple[list[Window], list[Window], NDArray[np.float64]]:
    """Reference, model and standard errors in windows through an overload and the recovery."""
    capacity = capacity_rps(mesh)
    rps = capacity * np.repeat((0.6, factor, 0.5), (30, 60, 60))
    reference, errors = referred(mesh, rps, WINDOW_SECONDS, seeds, TIMEOUT_SECONDS)
    return reference, modelled(mesh, rps, WINDOW_SECONDS, TIMEOUT_SECONDS), errors


def off(model: float, reference: float) -> float:
    """Relative difference in per cent."""
    return 100.0 * (model / reference - 1.0)


def measure() -> Iterator[dict[str, Any]]:
    """The worst differences of the quick tables; `python -m benchmarks.bench_fidelity` prints all."""
    tables = run(quick=True)
    for key in SHOWN:
        yield {
            "figure": f"steady load 0.3 to 0.9, {key}, worst",
            "value": max(abs(row[key]) for row in tables["steady"]),
            "unit": "%",
            "aim": "<= 10",
        }
    phases = {
        "the overload": lambda start: start < OVERLOAD_ENDS,
        "the recovery while there is a backlog": lambda start: OVERLOAD_ENDS <= start < BACKLOG_ENDS,
        "the window in which the backlog ends": lambda start: start == BACKLOG_ENDS,
        "the recovery after it": lambda start: start > BACKLOG_ENDS,
    }
    for phase, within in phases.items():
        rows = [row for row in tables["overload"] if within(row["start"])]
        for key in SHOWN:
            yield {
                "figure": f"2x overload, {phase}, {key}, worst window",
                "value": max(abs(row[key]) for row in rows),
                "unit": "%",
                "aim": "<= 10",
            }
        yield {
            "figure": f"2x overload, {phase}, failed share, worst window",
            "value": 100.0 * max(abs(row["errors"][0] - row["errors"][1]) for row in rows),
            "unit": "points",
        }


def run(*, quick: bool = False) -> dict[str, Any]:
    """Print and return the tables."""
    scale = 0.25 if quick else 1.0
    boutique = online_boutique()
    meshes = {f"boutique, hottest x{n}": with_replicas(boutique, n) for n in (1, 5, 12)}
    for services, seed in ((8, 1), (20, 2), (60, 3)):
        meshes[f"random, {services} services"] = with_replicas(random_mesh(services, seed), 6)
    meshes["random, 20 services, 2 cycles"] = with_replicas(random_mesh(20, 5, cycles=2), 6)
    result: dict[str, Any] = {"steady": [], "overload": []}
    print("steady load: model against reference, per cent (mean, P50, P95, P99; the reference's own error of the mean)")
    for name, mesh in meshes.items():
        for load in LOADS:
            reference, model, error = steady(mesh, load, 150_000 * scale)
            row = {key: off(getattr(model, key), getattr(reference, key)) for key in ("mean", "p50", "p95", "p99")}
            result["steady"].append({"mesh": name, "load": load, **row, "reference_error": 100 * error})
            print(
                f"{name:30s} {load:.1f}  {reference.mean:7.0f} ms  {row['mean']:+6.1f} {row['p50']:+6.1f} {row['p95']:+6.1f} "
                f"{row['p99']:+6.1f}  (+-{100 * error:.1f})",
                flush=True,
            )
    print(
        "2x overload from 30 s to 90 s, windows of 15 s: mean / P95 / P99 per cent off, failed share of reference and model"
    )
    cases = {
        **{name: meshes[name] for name in list(meshes)[1:5]},
        "chain, 5 visits": chain(5.0),
        "chain, 1.5": chain(1.5),
    }
    for name, mesh in cases.items():
        references, models, _ = overload(mesh, 2.0, range(max(2, int(6 * scale))))
        cells = []
        for k, (reference, model) in enumerate(zip(references, models, strict=True)):
            row = {key: off(getattr(model, key), getattr(reference, key)) for key in SHOWN}
            failed = (reference.errors, model.errors)
            result["overload"].append({"mesh": name, "start": k * WINDOW_SECONDS, **row, "errors": failed})
            differences = "/".join(f"{value:+.0f}" for value in row.values())
            cells.append(f"{differences} ({reference.errors:.2f},{model.errors:.2f})")
        print(f"{name:30s} " + "  ".join(cells), flush=True)
    return result


if __name__ == "__main__":
    run(quick="--quick" in sys.argv)
