"""Train a policy from a configuration, or several that differ in their seeds.

Ctrl-C, SIGTERM (Kubernetes, Slurm, `kill`) and SIGHUP save a checkpoint and say how to go on; the exit code is 130, 143 or 129. A second
one stops at once and saves nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnrl.cli.arguments import UserError, add_config
from gnnrl.cli.domains import DOMAINS, load_experiment
from gnnrl.cli.fine_tuning import fine_tuned, refuse_other_training
from gnnrl.cli.outputs import add_output

if TYPE_CHECKING:
    from gnnrl.config.experiment import Experiment
    from gnnrl.training import RunFolder

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "train a policy from a configuration"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl train CONFIG [--set a.b=c ...] [--out DIR | --resume DIR [--extend STEPS]] [--seeds N]`, or `--from NAME [CONFIG] [...]`."""
    add_config(parser, needed=False)
    parser.set_defaults(usage_error=parser.error)
    where = parser.add_mutually_exclusive_group()
    add_output(
        where, "--out", into=parser, folder=True, metavar="DIR", type=Path, help="the run's new folder; runs/NAME where it is left out"
    )  # fmt: skip
    where.add_argument(
        "--resume",
        metavar="DIR",
        type=Path,
        help="continue the run in this folder, bit for bit; CONFIG may be left out",
    )
    fine = parser.add_argument_group("fine-tuning a pretrained policy")
    fine.add_argument(
        "--from",
        dest="start",
        metavar="NAME",
        help="start from its weights and normaliser (generalist, or a file *.safetensors), and say at the end whether that helped; "
        "without a CONFIG a short training on --mesh",
    )
    fine.add_argument("--mesh", metavar="MESH", help="a mesh file, online_boutique, or random:LOW-HIGH, to train on")
    fine.add_argument("--steps", metavar="N", type=int, help="environment steps, instead of the configuration's")
    parser.add_argument(
        "--extend",
        metavar="STEPS",
        type=int,
        help="train a finished run (--resume DIR) so many steps longer; its schedules run to the new end",
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        help="train N runs, from the configuration's seed on, one after another: DIR_seed0, DIR_seed1, ...",
    )


def run(args: argparse.Namespace) -> int:
    """Trains in a new run folder, or continues one; or does so with each of several seeds."""
    from gnnrl.training import RunFolder, TrainingInterrupted

    _refuse(args)
    start, config = (None, _config(args)) if args.start is None else fine_tuned(args)
    try:
        if args.seeds is not None:
            from gnnrl.cli.train_seeds import train_seeds

            with _notes():
                train_seeds(config, args.seeds, args.resume or _out(args, config), resume=args.resume is not None)
            return 0
        if args.resume:
            folder = RunFolder.open_any(args.resume)
            folder.require_same(config)
            if args.extend is not None:
                folder = _extended(folder, args.extend)
            elif folder.finished:
                print(f"{folder.path}: is finished, {folder.steps:,} steps; --extend STEPS trains it longer")
                return _concluded(folder)
        else:
            folder = RunFolder.create(_out(args, config), config, start)
        with _notes():
            trainer = DOMAINS[config.domain].trainer_for(folder)
            trainer.run(resume=args.resume is not None)
    except TrainingInterrupted as interrupted:
        # Where the terminal has been closed nobody is left to be told.
        with contextlib.suppress(OSError):
            print(interrupted, file=sys.stderr, flush=True)
        return interrupted.exit_code
    print(f"{folder.path}: trained for {trainer.steps:,} steps; compare it with: gnnrl evaluate {folder.path}")
    folder.fine_tuning.unlink(missing_ok=True)
    return _concluded(folder)


def _concluded(folder: RunFolder[Any]) -> int:
    """Whether a fine-tuning helped, where it was one and that was not said yet."""
    if folder.start.is_file() and not folder.fine_tuning.is_file():
        from gnnrl.evaluation.fine_tuning import conclude

        print(f"{folder.path}: {conclude(folder)}")
    return 0


def _refuse(args: argparse.Namespace) -> None:
    if args.config is None and args.seeds is not None and args.resume is not None:
        args.usage_error(
            f"name the CONFIG again: --seeds goes on in {args.resume}_seed0 and so on, of which some may not have begun"
        )
    if args.config is None and args.resume is None and args.start is None:
        args.usage_error("name a CONFIG, such as configs/demo.yaml; only --resume DIR has its own")
    refuse_other_training(args)
    if args.extend is not None and (args.resume is None or args.seeds is not None):
        raise UserError("gnnrl train: --extend goes with --resume DIR, a finished run, one at a time")
    for flag, value in (("--extend", args.extend), ("--seeds", args.seeds), ("--steps", args.steps)):
        if value is not None and value < 1:
            raise UserError(f"gnnrl train: {flag} {value}: is not above 0")


def _config(args: argparse.Namespace) -> Experiment:
    from gnnrl.training import RunFolder

    path = RunFolder.open_any(args.resume).path / "config.yaml" if args.config is None else args.config
    config = load_experiment(path, args.overrides)
    contained: Experiment = DOMAINS[config.domain].self_contained(config)
    return contained


def _out(args: argparse.Namespace, config: Experiment) -> Path:
    out: Path = args.out or Path("runs") / config.name
    return out


def _extended(folder: RunFolder[Any], steps: int) -> RunFolder[Any]:
    if not folder.finished:
        raise UserError(
            f"{folder.path}: has come to step {folder.steps:,} of {folder.config.training.total_steps:,}; only a finished run is "
            f"extended: first go on with {folder.go_on}"
        )
    return folder.extended(steps)


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """Warnings as lines of their own."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        yield
