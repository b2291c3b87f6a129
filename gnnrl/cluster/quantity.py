"""Kubernetes quantities (`95m`, `1234567n`, `50Mi`, `1e3`) as exact integers.

Grammar and rounding: k8s.io/apimachinery/pkg/api/resource, `Quantity`: a signed decimal number, then a binary suffix, a
decimal suffix or a decimal exponent; what is finer than the unit is rounded up. Integer arithmetic throughout.
"""

from __future__ import annotations

import re

__all__ = ["QuantityError", "count", "cpu_millicores", "cpu_nanocores", "memory_bytes", "memory_mib"]

NANOCORES_PER_MILLICORE = 1_000_000
BYTES_PER_MIB = 1024 * 1024

MOST_CORES = 1_000_000
MOST_BYTES = 2**60
MOST_OBJECTS = 2**31
LONGEST_TEXT = 64
LARGEST_EXPONENT = 30

DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY_EXPONENTS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

# ASCII digits only: \d would take every script's.
QUANTITY = re.compile(
    r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?[0-9]{1,3}))?", re.ASCII
)


class QuantityError(ValueError):
    """A text that is no quantity, or one of a size that no machine has."""

    def __init__(self, text: object, why: str) -> None:
        self.text = text
        shown = repr(text)
        super().__init__(
            f"quantity {shown if len(shown) <= LONGEST_TEXT else shown[:LONGEST_TEXT] + '...'}: {why}; "
            "right are 95m, 1234567n, 0.5, 50Mi, 1e3"
        )


def cpu_nanocores(text: str | int) -> int:
    """CPU in nanocores, rounded up; a plain number is cores.

    Raises:
        QuantityError: no quantity, negative, or more than a million cores.
    """
    return _parse(text, 9, MOST_CORES * 10**9, "more than a million cores")


def cpu_millicores(text: str | int) -> float:
    """CPU in millicores; a plain number is cores.

    Raises:
        QuantityError: no quantity, negative, or more than a million cores.
    """
    return cpu_nanocores(text) / NANOCORES_PER_MILLICORE


def memory_bytes(text: str | int) -> int:
    """Memory in bytes, rounded up.

    Raises:
        QuantityError: no quantity, negative, or more than 1 EiB.
    """
    return _parse(text, 0, MOST_BYTES, "more than 1 EiB")


def memory_mib(text: str | int) -> float:
    """Memory in MiB.

    Raises:
        QuantityError: no quantity, negative, or more than 1 EiB.
    """
    return memory_bytes(text) / BYTES_PER_MIB


def count(text: str | int) -> int:
    """A number of objects, as quotas state it; rounded up.

    Raises:
        QuantityError: no quantity, negative, or more than 2^31.
    """
    return _parse(text, 0, MOST_OBJECTS, "more objects than a cluster holds")


def _parse(text: str | int, unit_exponent: int, most: int, too_much: str) -> int:
    """`text` in units of 10^-unit_exponent, rounded up."""
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise QuantityError(text, f"is a {type(text).__name__}, not a text or a whole number")
    if isinstance(text, int):
        mantissa, exponent, binary = text, 0, 0
    else:
        mantissa, exponent, binary = _split(text)
    if mantissa < 0:
        raise QuantityError(text, "is negative")
    exponent += unit_exponent
    value = mantissa << binary
    value = value * 10**exponent if exponent >= 0 else -(-value // 10**-exponent)
    if value > most:
        raise QuantityError(text, f"is {too_much}")
    return value


def _split(text: str) -> tuple[int, int, int]:
    """Mantissa, power of ten, power of two."""
    if len(text) > LONGEST_TEXT:
        raise QuantityError(text, f"is longer than {LONGEST_TEXT} characters")
    match = QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(text, "is not a quantity" if text else "is empty")
    sign, whole, fraction, only_fraction, suffix, power = match.groups()
    fraction = fraction or only_fraction or ""
    mantissa = int((whole or "") + fraction)
    exponent = -len(fraction)
    if power is not None:
        if abs(int(power)) > LARGEST_EXPONENT:
            raise QuantityError(text, f"has an exponent beyond {LARGEST_EXPONENT}")
        exponent += int(power)
    binary = BINARY_EXPONENTS.get(suffix or "", 0)
    if not binary:
        exponent += DECIMAL_EXPONENTS[suffix or ""]
    return (-mantissa if sign == "-" else mantissa), exponent, binary
