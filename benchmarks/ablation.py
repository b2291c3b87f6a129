"""What each part of the encoder earns: trained runs side by side on the topology they were trained on and on others.

    gnnrl train configs/demo.yaml --set encoder.kind=mlp --out runs/ablation/mlp
    gnnrl train configs/demo.yaml --set encoder.kind=gnn --out runs/ablation/gnn
    gnnrl train configs/demo.yaml --set encoder.kind=tgn --set encoder.use_edges=false --out runs/ablation/memory
    gnnrl train configs/demo.yaml --out runs/ablation/both
    python benchmarks/ablation.py runs/ablation/mlp runs/ablation/gnn runs/ablation/memory runs/ablation/both

Three settings, all on held-out scenarios: the mesh of the training as it stands; the same with services and calls
coming and going in mid-episode; random meshes of 8 to 18 services that nobody was trained on. The first run's
configuration sets the scenarios.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.config.experiment import ChurnConfig
from gnnrl.config.loader import load_config
from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.evaluation.comparison import compare
from gnnrl.evaluation.frontier import replica_seconds_at, saving_at, violation_reduction_at

WORKLOADS = ("noisy", "bursty", "flash")
CHURN = ChurnConfig(
    service_added_per_hour=2.0, service_removed_per_hour=1.0, service_renamed_per_hour=1.0, call_removed_per_hour=1.0
)
WEIGHTS = (100.0, 200.0, 400.0, 800.0, 1600.0, 2500.0)


def measure(runs: list[Path], seeds: int = 12) -> dict[str, Any]:
    """Setting -> workload -> run -> figures at the evaluation's violation weight and at the violation budget."""
    agents = {run.name: PPO_GNN.load(run / "checkpoint.pt") for run in runs}
    config = load_config(runs[0] / "config.yaml")
    environment = config.environment
    settings = {
        "seen": replace(environment, churn=ChurnConfig()),
        "churn": replace(environment, churn=CHURN),
        "unseen": replace(environment, churn=ChurnConfig(), mesh=("random:8-18",)),
    }
    found: dict[str, Any] = {}
    for setting, changed in settings.items():
        evaluation = compare(
            replace(
                config,
                environment=changed,
                evaluation=replace(config.evaluation, frontier_weights=WEIGHTS, violation_weight=400.0),
            ),
            others=agents,
            against=("hpa_80",),
            workloads=WORKLOADS,
            seeds=seeds,
            churn="gated" if setting == "churn" else "none",
        )
        found[setting] = {}
        for workload in WORKLOADS:
            frontiers = evaluation.frontiers[workload]
            budget = violation_budget(workload)
            found[setting][workload] = {
                name: {
                    "replica_seconds": evaluation.mean(workload, name, "replica_seconds").mean,
                    "violating_share": evaluation.mean(workload, name, "violating_share").mean,
                    "objective": evaluation.mean(workload, name, "objective").mean,
                    "replica_seconds_at_budget": replica_seconds_at(*frontiers[name].means(), budget),
                    "saving_over_mlp_at_budget": saving_at(frontiers[name], frontiers["mlp"], budget).to_json()
                    if "mlp" in frontiers
                    else None,
                    "violation_less_than_mlp": violation_reduction_at(
                        frontiers[name],
                        frontiers["mlp"],
                        float(frontiers["mlp"].means()[1][2]),
                    ).to_json()
                    if "mlp" in frontiers
                    else None,
                }
                for name in agents
            }
    return found


if __name__ == "__main__":
    print(json.dumps(measure([Path(argument) for argument in sys.argv[1:]]), indent=1))
