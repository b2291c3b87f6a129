"""The live loop's configuration: the same strictness as an experiment's, and a shipped file that says what the code says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from gnnrl.config.experiment import ExperimentConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.config.loader import (
    ConfigError,
    dump_config,
    is_live_config,
    load_live_config,
    parse_config,
    parse_live_config,
)
from gnnrl.config.rules import Rule
from gnnrl.domains.autoscaling.config_rules import LIVE_RULES

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "configs" / "live.yaml"
DEFAULT = dump_config(LiveConfig())


def errors_of(text: str, overrides: list[str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_live_config(text, overrides or [], source="live.yaml", rules=LIVE_RULES)
    return caught.value.errors


def test_the_shipped_file_spells_the_defaults() -> None:
    assert load_live_config(SHIPPED, rules=LIVE_RULES) == LiveConfig()


def test_dump_and_load_are_inverse() -> None:
    guardrails = dataclasses.replace(GuardrailConfig(), fallback="kpa", max_up_share=1e-7, change_budget_replicas=3)
    config = dataclasses.replace(LiveConfig(), past_capacity="drop_least_active", guardrails=guardrails)
    assert parse_live_config(dump_config(config)) == config


def test_overrides_reach_into_the_guardrails() -> None:
    config = load_live_config(SHIPPED, ["guardrails.max_replicas=7", "slo_ms=486"])
    assert (config.guardrails.max_replicas, config.slo_ms) == (7, 486.0)
    assert config.guardrails.min_replicas == LiveConfig().guardrails.min_replicas


def test_every_single_field_is_required() -> None:
    tree = yaml.safe_load(DEFAULT)
    assert len(errors_of("{}")) == len(tree) == len(dataclasses.fields(LiveConfig))
    for name in (field.name for field in dataclasses.fields(GuardrailConfig)):
        pruned = {**tree, "guardrails": {k: v for k, v in tree["guardrails"].items() if k != name}}
        assert errors_of(yaml.safe_dump(pruned)) == (f"live.yaml: guardrails.{name}: missing",)


def test_all_faults_at_once() -> None:
    text = DEFAULT.replace("brake_share: 0.8", "break_share: 0.8").replace(
        "interval_seconds: 15", "interval_seconds: 4"
    )
    assert errors_of(text, ["guardrails.max_down_share=2", "guardrails.fallback=hpa", "guardrails"]) == (
        "live.yaml: guardrails.break_share: unknown key; did you mean brake_share?",
        "live.yaml: guardrails.brake_share: missing",
        "--set guardrails.max_down_share=2: guardrails.max_down_share: 2 is not in [0, 1]",
        "--set guardrails: an assignment such as guardrails.max_replicas=10 is expected",
        "live.yaml: read_deadline_seconds: 5 leaves nothing of interval_seconds, which is 4, to decide and write",
        "--set guardrails.fallback=hpa: guardrails.fallback: 'hpa' is not a baseline; did you mean kpa?",
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("guardrails.min_replicas=0", "0 is not in [1, 2147483647]"),
        ("guardrails.max_replicas=2147483648", "2147483648 is not in [1, 2147483647]"),
        ("guardrails.max_replicas=2.0", "2.0 is not an integer"),
        ("guardrails.min_replicas=21", "guardrails.max_replicas: 20 is below guardrails.min_replicas, which is 21"),
        ("guardrails.stabilise_down_seconds=3601", "3601 is not in [0, 3600]"),
        ("guardrails.max_up_share=0", "0 is not in (0, 1000]"),
        ("guardrails.brake_share=.nan", "nan is not finite"),
        ("guardrails.fallback=oracle", "'oracle' cannot run on a live cluster"),
        ("guardrails=3", "a mapping with the keys min_replicas, max_replicas"),
        ("interval_seconds=7", "graph_window_seconds: 60 is not a multiple of interval_seconds, which is 7"),
        ("past_capacity=drop_least", "did you mean drop_least_active?"),
        ("max_answer_bytes=1", "1 is not in [1024, inf)"),
        ("lease_seconds=1", "1 is not in [3, inf)"),
    ],
)
def test_one_fault_is_one_line(override: str, message: str) -> None:
    (found,) = errors_of(DEFAULT, [override])
    assert message in found


def test_a_callers_rule_speaks() -> None:
    rule = Rule[LiveConfig](paths=("slo_ms",), check=lambda config: [("slo_ms", f"not {config.slo_ms:g}")])
    with pytest.raises(ConfigError, match=r"^x: slo_ms: not 0$"):
        parse_live_config(DEFAULT, source="x", rules=[rule])


def test_the_two_kinds_of_file_are_told_apart(tmp_path: Path) -> None:
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text(dump_config(ExperimentConfig()))
    assert is_live_config(SHIPPED)
    assert not is_live_config(experiment)
    with pytest.raises(ConfigError, match="guardrails: unknown key"):
        parse_config(DEFAULT)
    experiment.write_text("- a list")
    with pytest.raises(ConfigError, match="a mapping of configuration keys is expected"):
        is_live_config(experiment)
    with pytest.raises(ConfigError, match="No such file"):
        load_live_config(tmp_path / "none.yaml")


def test_a_hold_shorter_than_the_graphs_window_is_refused_and_none_is_a_choice() -> None:
    text = dump_config(LiveConfig())
    assert parse_live_config(text, ["guardrails.half_window_seconds=0"]).guardrails.half_window_seconds == 0.0
    assert parse_live_config(text, ["guardrails.half_window_seconds=60", "cluster=east"]).cluster == "east"
    with pytest.raises(
        ConfigError, match=r"half_window_seconds: 59 is shorter than graph_window_seconds, which is 60.*90"
    ):
        parse_live_config(text, ["guardrails.half_window_seconds=59"])
