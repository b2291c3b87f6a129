"""Text files that somebody else wrote: UTF-8, with or without a byte order mark, or UTF-16 and UTF-32 with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO

from kiali_client.text import decode_text, text_encoding

__all__ = ["open_text", "read_text"]


def read_text(path: Path) -> str:
    """The whole text, its line ends as `\\n`.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is no such text; the reason says what to do.
    """
    return decode_text(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The text to be read line by line, its line ends as they are. It may be a pipe.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: while it is read, where it is no such text.
    """
    with path.open("rb") as file:
        assert isinstance(file, BufferedReader)
        with TextIOWrapper(file, encoding=text_encoding(file.peek(4)[:4]), newline="") as text:
            yield text
