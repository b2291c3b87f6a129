"""What a gateway knows at a routing decision, as plain data: the request, and what each replica said of itself last.

A metric that is not known is None. Which ones a policy cannot do without depends on what it was trained with; the router says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real
from operator import attrgetter

from gnnrl.domains.llm_routing.errors import LLMRoutingError
from gnnrl.domains.llm_routing.workloads import LARGEST_TOKENS

__all__ = [
    "VLLM_METRICS",
    "IncomingRequest",
    "MissingMetricError",
    "NoReplicaError",
    "ReplicaReport",
    "ReportError",
    "check_reports",
]

VLLM_METRICS = {
    "running_requests": "vllm:num_requests_running",
    "waiting_requests": "vllm:num_requests_waiting",
    "kv_usage": "vllm:kv_cache_usage_perc (in old versions vllm:gpu_cache_usage_perc)",
    "kv_blocks": "label num_gpu_blocks of vllm:cache_config_info",
    "block_tokens": "label block_size of vllm:cache_config_info",
    "prompt_tokens_total": "vllm:prompt_tokens_total",
    "generated_tokens_total": "vllm:generation_tokens_total",
    "finished_requests_total": "vllm:e2e_request_latency_seconds_count",
    "latency_seconds_total": "vllm:e2e_request_latency_seconds_sum",
}
"""Where vLLM exports a metric."""


class ReportError(LLMRoutingError):
    """A request or a report that cannot be: which, what of it, and what would be right."""


class MissingMetricError(ReportError):
    """A report lacks a metric that the policy was trained with.

    Attributes:
        replica: whose report, or `request`.
        metric: the field.
        vllm_name: where vLLM exports it; None where it does not.
    """

    def __init__(self, replica: str, metric: str, remedy: str = "") -> None:
        self.replica, self.metric = replica, metric
        self.vllm_name = VLLM_METRICS.get(metric)
        where = f"vLLM exports it as {self.vllm_name}" if self.vllm_name else "vLLM does not export it"
        whose = metric if replica == "request" else f"replica {replica!r}: {metric}"
        told = "" if replica == "request" else f"; {where}"
        super().__init__(f"{whose} is missing, and the policy was trained with it{told}{remedy}")


class NoReplicaError(LLMRoutingError):
    """No replica can take the request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingRequest:
    """The request that is to be routed now."""

    prompt_tokens: int
    """Tokens to prefill; of a request that starts again elsewhere, with the tokens given out so far if they are sent along."""
    predicted_output_tokens: int | None = None
    """Tokens of the answer, where they are predicted."""
    age_seconds: float = 0.0
    """Since it came to the gateway."""
    retry: bool = False
    """It was routed before, to a replica that failed: not another arrival."""
    gateway_waiting: int = 0
    """Other requests that wait at the gateway."""
    gateway_received: int | None = None
    """Requests that have come to the gateway so far, this one and those that wait included; None = as many as were routed, retries left
    out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaReport:
    """What one replica said of itself last. Totals are counters: they only rise, and a fall means that the engine started anew."""

    id: str
    running_requests: int | None = None
    """Requests that hold KV memory."""
    waiting_requests: int | None = None
    kv_usage: float | None = None
    """Share of the KV blocks in use, 0 to 1."""
    kv_blocks: int | None = None
    """KV blocks there are."""
    block_tokens: int | None = None
    """Tokens in a KV block."""
    prompt_tokens_total: int | None = None
    """Tokens prefilled."""
    generated_tokens_total: int | None = None
    """Tokens given out."""
    finished_requests_total: int | None = None
    latency_seconds_total: float | None = None
    """Sum of the latencies of the finished requests."""
    pending_prefill_tokens: int | None = None
    """Prompt tokens of its requests, waiting and running, that are still to prefill."""
    outstanding_requests: int | None = None
    """Sent there and not done, as the gateway counts them now; None = running, waiting, and those the router sent since the report."""
    batch_cap: int | None = None
    """Requests that may run at once."""
    speed: float | None = None
    """Of an iteration, over that of the calibrated replica: 0.5 takes twice the time. Only read by a policy that was told speeds."""
    healthy: bool = True
    """Whether it may be chosen. Of one that is not, only the totals of finished requests are read, where they are known."""
    age_seconds: float = 0.0
    """Since the report was made."""


_POSITIVE = ("kv_blocks", "block_tokens", "batch_cap", "speed")
_NUMBERS = tuple(field.name for field in fields(ReplicaReport) if field.name not in ("id", "healthy"))
_numbers = attrgetter(*_NUMBERS)
_REQUEST_NUMBERS = ("age_seconds", "gateway_waiting", "gateway_received")
LARGEST_COUNT = 2**53
"""Above it neighbouring whole numbers are one and the same float."""


def _is_number(value: object) -> bool:
    # A type check costs a tenth of one against the abstract classes, which only what is rare reaches.
    return type(value) in (int, float) or (isinstance(value, Real) and not isinstance(value, bool))


def check_reports(request: IncomingRequest, reports: Sequence[ReplicaReport]) -> None:
    """Refuse what cannot be.

    Raises:
        ReportError: something else than a request and reports; an id twice; what is no number, is not finite, negative, or larger than a
            counter can be; a usage above 1; no prompt.
    """
    if not isinstance(request, IncomingRequest):
        raise ReportError(f"request: {request!r:.80} is not an IncomingRequest")
    tokens = request.prompt_tokens
    if not _is_number(tokens) or not 1 <= tokens <= LARGEST_TOKENS or tokens != int(tokens):
        raise ReportError(f"request: prompt_tokens {tokens!r} is not a whole number, 1 to {LARGEST_TOKENS}")
    predicted = request.predicted_output_tokens
    if predicted is not None and not (_is_number(predicted) and 0 <= predicted <= LARGEST_TOKENS):
        raise ReportError(
            f"request: predicted_output_tokens {predicted!r} is not a number >= 0, up to {LARGEST_TOKENS}"
        )
    for name in _REQUEST_NUMBERS:
        value = getattr(request, name)
        if value is not None and not (_is_number(value) and 0 <= value <= LARGEST_COUNT):
            raise ReportError(f"request: {name} {value!r} is not a number >= 0")
    seen = set()
    for report in reports:
        if not isinstance(report, ReplicaReport):
            raise ReportError(f"replicas: {report!r:.80} is not a ReplicaReport")
        if not isinstance(report.id, str) or not report.id:
            raise ReportError(f"replica {report.id!r}: an id is text that is not empty")
        if report.id in seen:
            raise ReportError(f"replica {report.id!r} is there twice; give every replica one report")
        seen.add(report.id)
        # All numbers at once: the call is on the way of every request.
        for name, value in zip(_NUMBERS, _numbers(report), strict=True):
            if value is None:
                continue
            if not (_is_number(value) and 0 <= value <= LARGEST_COUNT):
                raise ReportError(f"replica {report.id!r}: {name} {value!r} is not a number >= 0")
            if name in _POSITIVE and (value == 0 or (value < 1 and name != "speed")):
                least = "above 0" if name == "speed" else "at least 1"
                raise ReportError(
                    f"replica {report.id!r}: {name} is {value}; it must be {least}, or None where it is not known"
                )
        if report.kv_usage is not None and report.kv_usage > 1:
            raise ReportError(
                f"replica {report.id!r}: kv_usage {report.kv_usage} is above 1; it is a share, not a percentage"
            )
