"""Hand a hundred thousand wrong (and right) arguments to everything public, and count what should not happen.

    python -m benchmarks.fuzz_arguments [--draws 100000] [--seed 0] [--batch 5000] [--case NAME ...]

Hypothesis draws the calls of `drawn_arguments.py`; an oracle says which are legal. Each batch is made in a child process, so that a crash
is counted and the rest goes on; the call that was being made is then told. Printed are the calls by case, how many were legal, and how
many crashed, were silently taken, or refused wrongly; the exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

SHOWN = 20


def play(draws: int, seed: int, names: tuple[str, ...], folder: Path) -> None:
    """Make `draws` calls in this process; `last` holds the one that is being made, `found` what came of them."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from benchmarks.drawn_arguments import CASES, Call, drawn_call, outcome

    made: Counter[str] = Counter()
    legal: Counter[str] = Counter()
    faults: list[tuple[str, str, str]] = []
    last = os.open(folder / "last", os.O_WRONLY | os.O_CREAT)

    @seeded(seed)
    @settings(
        max_examples=draws,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(drawn_call(names or tuple(CASES)))
    def run(call: Call) -> None:
        told = f"{call.case}: {call.told}"[:2000].encode("utf-8", "replace")
        os.pwrite(last, told.ljust(2000), 0)
        made[call.case] += 1
        legal[call.case] += call.legal
        found = outcome(call)
        if found != "right":
            faults.append((call.case, call.told[:500], found[:500]))

    run()
    (folder / "found").write_text(json.dumps({"made": made, "legal": legal, "faults": faults}), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=5000, help="calls a child process")
    parser.add_argument("--case", action="append", default=[], help="only this one; may be given again")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child is not None:
        play(args.draws, args.seed, tuple(args.case), args.child)
        return 0
    began, crashes = time.monotonic(), []
    made: Counter[str] = Counter()
    legal: Counter[str] = Counter()
    faults: list[tuple[str, str, str]] = []
    batch = 0
    while made.total() < args.draws and len(crashes) < SHOWN:
        count = min(args.batch, args.draws - made.total())
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = [sys.executable, "-m", "benchmarks.fuzz_arguments", "--child", name, "--draws", str(count)]
            command += ["--seed", str(args.seed + batch), *(f"--case={case}" for case in args.case)]
            code = subprocess.run(command, check=False).returncode
            if code == 0:
                found = json.loads((folder / "found").read_text(encoding="utf-8"))
                made.update(found["made"])
                legal.update(found["legal"])
                faults += [(case, told, what) for case, told, what in found["faults"]]
            else:
                last = folder / "last"
                crashes.append(f"code {code}: {last.read_text().strip() if last.exists() else 'before the first call'}")
        batch += 1
        print(f"{made.total():,} calls, {time.monotonic() - began:.0f} s", file=sys.stderr)
    for case in sorted(made):
        print(f"{case:20s} {made[case]:8,} calls, {legal[case]:7,} legal")
    taken = sum(what == "silently taken" for _, _, what in faults)
    print(
        f"{made.total():,} calls: {len(crashes)} crashes, {taken} silently taken, {len(faults) - taken} refused wrongly"
    )
    for crash in crashes[:SHOWN]:
        print(f"crash: {crash}")
    for case, told, what in faults[:SHOWN]:
        print(f"{case}: {told}\n    {what}")
    return 1 if crashes or faults else 0


if __name__ == "__main__":
    sys.exit(main())
