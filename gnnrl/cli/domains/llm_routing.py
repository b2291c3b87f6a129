"""LLM routing on the command line: its trainer, and its comparison with the routers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import print_table
from gnnrl.cli.domains.comparing import agent_of, beside, parse_with_flags, playing, refuse, show
from gnnrl.cli.domains.listing import ListedBaseline

if TYPE_CHECKING:
    from gnnrl.config.llm_routing import LLMRoutingExperiment
    from gnnrl.config.rules import Rule
    from gnnrl.evaluation.llm_routing.comparison import LLMRoutingEvaluated, LLMSystem
    from gnnrl.training import Trainer
    from gnnrl.training.run_folder import RunFolder

__all__ = ["evaluate", "listed", "policies", "rules", "self_contained", "trainer_for"]


def rules() -> Iterable[Rule[LLMRoutingExperiment]]:
    """Scenarios, routers and teachers that exist, fleets that fit."""
    from gnnrl.domains.llm_routing.config_rules import CONFIG_RULES

    return CONFIG_RULES


def self_contained(config: LLMRoutingExperiment) -> LLMRoutingExperiment:
    """An experiment of this domain names no files."""
    return config


def trainer_for(folder: RunFolder[LLMRoutingExperiment]) -> Trainer:
    """The trainer of a run, with the environment, teacher and validation that its configuration names."""
    from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
    from gnnrl.domains.llm_routing.teachers import taught
    from gnnrl.evaluation.llm_routing.play import validate
    from gnnrl.training import Trainer

    config = folder.config
    name = config.warm_start.teacher
    return Trainer(
        folder,
        LLMRoutingVectorEnv(config.training.num_envs, config.environment, copy=False, staggered=True),
        teacher=(lambda observation: taught(name, observation)) if name else None,
        validation=lambda agent: validate(config.environment, agent),
        domain=config.domain,
    )


def policies() -> Iterable[str]:
    """The routers."""
    from gnnrl.domains.llm_routing.baselines import ROUTERS

    return ROUTERS


def listed() -> Mapping[str, ListedBaseline]:
    """The routers, with what each does and what it is told."""
    from gnnrl.domains.llm_routing.baselines import ROUTERS
    from gnnrl.domains.llm_routing.teachers import TEACHERS

    return {
        name: ListedBaseline(
            summary=router.summary,
            marks={
                "told_speeds": router.told_speeds,
                "told_lengths": router.told_lengths,
                "teacher": name in TEACHERS,
            },
        )
        for name, router in ROUTERS.items()
    }


def evaluate(args: argparse.Namespace, folder: RunFolder[LLMRoutingExperiment] | None) -> int:
    """Plays the policy and the routers, prints the table, writes what was asked for."""
    refuse(args, "llm_routing", "workload", "absolute", "mesh", "calibration", "guardrails", "slo_factor", "churn")
    from gnnrl.config.experiment import PPOConfig
    from gnnrl.config.llm_routing import LLMRoutingExperiment
    from gnnrl.config.loader import dump_config
    from gnnrl.evaluation.llm_routing import report
    from gnnrl.evaluation.llm_routing.comparison import POLICY, compare

    if folder is None:
        default = LLMRoutingExperiment(name=args.policy, ppo=PPOConfig(credit="graph"))
        config, agent = _asked_for(args, dump_config(default), "scenario B"), None
    else:
        config = _asked_for(args, dump_config(folder.config), str(folder.path / "config.yaml"))
        agent = agent_of(folder, args.run_or_checkpoint)
    others = beside(
        args,
        "llm_routing",
        args.run_or_checkpoint,
        [*policies(), POLICY],
        lambda other: _shown_otherwise(config, other),
    )
    with playing() as progress:
        evaluation = compare(
            config, agent, beside=others, label=str(args.run_or_checkpoint or args.policy), progress=progress
        )
    return show(
        args,
        evaluation,
        table=lambda: _print(evaluation),
        report=lambda: report.compose(evaluation, folder.path if folder else None),
    )


def _shown_otherwise(config: LLMRoutingExperiment, other: LLMRoutingExperiment) -> str | None:
    """What the policy of another run was told otherwise, in words; the same facts may stand in other features."""
    for name in ("show_speeds", "length_hint", "hint_sigma"):
        ours, theirs = (getattr(experiment.environment, name) for experiment in (config, other))
        if ours != theirs and (name != "hint_sigma" or config.environment.length_hint == "predicted"):
            return f"environment.{name} is {theirs!r}, not {ours!r}"
    return None


def _asked_for(args: argparse.Namespace, text: str, source: str) -> LLMRoutingExperiment:
    """The experiment of `text` with what the flags replace, checked as a whole."""
    values: dict[str, tuple[str, object]] = {}
    if args.seeds is not None:
        values["evaluation.seeds"] = ("--seeds", args.seeds)
    if args.requests is not None:
        values["evaluation.requests"] = ("--requests", args.requests)
    if args.scenario is not None:
        values["evaluation.scenarios"] = ("--scenario", [name.strip() for name in args.scenario.split(",")])
    if args.against is not None:
        values["evaluation.against"] = ("--against", [name.strip() for name in args.against.split(",")])
    if args.policy is not None:
        values["evaluation.against"] = ("--policy", list(dict.fromkeys([args.policy, "least_outstanding"])))
    experiment: LLMRoutingExperiment = parse_with_flags(text, values, source, rules())
    return experiment


def _print(evaluation: LLMRoutingEvaluated) -> None:
    from gnnrl.evaluation.llm_routing.comparison import HEADLINE, REFERENCE
    from gnnrl.evaluation.statistics import interval_name

    asked = evaluation.config.evaluation
    for system in evaluation.systems:
        if system.rules_ahead:
            print(system.rules_ahead)
        print_table(
            f"{system.name}: {asked.seeds} streams of {asked.requests:,} requests; change against {REFERENCE} "
            f"[{interval_name(asked.seeds)}]",
            ("", *(part for name in HEADLINE for part in (f"{name} s", "change %"))),
            (_row(system, row) for row in system.rows),
        )
    for figure in evaluation.figures():
        print(f"{'reached' if figure.reached else 'missed '}  {figure.claim}: {figure.measured} ({figure.target})")


def _row(system: LLMSystem, row: str) -> tuple[str, ...]:
    from gnnrl.evaluation.llm_routing.comparison import HEADLINE

    compared = system.reference not in (None, row)
    cells = (
        (
            f"{system.mean(row, metric).mean:.3f}",
            system.change(row, metric).text("+.1f", scale=100.0) if compared else "-",
        )
        for metric in HEADLINE.values()
    )
    return (row, *(part for cell in cells for part in cell))
