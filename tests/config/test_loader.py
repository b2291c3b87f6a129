"""The loader: every fault at once with its dotted path, floats as people write them, and a faithful round trip."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from gnnrl.config.experiment import ExperimentConfig, PPOConfig
from gnnrl.config.llm_routing import LLMRoutingExperiment
from gnnrl.config.loader import (
    ConfigError,
    config_text,
    dump_config,
    load_config,
    load_experiment,
    parse_config,
    parse_experiment,
)
from gnnrl.config.queue_routing import QueueRoutingExperiment
from gnnrl.config.rules import Rule

DEFAULT = dump_config(ExperimentConfig())


def errors_of(text: str, overrides: list[str] | None = None, **kwargs: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, overrides or [], source="x.yaml", **kwargs)  # type: ignore[arg-type]
    return caught.value.errors


def test_dump_and_load_are_inverse() -> None:
    config = dataclasses.replace(
        ExperimentConfig(), name="a b: c", seed=7, ppo=dataclasses.replace(PPOConfig(), learning_rate=1e-7, gamma=1.0)
    )
    assert parse_config(dump_config(config)) == config


def test_scientific_floats_are_numbers_although_pyyaml_reads_text() -> None:
    assert yaml.safe_load("3e-4") == "3e-4"  # the trap itself: without it this test would show nothing
    for spelled in ("3e-4", "3.0E-4", ".3e-3", "0.0003"):
        text = DEFAULT.replace("learning_rate: 0.0003", f"learning_rate: {spelled}")
        assert parse_config(text).ppo.learning_rate == pytest.approx(3e-4, rel=1e-12)
    assert parse_config(DEFAULT, ["ppo.learning_rate=1.5e-3"]).ppo.learning_rate == 1.5e-3
    assert parse_config(DEFAULT.replace("name: experiment", "name: '3e-4'")).name == "3e-4"


def test_an_integer_stands_for_a_float_but_not_the_other_way_round() -> None:
    gamma = parse_config(DEFAULT, ["ppo.gamma=1"]).ppo.gamma
    assert gamma == 1.0
    assert isinstance(gamma, float)
    assert errors_of(DEFAULT, ["ppo.epochs=4.0"]) == ("--set ppo.epochs=4.0: ppo.epochs: 4.0 is not an integer",)


def test_the_message_of_the_style_guide() -> None:
    assert errors_of(DEFAULT.replace("  clip: 0.2", "  clip: -0.1")) == ("x.yaml: ppo.clip: -0.1 is not in (0, 1)",)


def test_the_temperature_at_rest_lies_within_its_bounds() -> None:
    assert errors_of(DEFAULT, ["ppo.temperature.highest=1.0"]) == (
        "x.yaml: ppo.temperature.base: 1.5 is not in [lowest, highest], which is [0.8, 1.0]",
    )
    assert parse_config(DEFAULT, ["ppo.temperature.highest=2.0"]).ppo.temperature.highest == 2.0


def test_a_temperature_is_controlled_only_where_environments_say_what_it_follows() -> None:
    told = ["ppo.temperature.enabled=true", "ppo.credit=graph"]
    for untold in (ExperimentConfig(), QueueRoutingExperiment()):
        with pytest.raises(ConfigError) as caught:
            parse_experiment(dump_config(untold), told, source="x.yaml")
        assert caught.value.errors == (
            f"--set ppo.temperature.enabled=true: ppo.temperature.enabled: environments of {untold.domain} do not say "
            "throughput, mean latency and load balance; set it to false",
        )
    assert parse_experiment(dump_config(LLMRoutingExperiment()), told).ppo.temperature.enabled


def test_all_faults_at_once() -> None:
    text = (
        DEFAULT.replace("gae_lambda: 0.95", "gae_lamda: 0.95")  # one unknown, one missing
        .replace("  kind: tgn+gnn", "  kind: tgnn")
        .replace("rollout_length: 64", "rollout_length: 60")  # valid alone, not divided by chunk_length 16
    )
    found = errors_of(text, ["environment.max_replicas=0", "training.total_steps=ten", "seed"])
    assert found == (
        "x.yaml: ppo.gae_lamda: unknown key; did you mean gae_lambda?",
        "x.yaml: ppo.gae_lambda: missing",
        "x.yaml: encoder.kind: 'tgnn' is not one of tgn, gnn, tgn+gnn, mlp, gru; did you mean tgn?",
        "--set training.total_steps=ten: training.total_steps: 'ten' is not an integer",
        "--set environment.max_replicas=0: environment.max_replicas: 0 is not in [1, 32767]",
        "--set seed: an assignment such as ppo.clip=0.1 is expected",
        "x.yaml: ppo.chunk_length: 16 does not divide ppo.rollout_length, which is 60",
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.value_clip=.inf", "inf is not finite"),
        ("ppo.target_kl=.nan", "nan is not finite"),
        ("ppo.threads=true", "true is not an integer"),
        ("ppo.normalise_reward=1", "1 is not true or false"),
        ("ppo.gamma=1.5", "1.5 is not in (0, 1]"),
        ("name=3", "3 is not text"),
        ("name=", "nothing is not text"),
        ("encoder.layers=5", "5 is not in [1, 4]"),
        ("environment.mesh=[]", "[] is too short"),
        ("environment.mesh=online_boutique", "'online_boutique' is not a list"),
        ("environment.peak_replicas=[1]", "[1] has 1 values, 2 are expected"),
        ("environment.peak_replicas=[1, 0]", "item 1: 0 is not in (0, inf)"),
        ("environment.peak_replicas=[7, 4.5]", "its low end is above its high end"),
        ("environment.randomisation.cpu_cost_factor=[2, 1]", "its low end is above its high end"),
        ("environment.min_replicas=21", "20 is below environment.min_replicas, which is 21"),
        ("environment.metrics_lag_seconds=20", "20 is not a multiple of environment.decision_seconds, which is 15"),
        ("encoder.heads=3", "3 does not divide encoder.hidden, which is 64"),
        (
            "encoder.kind=gru",
            "ppo.credit: encoder.kind gru has one value a graph and none a node; set ppo.credit to graph",
        ),
        ("training.total_steps=4095", "ppo.rollout_length x training.num_envs = 4096"),
        ("environment=3", "a mapping with the keys mesh, workloads"),
        ("ppo.clip={a: 1}", "{'a': 1} is not a number"),
        ("name.x=3", "name is a value and has no fields"),
        ("ppo.clip=[", "the value is not valid YAML"),
        ("ppo..clip=1", "an assignment such as ppo.clip=0.1 is expected"),
    ],
)
def test_one_fault_is_one_line_that_names_the_override(override: str, message: str) -> None:
    found = errors_of(DEFAULT, [override])
    assert len(found) == 1
    assert message in found[0]


def test_an_override_is_merged_before_validation_so_it_can_mend_a_file() -> None:
    broken = DEFAULT.replace("  clip: 0.2", "  clip: 7")
    assert parse_config(broken, ["ppo.clip=0.3"]).ppo.clip == 0.3
    missing = re.sub(r"\n  clip: 0.2", "", DEFAULT)
    assert errors_of(missing) == ("x.yaml: ppo.clip: missing",)
    assert parse_config(missing, ["ppo.clip=0.3"]).ppo.clip == 0.3


def test_every_single_field_is_required() -> None:
    tree = yaml.safe_load(DEFAULT)
    assert len(errors_of("{}")) == len(tree)
    for section, content in tree.items():
        for key in content if isinstance(content, dict) else ():
            pruned = {**tree, section: {k: v for k, v in content.items() if k != key}}
            assert errors_of(yaml.safe_dump(pruned)) == (f"x.yaml: {section}.{key}: missing",)


def test_a_callers_rule_speaks_unless_a_field_it_reads_is_wrong_by_itself() -> None:
    rule = Rule(paths=("ppo.clip", "seed"), check=lambda config: [("ppo.clip", f"with seed {config.seed} never")])
    assert errors_of(DEFAULT, rules=[rule]) == ("x.yaml: ppo.clip: with seed 0 never",)
    assert errors_of(DEFAULT, ["seed=3", "ppo.gamma=2"], rules=[rule]) == (
        "--set ppo.gamma=2: ppo.gamma: 2 is not in (0, 1]",
        "x.yaml: ppo.clip: with seed 3 never",
    )
    assert errors_of(DEFAULT, ["seed=-3"], rules=[rule]) == ("--set seed=-3: seed: -3 is not in [0, inf)",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping of configuration keys is expected, this is empty"),
        ("[1]", "a mapping of configuration keys is expected, this is a list"),
        ("a: [", "is not valid YAML: line 1"),
        ("name: a\nname: b", "line 1, column 1: key 'name' stands twice"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
    ],
)
def test_text_that_is_no_configuration(text: str, message: str) -> None:
    (found,) = errors_of(text)
    assert message in found


def test_files_that_cannot_be_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff")
    for name, message in (("none.yaml", "No such file"), ("binary.yaml", "is not UTF-8 text"), (".", "Is a directory")):
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / name)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_a_file_spells_what_differs_from_its_base(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        whole=DEFAULT.replace("  clip: 0.2", "  clip: 0.3"),
        middle="base: whole.yaml\nseed: 5\nppo:\n  gamma: 0.9\n",
        last="base: middle.yaml\nseed: 6\nenvironment:\n  mesh: [random:4-9]\n",
    )
    config = load_config(folder / "last.yaml", ["ppo.epochs=7"])
    plain = ExperimentConfig()
    assert config == dataclasses.replace(
        plain,
        seed=6,
        environment=dataclasses.replace(plain.environment, mesh=("random:4-9",)),
        ppo=dataclasses.replace(plain.ppo, clip=0.3, gamma=0.9, epochs=7),
    )
    assert parse_config(config_text(folder / "last.yaml"), ["ppo.epochs=7"]) == config
    assert load_experiment(folder / "last.yaml", ["ppo.epochs=7"]) == config
    assert parse_config(dump_config(config)) == config, "what a run keeps is whole"


def test_a_fault_is_looked_for_in_the_file_that_spells_it(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        whole=DEFAULT.replace("  clip: 0.2", "  clip: -0.1"),
        last="base: whole.yaml\nppo:\n  gamma: 1.5\n  gama: 1\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "last.yaml", ["ppo.epochs=0"])
    assert sorted(caught.value.errors) == [
        "--set ppo.epochs=0: ppo.epochs: 0 is not in [1, inf)",
        f"{folder}/last.yaml: ppo.gama: unknown key; did you mean gamma?",
        f"{folder}/last.yaml: ppo.gamma: 1.5 is not in (0, 1]",
        f"{folder}/whole.yaml: ppo.clip: -0.1 is not in (0, 1)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: none.yaml\n", "last.yaml: base: {}/none.yaml is no file; it is looked for beside last.yaml"),
        ("base: 3\n", "last.yaml: base: the name of a file is expected, this is a int"),
        ("base: last.yaml\n", "last.yaml: base: last.yaml has this file as its own base"),
        ("base: circle.yaml\n", "circle.yaml: base: last.yaml has this file as its own base"),
        (
            "base: queue.yaml\ndomain: autoscaling\n",
            "queue.yaml is an experiment of queue_routing, this one of autoscaling",
        ),
        ("base: broken.yaml\n", "broken.yaml: is not valid YAML"),
    ],
)
def test_bases_that_cannot_be(text: str, told: str, tmp_path: Path) -> None:
    queue = dump_config(QueueRoutingExperiment())
    folder = written(tmp_path, last=text, circle="base: last.yaml\n", queue=queue, broken="a: [\n")
    with pytest.raises(ConfigError, match=re.escape(told.format(tmp_path))):
        load_config(folder / "last.yaml")
