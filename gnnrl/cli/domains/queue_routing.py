"""Queue routing on the command line: its trainer, and its comparison with the routers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import print_table
from gnnrl.cli.domains.comparing import agent_of, beside, parse_with_flags, playing, refuse, show
from gnnrl.cli.domains.listing import ListedBaseline

if TYPE_CHECKING:
    from gnnrl.config.queue_routing import QueueRoutingExperiment
    from gnnrl.config.rules import Rule
    from gnnrl.evaluation.queue_routing.comparison import RoutingEvaluation, System
    from gnnrl.training import Trainer
    from gnnrl.training.run_folder import RunFolder

__all__ = ["evaluate", "listed", "policies", "rules", "self_contained", "trainer_for"]


def rules() -> Iterable[Rule[QueueRoutingExperiment]]:
    """Routers that exist, a system that can be."""
    from gnnrl.domains.queue_routing.config_rules import CONFIG_RULES

    return CONFIG_RULES


def self_contained(config: QueueRoutingExperiment) -> QueueRoutingExperiment:
    """An experiment of this domain names no files."""
    return config


def trainer_for(folder: RunFolder[QueueRoutingExperiment]) -> Trainer:
    """The trainer of a run, with the environment, teacher and validation that its configuration names."""
    from gnnrl.domains.queue_routing.env import QueueRoutingVectorEnv
    from gnnrl.domains.queue_routing.teachers import taught
    from gnnrl.evaluation.queue_routing.play import validate
    from gnnrl.training import Trainer

    config = folder.config
    name = config.warm_start.teacher
    return Trainer(
        folder,
        QueueRoutingVectorEnv(config.training.num_envs, config.environment, copy=False),
        teacher=(lambda observation: taught(name, observation)) if name else None,
        validation=lambda agent: validate(config.environment, agent),
        domain=config.domain,
    )


def policies() -> Iterable[str]:
    """The routers."""
    from gnnrl.domains.queue_routing.baselines import ROUTERS

    return ROUTERS


def listed() -> Mapping[str, ListedBaseline]:
    """The routers, with what each does."""
    from gnnrl.domains.queue_routing.baselines import ROUTERS
    from gnnrl.domains.queue_routing.teachers import TEACHERS

    return {name: ListedBaseline(summary=text, marks={"teacher": name in TEACHERS}) for name, text in ROUTERS.items()}


def evaluate(args: argparse.Namespace, folder: RunFolder[QueueRoutingExperiment] | None) -> int:
    """Plays the policy and the routers, prints the table, writes what was asked for."""
    refuse(
        args,
        "queue_routing",
        "workload",
        "absolute",
        "mesh",
        "calibration",
        "guardrails",
        "scenario",
        "slo_factor",
        "churn",
    )
    from gnnrl.config.experiment import PPOConfig
    from gnnrl.config.loader import dump_config
    from gnnrl.config.queue_routing import QueueRoutingExperiment
    from gnnrl.evaluation.queue_routing import report
    from gnnrl.evaluation.queue_routing.comparison import POLICY, compare

    if folder is None:
        default = QueueRoutingExperiment(name=args.policy, ppo=PPOConfig(credit="graph"))
        config, agent = _asked_for(args, dump_config(default), "the base model"), None
    else:
        config = _asked_for(args, dump_config(folder.config), str(folder.path / "config.yaml"))
        agent = agent_of(folder, args.run_or_checkpoint)
    others = beside(
        args,
        "queue_routing",
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


def _shown_otherwise(config: QueueRoutingExperiment, other: QueueRoutingExperiment) -> str | None:
    """What the policy of another run was shown otherwise, in words."""
    ours, theirs = config.environment.show_work, other.environment.show_work
    return None if ours == theirs else f"environment.show_work is {str(theirs).lower()}, not {str(ours).lower()}"


def _asked_for(args: argparse.Namespace, text: str, source: str) -> QueueRoutingExperiment:
    """The experiment of `text` with what the flags replace, checked as a whole."""
    values: dict[str, tuple[str, object]] = {}
    if args.seeds is not None:
        values["evaluation.seeds"] = ("--seeds", args.seeds)
    if args.requests is not None:
        values["evaluation.arrivals"] = ("--requests", args.requests)
    if args.against is not None:
        values["evaluation.against"] = ("--against", [name.strip() for name in args.against.split(",")])
    if args.policy is not None:
        values["evaluation.against"] = ("--policy", list(dict.fromkeys([args.policy, "oracle"])))
    return parse_with_flags(text, values, source, rules())


def _print(evaluation: RoutingEvaluation) -> None:
    from gnnrl.evaluation.statistics import interval_name

    asked = evaluation.config.evaluation
    for system in evaluation.systems:
        if system.rules_ahead:
            print(system.rules_ahead)
        print_table(
            f"{system.name}: {asked.seeds} streams of {asked.arrivals:,} requests [{interval_name(asked.seeds)}]",
            (
                "",
                "mean latency s",
                f"over {system.reference} %" if system.reference else "regret",
                "p99 s",
                "fast %",
                "requests/s",
            ),
            (_row(system, name) for name in system.rows),
        )
        if system.optimum:
            best = system.optimum
            print(f"optimum: mean {best['mean_latency']} s, p99 {best['p99_latency']} s")
    print("fast = sent to a replica that is fastest for the request's type")


def _row(system: System, name: str) -> tuple[str, ...]:
    reference = system.reference
    return (
        name,
        system.mean(name, "mean_latency").text(".4f"),
        system.regret(name, reference, "mean_latency").text(".1f", scale=100.0)
        if reference not in (None, name)
        else "-",
        system.mean(name, "p99_latency").text(".3f"),
        f"{100 * system.mean(name, 'routing_accuracy').mean:.1f}",
        f"{system.mean(name, 'throughput').mean:.2f}",
    )
