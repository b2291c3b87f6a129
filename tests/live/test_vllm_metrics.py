"""Reports from vLLM's exposition text, of old and new versions."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gymnasium.spaces import Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import EncoderConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.domains.llm_routing.env import graph_config
from gnnrl.live.llm_router import MissingMetricError, ReplicaReport, ReportError
from gnnrl.live.vllm_metrics import replica_report_from_vllm
from gnnrl.training.run_folder import RunFolder
from graph_space import DynamicGraphSpace

NEW = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 7.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.25
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="llama"} 120345.0
vllm:prompt_tokens_created{engine="0",model_name="llama"} 1.74e+09
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="llama"} 4.567e+04
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="7424"} 1.0
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="1.0",model_name="llama"} 3.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="llama"} 41.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="llama"} 41.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="llama"} 130.5
# TYPE process_open_fds gauge
process_open_fds 43.0
"""
EXPECTED = ReplicaReport(
    id="a",
    running_requests=7,
    waiting_requests=2,
    kv_usage=0.25,
    kv_blocks=7424,
    block_tokens=16,
    prompt_tokens_total=120345,
    generated_tokens_total=45670,
    finished_requests_total=41,
    latency_seconds_total=130.5,
)


def test_the_names_of_new_versions() -> None:
    assert replica_report_from_vllm(NEW, "a") == EXPECTED


def test_the_names_of_old_versions() -> None:
    """The old name of the usage; both names, of which the new one counts; swapped requests wait."""
    old = NEW.replace("kv_cache_usage", "gpu_cache_usage").replace('engine="0",', "")
    assert replica_report_from_vllm(old, "a") == EXPECTED
    both = NEW + '# TYPE vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc{engine="0"} 0.9\n'
    assert replica_report_from_vllm(both, "a").kv_usage == 0.25
    swapped = old + "# TYPE vllm:num_requests_swapped gauge\nvllm:num_requests_swapped 3.0\n"
    assert replica_report_from_vllm(swapped, "a").waiting_requests == 5


def test_engines_behind_one_endpoint_are_one_replica() -> None:
    lines = []
    for line in NEW.splitlines():
        lines.append(line)
        if 'engine="0"' in line:
            lines.append(line.replace('engine="0"', 'engine="1"').replace(" 0.25", " 0.75"))
    two = replica_report_from_vllm("\n".join(lines) + "\n", "a", age_seconds=0.5)
    assert (two.running_requests, two.waiting_requests, two.kv_usage, two.kv_blocks) == (14, 4, 0.5, 14848)
    assert (two.block_tokens, two.finished_requests_total, two.latency_seconds_total) == (16, 82, 261.0)
    assert two.age_seconds == 0.5


