"""What `gnnrl evaluate` does alike for every domain: load the policy, say what is being played, print and write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gnnrl.cli.arguments import UserError, print_json
from gnnrl.printable import escaped, raw
from gnnrl.whole_file import write_text

if TYPE_CHECKING:
    from gnnrl.agents import PPO_GNN
    from gnnrl.config.rules import Rule
    from gnnrl.evaluation.contenders import Contender
    from gnnrl.evaluation.document import Report
    from gnnrl.training import RunFolder

__all__ = ["agent_of", "beside", "parse_with_flags", "playing", "refuse", "show"]


class Comparison(Protocol):
    """A finished comparison."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""


def agent_of(folder: RunFolder[Any], run_or_checkpoint: Path) -> PPO_GNN:
    """The run's policy, or that of a checkpoint in it; notes code that is not what made the run."""
    import torch

    from gnnrl.agents import PPO_GNN

    # As in its training: decisions are small, and threads that wait for each other make them many times slower on a busy machine.
    torch.set_num_threads(folder.config.training.torch_threads)
    agent = PPO_GNN.load(folder.best if run_or_checkpoint.is_dir() else run_or_checkpoint)
    warning = folder.revision_warning()
    if warning is not None:
        print(f"note: {warning}", file=sys.stderr)
    return agent.train(False)


def beside(
    args: argparse.Namespace,
    domain: str,
    subject: Path | None,
    taken: Collection[str],
    differs: Callable[[Any], str | None],
) -> list[Contender[Any]]:
    """The further runs of `--beside`, loaded.

    Args:
        args: of the command line.
        domain: of the policy in question.
        subject: its run, checkpoint or file of weights; None = a baseline alone.
        taken: names that no row of a run may have.
        differs: what a run's experiment has been shown otherwise than the one in question, if anything, in words.

    Raises:
        UserError: there is no run to stand beside, or one is of another domain, is shown other things, or is there twice.
        RunError: one is no run.
    """
    from gnnrl.evaluation.contenders import Contender, row_names
    from gnnrl.training import RunFolder

    if args.beside is None:
        return []
    if subject is None:
        raise UserError("gnnrl evaluate: --beside: stands beside a trained policy; with a baseline alone there is none")
    paths: list[Path] = args.beside
    runs = [RunFolder.open_any(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        if run.config.domain != domain:
            raise UserError(
                f"gnnrl evaluate: --beside {path}: is a run of {run.config.domain}, {subject} one of {domain}"
            )
        if difference := differs(run.config):
            raise UserError(
                f"gnnrl evaluate: --beside {path}: {difference}: policies that are shown different things are not compared"
            )
    try:
        # The run in question is named with the others, so that it cannot stand beside itself.
        names = row_names([subject, *paths], taken)[1:]
    except ValueError as error:
        raise UserError(f"gnnrl evaluate: --beside: {error}") from None
    return [
        Contender(name=name, policy=agent_of(run, path), config=run.config)
        for name, path, run in zip(names, paths, runs, strict=True)
    ]


def refuse(args: argparse.Namespace, domain: str, *names: str) -> None:
    """Flags that mean nothing in this domain, by their names in `args`.

    Raises:
        UserError: one was given.
    """
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
    if given:
        raise UserError(f"gnnrl evaluate: {', '.join(given)}: not for {domain}; leave it out")


def parse_with_flags(
    text: str,
    values: Mapping[str, tuple[str, object]],
    source: str,
    rules: Iterable[Rule[Any]],
    overrides: Sequence[str] = (),
) -> Any:
    """The experiment of `text` with what flags replace, checked as a whole; its faults are named by the flag they came with.

    Args:
        text: YAML.
        values: dotted path -> (flag, value).
        source: names the text in errors.
        rules: the domain's.
        overrides: further `a.b=c` assignments.

    Raises:
        ConfigError: every fault at once.
    """
    from gnnrl.config.loader import parse_experiment

    flags = {f"{path}={json.dumps(value)}": flag for path, (flag, value) in values.items()}
    with faults_named_by(flags):
        return parse_experiment(text, [*flags, *overrides], source=source, rules=lambda _: rules)


@contextmanager
def faults_named_by(flags: Mapping[str, str]) -> Iterator[None]:
    """Faults of a configuration are told of the flag that was given, not of the assignment `a.b=c` that was made of it.

    Args:
        flags: assignment -> flag.
    """
    from gnnrl.config.errors import ConfigError

    try:
        yield
    except ConfigError as error:
        lines = list(error.errors)
        for assignment, flag in flags.items():
            lines = [line.replace(f"--set {assignment}: ", f"{flag}: ") for line in lines]
        raise ConfigError(lines) from None


@contextmanager
def playing() -> Iterator[Callable[[str], None]]:
    """Says what is being played while it is, where somebody is watching."""
    from rich.console import Console

    console = Console(file=raw(sys.stderr))
    if not console.is_terminal:
        yield lambda message: None  # noqa: ARG005
        return
    with console.status("comparing") as status:
        yield lambda message: status.update(f"playing {escaped(message)}")


def show(
    args: argparse.Namespace,
    evaluation: Comparison,
    *,
    table: Callable[[], None],
    report: Callable[[], Report],
) -> int:
    """Prints the table, or the JSON that was asked for instead; writes the files."""
    beside_json = sys.stderr if args.json == "-" else sys.stdout
    if args.json == "-":
        print_json(evaluation.to_json())
    else:
        table()
        if args.json:
            write_text(Path(args.json), json.dumps(evaluation.to_json(), indent=2, allow_nan=False) + "\n")
            print(f"{args.json}: every metric with its interval")
    if args.report or args.pictures:
        composed = report()
        if args.report:
            composed.write(args.report)
            print(f"{args.report}: the report", file=beside_json)
        if args.pictures:
            pictures = composed.write_pictures(args.pictures)
            print(f"{args.pictures}: {len(pictures)} pictures of the report", file=beside_json)
    return 0
