"""Times and quantities as Kubernetes writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

__all__ = ["age", "cpu_quantity", "go_duration", "memory_quantity", "micro_time", "quantity_value", "timestamp"]

QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([KMGTPE])i|([numkMGTPE])|[eE]([+-]?\d+))?", re.ASCII)
DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def timestamp(seconds: float) -> str:
    """Unix seconds as `metav1.Time`: RFC 3339, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(seconds: float) -> str:
    """Unix seconds as `metav1.MicroTime`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def cpu_quantity(nanocores: int) -> str:
    """Canonical quantity: the largest of n, u, m and none that divides it, so 95,000,000 is "95m" and 1,234,567 is "1234567n"."""
    for suffix in ("n", "u", "m"):
        if nanocores == 0 or nanocores % 1000:
            return "0" if nanocores == 0 else f"{nanocores}{suffix}"
        nanocores //= 1000
    return str(nanocores)


def memory_quantity(size: int) -> str:
    """Canonical quantity of bytes: the largest binary suffix that divides it, plain bytes where none does."""
    if size == 0:
        return "0"
    suffixes = ["", "Ki", "Mi", "Gi", "Ti"]
    while size % 1024 == 0 and len(suffixes) > 1:
        size //= 1024
        suffixes.pop(0)
    return f"{size}{suffixes[0]}"


def quantity_value(text: str) -> Decimal:
    """Value of a quantity that has the form of one, whatever its sign and size."""
    found = QUANTITY.fullmatch(text)
    assert found is not None, text
    number, binary, decimal, exponent = found.groups()
    if binary:
        return Decimal(number) * 1024 ** ("KMGTPE".index(binary) + 1)
    return Decimal(number).scaleb(DECIMAL_EXPONENTS[decimal] if decimal else int(exponent or 0))


def go_duration(seconds: float) -> str:
    """As Go prints a duration of at least a second, to the millisecond: "15s", "1m0.5s"."""
    minutes, rest = divmod(round(seconds, 3), 60.0)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def age(seconds: float) -> str:
    """As kubectl's AGE column (`duration.HumanDuration`): two units at most, coarser as it grows."""
    if seconds < -1.0:
        return "<invalid>"
    total = max(int(seconds), 0)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
