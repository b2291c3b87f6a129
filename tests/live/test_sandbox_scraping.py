"""The sandbox's rates of scraped samples: Prometheus' arithmetic by hand, and against the real one where it is installed."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from gnnrl.live.sandbox.promql_rate import extrapolated_rate, in_range
from gnnrl.live.sandbox.scraped_metrics import ScrapedMetrics
from gnnrl.live.sandbox.scraping import ScrapeFault, ScrapePlan
from gnnrl.live.sandbox.views import CallView

ORIGIN = 1_700_000_000


def rate(samples: list[tuple[float, float]], end: float = 60.0) -> float | None:
    return extrapolated_rate(in_range(samples, end, 60.0), end, 60.0)


def test_rates_by_hand() -> None:
    """A counter that starts at 1,000 and grows by 2 a second, scraped every 15 s, 5 s before the end of the minute."""
    whole = [(10.0 + 15.0 * k, 1020.0 + 30.0 * k) for k in range(4)]
    assert rate(whole) == pytest.approx(2.0), "45 s, and 10 and 5 s beyond, are the whole minute"
    assert rate(whole[2:]) == pytest.approx(2.0 * (15.0 + 7.5 + 5.0) / 60.0), "the start is 40 s away: half an interval"
    assert rate(whole[:2]) == pytest.approx(2.0 * (15.0 + 10.0 + 7.5) / 60.0), "and so is the end"
    assert rate([whole[0], whole[3]]) == pytest.approx(2.0), "a gap in the middle hides nothing"
    assert rate(whole[:1]) is None and rate([]) is None
    young = [(25.0, 10.0), (40.0, 40.0), (55.0, 70.0)]
    assert rate(young) == pytest.approx(2.0 * (30.0 + 5.0 + 5.0) / 60.0), "not beyond where it was zero: 40 s of 60"
    reset = [(10.0, 1000.0), (25.0, 1030.0), (40.0, 20.0), (55.0, 50.0)]
    assert rate(reset) == pytest.approx((30.0 + 20.0 + 30.0) / 45.0 * 60.0 / 60.0), "from 1030 on it began anew"
    assert rate([(0.0, 0.0), *whole]) == rate(whole), "before Prometheus 3 the start of the range was part of it"
    assert len(in_range([(0.0, 0.0), *whole], 60.0, 60.0, closed=True)) == 5


def calls(rps: float) -> dict[tuple[str, str], CallView]:
    one = CallView(
        source="front", target="back", protocol="http", rps=rps, bytes_per_second=0.0, p95_ms=9.0, error_share=0.0, mtls_share=1.0
    )  # fmt: skip
    return {("front", "back"): one}


PODS = {"front": ("front-a", "front-b"), "back": ("back-a", "back-b", "back-c", "back-d")}


def stored(*faults: ScrapeFault, interval: float = 15.0, until: int = 600) -> ScrapedMetrics:
    metrics = ScrapedMetrics(ScrapePlan(interval_seconds=interval, faults=faults), "gateway")
    for end in range(15, until + 1, 15):
        metrics.push(end - 15.0, float(end), calls(40.0), PODS)
    return metrics


def shown(metrics: ScrapedMetrics, end: float, reporter: str = "source") -> float:
    return metrics.rates(end, 60.0, reporter).get(("front", "back"), 0.0)


@pytest.mark.parametrize("interval", [5.0, 15.0, 30.0])
def test_without_faults_the_rates_are_those_of_the_traffic(interval: float) -> None:
    metrics = stored(interval=interval)
    for reporter in ("source", "destination"):
        assert shown(metrics, 600.0, reporter) == pytest.approx(40.0)
    counts = {count for _, _, count in metrics.series(600.0, 60.0)}
    assert counts == {int(60.0 / interval)}


def test_after_a_restart_the_rates_are_low_for_a_window_and_nothing_says_so() -> None:
    restart = ScrapeFault(kind="restart", start=300.0, end=303.0)
    read = {end: shown(stored(restart, until=end), float(end)) for end in range(315, 391, 15)}
    assert read[315] == 0.0, "one sample is no rate"
    assert 0.0 < read[330] < 0.6 * 40.0 and read[330] < read[345] < 40.0
    assert read[375] == pytest.approx(40.0)


def test_a_gap_shows_at_both_of_its_ends() -> None:
    gap = ScrapeFault(kind="gap", start=300.0, end=345.0)
    read = {end: shown(stored(gap, until=end), float(end)) for end in range(300, 421, 15)}
    assert read[300] == pytest.approx(40.0) and read[420] == pytest.approx(40.0)
    assert read[330] < 0.8 * 40.0 and read[375] < 0.8 * 40.0


def test_lost_targets_are_missed_by_one_witness_and_resets_only_for_what_was_not_scraped() -> None:
    lost = stored(ScrapeFault(kind="targets", start=300.0, end=600.0, value=0.5))
    assert min(shown(lost, 600.0), shown(lost, 600.0, "destination")) < 0.8 * 40.0
    reset = stored(ScrapeFault(kind="reset", start=580.0, end=580.0, value=1.0))
    assert 0.7 * 40.0 < shown(reset, 600.0) <= 40.0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "flood"},
        {"kind": "gap", "end": 1.0},
        {"kind": "targets", "value": 1.5},
        {"kind": "interval", "value": 0.0},
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="scrape fault"):
        ScrapeFault(**({"start": 5.0, "end": 9.0} | fault))  # type: ignore[arg-type]


def drawn(seed: int) -> list[tuple[float, float]]:
    """Samples of a counter with gaps, uneven intervals and resets, in milliseconds as Prometheus keeps them."""
    rng = random.Random(seed)
    interval = rng.choice([5.0, 15.0, 30.0])
    seconds, value, samples = rng.uniform(0.0, interval), float(rng.choice([0, 0, 5000])), []
    while seconds < 300.0:
        samples.append((round(seconds, 3), round(value, 3)))
        step = interval + rng.choice([0.0, 0.0, 0.0, rng.uniform(5.0, 80.0)])
        value = value + rng.uniform(0.0, 40.0) * step if rng.random() > 0.1 else rng.uniform(0.0, 30.0)
        seconds += step
    return samples


SERIES = {seed: drawn(seed) for seed in range(60)}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real one that has these series."""
    binary, tool = shutil.which("prometheus"), shutil.which("promtool")
    if binary is None or tool is None:
        pytest.skip("no Prometheus here (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    lines = ["# TYPE c counter"]
    for seed, samples in SERIES.items():
        lines += [f'c_total{{seed="{seed}"}} {value:.3f} {ORIGIN + seconds:.3f}' for seconds, value in samples]
    (folder / "samples.txt").write_text("\n".join([*lines, "# EOF"]) + "\n")
    subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "samples.txt"), str(folder / "data")],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail("Prometheus did not become ready")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def asked(url: str, query: str, second: float) -> dict[int, float]:
    text = urllib.parse.urlencode({"query": query, "time": f"{ORIGIN + second:.3f}"})
    with urllib.request.urlopen(f"{url}/api/v1/query?{text}", timeout=30) as answer:
        result = json.load(answer)["data"]["result"]
    return {int(one["metric"]["seed"]): float(one["value"][1]) for one in result}


def version(url: str) -> tuple[int, ...]:
    with urllib.request.urlopen(f"{url}/api/v1/status/buildinfo", timeout=30) as answer:
        return tuple(int(part) for part in json.load(answer)["data"]["version"].split("+")[0].split(".")[:2])


def test_rates_and_counts_are_those_of_the_real_prometheus(prometheus: str) -> None:
    """Gaps, resets, uneven scrapes, counters from zero and not: rates of 60 series at 40 times."""
    closed = version(prometheus) < (3, 0)
    compared = 0
    for second in range(20, 420, 10):
        rates, counts = (asked(prometheus, f"{name}(c_total[60s])", second) for name in ("rate", "count_over_time"))
        for seed, samples in SERIES.items():
            inside = in_range(samples, float(second), 60.0, closed=closed)
            assert counts.get(seed, 0) == len(inside), (seed, second)
            own = extrapolated_rate(inside, float(second), 60.0)
            assert (own is None) == (seed not in rates), (seed, second)
            if own is not None:
                assert own == pytest.approx(rates[seed], rel=1e-9, abs=1e-12), (seed, second)
                compared += 1
    assert compared > 1000
