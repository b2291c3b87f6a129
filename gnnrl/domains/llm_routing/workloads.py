"""Requests of an episode: arrival processes, laws of prompt and answer lengths, and the replay of a trace from CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing.errors import LLMRoutingError

__all__ = [
    "ARRIVALS",
    "LENGTHS",
    "Arrivals",
    "LengthHint",
    "Lengths",
    "LognormalLengths",
    "Requests",
    "WorkloadError",
    "draw_requests",
    "load_trace",
]

ARRIVALS = ("poisson", "gamma", "vidur_poisson")
HINTS = ("absent", "predicted", "true")
VIDUR_LONGEST_GAP = 3.0
"""Vidur cuts Poisson gaps at this many means, which makes the rate 1 / (1 - exp(-3)) times the nominal one."""
MOST_FAULTS = 5
"""Faulty rows of a trace that a message names."""
LARGEST_TOKENS = 2**30

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class WorkloadError(LLMRoutingError):
    """A workload that cannot be, or a file that is no trace: says what, where and the remedy."""


@dataclass(frozen=True, eq=False)
class Requests:
    """The requests of an episode, by arrival.

    Raises:
        WorkloadError: arrays of different lengths, none at all, times that fall or are not finite, token counts below 1.
    """

    arrived_at: Floats
    """[N] seconds, never falling."""
    prefill_tokens: Counts
    """[N] of the prompt."""
    decode_tokens: Counts
    """[N] of the answer."""
    shown_decode_tokens: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N] the answer's length as a router is told it; 0 = not told. Left out: 0."""

    def __post_init__(self) -> None:
        if not self.shown_decode_tokens.size:
            object.__setattr__(self, "shown_decode_tokens", np.zeros(len(self.arrived_at), np.int64))
        sizes = {a.size for a in (self.arrived_at, self.prefill_tokens, self.decode_tokens, self.shown_decode_tokens)}
        if len(sizes) != 1 or 0 in sizes:
            raise WorkloadError(f"requests: arrays of {sorted(sizes)} elements; all need the same number, at least 1")
        if not np.isfinite(self.arrived_at).all() or self.arrived_at[0] < 0 or (np.diff(self.arrived_at) < 0).any():
            raise WorkloadError("requests: arrived_at must be finite, not negative and never falling")
        for name in ("prefill_tokens", "decode_tokens"):
            values = getattr(self, name)
            if values.min() < 1 or values.max() > LARGEST_TOKENS:
                raise WorkloadError(f"requests: {name} {values.min()}..{values.max()} is not in 1..{LARGEST_TOKENS}")

    def __len__(self) -> int:
        return int(self.arrived_at.size)

    def first(self, count: int) -> Requests:
        """The first `count` of them, or all."""
        return Requests(
            self.arrived_at[:count],
            self.prefill_tokens[:count],
            self.decode_tokens[:count],
            self.shown_decode_tokens[:count],
        )


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """An arrival process: `poisson`; `gamma` with a coefficient of variation; `vidur_poisson`, whose gaps are cut at three means."""

    kind: str = "poisson"
    qps: float = 1.0
    """Requests a second; of `vidur_poisson` the nominal rate, the real one is 5 % above it."""
    cv: float = 1.0
    """Coefficient of variation of `gamma` gaps; 1 is Poisson, more is bursts."""

    def __post_init__(self) -> None:
        if self.kind not in ARRIVALS:
            raise WorkloadError(f"arrivals {self.kind!r} are not known; there are {', '.join(ARRIVALS)}")
        for name in ("qps", "cv"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise WorkloadError(f"arrivals {self.kind!r}: {name} {value} is not a positive number")

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """`count` arrival times in seconds, the first one gap after 0."""
        if self.kind == "gamma":
            shape = 1.0 / self.cv**2
            gaps = rng.gamma(shape, 1.0 / (self.qps * shape), count)
        else:
            gaps = rng.exponential(1.0 / self.qps, count)
            if self.kind == "vidur_poisson":
                gaps = np.minimum(gaps, VIDUR_LONGEST_GAP / self.qps)
        return np.cumsum(gaps)


@dataclass(frozen=True, kw_only=True)
class LognormalLengths:
    """Lognormal prompts and answers. Prompt and answer together are cut to `longest_tokens`, the prompt first, as Vidur cuts traces."""

    prefill: tuple[float, float]
    """Mean and standard deviation of the logarithm."""
    decode: tuple[float, float]
    longest_tokens: int = 4096

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """Tokens of `count` prompts and answers."""
        prefill = np.rint(rng.lognormal(*self.prefill, count)).astype(np.int64)
        decode = np.rint(rng.lognormal(*self.decode, count)).astype(np.int64)
        decode = np.clip(decode, 1, self.longest_tokens - 1)
        return np.clip(prefill, 1, self.longest_tokens - decode), decode


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """A mixture of lognormal laws, or fixed lengths."""

    parts: tuple[LognormalLengths, ...] = ()
    """Each with the same probability."""
    fixed: tuple[int, int] | None = None
    """Tokens of every prompt and every answer."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """Tokens of `count` prompts and answers, int64 [count] each."""
        if self.fixed is not None:
            return np.full(count, self.fixed[0]), np.full(count, self.fixed[1])
        drawn = [part.draw(count, rng) for part in self.parts]
        which = rng.integers(len(drawn), size=count)
        prefill = np.choose(which, [part[0] for part in drawn])
        return prefill, np.choose(which, [part[1] for part in drawn])


CONVERSATION = LognormalLengths(prefill=(6.63, 0.99), decode=(5.02, 0.86))
CODE = LognormalLengths(prefill=(7.00, 1.36), decode=(2.79, 0.85))

LENGTHS: Mapping[str, Lengths] = {
    "conversation": Lengths(parts=(CONVERSATION,)),
    "code": Lengths(parts=(CODE,)),
    "mixed": Lengths(parts=(CONVERSATION, CODE)),
    "fixed": Lengths(fixed=(1000, 200)),
}
"""Lognormal laws fitted to the Azure 2023 traces; `mixed` is half of each."""


@dataclass(frozen=True, kw_only=True)
class LengthHint:
    """What a router is told of an answer's length: nothing, a prediction with an error, or the truth."""

    kind: str = "absent"
    sigma: float = 0.5
    """`predicted`: standard deviation of the logarithm of predicted over true."""

    def __post_init__(self) -> None:
        if self.kind not in HINTS:
            raise WorkloadError(f"length hint {self.kind!r} is not known; there are {', '.join(HINTS)}")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise WorkloadError(f"length hint {self.kind!r}: sigma {self.sigma} is not >= 0")

    def draw(self, decode_tokens: Counts, rng: np.random.Generator) -> Counts:
        """What is shown for these answers, int64 [N]."""
        if self.kind == "absent":
            return np.zeros_like(decode_tokens)
        if self.kind == "true":
            return decode_tokens.copy()
        error = rng.lognormal(0.0, self.sigma, decode_tokens.size)
        return np.maximum(np.rint(decode_tokens * error), 1).astype(np.int64)


def draw_requests(
    count: int, arrivals: Arrivals, lengths: Lengths, seed: int, hint: LengthHint | None = None
) -> Requests:
    """An episode of `count` requests. Times, lengths and hints have streams of their own: another rate leaves the lengths as they are."""
    if count < 1:
        raise WorkloadError(f"{count} requests; ask for at least 1")
    times, tokens, hints = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    prefill, decode = lengths.draw(count, tokens)
    return Requests(arrivals.draw(count, times), prefill, decode, (hint or LengthHint()).draw(decode, hints))


COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def load_trace(path: Path, hint: LengthHint | None = None, seed: int = 0) -> Requests:
    """The requests of a CSV with the columns `arrived_at,num_prefill_tokens,num_decode_tokens`, or those of the Azure 2023 traces.

    Args:
        path: the file; other columns are passed over. Azure's `TIMESTAMP` is counted from the first row.
        hint, seed: what a router is told of the answers' lengths.

    Raises:
        WorkloadError: missing columns, no rows; a time that is not finite, negative or before the row above; tokens that are not whole
            numbers >= 1. The first faulty rows are named by line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkloadError(f"{path}: {error}") from error
    columns = AZURE_COLUMNS if set(AZURE_COLUMNS) <= set(names) else COLUMNS
    if missing := [name for name in columns if name not in names]:
        raise WorkloadError(
            f"{path}: column {', '.join(missing)} is missing; a trace has {','.join(COLUMNS)} or {','.join(AZURE_COLUMNS)}"
        )
    if not rows:
        raise WorkloadError(f"{path}: no requests below the header")
    arrived, prefill, decode = _parse(path, rows, columns)
    return Requests(arrived, prefill, decode, (hint or LengthHint()).draw(decode, np.random.default_rng(seed)))


def _parse(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> tuple[Floats, Counts, Counts]:
    arrived = np.zeros(len(rows))
    tokens = np.zeros((2, len(rows)), np.int64)
    faults: list[str] = []
    origin = 0.0
    before = 0.0
    for k, row in enumerate(rows):
        line = k + 2
        try:
            at = _seconds(row[columns[0]], azure=columns is AZURE_COLUMNS)
            if k == 0 and columns is AZURE_COLUMNS:
                origin = at
            at -= origin
        except (ValueError, TypeError):
            faults.append(f"line {line}: {columns[0]} {row[columns[0]]!r} is not a time")
            continue
        if not math.isfinite(at) or at < 0:
            faults.append(f"line {line}: {columns[0]} {row[columns[0]]!r} is not a time >= 0")
        elif at < before:
            faults.append(
                f"line {line}: {columns[0]} {row[columns[0]]!r} is before the line above; sort the file by it"
            )
        else:
            arrived[k] = before = at
        for j, name in enumerate(columns[1:]):
            value = _whole(row[name])
            if value is None or not 1 <= value <= LARGEST_TOKENS:
                faults.append(f"line {line}: {name} {row[name]!r} is not a whole number >= 1")
            else:
                tokens[j, k] = value
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise WorkloadError(f"{path}: {'; '.join(faults[:MOST_FAULTS])}{more}")
    return arrived, tokens[0], tokens[1]


def _seconds(text: str, *, azure: bool) -> float:
    """Seconds; of an Azure time stamp (`2023-11-16 18:15:46.6805900`) since 1970."""
    if not azure:
        return float(text)
    whole, _, fraction = text.strip().partition(".")
    return (datetime.fromisoformat(whole) - datetime(1970, 1, 1)).total_seconds() + float(f"0.{fraction or 0}")


def _whole(text: str | None) -> int | None:
    try:
        value = float(text if text is not None else "")
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None
