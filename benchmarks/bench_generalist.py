"""The pretrained policy on meshes, loads and objectives it has not seen, against rules that were calibrated on each of them.

    gnnrl bench generalist
    python -m benchmarks.bench_generalist --run RUN|NAME [RUN ...] [--meshes 16] [--case NAME ...] [--json FILE]

For each case meshes are drawn from the held-out stream, and each plays four loads. Rules are calibrated on other loads (the validation
stream's) of that very mesh and objective, at the setting of the lowest J: one for all loads (`hpa_mesh`), or one for each family of
loads, which no operator can know (`..._family`). J = replica-seconds + 400 x violating seconds + what changes cost; a mesh counts with the
mean of its loads, and intervals are paired over meshes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, ExperimentConfig, RandomisationConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.baselines import Load, ReplicaBounds
from gnnrl.domains.autoscaling.baselines.registry import make, make_with
from gnnrl.domains.autoscaling.episode import Split, draw_episode
from gnnrl.domains.autoscaling.guarded_scaling import wide_guardrails
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.evaluation.controllers import BaselineController, Controller, PolicyController
from gnnrl.evaluation.runner import Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet
from gnnrl.evaluation.statistics import Interval, relative_saving
from gnnrl.evaluation.sweep import play_oracle, play_settings
from gnnrl.pretrained import is_policy
from gnnrl.training.pretrained_policy import PretrainedPolicy
from gnnrl.training.run_folder import RunFolder

__all__ = ["CASES", "Case", "Figures", "measure"]

Floats = NDArray[np.float64]
LOADS = ("diurnal", "noisy", "bursty", "flash")
VIOLATION_WEIGHT = 400.0
CALIBRATION_SEEDS = 2
"""Other loads of each family that a rule is calibrated on, by mesh."""
GRIDS: Mapping[str, tuple[Mapping[str, float], ...]] = {
    "hpa_calibrated": tuple(
        {"target_percent": float(target), "down_window_seconds": window}
        for target in range(60, 150, 10)
        for window in (0.0, 300.0)
    ),
    "kpa": tuple({"concurrency": c} for c in (0.4, 0.6, 0.8, 1.0, 1.4)),
    "feed_forward": tuple({"headroom": 0.4 + 0.05 * k} for k in range(8)),
}
"""Rule -> settings that are tried on each mesh."""
QUANTITIES = {
    "objective": ("objective", 1.0),
    "replicas": ("replica_seconds", 1.0),
    "violating_share": ("violating_share", 1.0),
    "moves": ("scale_moves", 1.0),
}
"""Field of `Figures` -> (metric, factor); replicas are a mean over the seconds."""
CHURN = ChurnConfig(
    service_added_per_hour=2.0, service_removed_per_hour=1.0, service_renamed_per_hour=1.0, call_removed_per_hour=1.0
)

BIRTHS = GuardrailConfig()
BIRTH_GUARDS = replace(
    wide_guardrails(1, 20),
    young_seconds=BIRTHS.young_seconds,
    newborn_replicas=BIRTHS.newborn_replicas,
    birth_hold_seconds=BIRTHS.birth_hold_seconds,
)
"""Of all guardrails those for births alone, at their defaults."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is played."""

    mesh: str
    slo_factor: float
    churn: ChurnConfig = field(default_factory=ChurnConfig)

    def environment(self, trained: AutoscalingConfig) -> AutoscalingConfig:
        """With nothing drawn but meshes and loads; costs as widely as the long experiment's."""
        low = 60 if self.mesh.startswith("random:60") else 0
        return replace(
            trained,
            mesh=(self.mesh,),
            slo_factor=(self.slo_factor, self.slo_factor),
            peak_replicas=(10.0, 17.0),
            churn=self.churn,
            randomisation=RandomisationConfig(),
            max_nodes=max(trained.max_nodes, 200 if low else 0),
            max_edges=max(trained.max_edges, 400 if low else 0),
        )


CASES: Mapping[str, Case] = {
    f"{name}-{slo}{suffix}": Case(mesh=mesh, slo_factor=slo, churn=churn)
    for name, mesh in (("8-18", "random:8-18"), ("30", "random:30-30"), ("boutique", "online_boutique"))
    for slo in (1.5, 2.0, 2.5)
    for suffix, churn in (("", ChurnConfig()), ("-churn", CHURN))
} | {
    "60-2.0": Case(mesh="random:60-60", slo_factor=2.0),
    "boutique-1.4": Case(mesh="online_boutique", slo_factor=1.4),
    "boutique-1.7": Case(mesh="online_boutique", slo_factor=1.7),
    "8-18-2.0-hard": Case(mesh="random:8-18", slo_factor=2.0, churn=replace(CHURN, cutover="hard")),
}
"""Name -> case."""


