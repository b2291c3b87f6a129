"""Requests of an episode: arrival processes and laws of prompt and answer lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing.errors import LLMRoutingError

__all__ = [
    "ARRIVALS",
    "LARGEST_TOKENS",
    "LENGTHS",
    "Arrivals",
    "LengthHint",
    "Lengths",
    "LognormalLengths",
    "Requests",
    "WorkloadError",
    "draw_requests",
]

ARRIVALS = ("poisson", "gamma", "vidur_poisson")
HINTS = ("absent", "predicted", "true")
VIDUR_LONGEST_GAP = 3.0
"""Vidur cuts Poisson gaps at this many means, which makes the rate 1 / (1 - exp(-3)) times the nominal one."""
LARGEST_TOKENS = 2**30
"""Of one prompt or one answer: counts are 32 bits wide in the simulator."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class WorkloadError(LLMRoutingError):
    """A workload that cannot be, or a file that is no trace: it says what, where and the remedy."""


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
        arrays = (self.arrived_at, self.prefill_tokens, self.decode_tokens, self.shown_decode_tokens)
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise WorkloadError(
                "requests: arrived_at, prefill_tokens, decode_tokens and shown_decode_tokens are numpy arrays"
            )
        if not self.shown_decode_tokens.size:
            object.__setattr__(self, "shown_decode_tokens", np.zeros(len(self.arrived_at), np.int64))
        for name, kinds in (
            ("arrived_at", "iuf"),
            ("prefill_tokens", "iu"),
            ("decode_tokens", "iu"),
            ("shown_decode_tokens", "iu"),
        ):
            values = getattr(self, name)
            if values.ndim != 1 or values.dtype.kind not in kinds:
                right = "numbers" if "f" in kinds else "whole numbers"
                raise WorkloadError(
                    f"requests: {name} of shape {values.shape}, dtype {values.dtype}; expected {right} [N]"
                )
        sizes = {a.size for a in (self.arrived_at, self.prefill_tokens, self.decode_tokens, self.shown_decode_tokens)}
        if len(sizes) != 1 or 0 in sizes:
            raise WorkloadError(f"requests: arrays of {sorted(sizes)} elements; all need the same number, at least 1")
        if not np.isfinite(self.arrived_at).all() or self.arrived_at[0] < 0 or (np.diff(self.arrived_at) < 0).any():
            raise WorkloadError("requests: arrived_at must be finite, not negative and never falling")
        for name, least in (("prefill_tokens", 1), ("decode_tokens", 1), ("shown_decode_tokens", 0)):
            values = getattr(self, name)
            if values.min() < least or values.max() > LARGEST_TOKENS:
                raise WorkloadError(
                    f"requests: {name} {values.min()}..{values.max()} is not in {least}..{LARGEST_TOKENS}"
                )

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
    """Lognormal prompts and answers, which together are cut to `longest_tokens`."""

    prefill: tuple[float, float]
    """Mean and standard deviation of the logarithm."""
    decode: tuple[float, float]
    longest_tokens: int = 4096
    cut_both: bool = False
    """Whether prompt and answer lose what is too much in proportion, as Vidur cuts the lengths that it draws from a trace; otherwise the
    prompt alone, as Vidur cuts a trace that it replays."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """Tokens of `count` prompts and answers."""
        prefill = np.rint(rng.lognormal(*self.prefill, count)).astype(np.int64)
        decode = np.rint(rng.lognormal(*self.decode, count)).astype(np.int64)
        if self.cut_both:
            total = prefill + decode
            excess = np.maximum(total - self.longest_tokens, 0)
            lost = (np.ceil(excess * part / total).astype(np.int64) for part in (prefill, decode))
            prefill, decode = (part - less for part, less in zip((prefill, decode), lost, strict=True))
            return np.maximum(prefill, 1), np.maximum(decode, 1)
        decode = np.clip(decode, 1, self.longest_tokens - 1)
        return np.clip(prefill, 1, self.longest_tokens - decode), decode


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """A mixture of lognormal laws, or fixed lengths."""

    parts: tuple[LognormalLengths, ...] = ()
    shares: tuple[float, ...] = ()
    """Probability of each part; none = all the same."""
    fixed: tuple[int, int] | None = None
    """Tokens of every prompt and every answer."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """Tokens of `count` prompts and answers, int64 [count] each."""
        if self.fixed is not None:
            return np.full(count, self.fixed[0]), np.full(count, self.fixed[1])
        drawn = [part.draw(count, rng) for part in self.parts]
        which = rng.choice(len(drawn), count, p=self.shares) if self.shares else rng.integers(len(drawn), size=count)
        prefill = np.choose(which, [part[0] for part in drawn])
        return prefill, np.choose(which, [part[1] for part in drawn])


CONVERSATION = LognormalLengths(prefill=(6.63, 0.99), decode=(5.02, 0.86))
CODE = LognormalLengths(prefill=(7.00, 1.36), decode=(2.79, 0.85))

KINDS = (
    (0.264, 1060, 0.07, 408, 0.06),
    (0.038, 1090, 0.08, 560, 0.16),
    (0.005, 1120, 0.05, 920, 0.05),
    (0.070, 1314, 0.003, 180, 0.25),
    (0.267, 400, 0.04, 100, 0.20),
    (0.085, 200, 0.07, 180, 0.20),
    (0.042, 230, 0.35, 17, 0.20),
    (0.140, 1600, 0.45, 90, 0.30),
    (0.089, 4090, 0.005, 60, 0.45),
)
"""What the Azure 2023 conversation trace consists of: share, prompt and deviation of its logarithm, answer and the same. It is no lognormal
law but a few programs, each with a prompt of its own length. Centres and deviations are read off two stretches of the trace, of 800 and
470 requests; shares give its published means and medians (1155 and 1020 tokens, 211 and 129). The share of prompts at the limit is the one
number chosen by Vidur's reference latencies, whose 90th percentile of the time to first token it decides; it is 4 % in those stretches, and
6 % with their requests weighted to those means."""

LENGTHS: Mapping[str, Lengths] = {
    "conversation": Lengths(parts=(CONVERSATION,)),
    "code": Lengths(parts=(CODE,)),
    "mixed": Lengths(parts=(CONVERSATION, CODE)),
    "vidur": Lengths(
        parts=tuple(
            LognormalLengths(prefill=(math.log(prompt), a), decode=(math.log(answer), b), cut_both=True)
            for _, prompt, a, answer, b in KINDS
        ),
        shares=tuple(kind[0] for kind in KINDS),
    ),
    "fixed": Lengths(fixed=(1000, 200)),
}
"""Lognormal laws fitted to the Azure 2023 traces; `mixed` is half of each; `vidur` is the conversation trace as Vidur draws from it."""


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
