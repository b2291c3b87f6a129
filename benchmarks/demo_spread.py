"""How far trainings of one experiment lie apart: the policy's figures in several evaluations, by load.

    gnnrl train configs/demo.yaml --out runs/a && gnnrl evaluate runs/a --json runs/a/evaluation.json
    NUMBA_CPU_NAME=generic ATEN_CPU_CAPABILITY=default gnnrl train configs/demo.yaml --out runs/b && ...
    python benchmarks/demo_spread.py runs/a/evaluation.json runs/b/evaluation.json

One seed on one machine gives the same bits twice. Kernels are compiled for the processor they run on, and torch chooses its own by it:
another processor, or the two variables above, rounds other last bits, and a training amplifies them like another seed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

REFERENCE = "hpa_80"


def spread(evaluations: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Load -> figure -> one number an evaluation: J in replica-seconds, violating and saved in %."""
    found: dict[str, dict[str, list[float]]] = {}
    for evaluation in evaluations:
        for load, rows in evaluation["scenarios"].items():
            saved = evaluation["paired"][load][REFERENCE]["policy"]["replica_seconds_saving"]["mean"]
            figures = {
                "J": rows["policy"]["objective"]["mean"],
                "violating %": 100.0 * rows["policy"]["violating_share"]["mean"],
                f"saved vs {REFERENCE} %": 100.0 * saved,
            }
            for name, value in figures.items():
                found.setdefault(load, {}).setdefault(name, []).append(value)
    return found


def main() -> None:
    """Prints lowest and highest, and each."""
    evaluations = [json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]]
    for load, figures in spread(evaluations).items():
        for name, values in figures.items():
            digits = 0 if name == "J" else 2
            each = ", ".join(f"{value:,.{digits}f}" for value in values)
            print(f"{load:10} {name:18} {min(values):,.{digits}f} to {max(values):,.{digits}f}: {each}")


if __name__ == "__main__":
    main()
