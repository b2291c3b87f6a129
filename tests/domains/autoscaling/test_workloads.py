"""Loads: what each family is made of, the split, and CSV files that are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.domains.autoscaling.load_file import in_own_rates
from gnnrl.domains.autoscaling.workloads import WORKLOADS, ClosedLoop, WorkloadError, load_csv, make_trace, workload

HOUR = 3600


def traces(family: str, count: int = 20, seconds: int = HOUR) -> list[np.ndarray]:
    return [make_trace(family, seconds, 300.0, np.random.default_rng(seed)).astype(float) for seed in range(count)]


@pytest.mark.parametrize("family", WORKLOADS)
def test_every_trace_peaks_at_what_was_asked_and_is_its_seeds_own(family: str) -> None:
    for seconds in (1, 90, HOUR):
        trace = make_trace(family, seconds, 123.0, np.random.default_rng(5))
        assert trace.shape == (seconds,)
        assert trace.dtype == np.float32
        assert trace.max() == np.float32(123.0)
        assert trace.min() > 0
        np.testing.assert_array_equal(trace, make_trace(family, seconds, 123.0, np.random.default_rng(5)))
    other = make_trace(family, HOUR, 123.0, np.random.default_rng(6))
    assert np.array_equal(other, make_trace(family, HOUR, 123.0, np.random.default_rng(5))) == (
        family in ("steady", "step2x")
    )


def test_the_split_is_data() -> None:
    held_out = {name for name, entry in WORKLOADS.items() if entry.held_out}
    assert held_out == {"flash", "weekly", "steady", "step2x"}


def test_diurnal_is_slow_and_spans_trough_to_peak() -> None:
    for trace in traces("diurnal"):
        assert np.abs(np.diff(trace)).max() < 0.004 * trace.max()
        assert 0.15 <= trace.min() / trace.max() <= 0.45
        assert abs(trace[0] - trace[-1]) < 0.01 * trace.max()  # a whole period


def test_noise_is_what_noisy_adds() -> None:
    steps = [np.std(np.diff(np.log(trace))) for trace in traces("noisy")]
    smooth = [np.std(np.diff(np.log(trace))) for trace in traces("diurnal")]
    assert min(steps) > 3 * max(smooth)
    for trace in traces("noisy", 5):
        # AR(1), not white: neighbours agree, minutes apart do not.
        noise = np.log(trace) - np.convolve(np.log(trace), np.ones(901) / 901, "same")
        middle = noise[600:-600]
        assert np.corrcoef(middle[:-1], middle[1:])[0, 1] > 0.9


def test_on_off_has_two_levels() -> None:
    for trace in traces("on_off", 10):
        low, high = trace.min(), trace.max()
        between = (trace > low * 1.05) & (trace < high * 0.95)
        assert between.mean() < 0.2
        assert (trace >= 0.95 * high).any()


def test_bursts_multiply_a_calm_base_but_do_not_jump() -> None:
    ratio = [trace.max() / np.median(trace) for trace in traces("bursty")]
    assert 1.8 < np.mean(ratio) < 4.5
    for trace in traces("bursty"):
        assert (trace[10:] / trace[:-10]).max() < 2.2


def test_flash_crowds_double_or_quintuple_within_seconds() -> None:
    jumps = [(trace[12:] / trace[:-12]).max() for trace in traces("flash")]
    assert 3.5 < np.median(jumps) < 6.0
    minute = np.mean([(trace[60:] > 2 * trace[:-60]).mean() for trace in traces("flash", 60)])
    assert 0.015 < minute < 0.035
    assert np.mean([trace.mean() / trace.max() for trace in traces("flash")]) < 0.4


def test_step2x_doubles_once_a_third_in() -> None:
    trace = traces("step2x", 1)[0]
    assert trace[1199] * 2 == trace[1200] == 300.0
    assert set(trace) == {150.0, 300.0}


def test_weekly_has_quiet_weekends_in_a_trace_of_a_week() -> None:
    seconds = 7 * 2400
    for trace in traces("weekly", 5, seconds):
        days = np.sort([np.convolve(trace, np.ones(2400) / 2400, "valid")[day * 2400] for day in range(6)])
        assert days[0] < 0.85 * days[-1]


def test_a_day_is_a_real_day_in_a_long_trace() -> None:
    trace = make_trace("diurnal", 86400, 100.0, np.random.default_rng(0)).astype(float)
    assert np.abs(np.fft.rfft(trace - trace.mean()))[:50].argmax() == 1


def test_closed_loop_follows_the_law_of_the_load_generator() -> None:
    loop = ClosedLoop(users=np.array([100.0, 200.0]))
    assert loop.rps(0, 0.1) == pytest.approx(1.472 * 100 / 5.6)
    assert loop.rps(1, 4.5) == pytest.approx(29.44)
    assert ClosedLoop.for_rps([26.2857], 0.1).users == pytest.approx([100.0], rel=1e-4)


def write(tmp_path, text: str):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_csv_is_resampled_to_seconds(tmp_path) -> None:
    path = write(tmp_path, "time,rps,note\n100,10,a\n102,30,b\n104,10,c\n")
    np.testing.assert_allclose(load_csv(path), [10, 20, 30, 20, 10])
    np.testing.assert_allclose(load_csv(path, seconds=3), [10, 20, 30])
    iso = write(tmp_path, "time,rps\n2024-05-01T10:00:00Z,1\n2024-05-01T10:00:02Z,3\n")
    np.testing.assert_allclose(load_csv(iso), [1, 2, 3])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("time,load\n0,1\n", ["line 1: column rps is missing; the header must name time,rps"]),
        ("", ["line 1: column time, rps is missing"]),
        (
            "time,rps\n0,1\n1,nan\n2,x\n3,-4\n4,inf\n",
            ["line 3: rps 'nan'", "line 4: rps 'x'", "line 5: rps -4 is negative", "line 6"],
        ),
        ("time,rps\n0,1\n2,1\n1,1\n", ["line 4: time '1' is before the line above; sort the file"]),
        ("time,rps\n0,1\n1,1\n1,2\n2,1\n3,1\n", ["line 4: time repeats that of line 3"]),
        (
            "time,rps\n0,1\n1,1\n2,1\n9,1\n10,1\n",
            ["line 5: a gap of 7 s after line 4 where rows are 1 s apart; fill it"],
        ),
        ("time,rps\nsoon,1\n1,1\n", ["line 2: time 'soon' is not a time"]),
        ("time,rps\n0,1\n1\n", ["line 3: rps None"]),
        ("time,rps\n0,1\n", ["fewer than two rows"]),
        ("time,rps\n0,0\n1,0\n", ["no traffic"]),
    ],
)
def test_a_faulty_csv_names_file_line_and_remedy(tmp_path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(WorkloadError) as caught:
        load_csv(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_a_csv_that_is_too_short_or_absent(tmp_path) -> None:
    path = write(tmp_path, "time,rps\n0,1\n5,2\n")
    with pytest.raises(WorkloadError, match="holds 6 seconds, 7 are needed"):
        load_csv(path, seconds=7)
    with pytest.raises(WorkloadError, match="holds 6 seconds, 7 are needed"):
        make_trace(str(path), 7, 10.0, np.random.default_rng(0))
    with pytest.raises(WorkloadError, match=r"absent\.csv: cannot be read"):
        load_csv(tmp_path / "absent.csv")


def test_replay_takes_a_piece_and_scales_it_to_the_peak(tmp_path) -> None:
    path = write(tmp_path, "time,rps\n" + "".join(f"{10 * i},{1 + i}\n" for i in range(20)))
    trace = make_trace(str(path), 60, 50.0, np.random.default_rng(3))
    assert workload(str(path)).held_out
    assert trace[-1] == np.float32(50.0)
    np.testing.assert_allclose(np.diff(trace), np.diff(trace)[0], rtol=1e-3)


def test_an_absolute_recording_is_played_as_it_is(tmp_path) -> None:
    path = write(tmp_path, "time,rps\n" + "".join(f"{10 * i},{1 + i}\n" for i in range(20)))
    whole = load_csv(path)
    trace, factor = workload(f"absolute:{path}").scaled(60, 50.0, np.random.default_rng(3))
    assert factor == 1.0 and workload(f"absolute:{path}").held_out
    scaled, times = workload(str(path)).scaled(60, 50.0, np.random.default_rng(3))
    # The same piece of the file, at its own level and at the one asked for.
    start = int(np.flatnonzero(whole == trace[0])[0])
    np.testing.assert_array_equal(trace, whole[start : start + 60])
    np.testing.assert_allclose(scaled, times * trace, rtol=1e-6)
    assert times == pytest.approx(50.0 / trace.max()) and times != 1.0


def test_a_silent_piece_of_a_recording_stays_silent(tmp_path) -> None:
    path = write(tmp_path, "time,rps\n" + "".join(f"{10 * i},{int(i == 19)}\n" for i in range(20)))
    silent = [make_trace(str(path), 20, 50.0, np.random.default_rng(seed)).max() for seed in range(100)]
    assert set(silent) == {0.0, 50.0}


def test_only_recordings_have_requests_of_their_own() -> None:
    assert in_own_rates(["flash", "a/b.CSV", "absolute:c.csv"]) == ("flash", "absolute:a/b.CSV", "absolute:c.csv")
    with pytest.raises(WorkloadError, match=r"no requests/s to keep in flash, weekly: only \.csv files have them"):
        in_own_rates(["flash", "weekly"])


def test_unknown_family_lists_what_there_is() -> None:
    with pytest.raises(WorkloadError, match="'diurnally'; families are diurnal, noisy"):
        workload("diurnally")
    with pytest.raises(WorkloadError, match="peak_rps nan"):
        make_trace("steady", 10, float("nan"), np.random.default_rng(0))