@dataclass(frozen=True, eq=False)
class Figures:
    """Contender -> what came of it, each [meshes, loads]."""

    objective: Mapping[str, Floats]
    replicas: Mapping[str, Floats]
    violating_share: Mapping[str, Floats]
    moves: Mapping[str, Floats]

    def saving(self, name: str, reference: str) -> Interval:
        """1 - J / J of the reference, paired over meshes."""
        return relative_saving(self.objective[name].mean(1), self.objective[reference].mean(1))

    def to_json(self) -> dict[str, dict[str, list[list[float]]]]:
        """Quantity -> contender -> [meshes][loads]."""
        return {
            field.name: {name: values.tolist() for name, values in getattr(self, field.name).items()}
            for field in fields(self)
        }

    def worse_meshes(self, name: str, reference: str) -> int:
        """Meshes on which the mean J of the loads is higher."""
        return int((self.objective[name].mean(1) > self.objective[reference].mean(1)).sum())


@lru_cache(maxsize=2)
def held_out_meshes(environment: AutoscalingConfig, count: int) -> tuple[Mesh, ...]:
    """The first of the held-out stream."""
    return tuple(draw_episode(environment, Split.HELD_OUT, seed).mesh for seed in range(count))


def scenarios_of(environment: AutoscalingConfig, meshes: Sequence[Mesh], split: Split, first: int) -> ScenarioSet:
    """Every mesh under every family of loads, the meshes of the first family first."""
    episodes = tuple(
        draw_episode(environment, split, first + number, workload=load, violation_weight=VIOLATION_WEIGHT, mesh=mesh)
        for load in LOADS
        for number, mesh in enumerate(meshes)
    )
    return ScenarioSet(config=environment, split=split, workloads=LOADS, seeds=len(meshes), episodes=episodes)


def by_mesh(playback: Playback, metric: str, meshes: int) -> Floats:
    """[meshes, loads]."""
    return playback.metrics[metric].reshape(len(LOADS), meshes).T


@lru_cache(maxsize=2 * len(GRIDS))
def calibrated(rule: str, environment: AutoscalingConfig, meshes: tuple[Mesh, ...]) -> Floats:
    """Mean J [settings, meshes, loads] of a rule at each of its settings, on loads that are not those of the comparison.

    Without changes of the topology, so that a case with them takes over the settings of the one without; guardrails for births have
    nothing to say there.
    """
    found = []
    for k in range(CALIBRATION_SEEDS):
        drawn = scenarios_of(environment, meshes, Split.VALIDATION, 1000 * (k + 1))
        playbacks = play_settings(rule, drawn, GRIDS[rule], violation_weight=VIOLATION_WEIGHT)
        found.append(np.stack([by_mesh(playback, "objective", len(meshes)) for playback in playbacks]))
    return np.mean(found, axis=0)  # type: ignore[no-any-return]


def contenders(
    environment: AutoscalingConfig,
    meshes: tuple[Mesh, ...],
    held_out: ScenarioSet,
    agents: Mapping[str, PPO_GNN],
    temperature: float,
    rules: Collection[str],
    weights: Sequence[float],
) -> Iterator[tuple[str, Callable[[], Controller], ScenarioSet]]:
    """Name, controller and what it plays, of everybody but the oracle."""
    bounds = ReplicaBounds(min_replicas=environment.min_replicas, max_replicas=environment.max_replicas)
    load: Load = held_out.load()
    slots = environment.max_nodes
    yield "hpa_80", lambda: BaselineController(make("hpa_80", bounds, slots, load), environment), held_out

    def setting(rule: str, by_family: bool) -> Controller:
        cost = calibrated(rule, replace(environment, churn=ChurnConfig()), meshes)
        best = cost.argmin(0).T if by_family else np.repeat(cost.mean(2).argmin(0)[None], len(LOADS), 0)
        columns = {key: np.array([GRIDS[rule][int(k)][key] for k in best.reshape(-1)]) for key in GRIDS[rule][0]}
        return BaselineController(make_with(rule, bounds, slots, load, columns), environment)

    for rule in rules:
        yield f"{rule}_mesh", partial(setting, rule, False), held_out
        yield f"{rule}_family", partial(setting, rule, True), held_out
    for name, agent in agents.items():
        controller = partial(PolicyController, agent, environment, name=name, temperature=temperature)
        yield name, controller, held_out
        for weight in weights:
            told = held_out.tiled(1, violation_weight=[weight])
            yield f"{name}, told {weight:g}", controller, told


