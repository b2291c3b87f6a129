"""Faults of a configuration that only the domain can see, reported along with all others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gnnrl.config.experiment import ExperimentConfig
from gnnrl.config.loader import ConfigError, dump_config, parse_config
from gnnrl.domains.autoscaling.baselines.feed_forward import teacher
from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES, TEACHERS
from gnnrl.domains.autoscaling.env import MeshEnv
from gnnrl.domains.autoscaling.mesh_file import save_mesh
from gnnrl.domains.autoscaling.physics import PhysicsSettings
from gnnrl.domains.autoscaling.random_mesh import random_mesh

DEFAULT = dump_config(ExperimentConfig())


def faults(*overrides: str) -> list[str]:
    try:
        parse_config(DEFAULT, overrides, rules=CONFIG_RULES)
    except ConfigError as error:
        return [line.removeprefix("configuration: ").partition(": ")[2] for line in error.errors]
    return []


def test_the_defaults_are_in_order() -> None:
    assert faults() == []
    assert faults("evaluation.against=[hpa_65, feed_forward_50]", "environment.mesh=[random:5-20]") == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("environment.workloads=[burst]", "'burst' is not a workload; did you mean bursty?, or a .csv file"),
        ("evaluation.workloads=[gone.csv]", "gone.csv"),
        ("evaluation.against=[hpa80]", "'hpa80' is not a baseline; did you mean hpa_80?"),
        ("evaluation.against=[hpa_0]", "'hpa_0' is not a baseline"),
        ("environment.mesh=[boutique]", "'boutique' is not online_boutique, random:LOW-HIGH or a mesh .yaml file"),
        ("environment.mesh=[random:9-3]", "'random:9-3' is not random:LOW-HIGH"),
        ("environment.mesh=[random:5-60]", "20 is too few for random:5-60, which has up to 60 services"),
        ("environment.mesh=[gone.yaml]", "gone.yaml: mesh 'gone': cannot be read"),
        ("environment.max_nodes=10", "10 is too few for mesh 'online_boutique', which has 11 services"),
        ("warm_start.teacher=oracle", "'oracle' is not a teacher; known: feed_forward_estimated, or '' for none"),
    ],
)
def test_one_fault(override: str, message: str) -> None:
    (found,) = faults(override)
    assert message in found


def test_what_a_teacher_needs() -> None:
    assert TEACHERS == ("feed_forward_estimated",)
    assert teacher.__doc__ is not None
    found = faults(
        "warm_start.teacher=feed_forward_estimated", "environment.node_columns=basic", "environment.action_mode=select"
    )
    assert len(found) == 2
    assert "'basic' does not show the CPU limit" in found[0]
    assert "needs joint" in found[1]


def test_files_are_read_and_every_fault_of_every_file_is_told(tmp_path: Path) -> None:
    mesh, load = tmp_path / "mesh.yaml", tmp_path / "load.csv"
    save_mesh(random_mesh(30, seed=1), mesh)
    load.write_text("time,rps\n0,1\n1,nan\n2,-3\n")
    found = faults(f"environment.mesh=[{mesh}]", f"evaluation.workloads=[{load}]", "ppo.clip=2")
    assert found[0] == "ppo.clip: 2 is not in (0, 1)"
    assert any("20 is too few for mesh" in line and "30 services" in line for line in found)
    assert sum("load.csv" in line for line in found) >= 2


def test_a_start_up_that_the_simulation_cannot_hold_is_told(tmp_path: Path) -> None:
    mesh = random_mesh(5, seed=1)
    slow = replace(mesh, services=(*mesh.services[:-1], replace(mesh.services[-1], startup_seconds=900.0)))
    save_mesh(slow, tmp_path / "slow.yaml")
    (found,) = faults(f"environment.mesh=[{tmp_path / 'slow.yaml'}]")
    assert "takes up to 1350 s to start" in found
    longest = PhysicsSettings().longest_startup_seconds
    assert f"at most {longest} s" in found


def test_a_mesh_with_many_request_classes_can_be_played(tmp_path: Path) -> None:
    save_mesh(random_mesh(12, seed=1, classes=9), tmp_path / "wide.yaml")
    override = f"environment.mesh=[{tmp_path / 'wide.yaml'}]"
    assert faults(override) == []
    env = MeshEnv(parse_config(DEFAULT, [override]).environment)
    env.reset(seed=0)
    assert len(env.mesh.classes) == 9
