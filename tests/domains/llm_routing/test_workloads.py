"""Arrival processes and lengths against their laws; traces from CSV, good and bad."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gnnrl.domains.llm_routing.scenarios import SCENARIOS, scenario_named
from gnnrl.domains.llm_routing.workloads import (
    LENGTHS,
    Arrivals,
    LengthHint,
    Requests,
    WorkloadError,
    draw_requests,
    load_trace,
)

N = 200_000


def gaps(kind: str, qps: float, cv: float = 1.0) -> np.ndarray:
    return np.diff(Arrivals(kind=kind, qps=qps, cv=cv).draw(N, np.random.default_rng(1)))


@pytest.mark.parametrize(("kind", "cv"), [("poisson", 1.0), ("gamma", 1.0), ("gamma", 3.0), ("gamma", 0.5)])
def test_rate_and_burstiness_are_those_asked_for(kind: str, cv: float) -> None:
    drawn = gaps(kind, 16.0, cv)
    assert drawn.mean() == pytest.approx(1 / 16, rel=4 * cv / math.sqrt(N))
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.02)


def test_vidurs_poisson_is_cut_at_three_means() -> None:
    """Rate 1 / (1 - e^-3) of the nominal one: 16.84/s for 16, CV .88; true Poisson gaps are not cut."""
    drawn = gaps("vidur_poisson", 16.0)
    assert drawn.max() == pytest.approx(3 / 16)
    assert 1 / drawn.mean() == pytest.approx(16 / (1 - math.exp(-3)), rel=0.01) == pytest.approx(16.85, rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(0.88, abs=0.01)
    assert (gaps("poisson", 16.0) > 3 / 16).mean() == pytest.approx(math.exp(-3), rel=0.05)


@pytest.mark.parametrize(
    ("name", "prefill", "decode"), [("conversation", (6.63, 0.99), (5.02, 0.86)), ("code", (7.00, 1.36), (2.79, 0.85))]
)
def test_lengths_follow_their_laws(name: str, prefill: tuple[float, float], decode: tuple[float, float]) -> None:
    prompts, answers = LENGTHS[name].draw(N, np.random.default_rng(2))
    assert np.median(prompts) == pytest.approx(math.exp(prefill[0]), rel=0.02)
    assert np.median(answers) == pytest.approx(math.exp(decode[0]), rel=0.02)
    assert np.percentile(answers, 90) == pytest.approx(math.exp(decode[0] + 1.2816 * decode[1]), rel=0.03)
    assert np.percentile(prompts, 30) == pytest.approx(math.exp(prefill[0] - 0.5244 * prefill[1]), rel=0.03)
    assert min(prompts.min(), answers.min()) >= 1 and (prompts + answers).max() == 4096


def test_mixed_lengths_are_half_of_each() -> None:
    _, answers = LENGTHS["mixed"].draw(N, np.random.default_rng(3))
    half = [LENGTHS[name].draw(N, np.random.default_rng(4))[1] for name in ("conversation", "code")]
    assert (answers < 50).mean() == pytest.approx(np.mean([(part < 50).mean() for part in half]), abs=0.005)


def test_another_rate_leaves_the_lengths_and_another_seed_does_not() -> None:
    slow, fast = (draw_requests(50, Arrivals(qps=qps), LENGTHS["conversation"], 7) for qps in (1.0, 10.0))
    np.testing.assert_array_equal(slow.prefill_tokens, fast.prefill_tokens)
    np.testing.assert_allclose(slow.arrived_at, 10 * fast.arrived_at)
    other = draw_requests(50, Arrivals(qps=1.0), LENGTHS["conversation"], 8)
    assert not np.array_equal(slow.prefill_tokens, other.prefill_tokens)


def test_hints() -> None:
    def shown(hint: LengthHint | None) -> Requests:
        return draw_requests(N, Arrivals(), LENGTHS["conversation"], 0, hint)

    plain = shown(None)
    assert not plain.shown_decode_tokens.any()
    np.testing.assert_array_equal(shown(LengthHint(kind="true")).shown_decode_tokens, plain.decode_tokens)
    predicted = shown(LengthHint(kind="predicted", sigma=0.3))
    np.testing.assert_array_equal(predicted.decode_tokens, plain.decode_tokens)
    error = np.log(predicted.shown_decode_tokens / plain.decode_tokens)[plain.decode_tokens > 100]
    assert error.std() == pytest.approx(0.3, rel=0.02) and abs(error.mean()) < 0.005


def test_scenarios_are_those_of_the_comparison() -> None:
    factors = {name: [replica.time_factor for replica in scenario.replicas] for name, scenario in SCENARIOS.items()}
    assert factors["A"] == [1, 1, 1, 1] and factors["B"] == [1, 1, 2, 2] and factors["E"] == [1, 1, 2, 4]
    assert [SCENARIOS[name].arrivals.qps for name in "ABE"] == [20, 13, 8]
    assert SCENARIOS["E"].arrivals.cv == 3 and SCENARIOS["E"].lengths == "mixed"
    elastic = SCENARIOS["elastic"]
    rows = elastic.requests(1000, 0)
    failing, joining = elastic.timed_changes(rows)
    assert (failing.kind, joining.kind) == ("fail", "join")
    assert 0 < failing.at_seconds < joining.at_seconds < rows.arrived_at[-1]
    assert not elastic.replicas[joining.replica].up
    with pytest.raises(WorkloadError, match="'C' is not known; there are fixed, A, B, E, elastic"):
        scenario_named("C")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens"


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
    np.testing.assert_allclose(trace.arrived_at, [0.0, 0.0999999, 1.095], atol=1e-6)
    assert trace.decode_tokens.tolist() == [44, 109, 55]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["arrived_at,num_prefill_tokens", "0,1"], "column num_decode_tokens is missing"),
        (["0.1,10,20", "0.2,10,20"], "column arrived_at, num_prefill_tokens, num_decode_tokens is missing"),
        ([], "is missing"),
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
        ([HEADER, f"0,{10**12},1"], "is not a whole number"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "yesterday,1,1"], "TIMESTAMP 'yesterday' is not a time"),
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arrivals(qps=0.0), "qps 0.0 is not a positive number"),
        (lambda: Arrivals(qps=float("nan")), "qps nan"),
        (lambda: Arrivals(kind="gamma", cv=-1.0), "cv -1.0"),
        (lambda: Arrivals(kind="uniform"), "'uniform' are not known; there are poisson, gamma, vidur_poisson"),
        (lambda: LengthHint(kind="guess"), "'guess' is not known"),
        (lambda: LengthHint(sigma=-1.0), "sigma -1.0 is not >= 0"),
        (lambda: draw_requests(0, Arrivals(), LENGTHS["fixed"], 0), "0 requests"),
        (lambda: Requests(np.zeros(2), np.ones(1, int), np.ones(2, int)), r"arrays of \[1, 2\] elements"),
        (lambda: Requests(np.zeros(0), np.ones(0, int), np.ones(0, int)), "at least 1"),
        (lambda: Requests(np.array([1.0, 0.5]), np.ones(2, int), np.ones(2, int)), "never falling"),
        (lambda: Requests(np.zeros(1), np.zeros(1, int), np.ones(1, int)), r"prefill_tokens 0..0 is not in 1"),
    ],
)
def test_a_workload_that_cannot_be_is_refused(make: object, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        make()  # type: ignore[operator]