def play_case(
    case: Case,
    experiment: ExperimentConfig,
    agents: Mapping[str, PPO_GNN],
    *,
    meshes: int,
    rules: Collection[str] = tuple(GRIDS),
    weights: Sequence[float] = (),
    known: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figures:
    """Everybody on one case; where services come and go, everybody behind the guardrails for births.

    Args:
        case: what is played.
        experiment: of the policies.
        agents: the policies.
        meshes: drawn.
        rules: that are calibrated, of `GRIDS`.
        weights: of a violation, each agent also plays as if told.
        known: `Figures.to_json` of contenders that are not played again.
    """
    guardrails = BIRTH_GUARDS if case.churn != ChurnConfig() else None
    environment = case.environment(experiment.environment)
    drawn = held_out_meshes(replace(environment, churn=ChurnConfig()), meshes)
    held_out = scenarios_of(environment, drawn, Split.HELD_OUT, 0)
    temperature = experiment.evaluation.temperature
    found = {
        quantity: {name: np.asarray(values) for name, values in (known or {}).get(quantity, {}).items()}
        for quantity in QUANTITIES
    }
    there = tuple(found["objective"])

    def keep(name: str, playback: Playback) -> None:
        for quantity, (metric, factor) in QUANTITIES.items():
            scale = factor / held_out.seconds if quantity == "replicas" else factor
            found[quantity][name] = scale * by_mesh(playback, metric, meshes)

    for name, controller, told in contenders(environment, drawn, held_out, agents, temperature, rules, weights):
        if name not in there:
            keep(
                name,
                play(controller(), told, violation_weight=VIOLATION_WEIGHT, histogram=False, guardrails=guardrails),
            )
    if "oracle" not in there:
        keep("oracle", play_oracle(held_out, violation_weight=VIOLATION_WEIGHT, guardrails=guardrails))
    return Figures(**found)


def print_figures(name: str, figures: Figures, subjects: Sequence[str]) -> None:
    """A line for everybody."""
    print(f"\n{name}: {len(figures.objective['hpa_80'])} meshes x {len(LOADS)} loads")
    print(
        f"{'':28s} {'J/1000':>8s} {'replicas':>9s} {'viol. %':>8s} {'moves':>6s}  J of the policy against it, worse on"
    )
    for row, cost in figures.objective.items():
        told = ""
        for subject in subjects:
            if row != subject:
                change = figures.saving(subject, row)
                told += (
                    f"  {-100 * change.mean:+.1f} % [{-100 * change.high:+.1f}, {-100 * change.low:+.1f}]"
                    f" {figures.worse_meshes(subject, row):2d}"
                )
        print(
            f"{row:28s} {cost.mean() / 1000:8.1f} {figures.replicas[row].mean():9.2f} "
            f"{100 * figures.violating_share[row].mean():8.2f} {figures.moves[row].mean():6.0f}{told}"
        )
    sys.stdout.flush()


def load_agents(runs: Sequence[str]) -> tuple[ExperimentConfig, dict[str, PPO_GNN]]:
    """Pretrained policies and trained runs by name, and the experiment of the first."""
    agents, experiments = {}, []
    for run in runs:
        if is_policy(run):
            pretrained = PretrainedPolicy.open(run)
            agents[Path(run).stem] = pretrained.agent
            experiments.append(pretrained.config)
        else:
            folder = RunFolder.open(Path(run))
            agents[Path(run).name] = PPO_GNN.load(folder.checkpoint).train(False)
            experiments.append(folder.config)
    return experiments[0] if experiments else PretrainedPolicy.open("generalist").config, agents


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays the cases and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run",
        metavar="RUN|NAME",
        nargs="*",
        default=["generalist"],
        help="trained runs, or pretrained policies; none = rules alone",
    )
    parser.add_argument("--meshes", metavar="N", type=int, default=16)
    parser.add_argument("--case", metavar="NAME", nargs="+", choices=tuple(CASES), default=["8-18-2.0"])
    parser.add_argument(
        "--weights",
        metavar="W",
        type=float,
        nargs="*",
        default=(),
        help="policies also play as if a violation cost this",
    )
    parser.add_argument(
        "--rules", metavar="NAME", nargs="*", choices=tuple(GRIDS), default=tuple(GRIDS), help="calibrated"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="everything that was played, by case and contender; what stands there is not played again",
    )
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    experiment, agents = load_agents(args.run)
    played = {}
    if args.json is not None and args.json.is_file():
        played = json.loads(args.json.read_text(encoding="utf-8"))
    for name in args.case:
        figures = play_case(
            CASES[name],
            experiment,
            agents,
            meshes=args.meshes,
            rules=args.rules,
            weights=args.weights,
            known=played.get(name),
        )
        played[name] = figures.to_json()
        print_figures(name, figures, tuple(agents))
        if args.json is not None:
            args.json.write_text(json.dumps(played), encoding="utf-8")
    return 0


def measure() -> list[dict[str, Any]]:
    """The pretrained policy on 8 meshes of 8 to 18 services at an SLO of twice the idle P95."""
    experiment, agents = load_agents(["generalist"])
    figures = play_case(CASES["8-18-2.0"], experiment, agents, meshes=8)
    against = (("hpa_80", "<= -14"), ("hpa_calibrated_mesh", "<= -8"), ("hpa_calibrated_family", "<= 1"))
    return [
        {
            "figure": f"J against {reference}, upper end of the 95 % interval",
            "value": -100.0 * figures.saving("generalist", reference).low,
            "unit": "%",
            "aim": aim,
        }
        for reference, aim in against
    ] + [
        {
            "figure": "violating",
            "value": 100.0 * float(figures.violating_share["generalist"].mean()),
            "unit": "%",
            "aim": "<= 2",
        }
    ]


if __name__ == "__main__":
    sys.exit(main())
