"""Puts the table of an evaluation into the README, between the demo-table marks: no number there is typed by hand.

python docs/fill_readme.py runs/demo/evaluation.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
MARKS = re.compile(r"(<!-- demo-table -->\n).*?(<!-- /demo-table -->)", flags=re.DOTALL)
REFERENCE = "hpa_80"
SHOWN = ("policy", "hpa_80", "hpa_calibrated", "kpa", "feed_forward", "oracle")
"""The README has no room for all; the report has."""


def shown(value: dict[str, Any], scale: float, digits: int) -> str:
    """`mean [low, high]`."""
    numbers = (value["mean"], *value["ci95"])
    mean, low, high = ("-" if number is None else f"{scale * number:.{digits}f}" for number in numbers)
    return f"{mean} [{low}, {high}]"


def table(evaluation: dict[str, Any]) -> str:
    """The comparison as Markdown, a row for each workload and policy."""
    environment = evaluation["config"]["environment"]
    seconds = environment["decision_seconds"] * environment["episode_decisions"]
    lines = [
        f"| workload | policy | replicas | saved vs `{REFERENCE}` % | violating % | P95 ms | scale moves |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for workload, policies in evaluation["scenarios"].items():
        savings = evaluation["paired"].get(workload, {}).get(REFERENCE, {})
        for name, metrics in ((name, policies[name]) for name in SHOWN if name in policies):
            saved = savings.get(name)
            lines.append(
                f"| {workload} | {f'**{name}**' if name == 'policy' else name} "
                f"| {shown(metrics['replica_seconds'], 1.0 / seconds, 1)} "
                f"| {shown(saved['replica_seconds_saving'], 100.0, 0) if saved else ''} "
                f"| {shown(metrics['violating_share'], 100.0, 2)} "
                f"| {metrics['latency_p95_ms']['mean']:.0f} | {metrics['scale_moves']['mean']:.0f} |"
            )
    split, seeds = evaluation["split"], evaluation["config"]["evaluation"]["seeds"]
    steps = evaluation["config"]["training"]["total_steps"]
    note = (
        f"Means with 95 % intervals over {seeds} held-out seeds a workload, paired; trained for {steps:,} steps on "
        f"{', '.join(split['training_workloads'])}."
    )
    return "\n".join([note, "", *lines]) + "\n"


def main() -> None:
    """Rewrites the block."""
    evaluation = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    text, count = MARKS.subn(
        lambda marks: f"{marks[1]}{table(evaluation)}{marks[2]}", README.read_text(encoding="utf-8")
    )
    if count != 1:
        sys.exit(f"{README}: the marks <!-- demo-table --> and <!-- /demo-table --> are not there once")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
