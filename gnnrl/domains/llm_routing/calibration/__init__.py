"""How long one iteration of an inference engine takes, by model and device: data files of this folder, or of the user.

    milliseconds = L(tokens) + layers x (decode attention + prefill attention)

L is piecewise linear in the tokens of the batch. Decode attention is a + b B + c S + d sqrt(S) for B decoding requests with S tokens in
their KV caches together; prefill attention is a + b C + c C^2 + d C K for a chunk of C tokens behind K tokens that are done. Several
chunks in one batch count as one of C = sqrt(sum C_i^2) tokens behind K = sum K_i, which is how Vidur asks its predictor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing.errors import LLMRoutingError
from gnnrl.text_file import read_text

__all__ = ["DEFAULT_CALIBRATION", "Calibration", "CalibrationError", "Timing", "available", "load_calibration"]

DEFAULT_CALIBRATION = "llama-2-7b_a100-80gb"
FOLDER = Path(__file__).parent
DENSE_TOKENS = 8192
"""L is tabulated up to here and goes on with its last slope."""

DECODE = ("constant", "per_request", "per_kv_token", "per_root_kv_token")
PREFILL = ("constant", "per_token", "per_token_squared", "per_token_kv_token")


class CalibrationError(LLMRoutingError):
    """A calibration that is unknown or no calibration: says what, where and the remedy."""


class Timing(NamedTuple):
    """A calibration as the kernel reads it, in seconds."""

    linear: NDArray[np.float64]  # [DENSE_TOKENS + 1] by tokens in the batch
    slope: float  # of L above DENSE_TOKENS, seconds a token
    decode: NDArray[np.float64]  # [4]
    prefill: NDArray[np.float64]  # [4]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Iteration times of one model on one device, and the memory it leaves for KV blocks."""

    name: str
    layers: int
    block_tokens: int
    """Tokens in a KV block."""
    kv_blocks: int
    """Blocks of one replica."""
    tokens: tuple[float, ...]
    """Points of L, ascending from 1."""
    linear_ms: tuple[float, ...]
    decode_ms: tuple[float, ...]
    """A layer's decode attention: constant, per request, per KV token, per root of KV tokens."""
    prefill_ms: tuple[float, ...]
    """A layer's prefill attention: constant, per token, per token squared, per token times KV token."""

    def timing(self) -> Timing:
        """The kernel's arrays."""
        slope = (self.linear_ms[-1] - self.linear_ms[-2]) / (self.tokens[-1] - self.tokens[-2])
        count = np.arange(DENSE_TOKENS + 1, dtype=np.float64)
        linear = np.interp(count, self.tokens, self.linear_ms) + np.maximum(count - self.tokens[-1], 0.0) * slope
        return Timing(
            linear=linear / 1000.0,
            slope=slope / 1000.0,
            decode=np.asarray(self.decode_ms) * self.layers / 1000.0,
            prefill=np.asarray(self.prefill_ms) * self.layers / 1000.0,
        )


def available() -> tuple[str, ...]:
    """Names of the calibrations that ship."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_calibration(name_or_path: str | Path = DEFAULT_CALIBRATION) -> Calibration:
    """A calibration that ships, by name, or a user's JSON file of the same form.

    Raises:
        CalibrationError: unknown name, or a file that is not a calibration.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        if str(name_or_path) not in available():
            known = ", ".join(available())
            raise CalibrationError(f"{name_or_path!r} is no calibration; there are {known}, or give a .json file")
        path = FOLDER / f"{name_or_path}.json"
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path}: expected an object, like {FOLDER / (DEFAULT_CALIBRATION + '.json')}")
    linear = _part(content, "linear_ms", path)
    tokens = _numbers(linear, "tokens", path)
    milliseconds = _numbers(linear, "milliseconds", path)
    if len(tokens) != len(milliseconds) or len(tokens) < 2 or tokens[0] != 1 or list(tokens) != sorted(set(tokens)):
        raise CalibrationError(
            f"{path}: linear_ms: as many tokens as milliseconds, at least two, ascending from 1; "
            f"got {len(tokens)} and {len(milliseconds)}"
        )
    if min(milliseconds) <= 0 or list(milliseconds) != sorted(milliseconds):
        raise CalibrationError(f"{path}: linear_ms.milliseconds: positive and never falling; got {list(milliseconds)}")
    return Calibration(
        name=path.stem,
        layers=_count(content, "layers", path),
        block_tokens=_count(content, "block_tokens", path),
        kv_blocks=_count(content, "kv_blocks", path),
        tokens=tokens,
        linear_ms=milliseconds,
        decode_ms=_coefficients(_part(content, "decode_attention_ms", path), DECODE, path),
        prefill_ms=_coefficients(_part(content, "prefill_attention_ms", path), PREFILL, path),
    )


def _part(content: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    part = content.get(key)
    if not isinstance(part, dict):
        raise CalibrationError(f"{path}: {key}: missing, or not an object")
    return part


def _numbers(content: Mapping[str, Any], key: str, path: Path) -> tuple[float, ...]:
    values = content.get(key)
    if not isinstance(values, list) or not all(_is_number(value) for value in values):
        raise CalibrationError(f"{path}: {key}: missing, or not a list of numbers")
    return tuple(float(value) for value in values)


def _coefficients(content: Mapping[str, Any], names: Sequence[str], path: Path) -> tuple[float, ...]:
    wrong = [name for name in names if not _is_number(content.get(name))]
    if wrong:
        raise CalibrationError(f"{path}: {', '.join(wrong)}: missing, or not a number")
    return tuple(float(content[name]) for name in names)


def _count(content: Mapping[str, Any], key: str, path: Path) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CalibrationError(f"{path}: {key}: expected a whole number >= 1, got {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
