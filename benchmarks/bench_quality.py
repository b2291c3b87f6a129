"""What a policy is worth after so many minutes of a core's time, from scratch and without a teacher, beside Stable-Baselines3's.

    gnnrl bench quality
    python -m benchmarks.bench_quality --minutes 1 2 4 8 20 --seeds 3 [--contender NAME ...] [--json FILE]

Everybody trains on the Online Boutique (training loads, drawn costs, SLO of twice the idle P95) and is played, at each mark, on
held-out loads. J = replica-seconds + 400 x violating seconds + what changes cost, mean over four loads; HPA 80 is played beside. What
counts is the processor time of the process, and of the training alone. A policy plays its likeliest move, or a draw at the temperature of
the evaluation, whichever was better on the validation loads at that mark.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from gnnrl.agents import PPO_GNN
from gnnrl.agents.iteration import iterations
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, ExperimentConfig
from gnnrl.config.loader import load_config
from gnnrl.domains.autoscaling.baselines import ReplicaBounds
from gnnrl.domains.autoscaling.baselines.registry import make
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation.controllers import BaselineController, Controller, PolicyController
from gnnrl.evaluation.runner import play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios

__all__ = ["CONTENDERS", "measure", "quality"]

LOADS = ("diurnal", "noisy", "bursty", "flash")
VIOLATION_WEIGHT = 400.0
FOR_EVER = 10**9
"""Steps; a training ends with its minutes."""
CONFIGS = Path(__file__).parents[1] / "configs"


class Training(Protocol):
    """A training in steps."""

    def advance(self) -> None:
        """A rollout and its update."""

    def act(self, *args: Any, **kwargs: Any) -> Any:
        """See `LearnedPolicy`."""


@dataclass
class Ours:
    """PPO_GNN."""

    agent: PPO_GNN
    loop: Iterator[Any]

    @classmethod
    def of(cls, experiment: ExperimentConfig, seed: int) -> Ours:
        """From scratch."""
        env = MeshVectorEnv(experiment.training.num_envs, experiment.environment, copy=False)
        agent = PPO_GNN(
            env.single_observation_space,
            env.single_action_space,
            config=experiment.ppo,
            encoder=experiment.encoder,
            seed=seed,
        )
        return cls(agent, iterations(agent, env, FOR_EVER))

    def advance(self) -> None:
        """A rollout and its update."""
        next(self.loop)

    def act(self, *args: Any, **kwargs: Any) -> Any:
        """As it stands."""
        return self.agent.train(False).act(*args, **kwargs)


def constant(experiment: ExperimentConfig, learning_rate: float) -> ExperimentConfig:
    """At one step size throughout: where the training ends is not known to it."""
    return replace(
        experiment,
        ppo=replace(experiment.ppo, learning_rate=learning_rate, learning_rate_schedule="constant", threads=1),
    )


def boutique(experiment: ExperimentConfig) -> ExperimentConfig:
    """The same training on the Boutique of the long experiment alone."""
    long = load_config(CONFIGS / "online_boutique_ppo.yaml").environment
    environment = replace(
        long,
        node_columns=experiment.environment.node_columns,
        violation_weight=experiment.environment.violation_weight,
        churn=ChurnConfig(),
    )
    return replace(experiment, environment=environment)


def _ours(seed: int) -> Training:
    return Ours.of(constant(boutique(load_config(CONFIGS / "generalist.yaml")), 1e-3), seed)


def _long(seed: int) -> Training:
    experiment = load_config(CONFIGS / "online_boutique_ppo.yaml")
    return Ours.of(constant(experiment, 1e-3), seed)


def _peer(encoder: str, learning_rate: float, seed: int) -> Training:
    from benchmarks.sb3_peers import Peer

    experiment = constant(boutique(load_config(CONFIGS / "generalist.yaml")), learning_rate)
    return Peer.of(
        encoder,
        experiment.environment,
        num_envs=experiment.training.num_envs,
        ppo=experiment.ppo,
        network=experiment.encoder if encoder == "pyg" else replace(experiment.encoder, hidden=64),
        normalised=True,
        seed=seed,
    )


CONTENDERS: Mapping[str, Callable[[int], Training]] = {
    "ours": _ours,
    "ours, settings of the long experiment": _long,
    "SB3 with PyG": lambda seed: _peer("pyg", 1e-3, seed),
    "SB3 with its MLP": lambda seed: _peer("mlp", 3e-4, seed),
}
"""Name -> training from scratch by seed. Nobody was tuned for it: ours and PyG take steps of 0.001, the MLP Stable-Baselines3's own."""


