"""Text fit for a terminal: nothing that moves its cursor, nothing that looks like a credential, numbers in few characters."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from gnnrl.printable import escaped

__all__ = ["clean", "short_number", "short_seconds", "sparkline"]

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
LINE_ENDS: Final = re.compile(r"[\r\n\t]+")
CREDENTIAL: Final = re.compile(r"(?i:\b(bearer\s+|(?:token|password)[=:]\s*))\S{12,}|eyJ[\w-]{6,}(?:\.[\w-]+)*")
"""What follows `Bearer`, `token=` or `password:`, and a JSON web token anywhere."""


def clean(text: str) -> str:
    """In one line, with control characters escaped (a name must not move the cursor) and credentials masked."""
    shown = CREDENTIAL.sub(lambda found: f"{found[1] or ''}***", text)
    return escaped(" ".join(LINE_ENDS.split(shown)), kept="")


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """One block a value, from the lowest to the highest; a blank where it is not finite."""
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    finite = [value for value in values if math.isfinite(value)]
    low, span = (min(finite), max(finite) - min(finite)) if finite else (0.0, 0.0)
    top = len(blocks) - 1
    return "".join(
        (blocks[round((value - low) / span * top)] if span > 0.0 else blocks[0]) if math.isfinite(value) else " "
        for value in values
    )


def short_number(value: float) -> str:
    """One decimal below 100, none above; `-` where it is not finite."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.1f}" if abs(value) < 99.95 else f"{value:,.0f}"


def short_seconds(value: float) -> str:
    """With its unit: seconds, minutes from ten on."""
    return f"{value:z.0f} s" if value < 600.0 else f"{value / 60.0:.0f} min"
