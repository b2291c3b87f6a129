"""Quantities: exact against fractions, and everything that is none is refused by name."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnnrl.cluster.quantity import QuantityError, count, cpu_millicores, cpu_nanocores, memory_bytes, memory_mib

SCALES = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)} | {
    suffix: Fraction(1000**i) for i, suffix in enumerate("kMGTPE", start=1)
}
BINARY = {f"{letter}i": Fraction(1024**i) for i, letter in enumerate("KMGTPE", start=1)}


@pytest.mark.parametrize(
    ("text", "nanocores"),
    [
        ("95m", 95_000_000),
        ("1234567n", 1_234_567),
        ("1500u", 1_500_000),
        ("2", 2_000_000_000),
        (2, 2_000_000_000),
        ("0.1", 100_000_000),
        (".5", 500_000_000),
        ("1.", 1_000_000_000),
        ("+3", 3_000_000_000),
        ("1e-3", 1_000_000),
        ("1E2", 100_000_000_000),
        ("1k", 1_000_000_000_000),
        ("0.1n", 1),
        ("-0", 0),
        ("0.000000001000000000000000000000001", 2),
    ],
)
def test_cpu_is_exact_and_rounded_up(text: str | int, nanocores: int) -> None:
    assert cpu_nanocores(text) == nanocores
    assert cpu_millicores(text) == nanocores / 1_000_000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50Mi", 50 * 2**20),
        ("51204Ki", 51204 * 1024),
        ("123456789", 123456789),
        (7, 7),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12E-1", 2),
        ("1.5Gi", 3 * 2**29),
        ("0.1Ki", 103),
        ("100m", 1),
        ("128974848000m", 128974848),
        ("1Ei", 2**60),
        ("1E", 10**18),
    ],
)
def test_memory_is_exact_and_rounded_up(text: str | int, size: int) -> None:
    assert memory_bytes(text) == size
    assert memory_mib(text) == size / 2**20


def test_a_sum_that_floats_get_wrong_comes_out_right() -> None:
    assert sum(cpu_nanocores("0.1") for _ in range(3)) == cpu_nanocores("0.3")
    assert memory_bytes("9007199254740993") == 2**53 + 1


@pytest.mark.parametrize("parse", [cpu_nanocores, memory_bytes, count])
@pytest.mark.parametrize(
    "text",
    [
        *(
            "NaN",
            "nan",
            "Infinity",
            "inf",
            "-inf",
            "1_000",
            "",
            " ",
            " 1",
            "1 ",
            "1\n",
            "-1",
            "-5m",
            "1,5",
            "0x10",
            "1mm",
        ),
        *(
            "Mi",
            ".",
            "+",
            "e3",
            "1e",
            "1KI",
            "1ki",
            "1Mib",
            "1e3Mi",
            "1e+-3",
            "--1",
            "1K",
            "٣",
            "\uff11",
            "1²",
            "1e9999",
        ),
        *("9" * 65, "1e31", "1" + "0" * 40, 1.5, None, True, [], {}, b"1", -1, 2**90, float("nan")),
    ],
)
def test_what_is_no_quantity_is_refused_and_named(parse, text: object) -> None:
    with pytest.raises(QuantityError) as caught:
        parse(text)
    assert repr(text)[:20] in str(caught.value)
    assert len(str(caught.value)) < 250
    assert isinstance(caught.value, ValueError)


def test_absurd_sizes_are_refused_at_the_edge() -> None:
    assert cpu_nanocores("1M") == 10**15
    assert memory_bytes("1024Pi") == 2**60
    for parse, text in ((cpu_nanocores, "1.000000000000001M"), (memory_bytes, "1025Pi"), (count, "2147483649")):
        with pytest.raises(QuantityError, match="more"):
            parse(text)


@given(
    whole=st.integers(0, 10**12),
    fraction=st.text("0123456789", max_size=15),
    scale=st.sampled_from(sorted({**SCALES, **BINARY}.items())),
)
def test_memory_equals_the_fraction_it_stands_for(whole: int, fraction: str, scale: tuple[str, Fraction]) -> None:
    suffix, factor = scale
    exact = Fraction(f"{whole}.{fraction or '0'}") * factor
    text = f"{whole}.{fraction}{suffix}"
    if exact <= 2**60:
        assert memory_bytes(text) == math.ceil(exact)
    else:
        with pytest.raises(QuantityError):
            memory_bytes(text)


@given(st.text(max_size=20))
def test_no_text_raises_anything_else(text: str) -> None:
    for parse in (cpu_nanocores, memory_bytes, count):
        with contextlib.suppress(QuantityError):
            assert parse(text) >= 0
