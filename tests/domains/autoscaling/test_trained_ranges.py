"""What a policy was trained on, and what of a mesh lies outside of it; an SLO that nothing keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig, RandomisationConfig
from gnnrl.config.loader import dump_config, parse_config
from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES
from gnnrl.domains.autoscaling.idle_latency import idle_latency, idle_p95_ms, own_means_ms, unreachable_slo
from gnnrl.domains.autoscaling.mesh import peak_rps
from gnnrl.domains.autoscaling.mesh_file import save_mesh
from gnnrl.domains.autoscaling.observed import observe
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from gnnrl.domains.autoscaling.trained_ranges import (
    QUANTITIES,
    Departure,
    Range,
    asked_of,
    departures,
    room_for,
    told,
    trained_on,
)

TRAINED = AutoscalingConfig(
    mesh=("online_boutique", "random:6-24"), peak_replicas=(10.0, 17.0), violation_weight=(50.0, 2500.0)
)


def of(low: float, high: float | None = None) -> Range:
    return Range(low=low, high=low if high is None else high)


def asked(environment: AutoscalingConfig, weight: float = 400.0, workloads: tuple[str, ...] = ("flash",)) -> list[str]:
    return [found.what for found in departures(TRAINED, asked_of(environment, weight, workloads))]


def test_the_ranges_are_those_of_the_configuration() -> None:
    assert trained_on(TRAINED) == {
        "services": of(6, 24),
        "SLO over idle P95": of(2.0),
        "replicas at peak": of(10, 17),
        "most replicas": of(20),
        "age of metrics": of(15),
        "decision interval": of(15),
        "violation weight": of(50, 2500),
    }
    assert set(trained_on(TRAINED)) == set(QUANTITIES)


def test_a_setting_may_be_one_value_or_a_range_that_is_drawn_from() -> None:
    drawn = AutoscalingConfig(
        slo_factor=(1.35, 3.0), randomisation=RandomisationConfig(metrics_lag_added_seconds=(0, 45))
    )
    ranges = trained_on(drawn)
    assert ranges["SLO over idle P95"] == of(1.35, 3.0) and ranges["age of metrics"] == of(15, 60)
    assert departures(drawn, {"SLO over idle P95": of(2.9), "age of metrics": of(0)}) == ()
    (tight,) = departures(drawn, {"SLO over idle P95": of(1.2)})
    assert str(tight) == "an SLO of 1.2 x the idle P95 (trained on 1.35 to 3)"


def test_what_was_trained_on_is_not_said() -> None:
    assert asked(TRAINED) == []
    assert asked(replace(TRAINED, mesh=("random:6-6",), peak_replicas=(12.0, 12.0), max_replicas=8)) == []
    assert asked(replace(TRAINED, metrics_lag_seconds=0)) == [], "fresher data are no harm"


@pytest.mark.parametrize(
    ("environment", "weight", "what"),
    [
        (replace(TRAINED, mesh=("random:5-24",)), 400.0, ["services"]),
        (replace(TRAINED, mesh=("random:6-25",)), 400.0, ["services"]),
        (replace(TRAINED, slo_factor=(1.4, 2.0)), 400.0, ["SLO over idle P95"]),
        (replace(TRAINED, peak_replicas=(9.0, 17.0)), 400.0, ["replicas at peak"]),
        (replace(TRAINED, max_replicas=21), 400.0, ["most replicas"]),
        (replace(TRAINED, metrics_lag_seconds=30), 400.0, ["age of metrics"]),
        (replace(TRAINED, decision_seconds=5), 400.0, ["decision interval"]),
        (TRAINED, 49.0, ["violation weight"]),
        (replace(TRAINED, mesh=("random:60-60",), slo_factor=(3.0, 3.0)), 9e9, ["services", "SLO over idle P95", "violation weight"]),
    ],
)  # fmt: skip
def test_each_quantity_is_looked_at(environment: AutoscalingConfig, weight: float, what: list[str]) -> None:
    assert asked(environment, weight) == what


def test_a_mesh_file_states_its_services_and_its_objective(tmp_path: Path) -> None:
    mesh = online_boutique()
    path = tmp_path / "shop.yaml"
    save_mesh(replace(mesh, slo_ms=1.5 * idle_p95_ms(mesh)), path)
    here = replace(TRAINED, mesh=(str(path),))
    (found,) = departures(TRAINED, asked_of(here, 400.0, ("flash",)))
    assert found.what == "SLO over idle P95" and found.asked.low == pytest.approx(1.5, rel=1e-9)
    assert found.to_json() == {"what": found.what, "asked": [found.asked.low] * 2, "trained": [2.0, 2.0]}
    assert told((found,)).endswith("is not known: an SLO of 1.5 x the idle P95 (trained on 2)")
    # One that was trained on it needs nothing more.
    assert departures(here, asked_of(here, 400.0, ("flash",))) == ()
    # A run whose mesh file is gone says nothing of services and SLO, and all else.
    gone = replace(TRAINED, mesh=(str(tmp_path / "gone.yaml"),))
    assert set(QUANTITIES) - set(trained_on(gone)) == {"services", "SLO over idle P95"}
    assert [d.what for d in departures(gone, asked_of(replace(here, max_replicas=30), 1.0, ()))] == [
        "most replicas", "violation weight",
    ]  # fmt: skip


def test_recorded_loads_at_their_own_rates_say_what_they_need(tmp_path: Path) -> None:
    peak = peak_rps(online_boutique(), 1.0)
    path = tmp_path / "load.csv"
    path.write_text("time,rps\n0,1\n60,%.3f\n120,1\n" % (12.0 * peak))
    here = replace(TRAINED, mesh=("online_boutique",))
    assert asked(here, workloads=(f"absolute:{path}",)) == []
    assert asked(here, workloads=(str(path),)) == [], "it is scaled to a peak that suits"
    path.write_text("time,rps\n0,1\n60,%.3f\n120,1\n" % (40.0 * peak))
    (found,) = departures(TRAINED, asked_of(here, 400.0, (f"absolute:{path}",)))
    assert found.what == "replicas at peak" and found.asked.high == pytest.approx(40.0, rel=1e-3)
    assert departures(TRAINED, asked_of(here, 400.0, (f"absolute:{path}", "flash")))[0].asked.low == 10.0


def test_of_what_is_not_known_nothing_is_said() -> None:
    (found,) = departures(TRAINED, {"services": of(40)})
    assert found == Departure(what="services", asked=of(40), trained=of(6, 24))
    assert str(found) == "40 services (trained on 6 to 24)"


@pytest.mark.parametrize("gateway", [False, True])
def test_there_is_room_for_the_mesh_that_is_asked_for(gateway: bool, tmp_path: Path) -> None:
    small = AutoscalingConfig(max_nodes=4, max_edges=4, mesh=("random:2-3",))
    path = tmp_path / "shop.yaml"
    mesh = random_mesh(33, seed=5)
    save_mesh(mesh, path)
    shown = observe(mesh) if gateway else mesh
    assert room_for(str(path), small, gateway=gateway) == (len(shown.services), len(shown.calls))
    assert room_for("random:5-33", small, gateway=gateway)[0] == 33 + gateway
    for seed in range(20):
        drawn = random_mesh(33, seed=seed)
        calls = len((observe(drawn) if gateway else drawn).calls)
        assert calls <= room_for("random:5-33", small, gateway=gateway)[1]
    wide = replace(small, max_nodes=500, max_edges=900)
    assert room_for(str(path), wide, gateway=gateway) == (500, 900)
    for source in ("none.yaml", "random:x", "boutique"):
        assert room_for(source, small, gateway=gateway) == (4, 4), "whoever checks the configuration says so"


def test_what_services_add_to_the_idle_latency_is_all_of_it() -> None:
    for mesh in (online_boutique(), random_mesh(12, seed=3), random_mesh(40, seed=1, cycles=3)):
        assert own_means_ms(mesh).sum() == pytest.approx(idle_latency(mesh).mix_mean_ms, rel=1e-9)


def test_an_slo_below_the_idle_latency_is_an_error_with_service_and_number(tmp_path: Path) -> None:
    mesh = online_boutique()
    slow = replace(
        mesh,
        services=tuple(replace(s, base_latency_ms=400.0) if s.name == "cartservice" else s for s in mesh.services),
        slo_ms=300.0,
    )
    idle = idle_p95_ms(slow)
    assert idle > 300.0 and unreachable_slo(slow, idle) is None and unreachable_slo(slow, idle * 0.999) is not None
    path = tmp_path / "slow.yaml"
    save_mesh(slow, path)
    text = dump_config(ExperimentConfig())
    with pytest.raises(ConfigError) as error:
        parse_config(text, [f"environment.mesh=[{path}]"], rules=CONFIG_RULES)
    (line,) = error.value.errors
    cart = own_means_ms(slow)[slow.index("cartservice")]
    assert "an SLO of 300 ms is below its P95 without load" in line and f"{idle:.0f} ms" in line
    assert f"service 'cartservice' adds most, {cart:.0f} of the {own_means_ms(slow).sum():.0f} ms" in line
    save_mesh(replace(slow, slo_ms=1.01 * idle), path)
    assert parse_config(text, [f"environment.mesh=[{path}]"], rules=CONFIG_RULES).environment.mesh == (str(path),)
