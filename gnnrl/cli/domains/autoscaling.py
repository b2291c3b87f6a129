"""Autoscaling on the command line: its trainer, and its comparison with the baselines."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnrl.cli.arguments import UserError, load_live, print_table
from gnnrl.cli.domains.comparing import agent_of, beside, parse_with_flags, playing, refuse, show
from gnnrl.cli.domains.listing import ListedBaseline
from gnnrl.pretrained import is_policy

if TYPE_CHECKING:
    from gnnrl.agents import PPO_GNN
    from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
    from gnnrl.config.live import GuardrailConfig
    from gnnrl.config.rules import Rule
    from gnnrl.domains.autoscaling.trained_ranges import Departure
    from gnnrl.evaluation.controllers import LearnedPolicy
    from gnnrl.evaluation.evaluated import Evaluation
    from gnnrl.training import Trainer
    from gnnrl.training.pretrained_policy import PretrainedPolicy
    from gnnrl.training.run_folder import RunFolder

__all__ = ["evaluate", "listed", "policies", "print_summary", "rules", "self_contained", "trainer_for"]

VALIDATION_SEEDS = 4
PROSE_COLUMNS = 120
GROWTH = 2
"""Times its size that a mesh file is given room for, where services come."""
SHOWN = (
    "node_columns", "action_mode", "telemetry", "graph_window_seconds", "decision_seconds", "metrics_lag_seconds",
)  # fmt: skip
"""What of an environment decides what a policy is shown, and how it answers."""


def rules() -> Iterable[Rule[ExperimentConfig]]:
    """Names and files of workloads, baselines and meshes."""
    from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES

    return CONFIG_RULES


def self_contained(config: ExperimentConfig) -> ExperimentConfig:
    """Mesh and load files by their whole path, so that the run can be resumed and compared from any folder."""

    from gnnrl.domains.autoscaling.load_file import ABSOLUTE

    def absolute(names: tuple[str, ...], *suffixes: str) -> tuple[str, ...]:
        return tuple(whole(name) if name.lower().endswith(suffixes) else name for name in names)

    def whole(name: str) -> str:
        path = name.removeprefix(ABSOLUTE)
        return name[: len(name) - len(path)] + str(Path(path).resolve())

    environment, evaluation = config.environment, config.evaluation
    return replace(
        config,
        environment=replace(
            environment,
            mesh=absolute(environment.mesh, ".yaml", ".yml"),
            workloads=absolute(environment.workloads, ".csv"),
        ),
        evaluation=replace(evaluation, workloads=absolute(evaluation.workloads, ".csv")),
    )


def trainer_for(folder: RunFolder[ExperimentConfig]) -> Trainer:
    """The trainer of a run, with the environment, teacher and validation that its configuration names."""
    from gnnrl.domains.autoscaling.baselines import teacher
    from gnnrl.domains.autoscaling.env import MeshVectorEnv
    from gnnrl.training import Trainer
    from graph_space import autoscaling_schema

    config = folder.config
    schema = autoscaling_schema(config.environment.node_columns)
    env = MeshVectorEnv(config.training.num_envs, config.environment, copy=False)
    return Trainer(
        folder,
        env,
        teacher=(lambda observation: teacher(dict(observation), schema)) if config.warm_start.teacher else None,
        validation=lambda agent: _validate(agent, config),
    )


def _validate(agent: PPO_GNN, config: ExperimentConfig) -> Mapping[str, float]:
    """Means over training-side workloads, on validation seeds that neither training nor the comparison meets."""
    from gnnrl.domains.autoscaling.episode import Split
    from gnnrl.evaluation.controllers import PolicyController
    from gnnrl.evaluation.runner import play
    from gnnrl.evaluation.scenarios import draw_scenarios

    weight = config.evaluation.violation_weight
    scenarios = draw_scenarios(
        config.environment,
        config.environment.workloads,
        VALIDATION_SEEDS,
        split=Split.VALIDATION,
        violation_weight=weight,
    )
    controller = PolicyController(agent, config.environment, temperature=config.evaluation.temperature)
    played = play(controller, scenarios, violation_weight=weight, histogram=False)
    return {
        name: float(played.metrics[name].mean())
        for name in ("objective", "replica_seconds", "violating_share", "scale_moves")
    }


def policies() -> Iterable[str]:
    """The baselines."""
    from gnnrl.domains.autoscaling.baselines import BASELINES

    return BASELINES


def listed() -> Mapping[str, ListedBaseline]:
    """The baselines, with what each does."""
    from gnnrl.domains.autoscaling.baselines import BASELINES, is_calibrated
    from gnnrl.domains.autoscaling.config_rules import TEACHERS

    return {
        name: ListedBaseline(summary=summary, marks={"calibrated": is_calibrated(name), "teacher": name in TEACHERS})
        for name, summary in BASELINES.items()
    }


def evaluate(args: argparse.Namespace, folder: RunFolder[ExperimentConfig] | None) -> int:
    """Runs the comparison, prints its table, writes what was asked for."""
    refuse(args, "autoscaling", "requests", "scenario")
    from gnnrl.config.experiment import ExperimentConfig
    from gnnrl.config.loader import dump_config

    pretrained = _pretrained(args.policy)
    subject = args.run_or_checkpoint if pretrained is None else pretrained.path
    trained: ExperimentConfig | None = None
    agent = None
    if folder is not None:
        trained, agent = folder.config, agent_of(folder, args.run_or_checkpoint)
        config = _asked_for(args, dump_config(trained), str(folder.path / "config.yaml"))
    elif pretrained is not None:
        trained, agent = pretrained.config, pretrained.agent
        config = _asked_for(args, dump_config(trained), str(pretrained.path))
    else:
        config = _asked_for(args, dump_config(ExperimentConfig()), "the default configuration")
    guardrails = _guardrails(args.guardrails, config.environment) if args.guardrails else None
    factors = _slo_factors(args.slo_factor or (), config.environment)
    outside = () if trained is None else _outside(trained, config, factors)
    from gnnrl.domains.autoscaling.calibration import Calibration
    from gnnrl.evaluation import report
    from gnnrl.evaluation.comparison import POLICY, compare_over_slo
    from gnnrl.evaluation.summary import CLONE, TEACHER

    others = beside(
        args,
        "autoscaling",
        subject,
        [*policies(), POLICY, CLONE, TEACHER],
        lambda other: _shown_otherwise(config, other),
    )
    with playing() as progress:
        evaluation = compare_over_slo(
            config,
            agent,
            factors,
            churn=args.churn or "none",
            beside=others,
            others={} if folder is None else _origins(folder, args.run_or_checkpoint),
            calibration=Calibration.load(args.calibration) if args.calibration else None,
            frontiers=agent is not None and bool(config.evaluation.frontier_weights),
            guardrails=guardrails,
            label=str(args.run_or_checkpoint or args.policy),
            progress=progress,
        )
    evaluation = replace(evaluation, outside=outside)
    return show(
        args,
        evaluation,
        table=lambda: _print(evaluation),
        report=lambda: report.compose(evaluation, folder.path if folder else None),
    )


def _pretrained(name: str | None) -> PretrainedPolicy | None:
    """The pretrained policy of that name; None = it is a baseline's, or there is none."""
    if name is None or not is_policy(name):
        return None
    import torch

    from gnnrl.training.pretrained_policy import PretrainedPolicy

    found = PretrainedPolicy.open(name)
    torch.set_num_threads(found.config.training.torch_threads)
    return found