def scenarios(split: Split, seeds: int, environment: AutoscalingConfig) -> ScenarioSet:
    """The long experiment's, without changes of the topology."""
    return draw_scenarios(
        replace(environment, churn=ChurnConfig()), LOADS, seeds, split=split, violation_weight=VIOLATION_WEIGHT
    )


def cost(controller: Controller, played: ScenarioSet) -> float:
    """Mean J over the scenarios, replica-seconds."""
    playback = play(controller, played, violation_weight=VIOLATION_WEIGHT, histogram=False)
    return float(playback.metrics["objective"].mean())


def quality(name: str, minutes: Sequence[float], seed: int, *, seeds: int = 8) -> dict[float, float]:
    """Mark in minutes -> J on held-out loads, of a training from scratch.

    Args:
        name: of `CONTENDERS`.
        minutes: of processor time, rising.
        seed: of the training.
        seeds: scenarios a load.
    """
    CONTENDERS[name](seed).advance()  # what is compiled, or loaded from the cache, counts for nobody
    training = CONTENDERS[name](seed)
    environment = _environment(name)
    spent, found = 0.0, {}
    for mark in minutes:
        while spent < 60.0 * mark:
            began = time.process_time()
            training.advance()
            spent += time.process_time() - began
        players = [
            PolicyController(training, environment, name=name, temperature=temperature) for temperature in (0.0, 0.5)
        ]
        validation = scenarios(Split.VALIDATION, 2, environment)
        best = min(players, key=lambda player: cost(player, validation))
        found[mark] = cost(best, scenarios(Split.HELD_OUT, seeds, environment))
    return found


def _environment(name: str) -> AutoscalingConfig:
    """What a contender is shown and played on."""
    long = load_config(CONFIGS / "online_boutique_ppo.yaml")
    if name == "ours, settings of the long experiment":
        return long.environment
    return boutique(load_config(CONFIGS / "generalist.yaml")).environment


def hpa(seeds: int = 8) -> float:
    """J of HPA 80 on the same loads."""
    environment = _environment("ours")
    held_out = scenarios(Split.HELD_OUT, seeds, environment)
    bounds = ReplicaBounds(min_replicas=environment.min_replicas, max_replicas=environment.max_replicas)
    rule = make("hpa_80", bounds, environment.max_nodes, held_out.load())
    return cost(BaselineController(rule, environment), held_out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, plays and prints a table of J in thousands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", metavar="M", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0, 20.0])
    parser.add_argument("--seeds", metavar="N", type=int, default=1, help="trainings")
    parser.add_argument("--contender", metavar="NAME", nargs="+", choices=tuple(CONTENDERS), default=tuple(CONTENDERS))
    parser.add_argument("--json", metavar="FILE", type=Path, help="J by contender, seed and mark")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    minutes = sorted(args.minutes)
    print(f"HPA 80: {hpa() / 1000:.1f}", flush=True)
    found: dict[str, list[dict[float, float]]] = {}
    for name in args.contender:
        found[name] = []
        for seed in range(args.seeds):
            found[name].append(quality(name, minutes, seed))
            told = "  ".join(f"{mark:g} min {value / 1000:.1f}" for mark, value in found[name][-1].items())
            print(f"{name}, seed {seed}: {told}", flush=True)
            if args.json is not None:
                args.json.write_text(json.dumps(found), encoding="utf-8")
    return 0


def measure() -> list[dict[str, Any]]:
    """One training of each for four minutes."""
    marks = (1.0, 2.0, 4.0)
    rows: list[dict[str, Any]] = []
    ours = quality("ours", marks, 0)
    rows += [{"figure": f"J after {m:g} minutes, ours", "value": j, "unit": "replica-s"} for m, j in ours.items()]
    for name in ("SB3 with PyG", "SB3 with its MLP"):
        peer = quality(name, marks, 0)
        rows += [
            {"figure": f"J after {m:g} minutes, ours / {name}", "value": ours[m] / peer[m], "unit": "x", "aim": "<= 1"}
            for m in marks
        ]
    return [*rows, {"figure": "J of HPA 80", "value": hpa(), "unit": "replica-s"}]


if __name__ == "__main__":
    sys.exit(main())
