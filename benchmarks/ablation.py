"""What each part of the encoder earns: trained runs side by side on the topology they were trained on and on others.

    gnnrl train configs/demo.yaml --set encoder.kind=mlp --out runs/ablation/mlp
    gnnrl train configs/demo.yaml --set encoder.kind=gnn --out runs/ablation/gnn
    gnnrl train configs/demo.yaml --set encoder.kind=tgn --set encoder.use_edges=false --out runs/ablation/memory
    gnnrl train configs/demo.yaml --out runs/ablation/both
    python -m benchmarks.ablation runs/ablation/mlp runs/ablation/gnn runs/ablation/memory runs/ablation/both

Prints HPA at 80 % first, then the other rules, then the runs. Three settings, all on held-out scenarios: the mesh of the
training as it stands; the same with services and calls coming and going in mid-episode; random meshes of 8 to 18 services that nobody
was trained on. The first run's configuration sets the scenarios.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.config.experiment import ChurnConfig
from gnnrl.config.loader import load_config
from gnnrl.domains.autoscaling.calibration import violation_budget
from gnnrl.evaluation.comparison import compare
from gnnrl.evaluation.evaluated import Evaluation
from gnnrl.evaluation.frontier import replica_seconds_at, saving_at, violation_reduction_at

RULES = ("hpa_80", "hpa_calibrated", "kpa", "feed_forward")
WORKLOADS = ("noisy", "bursty", "flash")
CHURN = ChurnConfig(
    service_added_per_hour=2.0, service_removed_per_hour=1.0, service_renamed_per_hour=1.0, call_removed_per_hour=1.0
)
WEIGHTS = (100.0, 200.0, 400.0, 800.0, 1600.0, 2500.0)


def _figures(evaluation: Evaluation, workload: str, name: str) -> dict[str, Any]:
    """At the evaluation's violation weight."""
    return {
        metric: evaluation.mean(workload, name, metric).mean
        for metric in ("objective", "replica_seconds", "violating_share")
    }


def _of_run(evaluation: Evaluation, workload: str, name: str) -> dict[str, Any]:
    """A run's, and what it comes to at the violation budget and against the run called `mlp`, where there is one."""
    frontiers = evaluation.frontiers[workload]
    budget = violation_budget(workload)
    found = _figures(evaluation, workload, name)
    found["replica_seconds_at_budget"] = replica_seconds_at(*frontiers[name].means(), budget)
    if "mlp" in frontiers:
        mlp = frontiers["mlp"]
        share = float(mlp.means()[1][2])
        found["saving_over_mlp_at_budget"] = saving_at(frontiers[name], mlp, budget).to_json()
        found["violation_less_than_mlp"] = violation_reduction_at(frontiers[name], mlp, share).to_json()
    return found


def measure(runs: list[Path], seeds: int = 12) -> dict[str, Any]:
    """Setting -> workload -> rule or run -> figures; those of runs at the violation budget too."""
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
            against=RULES,
            workloads=WORKLOADS,
            seeds=seeds,
            churn="gated" if setting == "churn" else "none",
        )
        found[setting] = {}
        for workload in WORKLOADS:
            rules = {name: _figures(evaluation, workload, name) for name in RULES}
            found[setting][workload] = rules | {name: _of_run(evaluation, workload, name) for name in agents}
    return found


def print_tables(found: dict[str, Any], seconds: int) -> None:
    """J in thousands with mean replicas @ violating %, a table a setting."""
    for setting, workloads in found.items():
        rows = next(iter(workloads.values()))
        print(f"\n{setting:24s}" + "".join(f"{workload:>24s}" for workload in workloads))
        for name in rows:
            cells = (figures[name] for figures in workloads.values())
            told = (
                f"{cell['objective'] / 1000:.0f} [{cell['replica_seconds'] / seconds:.1f} @ {100 * cell['violating_share']:.2f}]"
                for cell in cells
            )
            print(f"{name:24s}" + "".join(f"{cell:>24s}" for cell in told))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    parser.add_argument("--seeds", metavar="N", type=int, default=12, help="scenarios a workload")
    parser.add_argument("--json", metavar="FILE", type=Path, help="every figure")
    args = parser.parse_args(arguments)
    found = measure(args.runs, args.seeds)
    environment = load_config(args.runs[0] / "config.yaml").environment
    print_tables(found, environment.episode_decisions * environment.decision_seconds)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
