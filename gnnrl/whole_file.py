"""Files that a reader never meets half of: written beside their place, then renamed into it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["STDOUT", "whole_file", "write_text"]

STDOUT = Path("-")
"""Instead of a file: standard output."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which takes the place of `path` when the block ends and is removed where it raises.

    What `path` links to is replaced, not the link. What is there and no file, such as /dev/stdout, is written to as it is.

    Raises:
        OSError: the folder cannot be made or written to, or `-` is given, which takes text alone (`write_text`).
    """
    if path == STDOUT:
        raise OSError(errno.EINVAL, "standard output does not take this; name a file", str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name: what a killed process left behind is written over, not added to.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, as UTF-8; to standard output, if `path` is `-`."""
    if path == STDOUT:
        sys.stdout.write(text)
        return
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
