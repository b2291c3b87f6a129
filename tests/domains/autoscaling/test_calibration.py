"""The calibration file: what is chosen, and that it comes back as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.loader import load_config
from gnnrl.domains.autoscaling.baselines import BASELINES, is_calibrated
from gnnrl.domains.autoscaling.calibration import (
    Calibration,
    CalibrationError,
    Setting,
    pareto,
    shipped,
    violation_budget,
)


def setting(target: float, share: float, cost: float) -> Setting:
    return Setting(values={"target_percent": target}, violating_share=share, replica_seconds=cost, scale_moves=10.0)


SWEPT = (
    setting(150, 0.09, 90.0),
    setting(100, 0.01, 120.0),
    setting(110, 0.02, 100.0),
    setting(90, 0.012, 130.0),
    setting(50, 0.0, 200.0),
)


def calibration(**frontiers: tuple[Setting, ...]) -> Calibration:
    return Calibration(
        environment=Calibration.scope(AutoscalingConfig()),
        seeds=8,
        frontiers={workload: {"hpa_calibrated": settings} for workload, settings in frontiers.items()},
    )


def test_the_cheapest_within_the_budget_is_chosen_and_flash_may_violate_three_times_as_much() -> None:
    swept = calibration(noisy=SWEPT, flash=SWEPT)
    assert violation_budget("flash") == 0.03
    assert swept.chosen("noisy", "hpa_calibrated").values == {"target_percent": 100}
    assert swept.chosen("flash", "hpa_calibrated").values == {"target_percent": 110}


def test_where_nothing_is_within_the_budget_the_least_violating_is_chosen() -> None:
    assert calibration(noisy=SWEPT[:1] + SWEPT[2:4]).chosen("noisy", "hpa_calibrated").values == {"target_percent": 90}


def test_pareto_leaves_out_what_another_setting_beats() -> None:
    assert [s.values["target_percent"] for s in pareto(SWEPT)] == [50, 100, 110, 150]


def test_a_calibration_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = calibration(noisy=SWEPT, flash=SWEPT[:3])
    written.save(tmp_path / "deep" / "file.yaml")
    assert Calibration.load(tmp_path / "deep" / "file.yaml") == written
    assert not list(tmp_path.rglob("*.partial"))


def test_another_environment_is_not_merged_and_a_broken_file_is_named(tmp_path: Path) -> None:
    one, other = calibration(noisy=SWEPT), calibration(flash=SWEPT)
    assert set(one.merged(other).frontiers) == {"noisy", "flash"}
    elsewhere = Calibration(environment=Calibration.scope(AutoscalingConfig(max_replicas=8)), seeds=8)
    with pytest.raises(CalibrationError, match="different environments"):
        one.merged(elsewhere)
    path = tmp_path / "broken.yaml"
    path.write_text("[1, 2")
    with pytest.raises(CalibrationError, match=r"broken\.yaml: not a calibration file"):
        Calibration.load(path)


@pytest.mark.parametrize("name", ["demo", "online_boutique_ppo", "small"])
def test_the_experiments_in_the_repository_come_with_their_calibration(name: str) -> None:
    config = load_config(Path(__file__).parents[3] / "configs" / f"{name}.yaml")
    found = shipped(config.environment)
    assert found is not None
    for workload in (*config.environment.workloads, *config.evaluation.workloads):
        for rule in (name for name in BASELINES if is_calibrated(name)):
            chosen = found.chosen(workload, rule)
            assert chosen.replica_seconds > 0
            best = pareto(found.settings(workload, rule))
            assert [s.violating_share for s in best] == sorted(s.violating_share for s in best)
    assert shipped(AutoscalingConfig(max_replicas=19)) is None
