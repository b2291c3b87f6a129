"""What the guardrails for births, errors and missed objectives do to the rules: off and on, on the same scenarios.

    python -m benchmarks.guarded_rules [--seeds 8]

Online Boutique, validation stream, so that constants may be chosen by it; J in thousands, its difference paired over scenarios.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.baselines import ReplicaBounds
from gnnrl.domains.autoscaling.baselines.registry import make
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation.controllers import BaselineController
from gnnrl.evaluation.runner import Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios
from gnnrl.evaluation.statistics import paired_difference

__all__ = ["CASES", "Case", "lines", "played"]

VIOLATION_WEIGHT = 400.0
LOADS = ("diurnal", "noisy", "bursty")
RULES = ("hpa_80", "hpa_110", "feed_forward_50", "feed_forward_70")
BASE = AutoscalingConfig(max_nodes=24, max_edges=80)
CHURN = ChurnConfig(
    service_added_per_hour=2.0, service_removed_per_hour=1.0, service_renamed_per_hour=1.0, call_removed_per_hour=1.0
)
ON = GuardrailConfig()
UNBORN = replace(ON, young_seconds=0.0, newborn_replicas=0, birth_hold_seconds=0.0, error_hold_share=1.0)
INTEGRATED = replace(ON, slo_integrator=True)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that happens, and the guardrails without and with what is for it."""

    environment: AutoscalingConfig
    off: GuardrailConfig
    on: GuardrailConfig


CASES: Mapping[str, Case] = {
    "births, gated": Case(environment=replace(BASE, churn=CHURN), off=UNBORN, on=ON),
    "births, hard": Case(environment=replace(BASE, churn=replace(CHURN, cutover="hard")), off=UNBORN, on=ON),
    **{
        f"integrator, SLO {factor:g}": Case(
            environment=replace(BASE, slo_factor=(factor, factor)), off=ON, on=INTEGRATED
        )
        for factor in (1.4, 2.0, 3.0)
    },
}


def played(rule: str, scenarios: ScenarioSet, guardrails: GuardrailConfig) -> Playback:
    """One rule on all scenarios."""
    config = scenarios.config
    bounds = ReplicaBounds(min_replicas=config.min_replicas, max_replicas=config.max_replicas)
    controller = BaselineController(make(rule, bounds, config.max_nodes, scenarios.load()), config)
    return play(controller, scenarios, violation_weight=VIOLATION_WEIGHT, histogram=False, guardrails=guardrails)


def lines(name: str, case: Case, seeds: int) -> list[str]:
    """A row of the table for each rule."""
    found = draw_scenarios(case.environment, LOADS, seeds, split=Split.VALIDATION, violation_weight=VIOLATION_WEIGHT)
    rows = []
    for rule in RULES:
        off, on = (played(rule, found, guardrails) for guardrails in (case.off, case.on))
        change = paired_difference(on.metrics["objective"], off.metrics["objective"])
        figures = (
            f"{p.metrics['replica_seconds'].mean() / found.seconds:.1f} @ {100.0 * p.metrics['violating_share'].mean():.2f}"
            for p in (off, on)
        )
        interval = f"{change.mean / 1e3:+.1f} [{change.low / 1e3:+.1f}, {change.high / 1e3:+.1f}]"
        rows.append(f"| {name} | `{rule}` | {' | '.join(figures)} | {interval} |")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="scenarios of each load")
    asked = parser.parse_args(arguments)
    print("| case | rule | off: replicas @ violating % | on | J on - off, thousands [95 %] |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        print("\n".join(lines(name, case, asked.seeds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
