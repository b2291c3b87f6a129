"""`gnnrl train --seeds N`: one experiment trained with several seeds, one after another, and what they came to side by side."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnrl.cli.arguments import print_table
from gnnrl.cli.domains import DOMAINS

if TYPE_CHECKING:
    from gnnrl.config.experiment import Experiment
    from gnnrl.training import RunFolder

__all__ = ["train_seeds"]


def train_seeds(config: Experiment, count: int, base: Path, *, resume: bool) -> None:
    """Train the seeds from that of `config` on, in `base` followed by `_seed` and the seed.

    Args:
        config: of the first.
        count: how many.
        base: of the folders' names.
        resume: finished runs are left as they are, one that was interrupted goes on, those that are missing begin.

    Raises:
        RunError: a folder holds something (without `resume`), or a run of another configuration.
        TrainingInterrupted: a signal came; the run in progress is saved.
    """
    from gnnrl.training import RunFolder, TrainingInterrupted

    configs = [replace(config, seed=config.seed + index) for index in range(count)]
    paths = [base.with_name(f"{base.name}_seed{each.seed}") for each in configs]
    for path, each in zip(paths, configs, strict=True):
        if resume and (path / "config.yaml").is_file():
            RunFolder.open_any(path).require_same(each)
        else:
            RunFolder.require_free(path)
    folders: list[RunFolder[Any]] = []
    go_on = (
        f"gnnrl train {shlex.quote(str(paths[0] / 'config.yaml'))} --seeds {count} --resume {shlex.quote(str(base))}"
    )
    for path, each in zip(paths, configs, strict=True):
        begun = (path / "config.yaml").is_file()
        folder = RunFolder.open_any(path) if begun else RunFolder.create(path, each)
        folders.append(folder)
        if begun and folder.finished:
            continue
        print(f"seed {each.seed}: {path}, {len(folders)} of {count}", file=sys.stderr, flush=True)
        trainer = DOMAINS[config.domain].trainer_for(folder)
        try:
            trainer.run(resume=begun)
        except TrainingInterrupted as interrupted:
            raise interrupted.with_advice(go_on) from None
        if trainer.signal is not None and len(folders) < count:
            raise TrainingInterrupted(trainer.signal, trainer.steps, folder.checkpoint, go_on)
    _summarise(folders, base)


def _summarise(folders: Sequence[RunFolder[Any]], base: Path) -> None:
    from gnnrl.logs.checkpoint_table import TABLE

    last = []
    for folder in folders:
        with (folder.path / TABLE).open(newline="", encoding="utf-8") as file:
            *_, row = csv.DictReader(file)
            last.append(row)
    names = list(dict.fromkeys(name for row in last for name in row))
    print_table(
        f"{len(folders)} trainings, each at its last checkpoint",
        ("run", *names),
        (
            (folder.path.name, *(row.get(name) or None for name in names))
            for folder, row in zip(folders, last, strict=True)
        ),
    )
    first, *others = (shlex.quote(str(folder.path)) for folder in folders)
    beside = f" --beside {' '.join(others)}" if others else ""
    print(f"compare them with: gnnrl evaluate {first}{beside} --report {shlex.quote(f'{base}.html')}")
