"""The latencies that Vidur gives for 2000 conversations on four replicas, under three routers and two rates.

They were measured with the lengths of the Azure conversation trace itself, of which `LENGTHS["vidur"]` is the law. The lognormal law fitted
to the trace has its mean, but answers of 1100 tokens at the 99th percentile where the table's 16.4 s at 25 ms a token are 640.

The law is not independent of the table in one number, the share of prompts at the limit (see `KINDS`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.metrics import latency_report
from gnnrl.domains.llm_routing.model import Replica
from gnnrl.domains.llm_routing.physics import LLMSimulation
from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, LognormalLengths, draw_requests

FIGURES = (
    "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "e2e_p50_s", "e2e_p90_s", "e2e_p99_s", "e2e_mean_s", "tpot_p50_ms", "tpot_p99_ms",
)  # fmt: skip
VIDUR = {
    ("round_robin", 8): (0.095, 0.300, 0.403, 1.91, 6.41, 9.05, 3.11, 13.7, 20.5),
    ("round_robin", 16): (0.126, 0.437, 0.656, 3.52, 11.7, 16.4, 5.51, 25.0, 38.6),
    ("random", 16): (0.147, 0.486, 0.830, 3.59, 11.9, 16.4, 5.63, 25.5, 43.9),
    ("least_outstanding", 16): (0.137, 0.452, 0.801, 3.42, 11.3, 15.5, 5.42, 24.4, 37.3),
}
SEEDS = 16


def measured(router: str, qps: float, lengths: str) -> np.ndarray:
    """[seeds, figures]."""
    simulation = LLMSimulation(1, 4, 2000)
    rows = []
    for seed in range(SEEDS):
        requests = draw_requests(2000, Arrivals(kind="vidur_poisson", qps=qps), LENGTHS[lengths], seed)
        simulation.load(0, [Replica()] * 4, requests, seed=seed)
        simulation.run(ROUTERS[router].code)
        report = latency_report(simulation.table(0))
        rows.append([getattr(report, name) for name in FIGURES])
    return np.array(rows)


def test_the_law_has_the_traces_means_and_medians() -> None:
    prompts, answers = LENGTHS["vidur"].draw(200_000, np.random.default_rng(0))
    assert prompts.mean() == pytest.approx(1155, rel=0.02)
    assert np.median(prompts) == pytest.approx(1020, rel=0.02)
    assert answers.mean() == pytest.approx(211, rel=0.02)
    assert np.median(answers) == pytest.approx(129, rel=0.02)
    assert (prompts + answers).max() <= 4096 and min(prompts.min(), answers.min()) >= 1


def test_what_is_too_long_is_cut_from_both_in_proportion() -> None:
    """A prompt of 8000 and an answer of 192 are twice as long as they may be."""
    long = LognormalLengths(prefill=(np.log(8000), 0.0), decode=(np.log(192), 0.0), cut_both=True)
    assert [part.tolist() for part in long.draw(2, np.random.default_rng(0))] == [[4000, 4000], [96, 96]]
    prompt_alone = replace(long, cut_both=False)
    assert [part.tolist() for part in prompt_alone.draw(1, np.random.default_rng(0))] == [[3904], [192]]


@pytest.mark.parametrize(("router", "qps"), VIDUR)
def test_latencies_are_those_of_vidur(router: str, qps: int) -> None:
    """Medians and means within 5 %, tails within 12 %.

    The p99 of the time to first token of random routing alone may be off by as much as one run is from the next: that is 18 %.
    """
    runs = measured(router, qps, "vidur")
    mean, deviation = runs.mean(axis=0), runs.std(axis=0, ddof=1)
    for k, name in enumerate(FIGURES):
        reference = VIDUR[router, qps][k]
        tolerance = (0.05 if "p50" in name or "mean" in name else 0.12) * reference
        if (router, name) == ("random", "ttft_p99_s"):
            tolerance = 2 * deviation[k]
        assert abs(mean[k] - reference) <= tolerance, (name, mean[k], reference, deviation[k])


@pytest.mark.parametrize(("router", "qps"), VIDUR)
def test_with_the_fitted_law_load_and_speed_are_still_those_of_vidur(router: str, qps: int) -> None:
    """What depends on mean lengths agrees: e2e mean and p90, time per token. The median prompt is shorter, long answers are longer."""
    mean = dict(zip(FIGURES, measured(router, qps, "conversation").mean(axis=0), strict=True))
    reference = dict(zip(FIGURES, VIDUR[router, qps], strict=True))
    for name in ("e2e_p90_s", "e2e_mean_s", "tpot_p50_ms", "tpot_p99_ms"):
        assert mean[name] == pytest.approx(reference[name], rel=0.12 if "p9" in name else 0.05), name
    assert mean["e2e_p99_s"] > 1.5 * reference["e2e_p99_s"]
