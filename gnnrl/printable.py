"""Text from outside, shown so that it can do nothing to a terminal: names of services, answers of servers, paths, arguments.

A control character moves the cursor, clears the screen or sets the title of the window; a bidirectional override turns a line round. None
of them is ever right in what is shown here, so that each is written as Python would write it in a literal: `\\x1b`.
"""

from __future__ import annotations

from typing import Any, Final, TextIO

__all__ = ["EscapedStream", "escaped", "raw"]

KEPT: Final = "\n\t"
"""Lines and columns are made of these."""


def escaped(text: str, *, kept: str = KEPT) -> str:
    """The text, with whatever is not printable escaped; single characters that are `kept` stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode("ascii") for char in text
    )


class EscapedStream:
    """A terminal's stream, of which everything written is escaped first.

    rich writes past it (it looks for `rich_proxied_file`), since its own sequences are to be obeyed: what it is given must be escaped
    before.

    Args:
        stream: written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write it, escaped; the number of characters of `text`, as other streams say."""
        self.rich_proxied_file.write(escaped(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def raw(stream: TextIO) -> TextIO:
    """The stream itself, for a program's own control characters."""
    return stream.rich_proxied_file if isinstance(stream, EscapedStream) else stream
