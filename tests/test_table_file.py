"""Tables of somebody else's program: the same rules for loads and for traces of requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gnnrl.domains.autoscaling.load_file import WorkloadError, load_csv
from gnnrl.domains.llm_routing import errors
from gnnrl.domains.llm_routing.trace_file import load_trace

Lines = list[str]
READERS: dict[str, Callable[[Path], list[float]]] = {
    "load": lambda path: load_csv(path).tolist(),
    "trace": lambda path: load_trace(path).arrived_at.tolist(),
}
"""What a table with the times 0, 1, 2 (and the rates 0, 1, 2) is read as."""
EXPECTED = [0.0, 1.0, 2.0]
TIME = {"load": "time", "trace": "arrived_at"}


def table(kind: str, times: Lines = ("0", "1", "2"), *, separator: str = ",", further: str = "") -> str:
    """A table of these times; `further` is the name of one more column."""
    names, values = {
        "load": (("time", "rps"), lambda t, i: (t, str(i))),
        "trace": (("arrived_at", "num_prefill_tokens", "num_decode_tokens"), lambda t, i: (t, "10", str(i + 1))),
    }[kind]
    rows = [(*names, further) if further else names]
    rows += [(*values(time, i), "9") if further else values(time, i) for i, time in enumerate(times)]
    return "".join(separator.join(row) + "\n" for row in rows)


def read(tmp_path: Path, kind: str, content: str | bytes) -> list[float]:
    path = tmp_path / f"{kind}.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return READERS[kind](path)


def refused(tmp_path: Path, kind: str, content: str | bytes) -> str:
    with pytest.raises((WorkloadError, errors.LLMRoutingError)) as caught:
        read(tmp_path, kind, content)
    assert str(caught.value).startswith(str(tmp_path / f"{kind}.csv"))
    return str(caught.value)


@pytest.fixture(params=READERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_a_table_is_written(tmp_path: Path, kind: str, encoding: str) -> None:
    assert read(tmp_path, kind, table(kind).encode(encoding)) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_without_the_mark_the_remedy_is_named(tmp_path: Path, kind: str, encoding: str) -> None:
    assert "looks like UTF-16 or UTF-32 without a byte order mark; save it as UTF-8" in refused(
        tmp_path, kind, table(kind).encode(encoding)
    )


def test_latin_letters_of_another_encoding_are_refused(tmp_path: Path, kind: str) -> None:
    assert "is not UTF-8 text" in refused(tmp_path, kind, table(kind, further="Dur\xe9e").encode("latin-1"))


@pytest.mark.parametrize("separator", [";", "\t", ", ", " , "])
def test_what_separates_the_columns_is_seen_in_the_header(tmp_path: Path, kind: str, separator: str) -> None:
    assert read(tmp_path, kind, table(kind, separator=separator)) == EXPECTED


def test_empty_lines_quotes_line_ends_and_excels_first_line_are_passed_over(tmp_path: Path, kind: str) -> None:
    lines = table(kind).splitlines()
    quoted = [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines]
    for text in (
        "\n".join(["", lines[0], "", *lines[1:], "   ", "," * lines[0].count(","), ""]),
        "\n".join(quoted),
        "\r\n".join(lines),
        "sep=,\n" + "\n".join(lines),
        "\n".join(line + "," for line in lines),
        "\n".join([lines[0], *(line + "," for line in lines[1:])]),
    ):
        assert read(tmp_path, kind, text) == EXPECTED


def test_a_column_is_there_once(tmp_path: Path, kind: str) -> None:
    assert f"column {TIME[kind]} is there more than once; keep the one that is meant" in refused(
        tmp_path, kind, table(kind, further=f" {TIME[kind]} ")
    )
    # Twice there, and not asked for.
    assert read(tmp_path, kind, table(kind, further="note,note").replace(",9\n", ",9,9\n")) == EXPECTED


def test_faults_are_told_by_the_line_of_the_file(tmp_path: Path, kind: str) -> None:
    lines = table(kind, ["0", "1", "soon"]).splitlines()
    assert f"line 6: {TIME[kind]} 'soon'" in refused(tmp_path, kind, "\n".join(["sep=,", lines[0], "", *lines[1:]]))
    assert f"line 4: {TIME[kind]} 'soon'" in refused(tmp_path, kind, table(kind, ["0", "1", "soon"]))
    assert "line 3: 4 values" in refused(tmp_path, kind, "\n".join([lines[0], lines[1], "1,2,3,4"]))


def test_a_decimal_comma_is_no_second_column(tmp_path: Path, kind: str) -> None:
    assert "line 4:" in (told := refused(tmp_path, kind, table(kind, ["0", "1", "2,5"]))) and "decimal comma" in told
    assert f"line 4: {TIME[kind]} '2,5' is not a time" in refused(
        tmp_path, kind, table(kind, ["0", "1", "2,5"], separator=";")
    )


def test_a_quote_that_is_not_closed_does_not_swallow_the_file(tmp_path: Path, kind: str) -> None:
    assert "is a quote not closed?" in refused(tmp_path, kind, table(kind, ["0", '"1', "2"]))


@pytest.mark.parametrize("time", ["nan", "inf", "-inf", "1e400", "1_000", "٣", "-1", "", "0x1", "1 000"])
def test_a_time_is_a_plain_number(tmp_path: Path, kind: str, time: str) -> None:
    assert f"line 2: {TIME[kind]} {time!r} is not a time >= 0" in refused(
        tmp_path, kind, table(kind, [time, "2000", "2001"])
    )


@pytest.mark.parametrize(
    ("factor", "unit", "divisor"),
    [(1000, "milliseconds", "1000"), (10**6, "microseconds", "1e6"), (10**9, "nanoseconds", "1e9")],
)
def test_unix_times_in_another_unit_are_named(tmp_path: Path, kind: str, factor: int, unit: str, divisor: str) -> None:
    times = [str((1_700_000_000 + 15 * i) * factor) for i in range(3)]
    told = refused(tmp_path, kind, table(kind, times))
    assert (
        f"line 2: {TIME[kind]} '{times[0]}' is no time in seconds; times look like {unit}; divide by {divisor}" in told
    )


@pytest.mark.parametrize(
    "times",
    [
        ["1700000000", "1700000001", "1700000002"],
        ["1700000000.25", "1700000001.25", "1.70000000225e9"],
        ["2024-05-10T23:59:59Z", "2024-05-11T00:00:00Z", "2024-05-11T00:00:01Z"],
        ["2024-05-10 23:59:59.5", "2024-05-11 00:00:00.500000000", "2024-05-11T00:00:01.5"],
        ["2024-05-10T23:59:59+02:00", "2024-05-10 22:00:00 UTC", "2024-05-11 03:30:01+0530"],
        ["2024-05-10 23:59:59+02", "2024-05-10T22:00:00", "20240510T220001Z"],
    ],
)
def test_unix_times_and_dates_are_counted_from_the_first_row(tmp_path: Path, kind: str, times: Lines) -> None:
    assert read(tmp_path, kind, table(kind, times)) == EXPECTED


def test_dates_without_a_zone_do_not_depend_on_where_they_are_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this zone there is no 02:30 on this day.
    monkeypatch.setenv("TZ", "Europe/Berlin")
    times = [f"2024-03-31 0{hour}:59:59" for hour in (1, 2, 3)]
    if kind == "trace":
        assert read(tmp_path, kind, table(kind, times)) == [0.0, 3600.0, 7200.0]
    else:
        assert len(read(tmp_path, kind, table(kind, times))) == 7201


def test_dates_and_seconds_are_not_mixed(tmp_path: Path, kind: str) -> None:
    assert "line 3: " in (told := refused(tmp_path, kind, table(kind, ["5", "2024-05-10", "2024-05-11"])))
    assert "is a date where the rows above have seconds" in told
    assert "is not a time" in refused(tmp_path, kind, table(kind, ["10/05/2024 10:00", "10/05/2024 10:01"]))
    assert "is not a time" in refused(tmp_path, kind, table(kind, ["2024-02-30", "2024-03-01"]))


def test_times_that_fall_are_refused(tmp_path: Path, kind: str) -> None:
    assert f"line 4: {TIME[kind]} '1' is before the line above" in refused(tmp_path, kind, table(kind, ["0", "2", "1"]))


def test_loads_have_bounds(tmp_path: Path) -> None:
    hours = table("load", [str(15_000 * i) for i in range(5)])
    assert "line 3: rows are 15000 s apart, more than an hour" in refused(tmp_path, "load", hours)
    assert "if these are milliseconds, divide the times by 1000" in refused(tmp_path, "load", hours)
    assert len(read(tmp_path, "load", table("load", [str(3600 * i) for i in range(5)]))) == 4 * 3600 + 1
    long = "time,rps\n" + "".join(f"{3600 * i},1\n" for i in range(401 * 24))
    assert "covers 401 days; cut it to 400" in refused(tmp_path, "load", long)
    assert "line 3: rps 1e+10 is above 1e+09" in refused(tmp_path, "load", "time,rps\n0,1\n1,1e10\n")
    assert "line 3: time repeats that of line 2" in refused(tmp_path, "load", table("load", ["0", "0", "1"]))


def test_as_many_requests_are_read_as_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(table("trace", [str(i) for i in range(50)]) + "not,a,row\n")
    assert load_trace(path, most=10).arrived_at.tolist() == list(range(10))
    assert len(load_trace(path, most=50)) == 50
    with pytest.raises(errors.LLMRoutingError, match="line 52"):
        load_trace(path, most=51)


def test_a_trace_is_held_in_24_bytes_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(table("trace", [str(i) for i in range(1000)]))
    trace = load_trace(path)
    assert trace.arrived_at.nbytes + trace.prefill_tokens.nbytes + trace.decode_tokens.nbytes == 24 * 1000
    np.testing.assert_array_equal(trace.decode_tokens, np.arange(1, 1001))
