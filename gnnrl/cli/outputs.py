"""Files and folders that a command is to write, looked at before its work: hours of it must not end at a mistyped folder."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from gnnrl.cli.arguments import STDOUT, UserError

__all__ = ["add_output", "add_request_table", "check_outputs"]

OUTPUTS = "outputs"
"""Attribute of the parsed arguments: (flag, attribute, is a folder) of each output that the command knows."""


def add_output(
    parser: Any, *names: str, folder: bool = False, into: argparse.ArgumentParser | None = None, **options: Any
) -> None:
    """`add_argument` of a file, or a folder, that the command writes.

    Args:
        parser: or a group of its arguments.
        *names: of the flag.
        folder: it is a folder, which is made where it is missing.
        into: the parser, where `parser` is a group of it.
        **options: of `add_argument`.
    """
    action: argparse.Action = parser.add_argument(*names, **options)
    owner: argparse.ArgumentParser = into or parser
    known = owner.get_default(OUTPUTS) or ()
    owner.set_defaults(
        **{OUTPUTS: (*known, (names[0] if names[0].startswith("--") else names[-1], action.dest, folder))}
    )


def add_request_table(parser: argparse.ArgumentParser) -> None:
    """`--requests-csv` or `--requests-parquet`: what became of each simulated request."""
    table = parser.add_mutually_exclusive_group()
    add_output(
        table,
        "--requests-csv",
        into=parser,
        metavar="FILE",
        type=Path,
        help="write a row a request here; - prints them instead",
    )
    add_output(
        table,
        "--requests-parquet",
        into=parser,
        metavar="FILE",
        type=Path,
        help="the same as Parquet (extra `parquet`)",
    )


def check_outputs(args: argparse.Namespace) -> None:
    """Refuses outputs that could not be written. Nothing stays of the trial.

    Raises:
        UserError: says which, and why.
    """
    seen: dict[Path, str] = {}
    for flag, attribute, is_folder in getattr(args, OUTPUTS, ()):
        value = getattr(args, attribute)
        if value is None or str(value) == str(STDOUT):
            continue
        path = Path(value)
        problem = _folder_problem(path) if is_folder else _file_problem(path)
        if problem is not None:
            raise UserError(f"{flag} {path}: {problem}")
        other = seen.setdefault(path.resolve(), flag)
        if other != flag:
            raise UserError(f"{flag} {path}: is what {other} writes too; give each a name of its own")


def _file_problem(path: Path) -> str | None:
    if path.is_dir():
        return "is a folder; name a file"
    if path.exists() and not path.is_file():
        return None if os.access(path, os.W_OK) else "cannot be written to"
    return _writing_problem(path.resolve().parent)


def _folder_problem(path: Path) -> str | None:
    if path.exists() and not path.is_dir():
        return "is a file; name a folder"
    return _writing_problem(path.resolve())


def _writing_problem(folder: Path) -> str | None:
    """Tried, not asked: permissions alone do not tell of read-only and full disks. A folder that is missing will be made, where its
    nearest is a folder that can be written to."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gnnrl-"):
            return None
    except OSError as error:
        return f"nothing can be written in {folder} ({error.strerror})"
