"""Reports of replicas from what vLLM answers to GET /metrics, in the names of its old and its new versions.

    report = replica_report_from_vllm(httpx.get("http://10.0.0.7:8000/metrics").text, "10.0.0.7:8000")

Of several engines behind one endpoint (data parallel) requests, blocks and totals are added up, and usage is their mean. Whoever passes
the text on may have written whole numbers without a point (Go's exporters), an underscore for the colon (collectors that allow none), or
`ray_` before it (Ray Serve), and left `_total` away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gnnrl.domains.llm_routing.reports import ReplicaReport, ReportError

__all__ = ["replica_report_from_vllm"]

KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""The new name first: versions in between export both."""
SWAPPED = "vllm:num_requests_swapped"
"""Of old versions: requests whose blocks are in the host's memory; they wait."""
PREFIX = "vllm:"
SPELLINGS = (PREFIX, "vllm_", "ray_vllm:", "ray_vllm_")
"""The first that is there counts: a page with two of them tells of the same requests twice."""
LARGEST_COUNT = 2**53
"""So that floats hold it."""
LARGEST_VALUE = 1e300
LONGEST_NUMBER = 15
"""Characters of a label."""


def replica_report_from_vllm(
    text: str, replica_id: str, *, healthy: bool = True, age_seconds: float = 0.0, speed: float | None = None
) -> ReplicaReport:
    """The report of one replica.

    A metric that is not in the text stays None; a router that needs it says so. vLLM does not export the prompt tokens still to prefill:
    `LLMRouter(..., count_pending_prefill=True)` counts them.

    Args:
        text: in the Prometheus exposition format.
        replica_id: as `LLMRouter.route` shall name it.
        healthy, age_seconds, speed: as in `ReplicaReport`.

    Raises:
        ReportError: the text is not of that format, nothing in it is of vLLM, a series stands there twice, or a count is no whole number
            >= 0.
    """
    by_name = _samples(text, replica_id)

    def total(name: str) -> float | None:
        found = by_name.get(name) or by_name.get(name.removesuffix("_total"))
        return sum(map(_value, found)) if found else None

    def count(name: str) -> int | None:
        return _count(total(name), f"replica {replica_id!r}: {name}")

    usages = next((by_name[name] for name in KV_USAGE if name in by_name), None)
    waiting = count("vllm:num_requests_waiting")
    if waiting is not None:
        waiting += count(SWAPPED) or 0
    caches = by_name.get("vllm:cache_config_info", [])
    blocks = _labels(caches, "num_gpu_blocks")
    tokens = _labels(caches, "block_size")
    return ReplicaReport(
        id=replica_id,
        running_requests=count("vllm:num_requests_running"),
        waiting_requests=waiting,
        kv_usage=sum(map(_value, usages)) / len(usages) if usages else None,
        kv_blocks=sum(blocks) if blocks else None,
        block_tokens=tokens[0] if tokens else None,
        prompt_tokens_total=count("vllm:prompt_tokens_total"),
        generated_tokens_total=count("vllm:generation_tokens_total"),
        finished_requests_total=count("vllm:e2e_request_latency_seconds_count"),
        latency_seconds_total=total("vllm:e2e_request_latency_seconds_sum"),
        speed=speed,
        healthy=healthy,
        age_seconds=age_seconds,
    )


def _samples(text: str, replica_id: str) -> dict[str, list[Sample]]:
    """vLLM's samples by name, in its own spelling."""
    try:
        # A byte order mark would make a comment's or a metric's name another one.
        families = text_string_to_metric_families(text.removeprefix("\ufeff"))
        samples = [sample for family in families for sample in family.samples]
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        # The parser meets some malformed lines with an index or a match that is not there.
        raise ReportError(f"replica {replica_id!r}: what it answered is no Prometheus exposition ({error})") from error
    spelling = next((s for s in SPELLINGS if any(sample.name.startswith(s) for sample in samples)), None)
    if spelling is None:
        raise ReportError(
            f"replica {replica_id!r}: no metric of what it answered begins with vllm:; is it a vLLM server's /metrics?"
        )
    by_name: dict[str, list[Sample]] = {}
    seen = set()
    for sample in samples:
        if sample.name.startswith(spelling):
            series = (sample.name, *sorted(sample.labels.items()))
            if series in seen:
                raise ReportError(
                    f"replica {replica_id!r}: {sample.name} stands there twice with the same labels; which of them is it?"
                )
            seen.add(series)
            by_name.setdefault(PREFIX + sample.name.removeprefix(spelling), []).append(sample)
    return by_name


def _value(sample: Sample) -> float:
    """The parser gives whole numbers without a point as `int`, however large."""
    if abs(sample.value) > LARGEST_VALUE:
        return math.inf if sample.value > 0 else -math.inf
    return float(sample.value)


def _labels(samples: Sequence[Sample], label: str) -> list[int]:
    """Whole numbers of a label; engines that have not sized their cache yet write None."""
    texts = (sample.labels.get(label, "") for sample in samples)
    return [int(text) for text in texts if text.isdecimal() and len(text) <= LONGEST_NUMBER]


def _count(value: float | None, what: str) -> int | None:
    if value is None:
        return None
    if not value.is_integer():
        raise ReportError(f"{what} is {value}, not a whole number")
    if not 0 <= value <= LARGEST_COUNT:
        raise ReportError(f"{what} is {value:g}, not in [0, {LARGEST_COUNT}]")
    return int(value)
