"""Kill trainings at random moments and see that each goes on to the very end of one that was left alone.

A small training of every domain is run once to its end, and then again and again with SIGTERM at a moment drawn uniformly over its
time, from its first line of logs to the end of the process. Each must end with exit code 143 within the seconds that Kubernetes gives and
say what it saved, and, resumed, come to the same weights, optimiser, statistics, environments, logs and table of checkpoints, bit for bit.
What is saved must be the last finished rollout: no logged step may lie beyond it.

    python -m benchmarks.kill_training --kills 20 --seed 0
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnrl.agents.archive import read_archive

ROOT = Path(__file__).parents[1]
GRACE_SECONDS = 30.0
"""Between SIGTERM and SIGKILL, as Kubernetes has it."""
SMALL = (
    "training.num_envs=4",
    "ppo.rollout_length=16",
    "ppo.chunk_length=8",
    "encoder.hidden=16",
    "training.checkpoint_every_steps=256",
)
TRAININGS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "autoscaling": (
        "demo.yaml",
        (
            "training.total_steps=768", "environment.episode_decisions=20", "training.evaluate_every_steps=384",
            "warm_start.clone_steps=256", "warm_start.clone_epochs=2", "training.stabilisation_steps=64",
        ),
    ),
    "queue_routing": (
        "queue_routing_drawn.yaml",
        ("training.total_steps=2048", "training.evaluate_every_steps=1024"),
    ),
    "llm_routing": (
        "llm_routing_hidden_speeds.yaml",
        ("training.total_steps=1536", "training.evaluate_every_steps=768", "environment.episode_requests=100"),
    ),
}  # fmt: skip
"""Domain -> configuration and what makes it small."""
VARYING = ("train/steps_per_second", "train/replay_error")
"""Logged, and not of the training: the clock, and a check that follows each resumption."""


def begin(command: Sequence[str]) -> subprocess.Popen[str]:
    """A training in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "gnnrl", "train", *command],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def started(process: subprocess.Popen[str], run: Path) -> None:
    """Wait until the training itself begins."""
    while process.poll() is None and not (run / "training.jsonl").exists():
        time.sleep(0.01)


def finish(command: Sequence[str], run: Path) -> float:
    """Seconds of a training that is left alone, from its first line of logs.

    Raises:
        RuntimeError: it failed.
    """
    process = begin(command)
    started(process, run)
    began = time.monotonic()
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"gnnrl train {' '.join(command)} ended with {process.returncode}: {said}")
    return time.monotonic() - began


def logged(run: Path) -> list[dict[str, float]]:
    """Lines of `training.jsonl` without what varies."""
    record = run / "training.jsonl"
    lines = (
        [json.loads(line) for line in record.read_text().splitlines() if line.endswith("}")] if record.exists() else []
    )
    return [{name: value for name, value in line.items() if name not in VARYING} for line in lines]


def same(one: Any, other: Any) -> bool:
    """Equality of trees, bit for bit."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def trained(run: Path) -> dict[str, Any]:
    """What a run has come to, but for the generators of the process itself, which no training draws from."""
    tree = read_archive(run / "checkpoint.pt")
    tree["training"].pop("generators")
    return tree


def kill(command: Sequence[str], run: Path, after_seconds: float) -> dict[str, Any]:
    """Begin a training, kill it, resume it; what came of the first part."""
    process = begin(command)
    started(process, run)
    time.sleep(after_seconds)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    _, said = process.communicate()
    took = time.monotonic() - asked
    checkpoint = run / "checkpoint.pt"
    saved = read_archive(checkpoint)["training"]["steps"] if checkpoint.exists() else 0
    last = max((int(line["step"]) for line in logged(run)), default=0)
    finish(["--resume", str(run)], run)
    return {
        "code": process.returncode,
        "took": took,
        "saved": saved,
        "last": last,
        "said": said.strip().splitlines()[-1:],
    }


def main() -> int:
    """Prints a line a kill; 1 where one was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="spread over the domains; 20")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; 0")
    parser.add_argument("--domain", choices=tuple(TRAININGS), action="append", help="only this one; may be repeated")
    args = parser.parse_args()
    draw, bad = random.Random(args.seed), 0
    domains = args.domain or list(TRAININGS)
    with tempfile.TemporaryDirectory() as scratch:
        whole, seconds, commands = {}, {}, {}
        for domain in domains:
            config, overrides = TRAININGS[domain]
            sets = [part for override in (*SMALL, *overrides) for part in ("--set", override)]
            commands[domain] = [str(ROOT / "configs" / config), *sets, "--out"]
            whole[domain] = Path(scratch) / domain
            seconds[domain] = finish([*commands[domain], str(whole[domain])], whole[domain])
            print(f"{domain}: {seconds[domain]:.1f} s left alone", flush=True)
        for number in range(args.kills):
            domain = domains[number % len(domains)]
            run = Path(scratch) / f"{domain}_{number}"
            after = draw.uniform(0.0, seconds[domain])
            found = kill([*commands[domain], str(run)], run, after)
            ours, theirs = (trained(path) for path in (run, whole[domain]))
            equal = (
                same(ours, theirs)
                and logged(run) == logged(whole[domain])
                and (run / "checkpoints.csv").read_text() == (whole[domain] / "checkpoints.csv").read_text()
            )
            # 0 or killed by the signal: it was done already, and Python was on its way out.
            done = found["saved"] >= theirs["training"]["steps"]
            ended = found["code"] == 128 + signal.SIGTERM or (found["code"] in (0, -signal.SIGTERM) and done)
            fine = equal and ended and found["saved"] >= found["last"] and found["took"] < GRACE_SECONDS
            bad += not fine
            print(
                f"{'ok ' if fine else 'BAD'} {domain} at {after:5.1f} s: code {found['code']}, {found['took']:.1f} s to end, saved step "
                f"{found['saved']}, last logged {found['last']}, {'equal' if equal else 'DIFFERENT'}  {' '.join(found['said'])}",
                flush=True,
            )
            shutil.rmtree(run)
    print(f"{args.kills - bad} of {args.kills} kills went on bit for bit with nothing older than the last rollout lost")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
