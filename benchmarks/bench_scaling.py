"""Scaling: time and memory of one step with memory, from 20 nodes to 5,000 nodes and 40,000 calls."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.random_graphs import EDGE_FEATURES, GLOBAL_FEATURES, NODE_FEATURES, padded_observations
from benchmarks.timing import percentiles
from encoders import build_encoder

SIZES = (20, 50, 100, 200, 500, 1000, 2000, 5000)
CALLS_PER_NODE = 8


def points() -> list[dict[str, float]]:
    """The data of the plot: nodes, calls, milliseconds (median, wall clock) and peak megabytes of one step."""
    torch.set_num_threads(1)
    sizes = {"in_dim": NODE_FEATURES, "edge_dim": EDGE_FEATURES, "global_dim": GLOBAL_FEATURES}
    encoder = build_encoder("tgn+gnn", **sizes, max_nodes=20, max_edges=400, hidden=64)
    result = []
    for nodes in SIZES:
        calls = CALLS_PER_NODE * nodes
        batch, start = padded_observations(1, 1, nodes, calls)
        obs = {key: value[0] for key, value in batch.items()}
        state = encoder.initial_state(1, nodes)

        def step() -> None:
            with torch.no_grad():
                encoder.step(obs, state, start[0])  # noqa: B023

        seconds, _ = percentiles(step, repeats=200 if nodes < 500 else 20)
        result.append({"nodes": nodes, "calls": calls, "ms": 1e3 * seconds, "mb": _peak_bytes(step) / 2**20})
    return result


def measure() -> Iterator[dict[str, Any]]:
    """Figures; growth is the factor of time or memory over the factor of size, 1 = linear."""
    data = points()
    for point in data:
        name = f"{point['nodes']} nodes, {point['calls']} calls"
        yield {"figure": f"step, {name}", "value": point["ms"], "unit": "ms"}
        yield {"figure": f"peak memory, {name}", "value": point["mb"], "unit": "MB"}
    middle, last = next(p for p in data if p["nodes"] == 1000), data[-1]
    size = last["nodes"] / middle["nodes"]
    yield {
        "figure": "growth of time, 1000 to 5000 nodes",
        "value": last["ms"] / middle["ms"] / size,
        "unit": "x",
        "aim": "<= 1.5",
    }
    yield {
        "figure": "growth of memory, 1000 to 5000 nodes",
        "value": last["mb"] / middle["mb"] / size,
        "unit": "x",
        "aim": "<= 1.5",
    }


def _peak_bytes(run: Any) -> int:
    """Rise of the peak resident set of this process (Linux with glibc: free memory is handed back first)."""
    ctypes.CDLL(None).malloc_trim(0)
    # 5 resets the peak.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
