"""`gnnrl evaluate`: mistakes are named by the flag they came with, all at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gnnrl.cli.main import main
from gnnrl.domains.autoscaling.mesh_file import save_mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.random_mesh import random_mesh


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a run (or checkpoint), or --policy NAME"),
        (["runs/x", "--policy", "hpa_80"], "give either a run (or checkpoint), or --policy NAME"),
        (["--policy", "hpa_80", "--against", "kpa"], "--against compares with a trained policy"),
        (["none"], "none: no such run or checkpoint"),
        (["."], "is not a run folder, it has no config.yaml"),
        (["--policy", "hpa_80", "--calibration", "none.yaml"], "none.yaml: No such file or directory"),
        (["--policy", "hpa_80", "--slo-factor", "2", "1"], "--slo-factor: 1.0 is not in (1, inf)"),
        (["--policy", "jsq", "--slo-factor", "2", "--churn", "hard"], "--slo-factor, --churn: not for queue_routing"),
        (["--policy", "weighted_round_robin", "--churn", "gated"], "--churn: not for llm_routing; leave it out"),
    ],
)
def test_what_cannot_be_evaluated(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_flag_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--policy hpa_x --workload flasch diurnal --seeds 0 --mesh nope.yaml"
    assert main(["evaluate", *arguments.split()]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--seeds: evaluation.seeds: 0 is not in [1, inf)",
        "--mesh: environment.mesh: nope.yaml: mesh 'nope': cannot be read: No such file or directory",
        "--workload: evaluation.workloads: 'flasch' is not a workload; did you mean flash?, or a .csv file",
        "--policy: evaluation.against: 'hpa_x' is not a baseline; did you mean hpa_80?",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("interval_seconds: 15", "interval_seconds: 30"),
            "interval_seconds: 30 is not the environment's decision_seconds",
        ),
        (("min_replicas: 1", "min_replicas: 25"), "guardrails.max_replicas: 20 is below guardrails.min_replicas"),
        (("fallback: hpa_80", "fallback: none"), "guardrails.fallback: 'none' is not a baseline"),
        (("  brake_share: 0.8\n", ""), "guardrails.brake_share: missing"),
    ],
)
def test_guardrails_that_cannot_be_used(
    change: tuple[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = (Path(__file__).parents[2] / "configs" / "live.yaml").read_text()
    assert change[0] in shipped
    path = tmp_path / "live.yaml"
    path.write_text(shipped.replace(*change))
    assert main(["evaluate", "--policy", "hpa_80", "--guardrails", str(path)]) == 2
    captured = capsys.readouterr()
    assert f"{path}: {message}" in captured.err
    assert captured.out == ""


def test_guardrails_that_leave_an_environment_no_replicas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = (Path(__file__).parents[2] / "configs" / "live.yaml").read_text()
    path = tmp_path / "live.yaml"
    path.write_text(
        shipped.replace("min_replicas: 1", "min_replicas: 25").replace("max_replicas: 20", "max_replicas: 30")
    )
    assert main(["evaluate", "--policy", "hpa_80", "--guardrails", str(path)]) == 2
    assert "guardrails allow 25 to 30 replicas, the environment 1 to 20" in capsys.readouterr().err


def test_a_table_says_which_guardrails_acted(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = str(Path(__file__).parents[2] / "configs" / "live.yaml")
    arguments = ["--policy", "random", "--workload", "diurnal", "--seeds", "1", "--guardrails", shipped]
    assert main(["evaluate", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "diurnal: guardrails" in printed
    assert "rate_down " in printed


def recorded(tmp_path: Path) -> Path:
    """An hour and more at 12 requests/s, with a minute at 24."""
    path = tmp_path / "monday.csv"
    path.write_text("time,rps\n" + "".join(f"{15 * i},{24 if 120 <= i < 124 else 12}\n" for i in range(243)))
    return path


def test_a_recorded_load_is_played_at_its_own_level_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path)
    arguments = ["evaluate", "--policy", "hpa_80", "--seeds", "1", "--workload", str(path)]
    assert main(arguments) == 0
    rescaled = capsys.readouterr().out
    (line,) = [line for line in rescaled.splitlines() if line.startswith("monday: rescaled, its requests/s times ")]
    factor = float(line.split(" times ")[1].split(",")[0])
    assert factor > 5.0 and "--absolute" in line
    assert main([*arguments, "--absolute"]) == 0
    own = capsys.readouterr().out
    assert "monday (absolute): its own requests/s, up to 24\n" in own
    assert "rescaled" not in own
    # The boutique's eleven services carry 12 requests/s with hardly more than a replica each.
    replicas = [
        float(row.split()[3]) for text in (rescaled, own) for row in text.splitlines() if row.split()[:1] == ["hpa_80"]
    ]
    assert replicas[1] < 16.0 < 40.0 < replicas[0]


def test_absolute_levels_are_those_of_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--policy", "hpa_80", "--workload", "flash", "--absolute"]) == 2
    assert "there are no requests/s to keep in flash" in capsys.readouterr().err
    assert main(["evaluate", "--policy", "round_robin", "--absolute"]) == 2
    assert "--absolute: not for " in capsys.readouterr().err
    path = tmp_path / "ms.csv"
    path.write_text("time,rps\n1700000000000,1\n1700000015000,2\n")
    assert main(["evaluate", "--policy", "hpa_80", "--workload", f"absolute:{path}"]) == 2
    assert (
        f"--workload: evaluation.workloads: {path}: line 2: time '1700000000000' is no time" in capsys.readouterr().err
    )


def test_a_load_without_requests_has_no_latency_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "night.csv"
    path.write_text("time,rps\n" + "".join(f"{60 * i},{int(i == 89)}\n" for i in range(90)))
    assert main(["evaluate", "--policy", "hpa_80", "--seeds", "1", "--absolute", "--workload", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "-: no latency for hpa_80: no request of night (absolute) was answered" in printed


def test_a_mesh_that_states_its_slo_has_no_factor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shop.yaml"
    save_mesh(replace(online_boutique(), slo_ms=300.0), path)
    arguments = ["evaluate", "--policy", "hpa_80", "--mesh", str(path)]
    assert main([*arguments, "--slo-factor", "2"]) == 2
    assert f"--slo-factor: {path} states slo_ms: 300, which no factor changes" in capsys.readouterr().err


def test_a_mesh_file_has_room_for_services_that_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mesh of 21 services has no slot to spare in an observation of 20; those that come get theirs."""
    path, document = tmp_path / "large.yaml", tmp_path / "found.json"
    save_mesh(random_mesh(21, seed=1), path)
    arguments = [
        "--policy",
        "hpa_80",
        "--mesh",
        str(path),
        "--workload",
        "noisy",
        "--seeds",
        "2",
        "--json",
        str(document),
    ]
    assert main(["evaluate", *arguments, "--churn", "hard", "--slo-factor", "1.5", "2.5"]) == 0
    found = json.loads(document.read_text())
    assert found["config"]["environment"]["max_nodes"] == 42
    assert found["split"]["churn"] == "hard: 2 added, 1 removed, 1 renamed, 1 calls removed an hour"
    assert found["split"]["slo_factor"] == [1.5, 1.5]
    assert [at["slo_factor"] for at in found["over_slo_factor"]] == [1.5, 2.5]
    assert found["scenarios"]["noisy"]["hpa_80"]["change_response_seconds"]["mean"] is not None
    assert "Over the SLO factor" in capsys.readouterr().out
