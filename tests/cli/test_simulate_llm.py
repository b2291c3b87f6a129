"""`gnnrl simulate llm`: its files agree with one another, the same seed gives the same numbers, mistakes are named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from gnnrl.cli.main import main

KEYS = [
    "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "e2e_p50_s", "e2e_p90_s", "e2e_p99_s", "e2e_mean_s", "tpot_p50_ms", "tpot_p99_ms",
    "requests_per_wall_second",
]  # fmt: skip
RUN = ["simulate", "llm", "--router", "least_outstanding", "--replicas", "4"]
DRAWN = ["--qps", "16", "--requests", "400"]


def test_the_files_hold_the_same_latencies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, table = tmp_path / "new" / "a.json", tmp_path / "b.csv"
    assert main([*RUN, *DRAWN, "--json", str(figures), "--requests-csv", str(table)]) == 0
    written = json.loads(figures.read_text())
    assert list(written) == KEYS
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400 and {row["status"] for row in rows} == {"completed"}
    e2e = [float(row["completed_at"]) - float(row["arrived_at"]) for row in rows]
    ttft = [float(row["first_token_at"]) - float(row["arrived_at"]) for row in rows]
    for name, values, share in (("ttft_p90_s", ttft, 90), ("e2e_p50_s", e2e, 50), ("e2e_p99_s", e2e, 99)):
        assert written[name] == pytest.approx(np.percentile(values, share))
    assert written["e2e_mean_s"] == pytest.approx(np.mean(e2e))
    tpot = [
        1000 * (e - t) / (int(row["num_decode_tokens"]) - 1)
        for e, t, row in zip(e2e, ttft, rows, strict=True)
        if int(row["num_decode_tokens"]) > 1
    ]
    assert written["tpot_p99_ms"] == pytest.approx(np.percentile(tpot, 99))
    assert written["requests_per_wall_second"] > 0
    out = capsys.readouterr().out
    assert f"{written['ttft_p99_s']:.4g}" in out and "replicas over" in out


def test_the_same_seed_gives_the_same_and_every_scheduler_and_process_runs(tmp_path: Path) -> None:
    def latencies(*extra: str) -> dict[str, float]:
        path = tmp_path / "figures.json"
        assert main([*RUN, *DRAWN, "--json", str(path), *extra]) == 0
        return {key: value for key, value in json.loads(path.read_text()).items() if key != "requests_per_wall_second"}

    plain = latencies("--seed", "3")
    assert latencies("--seed", "3") == plain == latencies("--seed", "3", "--check")
    for extra in (
        ("--seed", "4"), ("--arrivals", "gamma", "--cv", "3"), ("--arrivals", "vidur_poisson"), ("--scheduler", "vllm"),
        ("--scheduler", "orca"), ("--scheduler", "faster_transformer"), ("--time-factors", "1,1,2,2"), ("--lengths", "mixed"),
        ("--kv-blocks", "300"), ("--batch-cap", "8"),
    ):  # fmt: skip
        assert latencies("--seed", "3", *extra) != plain, extra


def test_a_trace_is_replayed_and_what_fits_nowhere_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, table = tmp_path / "trace.csv", tmp_path / "table.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,1\n1,900000,5\n1.5,200,1\n9,1,1\n")
    assert (
        main(
            [
                *RUN,
                "--trace",
                str(trace),
                "--requests",
                "3",
                "--requests-csv",
                str(table),
                "--json",
                str(tmp_path / "f"),
            ]
        )
        == 0
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["rejected", "1"] in lines and ["completed", "2"] in lines
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed", "rejected", "completed"]
    assert rows[1]["completed_at"] == rows[1]["ttft_s"] == "" and rows[1]["replica"] == "-1"
    # Answers of one token have no time per token after the first.
    assert json.loads((tmp_path / "f").read_text())["tpot_p50_ms"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*RUN, "--qps", "0", "--requests", "5"], "qps 0.0 is not a positive number"),
        ([*RUN, "--qps", "5", "--requests", "0"], "--requests 0: there must be at least 1"),
        ([*RUN, "--qps", "5"], "--qps and --requests are needed, or --trace CSV"),
        ([*RUN, "--trace", "none.csv"], "none.csv"),
        ([*RUN, "--trace", "none.csv", "--qps", "3"], "--qps and --trace"),
        ([*RUN, *DRAWN, "--scheduler", "sglang"], "'sglang' is not known; there are sarathi"),
        ([*RUN, *DRAWN, "--arrivals", "uniform"], "'uniform' are not known"),
        ([*RUN, *DRAWN, "--lengths", "books"], "'books' is not known; there are conversation"),
        ([*RUN, *DRAWN, "--time-factors", "1,2"], "2 of them for 4 replicas"),
        ([*RUN, *DRAWN, "--time-factors", "a,2,3,4"], "expected numbers with commas"),
        ([*RUN, *DRAWN, "--time-factors", "0,2,3,4"], "time_factor 0.0 is not a positive number"),
        ([*RUN, *DRAWN, "--calibration", "h100"], "'h100' is no calibration"),
        ([*RUN, *DRAWN, "--kv-blocks", "1"], "none of 400 requests was completed"),
        (
            ["simulate", "llm", "--router", "lor", "--replicas", "4", *DRAWN],
            "router 'lor' is not known; there are random",
        ),
        (
            ["simulate", "llm", "--router", "random", "--replicas", "0", *DRAWN],
            "--replicas 0: there must be at least 1",
        ),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_parquet_without_pyarrow_says_how_to_get_it_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnnrl.column_files.find_spec", lambda _: None)
    path = tmp_path / "table.parquet"
    assert main([*RUN, *DRAWN, "--requests-parquet", str(path)]) == 2
    assert "pip install 'gnnrl[parquet]'" in capsys.readouterr().err
    assert not path.exists()


def test_parquet_holds_what_the_csv_holds(tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        assert main([*RUN, *DRAWN, f"--requests-{suffix}", str(tmp_path / f"t.{suffix}")]) == 0
    columns = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pydict()
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(columns) == list(rows[0])
    assert [float(row["completed_at"]) for row in rows] == columns["completed_at"]
    assert [row["status"] for row in rows] == columns["status"]
