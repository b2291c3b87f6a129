"""A mesh as it is found, against what the policy was trained on, and against its objective: what is said of both before the loop starts.

Neither stands in the way. What is seen is the latency of the moment, not the one without load; between the two lies queueing, of which a
service that uses the share u of its CPU has at most 1 / (1 - u) times its own time (one pod, M/M/1), more pods less. So without load the
P95 is between (1 - u) times what it is now, u of the busiest service, and what it is now.
"""

from __future__ import annotations

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.own_latency import own_p95_ms
from gnnrl.domains.autoscaling.sensing import Reading
from gnnrl.domains.autoscaling.trained_ranges import (
    INTERVAL,
    LAG,
    MOST,
    SERVICES,
    SLO,
    WEIGHT,
    Departure,
    Range,
    departures,
    trained_on,
)

__all__ = ["idle_bounds_ms", "outside_of_training", "unreachable_objective"]

MARGIN = 1.1
"""A percentile of a minute is not more exact than this."""


def outside_of_training(trained: AutoscalingConfig, config: LiveConfig, reading: Reading) -> tuple[Departure, ...]:
    """What of the mesh and of the loop's settings the policy was not trained on.

    Args:
        trained: the environment of its training.
        config: of the loop.
        reading: the mesh as it is.
    """
    asked = {
        # A gateway, or whatever sends requests from outside, is none of the services.
        SERVICES: _only(sum(not service.outside for service in reading.mesh.services)),
        MOST: _only(config.guardrails.max_replicas),
        INTERVAL: _only(config.interval_seconds),
        WEIGHT: _only(config.violation_weight),
    }
    if "metrics" in reading.age_seconds:
        # As old as they become until the next are there.
        asked[LAG] = _only(max(0.0, reading.age_seconds["metrics"] - config.interval_seconds))
    slo = _slo_over_idle(trained, reading)
    return departures(trained, asked if slo is None else asked | {SLO: slo})


def unreachable_objective(reading: Reading) -> str | None:
    """Why more replicas would hardly keep the objective; None = they may, or nothing is known."""
    lowest, now = idle_bounds_ms(reading)
    if lowest <= reading.slo_ms:
        return None
    window, mesh = reading.window, reading.mesh
    added_ms = own_p95_ms(mesh, window) * window.rps_in[0] / max(float(window.external_rps[0]), 1e-9)
    slowest = int(added_ms[: len(mesh.services)].argmax())
    return (
        f"the P95 is {now:.0f} ms though no service uses more than {100.0 * _busiest_share(reading):.0f} % of its CPU, so that replicas "
        f"alone hardly bring it to {reading.slo_ms:g} ms; {mesh.names[slowest]} adds most, {added_ms[slowest]:.0f} ms a request; make it "
        "faster, or raise gnnrl.io/slo-ms"
    )


def idle_bounds_ms(reading: Reading) -> tuple[float, float]:
    """Between which the P95 without load is, in ms; (0, 0) where there is no latency."""
    now = float(reading.window.latency_p95_ms[0])
    return max(0.0, 1.0 - _busiest_share(reading)) * now, now


def _busiest_share(reading: Reading) -> float:
    """Of the CPU limits of its ready pods, what the busiest service uses, its proxies included."""
    window = reading.window
    shares = [
        float(window.cpu_millicores[0, i]) / (service.cpu_limit_millicores * max(int(window.metric_ready[0, i]), 1))
        for i, service in enumerate(reading.mesh.services[: len(reading.deployments)])
    ]
    return max(shares, default=0.0)


def _slo_over_idle(trained: AutoscalingConfig, reading: Reading) -> Range | None:
    """The objective over the P95 without load, where it is outside of what was trained on whatever that P95 is; else None."""
    lowest, now = idle_bounds_ms(reading)
    wanted = trained_on(trained).get(SLO)
    if now <= 0.0 or lowest <= 0.0 or wanted is None:
        return None
    least, most = reading.slo_ms / now, reading.slo_ms / lowest
    if MARGIN * most < wanted.low:
        return _only(most)
    return _only(least) if least > MARGIN * wanted.high else None


def _only(value: float) -> Range:
    return Range(low=float(value), high=float(value))
