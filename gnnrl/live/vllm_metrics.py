"""Reports of replicas from what vLLM answers to GET /metrics, in the names of its old and its new versions.

    report = replica_report_from_vllm(httpx.get("http://10.0.0.7:8000/metrics").text, "10.0.0.7:8000")

Of several engines behind one endpoint (data parallel) requests, blocks and totals are added up, and usage is their mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gnnrl.domains.llm_routing.reports import ReplicaReport, ReportError

__all__ = ["replica_report_from_vllm"]

KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""The new name first: versions in between export both."""
SWAPPED = "vllm:num_requests_swapped"
"""Of old versions: requests whose blocks are in the host's memory; they wait."""


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
        ReportError: the text is not of that format, nothing in it is of vLLM, or a count is no whole number.
    """
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError as error:
        raise ReportError(f"replica {replica_id!r}: what it answered is no Prometheus exposition ({error})") from error
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    if not any(name.startswith("vllm:") for name in by_name):
        raise ReportError(
            f"replica {replica_id!r}: no metric of what it answered begins with vllm:; is it a vLLM server's /metrics?"
        )

    def total(name: str) -> float | None:
        found = by_name.get(name)
        return sum(sample.value for sample in found) if found else None

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
        kv_usage=sum(sample.value for sample in usages) / len(usages) if usages else None,
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


def _labels(samples: Sequence[Sample], label: str) -> list[int]:
    """Whole numbers of a label; engines that have not sized their cache yet write None."""
    return [int(text) for sample in samples if (text := sample.labels.get(label, "")).isdecimal()]


def _count(value: float | None, what: str) -> int | None:
    if value is not None and not value.is_integer():
        raise ReportError(f"{what} is {value}, not a whole number")
    return None if value is None else int(value)
