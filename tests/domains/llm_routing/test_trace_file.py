"""Traces from CSV, good and bad, and their replay: what is in the file is what is played."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.metrics import latency_report
from gnnrl.domains.llm_routing.model import Change, Replica
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.request_table import STATUS_NAMES, RequestTable
from gnnrl.domains.llm_routing.trace_file import load_trace
from gnnrl.domains.llm_routing.workloads import LENGTHS, LengthHint, Requests, WorkloadError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"


def test_a_trace_is_read_whatever_else_is_in_it(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        "id,num_decode_tokens, num_prefill_tokens,arrived_at",
        "a,5,100,0.5",
        "b,6.0,7,0.5",
        "c,1,1,9",
    )
    trace = load_trace(path, LengthHint(kind="true"))
    assert trace.arrived_at.tolist() == [0.5, 0.5, 9.0]
    assert trace.prefill_tokens.tolist() == [100, 7, 1]
    assert trace.decode_tokens.tolist() == trace.shown_decode_tokens.tolist() == [5, 6, 1]
    assert trace.first(2).decode_tokens.tolist() == [5, 6]


def test_azures_own_format_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "azure.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 23:59:59.9050000,374,44",
        "2023-11-17 00:00:00.0049999,396,109",
        "2023-11-17 00:00:01,879,55",
    )
    trace = load_trace(path)
    assert trace.arrived_at.tolist() == [0.0, 0.0999999, 1.095]
    assert trace.decode_tokens.tolist() == [44, 109, 55]


@pytest.mark.parametrize("zone", ["+00:00", "+02:00", "Z", ""])
def test_the_dates_of_2024_have_a_zone_and_sometimes_no_fraction(tmp_path: Path, zone: str) -> None:
    days = (f"2024-05-10 23:59:59.009930{zone},1,1", f"2024-05-11 00:00:00{zone},1,1")
    assert load_trace(write(tmp_path / "t.csv", AZURE, *days)).arrived_at.tolist() == [0.0, 0.99007]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["arrived_at,num_prefill_tokens", "0,1"], "column num_decode_tokens is missing"),
        (["0.1,10,20", "0.2,10,20"], "column arrived_at, num_prefill_tokens, num_decode_tokens is missing"),
        ([], "is missing"),
        (
            ["arrived_at,num_prefill_tokens,num_decode_tokens,arrived_at", "0,1,1,0"],
            "column arrived_at is there more than once",
        ),
        ([HEADER], "no requests below the header"),
        ([HEADER, "0,10,5", "1,0,5"], "line 3: num_prefill_tokens '0' is not a whole number >= 1"),
        ([HEADER, "0,10,-5"], "line 2: num_decode_tokens '-5' is not a whole number >= 1"),
        ([HEADER, "0,10,nan"], "line 2: num_decode_tokens 'nan'"),
        ([HEADER, "0,10.5,3"], "line 2: num_prefill_tokens '10.5'"),
        ([HEADER, "0,,3"], "line 2: num_prefill_tokens ''"),
        ([HEADER, "0,3"], "line 2: num_decode_tokens None"),
        ([HEADER, "nan,3,3"], "line 2: arrived_at 'nan' is not a time >= 0"),
        ([HEADER, "-1,3,3"], "line 2: arrived_at '-1' is not a time >= 0"),
        ([HEADER, "inf,3,3"], "line 2: arrived_at 'inf'"),
        ([HEADER, "soon,3,3"], "line 2: arrived_at 'soon' is not a time"),
        ([HEADER, "2,3,3", "1,3,3"], "line 3: arrived_at '1' is before the line above; sort the file by it"),
        ([HEADER, *["0,0,1"] * 8], "line 6: .*; and 3 more"),
        ([HEADER, f"0,{10**12},1"], "line 2: num_prefill_tokens '1000000000000' is above 1073741824"),
        ([HEADER, "0,1,1", "", "", "1,0,1"], "line 5: num_prefill_tokens '0'"),
        ([AZURE, "yesterday,1,1"], "TIMESTAMP 'yesterday' is not a time"),
        ([AZURE, "2023-11-16 18:00:00,1,1", "2023-11-16 17:59:59.9,1,1"], "line 3: .* is before the line above"),
        ([AZURE, "2023-11-16 18:00:00,1"], "line 2: GeneratedTokens None"),
        ([AZURE, ",1,1"], "line 2: TIMESTAMP '' is not a time"),
        (["ContextTokens,GeneratedTokens,TIMESTAMP", "1,1"], "line 2: TIMESTAMP None is not a time"),
        (
            [HEADER, "0,10,5", "2024-05-10T10:00:00Z,1,1"],
            "line 3: arrived_at .* is a date where the rows above have seconds",
        ),
        ([AZURE, "2024-05-10T10:00:00Z,1,1", "3,1,1"], "line 3: TIMESTAMP '3' is a date where"),
    ],
)
def test_a_bad_trace_says_what_is_wrong_and_where(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(WorkloadError, match=r"t\.csv: .*" + message):
        load_trace(write(tmp_path / "t.csv", *lines))


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="No such file"):
        load_trace(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match=r"b\.csv"):
        load_trace(tmp_path / "b.csv")


REQUESTS = 20_000


def made_up(seed: int = 0) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Nanoseconds, prompts and answers of a trace as large as Azure's conversations, in steps of 100 ns as theirs, some at one instant."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(np.rint(rng.exponential(1e7 / 5.5, REQUESTS)).astype(np.int64))
    steps[1::100] = steps[::100]
    prompts, answers = LENGTHS["vidur"].draw(REQUESTS, rng)
    # Dates are counted from the first row.
    return ((steps - steps[0]) * 100).tolist(), prompts, answers


def replayed(trace: Requests, replicas: list[Replica], changes: list[Change] | None = None) -> RequestTable:
    simulation = LLMSimulation(1, len(replicas), len(trace), PhysicsSettings(queue_heads=0))
    simulation.load(0, replicas, trace, changes or [])
    assert simulation.run(ROUTERS["least_outstanding"].code)
    return simulation.table(0)


@pytest.mark.parametrize("azure", [False, True])
def test_a_large_trace_is_replayed_as_it_is(tmp_path: Path, azure: bool) -> None:
    """Arrivals to the last bit, tokens and order are those of the file; the lengths have the published means and medians."""
    at, prompts, answers = made_up()
    begin = datetime(2023, 11, 16, 18, 17, 3)
    if azure:
        dates = [begin + timedelta(seconds=moment // 10**9) for moment in at]
        times = [f"{date}.{moment % 10**9 // 100:07d}" for date, moment in zip(dates, at, strict=True)]
    else:
        times = [repr(moment / 1e9) for moment in at]
    rows = (f"{a},{b},{c}" for a, b, c in zip(times, prompts, answers, strict=True))
    trace = load_trace(write(tmp_path / "t.csv", AZURE if azure else HEADER, *rows))
    table = replayed(trace, [Replica()] * 2)
    assert table.arrived_at.tolist() == [moment / 1e9 for moment in at]
    np.testing.assert_array_equal(table.num_prefill_tokens, prompts)
    np.testing.assert_array_equal(table.num_decode_tokens, answers)
    found = [np.mean(prompts), np.median(prompts), np.mean(answers), np.median(answers)]
    np.testing.assert_allclose(found, [1155, 1020, 211, 129], rtol=0.02)
    assert table.count("completed") == REQUESTS
    assert (table.routed_at == table.arrived_at).all()
    assert (table.first_token_at > table.arrived_at).all() and (table.completed_at >= table.first_token_at).all()


def test_requests_longer_than_the_memory_are_counted_and_the_others_served(tmp_path: Path) -> None:
    """60 blocks less a watermark of none: 960 tokens, and the last one is never kept."""
    at, prompts, answers = (column[:2000] for column in made_up())
    rows = (f"{a / 1e9},{b},{c}" for a, b, c in zip(at, prompts, answers, strict=True))
    trace = load_trace(write(tmp_path / "t.csv", HEADER, *rows))
    table = replayed(trace, [Replica(kv_blocks=60)] * 8)
    too_long = np.maximum(prompts + answers - 1, prompts) > 960
    assert 0.3 < too_long.mean() < 0.8
    np.testing.assert_array_equal(table.status == STATUS_NAMES.index("rejected"), too_long)
    report = latency_report(table)
    assert (report.rejected, report.unfinished) == (too_long.sum(), 0)
    assert report.completed == len(trace) - too_long.sum()


def test_a_trace_outlives_its_replicas(tmp_path: Path) -> None:
    """All fail in mid-trace: what is not done waits, and is served in order once a replica is back."""
    at, prompts, answers = (column[:1000] for column in made_up())
    rows = (f"{a / 1e9},{b},{c}" for a, b, c in zip(at, prompts, answers, strict=True))
    trace = load_trace(write(tmp_path / "t.csv", HEADER, *rows))
    middle, end = trace.arrived_at[500], trace.arrived_at[-1]
    failing = [Change(at_seconds=middle, kind="fail", replica=r) for r in (0, 1)]
    table = replayed(trace, [Replica()] * 2, failing)
    done = table.count("completed")
    assert table.count("at_router") == len(trace) - done >= 500
    back = replayed(trace, [Replica()] * 2, [*failing, Change(at_seconds=end + 5.0, kind="join", replica=0)])
    assert back.count("completed") == len(trace)
    waited = back.routed_at > middle
    assert waited.sum() == len(trace) - done
    assert (np.diff(back.scheduled_at[waited]) >= 0).all()
