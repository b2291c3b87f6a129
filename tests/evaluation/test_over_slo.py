"""A comparison at several SLO factors: what is played, and what table, picture, report and JSON say of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.evaluation import over_slo, plots
from gnnrl.evaluation.comparison import compare_over_slo
from gnnrl.evaluation.conditions import USUAL, played, topology_changes
from gnnrl.evaluation.evaluated import Evaluation
from gnnrl.evaluation.report import compose
from gnnrl.evaluation.summary import summary
from tests.evaluation.made_up import CONFIG, SECONDS, evaluation

LOADS = ("diurnal", "flash")


def at(violating: float, replicas: float) -> Evaluation:
    """Two seeds on two loads: the second seed violates twice as much, the second load has ten replicas more."""
    rows = {}
    for name, times in (("policy", 1.0), ("hpa_80", 2.0)):
        counts = [times * (replicas + more) for more in (0.0, 0.0, 10.0, 10.0)]
        rows[name] = {
            "violating_share": [violating * twice for twice in (1.0, 2.0, 1.0, 2.0)],
            "replica_seconds": [SECONDS * count for count in counts],
            "objective": [1000.0 * count for count in counts],
        }
    return evaluation(LOADS, rows)


@pytest.fixture
def swept() -> Evaluation:
    found = {1.5: at(0.02, 45.0), 3.0: at(0.001, 35.0), 2.0: at(0.0, 40.0)}
    return replace(found[1.5], over_slo=found)


def test_the_table_has_everybody_at_each_factor_over_all_loads(swept: Evaluation) -> None:
    table = summary(swept)["tables"][-1]
    assert table["title"].startswith("Over the SLO factor: replicas @ violating %, J")
    assert table["columns"] == ["", "1.5", "3", "2"]
    assert table["rows"] == [
        ["policy", "50.0 @ 3.00, 50,000", "40.0 @ 0.15, 40,000", "45.0 @ 0.00, 45,000"],
        ["hpa_80", "100.0 @ 3.00, 100,000", "80.0 @ 0.15, 80,000", "90.0 @ 0.00, 90,000"],
    ]
    assert "Over the SLO factor" not in json.dumps(summary(replace(swept, over_slo={})))


def test_the_interval_is_that_of_the_seeds(swept: Evaluation) -> None:
    """Between loads there are ten replicas, between seeds none; between seeds 2 % are 4 %."""
    assert over_slo.mean_over_loads(swept, "policy", "replica_seconds").low == SECONDS * 50.0
    share = over_slo.mean_over_loads(swept, "policy", "violating_share")
    assert (share.low, share.mean, share.high) == pytest.approx((0.02, 0.03, 0.04))


def test_runs_together_have_the_mean_of_the_runs(swept: Evaluation) -> None:
    together = replace(swept, together={"both": ("policy", "hpa_80")})
    assert over_slo.mean_over_loads(together, "both", "objective").mean == 75_000.0


def test_the_json_has_every_factor(swept: Evaluation) -> None:
    document = json.loads(json.dumps(swept.to_json(), allow_nan=False))
    assert [found["slo_factor"] for found in document["over_slo_factor"]] == [1.5, 3.0, 2.0]
    found = document["over_slo_factor"][0]
    assert found["mean"]["policy"]["objective"]["mean"] == 50_000.0
    assert found["scenarios"]["flash"]["hpa_80"]["replica_seconds"]["mean"] == SECONDS * 110.0
    assert "over_slo_factor" not in replace(swept, over_slo={}).to_json()


def test_the_report_has_a_section_of_it(swept: Evaluation) -> None:
    text = compose(swept).html()
    section = text.split("<h2>Over the SLO factor</h2>")[1].split("</section>")[0]
    assert section.count("<svg") == 3 and section.count("<tr") == 3 * (1 + 2)
    assert "50.0 <small>" in section and "3.00 <small>[2.00, 4.00]</small>" in section


def test_lines_run_from_the_strictest_slo_to_the_laxest(swept: Evaluation) -> None:
    figure = over_slo.picture(swept, plots.colours(swept))._figure
    figure.canvas.draw()
    line = figure.axes[1].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[1.5, 50.0], [2.0, 45.0], [3.0, 40.0]])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1.5", "2", "3"]


def test_each_factor_is_played_on_the_same_meshes_loads_and_changes() -> None:
    config = replace(CONFIG, environment=replace(CONFIG.environment, episode_decisions=24))
    told: list[str] = []
    found = compare_over_slo(
        config,
        None,
        [2.4, 1.2],
        against=["hpa_80"],
        workloads=["noisy"],
        seeds=3,
        churn="gated",
        frontiers=False,
        progress=told.append,
    )
    lax, strict = found.over_slo.values()
    assert told == ["hpa_80", "hpa_80, SLO factor 1.2"] and lax.playbacks is found.playbacks
    for one, other in zip(lax.scenarios.episodes, strict.scenarios.episodes, strict=True):
        assert one.mesh == other.mesh and one.churn == other.churn
        np.testing.assert_array_equal(one.rps, other.rps)
        assert one.slo_ms == pytest.approx(2.0 * other.slo_ms)
    assert sum(len(episode.churn.events) for episode in lax.scenarios.episodes) > 0
    share = [at.mean("noisy", "hpa_80", "violating_share").mean for at in (lax, strict)]
    assert share[0] < share[1]
    alone = compare_over_slo(config, None, [1.2], against=["hpa_80"], workloads=["noisy"], seeds=3, churn="gated")
    assert alone.over_slo == {}
    assert alone.mean("noisy", "hpa_80", "violating_share").mean == share[1]


def test_conditions_change_what_they_say_and_nothing_else() -> None:
    own = ChurnConfig(pod_crashed_per_hour=3.0, ramp=(0.5,), cutover_delay_seconds=30)
    environment = AutoscalingConfig(churn=own, slo_factor=(1.4, 3.0))
    assert played(environment) == replace(environment, churn=ChurnConfig())
    assert played(environment, churn="gated") == environment
    assert played(environment, churn="hard", slo_factor=1.7) == replace(
        environment, churn=replace(own, cutover="hard"), slo_factor=(1.7, 1.7)
    )
    without = AutoscalingConfig(churn=ChurnConfig(cutover="hard"))
    assert played(without, churn="gated").churn == USUAL
    assert topology_changes(USUAL) == "gated: 2 added, 1 removed, 1 renamed, 1 calls removed an hour"
    assert topology_changes(ChurnConfig()) == "none"
    with pytest.raises(ConfigError, match=r"environment.slo_factor: item 0: 1.0 is not in \(1, inf\)"):
        played(environment, slo_factor=1.0)
