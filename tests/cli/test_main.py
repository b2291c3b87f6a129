"""The command line as a whole: exit codes, where messages go, what happens when the reader or the user has enough."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from gnnrl.cli import check
from gnnrl.cli import main as main_module
from gnnrl.cli.domains import DOMAINS
from gnnrl.cli.main import COMMANDS, main
from gnnrl.domains.autoscaling import config_rules as autoscaling_rules
from gnnrl.domains.llm_routing import teachers as llm_teachers
from gnnrl.domains.queue_routing import teachers as queue_teachers
from gnnrl.registration import ENTRY_POINTS, SUMMARIES

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "configs" / "demo.yaml")


@pytest.mark.parametrize("command", ["", *COMMANDS, "mesh import", "mesh show", "mesh random", "baselines calibrate"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: gnnrl {command}".rstrip() in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["fly"], ["train"], ["mesh"], ["train", DEMO, "--out", "a", "--resume", "b"], ["mesh", "random"]]
)
def test_wrong_arguments_are_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert "error:" in captured.err


def test_a_users_mistake_is_a_message_on_stderr_without_a_traceback() -> None:
    """Once in a real process, as a user meets it."""
    done = subprocess.run(
        [sys.executable, "-m", "gnnrl", "check", DEMO, "--set", "ppo.clip=-0.1", "--set", "ppo.clipp=0.2"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "--set ppo.clipp=0.2: ppo.clipp: unknown key; did you mean clip?",
        "--set ppo.clip=-0.1: ppo.clip: -0.1 is not in (0, 1)",
    ]


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(check, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["check", DEMO])


def test_ctrl_c_is_exit_code_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "run", interrupted)
    assert main(["check", DEMO]) == main_module.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_stops_reading_is_no_error() -> None:
    code = f"{sys.executable} -m gnnrl mesh show online_boutique --json | head -c 10; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.endswith("0\n")


def test_check_prints_the_resolved_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", DEMO, "--set", "ppo.clip=0.11", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ppo"]["clip"] == 0.11


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_in_order(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0
    assert path.stem in capsys.readouterr().out


def test_check_knows_names_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "load.csv").write_text("time,rps\n0,1\n60,2\n120,3\n")
    assert main(["check", DEMO, "--set", f"evaluation.workloads=[flash, {tmp_path / 'load.csv'}]"]) == 0
    assert main(["check", DEMO, "--set", "evaluation.against=[hpa_65]"]) == 0
    assert main(["check", DEMO, "--set", "evaluation.against=[hpa_0]"]) == 2
    assert "'hpa_0' is not a baseline; did you mean hpa_80?" in capsys.readouterr().err


def test_baselines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baselines"]) == 0
    printed = capsys.readouterr().out
    assert main(["baselines", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {domain: set(found) for domain, found in listed.items()} == {
        domain: set(module.policies()) for domain, module in DOMAINS.items()
    }
    for domain, found in listed.items():
        assert re.search(rf"(?m)^{domain}\s*$", printed)
        for name, one in found.items():
            assert one["summary"] and re.search(rf"(?m)^\s+{name} ", printed), name
    assert listed["autoscaling"]["hpa_calibrated"]["calibrated"]
    assert not listed["autoscaling"]["hpa_80"]["calibrated"]
    teachers = {domain: {name for name, one in found.items() if one["teacher"]} for domain, found in listed.items()}
    assert teachers == {
        "autoscaling": {*autoscaling_rules.TEACHERS},
        "queue_routing": {*queue_teachers.TEACHERS},
        "llm_routing": {*llm_teachers.TEACHERS},
    }


def test_envs_name_every_key_of_the_observation(capsys: pytest.CaptureFixture[str]) -> None:
    from graph_space import schema

    assert main(["envs", "--json"]) == 0
    environments = {found["id"]: found for found in json.loads(capsys.readouterr().out)["environments"]}
    assert set(environments) == {name for name in gymnasium.registry if name.startswith("gnnrl/")}
    assert len(environments) == 3 and set(ENTRY_POINTS) == set(SUMMARIES) == set(environments)
    for environment in environments.values():
        assert set(environment["observation_space"]) == set(schema.KEYS)
    assert environments["gnnrl/OnlineBoutique-v0"]["observation_space"]["action_mask"]["shape"] == [20, 15]
    assert environments["gnnrl/QueueRouting-v0"]["action_space"] == "Discrete(3)"