def _outside(trained: ExperimentConfig, asked: ExperimentConfig, factors: Sequence[float]) -> tuple[Departure, ...]:
    """What of a comparison, at these SLO factors where any are asked for, the policy was not trained on; said at once."""
    from gnnrl.domains.autoscaling.trained_ranges import asked_of, departures, told

    environment, evaluation = asked.environment, asked.evaluation
    if factors:
        environment = replace(environment, slo_factor=(min(factors), max(factors)))
    ranges = asked_of(environment, evaluation.violation_weight, evaluation.workloads)
    found = departures(trained.environment, ranges)
    if found:
        print(f"note: {told(found)}", file=sys.stderr, flush=True)
    return found


def _shown_otherwise(config: ExperimentConfig, other: ExperimentConfig) -> str | None:
    """What the policy of another run was shown otherwise, in words."""
    for name in SHOWN:
        ours, theirs = (getattr(experiment.environment, name) for experiment in (config, other))
        if ours != theirs:
            return f"environment.{name} is {theirs!r}, not {ours!r}"
    return None


def _origins(folder: RunFolder[ExperimentConfig], evaluated: Path) -> Mapping[str, LearnedPolicy]:
    """What a run's training began from: the clone of its warm start and whom that was cloned from, or the pretrained policy."""
    from gnnrl.agents import PPO_GNN
    from gnnrl.evaluation.controllers import TeacherPolicy
    from gnnrl.evaluation.summary import CLONE, TEACHER

    if folder.start.is_file():
        from gnnrl.training.pretrained_policy import PretrainedPolicy

        start = PretrainedPolicy.open(folder.start)
        return {start.config.name: start.agent}
    if not folder.clone.is_file() or evaluated.resolve() == folder.clone.resolve():
        return {}
    found: dict[str, LearnedPolicy] = {CLONE: PPO_GNN.load(folder.clone).train(False)}
    if folder.config.environment.action_mode == "joint":
        found[TEACHER] = TeacherPolicy(folder.config.environment)
    return found


