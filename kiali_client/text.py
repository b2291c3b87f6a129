"""Bytes of a text that somebody's program wrote, in the encoding that its byte order mark names; without one, UTF-8."""

from __future__ import annotations

import codecs

__all__ = ["decode_text", "text_encoding"]

_MARKS = (
    # That of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def text_encoding(head: bytes) -> str:
    """Name of the encoding of a text that begins with these bytes; four are enough.

    PowerShell writes UTF-16 with a mark, many editors UTF-8 with one. The codec takes the mark away.
    """
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8-sig")


def decode_text(data: bytes) -> str:
    """The text.

    Raises:
        UnicodeDecodeError: it is in none of these encodings; its reason says what to do.
    """
    encoding = text_encoding(data)
    text = data.decode(encoding)
    if "\0" in text:
        place = data.index(b"\0")
        reason = "it looks like UTF-16 or UTF-32 without a byte order mark; save it as UTF-8"
        raise UnicodeDecodeError(encoding, data[place : place + 1], 0, 1, reason)
    return text
