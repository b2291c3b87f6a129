"""What a policy has met in training, as ranges, and what of a mesh it is to scale now lies outside of them.

Outside is said, never refused: a policy over a graph runs anywhere, how well it does so out there nobody has looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms
from gnnrl.domains.autoscaling.load_file import ABSOLUTE, load_csv, recording
from gnnrl.domains.autoscaling.mesh import Mesh, MeshError, peak_rps
from gnnrl.domains.autoscaling.mesh_file import load_mesh
from gnnrl.domains.autoscaling.observed import AnyMesh, observe
from gnnrl.domains.autoscaling.online_boutique import online_boutique

__all__ = [
    "INTERVAL",
    "LAG",
    "MOST",
    "QUANTITIES",
    "SERVICES",
    "SLO",
    "WEIGHT",
    "Departure",
    "Range",
    "asked_of",
    "departures",
    "room_for",
    "told",
    "trained_on",
]

SERVICES, SLO, PEAK = "services", "SLO over idle P95", "replicas at peak"
MOST, LAG, INTERVAL, WEIGHT = "most replicas", "age of metrics", "decision interval", "violation weight"
QUANTITIES: Mapping[str, str] = {
    SERVICES: "{} services",
    SLO: "an SLO of {} x the idle P95",
    PEAK: "{} replicas of the hottest service at the peak",
    MOST: "up to {} replicas of a service",
    LAG: "metrics {} s old",
    INTERVAL: "a decision every {} s",
    WEIGHT: "a violation weight of {}",
}
"""What is compared, and how a value of it is said."""
TOLERANCE = 1e-6
CALLS_OF_SERVICE = 2
"""Room for the calls of a random mesh, the gateway's included, which has at most 1.6 for each of its services."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """From `low` to `high`, both of which count."""

    low: float
    high: float

    def holds(self, other: Range) -> bool:
        """Whether all of `other` is in it."""
        slack = TOLERANCE * max(abs(self.low), abs(self.high))
        return self.low - slack <= other.low and other.high <= self.high + slack

    def __str__(self) -> str:
        low, high = f"{self.low:.4g}", f"{self.high:.4g}"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Something asked for that training did not hold."""

    what: str
    """One of `QUANTITIES`."""
    asked: Range
    trained: Range

    def __str__(self) -> str:
        return f"{QUANTITIES[self.what].format(self.asked)} (trained on {self.trained})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": self.what,
            "asked": [self.asked.low, self.asked.high],
            "trained": [self.trained.low, self.trained.high],
        }


def trained_on(environment: AutoscalingConfig) -> dict[str, Range]:
    """What an environment holds, by quantity; a mesh file that is no longer there says nothing of services and SLOs."""
    found = {
        PEAK: _range(environment.peak_replicas),
        MOST: _range(environment.max_replicas),
        LAG: _range(
            [environment.metrics_lag_seconds + added for added in environment.randomisation.metrics_lag_added_seconds]
        ),
        INTERVAL: _range(environment.decision_seconds),
        WEIGHT: _range(environment.violation_weight),
    }
    try:
        meshes = [source if source.startswith("random:") else _mesh(source) for source in environment.mesh]
    except MeshError:
        return found
    return {
        SERVICES: _hull(_services(mesh) for mesh in meshes),
        SLO: _hull(_slo(mesh, environment) for mesh in meshes),
        **found,
    }


def asked_of(environment: AutoscalingConfig, violation_weight: float, workloads: Sequence[str]) -> dict[str, Range]:
    """The same of an environment that a policy is to be played in.

    Args:
        environment: its meshes and settings.
        violation_weight: that the policy is asked to work at.
        workloads: played; recordings at their own rates decide what is needed at their peaks.
    """
    found = trained_on(environment) | {WEIGHT: _range(violation_weight)}
    own = [path for name in workloads if name.startswith(ABSOLUTE) and (path := recording(name)) is not None]
    fixed = [_mesh(source) for source in environment.mesh if not source.startswith("random:")]
    if not own or not fixed:
        return found
    peaks = [float(load_csv(path).max()) / peak_rps(mesh, 1.0) for path in own for mesh in fixed]
    scaled = [found[PEAK]] if len(own) < len(workloads) else []
    # The same requests/s are cheap or dear, as the costs are drawn: nominal ones are told.
    found[PEAK] = _hull([*scaled, *(_range(peak) for peak in peaks)])
    return found


def departures(trained: AutoscalingConfig, asked: Mapping[str, Range]) -> tuple[Departure, ...]:
    """Where a policy is asked for what it was not trained on.

    Args:
        trained: the environment of its training.
        asked: quantity -> range, as `asked_of` gives it; of what is left out nothing is known.
    """
    ranges = trained_on(trained)
    return tuple(
        Departure(what=what, asked=asked[what], trained=ranges[what])
        for what in QUANTITIES
        if what in asked and what in ranges and not _within(what, ranges[what], asked[what])
    )


def told(found: Sequence[Departure]) -> str:
    """Departures in a sentence."""
    return f"not what the policy was trained on, so how it does there is not known: {'; '.join(map(str, found))}"


def _within(what: str, trained: Range, asked: Range) -> bool:
    if what in (MOST, LAG):
        # Fewer replicas than there might be, and fresher data, are part of what training holds.
        asked = Range(low=trained.low, high=max(trained.low, asked.high))
    return trained.holds(asked)


def room_for(source: str, environment: AutoscalingConfig, *, gateway: bool, growth: int = 1) -> tuple[int, int]:
    """Node and edge slots of an environment that are enough for a mesh as well.

    Args:
        source: as in `environment.mesh`; one that cannot be read asks for no room.
        environment: whose slots there are at least.
        gateway: whether the mesh is seen with its gateway and the calls from there (`telemetry: kiali`).
        growth: times as many services and calls as the mesh has now, where some come.
    """
    nodes, edges = environment.max_nodes, environment.max_edges
    try:
        if source.startswith("random:"):
            services = int(_services(source).high)
            return max(nodes, growth * services + gateway), max(edges, growth * CALLS_OF_SERVICE * services)
        mesh = _mesh(source)
    except (MeshError, ValueError):
        return nodes, edges
    shown: AnyMesh = observe(mesh) if gateway else mesh
    return max(nodes, growth * len(shown.services)), max(edges, growth * len(shown.calls))


def _mesh(source: str) -> Mesh:
    return online_boutique() if source == "online_boutique" else load_mesh(Path(source))


def _services(mesh: Mesh | str) -> Range:
    if isinstance(mesh, Mesh):
        return _range(len(mesh.services))
    low, _, high = mesh.removeprefix("random:").partition("-")
    return Range(low=int(low), high=int(high or low))


def _slo(mesh: Mesh | str, environment: AutoscalingConfig) -> Range:
    if isinstance(mesh, str) or mesh.slo_ms is None:
        return _range(environment.slo_factor)
    return _range(mesh.slo_ms / idle_p95_ms(mesh))


def _range(value: float | Sequence[float]) -> Range:
    """Of a setting: one value, or the two that are drawn between."""
    low, high = value if isinstance(value, Sequence) else (value, value)
    return Range(low=float(low), high=float(high))


def _hull(ranges: Iterable[Range]) -> Range:
    found = list(ranges)
    return Range(low=min(one.low for one in found), high=max(one.high for one in found))
