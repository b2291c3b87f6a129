"""Iteration times against the tables that were measured with Vidur, and the calibration files they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.calibration import (
    DEFAULT_CALIBRATION,
    FOLDER,
    CalibrationError,
    available,
    load_calibration,
)
from gnnrl.domains.llm_routing.model import Replica
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.schedulers import iteration_seconds
from gnnrl.domains.llm_routing.workloads import Requests
from tests.domains.llm_routing.reference import iteration_ms

KV = (128, 512, 1024, 2048, 4032)
DECODE_MS = {
    1: (9.37, 9.57, 9.80, 10.19, 10.82),
    8: (9.83, 10.89, 12.23, 14.61, 18.63),
    32: (11.53, 15.19, 19.89, 28.43, 43.94),
    64: (13.39, 20.13, 28.89, 45.35, 75.15),
    128: (19.06, 31.92, 49.13, 81.51, 141.5),
}
PREFILL_MS = {32: 9.81, 64: 10.16, 128: 13.3, 256: 19.7, 512: 36.7, 1024: 76.8, 2048: 158.9, 4096: 340.2}
MIXED_MS = {16: 42.3, 32: 46.6, 64: 55.2, 127: 72.1}


def milliseconds(
    decodes: int, kv: int, chunk: int = 0, before: int = 0, calibration: str = DEFAULT_CALIBRATION
) -> float:
    timing = load_calibration(calibration).timing()
    prefills = int(chunk > 0)
    return 1000 * iteration_seconds(timing, decodes + chunk, decodes, decodes * kv, prefills, chunk**2, before)


@pytest.mark.parametrize("batch", DECODE_MS)
def test_decodes(batch: int) -> None:
    np.testing.assert_allclose([milliseconds(batch, kv) for kv in KV], DECODE_MS[batch], rtol=0.05)
    # As fitted.
    np.testing.assert_allclose([milliseconds(batch, kv) for kv in KV], DECODE_MS[batch], rtol=0.014)


def test_the_closed_form_misses_the_table_at_one_place() -> None:
    name = f"{DEFAULT_CALIBRATION}_closed-form"
    error = [
        [milliseconds(b, kv, calibration=name) / ms - 1 for kv, ms in zip(KV, row, strict=True)]
        for b, row in DECODE_MS.items()
    ]
    assert np.argwhere(np.abs(error) > 0.05).tolist() == [[4, 0]]
    assert error[4][0] == pytest.approx(0.072, abs=0.001)


def test_prefills() -> None:
    np.testing.assert_allclose(
        [milliseconds(0, 0, chunk) for chunk in PREFILL_MS], list(PREFILL_MS.values()), rtol=0.025
    )


def test_chunks_with_decodes() -> None:
    measured = [milliseconds(batch, 1024, 512 - batch) for batch in MIXED_MS]
    np.testing.assert_allclose(measured, list(MIXED_MS.values()), rtol=0.02)


def test_the_kernel_and_the_reference_agree_on_any_batch() -> None:
    rng = np.random.default_rng(0)
    timing = load_calibration().timing()
    for _ in range(200):
        lengths = rng.integers(1, 4000, rng.integers(0, 40)).tolist()
        chunks = [(int(rng.integers(1, 900)), int(rng.integers(0, 2000))) for _ in range(rng.integers(0, 4))]
        if not lengths and not chunks:
            continue
        seconds = iteration_seconds(
            timing,
            len(lengths) + sum(tokens for tokens, _ in chunks),
            len(lengths),
            sum(lengths),
            len(chunks),
            sum(tokens**2 for tokens, _ in chunks),
            sum(before for _, before in chunks),
        )
        assert 1000 * seconds == pytest.approx(iteration_ms(lengths, chunks), rel=1e-12)


def test_batches_beyond_the_table_go_on_with_its_last_slope() -> None:
    timing = load_calibration().timing()
    at = [iteration_seconds(timing, tokens, 0, 0, 0, 0, 0) for tokens in (4096, 8192, 8193, 20000)]
    slope = (259.9 - 133.5) / 2048 / 1000
    np.testing.assert_allclose(np.diff(at), [4096 * slope, slope, 11807 * slope], rtol=1e-9)


def test_what_ships_is_what_was_profiled() -> None:
    assert DEFAULT_CALIBRATION in available()
    calibration = load_calibration()
    assert (calibration.kv_blocks, calibration.block_tokens, calibration.layers) == (7424, 16, 32)


def test_a_users_file_is_used(tmp_path: Path) -> None:
    content = json.loads((FOLDER / f"{DEFAULT_CALIBRATION}.json").read_text())
    content["linear_ms"]["milliseconds"] = [2 * ms for ms in content["linear_ms"]["milliseconds"]]
    for part in ("decode_attention_ms", "prefill_attention_ms"):
        content[part] = {name: 2 * value for name, value in content[part].items()}
    path = tmp_path / "half_as_fast.json"
    path.write_text(json.dumps(content))
    ends = []
    for calibration in (DEFAULT_CALIBRATION, path):
        simulation = LLMSimulation(1, 1, 1, PhysicsSettings(calibration=calibration))
        simulation.load(0, [Replica()], Requests(np.zeros(1), np.array([700]), np.array([50])))
        simulation.run(ROUTERS["random"].code)
        ends.append(simulation.table(0).completed_at[0])
    assert ends[1] == pytest.approx(2 * ends[0], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers: expected a whole number >= 1, got 0"),
        ({"kv_blocks": 7.5}, "kv_blocks: expected a whole number"),
        ({"linear_ms": None}, "linear_ms: missing"),
        ({"linear_ms": {"tokens": [1, 2], "milliseconds": [9.0]}}, "got 2 and 1"),
        ({"linear_ms": {"tokens": [1, 1], "milliseconds": [9.0, 9.0]}}, "ascending from 1"),
        ({"linear_ms": {"tokens": [1, 2], "milliseconds": [9.0, 8.0]}}, "never falling"),
        ({"linear_ms": {"tokens": [1, "2"], "milliseconds": [9.0, 8.0]}}, "not a list of numbers"),
        ({"decode_attention_ms": {"constant": 1}}, "per_request, per_kv_token, per_root_kv_token: missing"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = json.loads((FOLDER / f"{DEFAULT_CALIBRATION}.json").read_text()) | change
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=r"bad\.json: .*" + message.replace("(", r"\(")):
        load_calibration(path)


def test_an_unknown_name_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="there are llama-2-7b_a100-80gb"):
        load_calibration("h100")
    with pytest.raises(CalibrationError, match="No such file"):
        load_calibration(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(CalibrationError, match="expected an object"):
        load_calibration(tmp_path / "list.json")
