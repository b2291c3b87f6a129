"""The decision log: what is written is read back, files stay bounded, and no trouble with the disk stops control."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnrl.live.decision import Influence, IntervalRecord, ServiceDecision
from gnnrl.live.journal import Journal, JournalError, read_journal

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=12)
COUNTS = st.integers(0, 2**31 - 1)
NUMBERS = st.dictionaries(TEXTS, FLOATS, max_size=3)
DECISIONS = st.builds(
    ServiceDecision,
    service=TEXTS,
    current=COUNTS,
    ready=COUNTS,
    wish=COUNTS,
    final=COUNTS,
    guardrails=st.lists(TEXTS, max_size=3).map(tuple),
    reason=TEXTS,
    inputs=NUMBERS,
    influences=st.lists(st.builds(Influence, kind=st.just("call"), name=TEXTS, weight=FLOATS), max_size=2).map(tuple),
    outcome=st.sampled_from(["none", "patched", "conflict"]),
    answer=TEXTS,
)
RECORDS = st.builds(
    IntervalRecord,
    number=COUNTS,
    seconds=FLOATS,
    policy=TEXTS,
    mode=st.sampled_from(["live", "shadow"]),
    valid=st.booleans(),
    data_age_seconds=NUMBERS,
    problems=st.lists(TEXTS, max_size=2).map(tuple),
    api_errors=st.dictionaries(TEXTS, COUNTS, max_size=2),
    services=st.lists(DECISIONS, max_size=3).map(tuple),
    external_rps=FLOATS,
    latency_p95_ms=FLOATS,
    is_leader=st.booleans(),
)


def record(number: int, **more: Any) -> IntervalRecord:
    services = (
        ServiceDecision(
            service="cart", current=3, ready=3, wish=5, final=4, guardrails=("max_up",), inputs={"rps": 1.5}
        ),
    )
    base = {
        "seconds": 1000.0 + number,
        "policy": "gnn",
        "mode": "live",
        "valid": True,
        "data_age_seconds": {"graph": 3.0},
    }
    return IntervalRecord(**({"number": number, "services": services} | base | more))


def numbers(path: Path, *, rotated: bool = False) -> list[int]:
    return [each.number for each in read_journal(path, rotated=rotated)]


@given(st.lists(RECORDS, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, records: list[IntervalRecord]) -> None:
    path = tmp_path_factory.mktemp("journal") / "decisions.jsonl"
    journal = Journal(path)
    assert [journal.write(each) for each in records] == [None] * len(records)
    journal.close()
    assert list(read_journal(path)) == records
    assert path.read_bytes().count(b"\n") == len(records)


def test_each_line_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "decisions.jsonl"
    journal = Journal(path)
    for k in range(3):
        journal.write(record(k))
        assert numbers(path) == list(range(k + 1))
    journal.close()


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    odd = record(
        np.int64(7),  # type: ignore[arg-type]
        latency_p95_ms=math.nan,
        data_age_seconds={"graph": math.inf, "metrics": np.float32(2.5)},
        services=(ServiceDecision(service="a", current=1, ready=1, wish=1, final=1, inputs={"rps": -math.inf}),),
    )
    journal = Journal(path)
    assert journal.write(odd) is None
    journal.close()

    def strict(constant: str) -> float:
        pytest.fail(f"{constant} is not JSON")

    line = json.loads(path.read_text(), parse_constant=strict)
    assert line["latency_p95_ms"] is None and line["data_age_seconds"] == {"graph": None, "metrics": 2.5}
    (back,) = read_journal(path)
    assert back.number == 7 and math.isnan(back.latency_p95_ms) and math.isnan(back.services[0].inputs["rps"])


def test_files_are_rotated_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    size = len(json.dumps(record(10).to_json(), separators=(",", ":"))) + 1
    journal = Journal(path, max_bytes=3 * size, keep=2)
    for k in range(10, 31):
        assert journal.write(record(k)) is None
        assert all(file.stat().st_size <= 3 * size for file in tmp_path.iterdir())
    journal.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.jsonl", "d.jsonl.1", "d.jsonl.2"]
    assert numbers(path) == [28, 29, 30]
    assert numbers(path, rotated=True) == list(range(22, 31))


def test_a_line_longer_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path, max_bytes=10)
    for k in range(3):
        assert journal.write(record(k)) is None
    journal.close()
    assert numbers(path, rotated=True) == [0, 1, 2]


def test_rotated_files_are_read_by_number_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path, max_bytes=10, keep=12)
    for k in range(13):
        journal.write(record(k))
    journal.close()
    (tmp_path / "d.jsonl.backup").write_text("not ours")
    assert numbers(path, rotated=True) == list(range(13))


def test_half_a_line_at_the_end_is_no_record_and_is_cut_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path)
    journal.write(record(0))
    journal.write(record(1))
    journal.close()
    whole = path.read_bytes()
    for cut in range(1, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        assert numbers(path) == ([0, 1] if cut == 1 else [0])
    journal = Journal(path)
    journal.write(record(2))
    journal.close()
    assert numbers(path) == [0, 2]


def test_a_long_cut_line_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path)
    journal.write(record(0))
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"number":' + b"1" * 200_000)
    Journal(path).close()
    assert numbers(path) == [0]
    path.write_bytes(b"x" * 200_000)
    Journal(path).close()
    assert path.stat().st_size == 0


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b"{}\n", b"[]\n", b'{"number": NaN}\n', b"\xff\n", b"\n", b'{"services": [{}]}\n'],
)
def test_a_line_in_the_middle_that_is_no_record_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path)
    journal.write(record(0))
    journal.close()
    whole = path.read_bytes()
    for content, number in ((whole + line + whole, 2), (line + whole, 1), (whole + line, 2)):
        path.write_bytes(content)
        with pytest.raises(JournalError, match=f"d.jsonl: line {number} is not a record"):
            list(read_journal(path))


def test_an_unknown_field_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(record(0).to_json() | {"surprise": 1}) + "\n")
    with pytest.raises(JournalError, match="surprise"):
        list(read_journal(path))


def test_a_record_of_before_a_field_was_added_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    older = record(0).to_json()
    del older["api_errors"], older["is_leader"]
    path.write_text(json.dumps(older) + "\n")
    assert list(read_journal(path)) == [record(0)]


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"none\.jsonl: cannot be read: No such file"):
        list(read_journal(tmp_path / "none.jsonl"))


def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "d.jsonl", Path("/proc/d.jsonl"), Path("/dev/full")):
        with pytest.raises(JournalError, match=r"cannot be written: .*--journal"):
            Journal(place)


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    first = Journal(path)
    with pytest.raises(JournalError, match="another process writes it"):
        Journal(path)
    first.close()
    Journal(path).close()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As a full disk: a write past it is cut short, then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_loses_records_not_the_loop_and_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path)
    journal.write(record(0))
    size = path.stat().st_size
    with files_up_to(size + size // 2):
        for k in (1, 2):
            error = journal.write(record(k))
            assert isinstance(error, JournalError) and f"interval {k} was not logged: File too large" in str(error)
        assert path.stat().st_size == size
    assert journal.write(record(3)) is None
    journal.close()
    assert numbers(path) == [0, 3]


def test_a_full_disk_at_the_start(tmp_path: Path) -> None:
    with files_up_to(1000), pytest.raises(JournalError, match="make room"):
        Journal(tmp_path / "d.jsonl")


def test_a_rotation_that_fails_is_told_and_mends_itself(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    journal = Journal(path, max_bytes=10, keep=3)
    for k in range(3):
        journal.write(record(k))
    obstacle = tmp_path / "d.jsonl.1"
    obstacle.rename(tmp_path / "d.jsonl.2.away")
    obstacle.mkdir()
    (tmp_path / "d.jsonl.3").mkdir()
    for k in (3, 4):
        assert isinstance(journal.write(record(k)), JournalError)
    for name in ("d.jsonl.1", "d.jsonl.3"):
        (tmp_path / name).rmdir()
    assert journal.write(record(5)) is None
    journal.close()
    assert numbers(path, rotated=True) == [0, 2, 5]


def test_a_process_that_is_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    program = (
        "import os, signal, sys; from gnnrl.live.journal import Journal; from gnnrl.live.decision import IntervalRecord\n"
        "journal = Journal(sys.argv[1])\n"
        "for k in range(50):\n"
        "    journal.write(IntervalRecord(number=k, seconds=0.0, policy='p', mode='live', valid=True, data_age_seconds={}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert numbers(path) == list(range(50))


def test_file_handles_do_not_pile_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "d.jsonl", max_bytes=10)
    before = len(os.listdir("/proc/self/fd"))
    for k in range(50):
        journal.write(record(k))
    assert len(os.listdir("/proc/self/fd")) == before
    journal.close()
    journal.close()


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    for wrong in ({"max_bytes": 0}, {"keep": 0}):
        with pytest.raises(ValueError, match="must be above 0"):
            Journal(tmp_path / "d.jsonl", **wrong)
