"""Puts what `gnnrl evaluate` printed into the documents, word for word: no number there is typed by hand.

python docs/fill_readme.py runs/demo/evaluation.json                     the demo's tables, into README.md
python docs/fill_readme.py runs/boutique/evaluation.json --as boutique   those of another run, wherever a document has blocks of that name

A document has a block between `<!-- NAME -->` and `<!-- /NAME -->`, which is replaced: `NAME-table` is the first table with what is said of
it, `NAME-rows` everybody, workload by workload, and `NAME-equal` what is saved at equal violating time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from gnnrl.cli.domains.autoscaling import print_summary

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "results.md")


def blocks(evaluation: dict[str, Any]) -> dict[str, str]:
    """What each kind of block holds."""
    summary = evaluation["summary"]
    first, *rest = summary["tables"]
    return {
        "table": fenced({**summary, "tables": [first]}),
        "rows": fenced({"headline": "", "caption": "", "tables": rest, "notes": []}),
        "equal": equal_violation(evaluation),
    }


def fenced(summary: dict[str, Any]) -> str:
    """A summary, or a part of one, as it is printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_summary(summary)
    lines = [line.rstrip() for line in printed.getvalue().strip("\n").splitlines()]
    return "\n".join(["```text", *lines, "```", ""])


def equal_violation(evaluation: dict[str, Any]) -> str:
    """Replica-seconds saved by the policy at the violation budget, a row a workload, a column a rule."""
    row, found = evaluation["training"]["row"], evaluation["equal_violation"]
    rules = list(dict.fromkeys(rule for table in found.values() for rule in table["replica_seconds_saving"]))
    lines = [f"| workload | {' | '.join(f'against {rule}' for rule in rules)} |", f"|---|{'--:|' * len(rules)}"]
    for workload, table in found.items():
        cells = (percent(table["replica_seconds_saving"].get(rule, {}).get(row)) for rule in rules)
        lines.append(f"| {workload}, {100 * table['violating_share']:g} % violating | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def percent(saving: dict[str, Any] | None) -> str:
    """`mean % [low, high]`; a dash for what could not be told."""
    if saving is None or saving["mean"] is None:
        return "-"
    low, high = ("-" if bound is None else f"{100 * bound:.1f}" for bound in saving["ci95"])
    return f"{100 * saving['mean']:.1f} % [{low}, {high}]"


def filled(text: str, name: str, found: dict[str, str]) -> tuple[str, int]:
    """The document with its blocks of this name replaced, and how many there were."""
    count = 0
    for kind, block in found.items():
        marks = re.compile(rf"(<!-- {name}-{kind} -->\n).*?(<!-- /{name}-{kind} -->)", flags=re.DOTALL)
        text, replaced = marks.subn(lambda mark, block=block: f"{mark[1]}{block}{mark[2]}", text)
        count += replaced
    return text, count


def main() -> None:
    """Rewrites the blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="what `gnnrl evaluate --json` wrote")
    parser.add_argument("--as", dest="name", default="demo", help="whose blocks; demo")
    args = parser.parse_args()
    found = blocks(json.loads(args.evaluation.read_text(encoding="utf-8")))
    total = 0
    for document in DOCUMENTS:
        text, count = filled(document.read_text(encoding="utf-8"), args.name, found)
        if count:
            document.write_text(text, encoding="utf-8")
            print(f"{document}: {count} blocks")
        total += count
    if total == 0:
        sys.exit(f"no block <!-- {args.name}-table --> in {', '.join(str(document) for document in DOCUMENTS)}")


if __name__ == "__main__":
    main()