def _asked_for(args: argparse.Namespace, text: str, source: str) -> ExperimentConfig:
    """The experiment of `text` with what the flags replace, checked as a whole."""
    from gnnrl.config.loader import parse_config
    from gnnrl.domains.autoscaling.load_file import in_own_rates

    values: dict[str, tuple[str, object]] = {}
    workloads = args.workload
    if args.absolute:
        workloads = in_own_rates(workloads or parse_config(text).evaluation.workloads)
    if workloads:
        values["evaluation.workloads"] = ("--workload", list(workloads))
    if args.seeds is not None:
        values["evaluation.seeds"] = ("--seeds", args.seeds)
    if args.against is not None:
        values["evaluation.against"] = ("--against", [name.strip() for name in args.against.split(",")])
    elif args.policy is not None and not is_policy(args.policy):
        values["evaluation.against"] = ("--policy", [args.policy])
    if args.mesh is not None:
        values["environment.mesh"] = ("--mesh", [args.mesh])
    return parse_with_flags(text, values, source, rules(), _room_for(args.mesh, text, args.churn))


def _guardrails(path: Path, environment: AutoscalingConfig) -> GuardrailConfig:
    """The guardrails of a live loop's file, which must decide as often as the experiment and leave it some replicas."""
    from gnnrl.evaluation.guarding import replica_limits

    live = load_live(path)
    if live.interval_seconds != environment.decision_seconds:
        raise UserError(
            f"{path}: interval_seconds: {live.interval_seconds} is not the environment's decision_seconds, which is "
            f"{environment.decision_seconds}; guardrails are stated per interval"
        )
    try:
        replica_limits(live.guardrails, environment)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return live.guardrails


def _slo_factors(asked: Sequence[float], environment: AutoscalingConfig) -> list[float]:
    """The SLO factors to compare at, each once.

    Raises:
        UserError: one cannot be, or a mesh states an SLO that no factor changes.
    """
    from gnnrl.config.errors import ConfigError
    from gnnrl.domains.autoscaling.mesh_file import load_mesh
    from gnnrl.evaluation.conditions import played

    for source in environment.mesh if asked else ():
        stated = load_mesh(Path(source)).slo_ms if source.endswith((".yaml", ".yml")) else None
        if stated is not None:
            raise UserError(
                f"gnnrl evaluate: --slo-factor: {source} states slo_ms: {stated:g}, which no factor changes; take it out of the file, or "
                "leave the flag out"
            )
    for factor in asked:
        try:
            played(environment, slo_factor=factor)
        except ConfigError as error:
            raise UserError(f"gnnrl evaluate: --slo-factor: {error.errors[0].rpartition(': ')[2]}") from None
    return list(dict.fromkeys(asked))


def _room_for(mesh: str | None, text: str, churn: str | None) -> Sequence[str]:
    """Overrides that give a mesh the slots it needs, also for services that come: a policy does not depend on their number."""
    if mesh is None:
        return ()
    from gnnrl.config.loader import parse_config
    from gnnrl.domains.autoscaling.trained_ranges import room_for

    environment = parse_config(text).environment
    growth = 1 if churn in (None, "none") else GROWTH
    nodes, edges = room_for(mesh, environment, gateway=environment.telemetry == "kiali", growth=growth)
    return (f"environment.max_nodes={nodes}", f"environment.max_edges={edges}")


def _print(evaluation: Evaluation) -> None:
    from gnnrl.evaluation.scenarios import workload_label
    from gnnrl.evaluation.summary import summary

    print_summary(summary(evaluation))
    for workload in evaluation.workloads if evaluation.guardrails is not None else ():
        print_table(
            f"{workload_label(workload)}: guardrails",
            ("", "decisions for a service that each changed, mean a scenario"),
            ((name, _acted(evaluation, workload, name)) for name in evaluation.playbacks),
        )


def print_summary(summary: Mapping[str, Any]) -> None:
    """Prints the `summary` of an evaluation's JSON."""
    if summary["headline"]:
        print(summary["headline"])
    if summary["caption"]:
        print(textwrap.fill(summary["caption"], PROSE_COLUMNS))
    print()
    for table in summary["tables"]:
        print_table(table["title"], table["columns"], table["rows"])
    for line in summary["notes"]:
        print(textwrap.fill(line, PROSE_COLUMNS))


def _acted(evaluation: Evaluation, workload: str, name: str) -> str:
    found = evaluation.acted(workload, name)
    return ", ".join(f"{guardrail} {times.mean:.1f}" for guardrail, times in found.items() if times.mean > 0) or "none"