WRITERS = {
    "whole numbers": lambda text: re.sub(r"\.0$", "", text, flags=re.MULTILINE),
    "exponents": lambda text: re.sub(r" (\d+)\.0$", r" \1e0", text, flags=re.MULTILINE),
    "time stamps": lambda text: re.sub(r"(?m)^(vllm.*)$", r"\1 1700000000000", text),
    "OpenMetrics": lambda text: text + "# EOF\n",
    "exemplars": lambda text: text.replace("} 41.0", '} 41.0 # {trace_id="a b"} 0.3 1700000000.5'),
    "line ends": lambda text: text.replace("\n", "\r\n"),
    "no comments": lambda text: re.sub(r"(?m)^#.*\n", "", text),
    "untyped": lambda text: re.sub(r"(?m)^# TYPE (\S+) \w+$", r"# TYPE \1 untyped", text),
    "other order": lambda text: "\n".join(reversed(re.sub(r"(?m)^#.*\n", "", text).splitlines())) + "\n",
    "underscore": lambda text: text.replace("vllm:", "vllm_"),
    "Ray": lambda text: text.replace("vllm:", "ray_vllm_"),
    "both spellings": lambda text: text + text.replace("vllm:", "vllm_").replace(" 7.0", " 8.0"),
    "no _total": lambda text: text.replace("tokens_total", "tokens"),
    "by reason too": lambda text: text + 'vllm:num_requests_waiting_by_reason{reason="capacity"} 2.0\n',
    "infinite bucket": lambda text: text + 'vllm:other_bucket{le="+Inf"} +Inf\nvllm:nothing NaN\n',
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whoever_writes_the_page(writer: str) -> None:
    page = WRITERS[writer](NEW)
    assert page != NEW
    assert replica_report_from_vllm(page, "a") == EXPECTED


def test_a_byte_order_mark_hides_no_metric() -> None:
    without_comments = "".join(line for line in NEW.splitlines(keepends=True) if not line.startswith("#"))
    assert replica_report_from_vllm("\ufeff" + without_comments, "a") == EXPECTED


def test_a_series_that_stands_there_twice_is_not_added_up() -> None:
    with pytest.raises(ReportError, match=r"vllm:num_requests_running stands there twice with the same labels"):
        replica_report_from_vllm(NEW + NEW, "a")


def test_every_whole_number_is_one_in_any_spelling() -> None:
    for value in ("0", "0.0", "3", "3.0", "3e0", "0.3e1", "30e-1", "+3", "9007199254740992"):
        report = replica_report_from_vllm(f"vllm:num_requests_running {value}\n", "a")
        assert report.running_requests == int(float(value))
        assert isinstance(report.running_requests, int) and report.waiting_requests is None


@pytest.mark.parametrize("value", ["3.5", "NaN", "+Inf", "-Inf", "1e400", "-1", "-1.0", "1e16", "9" * 400])
def test_a_count_that_is_none_is_named(value: str) -> None:
    with pytest.raises(ReportError, match=r"replica 'a': vllm:num_requests_running is "):
        replica_report_from_vllm(f"vllm:num_requests_running {value}\n", "a")


@given(st.text(st.sampled_from(list('vlm:_{}",= 0123.eE+-#\n\\Na')), max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_report_or_a_refusal(text: str) -> None:
    for page in (text, "vllm:num_requests_running 3\n" + text, NEW[:300] + text):
        with suppress(ReportError):
            replica_report_from_vllm(page, "a")


def test_what_is_not_there_stays_unknown() -> None:
    """An engine that has not sized its cache; a server without one of the metrics."""
    starting = replica_report_from_vllm(NEW.replace('"7424"', '"None"'), "a")
    assert (starting.kv_blocks, starting.block_tokens) == (None, 16)
    less = "\n".join(line for line in NEW.splitlines() if "usage" not in line) + "\n"
    assert replica_report_from_vllm(less, "a").kv_usage is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>502 Bad Gateway</html>", "no Prometheus exposition|begins with vllm:"),
        ("# TYPE up gauge\nup 1.0\n", "no metric of what it answered begins with vllm:"),
        (NEW.replace("} 7.0", "} NaN"), "vllm:num_requests_running is nan, not a whole number"),
        ("", "no metric of what it answered begins with vllm:"),
    ],
)
def test_other_answers_are_refused(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        replica_report_from_vllm(text, "a")


def test_the_documented_gateway(tmp_path: Path) -> None:
    """The example of docs/llm_routing.md, run against two servers; a metric that one stops to export is named as vLLM names it."""
    environment = LLMRoutingConfig(max_replicas=4)
    run = RunFolder.create(tmp_path / "run", replace(LLMRoutingExperiment(), environment=environment))
    space, actions = DynamicGraphSpace(graph_config(environment)), Discrete(environment.max_replicas + 1)
    PPO_GNN(space, actions, encoder=EncoderConfig(kind="gnn", hidden=8, heads=2)).save(run.checkpoint)
    answers = {"/a/metrics": NEW, "/b/metrics": NEW.replace("kv_cache_usage", "gpu_cache_usage")}

    class Engines(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path].encode())

        def log_message(self, *_: object) -> None:
            pass

    page = (Path(__file__).parents[2] / "docs" / "llm_routing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    alone, gateway = (block for block in blocks if "LLMRouter.load" in block)
    names: dict[str, Any] = {}
    exec(alone.replace("runs/llm", str(run.path)), names)
    assert names["replica"] == "a"
    exec(gateway.replace("runs/llm", str(run.path)), names)
    with ThreadingHTTPServer(("127.0.0.1", 0), Engines) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engines = [f"127.0.0.1:{server.server_port}/{name}" for name in "ab"]
        for engine in engines:
            names["scrape"](engine)
        assert {names["choose"](500) for _ in range(5)} <= set(engines)
        answers["/b/metrics"] = NEW.replace("vllm:kv_cache_usage_perc", "vllm:other")
        names["scrape"](engines[1])
        with pytest.raises(MissingMetricError, match=r"/b': kv_usage is missing.*vllm:kv_cache_usage_perc"):
            names["choose"](500)
        server.shutdown()
