"""Whether the pretrained policy does the same on the same problem in other units.

    python -m benchmarks.other_units [--run RUN|NAME] [--meshes 16]

Held-out meshes of 8 to 18 services at an SLO of twice their idle P95, four loads each: as they are, with pods (and the work of a call)
five times as large, and with ten times the rate at a tenth of every time of a call. Prints J against the first, paired over meshes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.bench_generalist import CASES, VIOLATION_WEIGHT, by_mesh, held_out_meshes, load_agents, scenarios_of
from gnnrl.domains.autoscaling.episode import Episode, Split
from gnnrl.evaluation.controllers import PolicyController
from gnnrl.evaluation.runner import play
from gnnrl.evaluation.statistics import relative_saving

__all__ = ["in_other_units"]


def in_other_units(episode: Episode, *, pods: float = 1.0, speed: float = 1.0) -> Episode:
    """The same problem: pods and the work of a call `pods` times as large; `speed` times the rate at that part of every time of a call.

    Start-up, metrics and decisions keep their seconds.
    """
    mesh = replace(
        episode.mesh,
        services=tuple(
            replace(
                service,
                cpu_ms=service.cpu_ms * pods / speed,
                cpu_request_millicores=service.cpu_request_millicores * pods,
                cpu_limit_millicores=service.cpu_limit_millicores * pods,
                base_latency_ms=service.base_latency_ms / speed,
                timeout_ms=None if service.timeout_ms is None else service.timeout_ms / speed,
            )
            for service in episode.mesh.services
        ),
        sidecar_millicores_per_rps=episode.mesh.sidecar_millicores_per_rps * pods / speed,
    )
    return replace(episode, mesh=mesh, rps=(episode.rps * speed).astype(np.float32), slo_ms=episode.slo_ms / speed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays the three and prints J."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", metavar="RUN|NAME", default="generalist", help="a trained run, or a pretrained policy")
    parser.add_argument("--meshes", metavar="N", type=int, default=16)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    experiment, agents = load_agents([args.run])
    (agent,) = agents.values()
    environment = CASES["8-18-2.0"].environment(experiment.environment)
    plain = scenarios_of(environment, held_out_meshes(environment, args.meshes), Split.HELD_OUT, 0)
    costs = {}
    for name, pods, speed in (("as it is", 1.0, 1.0), ("pods 5 x as large", 5.0, 1.0), ("10 x the rate", 1.0, 10.0)):
        episodes = tuple(in_other_units(episode, pods=pods, speed=speed) for episode in plain.episodes)
        controller = PolicyController(agent, environment, temperature=experiment.evaluation.temperature)
        played = play(controller, replace(plain, episodes=episodes), violation_weight=VIOLATION_WEIGHT, histogram=False)
        costs[name] = by_mesh(played, "objective", args.meshes).mean(1)
        change = relative_saving(costs[name], costs["as it is"])
        print(
            f"{name:20s} J {costs[name].mean() / 1000:7.1f}  {-100 * change.mean:+.2f} % "
            f"[{-100 * change.high:+.2f}, {-100 * change.low:+.2f}]",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
